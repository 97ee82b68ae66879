//! The table's file: what outlives a spawner that is killed.
//!
//! ```text
//!  header: format · boot id │ record │ record │ …        record: length · checksum · postcard
//! ```
//!
//! Records are appended and never synced. What the page cache holds survives the death of every process; a reboot ends
//! all tasks anyway, and the boot id tells one from the other. A record cut short by a full disk or a power cut ends the
//! file: what follows it was never relied upon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContainerId, ExitRecord, ExitStatus, LogSummary, StartFailure, TableEntry, UnixNanos, Usage};

pub(crate) const FORMAT: [u8; 8] = *b"WBTABLE1";
/// As in /proc/sys/kernel/random/boot_id.
pub(crate) const BOOT_ID: usize = 36;
pub(crate) const HEADER: usize = FORMAT.len() + BOOT_ID;
const RECORD_HEADER: usize = 8;
/// Above any record of ours: a failure's message is cut.
const RECORD_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// It may be cloned from here on.
    Asked {
        id: ContainerId,
        at: UnixNanos,
    },
    Running {
        id: ContainerId,
        pid: u32,
        at: UnixNanos,
    },
    Failed(StartFailure),
    Exited(ExitRecord),
    Forgotten {
        id: ContainerId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTable {
    #[error(
        "it was written by a newer version of this program; start that one, or remove the file when no task runs"
    )]
    Newer,
    #[error("it is not a spawner's table; remove it")]
    Foreign,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// Runs that were under way are [`ExitStatus::Lost`], at `now`.
    pub(crate) entries: Vec<TableEntry>,
    /// It was written since the machine was booted, so its tasks may still be there.
    pub(crate) this_boot: bool,
}

pub(crate) fn header(boot_id: &[u8; BOOT_ID]) -> Vec<u8> {
    [FORMAT.as_slice(), boot_id].concat()
}

pub(crate) fn append(out: &mut Vec<u8>, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER]);
    let bytes = std::mem::take(out);
    // Plain data into a growing vector cannot fail.
    *out = postcard::to_extend(record, bytes).unwrap_or_default();
    let body = &out[start + RECORD_HEADER..];
    let (length, sum) = (body.len() as u32, checksum(body));
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + RECORD_HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// FNV-1a: it has to notice a cut, not an attacker, who would need root to be here.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Reads a table and closes the accounts of a spawner that died.
pub(crate) fn load(bytes: &[u8], boot_id: &[u8; BOOT_ID], now: UnixNanos) -> Result<Loaded, BadTable> {
    let Some((head, mut rest)) = bytes.split_at_checked(HEADER) else {
        // Not even a header: it was being made.
        return if FORMAT.starts_with(&bytes[..bytes.len().min(FORMAT.len())]) {
            Ok(Loaded::default())
        } else {
            Err(BadTable::Foreign)
        };
    };
    if head[..7] != FORMAT[..7] {
        return Err(BadTable::Foreign);
    }
    if head[7] != FORMAT[7] {
        return Err(BadTable::Newer);
    }
    let mut runs = BTreeMap::new();
    while let Some((record, after)) = next(rest) {
        rest = after;
        apply(&mut runs, record);
    }
    let entries = runs.into_values().map(|entry| close(entry, now)).collect();
    Ok(Loaded { entries, this_boot: head[FORMAT.len()..] == boot_id[..] })
}

fn next(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let [a, b, c, d, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > RECORD_MAX {
        return None;
    }
    let (body, after) = rest.split_at_checked(length)?;
    if checksum(body) != u32::from_le_bytes([e, f, g, h]) {
        return None;
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Some((record, after)),
        _ => None,
    }
}

enum Known {
    Asked(ContainerId, UnixNanos),
    Over(TableEntry),
}

fn apply(runs: &mut BTreeMap<ContainerId, Known>, record: Record) {
    match record {
        // A start that was already known to run keeps its later time.
        Record::Asked { id, at } | Record::Running { id, at, .. } => {
            runs.insert(id, Known::Asked(id, at));
        }
        Record::Failed(failure) => {
            runs.insert(failure.id, Known::Over(TableEntry::Failed(failure)));
        }
        Record::Exited(record) => {
            runs.insert(record.id, Known::Over(TableEntry::Exited(record)));
        }
        Record::Forgotten { id } => {
            runs.remove(&id);
        }
    }
}

fn close(known: Known, now: UnixNanos) -> TableEntry {
    match known {
        Known::Over(entry) => entry,
        Known::Asked(id, at) => TableEntry::Exited(ExitRecord {
            id,
            status: ExitStatus::Lost,
            oom_killed: false,
            started_at: at,
            finished_at: now.max(at),
            usage: Usage::default(),
            log: LogSummary::default(),
        }),
    }
}
