//! Publishers' files, read into one form.
//!
//! What a file is, its bytes say, not its name: archives and compression by their first bytes, JSON by its keys. A record that
//! cannot be understood is counted, named, and left out; when most are so, nothing is taken at all. What comes in is
//! bounded: bytes of a record and of a document, levels of nesting (128, by the JSON parser), records, files of an archive.

mod container;
mod debian;
mod epss;
mod kev;
mod lines;
mod osv;
mod secdb;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Ecosystem;
use crate::builder::Contents;
use crate::record::{Advisory, Exploited, Prediction};
use crate::source::{Counts, Dated, Source};

/// What is taken in at most. The defaults are many times what publishers offer.
#[derive(Clone, Copy, Debug)]
pub struct ImportLimits {
    /// Of one record, bytes.
    pub record_bytes_max: u64,
    /// Of one document that is read as a whole, bytes: Debian's tracker has 70 MB.
    pub document_bytes_max: u64,
    /// Of everything, after decompression, bytes.
    pub total_bytes_max: u64,
    pub files_max: u64,
    pub records_max: u64,
}

impl Default for ImportLimits {
    fn default() -> ImportLimits {
        ImportLimits {
            record_bytes_max: 16 << 20,
            document_bytes_max: 512 << 20,
            total_bytes_max: 32 << 30,
            files_max: 4_000_000,
            records_max: 4_000_000,
        }
    }
}

/// A record that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, with the member of an archive behind a colon.
    pub file: String,
    /// `line 7`, an id, or nothing where neither is known.
    pub record: String,
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { file, record, reason } = self;
        let comma = if record.is_empty() { "" } else { ", " };
        write!(f, "{file}{comma}{record}: {reason}")
    }
}

/// Why nothing of a source was taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot {step} {}: {cause}", path.display())]
    Io { step: &'static str, path: PathBuf, cause: io::Error },
    #[error("cannot read {file}: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file} goes beyond what is taken in: {reason}")]
    Limit { file: String, reason: String },
    #[error(
        "{bad} of {records} records of {name} cannot be understood, so none was taken; the first: {first}"
    )]
    MostlyBad { name: String, bad: u64, records: u64, first: Problem },
    #[error(
        "there are no advisories in what was given for {name}: no record of OSV, Alpine's secdb, Debian's tracker, KEV or EPSS"
    )]
    Nothing { name: String },
}

/// A source that was read.
#[derive(Debug)]
pub struct Imported {
    pub source: Source,
    pub contents: Contents,
    /// The first of them; [`Counts::bad`] says how many there are.
    pub problems: Vec<Problem>,
}

/// Kept of the problems.
const PROBLEMS_KEPT: usize = 20;
/// Clocks differ; a record that is dated later than this after now is of the future.
const FUTURE_SECONDS: i64 = 86_400;

/// Reads the files of one source, one path after the other.
pub struct Importer {
    name: String,
    now: i64,
    limits: ImportLimits,
    counts: Counts,
    newest: Option<i64>,
    /// Records that say when they were written.
    dated: u64,
    /// Of the newest file, for formats that have no dates.
    file_time: Option<i64>,
    /// Records, each with an id of its own.
    advisories: Vec<Advisory>,
    /// Of formats by package, whose statements about one id lie in many places.
    gathered: BTreeMap<String, Advisory>,
    contents: Contents,
    problems: Vec<Problem>,
    bytes: u64,
    files: u64,
}

impl Importer {
    /// `now`: seconds since 1970.
    pub fn new(name: &str, now: i64, limits: ImportLimits) -> Importer {
        Importer {
            name: name.to_owned(),
            now,
            limits,
            counts: Counts::default(),
            newest: None,
            dated: 0,
            file_time: None,
            advisories: Vec::new(),
            gathered: BTreeMap::new(),
            contents: Contents::default(),
            problems: Vec::new(),
            bytes: 0,
            files: 0,
        }
    }

    /// Reads a file, an archive or a directory with all that is in it.
    pub fn add(&mut self, path: &Path) -> Result<(), ImportError> {
        container::add(self, path)
    }

    /// Reads a document that is in memory; `file` is its name in messages, `modified` its age.
    pub fn add_bytes(&mut self, file: &str, bytes: &[u8], modified: Option<i64>) -> Result<(), ImportError> {
        self.file_time = self.file_time.max(modified);
        container::add_stream(self, file, &mut &*bytes)
    }

