//! An image whose layers come one after another through a pipe: what a process is given that may open nothing itself.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{ImageContent, Place};
use crate::{Digest, Error, Image, ImageConfig, LayerDescriptor, Limits};

/// What stands before the layers' blobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamHead {
    pub layers: Vec<LayerDescriptor>,
    /// What the uncompressed content must be, where that is compared too.
    contents: Vec<Option<Digest>>,
    limits: Limits,
}

impl ImageContent {
    pub fn stream_head(&self) -> StreamHead {
        let contents = match &self.place {
            Place::Source { layers, .. } => layers.iter().map(|l| l.content.clone()).collect(),
            Place::Store(_) | Place::Stream { .. } => vec![None; self.image.layers.len()],
        };
        StreamHead { layers: self.image.layers.clone(), contents, limits: self.limits.clone() }
    }

    /// The blob of a layer as it lies there, not verified.
    pub fn blob(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.open_blob(index)
    }

    /// An image whose blobs follow in `stream`, the lowest layer first. Each layer is read once, in that order and to its end. Of
    /// the image nothing but its layers is known.
    pub fn of_stream(head: StreamHead, stream: Box<dyn Read + Send>) -> Self {
        let nothing = Digest::of(b"");
        let image = Image {
            digest: nothing.clone(),
            index_digest: None,
            config_digest: nothing,
            config: ImageConfig::default(),
            layers: head.layers,
        };
        let place = Place::Stream { stream: Mutex::new(stream), contents: head.contents };
        Self::new(image, None, head.limits, place)
    }

    /// Whether the layers can be read at any time and several at once.
    pub fn is_at_rest(&self) -> bool {
        !matches!(self.place, Place::Stream { .. })
    }
}

/// The part of the stream that is one layer.
pub(super) struct Part<'a> {
    pub(super) stream: &'a Mutex<Box<dyn Read + Send>>,
    pub(super) left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.stream.lock().unwrap_or_else(PoisonError::into_inner).read(&mut buf[..want])?;
        self.left -= n as u64;
        Ok(n)
    }
}
