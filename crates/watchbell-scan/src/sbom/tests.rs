use serde_json::{Value, json};

use super::{Subject, cyclonedx, read_document, references, spdx};
use crate::finding::questions;
use crate::{Distribution, Evidence, Gap, Inventory, Location, Package, PackageKind, SourcePackage};
use watchbell_image::Digest;

fn package(kind: PackageKind, name: &str, version: &str) -> Package {
    Package {
        kind,
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: None,
        source: None,
        licences: Vec::new(),
        evidence: Evidence::Installed,
        locations: vec![Location { layer: Some(Digest::of(b"layer")), path: format!("opt/{name}") }],
        vendor: None,
        owned_by: None,
    }
}

/// One of each kind, with everything that can be said.
pub(super) fn inventory() -> Inventory {
    let mut deb = package(PackageKind::Deb, "python3-six", "1:1.16.0-4+b1");
    deb.architecture = Some("all".into());
    deb.source = Some(SourcePackage { name: "six".into(), version: "1.16.0-4".into() });
    deb.licences = vec!["MIT".into(), "GPL-2+".into(), "made up (c) by us".into()];
    let mut rpm = package(PackageKind::Rpm, "glibc", "2:2.34-60.el9");
    rpm.architecture = Some("x86_64".into());
    rpm.vendor = Some("Example".into());
    rpm.source = Some(SourcePackage { name: "glibc".into(), version: "2:2.34-60.el9".into() });
    let mut owned = package(PackageKind::Pypi, "Six_Seven", "1.16.0");
    owned.owned_by = Some(0);
    owned.licences = vec!["MIT OR Apache-2.0".into()];
    let mut conda = package(PackageKind::Conda, "zlib", "1.2");
    conda.architecture = Some("linux-64".into());
    let beside = Package { owned_by: None, licences: Vec::new(), ..owned.clone() };
    let mut packages = vec![deb, rpm, owned, beside, conda];
    for (kind, name, version) in [
        (PackageKind::Apk, "musl", "1.2.5-r0"),
        (PackageKind::Npm, "@scope/lib", "1.0.0"),
        (PackageKind::Cargo, "serde", "1.0.1"),
        (PackageKind::Golang, "github.com/a/b", ""),
        (PackageKind::Maven, "org.example:lib", "1.0"),
        (PackageKind::Gem, "rake", "13"),
        (PackageKind::Composer, "a/b", "v1"),
        (PackageKind::Generic, "libgomp", "1.0.0"),
    ] {
        packages.push(package(kind, name, version));
    }
    packages[5].source = Some(SourcePackage { name: "musl".into(), version: "1.2.5-r0".into() });
    Inventory {
        distribution: Some(Distribution {
            id: "debian".into(),
            id_like: vec!["a".into(), "b".into()],
            version_id: Some("12".into()),
            codename: Some("bookworm".into()),
            pretty_name: Some("Debian 12".into()),
        }),
        packages,
        gaps: vec![Gap {
            location: Location { layer: None, path: "bin/x".into() },
            reason: "not known".into(),
        }],
    }
}

pub(super) fn subject() -> Subject {
    Subject { name: "demo:1".into(), digest: Some(Digest::of(b"image")), time: "2024-05-06T07:08:09Z".into() }
}

#[test]
fn what_is_written_reads_back() {
    let (inventory, subject) = (inventory(), subject());
    let read = read_document(cyclonedx(&inventory, &subject).to_string().as_bytes()).unwrap();
    assert_eq!(read.digest, subject.digest);
    assert_eq!(read.subject.as_deref(), Some("demo:1"));
    assert_eq!(read.inventory.distribution, inventory.distribution);
    let expect: Vec<Package> =
        inventory.packages.iter().cloned().map(|p| Package { evidence: Evidence::Document, ..p }).collect();
    assert_eq!(read.inventory.packages, expect);
    assert_eq!(read.inventory.gaps.len(), 1);
    assert_eq!(read.inventory.gaps[0].reason, "it says of itself: bin/x: not known");

    let read = read_document(spdx(&inventory, &subject).to_string().as_bytes()).unwrap();
    assert_eq!(read.digest, subject.digest);
    let names = |i: &Inventory| -> Vec<_> {
        i.packages.iter().map(|p| (p.purl(i.distribution.as_ref()), p.owned_by, p.source.clone())).collect()
    };
    assert_eq!(names(&read.inventory), names(&inventory));
    assert!(read.inventory.gaps.is_empty(), "{:?}", read.inventory.gaps);
}

