use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

/// A line as the exporter makes it.
fn item(index: u64) -> Item {
    item_of(1, index)
}

fn item_of(epoch: u8, index: u64) -> Item {
    let id = format!("{}-{index}", watchbell_audit::export::hex(&[epoch; 16]));
    let document =
        format!("{{\"@timestamp\":\"2026-11-26T06:51:55Z\",\"event\":{{\"id\":\"{id}\"}},\"n\":{index}}}");
    Item { index, id, document: document.into_bytes(), at_unix_nanos: 0 }
}

fn options(path: &Path) -> FileOptions {
    FileOptions {
        path: path.to_path_buf(),
        limits: Limits { bytes: 1 << 20, count: 3, age: Duration::from_secs(3600) },
    }
}

/// Opens a file that was let go of: a child that another test starts has its lock too, from its fork until its exec.
pub(crate) fn once_unlocked<T, E: std::error::Error>(open: impl Fn() -> Result<T, E>) -> T {
    loop {
        match open() {
            Err(error) if error.to_string().contains("another process") => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn open(path: &Path) -> LineFile {
    once_unlocked(|| LineFile::open(&options(path)).map_err(std::io::Error::other))
}

fn write(file: &mut LineFile, indexes: std::ops::Range<u64>) {
    let items: Vec<Item> = indexes.map(item).collect();
    assert_eq!(file.write(&items), Answer::Items(vec![Outcome::Done; items.len()]));
}

/// The indexes in a file, each of whose lines must be whole.
fn indexes(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line");
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap()).collect()
}

/// All files, the oldest first.
fn all(path: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p != path)
        .collect();
    names.sort();
    names.push(path.to_path_buf());
    names
}

#[test]
fn goes_on_after_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let mut file = open(&path);
    assert_eq!(file.last_written(), Ok(None));
    write(&mut file, 0..3);
    drop(file);
    let mut file = open(&path);
    assert_eq!(file.last_written(), Ok(Some(([1; 16], 2))));
    // What is sent again although it is there is not written again.
    write(&mut file, 1..5);
    assert_eq!(indexes(&path), [0, 1, 2, 3, 4]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_a_crash_left_of_a_line_is_cut_off_wherever_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let mut file = open(&path);
    write(&mut file, 0..3);
    drop(file);
    let whole = fs::read(&path).unwrap();
    let line = whole.len() / 3;
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut file = open(&path);
        let kept = (length / line) as u64;
        assert_eq!(file.last_written(), Ok(kept.checked_sub(1).map(|last| ([1; 16], last))), "{length}");
        write(&mut file, kept..3);
        assert_eq!(indexes(&path), [0, 1, 2], "{length}");
    }
}

#[test]
fn zeros_that_a_file_system_left_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let mut file = open(&path);
    write(&mut file, 0..2);
    drop(file);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(&[0; 4096]);
    fs::write(&path, &text).unwrap();
    assert_eq!(open(&path).last_written(), Ok(Some(([1; 16], 1))));
    assert_eq!(indexes(&path), [0, 1]);
}

#[test]
fn a_file_of_somebody_else_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages");
    for text in [
        "Nov 26 06:51:55 host kernel: hello\n",
        "secret",
        "{\"a\":1}\n",
        "{\"a\":1}\nhalf",
        "{\"event\":{\"id\":\"x\"}}\n",
    ] {
        fs::write(&path, text).unwrap();
        let error = LineFile::open(&options(&path)).unwrap_err();
        assert!(error.contains("a file of its own"), "{text:?}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    symlink(&path, dir.path().join("link")).unwrap();
    assert!(LineFile::open(&options(&dir.path().join("link"))).is_err());
    assert!(LineFile::open(&options(dir.path())).is_err());
    assert!(LineFile::open(&options(&dir.path().join("none/audit"))).is_err());
}

#[test]
fn two_servers_do_not_write_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let file = open(&path);
    assert!(LineFile::open(&options(&path)).unwrap_err().contains("another process"));
    drop(file);
    open(&path);
}

#[test]
fn full_files_are_renamed_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let line = item(10).document.len() as u64 + 1;
    let limits = Limits { bytes: 4 * line, count: 3, age: Duration::from_secs(3600) };
    let mut file = LineFile::open(&FileOptions { limits: limits.clone(), ..options(&path) }).unwrap();
    // One batch may fill several files.
    write(&mut file, 10..23);
    let files = all(&path);
    assert_eq!(files.len(), 4);
    let lines: Vec<Vec<u64>> = files.iter().map(|file| indexes(file)).collect();
    assert_eq!(lines, [vec![10, 11, 12, 13], vec![14, 15, 16, 17], vec![18, 19, 20, 21], vec![22]]);
    write(&mut file, 23..27);
    let lines: Vec<u64> = all(&path).iter().flat_map(|file| indexes(file)).collect();
    assert_eq!(lines, (14..27).collect::<Vec<_>>(), "the oldest went, and nothing else");
    for file in all(&path) {
        assert!(fs::metadata(&file).unwrap().len() <= limits.bytes);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
    // A crash between the renaming and the new file.
    drop(file);
    fs::remove_file(&path).unwrap();
    assert_eq!(open(&path).last_written(), Ok(Some(([1; 16], 25))));
}

