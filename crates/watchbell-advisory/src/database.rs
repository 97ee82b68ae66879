//! Asking the index.

use std::collections::{HashMap, hash_map};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::builder::Contents;
use crate::index::{AdvisoryRow, Marks, PackageBlock, Reader, Section, VulnerabilityRow, package_key};
use crate::matching::{self, Wanted};
use crate::record::{Advisory, Affected};
use crate::severity::Score;
use crate::source::Source;
use crate::verdict::{Match, Vulnerability};
use crate::{Ecosystem, Error, Query};

/// The index's file in its directory.
pub const INDEX_FILE: &str = "advisories.index";

/// An open index. It stays what it was when it was opened, also after the file was replaced; many threads may ask it at once.
#[derive(Debug)]
pub struct Database {
    pub(crate) reader: Reader,
    sources: Vec<Source>,
}

/// Which contents an index has: equal for the same ones, so that what was decided by an index can be kept under it. A source
/// that was asked for changes and had none changes nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Database {
    /// Opens the index of a directory, or the file itself. Little is read: what is wrong elsewhere shows when it is asked for.
    pub fn open(path: &Path) -> Result<Database, Error> {
        let file = if path.is_dir() { path.join(INDEX_FILE) } else { path.to_owned() };
        let reader = Reader::open(&file).map_err(|e| match e {
            Error::Absent { .. } => Error::Absent { path: path.to_owned() },
            e => e,
        })?;
        let sources = reader.section(Section::Sources)?;
        Ok(Database { reader, sources })
    }

    /// Costs nothing: it was read when the index was opened.
    pub fn generation(&self) -> Generation {
        Generation(self.reader.header.generation)
    }

    /// Whether another file lies at the path now: open it again then. Costs one look at the path; a path at which nothing
    /// lies any longer is no replacement.
    pub fn is_replaced(&self) -> Result<bool, Error> {
        let path = self.reader.path();
        let there = match fs::metadata(path) {
            Ok(there) => there,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("look at", path)(e)),
        };
        let ours = self.reader.file().metadata().map_err(Error::io("look at", path))?;
        Ok((there.dev(), there.ino()) != (ours.dev(), ours.ino()))
    }

    /// The file that is read.
    pub fn path(&self) -> PathBuf {
        self.reader.path().to_owned()
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.reader.header.length
    }

    /// In the order of their names.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The sources that speak of an ecosystem's packages. Where there is none, that nothing is found says nothing.
    pub fn sources_of(&self, ecosystem: &Ecosystem) -> impl Iterator<Item = &Source> {
        let speaks_of = |source: &Source, name: &str| {
            source.coverage.binary_search_by(|covered| covered.ecosystem.as_str().cmp(name)).is_ok()
        };
        let name = ecosystem.to_string();
        let parts: Vec<String> =
            ecosystem.repositories().iter().map(|part| ecosystem.in_repository(part)).collect();
        let are_all = parts.iter().all(|part| self.sources.iter().any(|source| speaks_of(source, part)));
        let parts = if are_all { parts } else { Vec::new() };
        self.sources.iter().filter(move |source| {
            speaks_of(source, &name) || parts.iter().any(|part| speaks_of(source, part))
        })
    }

    /// The licence that came with a source; empty where none did.
    pub fn licence(&self, source: &str) -> Result<Option<String>, Error> {
        let Some(place) = self.sources.iter().position(|s| s.name == source) else { return Ok(None) };
        let licences: Vec<String> = self.reader.section(Section::Licences)?;
        Ok(licences.into_iter().nth(place))
    }

    /// The vulnerabilities that this version of the package has, by their ids.
    pub fn find(&self, query: &Query<'_>) -> Result<Vec<Match>, Error> {
        self.matches(query, Wanted::Findings)
    }

    /// The same and those of which nobody found out yet, as long as there are statements left to judge; `None`: there were not
    /// enough, and nothing was judged.
    pub fn find_within(
        &self,
        query: &Query<'_>,
        statements_left: &mut usize,
    ) -> Result<Option<Vec<Match>>, Error> {
        self.matches_within(query, Wanted::Doubts, statements_left)
    }

    /// Everything that is said of the package, also that a version is fixed or never was affected.
    pub fn assess(&self, query: &Query<'_>) -> Result<Vec<Match>, Error> {
        self.matches(query, Wanted::Everything)
    }

    fn matches(&self, query: &Query<'_>, wanted: Wanted) -> Result<Vec<Match>, Error> {
        Ok(self.matches_within(query, wanted, &mut { usize::MAX })?.unwrap_or_default())
    }

    fn matches_within(
        &self,
        query: &Query<'_>,
        wanted: Wanted,
        statements_left: &mut usize,
    ) -> Result<Option<Vec<Match>>, Error> {
        let name = query.ecosystem.normalize(query.name);
        let key = package_key(query.ecosystem, &name);
        let mut matches = Vec::new();
        for bytes in self.reader.package_blocks(&key)? {
            let block = self.package_block(&bytes)?;
            if block.key == key {
                let Some(left) = statements_left.checked_sub(block.entries.len()) else {
                    *statements_left = 0;
                    return Ok(None);
                };
                *statements_left = left;
                matches.extend(matching::matches(self, query, &name, &block, wanted)?);
            }
        }
        Ok(Some(matches))
    }

    /// A vulnerability by any of its names.
    pub fn vulnerability(&self, id: &str) -> Result<Option<Vulnerability>, Error> {
        for number in self.reader.vulnerabilities_named(id)? {
            let found = Rows::new(self).vulnerability(number)?;
            if found.id == id || found.aliases.iter().any(|alias| alias == id) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Every package that something is said about, in no order. Reads the whole index.
    pub fn packages(&self) -> Result<Vec<(Ecosystem, String)>, Error> {
        let mut packages = Vec::new();
        for bytes in self.reader.every_package_block()? {
            let (ecosystem, name) = self.key(&self.package_block(&bytes)?)?;
            packages.push((ecosystem, name.to_owned()));
        }
        Ok(packages)
    }

    /// Reads the whole file and compares it with its checksum.
    pub fn verify(&self) -> Result<(), Error> {
        self.reader.verify()
    }

    pub(crate) fn source_name(&self, place: u16) -> Result<&str, Error> {
        let source = self.sources.get(usize::from(place));
        source.map(|s| s.name.as_str()).ok_or_else(|| self.reader.damaged("a record is of no source"))
    }

    fn package_block<'a>(&self, bytes: &'a [u8]) -> Result<PackageBlock<'a>, Error> {
        postcard::from_bytes(bytes).map_err(|_| self.reader.damaged("a block cannot be read"))
    }

    fn key<'a>(&self, block: &PackageBlock<'a>) -> Result<(Ecosystem, &'a str), Error> {
        let (ecosystem, name) = block.key.split_once('\n').unwrap_or(("", block.key));
        let ecosystem = Ecosystem::from_osv(ecosystem);
        ecosystem.map(|e| (e, name)).ok_or_else(|| self.reader.damaged("a package's key cannot be read"))
    }

    fn advisory_row<'a>(&self, bytes: &'a [u8]) -> Result<AdvisoryRow<'a>, Error> {
        postcard::from_bytes(bytes).map_err(|_| self.reader.damaged("a record cannot be read"))
    }

    fn vulnerability_row<'a>(&self, bytes: &'a [u8]) -> Result<VulnerabilityRow<'a>, Error> {
        postcard::from_bytes(bytes).map_err(|_| self.reader.damaged("a vulnerability cannot be read"))
    }

    /// What each source says, as it was given to the builder; in the order of [`Database::sources`].
    pub(crate) fn contents(&self) -> Result<Vec<Contents>, Error> {
        let mut records = Vec::new();
        for number in 0..self.reader.advisory_count() {
            let bytes = self.reader.advisory(number)?;
            let row = self.advisory_row(&bytes)?;
            records.push((row.source, advisory(&row)));
        }
        for bytes in self.reader.every_package_block()? {
            let block = self.package_block(&bytes)?;
            let (ecosystem, name) = self.key(&block)?;
            for entry in &block.entries {
                let place = usize::try_from(entry.advisory).unwrap_or(usize::MAX);
                let (_, record) = records
                    .get_mut(place)
                    .ok_or_else(|| self.reader.damaged("a statement is of no record"))?;
                record.affected.push(Affected {
                    ecosystem: ecosystem.clone(),
                    name: name.to_owned(),
                    intervals: entry.intervals.iter().map(|span| span.to_interval()).collect(),
                    versions: entry.versions.iter().map(|v| (*v).to_owned()).collect(),
                    standing: entry.standing,
                    severity: entry.severity,
                });
            }
        }
        let licences: Vec<String> = self.reader.section(Section::Licences)?;
        let mut contents: Vec<Contents> = Vec::new();
        contents.resize_with(self.sources.len(), Contents::default);
        for (place, licence) in contents.iter_mut().zip(licences) {
            place.licence = licence;
        }
        let no_source = || self.reader.damaged("a record is of no source");
        for (source, record) in records {
            contents.get_mut(usize::from(source)).ok_or_else(no_source)?.advisories.push(record);
        }
        for marks in self.reader.section::<Vec<Marks>>(Section::Marks)? {
            let place = contents.get_mut(usize::from(marks.source)).ok_or_else(no_source)?;
            place.exploited.extend(marks.exploited);
            place.predictions.extend(marks.predictions);
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests;

fn advisory(row: &AdvisoryRow<'_>) -> Advisory {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Advisory {
        id: row.id.to_owned(),
        aliases: owned(&row.aliases),
        upstream: owned(&row.upstream),
        summary: row.summary.to_owned(),
        url: row.url.map(str::to_owned),
        published: row.published,
        modified: row.modified,
        scores: row.scores.iter().map(|(tenths, vector)| Score::kept(*tenths, vector)).collect(),
        severity: row.severity,
        is_notice: row.is_notice,
        affected: Vec::new(),
    }
}

/// Rows that were read for one answer: several vulnerabilities of a package may have a record in common.
pub(crate) struct Rows<'a> {
    database: &'a Database,
    advisories: HashMap<u32, Advisory>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(database: &'a Database) -> Rows<'a> {
        Rows { database, advisories: HashMap::new() }
    }

    /// A record, without what it says about packages.
    pub(crate) fn advisory(&mut self, number: u32) -> Result<&Advisory, Error> {
        Ok(match self.advisories.entry(number) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                let bytes = self.database.reader.advisory(number)?;
                entry.insert(advisory(&self.database.advisory_row(&bytes)?))
            }
        })
    }

    pub(crate) fn vulnerability(&mut self, number: u32) -> Result<Vulnerability, Error> {
        let bytes = self.database.reader.vulnerability(number)?;
        let row = self.database.vulnerability_row(&bytes)?;
        let mut vulnerability = Vulnerability {
            id: row.id.to_owned(),
            aliases: row.aliases.iter().map(|s| (*s).to_owned()).collect(),
            exploited: row.exploited,
            prediction: row.prediction,
            ..Vulnerability::default()
        };
        for number in row.records {
            vulnerability.add(self.advisory(number)?);
        }
        vulnerability.scores.sort_unstable_by(|a, b| b.cmp(a));
        vulnerability.scores.dedup();
        Ok(vulnerability)
    }
}
