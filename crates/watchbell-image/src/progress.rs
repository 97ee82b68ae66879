//! What a pull, an import or an unpack tells while it works.

use crate::{Digest, Reference};

/// Receives events, from several threads at once. A command line draws bars of them; a server may drop them.
pub trait Progress: Sync {
    fn event(&self, event: Event<'_>);
}

/// One step of progress. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The reference names this manifest; `layers` of together `bytes` follow.
    Resolved { reference: Option<&'a Reference>, manifest: &'a Digest, layers: usize, bytes: u64 },
    /// The layer is in the store already.
    LayerPresent { layer: &'a Digest, bytes: u64 },
    /// A transfer begins, `resumed_at` bytes into the layer.
    LayerStarted { layer: &'a Digest, bytes: u64, resumed_at: u64 },
    /// So many bytes more have arrived.
    LayerBytes { layer: &'a Digest, bytes: u64 },
    /// A transfer broke off and is tried again.
    LayerRetried { layer: &'a Digest, attempt: u32, cause: &'a str },
    /// The layer is verified and durable.
    LayerStored { layer: &'a Digest },
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
