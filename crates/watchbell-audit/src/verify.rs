//! Checking a whole audit directory: every file in it, every entry, every hash, beside the journal that it is a copy of.
//!
//! ```text
//!   Listing::read          the checkpoint first, then the names        } in this order, so that beside a running
//!   the journal's head     one read transaction                        } server each covers the one before
//!   verify                 entries ─▶ leaves ─▶ tiles ─▶ roots, compared with the files as they come by
//! ```
//! Nothing is changed, whatever is found.

mod before;
mod bundle;
mod listing;
mod walk;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

pub use listing::Listing;

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::note::{Note, NoteError, SignatureKind, VerifierKey};
use listing::LogFiles;

/// Findings after this many are counted and not told.
const DAMAGE_MAX: usize = 100;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// A file below the audit directory, or what else it is found in.
    pub at: String,
    pub what: String,
}

/// What the journal says of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLog {
    /// The sequence of the row that is the log's entry 0.
    pub first_sequence: u64,
    /// How many rows it has.
    pub size: u64,
    /// The checkpoint it signed with its last entry.
    pub checkpoint: String,
}

/// The journal at one instant.
pub struct Journal<'a> {
    /// By origin.
    pub logs: BTreeMap<String, JournalLog>,
    /// The origin of the log that is written now.
    pub current: String,
    /// Hands the audit rows of a range of sequences to the callback, in their order.
    #[expect(clippy::type_complexity, reason = "the shape of a row's reader, used here alone")]
    pub rows: Box<dyn FnMut(std::ops::Range<u64>, &mut dyn FnMut(JournalRow<'_>)) -> Result<(), String> + 'a>,
}

/// An audit row of the journal.
#[derive(Debug, Clone, Copy)]
pub struct JournalRow<'a> {
    pub sequence: u64,
    /// In no leaf, and the time that an export tells of the entry.
    pub at_unix_nanos: i64,
    /// The entry.
    pub body: &'a [u8],
}

impl JournalRow<'_> {
    /// Whether its time is the one in the entry, if that has one.
    fn has_time_of_entry(&self) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            #[serde(borrow)]
            stage_timestamp: Cow<'a, str>,
        }
        let read = serde_json::from_slice::<Body<'_>>(self.body).ok();
        let at = read.and_then(|body| body.stage_timestamp.parse::<Timestamp>().ok());
        at.is_none_or(|at| at.as_nanosecond() == i128::from(self.at_unix_nanos))
    }
}

/// What the caller knows that the directory cannot forge.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The log that is written now must be signed by one of them.
    pub keys: Vec<VerifierKey>,
    /// Checkpoints held elsewhere: the log must begin with them.
    pub held: Vec<Note>,
    /// Each must have signed the newest witnessed checkpoint.
    pub witnesses: Vec<VerifierKey>,
}

/// What was found of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLog {
    /// Below the audit directory; empty for the log that is written now.
    pub dir: String,
    pub verifier: VerifierKey,
    /// Of the published checkpoint.
    pub published: u64,
    /// Entries read, those that only the journal has included.
    pub entries: u64,
    /// The root of all of them.
    pub root: Hash,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub logs: Vec<VerifiedLog>,
    pub files: u64,
    pub damage: Vec<Damage>,
    /// Findings that [`Verified::damage`] has no room for.
    pub more_damage: u64,
    /// Partial tiles whose full ones are there too: a crash came between the checkpoint and their removal, or the server is
    /// about to remove them. They are checked like any, and may be deleted.
    pub left_over: u64,
    /// Of a directory without its journal: files that go on behind the checkpoint. They were copied after it, or a crash came
    /// before the next one; nothing signs what they hold there, and it is not looked at.
    pub ahead: u64,
    /// Files behind a place where the log is missing altogether.
    pub unchecked: u64,
}

impl Verified {
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    fn damaged(&mut self, at: impl Into<String>, what: impl Into<String>) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage { at: at.into(), what: what.into() });
        } else {
            self.more_damage += 1;
        }
    }

    fn misdated(&mut self, sequence: u64) {
        self.damaged("the journal", format!("audit row {sequence} has another time than its entry"));
    }
}

/// A root that a log must have had at a size.
#[derive(Debug, Clone)]
struct Demand {
    /// Who says so.
    by: String,
    size: u64,
    root: Hash,
}

