//! How far a target came, and where it goes on: after a crash, after a restore, with another journal.

use serde::{Deserialize, Serialize};

use super::entry::{EpochId, epoch_of, hex};

/// The form of the cursor's file. The first one had the newest life alone, and is still read.
const VERSION: u32 = 2;

/// How far a target came in each life of the log that it has entries of. Those that a restore gave up are among them: an
/// earlier backup may bring them back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The newest is the last one.
    lives: Vec<Reached>,
}

/// The target (or its dead letters) has every entry of a life before `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reached {
    epoch: EpochId,
    next: u64,
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
    /// names and follows. With the cursor of another journal, all of this one is new.
    pub fn resume(&self, cursor: &Cursor) -> Result<u64, ResumeError> {
        // What stands before a life is the same in every journal that has it: who came into it has all of that.
        let known = |(at, epoch): (usize, &Epoch)| Some((at, cursor.next_in(epoch.id)?));
        let Some((at, next)) = self.epochs.iter().enumerate().rev().find_map(known) else { return Ok(0) };
        match self.epochs.get(at + 1) {
            Some(after) => Ok(next.min(after.first)),
            None if next > self.length => Err(ResumeError::WentBack { exported: next, length: self.length }),
            None => Ok(next),
        }
    }

    /// Notes that a target has everything before `next`.
    pub fn note(&self, cursor: &mut Cursor, next: u64) {
        for (at, epoch) in self.epochs.iter().enumerate() {
            let end = self.epochs.get(at + 1).map_or(next, |after| after.first.min(next));
            if epoch.first < end {
                cursor.reach(epoch.id, end);
            }
        }
    }
}

impl Cursor {
    /// Notes that the target has what a life has before `next`, as the newest that it has.
    pub fn reach(&mut self, epoch: EpochId, next: u64) {
        // More than that may have been given up by a restore since.
        let next = self.next_in(epoch).map_or(next, |before| before.max(next));
        self.lives.retain(|reached| reached.epoch != epoch);
        self.lives.push(Reached { epoch, next });
    }

    fn next_in(&self, epoch: EpochId) -> Option<u64> {
        self.lives.iter().find(|reached| reached.epoch == epoch).map(|reached| reached.next)
    }

