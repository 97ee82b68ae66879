//! An import that is killed, and the next one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{Place, walk};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// More than an import copies before it writes down what it has.
const CHUNKS: usize = 4_200;

/// What an import has written down, where one is at it or was.
fn progress(place: &Place, array: &str) -> Option<PathBuf> {
    let drafts = walk(&place.0.path().join(format!("data/arrays/default/{array}/drafts")));
    drafts
        .into_iter()
        .find(|path| path.ends_with("progress") && fs::metadata(path).is_ok_and(|of| of.len() > 0))
}

/// Imports, and is killed once it has written down what it has, and before it publishes.
pub(crate) fn killed(place: &Place, array: &str, from: &str, variables: &[(&str, &str)]) {
    // Nobody publishes while this lock is held; all before that an import can do.
    let lock = File::open(place.0.path().join(format!("data/arrays/default/{array}/lock"))).unwrap();
    lock.lock_shared().unwrap();
    let mut command = place.command(&format!("import {array} {from} --data-dir data"));
    command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut import = command.spawn().unwrap();
    let since = Instant::now();
    while progress(place, array).is_none() {
        assert!(since.elapsed() < PATIENCE && import.try_wait().unwrap().is_none(), "it writes nothing down");
        std::thread::yield_now();
    }
    import.kill().unwrap();
    assert_eq!(import.wait().unwrap().signal(), Some(9));
}

/// Packs are renamed into place, and keep their inodes.
fn packs(place: &Place, below: &str) -> Vec<(PathBuf, u64)> {
    let files = walk(&place.0.path().join("data/arrays/default/obs").join(below));
    let packs = files.into_iter().filter(|path| path.parent().unwrap().ends_with("packs"));
    packs.map(|path| (PathBuf::from(path.file_name().unwrap()), fs::metadata(&path).unwrap().ino())).collect()
}

#[test]
fn an_import_that_is_killed_is_gone_on_with() {
    for create in ["create obs", "create obs --encrypt-key-file key"] {
        let place = Place::marked();
        place.key("key", "7", 0o600);
        let array = place.read("plain/t/zarr.json").unwrap().replace("[20]", &format!("[{}]", 2 * CHUNKS));
        place.write("plain/t/zarr.json", &array);
        (0..CHUNKS).for_each(|n| place.write(&format!("plain/t/c/{n}"), &format!("chunk {n}")));
        place.done(create);
        let before = place.array("verify obs -o json").out;
        killed(&place, "obs", "plain", &[]);
        assert_eq!(place.array("verify obs -o json").out, before, "nothing of it is published");
        place.refused("show obs", 1, "the array has no snapshot yet");
        let staged = packs(&place, "drafts");
        assert!(!staged.is_empty());

        let done = place.array("import obs plain");
        assert_eq!(done.code, Some(0), "{}", done.err);
        let told = format!("{} keys: {0} added, 0 changed, 0 removed", CHUNKS + 2);
        assert!(done.err.starts_with(&told), "{}", done.err);
        // What was written down is what is published; one that was not whole yet is not.
        let placed = packs(&place, "objects");
        assert!(staged.iter().any(|pack| placed.contains(pack)), "{staged:?} {placed:?}");
        assert_eq!(progress(&place, "obs"), None);
        assert!(place.done("verify obs").starts_with("verified 1 snapshots"));
        place.done("export obs out");
        for n in [0, 1, 4_095, 4_096, CHUNKS - 1] {
            assert_eq!(place.read(&format!("out/t/c/{n}")), Some(format!("chunk {n}")));
        }
        assert_eq!(walk(&place.0.path().join("out")).len(), CHUNKS + 2);
    }
}

/// What is killed leaves no more than a sweep takes away.
#[test]
fn what_a_killed_import_left_is_swept() {
    let place = Place::new();
    place.done("create obs");
    killed(&place, "obs", "plain", &[]);
    place.done("gc obs --keep-last 1");
    let drafts = place.0.path().join("data/arrays/default/obs/drafts");
    assert_eq!(fs::read_dir(&drafts).unwrap().count(), 0);
    place.done("import obs plain");
    assert!(place.done("verify obs").starts_with("verified 1 snapshots"));
}
