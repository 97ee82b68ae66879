//! A disk without room, and one that fails.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use watchbell_store::{Batch, Error, Options, Put, ReserveState, Store};

use crate::children::{child_of_shell, dir_of_child};
use crate::state::{audit, config_map, entry, objects, open, put, puts};
use crate::tamper::copy;

const RESERVE_BYTES: u64 = 512 << 10;

fn options() -> Options {
    Options { reserve_bytes: RESERVE_BYTES, ..Options::default() }
}

fn large(n: u64) -> Batch {
    let text = "x".repeat(64 << 10);
    let put = put(config_map(&format!("large-{n}")), n, Some(&text), None);
    Batch { audit: vec![entry(&n.to_string())], ..puts(n, vec![put]) }
}

/// Commits until the store refuses; checkpoints above so many bytes of WAL. Returns how many it took, and the refusal.
fn fill(store: &mut Store, wal_bytes: u64) -> (u64, Error) {
    let first = store.last_resource_version() + 1;
    for n in first.. {
        match store.commit(&large(n)) {
            Err(error) => return (n - 1, error),
            // Even with the disk all but full, the WAL can be emptied with the help of the reserve.
            Ok(committed) if committed.wal_bytes > wal_bytes => {
                store.checkpoint().unwrap();
            }
            Ok(_) => {}
        }
    }
    unreachable!("the disk is finite")
}

fn check_holds(store: &mut Store, deleted: u64, last: u64) {
    let names: Vec<_> = objects(store).into_iter().map(|o| o.name.to_string()).collect();
    let expect: Vec<_> = (deleted + 1..=last).map(|n| format!("large-{n}")).collect();
    assert_eq!(names, expect);
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "the child failed ({}); it needs root, or a user namespace with mounts:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a part on a disk of 8 MiB.
fn run_on_a_small_disk(part: &str) {
    let dir = tempfile::tempdir().unwrap();
    // The mount is in a namespace of the child's own and goes with it.
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--map-root-user", "--mount"]
    };
    let script =
        "trap '' XFSZ; mount -t tmpfs -o size=8m,mode=0700 tmpfs \"$WATCHBELL_STORE_CHILD_DIR\"; exec \"$@\"";
    run(child_of_shell(wrapper, script, part, dir.path()));
}

#[test]
fn a_full_disk_refuses_puts_and_takes_deletes() {
    run_on_a_small_disk("full_disk::part_on_a_small_disk");
}

/// Takes all that is left of the disk.
fn take_the_rest(path: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let page = [0u8; 4096];
    while file.write_all(&page).is_ok() {}
}

#[test]
fn part_on_a_small_disk() {
    let Some(disk) = dir_of_child() else { return };
    let (dir, ballast) = (disk.join("data"), disk.join("ballast"));
    let (mut store, report) = Store::open_with(&dir, &options()).unwrap();
    assert_eq!(report.reserve, ReserveState::Held);
    let (last, error) = fill(&mut store, RESERVE_BYTES / 2);
    assert!(last > 10, "{last}");
    assert!(matches!(error, Error::DiskFull { .. }) && !error.is_fatal(), "{error}");
    let text = error.to_string();
    assert!(text.contains("no space left") && text.contains("delete objects or free space"), "{text}");
    take_the_rest(&ballast);

    // Refused again, the reserve untouched, and all is there.
    assert!(matches!(store.commit(&large(last + 1)), Err(Error::DiskFull { .. })));
    check_holds(&mut store, 0, last);
    // A delete goes through, with its audit entry.
    let delete = |from: u64, to: u64| Batch {
        resource_version: last + to,
        deletes: (from..=to).map(|n| config_map(&format!("large-{n}"))).collect(),
        audit: vec![entry("deleted")],
        may_use_reserve: true,
        ..Batch::default()
    };
    let text = "x".repeat(60 << 10);
    let with_entries = |count: usize| Batch { audit: vec![entry(&text); count], ..delete(1, 1) };
    // The reserve does not serve what was not meant for it.
    let others = Batch { may_use_reserve: false, ..with_entries(4) };
    assert!(matches!(store.commit(&others), Err(Error::DiskFull { .. })));
    let blob = "x".repeat(100 << 10);
    let with_put = |head: Option<&str>| {
        let puts = vec![put(config_map("large-9"), last + 2, head, Some(&blob))];
        Batch { puts, ..delete(1, 2) }
    };
    assert!(matches!(store.commit(&with_put(Some(&blob))), Err(Error::DiskFull { .. })));
    // What is more than the reserve is refused, and leaves it to others.
    for _ in 0..2 {
        assert!(matches!(store.commit(&with_entries(20)), Err(Error::DiskFull { .. })));
        assert_eq!(dir.join("reserve").metadata().unwrap().len(), RESERVE_BYTES);
    }
    check_holds(&mut store, 0, last);
    // Nor does a status in the place of another keep it from a delete.
    store.commit(&with_put(None)).unwrap();
    check_holds(&mut store, 2, last);
    drop(store);

    // The journal opens on a full disk, and takes deletes again.
    take_the_rest(&ballast);
    let (mut store, _) = Store::open_with(&dir, &options()).unwrap();
    check_holds(&mut store, 2, last);
    store.commit(&delete(3, 4)).unwrap();
    check_holds(&mut store, 4, last);
    assert_eq!(audit(&mut store).len() as u64, last + 2);
    // What is written makes the journal larger, and others take what is left: the reserve shrinks, and serves as long as it lasts.
    for _ in 0..100 {
        take_the_rest(&ballast);
        let small = Batch { deletes: Vec::new(), audit: vec![entry(&"x".repeat(1000))], ..delete(4, 4) };
        store.commit(&small).unwrap();
    }
    take_the_rest(&ballast);
    store.commit(&delete(5, 5)).unwrap();
    check_holds(&mut store, 5, last);

    // With room again, the reserve comes back and puts go on.
    std::fs::remove_file(&ballast).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.refill_reserve().unwrap(), ReserveState::Held);
    let next = last + 6;
    let committed =
        store.commit(&puts(next, vec![put(config_map("small"), next, Some("{}"), None)])).unwrap();
    assert_eq!(committed.reserve, ReserveState::Held);
    assert_eq!(store.release_reserve().unwrap(), ReserveState::Held);
    assert_eq!(store.release_reserve().unwrap(), ReserveState::Released);
}