#[test]
fn a_bill_that_was_read_asks_what_its_image_asks() {
    let distributions = [("debian", "12"), ("alpine", "3.20"), ("rocky", "9")];
    let packages = [
        (PackageKind::Deb, "libx11-6", "2:1.8.4-2"),
        (PackageKind::Rpm, "ImageMagick", "1:6.9-1.el9"),
        (PackageKind::Apk, "musl", "1.2.5-r0"),
        (PackageKind::Pypi, "Zope.Interface", "5.0"),
        (PackageKind::Pypi, "Six_Seven", "1.0"),
        (PackageKind::Conda, "Zlib", "1.2"),
        (PackageKind::Npm, "JSONStream", "1.3.5"),
        (PackageKind::Npm, "@Scope/Lib", "1.0.0"),
        (PackageKind::Cargo, "Inflector", "0.11.4"),
        (PackageKind::Golang, "github.com/Masterminds/goutils", "v1.1.0"),
        (PackageKind::Golang, "github.com/masterminds/goutils", "v1.1.0"),
        (PackageKind::Maven, "org.yaml:SnakeYAML", "1.0"),
        (PackageKind::Gem, "RedCloth", "4.2.9"),
        (PackageKind::Composer, "Monolog/Monolog", "3.4.0"),
        (PackageKind::Generic, "OpenSSL", "3.0.1"),
    ];
    for (id, version) in distributions {
        let inventory = Inventory {
            distribution: Some(Distribution {
                id: id.into(),
                version_id: Some(version.into()),
                ..Distribution::default()
            }),
            packages: packages.iter().map(|(kind, name, version)| package(*kind, name, version)).collect(),
            gaps: Vec::new(),
        };
        let asked = questions(&inventory);
        assert_eq!(
            asked.questions.len(),
            packages.len() - 3,
            "all but conda's and those of two other formats"
        );
        for document in [cyclonedx(&inventory, &subject()), spdx(&inventory, &subject())] {
            let read = read_document(document.to_string().as_bytes()).unwrap().inventory;
            assert_eq!(questions(&read), asked, "{id}");
        }
    }
    // Others write a scope as the group, or the URL as the name is.
    let read = |component: Value| {
        let document = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [component]});
        read_document(document.to_string().as_bytes()).unwrap().inventory.packages.remove(0).name
    };
    let scope =
        json!({"type": "library", "group": "@Scope", "name": "Lib", "purl": "pkg:npm/%40scope/lib@1"});
    assert_eq!(read(scope), "@Scope/Lib");
    let path =
        json!({"type": "library", "name": "other", "purl": "pkg:golang/github.com/Masterminds/goutils@v1"});
    assert_eq!(read(path), "github.com/Masterminds/goutils");
}

#[test]
fn the_same_inventory_gives_the_same_bytes() {
    let (inventory, subject) = (inventory(), subject());
    assert_eq!(cyclonedx(&inventory, &subject).to_string(), cyclonedx(&inventory, &subject).to_string());
    let later = Subject { time: "2025-01-01T00:00:00Z".into(), ..subject.clone() };
    let serial = |s: &Subject| cyclonedx(&inventory, s)["serialNumber"].clone();
    assert_ne!(serial(&subject), serial(&later));
    assert_eq!(serial(&subject).as_str().unwrap().as_bytes()[9 + 14], b'8');
    let references = references(&inventory);
    assert_eq!(references[3], format!("{}#2", references[2]));
}

#[test]
fn licences_are_said_as_each_form_wants_them() {
    let cyclonedx = cyclonedx(&inventory(), &subject());
    assert_eq!(
        cyclonedx["components"][1]["licenses"],
        json!([{"license": {"id": "MIT"}}, {"license": {"name": "GPL-2+"}}, {"license": {"name": "made up (c) by us"}}])
    );
    assert_eq!(cyclonedx["components"][3]["licenses"], json!([{"expression": "MIT OR Apache-2.0"}]));
    let spdx = spdx(&inventory(), &subject());
    assert_eq!(
        spdx["packages"][1]["licenseDeclared"],
        "MIT AND LicenseRef-GPL-2- AND LicenseRef-made-up--c--by-us"
    );
}

/// The gaps that reading one component gives.
fn gaps(component: Value) -> (usize, Vec<String>) {
    let document = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [component]});
    let read = read_document(document.to_string().as_bytes()).unwrap();
    (read.inventory.packages.len(), read.inventory.gaps.into_iter().map(|g| g.reason).collect())
}

