//! The seeds of the fuzz targets `array_store`, `s3_list` and `s3_parts` are what they are to be: of the format of today.

#[path = "../../../tools/fuzz/src/stores.rs"]
#[expect(unreachable_pub, reason = "it is written for a crate of its own")]
mod targets;

use std::path::PathBuf;

use watchbell_array::{
    Array, Change, Digest, Disk, Entry, KeptSource, KeySource, Kind, Manifest, Run, Snapshot, Writer, foreign,
};

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
fn what_an_index_committed_is_of_the_format_of_today() {
    // An index, number, image and user of its attempt, keys with objects and sizes, keys that are gone.
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let content = [
        &[3, 1][..],
        &text("sha256:d"),
        &text("ada"),
        &[1],
        &text("t/c/0"),
        Digest::of(b"one").as_bytes(),
        &[3, 1],
        &text("t/c/1"),
    ]
    .concat();
    let record = [&b"WBARIX\x00\x02"[..], Digest::of(&content).as_bytes(), &content].concat();
    check("index", 3, &record);
    let (committed, encoded) = foreign::index_record(&record).unwrap();
    assert_eq!((committed.index, committed.written[0].2, &*committed.removed[0]), (3, 3, "t/c/1"));
    assert!(encoded == record);
}

/// Its root and salt are random: that the seed opens is all there is to it.
#[test]
fn what_lies_beside_an_encrypted_array_is_opened() {
    let path = seeds("array_store").join("encryption");
    if std::env::var_os("WATCHBELL_WRITE_SEEDS").is_some() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, targets::KEY).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let key = KeySource::File(key).key().unwrap();
        let array = dir.path().join("ml/obs");
        std::fs::create_dir(dir.path().join("ml")).unwrap();
        let sealed = Some((KeptSource::Named("obs".to_owned()), &key));
        Array::create_of(&array, Disk::default(), Kind::Zarr, sealed).unwrap();
        let header = std::fs::read(array.join("encryption")).unwrap();
        std::fs::write(&path, [&[4], &header[..]].concat()).unwrap();
    }
    let seed = std::fs::read(&path).unwrap();
    targets::array_store(&seed);
    foreign::encryption(&seed[1..], targets::KEY, "ml/obs").unwrap();
    assert!(foreign::encryption(&seed[1..], [8; 32], "ml/obs").is_err());
    assert!(foreign::encryption(&seed[1..], targets::KEY, "ml/other").is_err());
}

#[test]
fn lists_of_parts_are_taken() {
    let text = std::fs::read_to_string(seeds("s3_parts").join("first")).unwrap();
    targets::s3_parts(text.as_bytes());
    let (parts, next) = foreign::bucket_parts(&text).unwrap();
    assert_eq!(parts, [(1, (8 << 20, "\"a\"".to_owned())), (2, (5, "\"b\"".to_owned()))].into());
    assert_eq!(next.as_deref(), Some("2"));
    // A list that is whole goes on nowhere.
    let whole = text.replace("<IsTruncated>true", "<IsTruncated>false");
    assert_eq!(foreign::bucket_parts(&whole).unwrap().1, None);
    let odd = text.replace("<Size>5</Size>", "<Size>five</Size>");
    assert!(foreign::bucket_parts(&odd).unwrap_err().contains("another form"));
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