/// A file system that has no more for a user refuses its writes by another error than one that is full; so does a limit on the
/// size of files.
#[test]
fn a_full_disk_may_refuse_by_another_error() {
    run_on_a_small_disk("full_disk::part_with_writes_refused");
}

#[test]
fn part_with_writes_refused() {
    let Some(disk) = dir_of_child() else { return };
    let (dir, ballast) = (disk.join("data"), disk.join("ballast"));
    let wal = dir.join("journal.db-wal");
    let (mut store, _) = Store::open_with(&dir, &options()).unwrap();
    let change = |version| {
        puts(version, large(1).puts.into_iter().map(|put| Put { resource_version: version, ..put }).collect())
    };
    let mut version = 0;
    while wal.metadata().unwrap().len() <= RESERVE_BYTES {
        version += 1;
        store.commit(&change(version)).unwrap();
    }
    take_the_rest(&ballast);
    limit_files(wal.metadata().unwrap().len());
    let error = store.commit(&change(version + 1)).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    check_holds(&mut store, 0, 1);
    // The store lives, and the reserve serves.
    let delete = Batch {
        resource_version: version + 1,
        deletes: vec![config_map("large-1")],
        may_use_reserve: true,
        ..Batch::default()
    };
    assert_eq!(store.commit(&delete).unwrap().reserve, ReserveState::Held);
    check_holds(&mut store, 1, 1);
}

/// A limit on the size of files makes writes fail with EFBIG: an I/O error that is not "no space".
#[test]
fn an_io_error_ends_the_store() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of ulimit are 512 bytes or 1 KiB, as the shell likes.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$@\"";
    run(child_of_shell(&[], script, "full_disk::part_with_a_file_size_limit", dir.path()));
    let last: u64 = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap().parse().unwrap();
    let mut store = open(&dir.path().join("data"));
    check_holds(&mut store, 0, last);
    // The limit is gone, and so is the failure.
    store.commit(&large(last + 1)).unwrap();
}

#[test]
fn part_with_a_file_size_limit() {
    let Some(dir) = dir_of_child() else { return };
    let (mut store, _) = Store::open_with(&dir.join("data"), &options()).unwrap();
    let reader = store.audit_reader().unwrap();
    let (last, error) = fill(&mut store, u64::MAX);
    assert!(matches!(error, Error::Fatal { .. }) && error.is_fatal(), "{error}");
    // Nothing is tried after it, not even what could work.
    let small = puts(last + 1, vec![put(config_map("small"), last + 1, Some("{}"), None)]);
    for refused in [store.commit(&small).map(|_| ()), store.checkpoint().map(|_| ())] {
        match refused {
            Err(Error::Fatal { cause, .. }) => assert!(cause.starts_with("an earlier failure"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    // Nobody moves a WAL of which it is not known what is durable, not even who is the last to leave.
    drop(store);
    drop(reader);
    assert!(dir.join("data/journal.db-wal").metadata().unwrap().len() > 0);
    std::fs::write(dir.join("acknowledged"), last.to_string()).unwrap();
}

/// A start goes on behind nothing that it could not write: neither what it replays nor its own boot.
#[test]
fn a_start_that_cannot_write_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (data, crashed) = (dir.path().join("data"), dir.path().join("crashed"));
    let mut store = open(&data);
    store.commit(&large(1)).unwrap();
    // With its WAL, as after a crash.
    copy(&data, &crashed);
    let script = "trap '' XFSZ; exec \"$@\"";
    run(child_of_shell(&[], script, "full_disk::part_with_a_limit_at_the_wal", dir.path()));
    let (mut store, report) = Store::open(&crashed).unwrap();
    check_holds(&mut store, 0, 1);
    assert_eq!(report.boot.number, 2);
}

#[test]
fn part_with_a_limit_at_the_wal() {
    let Some(dir) = dir_of_child() else { return };
    let dir = dir.join("crashed");
    let wal = dir.join("journal.db-wal");
    let bytes = wal.metadata().unwrap().len();
    limit_files(bytes - 1);
    let error = Store::open(&dir).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == wal), "{error}");
    limit_files(bytes);
    let error = Store::open(&dir).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Fatal { .. }), "{error}");
    // Nor was it moved.
    assert_eq!(wal.metadata().unwrap().len(), bytes);
}

/// What would make a file longer fails with EFBIG.
fn limit_files(bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: None };
    setrlimit(Resource::Fsize, limit).unwrap();
}
