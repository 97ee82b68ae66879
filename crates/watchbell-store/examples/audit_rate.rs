//! What the audit log costs: entries a second, a full check of them, and the commits of a large array with and without entries.
//!
//! `cargo run --release -p watchbell-store --example audit_rate [-- ENTRIES [DIR]]`, in a directory of its own below DIR.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watchbell_audit::{Journal, Listing, Trust, verify};
use watchbell_store::{AuditEntry, Batch, LogReader, Put, RowKey, Seal, Store};

/// About the size of a request's entry.
const ENTRY_BYTES: usize = 640;
/// Of a large array: pods, how many are put in a commit, and how often each is.
const ARRAY: u32 = 10_000;
const PODS_A_COMMIT: u32 = 25;
const PUTS_A_POD: u32 = 2;
const ROUNDS: usize = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args_os().skip(1);
    let total: u64 = args.next().map_or(Ok(1_000_000), |text| text.to_string_lossy().parse())?;
    let below = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(below)?;
    println!("{}, entries of {ENTRY_BYTES} bytes", dir.path().display());
    println!("\n{:>8}  {:>12}  {:>14}", "a commit", "entries/s", "µs a commit");
    for size in [1, 10, 100, 1000] {
        append(&dir.path().join(size.to_string()), size, (size * 2000).min(200_000))?;
    }
    check(&dir.path().join("large"), total)?;
    array(dir.path())
}

fn entry(n: u64) -> AuditEntry {
    let mut body =
        format!(r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{n:036}","padding":""#);
    while body.len() < ENTRY_BYTES - 2 {
        body.push((b'a' + (body.len() as u64 * n % 26) as u8) as char);
    }
    body.push_str("\"}");
    AuditEntry { at_unix_nanos: n.cast_signed(), body: body.into_bytes() }
}

/// Commits while a thread writes the log's files, and waits for the last of them.
fn append(dir: &Path, size: u64, total: u64) -> Result<(), Failure> {
    let (mut store, _) = Store::open(dir)?;
    let mut publisher = store.publisher()?;
    let (sender, ask) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::spawn(move || -> Result<u64, watchbell_store::Error> {
        let mut published = 0;
        while ask.recv().is_ok() {
            published = publisher.publish()?;
        }
        published = published.max(publisher.publish()?);
        Ok(published)
    });
    let mut in_commits = Duration::ZERO;
    let began = Instant::now();
    for first in (0..total).step_by(size as usize) {
        let audit = (first..first + size).map(entry).collect();
        let batch = Batch { audit, ..Batch::default() };
        let commit = Instant::now();
        let committed = store.commit(&batch)?;
        in_commits += commit.elapsed();
        let _ = sender.try_send(());
        if committed.wal_bytes > 16 << 20 {
            store.checkpoint()?;
        }
    }
    let appended = began.elapsed();
    drop(sender);
    let published = thread.join().map_err(|_| "the publishing thread panicked")??;
    assert_eq!(published, total);
    println!(
        "{size:>8}  {:>12.0}  {:>14.0}   the files {} ms behind at the end",
        total as f64 / appended.as_secs_f64(),
        in_commits.as_secs_f64() * 1e6 / (total / size) as f64,
        (began.elapsed() - appended).as_millis()
    );
    Ok(())
}

fn check(dir: &Path, total: u64) -> Result<(), Failure> {
    let (mut store, _) = Store::open(dir)?;
    for first in (0..total).step_by(1000) {
        let audit = (first..(first + 1000).min(total)).map(entry).collect();
        if store.commit(&Batch { audit, ..Batch::default() })?.wal_bytes > 16 << 20 {
            store.checkpoint()?;
        }
    }
    let began = Instant::now();
    store.publisher()?.publish()?;
    println!("\nfiles of {total} entries written: {:.2} s", began.elapsed().as_secs_f64());
    drop(store);
    let began = Instant::now();
    let listing = Listing::read(&dir.join("audit"))?;
    let reader = LogReader::open(dir)?;
    let heads = reader.heads()?;
    let journal = Journal {
        logs: heads.logs,
        current: heads.current,
        rows: Box::new(|range, each| reader.rows(range, each).map_err(|e| e.to_string())),
    };
    let found = verify(listing, Some(journal), &Trust::default())?;
    assert!(found.is_whole(), "{:?}", found.damage);
    println!("all of them verified, files and journal: {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// The commits of a large array, in turn with an entry each and without one. The process's own time is what is compared: the
/// fsync is the same for both.
fn array(dir: &Path) -> Result<(), Failure> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        with.push(run_array(&dir.join(format!("with-{round}")), Entries::OneACommit)?);
        without.push(run_array(&dir.join(format!("without-{round}")), Entries::None)?);
    }
    let median = |mut times: Vec<(Duration, Duration)>| {
        times.sort();
        times[times.len() / 2]
    };
    let ((with, with_cpu), (without, without_cpu)) = (median(with), median(without));
    println!(
        "\nthe journal's work for an array of {ARRAY}: {} ms with entries and their log, {} ms without: {:.2} times\n\
         of that processor time: {} ms and {} ms; auditing costs {:.1} µs an index",
        with.as_millis(),
        without.as_millis(),
        with.as_secs_f64() / without.as_secs_f64(),
        with_cpu.as_millis(),
        without_cpu.as_millis(),
        (with_cpu.as_secs_f64() - without_cpu.as_secs_f64()) * 1e6 / f64::from(ARRAY),
    );
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    OneACommit,
    None,
}

fn run_array(dir: &Path, entries: Entries) -> Result<(Duration, Duration), Failure> {
    let (mut store, _) = Store::open(dir)?;
    let (began, cpu) = (Instant::now(), processor_time());
    let mut version = 0;
    for put in 0..PUTS_A_POD {
        for first in (0..ARRAY).step_by(PODS_A_COMMIT as usize) {
            let puts = (first..first + PODS_A_COMMIT)
                .map(|index| {
                    version += 1;
                    let key = RowKey::ArrayPod { job: 1, index, attempt: 0 };
                    let status = Some(vec![put as u8; 60]);
                    Put { key, resource_version: version, head: None, status, seal: Seal::Plain }
                })
                .collect();
            let audit = if entries == Entries::OneACommit { vec![entry(version)] } else { Vec::new() };
            let batch = Batch { resource_version: version, puts, audit, ..Batch::default() };
            if store.commit(&batch)?.wal_bytes > 16 << 20 {
                store.checkpoint()?;
            }
        }
    }
    if entries == Entries::OneACommit {
        store.publisher()?.publish()?;
    }
    Ok((began.elapsed(), processor_time() - cpu))
}

/// Of this process, all threads.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
