//! What a restore does to the audit logs: the log that is there is closed and kept, the next one begins with an entry that holds
//! its last checkpoint. Nothing of a log is ever taken back.

use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use watchbell_audit::{Checkpoint, Log, LogWriter, VerifierKey};

use super::{Begin, EPOCHS, Kept, Why};
use crate::connection::open_read_only;
use crate::directory::{
    self, AUDIT, AUDIT_KEY, AUDIT_KEY_NEXT, JOURNAL, create_dir, remove, rename, sync_dir, there,
};
use crate::log::{Head, HeadRow, root};
use crate::open::read_epoch;
use crate::{Epoch, Error, publisher, seal};

/// The last file of a log to be moved: while it is not there, the move is not done.
const VERIFIER: &str = "verifier.pub";
const CHECKPOINT: &str = "checkpoint";
const LOG_FILES: [&str; 4] = ["tile", "witnessed", CHECKPOINT, VERIFIER];

/// The checkpoint that the log in `dir` ends with. What its journal has and its files lack is published first.
pub(super) fn last_checkpoint(dir: &Path) -> Option<String> {
    let audit = dir.join(AUDIT);
    let published = || -> Result<String, Error> {
        let path = dir.join(JOURNAL);
        if path.metadata().is_ok() {
            // A damaged journal is a usual reason to restore; then the log ends where its files end.
            if let Err(error) = catch_up(&path, &audit) {
                tracing::warn!(%error, "the audit log to be closed ends with its published checkpoint");
            }
        }
        Ok(Log::open(&audit)?.note.to_string())
    };
    published()
        .inspect_err(|error| tracing::warn!(%error, "the audit log to be closed cannot be read"))
        .ok()
        .or_else(|| signed_in(&dir.join(JOURNAL)))
        .or_else(|| {
            tracing::warn!("no audit log is there that the new one could follow");
            None
        })
}

/// The checkpoint that a journal signed last, whatever became of its files.
fn signed_in(path: &Path) -> Option<String> {
    let head = HeadRow::read(&open_read_only(path).ok()?, path).ok()?;
    let (verifier, checkpoint) = (parse_verifier(head.verifier.as_deref())?, head.checkpoint?);
    Checkpoint::open(checkpoint.as_bytes(), &verifier).is_ok().then_some(checkpoint)
}

/// Brings the files of the log in `audit` up to the journal at `path`, which nobody holds.
pub(super) fn catch_up(path: &Path, audit: &Path) -> Result<(), Error> {
    let connection = open_read_only(path)?;
    let head = HeadRow::read(&connection, path)?;
    let Some(verifier) = parse_verifier(head.verifier.as_deref()) else { return Ok(()) };
    let mut writer = LogWriter::open(audit, &verifier)?;
    publisher::publish(&connection, path, &mut writer).map(|_| ())
}

fn parse_verifier(text: Option<&str>) -> Option<VerifierKey> {
    text.and_then(|text| text.parse().ok())
}

/// The key of the log to come, in the draft: the next one where one was laid ready, that of `dir`, or a new one.
pub(super) fn prepare_key(dir: &Path, draft: &Path) -> Result<(), Error> {
    let to = draft.join(AUDIT_KEY);
    match [AUDIT_KEY_NEXT, AUDIT_KEY].map(|name| dir.join(name)).into_iter().find(|path| there(path)) {
        Some(key) => seal::copy_key(&key, &to),
        None => seal::create_key(&to),
    }
}

/// The log of the backup, made of its rows, unless `dir` has it: on another machine, or after its loss.
pub(super) fn rebuild(
    copy: &Connection,
    path: &Path,
    from: &Path,
    dir: &Path,
    draft: &Path,
) -> Result<(), Error> {
    copy_closed(&from.join(AUDIT), &dir.join(AUDIT), &draft.join(AUDIT))?;
    let failed = |e| Error::of_sqlite("read", path, e);
    let head = HeadRow::read(copy, path)?;
    let (Some(verifier), Some(checkpoint)) = (parse_verifier(head.verifier.as_deref()), head.checkpoint)
    else {
        return Ok(());
    };
    if has_log(&dir.join(AUDIT), verifier.name()) {
        return Ok(());
    }
    let epoch = read_epoch(copy).map_err(failed)?;
    create_dir(&draft.join(AUDIT))?;
    let to = draft.join(AUDIT).join(closed_name(epoch.number));
    let mut writer = LogWriter::open(&to, &verifier)?;
    publisher::write_rows(copy, path, &mut writer, head.first_sequence, head.edge.size(), &checkpoint)?;
    drop(writer);
    remove(&to.with_file_name(format!("{}.partial", closed_name(epoch.number))))
}

