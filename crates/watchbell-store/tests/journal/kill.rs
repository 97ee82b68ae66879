//! kill -9 at random instants: what was acknowledged is there, whole; what was not is there whole or not at all.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use watchbell_audit::Trust;
use watchbell_store::{Batch, RowKey, Store};

use crate::children::{child, dir_of_child};
use crate::log::check;
use crate::state::{array_pods, audit, config_map, entry, objects, open, put};

const KILLS: usize = 20;
const OBJECTS: u64 = 5;
const PODS: u32 = 20;
/// Batches whose rows are still there; each batch deletes those of the one before these.
const KEPT: u64 = 3;
/// Versions of a batch: its objects, its pods, the counter.
const VERSIONS: u64 = OBJECTS + PODS as u64 + 1;

fn object(batch: u64, i: u64) -> RowKey {
    config_map(&format!("batch-{batch}-{i}"))
}

fn pod(batch: u64, index: u32) -> RowKey {
    RowKey::ArrayPod { job: batch, index, attempt: 0 }
}

fn batch(n: u64) -> Batch {
    let text = n.to_string();
    let mut version = (n - 1) * VERSIONS;
    let mut next = || {
        version += 1;
        version
    };
    let mut batch =
        Batch { audit: vec![entry(&format!("{n} begins")), entry(&format!("{n} ends"))], ..Batch::default() };
    for i in 0..OBJECTS {
        // Larger than a page, so that a batch spreads over many.
        let head = text.repeat(2000);
        batch.puts.push(put(object(n, i), next(), Some(&head), Some(&text)));
    }
    for index in 0..PODS {
        batch.puts.push(put(pod(n, index), next(), None, Some(&text)));
    }
    batch.puts.push(put(config_map("counter"), next(), (n == 1).then_some("{}"), Some(&text)));
    if n > KEPT {
        batch.deletes.extend((0..OBJECTS).map(|i| object(n - KEPT, i)));
        batch.deletes.extend((0..PODS).map(|index| pod(n - KEPT, index)));
    }
    batch.resource_version = n * VERSIONS;
    batch
}

/// Checks that the journal holds exactly the batches up to some number, which it returns.
fn check_whole(store: &mut Store) -> u64 {
    let last = store.last_resource_version() / VERSIONS;
    assert_eq!(store.last_resource_version() % VERSIONS, 0, "half a batch");
    let log: Vec<_> = (1..=last).flat_map(|n| [format!("{n} begins"), format!("{n} ends")]).collect();
    assert_eq!(audit(store), log.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    let kept = || last.saturating_sub(KEPT - 1).max(1)..=last;
    let mut seen: Vec<_> =
        objects(store).into_iter().map(|o| (o.name.to_string(), o.head, o.status)).collect();
    seen.sort();
    let mut expect: Vec<_> = kept()
        .flat_map(|n| (0..OBJECTS).map(move |i| (n, i)))
        .map(|(n, i)| {
            let text = n.to_string();
            (format!("batch-{n}-{i}"), text.repeat(2000).into_bytes(), Some(text.into_bytes()))
        })
        .collect();
    if last > 0 {
        expect.push(("counter".into(), b"{}".to_vec(), Some(last.to_string().into_bytes())));
    }
    expect.sort();
    assert!(seen == expect, "the objects are not those of batches up to {last}");
    let seen: Vec<_> = array_pods(store).into_iter().map(|p| (p.job, p.index, p.status.unwrap())).collect();
    let expect: Vec<_> = kept()
        .filter(|n| *n > 0)
        .flat_map(|n| (0..PODS).map(move |index| (n, index, n.to_string().into_bytes())))
        .collect();
    assert!(seen == expect, "the array pods are not those of batches up to {last}");
    last
}

/// The child: commits until it is killed, and says so after each commit. Other threads checkpoint and write the audit log's
/// files all the while.
#[test]
fn part_commit_for_ever() {
    let Some(dir) = dir_of_child() else { return };
    let mut store = open(&dir);
    let mut beside = store.maintenance().unwrap();
    std::thread::spawn(move || {
        loop {
            beside.checkpoint().unwrap();
            std::thread::yield_now();
        }
    });
    let mut publisher = store.publisher().unwrap();
    std::thread::spawn(move || {
        loop {
            publisher.publish().unwrap();
            std::thread::yield_now();
        }
    });
    let first = check_whole(&mut store) + 1;
    let mut out = std::io::stdout().lock();
    // The harness has begun a line of its own.
    writeln!(out).unwrap();
    for n in first.. {
        store.commit(&batch(n)).unwrap();
        if n % 7 == 0 {
            store.checkpoint().unwrap();
        }
        // Fails when the parent is gone, which ends the child.
        writeln!(out, "committed {n}").unwrap();
    }
}

#[test]
fn no_acknowledged_batch_is_lost_and_none_is_halved() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = 0;
    for _ in 0..KILLS {
        let acknowledged = commit_and_kill(dir.path()).unwrap_or(durable);
        // Wherever its files and its journal were cut off, the log is verified as it lies there.
        if dir.path().join("audit/checkpoint").exists() {
            assert_eq!(check(dir.path(), &Trust::default()).damage, []);
        }
        let mut store = open(dir.path());
        let found = check_whole(&mut store);
        assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} is there");
        assert!(
            found <= acknowledged + 1,
            "{found} is there, yet {acknowledged} was the last one acknowledged"
        );
        durable = found;
    }
    assert!(durable > 0);
}

/// Kills the child some time after some of its commits, or after none. Returns the last one it acknowledged.
fn commit_and_kill(dir: &Path) -> Option<u64> {
    let mut child = child("kill::part_commit_for_ever", dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged =
        |line: std::io::Result<String>| line.unwrap().strip_prefix("committed ")?.parse::<u64>().ok();
    let random = RandomState::new().build_hasher().finish();
    // Now and then before it has committed anything: within its open.
    let last = match random % 8 {
        0 => None,
        commits => lines.by_ref().filter_map(acknowledged).nth(commits as usize - 1),
    };
    for _ in 0..(random >> 8) % 400_000 {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died counts.
    lines.filter_map(acknowledged).last().or(last)
}
