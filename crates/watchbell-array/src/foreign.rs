//! What reads bytes of others, by itself: a bucket's list and the files of a store. Fuzz targets go in here, past the digests
//! and requests that stand before it.

use std::path::Path;

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::snapshot::Snapshot;
use crate::{pack, s3};

/// Keys and sizes.
pub type Listed = Vec<(String, u64)>;

/// The keys and sizes of a page of a bucket's list, and with what the next page is asked for; or why it is none.
pub fn bucket_page(text: &str) -> Result<(Listed, Option<String>), &'static str> {
    let page = s3::page(text)?;
    Ok((page.listed.into_iter().map(|listed| (listed.key, listed.size)).collect(), page.next))
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
