//! What people say about findings: OpenVEX documents, and ignore files with an expiry and a reason.
//!
//! Both only ever take findings off the list, so both are read strictly: what cannot be understood is an error with its place, and
//! never an entry that silently does nothing or too much.

mod ignore;
mod openvex;
mod purl;

pub use ignore::{Ignore, IgnoreError, IgnoreFile, IgnoreTarget};
pub use openvex::{Justification, Product, VexDocument, VexError, VexStatement, VexStatus};
pub use purl::PurlPattern;

/// What a statement is held against.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The id and all aliases.
    pub vulnerability: &'a [&'a str],
    /// Package URLs of the packages that the finding is about.
    pub packages: &'a [String],
    pub image: &'a ImageIdentity,
}

/// By what a document may name the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageIdentity {
    /// Of its manifest, `sha256:…`; nothing for a directory.
    pub digest: Option<String>,
    /// `registry.example/team/app`, without tag.
    pub repository: Option<String>,
    pub tag: Option<String>,
}
