//! What reads bytes of others, by itself: a bucket's lists and the files of a store. Fuzz targets go in here, past the digests
//! and requests that stand before it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cipher::{Header, Key};
use crate::digest::Digest;
use crate::draft::Committed;
use crate::error::Error;
use crate::manifest::{Manifest, Run};
use crate::snapshot::Snapshot;
use crate::{pack, s3};

/// Keys and sizes.
pub type Listed = Vec<(String, u64)>;

/// The keys and sizes of a page of a bucket's list, and with what the next page is asked for; or why it is none.
pub fn bucket_page(text: &str) -> Result<(Listed, Option<String>), &'static str> {
    let page = s3::page(text)?;
    Ok((page.listed.into_iter().map(|listed| (listed.key, listed.size)).collect(), page.next))
}

/// The parts of an upload that a page of their list names, each with its length and ETag, and where the next page begins.
pub type Parts = BTreeMap<u64, (u64, String)>;

pub fn bucket_parts(text: &str) -> Result<(Parts, Option<String>), &'static str> {
    s3::parts_page(text)
}

/// What an index has committed, and how that is written; or why it is nothing that one has.
pub fn index_record(bytes: &[u8]) -> Result<(Committed, Vec<u8>), String> {
    let committed = Committed::decode(bytes, &Run::default())?;
    let encoded = committed.encode();
    Ok((committed, encoded))
}

/// Opens what lies beside an encrypted array.
pub fn encryption(text: &[u8], key: [u8; 32], identity: &str) -> Result<(), Error> {
    let header: Header = serde_json::from_slice(text).map_err(|error| Error::Key(error.to_string()))?;
    header.open(&Key::new(key), identity).map(drop)
}

/// A manifest of whatever digest it has.
pub fn manifest(bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::read(Digest::of(bytes), bytes)
}

/// The record of a snapshot, of whatever digest it has.
pub fn snapshot(bytes: &[u8]) -> Result<Snapshot, Error> {
    Snapshot::decode(Digest::of(bytes), bytes, None)
}

/// What a pack's index says that it holds, each with its offset and length; or the problem.
pub fn pack_index(path: &Path) -> Result<Vec<(Digest, u64, u32)>, String> {
    pack::read(path).map_err(|error| format!("it cannot be read: {error}"))?
}