/// Checks everything. `journal` is `None` where only the directory is there.
///
/// # Errors
/// A file cannot be read for a reason that is no damage. All damage is in the answer.
pub fn verify(listing: Listing, mut journal: Option<Journal<'_>>, trust: &Trust) -> Result<Verified, Error> {
    let mut found = Verified { files: listing.files, ..Verified::default() };
    for (path, what) in &listing.strangers {
        found.damaged(path, *what);
    }
    let mut demands: BTreeMap<String, Vec<Demand>> = BTreeMap::new();
    let mut logs = Vec::new();
    for files in listing.logs {
        match open_log(&listing.dir, files, &mut found, &mut demands) {
            Ok(Some(log)) => logs.push(log),
            Ok(None) => {}
            Err(error) => found.damaged(error_place(&error), error.to_string()),
        }
    }
    if let Some(journal) = &journal {
        demand_of_journal(journal, &logs, &mut found, &mut demands);
    }
    demand_of_trust(&logs, trust, &mut found, &mut demands);
    for log in &logs {
        demand_of_first_entry(&listing.dir, log, journal.as_mut(), &logs, &mut found, &mut demands)?;
    }
    // A log that is closed was named by the one that follows it.
    for log in logs.iter().filter(|log| !log.files.dir.is_empty()) {
        let is_named = demands
            .get(log.verifier.name())
            .is_some_and(|list| list.iter().any(|d| d.by.starts_with(NAMED_BY)));
        if !is_named {
            found.damaged(&log.files.dir, "no other log names it as the one before it");
        }
    }
    for log in logs {
        let demands = demands.remove(log.verifier.name()).unwrap_or_default();
        walk::walk(&listing.dir, log, journal.as_mut(), demands, &mut found)?;
    }
    if let Some(journal) = &mut journal {
        before::check(journal, &mut found);
    }
    Ok(found)
}

const NAMED_BY: &str = "the first entry of ";

/// A log whose checkpoint verifies.
struct OpenLog {
    files: LogFiles,
    verifier: VerifierKey,
    published: u64,
}

fn open_log(
    dir: &std::path::Path,
    files: LogFiles,
    found: &mut Verified,
    demands: &mut BTreeMap<String, Vec<Demand>>,
) -> Result<Option<OpenLog>, Error> {
    let at = |name: &str| files.path(name);
    let Some(verifier) = crate::reader::read_verifier(&dir.join(&files.dir))? else {
        found.damaged(at(crate::reader::VERIFIER), "it is missing");
        return Ok(None);
    };
    let Some(bytes) = &files.checkpoint else {
        found.damaged(at(crate::reader::CHECKPOINT), "it is missing");
        return Ok(Some(OpenLog { files, verifier, published: 0 }));
    };
    let path = at(crate::reader::CHECKPOINT);
    let checkpoint = match Checkpoint::open(bytes, &verifier) {
        Ok((checkpoint, note)) if note.to_string().as_bytes() == bytes => checkpoint,
        Ok(_) => {
            found.damaged(&path, "it is not written as a signed note is");
            return Ok(None);
        }
        Err(error) => {
            found.damaged(&path, error.to_string());
            return Ok(None);
        }
    };
    if checkpoint.origin != verifier.name() {
        found.damaged(&path, format!("it is of {}, its key of {}", checkpoint.origin, verifier.name()));
        return Ok(None);
    }
    let demand = Demand { by: path, size: checkpoint.size, root: checkpoint.root };
    demands.entry(checkpoint.origin).or_default().push(demand);
    Ok(Some(OpenLog { files, verifier, published: checkpoint.size }))
}

fn error_place(error: &Error) -> String {
    match error {
        Error::Io { path, .. } | Error::Damaged { path, .. } | Error::Note { path, .. } => {
            path.display().to_string()
        }
        _ => "audit".into(),
    }
}

fn demand_of_journal(
    journal: &Journal<'_>,
    logs: &[OpenLog],
    found: &mut Verified,
    demands: &mut BTreeMap<String, Vec<Demand>>,
) {
    for (origin, log) in &journal.logs {
        let at = format!("the journal's checkpoint of {origin}");
        let Some(open) = logs.iter().find(|open| open.verifier.name() == origin) else {
            // What is missing of the log that is written now was told by name.
            if *origin != journal.current {
                found.damaged(at, "the directory of that log is missing");
            }
            continue;
        };
        let read = Checkpoint::open(log.checkpoint.as_bytes(), &open.verifier);
        match read {
            Ok((checkpoint, _)) if checkpoint.origin == *origin && checkpoint.size == log.size => {
                let demand = Demand { by: at, size: checkpoint.size, root: checkpoint.root };
                demands.entry(origin.clone()).or_default().push(demand);
            }
            Ok((checkpoint, _)) => found.damaged(
                at,
                format!(
                    "it is of {} at {} entries; the journal has {} rows",
                    checkpoint.origin, checkpoint.size, log.size
                ),
            ),
            Err(error) => found.damaged(at, error.to_string()),
        }
    }
    if !journal.logs.contains_key(&journal.current) {
        let at = format!("the journal's checkpoint of {}", journal.current);
        found.damaged(at, "it is missing: nothing signs the journal's rows");
    }
    if let Some(open) = logs.iter().find(|open| open.files.dir.is_empty())
        && open.verifier.name() != journal.current
    {
        let what = format!("the log is {}, the journal writes {}", open.verifier.name(), journal.current);
        found.damaged(crate::reader::VERIFIER, what);
    }
}