fn closed_name(epoch: u64) -> String {
    format!("epoch-{epoch}")
}

/// The directories of closed logs in an audit directory.
pub(crate) fn closed_in(audit: &Path) -> Result<Vec<PathBuf>, Error> {
    if !audit.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |e| Error::of_io("list", audit, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(audit).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("epoch-")) && path.is_dir()
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the log of that origin lies in `audit`, written now or closed.
fn has_log(audit: &Path, origin: &str) -> bool {
    let mut dirs = closed_in(audit).unwrap_or_default();
    dirs.push(audit.to_path_buf());
    dirs.iter().any(|dir| Log::open(dir).is_ok_and(|log| log.verifier.name() == origin))
}

/// Copies the closed logs of an audit directory that `present` lacks.
pub(crate) fn copy_closed(from: &Path, present: &Path, to: &Path) -> Result<(), Error> {
    for log in closed_in(from)? {
        let is_new = Log::open(&log).is_ok_and(|log| !has_log(present, log.verifier.name()));
        if let (true, Some(name)) = (is_new, log.file_name()) {
            create_dir(to)?;
            copy_tree(&log, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    create_dir(to)?;
    let failed = |e| Error::of_io("copy", from, e);
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).map_err(failed)?;
            directory::sync_file(&target)?;
        }
    }
    sync_dir(to)
}

/// Closes the copy's log and begins that of `epoch` with an entry that holds the last checkpoints of those before it, within
/// the caller's transaction.
pub(super) fn begin_log(
    copy: &Connection,
    path: &Path,
    closed_epoch: u64,
    epoch: &Epoch,
    begin: &Begin<'_>,
    kept: Option<&Kept>,
) -> Result<(), Error> {
    let failed = |e| Error::of_sqlite("begin a log in", path, e);
    let old = HeadRow::read(copy, path)?;
    if let (Some(verifier), Some(checkpoint)) = (&old.verifier, &old.checkpoint) {
        copy.execute(
            "INSERT INTO closed_log (epoch, first_sequence, size, verifier, checkpoint) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                closed_epoch.cast_signed(),
                old.first_sequence.cast_signed(),
                old.edge.size().cast_signed(),
                verifier,
                checkpoint
            ],
        )
        .map_err(failed)?;
    }
    let first = old.first_sequence + old.edge.size();
    let mut head = Head::with_key(&begin.draft.join(AUDIT_KEY), epoch, watchbell_audit::Edge::default())?;
    let now = jiff::Timestamp::now();
    let mut body = first_entry(&old, head.verifier(), epoch, begin, now);
    if let Some(kept) = kept {
        body["details"]["kept"] = kept_in_entry(kept);
    }
    let body = body.to_string();
    let at = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    copy.execute(
        "INSERT INTO audit (sequence, at_unix_nanos, body) VALUES (?1, ?2, ?3)",
        params![first.cast_signed(), at, body.as_bytes()],
    )
    .map_err(failed)?;
    copy.execute("UPDATE journal SET log_first_sequence = ?1", [first.cast_signed()]).map_err(failed)?;
    let entry = crate::AuditEntry { at_unix_nanos: at, body: body.into_bytes() };
    if let Some(staged) = head.stage(&[entry]) {
        head.advance(staged);
    }
    head.write_signed(copy).map_err(failed)
}

/// How many there are of each, and the names of the first: an entry has a bound.
fn kept_in_entry(kept: &Kept) -> Value {
    const NAMES_MAX: usize = 64;
    let of = |names: &[String]| json!({"count": names.len(), "names": names[..names.len().min(NAMES_MAX)]});
    let mut entry = json!({"revocations": of(&kept.revocations), "certificates": of(&kept.certificates)});
    if let Some(tokens) = &kept.tokens {
        entry["deletedTokens"] = of(tokens);
    }
    entry
}

