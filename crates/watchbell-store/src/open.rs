//! Opening: lock, finish what a crash cut short, make durable what is replayed, check whose file it is, migrate, unlock the
//! secrets, count the boot.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::connection::{make_durable, open_writable, tidy_at_end};
use crate::directory::{
    AUDIT_KEY, DirectoryLock, JOURNAL, JOURNAL_WAL, SECRETS_KEY, create_private, sync_dir, there,
};
use crate::format::{self, BackupFirst, Mark, STEPS};
use crate::log::Head;
use crate::reserve::{Reserve, ReserveState};
use crate::seal::{self, Sealer};
use crate::store::{Options, Store};
use crate::{Error, restore};

const WRITTEN_AT_ONCE_BYTES: usize = 1 << 20;

/// What [`Store::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// There was no journal; now there is an empty one.
    pub created: bool,
    /// The format version it had, when it was an older one. Its copy is in `backups/`.
    pub migrated_from: Option<u32>,
    pub last_resource_version: u64,
    /// 0 when there is no entry.
    pub last_audit_sequence: u64,
    pub epoch: Epoch,
    pub boot: Boot,
    pub reserve: ReserveState,
}

/// One life of the log. A restore begins the next: versions and sequences of the life it cut off may have been seen by
/// others, so they must not be taken for those of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// From 1.
    pub number: u64,
    /// Random, drawn when the epoch began.
    pub id: [u8; 16],
    /// A watch from a version below is answered 410 Gone.
    pub first_resource_version: u64,
    /// Audit entries from here on were written in this epoch.
    pub first_audit_sequence: u64,
}

/// Which start this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// From 1, never the same twice in one journal.
    pub number: u64,
    /// Of the kernel, now.
    pub kernel_boot_id: String,
    /// Of the kernel at the start before this one; `None` at the first.
    pub kernel_boot_id_before: Option<String>,
}

impl Boot {
    /// The machine went down since the last start, so nothing of it still runs.
    pub fn machine_restarted(&self) -> bool {
        self.kernel_boot_id_before.as_ref().is_some_and(|before| *before != self.kernel_boot_id)
    }
}

impl Store {
    /// Opens the journal in `dir`, and makes both when they are missing.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it; [`Error::NewerFormat`], [`Error::NotAJournal`], [`Error::Corrupt`],
    /// [`Error::JournalMissing`] and the key's errors leave the files as they are.
    pub fn open(dir: &Path) -> Result<(Store, OpenReport), Error> {
        Store::open_with(dir, &Options::default())
    }

    /// [`Store::open`] with other than the usual options.
    pub fn open_with(dir: &Path, options: &Options) -> Result<(Store, OpenReport), Error> {
        let lock = Arc::new(DirectoryLock::acquire(dir)?);
        restore::finish(dir)?;
        let reserve = Reserve::new(dir, options.reserve_bytes);
        let opened = match open_journal(dir, STEPS) {
            // Even an open writes a little: its boot, the WAL's index.
            Err(Error::DiskFull { step, path }) => match reserve.release()? {
                ReserveState::Held => {
                    let opened = open_journal(dir, STEPS);
                    let taken = reserve.take_back();
                    let opened = opened?;
                    taken?;
                    opened
                }
                ReserveState::Released => return Err(Error::DiskFull { step, path }),
            },
            other => other?,
        };
        let report = OpenReport { reserve: reserve.refill()?, ..opened.report };
        let store = Store {
            connection: opened.connection,
            path: dir.join(JOURNAL),
            sealer: opened.sealer,
            head: opened.head,
            reserve,
            fsync_delay: options.fsync_delay,
            last_resource_version: report.last_resource_version,
            next_audit: report.last_audit_sequence + 1,
            audit_bell: Arc::default(),
            ended: None,
            lock,
        };
        store.audit_bell.ring(report.last_audit_sequence);
        Ok((store, report))
    }
}

pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) sealer: Sealer,
    pub(crate) head: Head,
    pub(crate) report: OpenReport,
}