    /// Everything that was read, or why it is worth nothing.
    pub fn finish(mut self) -> Result<Imported, ImportError> {
        let read = self.counts.records + self.counts.exploited + self.counts.predictions;
        if let Some(first) = self.problems.first()
            && self.counts.bad * 2 > read + self.counts.bad
        {
            return Err(ImportError::MostlyBad {
                name: self.name,
                bad: self.counts.bad,
                records: read + self.counts.bad,
                first: first.clone(),
            });
        }
        if read == 0 {
            return Err(ImportError::Nothing { name: self.name });
        }
        self.drop_repeated();
        self.put_gathered();
        self.counts.statements = self.advisories.iter().map(|a| a.affected.len() as u64).sum();
        self.contents.advisories = self.advisories;
        // A date that a few of many records have is none of the whole: Go's repository has those of its first years alone.
        let is_dated = self.dated * 2 > self.counts.records;
        let (newest, dated_by) = match self.newest.filter(|_| is_dated) {
            Some(newest) => (Some(newest), Dated::Content),
            None => {
                (self.file_time.filter(|time| (1..=self.now + FUTURE_SECONDS).contains(time)), Dated::File)
            }
        };
        let source = Source {
            name: self.name,
            newest,
            dated_by,
            imported: self.now,
            counts: self.counts,
            ..Source::default()
        };
        Ok(Imported { source, contents: self.contents, problems: self.problems })
    }

    fn drop_repeated(&mut self) {
        let before = self.advisories.len();
        self.advisories.sort_by(|a, b| a.id.cmp(&b.id).then(b.modified.cmp(&a.modified)));
        self.advisories.dedup_by(|later, kept| later.id == kept.id);
        self.counts.repeated = (before - self.advisories.len()) as u64;
    }

    /// Adds what formats by package say. Of one id it is more than what a record says, not another state of that.
    fn put_gathered(&mut self) {
        // They are in the order of their ids since repetitions were dropped.
        let records = self.advisories.len();
        for (id, gathered) in std::mem::take(&mut self.gathered) {
            match self.advisories[..records].binary_search_by(|record| record.id.cmp(&id)) {
                Ok(at) => {
                    let record = &mut self.advisories[at];
                    if record.summary.is_empty() {
                        record.summary = gathered.summary;
                    }
                    record.affected.extend(gathered.affected);
                }
                Err(_) => self.advisories.push(gathered),
            }
        }
    }

    /// Counts a record that is left out.
    fn bad(&mut self, file: &str, record: impl Into<String>, reason: impl std::fmt::Display) {
        self.counts.bad += 1;
        if self.problems.len() < PROBLEMS_KEPT {
            let reason = text::shown(&reason.to_string());
            self.problems.push(Problem {
                file: text::shown(file),
                record: text::shown(&record.into()),
                reason,
            });
        }
    }

    /// Counts a record that was read.
    fn record(&mut self, file: &str) -> Result<(), ImportError> {
        self.counts.records += 1;
        if self.counts.records + self.counts.bad > self.limits.records_max {
            let reason = format!("it has more than {} records", self.limits.records_max);
            return Err(ImportError::Limit { file: file.to_owned(), reason });
        }
        Ok(())
    }

    /// Takes note of when something was written.
    fn dated(&mut self, second: i64) {
        self.dated += 1;
        if second > self.now + FUTURE_SECONDS {
            self.counts.future += 1;
        } else {
            self.newest = self.newest.max(Some(second));
        }
    }

    fn advisory(&mut self, advisory: Advisory) {
        self.advisories.push(advisory);
    }

    /// The advisory of that id, made when it is not there yet: formats by package say something about it again and again.
    fn advisory_of(&mut self, id: &str) -> &mut Advisory {
        let new = || Advisory { id: id.to_owned(), ..Advisory::default() };
        self.gathered.entry(id.to_owned()).or_insert_with(new)
    }

    /// Counts statements of one part of a release.
    fn of_repository(&mut self, repository: &(Ecosystem, String), statements: u64) {
        *self.contents.repositories.entry(repository.clone()).or_default() += statements;
    }

    fn exploited(&mut self, cve: String, exploited: Exploited) {
        self.counts.exploited += 1;
        self.contents.exploited.insert(cve, exploited);
    }

    fn prediction(&mut self, cve: String, prediction: Prediction) {
        self.counts.predictions += 1;
        self.contents.predictions.insert(cve, prediction);
    }

    /// A document of JSON, whichever it is.
    fn json(&mut self, file: &str, bytes: &[u8]) -> Result<(), ImportError> {
        let probe: Probe = match serde_json::from_slice(bytes) {
            Ok(probe) => probe,
            Err(e) => {
                self.bad(file, "", format!("it is no JSON of a known shape: {e}"));
                return Ok(());
            }
        };
        match probe {
            Probe { vulnerabilities: Some(_), catalog_version: Some(_), .. } => kev::read(self, file, bytes),
            Probe { packages: Some(_), distroversion: Some(_), .. } => secdb::read(self, file, bytes),
            Probe { id: Some(_), .. } => osv::read(self, file, "", bytes),
            _ => debian::read(self, file, bytes),
        }
    }
}

/// The keys that tell formats apart.
#[derive(Deserialize)]
struct Probe {
    id: Option<IgnoredAny>,
    vulnerabilities: Option<IgnoredAny>,
    #[serde(rename = "catalogVersion")]
    catalog_version: Option<IgnoredAny>,
    packages: Option<IgnoredAny>,
    distroversion: Option<IgnoredAny>,
}
