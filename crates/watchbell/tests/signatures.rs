//! `watchbell image sign` and `image verify`: layouts in folders, and a real registry (Debian package docker-registry).

#[path = "scan/registry.rs"]
mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use watchbell_image::{Attachment, Digest, Layout, NewBlob, NewManifest};

use registry::Registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A directory with a layout `lay` of one image, tagged `1`, and a key: `key.pem`, `pub.pem`; `other.pem` is another's.
struct Stand {
    dir: tempfile::TempDir,
    layout: Layout,
    digest: Digest,
    key: KeyPair,
}

fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let lay = dir.path().join("lay");
    fs::create_dir_all(lay.join("blobs/sha256")).unwrap();
    fs::write(lay.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(lay.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let layout = Layout::open(&lay).unwrap();
    let layer = blob("application/vnd.oci.image.layer.v1.tar", b"layer");
    let digest = layout.attach(&NewManifest::Tagged { tag: "1".into() }, &[layer]).unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(dir.path().join("pub.pem"), key.public_key_pem()).unwrap();
    fs::write(dir.path().join("other.pem"), other.public_key_pem()).unwrap();
    Stand { dir, layout, digest, key }
}

fn blob(media_type: &str, bytes: &[u8]) -> NewBlob {
    NewBlob { media_type: media_type.into(), bytes: bytes.to_vec(), annotations: Vec::new() }
}

fn field(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../watchbell-signature/tests/field").join(name)
}

impl Stand {
    /// Runs `watchbell image LINE`: the exit code, and what it said.
    fn image(&self, line: &str) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_watchbell"))
            .arg("image")
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    fn ok(&self, line: &str, expect: &str) -> String {
        let (code, text) = self.image(line);
        assert_eq!(code, Some(0), "{line}: {text}");
        assert!(text.contains(expect), "{line}: {text}");
        text
    }

    #[track_caller]
    fn refused(&self, line: &str, code: i32, expect: &str) {
        let (found, text) = self.image(line);
        assert_eq!(found, Some(code), "{line}: {text}");
        assert!(text.contains(expect), "{line}: {text}");
    }
}

#[test]
fn an_image_is_signed_with_a_key_and_verified() {
    let t = stand();
    t.refused("verify oci:lay:1 --key pub.pem", 1, "no signature is attached to it");
    t.ok("sign oci:lay:1 --key key.pem --as registry.example/team/app:1", "sha256:");
    t.ok("verify oci:lay:1 --key pub.pem", "as registry.example/team/app:1");
    t.ok("verify oci:lay --key pub.pem --signed-as registry.example/team/app", t.digest.as_str());
    t.refused(
        "verify oci:lay --key pub.pem --signed-as registry.example/other",
        1,
        "it was signed for registry.example",
    );
    t.refused("verify oci:lay:1 --key other.pem", 1, "the key or certificate did not sign it");
    t.refused(
        "verify oci:lay:1 --key pub.pem --attestation slsaprovenance",
        1,
        "a signature without a statement",
    );
    // A second signature stands beside the first.
    let second = KeyPair::generate().unwrap();
    fs::write(t.dir.path().join("key2.pem"), second.serialize_pem()).unwrap();
    fs::write(t.dir.path().join("pub2.pem"), second.public_key_pem()).unwrap();
    t.ok("sign oci:lay:1 --key key2.pem --as registry.example/team/app:2", "sha256:");
    t.ok("verify oci:lay:1 --key pub.pem", "team/app:1");
    t.ok("verify oci:lay:1 --key pub2.pem", "team/app:2");
    t.ok("verify oci:lay:1 --key pub2.pem -o json", "\"reference\": \"registry.example/team/app:2\"");

    let bundled = stand();
    bundled.ok("sign oci:lay:1 --key key.pem --as app:1 --form bundle", "sha256:");
    bundled.ok("verify oci:lay:1 --key pub.pem", "signed by the key");
    bundled.refused("verify oci:lay:1 --key pub.pem --signed-as app", 1, "no repository in particular");
}

/// What a bundle of the field says of the document that it is of, which stands here for a manifest.
#[test]
fn an_identity_is_verified_against_a_trust_root() {
    let t = stand();
    let document = fs::read(field("cosign-v3-blob.txt")).unwrap();
    let digest = Digest::of(&document);
    let lay = t.dir.path().join("lay");
    fs::write(lay.join("blobs/sha256").join(digest.hex()), &document).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(lay.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": MANIFEST, "digest": digest, "size": document.len(),
        "annotations": {"org.opencontainers.image.ref.name": "field"},
    }));
    // In front: what comes after is known as attached by its own manifest.
    fs::write(lay.join("index.json"), index.to_string()).unwrap();
    let bundle = blob(BUNDLE, &fs::read(field("cosign-v3-blob.sigstore.json")).unwrap());
    let referrer = NewManifest::Referrer { artifact_type: BUNDLE.into(), subject: digest };
    t.layout.attach(&referrer, &[bundle]).unwrap();

    let root = field("root-public.json");
    let who = |identity: &str, issuer: &str| {
        format!("verify oci:lay:field {identity} {issuer} --trusted-root {}", root.display())
    };
    let issuer = "--certificate-oidc-issuer https://github.com/login/oauth";
    let name = "--certificate-identity w.vollprecht@gmail.com";
    t.ok(
        &who(name, issuer),
        "signed by w.vollprecht@gmail.com (https://github.com/login/oauth) at 2025-12-03T",
    );
    t.ok(
        &who(
            "--certificate-identity-regexp .*@gmail[.]com",
            "--certificate-oidc-issuer-regexp https://github[.]com/.*",
        ),
        "signed by",
    );
    t.refused(
        &who("--certificate-identity-regexp vollprecht", issuer),
        1,
        "it was signed by w.vollprecht@gmail.com",
    );
    t.refused(
        &who(name, "--certificate-oidc-issuer https://evil.example"),
        1,
        "as known to https://github.com",
    );
    let staging = field("root-staging.json");
    let line = format!("verify oci:lay:field {name} {issuer} --trusted-root {}", staging.display());
    t.refused(&line, 1, "a transparency log that the trust root does not name");
    // What is asked wrongly.
    t.refused("verify oci:lay:field", 2, "--key");
    t.refused(&format!("verify oci:lay:field {name} {issuer}"), 2, "--trusted-root");
    t.refused(
        &format!("verify oci:lay:field {name} --trusted-root {}", root.display()),
        2,
        "--certificate-oidc-issuer",
    );
    t.refused(&format!("verify oci:lay:field --key pub.pem {name} {issuer}"), 2, "cannot be used with");
    t.refused(&who("--certificate-identity-regexp (", issuer), 2, "is no regular expression");
    t.refused("verify oci:lay:field --key key.pem", 2, "it is no PEM file with one \"PUBLIC KEY\"");
    t.refused("verify oci:lay:field --key absent.pem", 2, "cannot read absent.pem");
    t.refused("verify oci:absent:1 --key pub.pem", 1, "cannot open absent");
    t.refused("sign app:1 --key key.pem --as app:1", 2, "where this signs with --form bundle");
    t.refused("sign oci:lay:1 --key key.pem", 2, "--as NAME is needed");
}

