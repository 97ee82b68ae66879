//! `kill -9` in the middle: of a request before its work, after its work, between the lines of a file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::cluster::{Cluster, Fault, Moment};
use crate::journal::{append, check_indexes, end, open, start, wait};
use crate::{elasticsearch, file};

const DIR: &str = "WATCHBELL_EXPORT_CHILD_DIR";
const URL: &str = "WATCHBELL_EXPORT_CHILD_URL";

fn options(dir: &Path, url: &str) -> watchbell_export::Options {
    let mut options = file::to(&dir.join("logs/audit.ndjson"), 400_000);
    options.elasticsearch = elasticsearch::to(url).elasticsearch;
    options
}

/// Not a test by itself: a server that only audits, until it is killed.
#[test]
fn child_that_writes_and_exports() {
    let (Some(dir), Some(url)) = (std::env::var_os(DIR), std::env::var(URL).ok()) else { return };
    let dir = PathBuf::from(dir);
    let mut store = open(&dir.join("data"));
    let exports = start(&store, &dir.join("data"), &options(&dir, &url));
    println!("started");
    // More than it lives to write.
    for _ in 0..20_000 {
        append(&mut store, 7);
    }
    end(store, exports);
}

fn spawn(dir: &Path, url: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child_that_writes_and_exports", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(URL, url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = lines.any(|line| line.is_ok_and(|line| line.ends_with("started")));
    assert!(started, "the child did not start");
    // It prints nothing more; the pipe goes with the reader.
    child
}

#[test]
fn nothing_is_lost_and_nothing_is_there_twice_after_kill_9_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    // The child that the next request of this number kills, at this moment.
    let victim: Arc<Mutex<Option<(Child, Moment)>>> = Arc::default();
    let hand = victim.clone();
    let faults = [Fault::None, Fault::CutBeforeAnswer, Fault::SomeBusy, Fault::None, Fault::TruncatedAnswer];
    let cluster = Cluster::start_killing(&faults, move |number, moment| {
        if !number.is_multiple_of(2) {
            return;
        }
        let mut hand = hand.lock().unwrap();
        if hand.as_ref().is_some_and(|(_, at)| *at == moment)
            && let Some((mut child, _)) = hand.take()
        {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
    let kills = 6;
    for n in 0..kills {
        let child = spawn(dir.path(), &cluster.url());
        let moment = if n % 2 == 0 { Moment::BeforeWork } else { Moment::AfterWork };
        *victim.lock().unwrap() = Some((child, moment));
        wait("the child is killed", || victim.lock().unwrap().is_none());
    }
    // The rest, in peace.
    let store = open(&dir.path().join("data"));
    let total = store.last_audit_sequence();
    let exports = start(&store, &dir.path().join("data"), &options(dir.path(), &cluster.url()));
    wait("all have caught up", || {
        let text = exports.metrics().render(jiff::Timestamp::now());
        text.lines()
            .filter(|l| l.starts_with("watchbell_audit_export_lag_entries{"))
            .all(|l| l.ends_with(" 0"))
    });
    end(store, exports);
    assert!(total > 0);
    cluster.check_all(total, &[]);
    let path = dir.path().join("logs/audit.ndjson");
    check_indexes(&file::indexes(&path), (0..total).collect());
}
