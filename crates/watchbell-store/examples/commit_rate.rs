//! Commits a second for batches of array pod rows, bytes a row, and memory.
//!
//! `cargo run --release -p watchbell-store --example commit_rate [-- DIR]` measures in a directory of its own below DIR (the
//! place decides: a tmpfs has no fsync to wait for), first as the disk is, then with 3 ms added to every commit.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use watchbell_store::{AuditEntry, Batch, Error, Options, Put, RowKey, Seal, Store};

/// How long each size of batch is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Rows of one array; the table grows by one array after another.
const ARRAY: u32 = 10_000;
/// A typical finished pod: phase, times, node, exit code, image number.
const STATUS_BYTES: usize = 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let below = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(below)?;
    println!("SQLite {}, {}", rusqlite::version(), dir.path().display());
    for (name, fsync_delay) in
        [("as the disk is", None), ("with 3 ms a commit more", Some(Duration::from_millis(3)))]
    {
        println!("\n{name}:\n{:>6}  {:>10}  {:>10}  {:>12}", "batch", "commits/s", "rows/s", "µs a commit");
        for size in [1, 10, 100, 1000] {
            let dir = dir.path().join(format!("{size}-{}", fsync_delay.is_some()));
            measure(&dir, size, &Options { fsync_delay, ..Options::default() })?;
        }
    }
    bytes_a_row(&dir.path().join("rows"))?;
    Ok(())
}

/// Each commit writes `size` rows and one audit entry, as the control plane would.
fn measure(dir: &Path, size: u32, options: &Options) -> Result<(), Error> {
    let (mut store, _) = Store::open_with(dir, options)?;
    let (mut rows, mut commits, mut version) = (0u32, 0u64, 0);
    let began = Instant::now();
    let mut checkpoints = Duration::ZERO;
    while began.elapsed() - checkpoints < MEASURED {
        let batch =
            batch(&mut version, (rows..rows + size).map(|row| (u64::from(row / ARRAY) + 1, row % ARRAY)));
        rows += size;
        commits += 1;
        if store.commit(&batch)?.wal_bytes > 8 << 20 {
            let checkpoint = Instant::now();
            store.checkpoint()?;
            checkpoints += checkpoint.elapsed();
        }
    }
    let seconds = (began.elapsed() - checkpoints).as_secs_f64();
    println!(
        "{size:>6}  {:>10.0}  {:>10.0}  {:>12.0}   and {} ms in checkpoints",
        commits as f64 / seconds,
        f64::from(rows) / seconds,
        seconds * 1e6 / commits as f64,
        checkpoints.as_millis()
    );
    Ok(())
}

fn batch(version: &mut u64, pods: impl Iterator<Item = (u64, u32)>) -> Batch {
    let puts: Vec<_> = pods
        .map(|(job, index)| {
            *version += 1;
            let status = Some((0..STATUS_BYTES).map(|i| (i as u32 ^ index) as u8).collect());
            let key = RowKey::ArrayPod { job, index, attempt: 0 };
            Put { key, resource_version: *version, head: None, status, seal: Seal::Plain }
        })
        .collect();
    let entry = AuditEntry { at_unix_nanos: 1_700_000_000_000_000_000, body: vec![b'x'; 300] };
    Batch { resource_version: *version, puts, audit: vec![entry], ..Batch::default() }
}

/// One array of 100,000: each pod is put three times (bound, running, finished), in an order that is not that of the indices,
/// and grows while it does.
fn bytes_a_row(dir: &Path) -> Result<(), Error> {
    const ROWS: u32 = 100_000;
    const BATCH: usize = 100;
    let (mut store, _) = Store::open(dir)?;
    let empty = store.size()?;
    let before = resident_kib();
    let mut version = 0;
    for status_bytes in [10, 30, STATUS_BYTES] {
        // 7919 is prime to the number of rows: every index once, in leaps within a window of the array.
        let order: Vec<u32> = (0..ROWS).map(|i| i / 1000 * 1000 + (i * 7919) % 1000).collect();
        for indices in order.chunks(BATCH) {
            let mut batch = batch(&mut version, indices.iter().map(|index| (1_000_000, *index)));
            batch.audit.clear();
            for put in &mut batch.puts {
                put.status.iter_mut().for_each(|status| status.truncate(status_bytes));
            }
            if store.commit(&batch)?.wal_bytes > 8 << 20 {
                store.checkpoint()?;
            }
        }
    }
    store.checkpoint()?;
    let size = store.size()?;
    let bytes = size.database_bytes - empty.database_bytes - size.free_bytes;
    println!(
        "\n{} array pods with a status of {STATUS_BYTES} bytes: {:.1} bytes a row on disk; memory grew by {} KiB",
        size.array_pods,
        bytes as f64 / f64::from(ROWS),
        resident_kib().saturating_sub(before)
    );
    let began = Instant::now();
    let rows = store.load_array_pods::<Error>(&mut |_| Ok(()))?;
    println!("reading {rows} of them back: {} ms", began.elapsed().as_millis());
    let began = Instant::now();
    let report = store.backup(&dir.with_extension("backup"))?;
    println!("backup: {} bytes in {} ms", report.bytes, began.elapsed().as_millis());
    Ok(())
}

/// Of this process now; 0 where /proc does not say.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
