//! Any run of batches, and a crash between any two steps: of the writing of the WAL at any byte, of a checkpoint of it, of the
//! writing of the log's files. What comes back is a prefix of the batches with everything that was acknowledged, each change
//! with its entry, and a log that verifies before and after the next start.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use watchbell_audit::{Log, Trust};
use watchbell_store::{Batch, Store};

use crate::log::check;
use crate::state::{audit, config_map, entry, objects, open, put};
use crate::tamper::{audit_dir, copy, files};

/// What happens, one after the other.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of these objects, each with an entry of its own, and of entries of nothing.
    Commit {
        rows: Vec<u8>,
        others: u16,
    },
    Publish,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::collection::vec(0u8..6, 0..4), 0u16..300).prop_map(|(rows, others)| Step::Commit { rows, others }),
        3 => Just(Step::Publish),
        1 => Just(Step::Checkpoint),
    ]
}

/// What the journal must hold after each batch.
#[derive(Debug, Clone, Default)]
struct Model {
    version: u64,
    rows: BTreeMap<String, u64>,
    entries: Vec<String>,
}

impl Model {
    /// The next batch. The object's content is the number of its entry.
    fn batch(&mut self, rows: &[u8], others: u16) -> Batch {
        let mut batch = Batch::default();
        for row in rows.iter().filter(|row| **row < 6) {
            let name = format!("row-{row}");
            if batch.puts.iter().any(|put| put.key == config_map(&name)) {
                continue;
            }
            self.version += 1;
            let number = self.entries.len() as u64;
            let text = number.to_string();
            batch.puts.push(put(config_map(&name), self.version, Some(&text), None));
            self.entries.push(format!(r#"{{"row":"{name}","number":{number}}}"#));
            self.rows.insert(name, number);
        }
        for _ in 0..others {
            self.entries.push(format!(r#"{{"number":{}}}"#, self.entries.len()));
        }
        batch.resource_version = self.version;
        batch
    }

    fn check(&self, store: &mut Store) {
        let log: Vec<Vec<u8>> = self.entries.iter().map(|text| text.clone().into_bytes()).collect();
        assert_eq!(audit(store), log);
        let rows = objects(store).into_iter();
        let rows: BTreeMap<String, u64> = rows
            .map(|row| (row.name.to_string(), String::from_utf8(row.head).unwrap().parse().unwrap()))
            .collect();
        assert_eq!(rows, self.rows);
    }
}

/// One place in the history at which the machine may have stopped.
struct Moment {
    dir: PathBuf,
    /// What was acknowledged, and what was about to be.
    done: Model,
    next: Option<Model>,
}

fn wal(dir: &Path) -> PathBuf {
    dir.join("journal.db-wal")
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

/// The log's files between `before` and `after`, cut after the first `done` of the writes: full tiles, then partial ones, then the
/// checkpoint, then what goes. Returns whether that was all.
fn cut_files(before: &Path, after: &Path, to: &Path, done: usize) -> bool {
    let names = |dir: &Path| -> Vec<PathBuf> {
        if !dir.exists() {
            return Vec::new();
        }
        files(dir).iter().map(|path| path.strip_prefix(dir).unwrap().to_path_buf()).collect()
    };
    let (old, new) = (names(before), names(after));
    let mut writes: Vec<&PathBuf> = new.iter().filter(|name| !old.contains(name)).collect();
    writes.retain(|name| name.as_os_str() != "checkpoint");
    // Where there was no log, its key comes first.
    writes.sort_by_key(|name| (name.as_os_str() != "verifier.pub", name.to_string_lossy().contains(".p/")));
    let checkpoint = PathBuf::from("checkpoint");
    writes.push(&checkpoint);
    let removals: Vec<&PathBuf> = old.iter().filter(|name| !new.contains(name)).collect();
    if before.exists() {
        copy(before, to);
    }
    for name in writes.iter().take(done) {
        std::fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
        std::fs::copy(after.join(name), to.join(name)).unwrap();
    }
    for name in removals.iter().take(done.saturating_sub(writes.len())) {
        std::fs::remove_file(to.join(name)).unwrap();
    }
    done >= writes.len() + removals.len()
}

/// The machine comes up again in `dir`.
fn come_back(dir: &Path, done: &Model, next: Option<&Model>) {
    if audit_dir(dir).join("checkpoint").exists() {
        assert_eq!(check(dir, &Trust::default()).damage, [], "as it lies there");
    }
    let mut store = open(dir);
    let count = store.last_audit_sequence();
    let holds = match next {
        Some(next) if next.entries.len() as u64 == count && next.version == store.last_resource_version() => {
            next
        }
        _ => done,
    };
    holds.check(&mut store);
    // It goes on, and all of it verifies.
    let audit = vec![entry("after the crash")];
    store
        .commit(&Batch { resource_version: store.last_resource_version(), audit, ..Batch::default() })
        .unwrap();
    assert_eq!(store.publisher().unwrap().publish().unwrap(), count + 1);
    drop(store);
    let found = check(dir, &Trust::default());
    assert_eq!(found.damage, []);
    assert_eq!(Log::open(&audit_dir(dir)).unwrap().checkpoint.size, count + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_crash_cuts_the_log_verifies_and_every_change_has_its_entry(
        steps in prop::collection::vec(step(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 3),
    ) {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let mut store = open(&data);
        let mut publisher = store.publisher().unwrap();
        let mut model = Model::default();
        let mut moments: Vec<Moment> = Vec::new();
        let mut snapshots = 0;
        let mut snapshot = |done: &Model, next: Option<&Model>| {
            let dir = root.path().join(format!("at-{snapshots}"));
            snapshots += 1;
            copy(&data, &dir);
            Moment { dir, done: done.clone(), next: next.cloned() }
        };
        for step in &steps {
            match step {
                Step::Commit { rows, others } => {
                    let before = model.clone();
                    let kept = length(&wal(&data));
                    let batch = {
                        let mut batch = model.batch(rows, *others);
                        let first = before.entries.len();
                        batch.audit = model.entries[first..].iter().map(|text| entry(text)).collect();
                        batch
                    };
                    let untouched = std::fs::read(wal(&data)).unwrap_or_default();
                    store.commit(&batch).unwrap();
                    // Cut within what this commit wrote: of a WAL that is written over, what was there before follows.
                    for cut in &cuts {
                        let moment = snapshot(&before, Some(&model));
                        let written = std::fs::read(wal(&moment.dir)).unwrap();
                        let differs = written.iter().zip(&untouched).position(|(a, b)| a != b);
                        let from = differs.unwrap_or(kept as usize).min(written.len());
                        let at = from + cut.index(written.len() - from + 1);
                        let file = std::fs::OpenOptions::new().write(true).open(wal(&moment.dir)).unwrap();
                        file.set_len(at as u64).unwrap();
                        if let Some(rest) = untouched.get(at..) {
                            file.write_all_at(rest, at as u64).unwrap();
                        }
                        // The index beside it is made anew after a crash of the machine.
                        let _ = std::fs::remove_file(moment.dir.join("journal.db-shm"));
                        moments.push(moment);
                    }
                }
                Step::Publish => {
                    let before = root.path().join("files-before");
                    let _ = std::fs::remove_dir_all(&before);
                    if audit_dir(&data).exists() {
                        copy(&audit_dir(&data), &before);
                    }
                    publisher.publish().unwrap();
                    for cut in &cuts {
                        let moment = snapshot(&model, None);
                        let whole = root.path().join("files-after");
                        let _ = std::fs::remove_dir_all(&whole);
                        std::fs::rename(audit_dir(&moment.dir), &whole).unwrap();
                        let mut writes = 0;
                        // As many as there are, found by trying: there are few.
                        let scratch = root.path().join("scratch");
                        while !cut_files(&before, &whole, &scratch, writes) {
                            std::fs::remove_dir_all(&scratch).unwrap_or_default();
                            writes += 1;
                        }
                        std::fs::remove_dir_all(&scratch).unwrap_or_default();
                        cut_files(&before, &whole, &audit_dir(&moment.dir), cut.index(writes + 1));
                        std::fs::write(moment.dir.join("audit.partial/0"), b"half").unwrap();
                        moments.push(moment);
                    }
                }
                Step::Checkpoint => {
                    store.checkpoint().unwrap();
                    moments.push(snapshot(&model, None));
                }
            }
        }
        drop(publisher);
        drop(store);
        for Moment { dir, done, next } in &moments {
            come_back(dir, done, next.as_ref());
        }
    }
}
