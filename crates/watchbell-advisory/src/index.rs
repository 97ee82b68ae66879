//! The index: one file, read by position, a few pages for an answer.
//!
//! ```text
//!  header      magic · format · length · SHA-256 of all that follows · where each section lies
//!  sources     whose data, how old          licences   their texts
//!  packages    hash of ecosystem and name ──▶ block: who says what about which versions
//!  ids         hash of CVE-…, GHSA-… ──▶ number of the vulnerability
//!  advisories  by number ──▶ record         vulnerabilities   by number ──▶ names, scores, whether exploited
//!  marks       the catalogues that vulnerabilities were joined with, for the next build
//! ```
//!
//! Read by position and not mapped into memory: mapping needs unsafe code, and turns a file that shrinks under its reader
//! into a signal that ends the process; a positioned read of a cached page costs less than a microsecond. Whatever is read
//! is checked first: positions against the file's length, contents against a checksum beside the position that led there.
//! So damage is an error, never a silent "nothing found".
//!
//! Old program, newer format: refused by the number in the header. New program, older format: refused too; the index is made
//! anew from what the publishers offer, there is nothing in it that is only there.

mod format;
mod read;
mod rows;
mod table;
mod write;

pub(crate) use format::{FORMAT, Section};
pub(crate) use read::Reader;
pub(crate) use rows::{AdvisoryRow, Entry, Marks, PackageBlock, Span, VulnerabilityRow, package_key};
pub(crate) use write::Writer;
