//! An import that is killed, and the next one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, walk};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// More than an import copies before it writes down what it has.
const CHUNKS: usize = 4_200;

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
        // Nobody publishes while this lock is held; all before that an import can do.
        let lock = File::open(place.0.path().join("data/arrays/default/obs/lock")).unwrap();
        lock.lock_shared().unwrap();
        let mut command = place.command("import obs plain --data-dir data");
        let mut import = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        let progress = || {
            let drafts = walk(&place.0.path().join("data/arrays/default/obs/drafts"));
            drafts.into_iter().find(|path| path.ends_with("progress"))
        };
        while progress().is_none_or(|path| fs::metadata(path).is_ok_and(|of| of.len() == 0)) {
            assert!(
                since.elapsed() < PATIENCE && import.try_wait().unwrap().is_none(),
                "it writes nothing down"
            );
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&import), Signal::KILL).unwrap();
        assert_eq!(import.wait().unwrap().signal(), Some(9));
        drop(lock);
        assert_eq!(place.array("verify obs -o json").out, before, "nothing of it is published");
        place.refused("show obs", 1, "the array has no snapshot yet");
        let staged = packs(&place, "drafts");
        assert!(!staged.is_empty());

        let done = place.array("import obs plain");
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(
            done.err.starts_with(&format!("{} keys: {0} added, 0 changed, 0 removed", CHUNKS + 2)),
            "{}",
            done.err
        );
        // What was written down is what is published; one that was not whole yet is not.
        let placed = packs(&place, "objects");
        assert!(staged.iter().any(|pack| placed.contains(pack)), "{staged:?} {placed:?}");
        assert!(progress().is_none());
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
    let lock = File::open(place.0.path().join("data/arrays/default/obs/lock")).unwrap();
    lock.lock_shared().unwrap();
    let mut command = place.command("import obs plain --data-dir data");
    let mut import = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    let drafts = place.0.path().join("data/arrays/default/obs/drafts");
    let has_progress = || {
        let files = walk(&drafts).into_iter().filter(|path| path.ends_with("progress"));
        files.filter_map(|path| fs::metadata(path).ok()).any(|of| of.len() > 0)
    };
    while !has_progress() {
        assert!(since.elapsed() < PATIENCE && import.try_wait().unwrap().is_none(), "it writes nothing down");
        std::thread::yield_now();
    }
    import.kill().unwrap();
    import.wait().unwrap();
    drop(lock);
    place.done("gc obs --keep-last 1");
    assert_eq!(fs::read_dir(&drafts).unwrap().count(), 0);
    place.done("import obs plain");
    assert!(place.done("verify obs").starts_with("verified 1 snapshots"));
}
