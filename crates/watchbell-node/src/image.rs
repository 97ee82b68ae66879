//! Images made ready to run: resolved to a digest, unpacked, their users known.

mod collect;
mod fetch;
mod in_use;
mod requests;
mod rootfs;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use watchbell_image::{Digest, ImageConfig};

use crate::examine::Outline;

pub(crate) use collect::make_room;
pub(crate) use fetch::{FetchError, FetchKind, FetchRequest, Fetched, Fetcher, present};
pub(crate) use in_use::{InUse, Lease};
pub(crate) use requests::NodeImages;

/// An image whose content was verified and unpacked here.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub digest: Digest,
    /// `docker.io/library/busybox@sha256:…`
    pub image_id: Arc<str>,
    /// Bottom first, never empty.
    pub layers: Vec<PathBuf>,
    pub config: ImageConfig,
    /// What policies look at without opening it.
    pub outline: Outline,
    /// The image's /etc/passwd and /etc/group; empty where it has none.
    pub passwd: String,
    pub group: String,
    /// Removals that had happened when it was made: a later one may have taken its files.
    generation: u64,
}

#[cfg(test)]
impl Prepared {
    pub(crate) fn for_tests(
        digest: Digest,
        image_id: Arc<str>,
        layers: Vec<PathBuf>,
        config: ImageConfig,
    ) -> Prepared {
        Prepared {
            digest,
            image_id,
            layers,
            config,
            outline: Outline::default(),
            passwd: String::new(),
            group: String::new(),
            generation: 0,
        }
    }
}
