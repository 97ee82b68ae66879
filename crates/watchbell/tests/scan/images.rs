//! `watchbell scan` of an image by name: from the store, from a real registry (Debian package docker-registry), and by a bill of
//! materials that is attached to it there.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::registry::Registry;
use super::{stand, watchbell};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Puts the one image of a store into the registry, as `team/demo:1`; returns its digest.
fn push(registry: &Registry, images: &Path) -> String {
    for entry in fs::read_dir(images.join("blobs/sha256")).unwrap() {
        registry.put_blob("team/demo", &fs::read(entry.unwrap().path()).unwrap());
    }
    let index: Value = serde_json::from_slice(&fs::read(images.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let manifest = fs::read(images.join("blobs").join(digest.replace(':', "/"))).unwrap();
    registry.put_manifest("team/demo", "1", MANIFEST, &manifest);
    digest
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn an_image_is_scanned_by_its_name() {
    let dir = stand();
    let dir = dir.path();
    let built = watchbell(dir, "image build demo:1 --from scratch --copy root:/ --data-dir data");
    assert_eq!(built.code, Some(0), "{}", built.err);
    let scanned = |image: &str, line: &str| -> Value {
        let done = watchbell(dir, &format!("scan {image} --db db -o json {line}"));
        assert_eq!(done.code, Some(0), "{}", done.err);
        serde_json::from_str(&done.out).unwrap()
    };
    let ids = |document: &Value| -> Vec<String> {
        let list = document["vulnerabilities"].as_array().unwrap();
        list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let found = ["CVE-2024-1001", "CVE-2024-1002"];
    let of_store = scanned("demo:1", "--data-dir data");
    assert_eq!(ids(&of_store), found);
    assert_eq!(of_store["subject"]["repository"], "docker.io/library/demo");
    let found_by = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("docker-registry").exists()));
    if !found_by {
        eprintln!("NOT TESTED: docker-registry is not installed");
        return;
    }

    let registry = Registry::start(dir);
    let digest = push(&registry, &dir.join("data/images"));
    let name = format!("{}/team/demo:1", registry.address());
    let of_registry = scanned(&name, "--data-dir nowhere");
    assert_eq!((ids(&of_registry), &of_registry["subject"]["digest"]), (ids(&of_store), &json!(digest)));
    assert_eq!(of_registry["packages"], 3);

    let attached = format!("scan {name} --data-dir nowhere --db db -o json --sbom attached");
    let refused = watchbell(dir, &attached);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("can be used: there is none"), "{}", refused.err);
    // Somebody else's bill knows of one package; who wrote it is not known.
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "metadata": {"component": {"type": "container", "name": "demo", "version": digest}},
        "components": [{
            "type": "library", "name": "openssl", "version": "3.0.11-1~deb12u1",
            "purl": "pkg:deb/debian/openssl@3.0.11-1~deb12u1?arch=amd64&distro=debian-12",
        }],
    });
    fs::write(dir.join("bill.json"), bill.to_string()).unwrap();
    let pushed = watchbell(dir, &format!("image sbom push {name} --file bill.json --data-dir data"));
    assert_eq!(pushed.code, Some(0), "{}", pushed.err);
    let done = watchbell(dir, &attached);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("who wrote it was not verified"), "{}", done.err);
    let document: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((ids(&document), &document["packages"]), (vec!["CVE-2024-1001".to_owned()], &json!(1)));
    assert!(document["minimality"].is_object(), "everything else is the image's own");
    // Nobody is asked for it who did not say so.
    assert_eq!(scanned(&name, "--data-dir nowhere")["packages"], 3);
}
