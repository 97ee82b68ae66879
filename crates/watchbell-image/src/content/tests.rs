use std::fs;
use std::io::Read;

use super::ImageContent;
use crate::testing::{RawTar, TestLayer, dir, file, gzip, hard_link, raw, record, store, symlink};
use crate::{EntryKind, Limits, Platform, Reference, export};

/// Every entry of every layer with its content, a line each.
fn lines(content: &ImageContent) -> Result<Vec<String>, crate::Error> {
    let mut lines = Vec::new();
    for index in 0..content.image.layers.len() {
        let mut entries = content.entries(index, content.layer(index)?);
        while let Some(entry) = entries.next_entry()? {
            let mut text = String::new();
            entries.read_to_string(&mut text).map_err(|e| entries.content_error(e))?;
            assert_eq!(text.len() as u64, entry.size);
            lines.push(format!("{index} {} {text}", String::from_utf8_lossy(&entry.path)));
        }
    }
    Ok(lines)
}

#[test]
fn a_store_a_folder_and_an_archive_read_the_same() {
    let t = store();
    let lower = RawTar::of(&[dir("./etc/"), file("/etc//os-release", "ID=x"), symlink("lib", "usr/lib")]);
    let upper = RawTar::of(&[file("etc/.wh.os-release", ""), file("a", "1"), hard_link("b", "./a")]);
    let image = record(&t.store, "demo:1", &[TestLayer::gzip(&lower), TestLayer::zstd(&upper)]);
    let name = Reference::parse("demo:1").unwrap();
    let expect = ["0 etc ", "0 etc/os-release ID=x", "0 lib ", "1 etc/.wh.os-release ", "1 a 1", "1 b "]
        .map(str::to_owned);
    assert_eq!(lines(&t.store.content(image.clone(), None)).unwrap(), expect);

    let (platform, limits) = (Platform::host(), Limits::default());
    let folder = t.data().join("images");
    for wanted in [None, Some("1"), Some("docker.io/library/demo:1")] {
        let opened = ImageContent::open(&folder, wanted, &platform, &limits).unwrap();
        assert_eq!(opened.image.digest, image.digest);
        assert_eq!(opened.reference.as_ref(), Some(&name));
        assert_eq!(lines(&opened).unwrap(), expect);
    }
    let error = ImageContent::open(&folder, Some("2"), &platform, &limits).err().unwrap().to_string();
    assert!(error.contains("it holds no image \"2\"; it has: docker.io/library/demo:1"), "{error}");

    let mut archive = Vec::new();
    export(&t.store, &[name], &mut archive).unwrap();
    for (file, bytes) in [("plain.tar", archive.clone()), ("compressed.tar.gz", gzip(&archive))] {
        let path = t.outside.path().join(file);
        fs::write(&path, bytes).unwrap();
        let opened = ImageContent::open(&path, None, &platform, &limits).unwrap();
        assert_eq!(opened.image.digest, image.digest);
        assert_eq!(lines(&opened).unwrap(), expect);
    }
}

#[test]
fn a_blob_that_was_changed_is_an_error_at_its_end() {
    let t = store();
    let layer = TestLayer::plain(RawTar::of(&[file("a", "1")]));
    let image = record(&t.store, "demo:1", std::slice::from_ref(&layer));
    let mut bytes = layer.blob.clone();
    bytes[512] = b'2';
    fs::write(t.store.blob_path(&image.layers[0].digest), &bytes).unwrap();
    let error = lines(&t.store.content(image, None)).unwrap_err().to_string();
    assert!(error.contains("does not match its digest"), "{error}");
}

#[test]
fn holes_read_as_zeros() {
    let t = store();
    let mut tar = RawTar::default();
    tar.pax(&[("GNU.sparse.map", "2,2,6,1"), ("GNU.sparse.size", "9")]).push(&file("sparse", "abc"));
    let image = record(&t.store, "demo:1", &[TestLayer::plain(tar.end())]);
    assert_eq!(lines(&t.store.content(image, None)).unwrap(), ["0 sparse \0\0ab\0\0c\0\0"]);
}

#[test]
fn paths_that_lead_out_are_refused() {
    for bad in ["../x", "a/../../x", "a/.."] {
        let t = store();
        let image = record(&t.store, "demo:1", &[TestLayer::plain(RawTar::of(&[file(bad, "1")]))]);
        let error = lines(&t.store.content(image, None)).unwrap_err().to_string();
        assert!(error.contains("goes up"), "{error}");
    }
    let t = store();
    let image = record(&t.store, "demo:1", &[TestLayer::plain(RawTar::of(&[raw("dev/x", b'3')]))]);
    let content = t.store.content(image, None);
    let entry = content.entries(0, content.layer(0).unwrap()).next_entry().unwrap().unwrap();
    assert!(matches!(entry.kind, EntryKind::CharDevice { .. }));
}
