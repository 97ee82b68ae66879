//! The journal's rows of before the log that is written now.
//!
//! ```text
//!   row 1 ───────────┬──────────────────┬─────────────────▶
//!     log A, or rows │ log B            │ the log that is written now
//!     nobody signed  │                  │ details.backup of its first entry: how many entries B has, and their root;
//!                    └ B's first entry: │ the same of A                        and B's last checkpoint
//! ```
//! Each first entry is signed with its own log, and so is what it says of the rows before it. The journal's list of its closed
//! logs is not: whoever can write to it could make it shorter, and change the rows that nothing claims then.

use std::ops::Range;

use serde_json::Value;

use super::{Journal, NAMED_BY, Verified};
use crate::checkpoint::{Checkpoint, decode};
use crate::edge::Edge;
use crate::hash::Hash;
use crate::note::Note;

/// What the first entry of a log says of the rows before it.
struct Before {
    entries: u64,
    root: Hash,
    /// The log that they are. Rows of before there were logs are none, and were signed first by this entry.
    origin: Option<String>,
}

impl Before {
    fn read(entry: &[u8]) -> Option<Before> {
        let body: Value = serde_json::from_slice(entry).ok()?;
        let backup = Some(&body["details"]["backup"]).filter(|_| body["kind"] == "LogEvent")?;
        let origin = match backup["checkpoint"].as_str() {
            Some(text) => Some(Checkpoint::parse(&Note::parse(text.as_bytes()).ok()?.text).ok()?.origin),
            None => None,
        };
        Some(Before { entries: backup["entries"].as_u64()?, root: decode(backup["root"].as_str()?)?, origin })
    }
}

/// Checks them back to the first row. Rows of logs that the journal lists are checked by the walk; here, that they are listed
/// as what they are.
pub(super) fn check(journal: &mut Journal<'_>, found: &mut Verified) {
    // That nothing signs its rows was told.
    let Some(current) = journal.logs.get(&journal.current) else { return };
    let (mut first, mut log) = (current.first_sequence, journal.current.clone());
    while first > 1 {
        let by = format!("{NAMED_BY}{log}");
        let mut entry = None;
        // What cannot be read is told as what it does not say.
        let read = (journal.rows)(first..first + 1, &mut |row| entry = Some(row.body.to_vec()));
        let Some(before) = entry.filter(|_| read.is_ok()).and_then(|entry| Before::read(&entry)) else {
            found.damaged(by, format!("it does not say what the {} rows before it are", first - 1));
            return;
        };
        let rows = first.saturating_sub(before.entries).max(1)..first;
        if rows.end - rows.start != before.entries || rows.is_empty() {
            let what = format!("it says that {} rows are before it; there are {}", before.entries, first - 1);
            found.damaged(by, what);
            return;
        }
        let listed = before.origin.as_ref().and_then(|origin| journal.logs.get(origin));
        if listed.is_none_or(|log| log.first_sequence != rows.start || log.size != before.entries) {
            if let Some(origin) = &before.origin {
                let what = format!(
                    "it does not list {origin} as a closed log of rows {} to {}",
                    rows.start,
                    first - 1
                );
                found.damaged("the journal", format!("{what}, as {by} says"));
            }
            if !are_of_root(journal, rows.clone(), &before.root, found) {
                let what = format!("rows {} to {} are not those that {by} names", rows.start, first - 1);
                found.damaged("the journal", what);
                return;
            }
        }
        log = before.origin.unwrap_or_else(|| format!("the log at row {}", rows.start));
        first = rows.start;
    }
}

fn are_of_root(journal: &mut Journal<'_>, rows: Range<u64>, root: &Hash, found: &mut Verified) -> bool {
    let mut edge = Edge::default();
    let mut misdated = None;
    let read = (journal.rows)(rows.clone(), &mut |row| {
        if row.sequence == rows.start + edge.size() {
            edge.append(row.body);
        }
        if misdated.is_none() && !row.has_time_of_entry() {
            misdated = Some(row.sequence);
        }
    });
    if let Err(error) = read {
        found.damaged("the journal", error);
    }
    if let Some(sequence) = misdated {
        found.misdated(sequence);
    }
    edge.size() == rows.end - rows.start && edge.root() == *root
}
