//! The seeds of the fuzz targets `array_store` and `s3_list` are what they are to be: of the format of today.

#[path = "../../../tools/fuzz/src/stores.rs"]
#[expect(unreachable_pub, reason = "it is written for a crate of its own")]
mod targets;

use std::path::PathBuf;

use watchbell_array::{Change, Digest, Entry, Manifest, Run, Snapshot, Writer, foreign};

fn seeds(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tools/fuzz/seeds", target].iter().collect()
}

/// Compares a seed; writes it where `WATCHBELL_WRITE_SEEDS` is set, for another format.
fn check(name: &str, kind: u8, content: &[u8]) {
    let path = seeds("array_store").join(name);
    let bytes = [&[kind], content].concat();
    if std::env::var_os("WATCHBELL_WRITE_SEEDS").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    targets::array_store(&bytes);
    assert!(std::fs::read(&path).unwrap() == bytes, "write {name} anew with WATCHBELL_WRITE_SEEDS=1");
}

fn run() -> Run {
    Run {
        name: "ml/train".into(),
        uid: "u".into(),
        image: "sha256:d".into(),
        user: "ada".into(),
        started_at: 1,
    }
}

fn manifest() -> Manifest {
    let entry =
        |key: &str, size| Entry { key: key.into(), digest: Digest::of(key.as_bytes()), size, writer: 0 };
    Manifest {
        runs: vec![run()],
        writers: vec![Writer { run: 0, index: 3, attempt: 1 }],
        entries: vec![entry("t/c/0", 3), entry("t/c/1", 4), entry("zarr.json", 5)],
    }
}

#[test]
fn stored_files_are_of_the_format_of_today() {
    let manifest = manifest();
    check("manifest", 0, &manifest.encode());
    assert_eq!(foreign::manifest(&manifest.encode()).unwrap(), manifest);
    let snapshot = Snapshot {
        format: 1,
        parent: Some(Digest::of(b"before")),
        manifest: Digest::of(&manifest.encode()),
        created_at: 2,
        message: "nightly".into(),
        by: run(),
        change: Change { added: 1, changed: 2, removed: 0 },
        keys: 3,
        bytes: manifest.bytes(),
    };
    check("snapshot", 1, &snapshot.encode());
    assert_eq!(foreign::snapshot(&snapshot.encode()).unwrap(), snapshot);
    let objects: [&[u8]; 2] = [b"one", b"three"];
    let magic = b"WBPACK\x00\x01";
    let mut held: Vec<(Digest, u64, u32)> =
        vec![(Digest::of(objects[0]), 8, 3), (Digest::of(objects[1]), 11, 5)];
    held.sort();
    let index: Vec<u8> = held
        .iter()
        .flat_map(|(digest, offset, length)| {
            [&digest.as_bytes()[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat()
        })
        .collect();
    let length = (index.len() as u64).to_le_bytes();
    let pack =
        [magic, objects[0], objects[1], &index, &length, Digest::of(&index).as_bytes(), magic].concat();
    check("pack", 2, &pack);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pack"), &pack).unwrap();
    assert_eq!(foreign::pack_index(&dir.path().join("pack")).unwrap(), held);
}

#[test]
fn lists_are_taken() {
    let page = |name: &str| {
        let text = std::fs::read_to_string(seeds("s3_list").join(name)).unwrap();
        targets::s3_list(text.as_bytes());
        foreign::bucket_page(&text).unwrap()
    };
    let (listed, next) = page("first");
    assert_eq!((listed.len(), next.as_deref()), (2, Some("1/a b&c=")));
    assert_eq!(listed[0], ("t/c/0+ é".to_owned(), 3));
    let (listed, next) = page("last");
    assert_eq!((listed.len(), next), (1, None));
}

/// Whoever made it can say any size.
#[test]
fn sizes_that_lie_are_added_up_all_the_same() {
    let mut manifest = manifest();
    manifest.entries[1].size = u64::MAX;
    assert_eq!(foreign::manifest(&manifest.encode()).unwrap().bytes(), u64::MAX);
}