#[test]
fn contradictions_are_told_and_the_package_url_counts() {
    let component = |name: &str, version: &str, purl: &str| {
        gaps(json!({"type": "library", "name": name, "version": version, "purl": purl}))
    };
    let (count, told) = component("openssl", "3.0.0", "pkg:deb/debian/zlib1g@1.2?distro=debian-12");
    assert_eq!((count, told.len()), (1, 1));
    assert!(told[0].contains("the package URL counts"), "{told:?}");
    assert_eq!(component("zlib1g", "1.2", "pkg:deb/debian/zlib1g@1.2?distro=debian-12"), (1, vec![]));
    assert_eq!(component("lib", "1.0", "pkg:maven/org.example/lib@1.0"), (1, vec![]));
    assert_eq!(component("bash", "5.1-6", "pkg:rpm/rhel/bash@5.1-6?epoch=1"), (1, vec![]));
    for (purl, word) in [
        ("pkg:swift/x/y@1", "ecosystem"),
        ("npm/x@1", "does not begin with pkg:"),
        ("pkg:npm/%zz@1", "percent"),
        ("pkg:npm", "has no name"),
        ("pkg:npm/a%1b@1", "no package has"),
    ] {
        let (count, told) = component("x", "1", purl);
        assert_eq!(count, 0, "{purl}");
        assert!(told[0].contains(word), "{told:?}");
    }
    assert_eq!(gaps(json!({"type": "file", "name": "x"})), (0, vec![]));
    assert_eq!(gaps(json!({"type": "library", "name": "x"})).1.len(), 1);
}

#[test]
fn an_owner_that_is_not_there_is_told() {
    let owned = json!({"type": "library", "name": "x", "version": "1", "purl": "pkg:pypi/x@1", "bom-ref": "me",
        "properties": [{"name": "watchbell:owned-by", "value": "me"}]});
    let (count, told) = gaps(owned);
    assert_eq!(count, 1);
    assert!(told[0].contains("names an owner"), "{told:?}");
}

#[test]
fn what_is_no_bill_is_refused_with_the_way_out() {
    let check = |text: &str, expect: &str| {
        let error = read_document(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("<bom/>", "not valid JSON");
    check("{}", "neither bomFormat");
    check(r#"{"bomFormat":"CycloneDX","specVersion":"1.1"}"#, "write it again in 1.6");
    check(r#"{"spdxVersion":"SPDX-3.0"}"#, "which is not read");
    check(&"[".repeat(100_000), "not valid JSON");
    let many = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components":
        vec![json!({"type": "library", "name": "x", "purl": "nonsense"}); 1000]});
    let read = read_document(many.to_string().as_bytes()).unwrap();
    assert_eq!(read.inventory.gaps.len(), 51);
    assert_eq!(read.inventory.gaps[50].reason, "950 more of the like");
}

#[test]
fn attached_bills_are_found_and_judged() {
    use super::{BillForm, attached_bills, is_bill};
    use watchbell_image::{BuildSpec, Layout, NewBlob, NewManifest, Reference, Store, build_scratch};

    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let image = build_scratch(&store, &BuildSpec::default(), &Reference::parse("demo:1").unwrap()).unwrap();
    let lay = home.path().join("lay");
    copy_layout(&home.path().join("images"), &lay);
    let layout = Layout::open(&lay).unwrap();
    let right = Subject { digest: Some(image.digest.clone()), ..subject() };
    let attach = |artifact_type: &str, blob: NewBlob| {
        let manifest =
            NewManifest::Referrer { artifact_type: artifact_type.to_owned(), subject: image.digest.clone() };
        layout.attach(&manifest, &[blob]).unwrap()
    };
    let inventory = inventory();
    let form = BillForm::CycloneDx;
    let first = attach(form.media_type(), form.blob(&inventory, &right));
    // Another says nothing of its type but in its layer, and is of another image.
    let second = attach("application/x", BillForm::Spdx.blob(&inventory, &subject()));
    let broken = NewBlob { bytes: b"{".to_vec(), ..form.blob(&inventory, &right) };
    let third = attach(form.media_type(), broken);
    attach("application/x", NewBlob { media_type: "text/plain".into(), ..form.blob(&inventory, &right) });
    let artifacts = layout.attached(&image.digest, &is_bill).unwrap();
    let bills = attached_bills(&image.digest, &artifacts);
    let of = |digest: &Digest| bills.iter().find(|b| b.artifact == *digest).unwrap();
    assert_eq!(bills.len(), 3);
    let read = of(&first).read.as_ref().unwrap();
    assert_eq!(read.inventory.packages.len(), inventory.packages.len());
    assert!(read.inventory.gaps.iter().all(|g| !g.reason.contains("is attached to")));
    let read = of(&second).read.as_ref().unwrap();
    assert!(read.inventory.gaps[0].reason.contains("and says it is of"), "{:?}", read.inventory.gaps);
    assert!(of(&third).read.is_err());
}

/// A layout beside a store: in the store itself nothing is attached.
fn copy_layout(store: &std::path::Path, layout: &std::path::Path) {
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    for name in ["oci-layout", "index.json"] {
        std::fs::copy(store.join(name), layout.join(name)).unwrap();
    }
    for blob in std::fs::read_dir(store.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        std::fs::copy(blob.path(), layout.join("blobs/sha256").join(blob.file_name())).unwrap();
    }
}
