//! What a data array costs, beside the least that could do the same: `cp -al` for a view, `cp` and `sha256sum` with a sync for a
//! commit, and icechunk and zarr-python where a Python with them is named.
//!
//! `cargo run --release -p watchbell-array --example cost -- CHUNKS BYTES ROUNDS [PYTHON]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_array::{Array, Attempt, Completeness, Disk, Retention, Run, import, sweep, verify};
use watchbell_zarr::{Judge, OnConflict, Split, plan};

type Failure = Box<dyn std::error::Error>;

/// Writes and commits the same chunks: `python3 - WHAT DIRECTORY CHUNKS BYTES`, prints the seconds of each step.
const PEERS: &str = r#"
import os, sys, time
import numpy as np, zarr
what, directory, chunks, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
zarr.config.set({"async.concurrency": 32})
data = np.arange(chunks * size, dtype="uint64").astype("uint8")
if what == "icechunk":
    import icechunk
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(directory))
    session = repository.writable_session("main")
    store = session.store
else:
    store = directory
array = zarr.create_array(store, shape=(chunks * size,), chunks=(size,), dtype="uint8", fill_value=255, compressors=None)
if what == "icechunk":
    session.commit("empty")
    session = repository.writable_session("main")
    array = zarr.open_array(session.store, mode="r+")
begin = time.perf_counter()
array[:] = data
if what == "icechunk":
    session.commit("chunks")
os.sync()
print(time.perf_counter() - begin)
"#;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (chunks, bytes, rounds) = (number(0, 10_000)?, number(1, 4096)?, number(2, 3)?);
    let python = args.get(3).map(String::as_str);
    let mut times = Times::new();
    // All stay to the end: an ext4 without a journal makes files slowly for minutes after many were removed.
    let mut places = Vec::new();
    for round in 0..rounds {
        let place = tempfile::Builder::new().prefix("watchbell-cost-").tempdir()?;
        measure(place.path(), chunks, bytes, &mut times)?;
        for what in python.iter().flat_map(|_| ["zarr", "icechunk"]) {
            let seconds = peer(python.unwrap_or_default(), what, &place.path().join(what), chunks, bytes)?;
            times.entry(what).or_default().push(Duration::from_secs_f64(seconds));
        }
        places.push(place);
        println!("round {} of {rounds}", round + 1);
    }
    for place in &places {
        let array = Array::open(&place.path().join("array"), Disk::default())?;
        let retention = Retention { last: 1, ..Retention::default() };
        timed("sweep", &mut times, &mut || Ok(sweep(&array, Some(&retention)).map(drop)?))?;
    }
    println!("{chunks} chunks of {bytes} bytes, median of {rounds} rounds, in seconds:");
    let median = |what: &str| {
        let mut all = times.get(what).cloned().unwrap_or_default();
        all.sort();
        all.get(all.len() / 2).map(Duration::as_secs_f64)
    };
    for what in times.keys() {
        println!("  {what:<28} {:.3}", median(what).unwrap_or_default());
    }
    for (ours, other) in [
        ("view, first", "cp -al"),
        ("view, first", "cp -r"),
        ("view, later", "cp -al"),
        ("commit and publish", "cp and sha256sum, synced"),
        ("commit and publish", "icechunk"),
        ("commit and publish", "zarr"),
        ("verify", "sha256sum"),
    ] {
        if let (Some(ours_seconds), Some(seconds)) = (median(ours), median(other)) {
            println!("  {ours} / {other}: {:.2}", ours_seconds / seconds);
        }
    }
    Ok(())
}

type Times<'a> = BTreeMap<&'a str, Vec<Duration>>;

/// Begins with a disk that has nothing to do.
fn timed<'a>(
    what: &'a str,
    times: &mut Times<'a>,
    work: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    rustix::fs::sync();
    let begin = Instant::now();
    work()?;
    times.entry(what).or_default().push(begin.elapsed());
    Ok(())
}

