//! Where records came from.

use serde::{Deserialize, Serialize};

/// One publisher's data as it was imported last; an import replaces it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Given by whoever imported it; it tells sources apart.
    pub name: String,
    /// Seconds since 1970 of the newest record that is not of the future.
    pub newest: Option<i64>,
    /// What [`Source::newest`] was read from.
    pub dated_by: Dated,
    /// Seconds since 1970.
    pub imported: i64,
    pub counts: Counts,
    /// Where it is fetched from, for `db update`.
    pub origin: Option<Origin>,
}

/// Where the age of a source is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dated {
    /// The records, or the file's own words.
    #[default]
    Content,
    /// The file's time of modification, or the server's word: the records have no dates.
    File,
}

/// What a source was fetched from, and what the server said of that state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub location: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// What became of a source's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that were read, the withdrawn ones too.
    pub records: u64,
    /// Statements about a package that can be asked for.
    pub statements: u64,
    pub withdrawn: u64,
    /// Records that could not be understood.
    pub bad: u64,
    /// Ranges of commits, which no package's version can be compared with.
    pub git_ranges: u64,
    /// Statements about packages of ecosystems that are not read.
    pub other_ecosystems: u64,
    /// Records dated later than the import.
    pub future: u64,
    /// Entries of a catalogue of exploited vulnerabilities.
    pub exploited: u64,
    /// Estimates of exploitation.
    pub predictions: u64,
}
