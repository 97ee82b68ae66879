//! The bills of materials by the judgement of others: the published schema of CycloneDX 1.6 (package cyclonedx-python-lib) and
//! the validation of SPDX's own library.

use std::path::{Path, PathBuf};
use std::process::Command;

use watchbell_image::Digest;
use watchbell_scan::{
    Distribution, Evidence, Gap, Inventory, Location, Package, PackageKind, SourcePackage, Subject,
    cyclonedx, spdx,
};

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python");
    let imports = "import cyclonedx.validation.json, jsonschema, spdx_tools";
    let is_there = Command::new(&python).args(["-c", imports]).output().is_ok_and(|o| o.status.success());
    if !is_there {
        eprintln!(
            "left out: no cyclonedx-python-lib or spdx-tools in target/test-venv (tools/test/setup installs them)"
        );
    }
    is_there.then_some(python)
}

/// Packages of every kind, with licences, owners, several places and what hostile files may put into a field.
fn inventory() -> Inventory {
    let layer = Digest::of(b"layer");
    let mut packages = Vec::new();
    let kinds = [
        (PackageKind::Deb, "libc6"),
        (PackageKind::Rpm, "glibc"),
        (PackageKind::Apk, "musl"),
        (PackageKind::Pypi, "Foo_Bar"),
        (PackageKind::Conda, "zlib"),
        (PackageKind::Npm, "@scope/lib"),
        (PackageKind::Cargo, "serde"),
        (PackageKind::Golang, "github.com/A/b/v2"),
        (PackageKind::Maven, "org.example:lib"),
        (PackageKind::Gem, "rake"),
        (PackageKind::Composer, "a/b"),
        (PackageKind::Generic, "libgomp"),
    ];
    let licences: [&[&str]; 5] = [
        &[],
        &["MIT"],
        &["MIT OR Apache-2.0"],
        &["GPL-2+", "made up (c) by \"us\" \u{fffd}", "BSD-3-Clause"],
        &["GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2+"],
    ];
    for (index, (kind, name)) in kinds.into_iter().enumerate() {
        for version in ["1:1.0-2+b1", "", "weird version/\u{e9}?#&%"] {
            packages.push(Package {
                kind,
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: Some("amd64".into()),
                source: Some(SourcePackage { name: "source".into(), version: "9".into() }),
                vendor: None,
                licences: licences[index % 5].iter().map(|l| (*l).to_owned()).collect(),
                evidence: Evidence::Installed,
                locations: vec![
                    Location { layer: Some(layer.clone()), path: "usr/lib/a b/\u{fffd}ff".into() },
                    Location { layer: None, path: "opt/x".into() },
                ],
                owned_by: (index > 2).then_some(0),
            });
        }
    }
    // The same package twice, once owned.
    let twice = Package { owned_by: None, ..packages[9].clone() };
    packages.push(twice);
    Inventory {
        distribution: Some(Distribution {
            id: "debian".into(),
            version_id: Some("12".into()),
            codename: Some("bookworm".into()),
            pretty_name: Some("Debian GNU/Linux 12 (bookworm)".into()),
            ..Distribution::default()
        }),
        packages,
        gaps: vec![Gap {
            location: Location { layer: Some(layer), path: "bin/x".into() },
            reason: "unknown".into(),
        }],
    }
}

fn check(form: &str, document: &serde_json::Value, python: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(if form == "spdx" { "bill.spdx.json" } else { "bill.json" });
    std::fs::write(&path, document.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sbom/validate.py");
    let output = Command::new(python).arg(script).arg(form).arg(&path).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{form}: {said}");
}

#[test]
fn both_forms_are_valid_by_their_own_publishers() {
    let Some(python) = python() else { return };
    let full = inventory();
    let empty = Inventory::default();
    for inventory in [&full, &empty] {
        for digest in [Some(Digest::of(b"image")), None] {
            let subject = Subject {
                name: "registry.example/a/b:1".into(),
                digest,
                time: "2024-05-06T07:08:09Z".into(),
            };
            check("cyclonedx", &cyclonedx(inventory, &subject), &python);
            check("spdx", &spdx(inventory, &subject), &python);
        }
    }
    // The check itself finds what is wrong.
    let mut wrong = cyclonedx(&full, &Subject { name: "x".into(), digest: None, time: "then".into() });
    wrong["components"][0]["type"] = "nonsense".into();
    let result = std::panic::catch_unwind(|| check("cyclonedx", &wrong, &python));
    assert!(result.is_err());
}
