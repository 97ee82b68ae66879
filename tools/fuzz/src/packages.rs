//! What tells of packages, and bills of materials. The law of them all: it ends, holds little, and whatever was found can be
//! written down and read again.

use watchbell_scan::{Inventory, Subject, catalog, catalog_file, cyclonedx, read_document, spdx};

/// Every package that was found is in both bills, and comes out of them as one that is known.
fn check(inventory: &Inventory) {
    let subject = Subject { name: "fuzz".into(), digest: None, time: "2024-05-06T07:08:09Z".into() };
    for document in [cyclonedx(inventory, &subject), spdx(inventory, &subject)] {
        let read = read_document(document.to_string().as_bytes()).expect("a bill of our own is read");
        assert_eq!(read.inventory.packages.len(), inventory.packages.len(), "{document}");
    }
}

/// The first byte chooses the form of the data base.
pub fn rpm(data: &[u8]) {
    let Some((form, data)) = data.split_first() else { return };
    let name = ["rpmdb.sqlite", "Packages.db", "Packages"][usize::from(*form) % 3];
    check(&catalog_file(&format!("var/lib/rpm/{name}"), data.to_vec()));
}

pub fn program(data: &[u8]) {
    let mut file = b"\x7fELF".to_vec();
    file.extend_from_slice(data);
    for name in ["usr/bin/python3.11", "x.libs/libgomp-a34b3233.so.1"] {
        check(&catalog_file(name, file.clone()));
    }
}

pub fn jar(data: &[u8]) {
    let mut file = b"PK".to_vec();
    file.extend_from_slice(data);
    check(&catalog_file("app/lib-1.0.jar", file));
}

/// The first byte chooses which file it is.
pub fn file(data: &[u8]) {
    const FILES: [&str; 24] = [
        "etc/os-release",
        "var/lib/dpkg/status",
        "var/lib/dpkg/status.d/x",
        "var/lib/dpkg/info/x:amd64.list",
        "usr/share/doc/x/copyright",
        "lib/apk/db/installed",
        "x-1.dist-info/METADATA",
        "x-1.dist-info/RECORD",
        "conda-meta/x-1-0.json",
        "requirements.txt",
        "poetry.lock",
        "Pipfile.lock",
        "node_modules/x/package.json",
        "package-lock.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "Cargo.lock",
        "specifications/x-1.gemspec",
        "Gemfile.lock",
        "composer/installed.json",
        "composer.lock",
        "jdk/release",
        "x.egg-info/installed-files.txt",
        "uv.lock",
    ];
    let Some((which, data)) = data.split_first() else { return };
    check(&catalog_file(FILES[usize::from(*which) % FILES.len()], data.to_vec()));
}

/// What is read of a foreign bill can be written as one of ours.
pub fn bill(data: &[u8]) {
    if let Ok(read) = read_document(data) {
        check(&read.inventory);
    }
}

/// A layer of an image in an archive of `docker save`, whatever its compression.
pub fn layer(data: &[u8]) {
    use std::io::Write as _;
    use watchbell_image::{Digest, ImageContent, Limits, Platform};

    let platform = Platform::host();
    let config = serde_json::json!({
        "architecture": platform.architecture, "os": platform.os, "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(data).as_str()]},
    })
    .to_string();
    let manifest = r#"[{"Config":"c","Layers":["l"]}]"#;
    let mut file = tempfile::Builder::new().tempfile_in("/dev/shm").expect("memory");
    for (name, content) in [("manifest.json", manifest.as_bytes()), ("c", config.as_bytes()), ("l", data)] {
        file.write_all(&entry(name, content)).expect("memory");
    }
    file.write_all(&[0; 1024]).expect("memory");
    let limits = Limits { image_unpacked_bytes_max: 16 << 20, ..Limits::default() };
    if let Ok(image) = ImageContent::open(file.path(), None, &platform, &limits)
        && let Ok(inventory) = catalog(&image, 1)
    {
        check(&inventory);
    }
}

fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}
