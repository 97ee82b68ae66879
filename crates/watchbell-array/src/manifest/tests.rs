use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Entry, Manifest, Run, Writer};
use crate::digest::Digest;
use crate::tree::difference;

type Model = BTreeMap<String, (Digest, u64, (String, u32, u32))>;

fn run(name: &str) -> Run {
    Run { name: name.to_owned(), ..Run::default() }
}

fn model(manifest: &Manifest) -> Model {
    let of = |entry: &Entry| {
        let (run, writer) = manifest.writer(entry);
        (entry.key.clone(), (entry.digest, entry.size, (run.name.clone(), writer.index, writer.attempt)))
    };
    manifest.entries.iter().map(of).collect()
}

type Change = (BTreeMap<String, (u8, u32)>, BTreeSet<String>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let key = "[a-c]{1,2}/[0-3é]{1,3}";
    let written = proptest::collection::btree_map(key, (any::<u8>(), 0u32..4), 0..12);
    let removed = proptest::collection::btree_set(key, 0..6);
    proptest::collection::vec((written, removed), 1..5)
}

proptest! {
    #[test]
    fn a_manifest_is_what_its_runs_left(changes in changes()) {
        let (mut manifest, mut expected) = (Manifest::default(), Model::new());
        for (number, (written, removed)) in changes.into_iter().enumerate() {
            let name = format!("run-{number}");
            let of = |(key, (content, index)): (String, (u8, u32))| {
                (key, (Digest::of(&[content]), u64::from(content), index))
            };
            let written: BTreeMap<_, _> = written.into_iter().map(of).collect();
            let before = manifest.clone();
            let by = [0, 1, 2, 3].map(|index| (Writer { run: 0, index, attempt: 1 }, run(&name)));
            manifest = before.with(&by, &removed, &written);
            for key in &removed {
                expected.remove(key);
            }
            for (key, (digest, size, index)) in &written {
                expected.insert(key.clone(), (*digest, *size, (name.clone(), *index, 1)));
            }
            prop_assert_eq!(model(&manifest), expected.clone());
            // Whoever wrote nothing that is left is forgotten.
            let writers: BTreeSet<u32> = manifest.entries.iter().map(|entry| entry.writer).collect();
            prop_assert_eq!(writers.len(), manifest.writers.len());
            let runs: BTreeSet<u32> = manifest.writers.iter().map(|writer| writer.run).collect();
            prop_assert_eq!(runs.len(), manifest.runs.len());
            let bytes = manifest.encode();
            prop_assert_eq!(&Manifest::decode(Digest::of(&bytes), &bytes).unwrap(), &manifest);
            let changed = difference(&before, &manifest);
            let contents = |manifest: &Manifest, key: &str| manifest.get(key).map(|entry| entry.digest);
            for key in changed.keys() {
                prop_assert_ne!(contents(&before, key), contents(&manifest, key));
            }
            for entry in before.entries.iter().chain(&manifest.entries) {
                let differs = contents(&before, &entry.key) != contents(&manifest, &entry.key);
                prop_assert_eq!(differs, changed.keys().any(|key| key == entry.key));
            }
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..60) {
        let magic = [&super::MAGIC[..], &bytes].concat();
        let _ = Manifest::decode(Digest::of(&magic), &magic);
        let fine = Manifest {
            runs: vec![run("a")],
            writers: vec![Writer { run: 0, index: 0, attempt: 0 }],
            entries: vec![
                Entry { key: "a/0".to_owned(), digest: Digest::of(b"x"), size: 1, writer: 0 },
                Entry { key: "a/1".to_owned(), digest: Digest::of(b"y"), size: 1, writer: 0 },
            ],
        };
        let mut changed = fine.encode();
        let at = at % changed.len();
        changed[at] ^= 0x41;
        prop_assert!(Manifest::decode(Digest::of(&fine.encode()), &changed).is_err());
        if let Ok(read) = Manifest::decode(Digest::of(&changed), &changed) {
            prop_assert!(read.entries.is_sorted_by(|a, b| a.key < b.key));
            prop_assert_eq!(model(&read).len(), read.entries.len());
        }
    }
}

#[test]
fn keys_that_are_no_paths_or_meet_are_refused() {
    let read = |keys: &[&str]| {
        let entry =
            |key: &&str| Entry { key: (*key).to_owned(), digest: Digest::of(b"x"), size: 1, writer: 0 };
        let manifest = Manifest {
            runs: vec![run("a")],
            writers: vec![Writer { run: 0, index: 0, attempt: 0 }],
            entries: keys.iter().map(entry).collect(),
        };
        let bytes = manifest.encode();
        Manifest::decode(Digest::of(&bytes), &bytes).map(drop).map_err(|error| error.to_string())
    };
    for key in ["../x", "/x", "a//b", "a/./b", "a/..", "", "a\nb", "x/"] {
        assert!(read(&[key]).unwrap_err().contains("no file's path"), "{key:?}");
    }
    for keys in
        [&["a", "a/b"][..], &["a", "a-b", "a/b"], &["x/a", "x/a!", "x/a/b/c"], &["a/b", "a/b/c", "a/d"]]
    {
        assert!(read(keys).unwrap_err().contains("is a file"), "{keys:?}");
    }
    read(&["a-b", "a/b", "a/b-c", "a/bc/d", "ab", "b/a/b", "b/a/c", "é/é"]).unwrap();
}
