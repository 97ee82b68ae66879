//! Debian's docker-registry, filled by skopeo: plain and with TLS and a password.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use watchbell_image::{
    CredentialSource, Credentials, Limits, NewBlob, PullOptions, Silent, attach_remote, attached_remote, pull,
};

use super::server::Server;
use super::{home, is_installed, made, name, quick};

/// `htpasswd -nbB user 'sesame open'`
const HTPASSWD: &str = "user:$2y$05$n0wpgHgvRkXkva0WYRnKXu.RCnWdK8oMyYK7Q7hNqTBQwSU2uVJ3a";

struct Registry {
    server: Server,
    dir: tempfile::TempDir,
    ca: Option<PathBuf>,
}

enum Guard {
    Open,
    TlsAndPassword,
}

fn start(guard: &Guard) -> Registry {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut ca = None;
    let http = match guard {
        Guard::Open => "http: {addr: '127.0.0.1:0'}\n".to_owned(),
        Guard::TlsAndPassword => {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            fs::write(at("cert.pem"), certificate.pem()).unwrap();
            fs::write(at("key.pem"), key.serialize_pem()).unwrap();
            fs::write(at("htpasswd"), format!("{HTPASSWD}\n")).unwrap();
            ca = Some(at("cert.pem"));
            format!(
                "http: {{addr: '127.0.0.1:0', tls: {{certificate: {}, key: {}}}}}\nauth: {{htpasswd: {{realm: stand, path: {}}}}}\n",
                at("cert.pem").display(),
                at("key.pem").display(),
                at("htpasswd").display()
            )
        }
    };
    Registry { server: Server::start(dir.path(), &http), dir, ca }
}

impl Registry {
    /// Copies the layout of a store into the registry, with skopeo's own compression.
    fn fill(&self, layout: &std::path::Path, format: &str) {
        let mut command = Command::new("skopeo");
        command
            .args(["--insecure-policy", "--tmpdir"])
            .arg(self.dir.path())
            .args(["copy", "--dest-tls-verify=false"]);
        command.args(["--dest-compress-format", format]);
        if self.ca.is_some() {
            command.args(["--dest-creds", "user:sesame open"]);
        }
        let copied = command
            .arg(format!("oci:{}:docker.io/library/made:1", layout.display()))
            .arg(format!("docker://{}/team/made:{format}", self.server.address))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
}

#[test]
fn what_skopeo_pushed_is_pulled_gzip_and_zstd() {
    if !is_installed("docker-registry") || !is_installed("skopeo") {
        return;
    }
    let (source, _) = made(1 << 20);
    let registry = start(&Guard::Open);
    for format in ["gzip", "zstd"] {
        registry.fill(&source.layout(), format);
        let home = home();
        let reference = name(&format!("{}/team/made:{format}", registry.server.address));
        let image = pull(&home.store, &reference, &quick(), &Silent).unwrap();
        assert_eq!(home.read(&image, "hello"), "hello\n");
        assert_eq!(home.store.resolve(&reference).unwrap().unwrap().digest, image.digest);
    }
}

#[test]
fn tls_needs_the_right_authority_and_a_password_the_right_one() {
    if !is_installed("docker-registry") || !is_installed("skopeo") {
        return;
    }
    let (source, _) = made(1000);
    let registry = start(&Guard::TlsAndPassword);
    registry.fill(&source.layout(), "gzip");
    let reference = name(&format!("{}/team/made:gzip", registry.server.address));
    let with = |ca: Option<PathBuf>, password: Option<&str>| {
        let credentials = password.map_or(CredentialSource::Anonymous, |password| {
            CredentialSource::Given(Credentials::Basic { username: "user".into(), password: password.into() })
        });
        let home = home();
        let options = PullOptions { ca, credentials, ..quick() };
        let pulled = pull(&home.store, &reference, &options, &Silent).map_err(|e| e.to_string());
        if pulled.is_err() {
            home.assert_empty();
        }
        pulled
    };
    let ca = || registry.ca.clone();
    assert!(with(ca(), Some("sesame open")).is_ok());
    let error = with(ca(), Some("wrong")).unwrap_err();
    assert!(error.contains("401") && !error.contains("wrong"), "{error}");
    let error = with(ca(), None).unwrap_err();
    assert!(error.contains("credentials"), "{error}");
    // The system's authorities do not vouch for it, and it is not asked without TLS instead.
    let error = with(None, Some("sesame open")).unwrap_err();
    assert!(
        error.contains("cannot reach registry") && error.to_lowercase().contains("certificate"),
        "{error}"
    );
}

#[test]
fn what_is_attached_is_found_and_nothing_beside_it_is_lost() {
    if !is_installed("docker-registry") || !is_installed("skopeo") {
        return;
    }
    let (source, _) = made(1000);
    for guard in [Guard::Open, Guard::TlsAndPassword] {
        let registry = start(&guard);
        registry.fill(&source.layout(), "gzip");
        let reference = name(&format!("{}/team/made:gzip", registry.server.address));
        let given = Credentials::Basic { username: "user".into(), password: "sesame open".into() };
        let options = match guard {
            Guard::Open => quick(),
            Guard::TlsAndPassword => PullOptions {
                ca: registry.ca.clone(),
                credentials: CredentialSource::Given(given),
                ..quick()
            },
        };
        let limits = Limits::default();
        let blob = |text: &str| NewBlob {
            media_type: "application/vnd.cyclonedx+json".into(),
            bytes: text.into(),
            annotations: vec![("a".into(), "b".into())],
        };
        let attach = |text: &str| {
            attach_remote(&reference, "application/x", &[blob(text)], &options, &limits).unwrap()
        };
        let (subject, first) = attach("one");
        let (_, second) = attach("two");
        // The same again changes nothing.
        assert_eq!(attach("one"), (subject.clone(), first.clone()));
        let found = attached_remote(&reference, &subject, &options, &limits, &|_, _| true).unwrap();
        let mut found: Vec<_> = found
            .iter()
            .map(|a| (a.digest.clone(), a.blobs[0].bytes.clone(), a.manifest.artifact_type.as_str()))
            .collect();
        found.sort();
        let mut expect =
            vec![(first, b"one".to_vec(), "application/x"), (second, b"two".to_vec(), "application/x")];
        expect.sort();
        assert_eq!(found, expect);
        // The image itself is what it was.
        let home = home();
        let pulled = pull(&home.store, &reference, &options, &Silent).unwrap();
        assert_eq!(pulled.digest, subject);
        if let Guard::TlsAndPassword = guard {
            let nobody = PullOptions { credentials: CredentialSource::Anonymous, ..options.clone() };
            let error =
                attach_remote(&reference, "application/x", &[blob("three")], &nobody, &limits).unwrap_err();
            assert!(error.to_string().contains("credentials"), "{error}");
        }
    }
}
