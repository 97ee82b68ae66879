//! What can go wrong with images, in one enum.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;

/// Every message names the step, the object, the cause, and the way out where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("invalid image reference \"{input}\": {reason}")]
    Reference { input: String, reason: &'static str },

    #[error("invalid digest \"{input}\": {reason}")]
    Digest { input: String, reason: &'static str },

    #[error(
        "invalid platform \"{input}\": write os/architecture or os/architecture/variant, such as linux/amd64"
    )]
    Platform { input: String },

    #[error("cannot {step} {}: {cause}{}", path.display(), way_out(cause))]
    Io { step: &'static str, path: PathBuf, cause: io::Error },

    #[error("cannot read the image index {}: {reason}; restore the file or remove the images directory and pull again", path.display())]
    CorruptIndex { path: PathBuf, reason: String },

    #[error(
        "blob {digest} in the store does not match its digest (it holds {actual}); the disk or another program \
         changed it: remove the image and pull it again"
    )]
    CorruptBlob { digest: Digest, actual: Digest },

    #[error("blob {digest} is not in the store; pull or import the image again")]
    MissingBlob { digest: Digest },

    #[error("no image {reference} in the store; pull or import it first")]
    NoSuchImage { reference: String },

    #[error(
        "{object} of {origin} does not match its digest: expected {expected}, received {actual}; nothing was kept"
    )]
    DigestMismatch { origin: String, object: &'static str, expected: Digest, actual: Digest },

    #[error(
        "{object} {digest} of {origin} has {actual} bytes where its descriptor says {expected}; nothing was kept"
    )]
    SizeMismatch { origin: String, object: &'static str, digest: Digest, expected: u64, actual: u64 },

    #[error("{object} of {origin} is not valid: {reason}")]
    Document { origin: String, object: &'static str, reason: String },

    #[error("{object} of {origin} exceeds a limit: {reason}")]
    Limit { origin: String, object: String, reason: String },

    #[error("{origin} has no image for platform {wanted}; it offers {offered}")]
    NoPlatform { origin: String, wanted: String, offered: String },

    #[error("layer {layer}: {cause}")]
    Layer { layer: Digest, cause: LayerError },

    #[error("cannot import {origin}: {reason}")]
    Import { origin: String, reason: String },

    #[error("cannot build {reference}: {reason}")]
    Build { reference: String, reason: String },

    #[error(
        "cannot reach registry {registry} for {step} of {reference}: {cause}; check the name, the network and the registry's state"
    )]
    Unreachable { registry: String, step: &'static str, reference: String, cause: String },

    #[error("registry {registry} refused {step} of {reference}: {status}{detail}{hint}")]
    Refused {
        registry: String,
        step: &'static str,
        reference: String,
        status: u16,
        detail: String,
        hint: &'static str,
    },

    #[error("registry {registry} answered {step} of {reference} against the protocol: {reason}")]
    Protocol { registry: String, step: &'static str, reference: String, reason: String },

    #[error(
        "the disk has no room for {of}: {why}; it has {free} bytes free, of which {reserve} are kept free; remove images \
         that nobody needs (`image prune`, `image rm`) or make the disk larger"
    )]
    NoRoom { of: String, why: String, free: u64, reserve: u64 },

    #[error("the pull of {reference} was given up: nobody waits for it any more")]
    Unwanted { reference: String },

    #[error("credentials for registry {registry}: {reason}")]
    Credentials { registry: String, reason: String },
}

/// Why a layer was refused or could not be unpacked. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    #[error("entry \"{entry}\": {reason}")]
    Entry { entry: String, reason: String },

    #[error("malformed archive at byte {offset}: {reason}")]
    Archive { offset: u64, reason: String },

    #[error(
        "its content is {found} where its media type says {claimed}; the image is mislabelled, build or push it again"
    )]
    Mislabelled { claimed: &'static str, found: &'static str },

    #[error("{reason}; the limits guard the disk against decompression bombs")]
    Limit { reason: String },

    #[error(
        "the image's layers unpack to more than {bytes_max} bytes together; the limits guard the disk against decompression bombs"
    )]
    ImageTooLarge { bytes_max: u64 },

    #[error(
        "the unpacked content is {actual} where the image's configuration says {expected}: the image is inconsistent; build or pull it again"
    )]
    DiffId { expected: Digest, actual: Digest },

    #[error("cannot read its content: {cause}")]
    Decompress { cause: io::Error },

    #[error("cannot {step} \"{entry}\": {cause}{}", way_out(cause))]
    Io { step: Cow<'static, str>, entry: String, cause: io::Error },

    #[error("the process that unpacks failed: {reason}; look into the server's log, or pull the image again")]
    Unpacker { reason: String },
}

impl Error {
    pub(crate) fn io(step: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| Self::Io { step, path, cause }
    }

    /// There was no room for something.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if is_full(cause))
    }

    pub(crate) fn document(origin: &str, object: &'static str, reason: impl Into<String>) -> Self {
        Self::Document { origin: origin.to_owned(), object, reason: reason.into() }
    }
}

impl LayerError {
    pub(crate) fn entry(entry: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { entry: crate::digest::excerpt(&String::from_utf8_lossy(entry)), reason: reason.into() }
    }
}

/// No space, or no more for this user.
fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about an input/output error, where that is not the caller's guess.
fn way_out(cause: &io::Error) -> &'static str {
    match cause.kind() {
        _ if is_full(cause) => "; free space, for example with `image prune`",
        io::ErrorKind::PermissionDenied => "; run as the owner of the data directory (root)",
        _ => "",
    }
}
