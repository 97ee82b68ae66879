//! How far a target came, and where it goes on: after a crash, after a restore, with another journal.

use serde::{Deserialize, Serialize};

use super::entry::{EpochId, epoch_of, hex};

/// The form of the cursor's file.
const VERSION: u32 = 1;

/// Everything before `next` is at the target (or in its dead letters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the log that the entry before `next` is of.
    pub epoch: EpochId,
    /// Index of the first entry that is not acknowledged.
    pub next: u64,
}

/// One life of the log in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    pub id: EpochId,
    /// Index of its first entry.
    pub first: u64,
}

/// The lives of a journal's log, in their order, and how many entries it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lives {
    pub epochs: Vec<Epoch>,
    pub length: u64,
}

/// Why a target cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    #[error(
        "{exported} entries were exported, but the journal has only {length} of the same life of the log: it was put back \
         by other means than `watchbell restore`, and what it writes from now on would have the names of entries that were \
         exported already; restore the journal with `watchbell restore`"
    )]
    WentBack { exported: u64, length: u64 },
}

impl Lives {
    /// The life that an entry was (or will be) written in.
    pub fn epoch_at(&self, index: u64) -> EpochId {
        self.epochs.iter().rev().find(|epoch| epoch.first <= index).map_or([0; 16], |epoch| epoch.id)
    }

    /// The index to go on from. What a restore cut off was exported and stays where it is; what came instead has other
    /// names and follows. Without a cursor, or with that of another journal, all of this one is new.
    pub fn resume(&self, cursor: Option<&Cursor>) -> Result<u64, ResumeError> {
        let Some(cursor) = cursor else { return Ok(0) };
        let Some(at) = self.epochs.iter().position(|epoch| epoch.id == cursor.epoch) else { return Ok(0) };
        match self.epochs.get(at + 1) {
            Some(after) => Ok(cursor.next.min(after.first)),
            None if cursor.next > self.length => {
                Err(ResumeError::WentBack { exported: cursor.next, length: self.length })
            }
            None => Ok(cursor.next),
        }
    }

    /// The cursor of a target that has everything before `next`.
    pub fn cursor(&self, next: u64) -> Cursor {
        Cursor { epoch: self.epoch_at(next.saturating_sub(1)), next }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// What is exported to, so that a person knows whose file it is.
    target: String,
    epoch: String,
    next: u64,
}

impl Cursor {
    /// The text of its file.
    pub fn to_text(&self, target: &str) -> String {
        let file = File { version: VERSION, target: target.into(), epoch: hex(&self.epoch), next: self.next };
        // Text and numbers always have a form in JSON.
        format!("{}\n", serde_json::to_string(&file).unwrap_or_default())
    }

    /// Reads it back; the cause when it is none of ours.
    pub fn parse(text: &str) -> Result<Cursor, String> {
        let file: File = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if file.version != VERSION {
            return Err(format!(
                "its version is {}, and {VERSION} is the one that this program reads",
                file.version
            ));
        }
        let epoch = epoch_of(&file.epoch).ok_or("its epoch is not 32 hexadecimal digits")?;
        Ok(Cursor { epoch, next: file.next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(firsts: &[u64], length: u64) -> Lives {
        let epochs = firsts.iter().enumerate();
        Lives {
            epochs: epochs.map(|(n, first)| Epoch { id: [n as u8 + 1; 16], first: *first }).collect(),
            length,
        }
    }

    fn check(firsts: &[u64], length: u64, cursor: Option<(u8, u64)>, expect: Result<u64, (u64, u64)>) {
        let cursor = cursor.map(|(epoch, next)| Cursor { epoch: [epoch; 16], next });
        let expect = expect.map_err(|(exported, length)| ResumeError::WentBack { exported, length });
        assert_eq!(lives(firsts, length).resume(cursor.as_ref()), expect, "{firsts:?} {length} {cursor:?}");
    }

    #[test]
    fn goes_on_where_it_was() {
        check(&[0], 0, None, Ok(0));
        check(&[0], 10, None, Ok(0));
        check(&[0], 10, Some((1, 4)), Ok(4));
        check(&[0], 10, Some((1, 10)), Ok(10));
    }

    #[test]
    fn after_a_restore_it_goes_on_with_what_came_instead() {
        // 500 were exported, the backup has 400: the second life begins at 400.
        check(&[0, 400], 450, Some((1, 500)), Ok(400));
        // 300 were exported: the other hundred of the first life follow first.
        check(&[0, 400], 450, Some((1, 300)), Ok(300));
        check(&[0, 400], 450, Some((2, 420)), Ok(420));
        check(&[0, 400, 410], 450, Some((2, 420)), Ok(410));
        // A restore of a backup of the first life after one of the second: the first life ends elsewhere now.
        check(&[0, 200], 250, Some((1, 500)), Ok(200));
    }

    #[test]
    fn another_journal_is_exported_from_its_beginning() {
        check(&[0], 10, Some((9, 4)), Ok(0));
    }

    #[test]
    fn a_journal_that_went_back_is_not_exported_under_used_names() {
        check(&[0], 10, Some((1, 11)), Err((11, 10)));
        check(&[0, 5], 10, Some((2, 11)), Err((11, 10)));
    }

    #[test]
    fn a_file_is_read_back_and_a_foreign_one_is_not() {
        let cursor = Cursor { epoch: [0xc4; 16], next: 77 };
        let text = cursor.to_text("https://es/logs \"x\"");
        assert_eq!(Cursor::parse(&text).unwrap(), cursor);
        for wrong in ["", "{}", &text.replace(":1,", ":2,"), &text.replace("c4", "C4"), &text[..20]] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_belongs_to_the_life_that_it_was_written_in() {
        let lives = lives(&[0, 5, 5], 9);
        assert_eq!(lives.epoch_at(4), [1; 16]);
        // A restore twice in a row: the second of them wrote nothing.
        assert_eq!(lives.epoch_at(5), [3; 16]);
        assert_eq!(lives.cursor(5), Cursor { epoch: [1; 16], next: 5 });
        assert_eq!(lives.cursor(6).epoch, [3; 16]);
    }
}