pub(crate) fn open_journal(dir: &Path, steps: &[format::Step]) -> Result<Opened, Error> {
    let path = dir.join(JOURNAL);
    create_if_missing(dir, &path)?;
    write_again(&dir.join(JOURNAL_WAL))?;
    let mut connection = open_writable(&path)?;
    let created = format::read_mark(&connection, &path, steps.len() as u32)? == Mark::Blank;
    // A file cut to a few bytes is blank to SQLite as well.
    if created && let Some(key) = key_of_a_journal(dir) {
        return Err(Error::JournalMissing { path, key });
    }
    check_length(&connection, &path)?;
    make_durable(&connection, &path)?;
    let migrated_from = format::migrate(&mut connection, &path, steps, BackupFirst::Yes)?;
    let sealer = open_key(dir, &path, &connection)?;
    let boot = count_boot(&path, &connection)?;
    let report = read_report(&connection, created, migrated_from, boot)
        .map_err(|e| Error::of_sqlite("read the state of", &path, e))?;
    let head = Head::open(dir, &path, &connection, &report.epoch)?;
    // Not before all went well: what a failed write left of the WAL is moved by nobody.
    tidy_at_end(&connection, &path)?;
    Ok(Opened { connection, sealer, head, report })
}

/// A key that no new journal has yet.
fn key_of_a_journal(dir: &Path) -> Option<PathBuf> {
    seal::key_in(dir).or_else(|| Some(dir.join(AUDIT_KEY)).filter(|key| there(key)))
}

/// An empty file is a new database to SQLite. To us it is one only if nothing shows that there was a journal.
fn create_if_missing(dir: &Path, path: &Path) -> Result<(), Error> {
    let length = match path.metadata() {
        Ok(meta) => Some(meta.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::of_io("open", path, e)),
    };
    if length.is_some_and(|bytes| bytes > 0) {
        return Ok(());
    }
    let wal = dir.join(JOURNAL_WAL);
    let trace =
        key_of_a_journal(dir).or_else(|| wal.metadata().is_ok_and(|meta| meta.len() > 0).then_some(wal));
    if let Some(key) = trace {
        return Err(Error::JournalMissing { path: path.to_path_buf(), key });
    }
    if length.is_none() {
        create_private(path)?;
        sync_dir(dir)?;
    }
    Ok(())
}

/// Writes the WAL once more, byte for byte, and syncs it, before SQLite replays it. After a failed sync the kernel may still show
/// what the disk does not have, in pages that count as clean, so that no later sync writes them: SQLite would replay those, and
/// a power cut take them with all that was acknowledged behind them.
fn write_again(wal: &Path) -> Result<(), Error> {
    let failed = |e| Error::of_io("make durable", wal, e);
    let file = match OpenOptions::new().read(true).write(true).open(wal) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut buffer = vec![0; WRITTEN_AT_ONCE_BYTES];
    let mut at = 0;
    loop {
        let bytes = file.read_at(&mut buffer, at).map_err(failed)?;
        if bytes == 0 {
            return file.sync_all().map_err(failed);
        }
        file.write_all_at(&buffer[..bytes], at).map_err(failed)?;
        at += bytes as u64;
    }
}

/// A file shorter than its page count is whole only if a WAL holds the rest (growth that no checkpoint has moved yet), which
/// only a walk through all pages can tell. So the walk is made in that case alone.
fn check_length(connection: &Connection, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::of_sqlite("check", path, e);
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(failed)?;
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(failed)?;
    let needed = (pages * page).cast_unsigned();
    let length = path.metadata().map_err(|e| Error::of_io("measure", path, e))?.len();
    let has_wal = path.with_file_name(JOURNAL_WAL).metadata().is_ok_and(|meta| meta.len() > 0);
    if needed <= length {
        Ok(())
    } else if has_wal {
        check_pages(connection, path)
    } else {
        let cause = format!("it has {length} bytes of {needed}");
        Err(Error::Corrupt { step: "open", path: path.to_path_buf(), cause })
    }
}

