//! What is known to be wrong with which version of which package: advisories read from their publishers' files, kept in one
//! index, and asked by package.
//!
//! ```text
//!  OSV · Alpine secdb · Debian tracker · KEV · EPSS ──import──▶ Contents, a source each
//!                                                                  │ Builder: who speaks of the same vulnerability
//!                                                                  ▼
//!                                        index (one file, replaced as a whole)
//!                                                                  │ Database: read by position
//!  Query {ecosystem, name, version} ──────────────find────────────▶ Match {vulnerability, status, fixed, severity}
//! ```
//!
//! Every imported byte is hostile. No clock is read: who imports says what time it is.

mod builder;
mod database;
mod directory;
mod ecosystem;
mod error;
mod fetch;
mod identity;
mod import;
mod index;
mod matching;
mod range;
mod record;
mod severity;
mod source;
mod verdict;
mod version;

pub use builder::{Builder, Contents};
pub use database::{Database, Generation, INDEX_FILE};
pub use directory::IndexDirectory;
pub use ecosystem::{Ecosystem, Query};
pub use error::Error;
pub use fetch::{FetchError, FetchLimits, Fetched, fetch};
pub use import::{ImportError, ImportLimits, Imported, Importer, Problem};
pub use range::{End, Event, Interval};
pub use record::{Advisory, Affected, Exploited, Prediction, SUMMARY_BYTES_MAX, Standing};
pub use severity::{CvssVersion, Score, Severity, VectorError};
pub use source::{Counts, Coverage, Dated, Origin, Rollback, Source, Stated, date};
pub use verdict::{Class, Match, Statement, Status, Vulnerability};
pub use version::{compare, is_version};