    /// Whether the target had entries after `last`, which is the last one that it still has. One of a life that is not noted
    /// came after the note.
    pub fn is_beyond(&self, last: Option<(EpochId, u64)>) -> bool {
        match (self.lives.last(), last) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(newest), Some((epoch, index))) if newest.epoch == epoch => newest.next > index + 1,
            (Some(_), Some((epoch, _))) => self.next_in(epoch).is_some(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// What is exported to, so that a person knows whose file it is.
    target: String,
    lives: Vec<Life>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Life {
    epoch: String,
    next: u64,
}

/// What every version has.
#[derive(Debug, Deserialize)]
struct AnyFile {
    version: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOfVersion1 {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(rename = "target")]
    _target: String,
    epoch: String,
    next: u64,
}

impl Cursor {
    /// The text of its file.
    pub fn to_text(&self, target: &str) -> String {
        let lives = self.lives.iter().map(|life| Life { epoch: hex(&life.epoch), next: life.next });
        let file = File { version: VERSION, target: target.into(), lives: lives.collect() };
        // Text and numbers always have a form in JSON.
        format!("{}\n", serde_json::to_string(&file).unwrap_or_default())
    }

    /// Reads it back; the cause when it is none of ours.
    pub fn parse(text: &str) -> Result<Cursor, String> {
        let failed = |e: serde_json::Error| e.to_string();
        let lives = match serde_json::from_str::<AnyFile>(text).map_err(failed)?.version {
            1 => {
                let file: FileOfVersion1 = serde_json::from_str(text).map_err(failed)?;
                vec![Life { epoch: file.epoch, next: file.next }]
            }
            VERSION => serde_json::from_str::<File>(text).map_err(failed)?.lives,
            other => {
                return Err(format!("its version is {other}, and this program reads those up to {VERSION}"));
            }
        };
        let mut cursor = Cursor::default();
        for life in lives {
            let epoch = epoch_of(&life.epoch).ok_or("its epoch is not 32 hexadecimal digits")?;
            cursor.reach(epoch, life.next);
        }
        Ok(cursor)
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

    fn cursor(lives: &[(u8, u64)]) -> Cursor {
        let mut cursor = Cursor::default();
        lives.iter().for_each(|(epoch, next)| cursor.reach([*epoch; 16], *next));
        cursor
    }

    fn check(firsts: &[u64], length: u64, at: Option<(u8, u64)>, expect: Result<u64, (u64, u64)>) {
        let expect = expect.map_err(|(exported, length)| ResumeError::WentBack { exported, length });
        let at = cursor(at.as_slice());
        assert_eq!(lives(firsts, length).resume(&at), expect, "{firsts:?} {length} {at:?}");
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

    /// A life of each restore from one backup or another, some of them given up again.
    #[test]
    fn what_a_life_has_is_exported_once_however_often_a_restore_brings_it_back() {
        let of = |epochs: &[(u8, u64)], length: u64| Lives {
            epochs: epochs.iter().map(|(id, first)| Epoch { id: [*id; 16], first: *first }).collect(),
            length,
        };
        let mut place = Cursor::default();
        let mut check = |epochs: &[(u8, u64)], length: u64, expect: u64| {
            let lives = of(epochs, length);
            let from = lives.resume(&place).unwrap();
            assert_eq!(from, expect, "{epochs:?} {length} {place:?}");
            lives.note(&mut place, length);
            // As the next start reads it.
            place = Cursor::parse(&place.to_text("t")).unwrap();
            assert_eq!(lives.resume(&place), Ok(length));
        };
        check(&[(1, 0)], 500, 0);
        check(&[(1, 0), (2, 400)], 450, 400);
        // The same backup again, and one that has more of the first life, though no more than was exported, or than there was.
        check(&[(1, 0), (3, 400)], 420, 400);
        check(&[(1, 0), (4, 480)], 490, 480);
        check(&[(1, 0), (5, 510)], 520, 500);
        // Backups of lives that were given up.
        check(&[(1, 0), (2, 400), (6, 430)], 440, 430);
        check(&[(1, 0), (2, 400), (7, 460)], 470, 450);
        check(&[(1, 0), (3, 400), (8, 410), (9, 415)], 416, 410);
        // Of another machine.
        check(&[(20, 0)], 3, 0);
        check(&[(1, 0), (10, 300)], 301, 300);
    }

    #[test]
    fn what_somebody_moved_away_is_noticed() {
        let check = |lives: &[(u8, u64)], last: Option<(u8, u64)>, expect: bool| {
            let last = last.map(|(epoch, index)| ([epoch; 16], index));
            assert_eq!(cursor(lives).is_beyond(last), expect, "{lives:?} {last:?}");
        };
        check(&[], None, false);
        check(&[], Some((1, 5)), false);
        check(&[(1, 400), (2, 450)], Some((2, 449)), false);
        check(&[(1, 400), (2, 450)], Some((2, 470)), false);
        check(&[(1, 400), (2, 450)], Some((3, 402)), false);
        check(&[(1, 400), (2, 450)], Some((2, 448)), true);
        check(&[(1, 400), (2, 450)], Some((1, 399)), true);
        check(&[(1, 400), (2, 450)], None, true);
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
        let written = cursor(&[(0xc4, 77), (7, 80)]);
        let text = written.to_text("https://es/logs \"x\"");
        assert_eq!(Cursor::parse(&text).unwrap(), written);
        for wrong in ["", "{}", &text.replace(":2,", ":3,"), &text.replace("c4", "C4"), &text[..20]] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
        let old = format!(r#"{{"version":1,"target":"t","epoch":"{}","next":420}}"#, "02".repeat(16));
        let read = Cursor::parse(&old).unwrap();
        assert_eq!(read, cursor(&[(2, 420)]));
        // What is before the one life that it names was exported too.
        assert_eq!(lives(&[0, 400], 450).resume(&read), Ok(420));
    }

    #[test]
    fn an_entry_belongs_to_the_life_that_it_was_written_in() {
        let lives = lives(&[0, 5, 5], 9);
        assert_eq!(lives.epoch_at(4), [1; 16]);
        // A restore twice in a row: the second of them wrote nothing.
        assert_eq!(lives.epoch_at(5), [3; 16]);
        let noted = |next: u64| {
            let mut noted = Cursor::default();
            lives.note(&mut noted, next);
            noted
        };
        assert_eq!(noted(0), cursor(&[]));
        assert_eq!(noted(5), cursor(&[(1, 5)]));
        assert_eq!(noted(6), cursor(&[(1, 5), (3, 6)]));
    }
}
