use std::path::{Path, PathBuf};

use super::*;
use crate::note::{SignatureKind, SigningKey};

const ORIGIN: &str = "test.example/log";

fn key() -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_seed(&[5; 32]);
    let verifier = key.verifier(ORIGIN, SignatureKind::Ed25519).unwrap();
    (key, verifier)
}

fn entry(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}

fn append(writer: &mut LogWriter, count: u64) {
    for n in writer.size()..writer.size() + count {
        writer.append(&entry(n)).unwrap();
    }
}

fn note(writer: &LogWriter) -> Note {
    let (key, verifier) = key();
    let (size, root) = (writer.edge.size(), writer.edge.root());
    Checkpoint { origin: ORIGIN.into(), size, root }.sign(&key, &verifier)
}

/// Where nothing can be made below the log's directory, whoever tries.
fn block(dir: &Path) -> PathBuf {
    let tile = dir.join("tile");
    std::fs::rename(&tile, dir.join("aside")).unwrap();
    std::fs::write(&tile, b"in the way").unwrap();
    tile
}

fn unblock(dir: &Path) {
    std::fs::remove_file(dir.join("tile")).unwrap();
    std::fs::rename(dir.join("aside"), dir.join("tile")).unwrap();
}

#[test]
fn files_that_cannot_be_written_do_not_gather() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("audit");
    let mut writer = LogWriter::open(&dir, &key().1).unwrap();
    append(&mut writer, 300);
    writer.publish(&note(&writer)).unwrap();
    block(&dir);
    let waits = |writer: &LogWriter| writer.pending.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    for _ in 0..50 {
        append(&mut writer, 1);
        let note = note(&writer);
        assert!(writer.publish(&note).is_err());
        assert_eq!(waits(&writer), 0, "partial tiles are made anew each time");
    }
    // Full tiles wait up to a bound; then nothing more is taken, and what was taken is not lost.
    let mut taken = writer.size();
    while writer.append(&entry(taken)).is_ok() {
        taken += 1;
        assert!(writer.pending.len() <= PENDING_MAX + 8);
    }
    for _ in 0..3 {
        assert!(writer.append(&entry(taken)).is_err());
        assert_eq!(writer.size(), taken);
    }
    unblock(&dir);
    append(&mut writer, 10);
    let last = note(&writer);
    writer.publish(&last).unwrap();
    let found = crate::verify(crate::Listing::read(&dir).unwrap(), None, &crate::Trust::default()).unwrap();
    assert_eq!(found.damage, []);
    assert_eq!(found.logs[0].published, taken + 10);
}

#[test]
fn a_log_is_gone_on_with_where_it_was_published() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("audit");
    let mut total = 0;
    for count in [0, 1, 255, 1, 255, 256, 3000, 0, 70_000] {
        let mut writer = LogWriter::open(&dir, &key().1).unwrap();
        assert_eq!(writer.size(), total);
        append(&mut writer, count);
        total += count;
        let note = note(&writer);
        writer.publish(&note).unwrap();
        assert!(writer.pending.is_empty() && writer.filled.is_empty());
        let log = crate::Log::open(&dir).unwrap();
        assert_eq!(log.edge().unwrap(), writer.edge);
    }
}