/// An envelope of a statement, signed with the key, under cosign's tag for attestations.
#[test]
fn an_attestation_is_a_condition() {
    let t = stand();
    let provenance = |digest: &Digest| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": "app", "digest": {"sha256": digest.hex()}}],
            "predicate": {
                "buildDefinition": {"buildType": "https://ci.example/v1",
                                    "externalParameters": {"source": "https://git.example/app"}},
                "runDetails": {"builder": {"id": "https://ci.example/runner"}},
            },
        });
        let (payload, kind) = (statement.to_string(), "application/vnd.in-toto+json");
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature = STANDARD.encode(t.key.sign(signed.as_bytes()).unwrap());
        let envelope = json!({
            "payloadType": kind, "payload": STANDARD.encode(&payload), "signatures": [{"keyid": "", "sig": signature}],
        });
        let blob = blob("application/vnd.dsse.envelope.v1+json", envelope.to_string().as_bytes());
        let tag = NewManifest::Tagged { tag: Attachment::Attestations.tag(&t.digest) };
        t.layout.attach(&tag, &[blob]).unwrap();
    };
    provenance(&t.digest);
    let asked = "verify oci:lay:1 --key pub.pem --attestation slsaprovenance";
    t.ok(asked, "built by https://ci.example/runner from https://git.example/app");
    t.ok(
        &format!(
            "{asked} --builder-id https://ci.example/runner --source-uri https://git.example/app -o json"
        ),
        "\"builder\"",
    );
    t.refused(
        &format!("{asked} --builder-id https://evil.example"),
        1,
        "its statement's builder is https://ci.example/runner",
    );
    t.refused(&format!("{asked} --source-uri https://evil.example"), 1, "source is https://git.example/app");
    t.refused("verify oci:lay:1 --key pub.pem --attestation vuln", 1, "it claims something else");
    t.refused(
        "verify oci:lay:1 --key pub.pem",
        1,
        "it claims something else: https://slsa.dev/provenance/v1",
    );
    provenance(&Digest::of(b"another"));
    t.refused(asked, 1, "it is a signature of another image");
}

/// openssl, which knows nothing of us, verifies the bytes that cosign would.
#[test]
fn openssl_verifies_a_signature_of_ours() {
    if !is_installed("openssl") {
        return;
    }
    let t = stand();
    t.ok("sign oci:lay:1 --key key.pem --as registry.example/team/app:1", "sha256:");
    let artifacts = t.layout.attached(&t.digest, &|_, _| true).unwrap();
    let blob = &artifacts[0].blobs[0];
    let signature = &blob.descriptor.annotations["dev.cosignproject.cosign/signature"];
    fs::write(t.dir.path().join("signature"), STANDARD.decode(signature).unwrap()).unwrap();
    fs::write(t.dir.path().join("payload"), &blob.bytes).unwrap();
    let payload: Value = serde_json::from_slice(&blob.bytes).unwrap();
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], t.digest.as_str());
    for (key, expect) in [("pub.pem", true), ("other.pem", false)] {
        let verified = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", key, "-signature", "signature", "payload"])
            .current_dir(t.dir.path())
            .output()
            .unwrap();
        assert_eq!(verified.status.success(), expect, "{key}");
    }
}

