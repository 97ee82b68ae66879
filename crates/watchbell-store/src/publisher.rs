//! The audit log's files, written behind the journal: from its rows, up to the checkpoint that it has signed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use watchbell_audit::{LogWriter, Note, VerifierKey};

use crate::connection::open_read_only;
use crate::directory::{AUDIT, DirectoryLock, parent};
use crate::log::HeadRow;
use crate::{Error, LogReader};

/// Rows that are read at once: the read holds the WAL from being written over.
const ROWS: u64 = 4096;

/// Writes the files of the log in `DIR/audit`. Holds the directory's lock like the store, reads the journal, and changes
/// nothing in it.
pub struct Publisher {
    connection: Connection,
    path: PathBuf,
    verifier: VerifierKey,
    writer: Option<LogWriter>,
    _lock: Arc<DirectoryLock>,
}

impl Publisher {
    pub(crate) fn open(
        path: &Path,
        verifier: VerifierKey,
        lock: Arc<DirectoryLock>,
    ) -> Result<Publisher, Error> {
        let connection = open_read_only(path)?;
        Ok(Publisher { connection, path: path.to_path_buf(), verifier, writer: None, _lock: lock })
    }

    /// Brings the files up to what is committed now. Returns the size of the log that is published. After a failure the next
    /// call goes on where it stopped.
    ///
    /// # Errors
    /// [`Error::Log`]: no room on the disk, or the files are not what the journal says; then nothing is written over.
    pub fn publish(&mut self) -> Result<u64, Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(LogWriter::open(&parent(&self.path).join(AUDIT), &self.verifier)?),
        };
        publish(&self.connection, &self.path, writer)
    }
}

/// Brings a log's files up to the journal's head.
pub(crate) fn publish(connection: &Connection, path: &Path, writer: &mut LogWriter) -> Result<u64, Error> {
    let head = HeadRow::read(connection, path)?;
    let Some(checkpoint) = head.checkpoint else { return Ok(writer.size()) };
    write_rows(connection, path, writer, head.first_sequence, head.edge.size(), &checkpoint)
}

/// Brings a log's files up to a checkpoint of `size` entries, which are the rows from `first` on.
pub(crate) fn write_rows(
    connection: &Connection,
    path: &Path,
    writer: &mut LogWriter,
    first: u64,
    size: u64,
    checkpoint: &str,
) -> Result<u64, Error> {
    while writer.size() < size {
        let from = first + writer.size();
        let to = (from + ROWS).min(first + size);
        let mut appended = Ok(());
        LogReader::scan(connection, path, from..to, &mut |row| {
            appended = writer.append(row.body);
            if appended.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        appended?;
        if first + writer.size() != to {
            let cause = format!("audit row {} is missing", first + writer.size());
            return Err(Error::Corrupt { step: "publish the audit log", path: path.to_path_buf(), cause });
        }
    }
    let note = Note::parse(checkpoint.as_bytes()).map_err(|e| Error::Corrupt {
        step: "publish the audit log",
        path: path.to_path_buf(),
        cause: format!("its checkpoint: {e}"),
    })?;
    writer.publish(&note)?;
    Ok(writer.size())
}