#[test]
fn the_file_just_closed_stays_though_the_clock_went_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    // Closed when the clock said another century.
    let before = [0u64, 1].map(|n| dir.path().join(format!("audit-2999010{}T000000Z-{n:020}.ndjson", n + 1)));
    for (n, old) in before.iter().enumerate() {
        fs::write(old, [&item(n as u64).document[..], b"\n"].concat()).unwrap();
    }
    let limits =
        Limits { bytes: item(2).document.len() as u64 + 1, count: 2, age: Duration::from_secs(3600) };
    let mut file = LineFile::open(&FileOptions { limits, ..options(&path) }).unwrap();
    write(&mut file, 2..4);
    assert!(!before[0].exists() && before[1].exists(), "the oldest went");
    let lines: Vec<Vec<u64>> = all(&path).iter().map(|file| indexes(file)).collect();
    assert_eq!(lines, [[1], [2], [3]]);
    // A crash between the renaming and the new file.
    drop(file);
    fs::remove_file(&path).unwrap();
    assert_eq!(open(&path).last_written(), Ok(Some(([1; 16], 2))));
}

#[test]
fn an_old_file_is_closed_with_its_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let limits = Limits { bytes: 1 << 20, count: 3, age: Duration::ZERO };
    let mut file = LineFile::open(&FileOptions { limits, ..options(&path) }).unwrap();
    write(&mut file, 0..1);
    write(&mut file, 1..2);
    assert_eq!(all(&path).len(), 2);
    assert_eq!(indexes(&path), [1]);
}

fn no_disk(_: &File) -> std::io::Result<()> {
    Err(std::io::Error::other("no disk"))
}

/// The kernel tells once that pages are lost: a second sync would say that all is well.
#[test]
fn a_sync_that_failed_is_not_tried_again_and_what_was_behind_the_last_good_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let line = item(0).document.len() as u64 + 1;
    let limits = Limits { bytes: 4 * line, count: 3, age: Duration::from_secs(3600) };
    let mut file = LineFile::open(&FileOptions { limits, ..options(&path) }).unwrap();
    let check = |file: &mut LineFile, kept: &[u64]| {
        assert!(file.is_in_doubt());
        file.sync_by(File::sync_data);
        assert!(file.sync().is_err());
        assert!(matches!(file.write(&[item(9)]), Answer::Retry { .. }), "nothing more is written");
        file.cut_back().unwrap();
        assert!(!file.is_in_doubt());
        assert_eq!(file.last_written(), Ok(kept.last().map(|last| ([1; 16], *last))));
        let lines: Vec<u64> =
            all(&path).iter().filter(|path| path.exists()).flat_map(|path| indexes(path)).collect();
        assert_eq!(lines, kept);
    };
    // Nothing was durable yet.
    write(&mut file, 0..2);
    file.sync_by(no_disk);
    assert!(file.sync().is_err());
    check(&mut file, &[]);
    write(&mut file, 0..2);
    file.sync().unwrap();
    // Before a rotation: the batch is not taken, and the one before it is lost with it.
    write(&mut file, 2..3);
    file.sync_by(no_disk);
    assert!(matches!(file.write(&[item(3), item(4)]), Answer::Retry { .. }));
    check(&mut file, &[0, 1]);
    // A file that was begun since: the one before it is durable.
    write(&mut file, 2..6);
    file.sync_by(no_disk);
    assert!(file.sync().is_err());
    check(&mut file, &[0, 1, 2, 3]);
    // A file that somebody renamed.
    write(&mut file, 4..5);
    fs::rename(&path, dir.path().join("b")).unwrap();
    file.sync_by(no_disk);
    assert!(matches!(file.write(&[item(5)]), Answer::Retry { .. }));
    check(&mut file, &[0, 1, 2, 3]);
    write(&mut file, 4..6);
    file.sync().unwrap();
    assert_eq!(indexes(&path), [4, 5]);
}

const LIMITED: &str = "WATCHBELL_EXPORT_LIMITED_FILE";

/// A former process may have heard that a sync failed: to this one a sync alone would say that all is well.
#[test]
fn what_is_there_is_written_once_more_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let line = |n| [&item(n).document[..], &[b' '; 60_000], b"\n"].concat();
    let lines: Vec<u8> = (0..40).flat_map(line).collect();
    fs::write(&path, &lines).unwrap();
    let child = Command::new("sh")
        // 2 MiB, in blocks of 512 bytes: to write behind that fails.
        .args(["-ec", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "file::tests::part_with_a_limit_within_the_file",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(LIMITED, &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let file = open(&path);
    assert_eq!(file.last_written(), Ok(Some(([1; 16], 39))));
    assert!(fs::read(&path).unwrap() == lines, "byte for byte");
    assert!(fcntl_getfl(&file.open.as_ref().unwrap().file).unwrap().contains(OFlags::APPEND));
}

#[test]
fn part_with_a_limit_within_the_file() {
    let Some(path) = std::env::var_os(LIMITED) else { return };
    let error = LineFile::open(&options(Path::new(&path))).unwrap_err();
    assert!(error.contains("cannot make what it holds durable"), "{error}");
}

#[test]
fn somebody_else_may_rename_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let mut file = open(&path);
    write(&mut file, 0..2);
    fs::rename(&path, dir.path().join("audit.ndjson.1")).unwrap();
    write(&mut file, 2..3);
    assert_eq!(indexes(&path), [2]);
    assert_eq!(indexes(&dir.path().join("audit.ndjson.1")), [0, 1]);
    fs::remove_file(&path).unwrap();
    write(&mut file, 2..5);
    assert_eq!(indexes(&path), [3, 4], "what was written is not written again");
}

#[test]
fn after_a_restore_lines_with_used_numbers_and_new_names_follow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    let mut file = open(&path);
    write(&mut file, 0..5);
    let after: Vec<Item> = (3..5).map(|n| item_of(2, n)).collect();
    file.write(&after);
    assert_eq!(indexes(&path), [0, 1, 2, 3, 4, 3, 4]);
}