/// Walks through all pages.
pub(crate) fn check_pages(connection: &Connection, path: &Path) -> Result<(), Error> {
    let finding: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| Error::of_sqlite("check", path, e))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(Error::Corrupt { step: "check", path: path.to_path_buf(), cause: finding })
}

/// The key is made once, after the tables and before its check is written: a crash between any two leaves one of the cases
/// below, and none in which a key that sealed something is replaced.
fn open_key(dir: &Path, path: &Path, connection: &Connection) -> Result<Sealer, Error> {
    let failed = |e| Error::of_sqlite("read the key check of", path, e);
    let check: Option<Vec<u8>> =
        connection.query_row("SELECT key_check FROM journal", [], |row| row.get(0)).map_err(failed)?;
    let key = dir.join(SECRETS_KEY);
    match (seal::key_in(dir), check) {
        (Some(key), Some(check)) => {
            let sealer = Sealer::open(&key)?;
            sealer.verify(&check)?;
            return Ok(sealer);
        }
        (None, Some(_)) => return Err(Error::KeyUnusable { path: key, cause: "it is missing" }),
        (Some(_), None) => {}
        (None, None) => seal::create_key(&key)?,
    }
    let sealer = Sealer::open(&key)?;
    let check = sealer.key_check()?;
    connection
        .execute("UPDATE journal SET key_check = ?1", [check])
        .map_err(|e| Error::of_sqlite("write the key check of", path, e))?;
    Ok(sealer)
}

fn count_boot(path: &Path, connection: &Connection) -> Result<Boot, Error> {
    let failed = |e| Error::of_sqlite("count the boot in", path, e);
    let source = Path::new("/proc/sys/kernel/random/boot_id");
    let now = std::fs::read_to_string(source).map_err(|e| Error::of_io("read", source, e))?.trim().to_owned();
    let (boots, before): (i64, String) = connection
        .query_row("SELECT boots, kernel_boot_id FROM journal", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed)?;
    let number = boots + 1;
    // Without RETURNING: who takes the row and goes does not hear that the commit behind it failed.
    connection
        .execute("UPDATE journal SET boots = ?1, kernel_boot_id = ?2", params![number, now])
        .map_err(failed)?;
    Ok(Boot {
        number: number.cast_unsigned(),
        kernel_boot_id: now,
        kernel_boot_id_before: Some(before).filter(|b| !b.is_empty()),
    })
}

fn read_report(
    connection: &Connection,
    created: bool,
    migrated_from: Option<u32>,
    boot: Boot,
) -> rusqlite::Result<OpenReport> {
    let last_resource_version: i64 =
        connection.query_row("SELECT last_resource_version FROM journal", [], |row| row.get(0))?;
    let last_audit: Option<i64> =
        connection.query_row("SELECT max(sequence) FROM audit", [], |row| row.get(0)).optional()?.flatten();
    Ok(OpenReport {
        created,
        migrated_from,
        last_resource_version: last_resource_version.cast_unsigned(),
        last_audit_sequence: last_audit.unwrap_or(0).cast_unsigned(),
        epoch: read_epoch(connection)?,
        boot,
        reserve: ReserveState::Released,
    })
}

/// The newest epoch.
pub(crate) fn read_epoch(connection: &Connection) -> rusqlite::Result<Epoch> {
    connection.query_row(
        "SELECT number, id, first_resource_version, first_audit_sequence FROM epoch ORDER BY number DESC LIMIT 1",
        [],
        parse_epoch,
    )
}

pub(crate) fn parse_epoch(row: &rusqlite::Row<'_>) -> rusqlite::Result<Epoch> {
    let number = |i| row.get(i).map(i64::cast_unsigned);
    Ok(Epoch {
        number: number(0)?,
        id: row.get(1)?,
        first_resource_version: number(2)?,
        first_audit_sequence: number(3)?,
    })
}