fn measure<'a>(place: &Path, chunks: u64, bytes: u64, times: &mut Times<'a>) -> Result<(), Failure> {
    let mut timed = |what: &'a str, work: &mut dyn FnMut() -> Result<(), Failure>| timed(what, times, work);
    let plain = place.join("plain");
    fill(&plain, chunks, bytes, 0)?;
    let array = Array::create(&place.join("array"), Disk::default())?;
    let by = Run { name: "import".to_owned(), ..Run::default() };
    let import = |plain: &Path| {
        import(&array, plain, &by, None, "", Timestamp::UNIX_EPOCH, &mut |_, _| {})
            .map(drop)
            .map_err(Failure::from)
    };
    timed("import", &mut || import(&plain))?;
    let copied = |how: &str, to: &str| ran(Command::new("cp").arg(how).arg(&plain).arg(place.join(to)));
    let head = array.snapshot(array.head()?.ok_or("no head")?)?;
    let manifest = array.manifest(head.manifest)?;
    timed("view, first", &mut || Ok(array.view(head.manifest, &manifest).map(drop)?))?;
    timed("cp -r", &mut || copied("-r", "files"))?;
    timed("view, later", &mut || {
        Ok(array.view_at(&manifest, |_| true, &place.join("array/views/later"))?)
    })?;
    timed("cp -al", &mut || copied("-al", "links"))?;
    let upper = place.join("upper");
    fill(&upper, chunks, bytes, 1)?;
    fs::remove_file(upper.join("zarr.json"))?;
    // What comes before the first task of a run, beside its view: by a program that knows nothing of the array yet.
    let run = Run { name: "ml/run".to_owned(), uid: "r1".to_owned(), ..Run::default() };
    let mut begun = None;
    timed("start", &mut || {
        let array = Array::open(&place.join("array"), Disk::default())?;
        let head = array.snapshot(array.head()?.ok_or("no head")?)?;
        let hierarchy = array.hierarchy(&array.manifest(head.manifest)?)?;
        let split = Split::Dimension { dimension: "x".to_owned(), into: 1 };
        let plan = plan(&hierarchy, &split, &[], None, 1)?;
        begun = Some((plan, array.begin(&run, &BTreeMap::new())?));
        Ok(())
    })?;
    let (plan, draft) = begun.ok_or("nothing was begun")?;
    timed("commit and publish", &mut || {
        let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: bytes };
        draft.commit(&judge, &Attempt::default(), &upper, Completeness::Required)?;
        draft.publish(&[0].into(), OnConflict::Fail, None, "", Timestamp::UNIX_EPOCH)?;
        Ok(())
    })?;
    draft.remove()?;
    timed("cp and sha256sum, synced", &mut || {
        ran(Command::new("cp").arg("-r").arg(&upper).arg(place.join("copy")))?;
        sums(&place.join("copy"))?;
        rustix::fs::sync();
        Ok(())
    })?;
    timed("verify", &mut || match verify(&array)?.damage.len() {
        0 => Ok(()),
        _ => Err("damage".into()),
    })?;
    timed("sha256sum", &mut || {
        sums(&plain)?;
        sums(&upper)
    })
}

fn sums(dir: &Path) -> Result<(), Failure> {
    let script = "find \"$1\" -type f -print0 | xargs -0 sha256sum > /dev/null";
    ran(Command::new("sh").args(["-c", script, "sh"]).arg(dir))
}

fn ran(command: &mut Command) -> Result<(), Failure> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

fn peer(python: &str, what: &str, dir: &Path, chunks: u64, bytes: u64) -> Result<f64, Failure> {
    let output = Command::new(python)
        .args(["-c", PEERS, what])
        .arg(dir)
        .args([chunks.to_string(), bytes.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Whatever a library says on its own comes before.
    Ok(String::from_utf8(output.stdout)?.lines().last().unwrap_or_default().trim().parse()?)
}

/// One array along x, every chunk there and none like another.
fn fill(dir: &Path, chunks: u64, bytes: u64, salt: u64) -> Result<(), Failure> {
    fs::create_dir_all(dir.join("c"))?;
    let length = chunks * bytes;
    let document = format!(
        r#"{{"zarr_format": 3, "node_type": "array", "shape": [{length}], "data_type": "uint8",
        "chunk_grid": {{"name": "regular", "configuration": {{"chunk_shape": [{bytes}]}}}},
        "chunk_key_encoding": {{"name": "default", "configuration": {{"separator": "/"}}}},
        "fill_value": 0, "codecs": [{{"name": "bytes"}}], "dimension_names": ["x"], "attributes": {{}}}}"#
    );
    fs::write(dir.join("zarr.json"), document)?;
    let mut content = vec![7u8; bytes as usize];
    for chunk in 0..chunks {
        let mark = (chunk * 2 + salt).to_le_bytes();
        let length = content.len().min(mark.len());
        content[..length].copy_from_slice(&mark[..length]);
        fs::write(dir.join(format!("c/{chunk}")), &content)?;
    }
    Ok(())
}
