//! What a target leaves in the data directory: how far it came, and its dead letters.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchbell_audit::export::cursor::Cursor;
use watchbell_audit::export::hex;
use watchbell_audit::export::shipper::Dead;

/// Below the data directory.
const DIRECTORY: &str = "audit-export";
/// A cursor's file is a line, with some seventy bytes for each restore; more is none of ours.
const CURSOR_BYTES_MAX: u64 = 1 << 20;

/// The files of one target.
#[derive(Debug)]
pub(crate) struct Place {
    target: String,
    cursor: PathBuf,
    dead_letters: PathBuf,
}

impl Place {
    /// `label` says which kind of target it is, `target` which one: another address is another target.
    pub(crate) fn open(dir: &Path, label: &str, target: &str) -> Result<Place, String> {
        let dir = dir.join(DIRECTORY);
        let failed = |e: std::io::Error| format!("cannot make {}: {e}", dir.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        sync_dir(dir.parent().unwrap_or(&dir)).map_err(failed)?;
        let digest = Sha256::digest(target.as_bytes());
        let name = format!("{label}-{}", hex(&digest[..8]));
        Ok(Place {
            target: target.to_owned(),
            cursor: dir.join(format!("{name}.cursor")),
            dead_letters: dir.join(format!("{name}.dead-letters")),
        })
    }

    /// Where the target was.
    pub(crate) fn cursor(&self) -> Result<Cursor, String> {
        let failed = |cause: String| format!("cannot read {}: {cause}", self.cursor.display());
        let file = match File::open(&self.cursor) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Cursor::default()),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut text = String::new();
        file.take(CURSOR_BYTES_MAX).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
        Cursor::parse(&text).map_err(|cause| {
            failed(format!("{cause}; when it is removed, everything is exported again, under the same names"))
        })
    }

    /// Notes it: after a crash either the old or the new one is there, whole.
    pub(crate) fn persist(&self, cursor: &Cursor) -> std::io::Result<()> {
        let draft = self.cursor.with_extension("cursor.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(cursor.to_text(&self.target).as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&draft, &self.cursor)?;
        self.sync_names()
    }

    /// Makes the names of the target's files durable.
    fn sync_names(&self) -> std::io::Result<()> {
        sync_dir(self.cursor.parent().unwrap_or(&self.cursor))
    }

    /// Appends letters, durable on return. A crash may leave the beginning of a line, which is cut off first.
    pub(crate) fn bury(&self, dead: &[Dead]) -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.dead_letters)?;
        cut_half_line(&mut file)?;
        let mut lines = Vec::new();
        for letter in dead {
            let document: Value = serde_json::from_slice(&letter.item.document).unwrap_or_default();
            let line = json!({
                "id": letter.item.id, "index": letter.item.index, "reason": letter.reason, "target": self.target,
                "document": document,
            });
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        self.sync_names()
    }

    pub(crate) fn dead_letters(&self) -> &Path {
        &self.dead_letters
    }
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Cuts off what follows the last end of line.
fn cut_half_line(file: &mut File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut window = vec![0u8; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(window.len() as u64);
        let part = &mut window[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use watchbell_audit::export::shipper::Item;

    use super::*;

    fn dead(index: u64) -> Dead {
        let item =
            Item { index, id: format!("e-{index}"), document: b"{\"a\":1}".to_vec(), at_unix_nanos: 0 };
        Dead { item, reason: "400 no".into() }
    }

    #[test]
    fn a_cursor_is_read_back_and_each_target_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path(), "otlp", "https://a").unwrap();
        let mut cursor = Cursor::default();
        assert_eq!(place.cursor(), Ok(cursor.clone()));
        for next in 5..7 {
            cursor.reach([7; 16], next);
            place.persist(&cursor).unwrap();
        }
        assert_eq!(place.cursor(), Ok(cursor));
        assert_eq!(Place::open(dir.path(), "otlp", "https://b").unwrap().cursor(), Ok(Cursor::default()));
        std::fs::write(&place.cursor, "half a li").unwrap();
        assert!(place.cursor().unwrap_err().contains("exported again"));
    }

    #[test]
    fn letters_are_whole_lines_whatever_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path(), "otlp", "t").unwrap();
        place.bury(&[dead(1)]).unwrap();
        let mut file = OpenOptions::new().append(true).open(place.dead_letters()).unwrap();
        file.write_all(&vec![b'x'; 200_000]).unwrap();
        place.bury(&[dead(2), dead(3)]).unwrap();
        let text = std::fs::read_to_string(place.dead_letters()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[2],
            json!({"id": "e-3", "index": 3, "reason": "400 no", "target": "t", "document": {"a": 1}})
        );
    }

    #[test]
    fn a_file_that_is_one_half_line_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path(), "otlp", "t").unwrap();
        std::fs::write(place.dead_letters(), "{\"id\"").unwrap();
        place.bury(&[dead(1)]).unwrap();
        assert_eq!(std::fs::read_to_string(place.dead_letters()).unwrap().lines().count(), 1);
    }
}
