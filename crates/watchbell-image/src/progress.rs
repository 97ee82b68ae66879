//! What a pull, an import or an unpack tells while it works.

use serde_json::{Value, json};

use crate::{Digest, Reference};

/// Receives events, from several threads at once. A command line draws bars of them; a server may drop them.
pub trait Progress: Sync {
    fn event(&self, event: Event<'_>);

    /// Whether somebody still waits for it: what is being pulled is given up otherwise.
    fn is_wanted(&self) -> bool {
        true
    }
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

impl Event<'_> {
    /// The event as it goes over the wire and to progress bars.
    pub fn to_json(&self) -> Value {
        match self {
            Event::Resolved { reference, manifest, layers, bytes } => json!({
                "event": "resolved", "name": reference.map(Reference::familiar), "digest": manifest.as_str(),
                "layers": layers, "bytes": bytes,
            }),
            Event::LayerPresent { layer, bytes } => {
                json!({"event": "present", "layer": layer.as_str(), "bytes": bytes})
            }
            Event::LayerStarted { layer, bytes, resumed_at } => {
                json!({"event": "started", "layer": layer.as_str(), "bytes": bytes, "resumedAt": resumed_at})
            }
            Event::LayerBytes { layer, bytes } => {
                json!({"event": "bytes", "layer": layer.as_str(), "bytes": bytes})
            }
            Event::LayerRetried { layer, attempt, cause } => {
                json!({"event": "retried", "layer": layer.as_str(), "attempt": attempt, "cause": cause})
            }
            Event::LayerStored { layer } => json!({"event": "stored", "layer": layer.as_str()}),
        }
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
