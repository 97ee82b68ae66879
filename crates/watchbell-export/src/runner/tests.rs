use std::fs::File;
use std::path::Path;

use watchbell_audit::export::rotation;
use watchbell_store::{AuditEntry, Batch, Store};

use super::*;
use crate::file::tests::once_unlocked;
use crate::options::{FileOptions, Options};

fn append(store: &mut Store, count: usize) {
    let entry = AuditEntry { at_unix_nanos: 0, body: b"{}".to_vec() };
    store.commit(&Batch { audit: vec![entry; count], ..Batch::default() }).unwrap();
}

/// A journal of which three entries are exported and durable, and its export.
fn three_exported(data: &Path, file: &Path) -> (Store, Runner) {
    let mut store = Store::open(data).unwrap().0;
    append(&mut store, 3);
    let mut runner = start(&store, data, file);
    runner.catch_up();
    (store, runner)
}

/// An export to a file, as the next start would go on with it.
fn start(store: &Store, data: &Path, file: &Path) -> Runner {
    let options = Options {
        file: Some(FileOptions { path: file.to_path_buf(), limits: rotation::Limits::default() }),
        hostname: "testhost".into(),
        version: "1.2.3".into(),
        ..Options::default()
    };
    let target = once_unlocked(|| Target::open_all(data, &options)).remove(0);
    crate::prepare(target, store.audit_reader().unwrap()).unwrap()
}

impl Runner {
    /// Sends what the journal has.
    fn send(&mut self) {
        self.shipper.news();
        // Nothing waits for company.
        self.shipper.hurry();
        let known = self.reader.news();
        while self.shipper.acknowledged() < known.last_sequence {
            assert!(matches!(self.step(known), Next::Go));
        }
    }

    /// The same, and notes it.
    fn catch_up(&mut self) {
        self.send();
        let known = self.reader.news();
        while self.shipper.unnoted().is_some() {
            assert!(matches!(self.step(known), Next::Go));
        }
    }
}

fn no_disk(_: &File) -> std::io::Result<()> {
    Err(std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
}

fn sequences(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"]["sequence"].as_u64();
    text.lines().map(|text| line(text).unwrap()).collect()
}

#[test]
fn no_place_is_noted_behind_lines_whose_sync_failed_and_they_are_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("audit.ndjson"));
    let (mut store, mut runner) = three_exported(&data, &file);
    append(&mut store, 4);
    runner.target.file().sync_by(no_disk);
    runner.catch_up();
    assert_eq!(sequences(&file), [0, 1, 2, 3, 4, 5, 6]);
    // The kernel has told its error: from now on it would say that all is well.
    runner.target.file().sync_by(File::sync_data);
    assert!(runner.target.persist(&runner.lives, 7).is_err());
    let known = runner.reader.news();
    assert!(matches!(runner.step(known), Next::Pause(_)));
    assert_eq!(sequences(&file), [0, 1, 2], "cut back to what was durable");
    assert_eq!(runner.shipper.acknowledged(), 3);
    runner.catch_up();
    assert_eq!(sequences(&file), [0, 1, 2, 3, 4, 5, 6]);
    drop(runner);
    append(&mut store, 1);
    let mut runner = start(&store, &data, &file);
    assert_eq!(runner.shipper.acknowledged(), 7);
    runner.catch_up();
    assert_eq!(sequences(&file), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn an_end_whose_sync_fails_leaves_no_line_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("audit.ndjson"));
    let (mut store, mut runner) = three_exported(&data, &file);
    append(&mut store, 4);
    runner.send();
    assert_eq!(runner.shipper.unnoted(), Some(7));
    runner.target.file().sync_by(no_disk);
    runner.finish();
    assert_eq!(sequences(&file), [0, 1, 2]);
    drop(runner);
    let mut runner = start(&store, &data, &file);
    assert_eq!(runner.shipper.acknowledged(), 3);
    runner.catch_up();
    assert_eq!(sequences(&file), [0, 1, 2, 3, 4, 5, 6]);
}
