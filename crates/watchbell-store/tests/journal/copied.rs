//! An audit directory without its journal, such as a copy for an auditor: what is wrong is named and nothing else, and what was
//! copied beside a running server is not taken for damage.

use std::os::unix::fs::FileExt;
use std::path::Path;

use watchbell_audit::{Checkpoint, Listing, Log, SignatureKind, SigningKey, Trust, Verified, verify};

use crate::state::open;
use crate::tamper::{audit_dir, copy, files, grow};

fn check(dir: &Path) -> Verified {
    verify(Listing::read(dir).unwrap(), None, &Trust::default()).unwrap()
}

/// A copy of a log of 600 entries, whose last tile has partial forms of two sizes.
fn sample(dir: &Path) -> std::path::PathBuf {
    let data = dir.join("data");
    let mut store = open(&data);
    grow(&mut store, 550);
    grow(&mut store, 50);
    let copied = dir.join("copied");
    copy(&audit_dir(&data), &copied);
    copied
}

#[test]
fn a_changed_file_is_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let copied = sample(dir.path());
    assert_eq!(check(&copied).damage, []);
    for path in files(&copied).into_iter().filter(|path| path.to_str().unwrap().contains("/tile/")) {
        let name = path.strip_prefix(&copied).unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for at in [40, bytes.len() / 2, bytes.len() - 3] {
            file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
            let found = check(&copied);
            assert!(!found.is_whole(), "byte {at} of {name}");
            // A bundle that breaks off is told by its whole name.
            let whole = name.split(".p/").next().unwrap();
            for damage in &found.damage {
                assert!(damage.at == name || damage.at == whole, "byte {at}: {:?}", found.damage);
            }
            file.write_all_at(&[bytes[at]], at as u64).unwrap();
        }
    }
    assert_eq!(check(&copied).damage, []);
}

#[test]
fn a_missing_bundle_is_told_and_what_follows_is_checked_by_its_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let copied = sample(dir.path());
    std::fs::remove_file(copied.join("tile/entries/000")).unwrap();
    let found = check(&copied);
    let places: Vec<_> = found.damage.iter().map(|d| d.at.as_str()).collect();
    assert_eq!(places, ["tile/entries/000", "tile/entries/000"], "{:?}", found.damage);
    assert!(found.damage[0].what.contains("entries 0 to 255 are nowhere"));
    // Without the hashes too, nothing behind it can be checked, and is not called damaged.
    std::fs::remove_file(copied.join("tile/0/000")).unwrap();
    let found = check(&copied);
    assert!(found.damage[0].what.contains("entries 0 to 599 are nowhere"), "{:?}", found.damage);
    assert!(
        found.damage.iter().all(|d| !d.at.contains("001") && !d.at.contains("002")),
        "{:?}",
        found.damage
    );
    assert!(found.unchecked > 0);
}

/// Who copies beside a server gets a checkpoint and, later, tiles that are newer.
#[test]
fn a_directory_that_was_copied_while_it_grew_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = open(&data);
    grow(&mut store, 300);
    let early = dir.path().join("early");
    copy(&audit_dir(&data), &early);
    grow(&mut store, 500);
    let late = audit_dir(&data);
    let copied = dir.path().join("copied");
    copy(&late, &copied);
    std::fs::copy(early.join("checkpoint"), copied.join("checkpoint")).unwrap();
    let found = check(&copied);
    assert_eq!(found.damage, []);
    assert_eq!((found.logs[0].published, found.logs[0].entries), (300, 300));
    assert!(found.ahead >= 4, "{}", found.ahead);
    // What the checkpoint stands for is checked in the files that go on behind it, and what they go on with is not.
    let bundle = copied.join("tile/entries/001");
    let bytes = std::fs::read(&bundle).unwrap();
    for (at, is_whole) in [(40, false), (bytes.len() - 3, true)] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&bundle, changed).unwrap();
        assert_eq!(check(&copied).is_whole(), is_whole, "byte {at}");
    }
}

#[test]
fn partial_tiles_that_a_crash_left_are_counted_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = open(&data);
    grow(&mut store, 100);
    let early = dir.path().join("early");
    copy(&audit_dir(&data), &early);
    grow(&mut store, 200);
    assert_eq!(crate::log::check(&data, &Trust::default()).left_over, 0);
    for name in ["tile/0/000.p", "tile/entries/000.p"] {
        copy(&early.join(name), &audit_dir(&data).join(name));
    }
    let found = crate::log::check(&data, &Trust::default());
    assert_eq!((found.damage.as_slice(), found.left_over), (&[][..], 2));
    // They are checked like any, and a later start leaves them to whoever looks.
    grow(&mut store, 1);
    let tile = audit_dir(&data).join("tile/0/000.p/100");
    let bytes = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, [&bytes[1..], b"x"].concat()).unwrap();
    let found = crate::log::check(&data, &Trust::default());
    assert_eq!(found.damage[0].at, "tile/0/000.p/100");
}

/// A checkpoint can claim any size: the work is that of the files that are there.
#[test]
fn a_checkpoint_of_any_size_costs_no_more_than_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let copied = sample(dir.path());
    let log = Log::open(&copied).unwrap();
    let key = SigningKey::from_seed(&[1; 32]);
    let verifier = key.verifier(log.verifier.name(), SignatureKind::Ed25519).unwrap();
    std::fs::write(copied.join("verifier.pub"), format!("{verifier}\n")).unwrap();
    for size in [601, 1 << 20, u64::MAX - 1, u64::MAX] {
        let claimed = Checkpoint { size, ..log.checkpoint.clone() };
        std::fs::write(copied.join("checkpoint"), claimed.sign(&key, &verifier).to_string()).unwrap();
        let found = check(&copied);
        assert!(!found.is_whole(), "{size}");
        assert!(found.damage.len() < 10 && found.more_damage == 0, "{:?}", found.damage);
        let last = format!("entries 600 to {} are nowhere", size - 1);
        assert!(found.damage.iter().any(|d| d.what.contains(&last)), "{:?}", found.damage);
    }
    // A tile far away from all others is no reason to look for those between.
    let far = copied.join("tile/entries/x999/x999/x999/x999/999");
    std::fs::create_dir_all(far.parent().unwrap()).unwrap();
    std::fs::write(&far, [0; 600]).unwrap();
    assert!(check(&copied).unchecked > 0);
}