/// Everything in the stand's layout: blobs, and manifests by their tags and digests.
fn push(registry: &Registry, t: &Stand, repository: &str) {
    let lay = t.dir.path().join("lay");
    for entry in fs::read_dir(lay.join("blobs/sha256")).unwrap() {
        registry.put_blob(repository, &fs::read(entry.unwrap().path()).unwrap());
    }
    let index: Value = serde_json::from_slice(&fs::read(lay.join("index.json")).unwrap()).unwrap();
    for line in index["manifests"].as_array().unwrap() {
        let digest = line["digest"].as_str().unwrap();
        let bytes = fs::read(lay.join("blobs").join(digest.replace(':', "/"))).unwrap();
        let tag = line["annotations"]["org.opencontainers.image.ref.name"].as_str();
        registry.put_manifest(repository, tag.unwrap_or(digest), MANIFEST, &bytes);
    }
}

#[test]
fn signatures_are_found_at_a_real_registry() {
    if !is_installed("docker-registry") {
        return;
    }
    let t = stand();
    let registry = Registry::start(t.dir.path());
    let verify =
        |repository: &str, key: &str| format!("verify {}/{repository}:1 --key {key}", registry.address());
    push(&registry, &t, "team/unsigned");
    t.refused(&verify("team/unsigned", "pub.pem"), 1, "no signature is attached to it");
    // Signed where it is.
    push(&registry, &t, "team/remote");
    t.ok(&format!("sign {}/team/remote:1 --key key.pem --form bundle", registry.address()), "sha256:");
    t.ok(&verify("team/remote", "pub.pem"), t.digest.as_str());
    t.refused(&verify("team/remote", "other.pem"), 1, "did not sign it");
    // cosign's tag.
    t.ok("sign oci:lay:1 --key key.pem --as app:1", "sha256:");
    push(&registry, &t, "team/tagged");
    t.ok(&verify("team/tagged", "pub.pem"), t.digest.as_str());
    t.refused(&verify("team/tagged", "other.pem"), 1, "did not sign it");
    // A referrer, listed by the tag in place of the API, which this registry does not have; the list's types are wrong.
    let bundled = stand();
    bundled.ok("sign oci:lay:1 --key key.pem --as app:1 --form bundle", "sha256:");
    push(&registry, &bundled, "team/bundled");
    let artifact = &bundled.layout.attached(&bundled.digest, &|_, _| true).unwrap()[0];
    let path = bundled.dir.path().join("lay/blobs/sha256").join(artifact.digest.hex());
    let empty = "application/vnd.oci.empty.v1+json";
    let list = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST, "artifactType": empty, "digest": artifact.digest,
                       "size": fs::metadata(path).unwrap().len()}],
    });
    bundled.refused(&verify("team/bundled", "pub.pem"), 1, "no signature is attached to it");
    let tag = Attachment::Referrer.tag(&bundled.digest);
    let index = "application/vnd.oci.image.index.v1+json";
    registry.put_manifest("team/bundled", &tag, index, list.to_string().as_bytes());
    bundled.ok(&verify("team/bundled", "pub.pem"), "signed by the key");
    // The signature of one image at the tag of another.
    let stolen = stand();
    let layer = blob("application/vnd.oci.image.layer.v1.tar", b"another");
    let other = stolen.layout.attach(&NewManifest::Tagged { tag: "1".into() }, &[layer]).unwrap();
    stolen.ok("sign oci:lay:1 --key key.pem --as app:1", "sha256:");
    let signature = stolen.layout.attached(&other, &|_, _| true).unwrap();
    let manifest = stolen.dir.path().join("lay/blobs/sha256").join(signature[0].digest.hex());
    push(&registry, &t, "team/stolen");
    push(&registry, &stolen, "team/stolen");
    registry.put_manifest(
        "team/stolen",
        "1",
        MANIFEST,
        &fs::read(t.dir.path().join("lay/blobs/sha256").join(t.digest.hex())).unwrap(),
    );
    let tag = Attachment::Signatures.tag(&t.digest);
    registry.put_manifest("team/stolen", &tag, MANIFEST, &fs::read(manifest).unwrap());
    stolen.refused(&verify("team/stolen", "pub.pem"), 1, "it is a signature of another image");
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn is_installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir: PathBuf| dir.join(program).exists()));
    if !found {
        eprintln!("NOT TESTED: {program} is not installed");
    }
    found
}
