//! Opening SQLite with the settings that the promises of this crate rest on.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::Error;

/// 3.51.3 is the first without the WAL-reset bug: a commit and a checkpoint of two connections at one moment could lose
/// committed frames.
const OLDEST_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

/// Pages kept in memory by the writer, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// How long a lock held by the other connection is waited for.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that may write `path`, which must exist (an empty file is an empty database). It changes nothing by itself,
/// not even at its end, until [`tidy_at_end`].
pub(crate) fn open_writable(path: &Path) -> Result<Connection, Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| Error::of_sqlite("open", path, e))?;
    Ok(connection)
}

/// Settings of a connection that commits or checkpoints.
pub(crate) fn make_durable(connection: &Connection, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::of_sqlite("configure SQLite for", path, e);
    // WAL is a property of the file and is there to stay; the pragma answers with the mode it got. Asked for one row and no
    // more, the statement runs to its end, which is where a new file's commit fails.
    let mode: String =
        connection.query_one("PRAGMA journal_mode = wal", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let source = std::io::Error::other(format!(
            "journal mode is {mode}, not wal: has this file system no shared memory?"
        ));
        return Err(Error::Io { step: "open", path: path.to_path_buf(), source });
    }
    // One fsync of the WAL a commit, before it is acknowledged.
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // The caller says when: never between a request and its answer.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
    Ok(())
}

/// Lets the connection, should it be the last to close, move the WAL into the database file.
pub(crate) fn tidy_at_end(connection: &Connection, path: &Path) -> Result<(), Error> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map(|_| ())
        .map_err(|e| Error::of_sqlite("configure SQLite for", path, e))
}

/// A connection that only reads `path`.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
    if rusqlite::version_number() < OLDEST_SQLITE.0 {
        return Err(Error::SqliteTooOld { found: rusqlite::version(), needed: OLDEST_SQLITE.1 });
    }
    let failed = |e| Error::of_sqlite("open", path, e);
    // No URI names: a path is a path, whatever characters it has.
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // What is in the file is data, not code: no function with side effects from a schema, no writing of the schema by hand.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(failed)?;
    // A status goes with its object.
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    // A mapped file turns a disk error into SIGBUS.
    connection.pragma_update(None, "mmap_size", 0).map_err(failed)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(failed)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
