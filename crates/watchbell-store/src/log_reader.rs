//! The audit rows and the heads of the logs, read beside a running server or from a stopped one's directory.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};
use watchbell_audit::{JournalLog, JournalRow};

use crate::connection::open_read_only;
use crate::directory::JOURNAL;
use crate::format::{self, FORMAT_VERSION, Mark};
use crate::log::{HeadRow, origin};
use crate::open::read_epoch;
use crate::{Epoch, Error};

/// What is read of the rows before it is handed on.
const PORTION_BYTES: usize = 4 << 20;

/// Reads the audit part of a journal through a connection that only reads.
pub struct LogReader {
    connection: Connection,
    path: PathBuf,
}

/// What a journal says of its logs, at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHeads {
    /// By origin.
    pub logs: BTreeMap<String, JournalLog>,
    /// The origin of the log that is written now.
    pub current: String,
    /// The key that the log is signed by; `None` before the first start of this format.
    pub verifier: Option<String>,
}

impl LogHeads {
    pub(crate) fn read(connection: &Connection, path: &Path) -> Result<LogHeads, Error> {
        let failed = |e| Error::of_sqlite("read the audit log's heads in", path, e);
        let transaction = connection.unchecked_transaction().map_err(failed)?;
        let epoch = read_epoch(&transaction).map_err(failed)?;
        let head = HeadRow::read(&transaction, path)?;
        let current = origin(&epoch);
        let mut logs = BTreeMap::new();
        if let Some(checkpoint) = head.checkpoint {
            let log = JournalLog { first_sequence: head.first_sequence, size: head.edge.size(), checkpoint };
            logs.insert(current.clone(), log);
        }
        {
            let mut statement = transaction
                .prepare(
                    "SELECT epoch.number, epoch.id, first_resource_version, first_audit_sequence,
                            first_sequence, size, checkpoint
                     FROM closed_log JOIN epoch ON epoch.number = closed_log.epoch",
                )
                .map_err(failed)?;
            let mut rows = statement.query([]).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let (origin, log) = closed(row).map_err(failed)?;
                logs.insert(origin, log);
            }
        }
        Ok(LogHeads { logs, current, verifier: head.verifier })
    }
}

impl LogReader {
    /// # Errors
    /// The journal is missing, no journal, or of another format: an older one is migrated by the next start of the server.
    pub fn open(dir: &Path) -> Result<LogReader, Error> {
        let path = dir.join(JOURNAL);
        let connection = open_read_only(&path)?;
        match format::read_mark(&connection, &path, FORMAT_VERSION)? {
            Mark::Version(FORMAT_VERSION) => Ok(LogReader { connection, path }),
            Mark::Version(found) => Err(Error::OlderFormat { path, found, needed: FORMAT_VERSION }),
            Mark::Blank => Err(Error::NotAJournal { path, application_id: 0 }),
        }
    }

    /// The heads of all logs, in one read.
    pub fn heads(&self) -> Result<LogHeads, Error> {
        LogHeads::read(&self.connection, &self.path)
    }

    /// Hands the rows of a range of sequences to `each`, in their order. Whatever `each` waits for, nothing of the journal is held
    /// meanwhile, so that its WAL can be written over.
    pub fn rows(&self, range: Range<u64>, each: &mut dyn FnMut(JournalRow<'_>)) -> Result<(), Error> {
        let mut from = range.start;
        loop {
            let (mut portion, mut bytes) = (Vec::new(), 0);
            LogReader::scan(&self.connection, &self.path, from..range.end, &mut |row| {
                portion.push((row.sequence, row.at_unix_nanos, row.body.to_vec()));
                bytes += size_of::<(u64, i64, Vec<u8>)>() + row.body.len();
                if bytes < PORTION_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let Some((last, ..)) = portion.last() else { return Ok(()) };
            from = last + 1;
            for (sequence, at_unix_nanos, body) in &portion {
                each(JournalRow { sequence: *sequence, at_unix_nanos: *at_unix_nanos, body });
            }
        }
    }

    /// The same within one reading, until `each` breaks it off.
    pub(crate) fn scan(
        connection: &Connection,
        path: &Path,
        range: Range<u64>,
        each: &mut dyn FnMut(JournalRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let failed = |e| match Error::of_sqlite("read audit rows of", path, e) {
            // A row of a wrong form was not written by us.
            Error::Sqlite { step, path, source } => Error::Corrupt { step, path, cause: source.to_string() },
            other => other,
        };
        let sql = "SELECT sequence, at_unix_nanos, body FROM audit WHERE sequence >= ?1 AND sequence < ?2 ORDER BY sequence";
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        let ends = params![range.start.cast_signed(), range.end.cast_signed()];
        let mut rows = statement.query(ends).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let sequence: i64 = row.get(0).map_err(failed)?;
            let at_unix_nanos = row.get(1).map_err(failed)?;
            let body = row.get_ref(2).map_err(failed)?.as_blob().map_err(|e| failed(e.into()))?;
            if each(JournalRow { sequence: sequence.cast_unsigned(), at_unix_nanos, body }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn closed(row: &Row<'_>) -> rusqlite::Result<(String, JournalLog)> {
    let number = |i| row.get(i).map(i64::cast_unsigned);
    let epoch = Epoch {
        number: number(0)?,
        id: row.get(1)?,
        first_resource_version: number(2)?,
        first_audit_sequence: number(3)?,
    };
    Ok((origin(&epoch), JournalLog { first_sequence: number(4)?, size: number(5)?, checkpoint: row.get(6)? }))
}
