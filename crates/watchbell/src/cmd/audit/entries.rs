//! All entries that a data directory has, in their order: those of closed logs, of the log that is written now, and those that
//! the journal has and no file yet.

use std::path::{Path, PathBuf};

use watchbell_audit::Log;
use watchbell_store::LogReader;

use crate::exit::Failure;

/// An entry and where it stands.
pub(super) struct Entry<'a> {
    /// Names the log.
    pub(super) origin: &'a str,
    pub(super) index: u64,
    pub(super) body: &'a [u8],
}

/// Where the entries lie.
pub(super) struct Entries {
    audit: PathBuf,
    current: Option<Log>,
    journal: Option<LogReader>,
}

/// How many entries of which log were handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) origin: String,
    pub(super) index: u64,
}

impl Entries {
    pub(super) fn open(data_dir: &Path) -> Result<Entries, Failure> {
        let audit = super::audit_dir(data_dir);
        let journal = data_dir.join("journal.db");
        let journal =
            if journal.exists() { Some(LogReader::open(data_dir).map_err(Failure::refused)?) } else { None };
        let current = match Log::open(&audit) {
            Ok(log) => Some(log),
            Err(watchbell_audit::Error::NoLog { .. }) if journal.is_some() => None,
            Err(error) => return Err(Failure::refused(error)),
        };
        Ok(Entries { audit, current, journal })
    }

    /// Hands all entries to `each`. A closed log that cannot be read, as one that a restore moved aside in its damage, hides
    /// none of the others': its name and the cause go to `unreadable`.
    pub(super) fn all(
        &self,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
        unreadable: &mut dyn FnMut(&str, &Failure),
    ) -> Result<(), Failure> {
        for name in closed_logs(&self.audit)? {
            let log = Log::open(&self.audit.join(&name)).map_err(Failure::refused);
            if let Err(cause) = log.and_then(|log| of_files(&log, 0, each)) {
                unreadable(&name, &cause);
            }
        }
        self.last(u64::MAX, each).map(|_| ())
    }

    /// Hands the last `count` entries of the log that is written now to `each`.
    pub(super) fn last(
        &self,
        count: u64,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
    ) -> Result<Option<Position>, Failure> {
        let published = self.current.as_ref().map_or(0, |log| log.checkpoint.size);
        let Some(head) = self.head()? else {
            let Some(log) = &self.current else { return Ok(None) };
            of_files(log, published.saturating_sub(count), each)?;
            return Ok(Some(Position { origin: log.verifier.name().to_owned(), index: published }));
        };
        let first = head.size.saturating_sub(count);
        // A log that is another than the journal's is told by `verify`; the journal goes first here.
        let of_files_to = match &self.current {
            Some(log) if log.verifier.name() == head.origin => {
                of_files(log, first, each)?;
                published
            }
            _ => 0,
        };
        self.rows(&head, of_files_to.max(first), each)
    }

    /// Hands on what came after `position`, from the journal.
    pub(super) fn after(
        &self,
        position: Option<&Position>,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
    ) -> Result<Option<Position>, Failure> {
        let Some(head) = self.head()? else { return Ok(position.cloned()) };
        // A new log begins at its first entry.
        let from =
            position.filter(|position| position.origin == head.origin).map_or(0, |position| position.index);
        self.rows(&head, from, each)
    }

    fn rows(
        &self,
        head: &Head,
        from: u64,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
    ) -> Result<Option<Position>, Failure> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let mut result = Ok(());
        let range = head.first_sequence + from..head.first_sequence + head.size.max(from);
        journal
            .rows(range, &mut |row| {
                if result.is_ok() {
                    let index = row.sequence - head.first_sequence;
                    result = each(&Entry { origin: &head.origin, index, body: row.body });
                }
            })
            .map_err(Failure::refused)?;
        result.map(|()| Some(Position { origin: head.origin.clone(), index: head.size.max(from) }))
    }

    fn head(&self) -> Result<Option<Head>, Failure> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let heads = journal.heads().map_err(Failure::refused)?;
        Ok(heads.logs.get(&heads.current).map(|log| Head {
            origin: heads.current.clone(),
            first_sequence: log.first_sequence,
            size: log.size,
        }))
    }
}

struct Head {
    origin: String,
    first_sequence: u64,
    size: u64,
}

fn of_files(
    log: &Log,
    first: u64,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let origin = log.verifier.name();
    let mut failure = None;
    let read = log.entries::<watchbell_audit::Error>(first..u64::MAX, &mut |index, body| {
        if failure.is_none() {
            failure = each(&Entry { origin, index, body }).err();
        }
        Ok(())
    });
    read.map_err(Failure::refused)?;
    failure.map_or(Ok(()), Err)
}

/// The directories of closed logs, the oldest first.
fn closed_logs(audit: &Path) -> Result<Vec<String>, Failure> {
    if !audit.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |e| Failure::Refused(format!("cannot list {}: {e}", audit.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(audit).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let Some(number) = name.strip_prefix("epoch-") else { continue };
        let (epoch, copy) = number.split_once('.').unwrap_or((number, "1"));
        if let (Ok(epoch), Ok(copy)) = (epoch.parse::<u64>(), copy.parse::<u64>()) {
            found.push((epoch, copy, name));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(.., name)| name).collect())
}