/// `previous` is the log that the directory had, `backup` what the restored journal knew of its own.
fn first_entry(
    old: &HeadRow,
    verifier: &VerifierKey,
    epoch: &Epoch,
    begin: &Begin<'_>,
    now: jiff::Timestamp,
) -> Value {
    let mut details = json!({
        "epoch": epoch.number,
        "verifier": verifier.to_string(),
        "backup": {"entries": old.edge.size(), "root": watchbell_audit::encode(&root(old))},
    });
    if let Some(checkpoint) = &old.checkpoint {
        details["backup"]["checkpoint"] = checkpoint.as_str().into();
    }
    if let Some(previous) = &begin.previous {
        details["previous"] = json!({"checkpoint": previous});
    }
    json!({
        "kind": "LogEvent", "apiVersion": "watchbell.dev/v1alpha1", "stageTimestamp": now.to_string(),
        "action": match begin.why { Why::Restored => "restored", Why::KeyRotated => "key-rotated" },
        "details": details,
    })
}

/// Moves the log that is there to the closed ones, and those of the restored journal beside it. Each move is skipped when
/// it was made already.
pub(super) fn finish(dir: &Path, restoring: &Path) -> Result<(), Error> {
    let audit = dir.join(AUDIT);
    // By whichever file is left: one that somebody took away, the key's too, keeps no restore from going on.
    if LOG_FILES.iter().any(|name| there(&audit.join(name))) {
        let to = closing_place(&audit);
        create_dir(&to)?;
        for name in LOG_FILES {
            if there(&audit.join(name)) {
                rename(&audit.join(name), &to.join(name))?;
            }
        }
        sync_dir(&to)?;
        sync_dir(&audit)?;
    }
    for log in closed_in(&restoring.join(AUDIT))? {
        create_dir(&audit)?;
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        rename(&log, &directory::first_free(&audit, &name))?;
        sync_dir(&audit)?;
    }
    remove(&dir.join(AUDIT_KEY_NEXT))
}

/// Where the log in `audit` goes: `epoch-N`, or the first of `epoch-N.2`, … that holds no log; `epoch-0` when nothing readable
/// says which it is, because damage is to be kept and not to hinder. One without its key was begun by a move that a crash cut
/// short.
fn closing_place(audit: &Path) -> PathBuf {
    let name = closed_name(epoch_named_in(&audit.join(VERIFIER)).unwrap_or(0));
    let names = std::iter::once(name.clone()).chain((2u64..).map(|n| format!("{name}.{n}")));
    let mut places = names.map(|name| audit.join(name));
    places.find(|place| !there(&place.join(VERIFIER))).expect("a directory holds fewer than 2^64 names")
}

/// The newest epoch that a log in `audit` is of, written now or closed; 0 where none says.
pub(super) fn newest_epoch(audit: &Path) -> Result<u64, Error> {
    let mut dirs = closed_in(audit)?;
    dirs.push(audit.to_path_buf());
    let epochs = dirs.iter().flat_map(|dir| {
        // Nothing holds a checkpoint to the truth where the key is damaged.
        let signed = || epoch_signed_in(&dir.join(CHECKPOINT)).filter(|epoch| *epoch < EPOCHS);
        epoch_named_in(&dir.join(VERIFIER)).or_else(signed)
    });
    Ok(epochs.max().unwrap_or(0))
}

/// The number in the name of a log's key.
fn epoch_named_in(path: &Path) -> Option<u64> {
    let text = beginning(path)?;
    let key = parse_verifier(text.strip_suffix('\n'))?;
    epoch_of(key.name())
}

/// The number in the origin of a log's checkpoint.
fn epoch_signed_in(path: &Path) -> Option<u64> {
    epoch_of(beginning(path)?.lines().next()?)
}

fn epoch_of(origin: &str) -> Option<u64> {
    origin.rsplit_once("/epoch-")?.1.parse().ok()
}

/// The beginning of a file: a key is a line, and a checkpoint begins with one.
fn beginning(path: &Path) -> Option<String> {
    const BYTES_MAX: u64 = 4096;
    let mut text = String::new();
    path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    std::fs::File::open(path).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}
