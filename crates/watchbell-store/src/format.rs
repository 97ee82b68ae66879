//! The file's format: its marks, its versions, and the steps from each to the next.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::backup::copy_database;
use crate::directory::{self, BACKUPS, create_dir, partial, remove, rename, sync_dir};
use crate::{Error, log, seal};

/// The format this program writes.
pub const FORMAT_VERSION: u32 = STEPS.len() as u32;

/// `PRAGMA application_id`: "WBEL".
pub(crate) const APPLICATION_ID: i32 = 0x5742_454c;

/// One step of the format. `apply` runs within the transaction of the whole migration and must not end it.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    pub(crate) apply: fn(&Transaction) -> rusqlite::Result<()>,
}

/// Step `i` leads from version `i` to `i + 1`. A released step is never edited: a change of the format is a new step.
/// Version 0 is a journal that was marked as ours and not filled yet.
pub(crate) const STEPS: &[Step] = &[
    Step { what: "lay out the tables", apply: lay_out },
    Step { what: "put the audit entries into a tree", apply: begin_log },
];

fn lay_out(transaction: &Transaction) -> rusqlite::Result<()> {
    transaction.execute_batch(include_str!("format/version_1.sql"))
}

/// The next open signs the tree.
fn begin_log(transaction: &Transaction) -> rusqlite::Result<()> {
    transaction.execute_batch(include_str!("format/version_2.sql"))?;
    log::integrate(transaction)
}

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// No table, no mark: a new file.
    Blank,
    Version(u32),
}

/// Reads the mark; refuses files of others and of newer programs.
pub(crate) fn read_mark(connection: &Connection, path: &Path, supported: u32) -> Result<Mark, Error> {
    let failed = |e| Error::of_sqlite("read the format of", path, e);
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let version: i32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let first_table: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    if application_id == 0 && version == 0 && first_table.is_none() {
        return Ok(Mark::Blank);
    }
    let (APPLICATION_ID, Ok(found)) = (application_id, u32::try_from(version)) else {
        return Err(Error::NotAJournal { path: path.to_path_buf(), application_id });
    };
    if found > supported {
        return Err(Error::NewerFormat { path: path.to_path_buf(), found, supported });
    }
    Ok(Mark::Version(found))
}

/// Whether a copy is made before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupFirst {
    Yes,
    /// The file is itself a fresh copy.
    No,
}

/// Brings the file to the newest version of `steps`. Returns the version it had, when it had an older one.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[Step],
    backup: BackupFirst,
) -> Result<Option<u32>, Error> {
    let to = steps.len() as u32;
    let from = match read_mark(connection, path, to)? {
        Mark::Version(version) if version == to => return Ok(None),
        Mark::Version(version) => Some(version),
        Mark::Blank => None,
    };
    let copy = match (from, backup) {
        (Some(version), BackupFirst::Yes) => back_up(connection, path, version)?,
        _ => path.to_path_buf(),
    };
    apply(connection, path, steps, from.unwrap_or(0), to).map_err(|failure| match (failure, from) {
        // A new file: nothing to migrate, so say plainly what failed.
        (Failure { source, .. }, None) => Error::of_sqlite("lay out the journal", path, source),
        (Failure { what, source }, Some(from)) => match Error::of_sqlite("migrate", path, source) {
            Error::Sqlite { source, .. } => Error::Migration {
                path: path.to_path_buf(),
                from,
                to,
                cause: format!("{what}: {source}"),
                copy,
            },
            worse => worse,
        },
    })?;
    Ok(from)
}

struct Failure {
    what: &'static str,
    source: rusqlite::Error,
}

/// All steps in one transaction: a crash leaves the old version or the new one.
fn apply(
    connection: &mut Connection,
    path: &Path,
    steps: &[Step],
    from: u32,
    to: u32,
) -> Result<(), Failure> {
    let at = |what| move |source| Failure { what, source };
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at("begin"))?;
    for (number, step) in steps.iter().enumerate().skip(from as usize) {
        tracing::info!(path = %path.display(), to = number + 1, step = step.what, "migrating the journal");
        (step.apply)(&transaction).map_err(at(step.what))?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(at("mark the file"))?;
    transaction.pragma_update(None, "user_version", to).map_err(at("mark the file"))?;
    transaction.commit().map_err(at("commit"))
}

/// Copies the journal and its key to `backups/format-<version>`, or the first free `format-<version>.<n>`: an earlier copy may
/// be of another life of the journal, so none is replaced.
fn back_up(connection: &Connection, path: &Path, version: u32) -> Result<PathBuf, Error> {
    let dir = directory::parent(path);
    let backups = dir.join(BACKUPS);
    create_dir(&backups)?;
    let to = directory::first_free(&backups, &format!("format-{version}"));
    let draft = partial(&to);
    remove(&draft)?;
    copy_database(connection, path, &draft, seal::key_in(dir).as_deref())?;
    rename(&draft, &to)?;
    sync_dir(&backups)?;
    Ok(to)
}

#[cfg(test)]
mod tests;
