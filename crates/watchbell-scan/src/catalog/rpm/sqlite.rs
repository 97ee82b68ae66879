//! The SQLite form: table `Packages`, one header blob a row.
//!
//! The file is a stranger's: it is opened in memory and read-only, its schema is trusted in nothing (a view in the table's
//! place is refused), and the work is bounded by a handler that SQLite calls as it goes.

use std::io::Read as _;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB};

/// SQLite's virtual instructions between two calls of the handler.
const STEP: i32 = 10_000;
/// Calls of the handler: reading a hundred thousand packages takes some hundred.
const STEPS_MAX: u64 = 2_000;
const BLOB_BYTES_MAX: i32 = 64 << 20;

pub(super) fn blobs(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
    read(bytes, each).map_err(|e| match e {
        Failure::Sqlite(e) => format!("it is no data base that SQLite reads: {e}"),
        Failure::Refused(reason) => reason.to_owned(),
    })
}

enum Failure {
    Sqlite(rusqlite::Error),
    Refused(&'static str),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn read(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Failure> {
    if !bytes.starts_with(b"SQLite format 3\0") || bytes.len() < 100 {
        return Err(Failure::Refused("it is no SQLite data base"));
    }
    let mut connection = Connection::open_in_memory()?;
    // Bytes 18 and 19 say that a write-ahead log stands beside it, which memory has not: what was not folded into the file is
    // not seen, as for everybody who copies the file alone.
    let image = (&bytes[..18]).chain(&b"\x01\x01"[..]).chain(&bytes[20..]);
    connection.deserialize_read_exact(MAIN_DB, image, bytes.len(), true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, BLOB_BYTES_MAX)?;
    let mut steps = 0;
    connection.progress_handler(
        STEP,
        Some(move || {
            steps += 1;
            steps > STEPS_MAX
        }),
    )?;
    let kind: Option<String> = connection
        .query_row("SELECT type FROM sqlite_schema WHERE name = 'Packages' COLLATE NOCASE", [], |row| {
            row.get(0)
        })
        .map(Some)
        .or_else(|e| if e == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(e) })?;
    if kind.as_deref() != Some("table") {
        return Err(Failure::Refused("it has no table of packages"));
    }
    // Pages that lead in a circle would give the same rows for ever.
    let rows_max = bytes.len() / 64;
    let mut blob_bytes = 0usize;
    let mut statement = connection.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        count += 1;
        let ValueRef::Blob(blob) = row.get_ref(0)? else { continue };
        blob_bytes = blob_bytes.saturating_add(blob.len());
        if count > rows_max || blob_bytes > bytes.len() {
            return Err(Failure::Refused("its pages lead in a circle"));
        }
        if !each(blob) {
            return Ok(());
        }
    }
    Ok(())
}