fn demand_of_trust(
    logs: &[OpenLog],
    trust: &Trust,
    found: &mut Verified,
    demands: &mut BTreeMap<String, Vec<Demand>>,
) {
    let current = logs.iter().find(|log| log.files.dir.is_empty());
    if !trust.keys.is_empty() {
        match current {
            Some(log) if trust.keys.contains(&log.verifier) => {}
            Some(log) => found.damaged(
                crate::reader::VERIFIER,
                format!("the log is signed by {}, which is none of the keys that were given", log.verifier),
            ),
            None => {
                found
                    .damaged(crate::reader::CHECKPOINT, "there is no log that a given key could have signed");
            }
        }
    }
    for note in &trust.held {
        if let Err(what) = demand_of_held(note, logs, trust, demands) {
            found.damaged("the held checkpoint", what);
        }
    }
    if !trust.witnesses.is_empty() {
        demand_of_witnesses(current, trust, found);
    }
    for log in logs {
        let Some(bytes) = &log.files.witnessed else { continue };
        let path = log.files.path(crate::reader::WITNESSED);
        match Checkpoint::open(bytes, &log.verifier) {
            Ok((checkpoint, _)) => {
                let demand = Demand { by: path, size: checkpoint.size, root: checkpoint.root };
                demands.entry(checkpoint.origin).or_default().push(demand);
            }
            Err(error) => found.damaged(path, error.to_string()),
        }
    }
}

fn demand_of_held(
    note: &Note,
    logs: &[OpenLog],
    trust: &Trust,
    demands: &mut BTreeMap<String, Vec<Demand>>,
) -> Result<(), String> {
    let checkpoint = Checkpoint::parse(&note.text).map_err(|e| e.to_string())?;
    let keys = trust.keys.iter().chain(logs.iter().map(|log| &log.verifier));
    let key = keys
        .filter(|key| key.kind() == SignatureKind::Ed25519)
        .find(|key| key.name() == checkpoint.origin)
        .ok_or_else(|| format!("it is of the log {}, which is not here", checkpoint.origin))?;
    note.verify(key).map_err(|e: NoteError| e.to_string())?;
    if !logs.iter().any(|log| log.verifier.name() == checkpoint.origin) {
        return Err(format!("it is of the log {}, which is not here", checkpoint.origin));
    }
    let demand = Demand { by: "the held checkpoint".into(), size: checkpoint.size, root: checkpoint.root };
    demands.entry(checkpoint.origin).or_default().push(demand);
    Ok(())
}

fn demand_of_witnesses(current: Option<&OpenLog>, trust: &Trust, found: &mut Verified) {
    let witnessed = current.and_then(|log| log.files.witnessed.as_ref());
    let Some(bytes) = witnessed else {
        found.damaged(crate::reader::WITNESSED, "no witnessed checkpoint is here");
        return;
    };
    match Note::parse(bytes) {
        Ok(note) => {
            for witness in &trust.witnesses {
                if let Err(error) = note.cosigned_at(witness) {
                    found.damaged(crate::reader::WITNESSED, error.to_string());
                }
            }
        }
        Err(error) => found.damaged(crate::reader::WITNESSED, error.to_string()),
    }
}

/// A log that follows another begins with an entry that holds the other's last checkpoint.
fn demand_of_first_entry(
    dir: &std::path::Path,
    log: &OpenLog,
    journal: Option<&mut Journal<'_>>,
    logs: &[OpenLog],
    found: &mut Verified,
    demands: &mut BTreeMap<String, Vec<Demand>>,
) -> Result<(), Error> {
    let Some(entry) = first_entry(dir, log, journal)? else { return Ok(()) };
    let by = format!("{NAMED_BY}{}", log.verifier.name());
    for text in named_checkpoints(&entry) {
        let named = Note::parse(text.as_bytes()).and_then(|note| Ok((Checkpoint::parse(&note.text)?, note)));
        let (checkpoint, note) = match named {
            Ok(named) => named,
            Err(error) => {
                found.damaged(&by, error.to_string());
                continue;
            }
        };
        match logs.iter().find(|other| other.verifier.name() == checkpoint.origin) {
            Some(other) => match note.verify(&other.verifier) {
                Ok(()) => {
                    let demand = Demand { by: by.clone(), size: checkpoint.size, root: checkpoint.root };
                    demands.entry(checkpoint.origin).or_default().push(demand);
                }
                Err(error) => found.damaged(&by, error.to_string()),
            },
            None => {
                found.damaged(&by, format!("it follows the log {}, which is not here", checkpoint.origin));
            }
        }
    }
    Ok(())
}

/// The checkpoints that the entry of a restore names (`details.previous` and `details.backup`).
fn named_checkpoints(entry: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(entry) else { return Vec::new() };
    if body["kind"] != "LogEvent" {
        return Vec::new();
    }
    ["previous", "backup"]
        .iter()
        .filter_map(|field| body["details"][field]["checkpoint"].as_str().map(str::to_owned))
        .collect()
}

fn first_entry(
    dir: &std::path::Path,
    log: &OpenLog,
    journal: Option<&mut Journal<'_>>,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(journal) = journal
        && let Some(in_journal) = journal.logs.get(log.verifier.name())
    {
        let first = in_journal.first_sequence;
        let mut entry = None;
        // What the journal cannot read is told by the walk.
        let read = (journal.rows)(first..first + 1, &mut |row| entry = Some(row.body.to_vec()));
        if read.is_ok() && entry.is_some() {
            return Ok(entry);
        }
    }
    walk::first_entry_of_files(dir, &log.files)
}
