//! Images: the content store, pull, import, build and the safe unpack.
//!
//! ```text
//!  registry ──pull──┐                                  ┌─ blobs/sha256/…   what was received, by digest
//!  archive ─import──┼─▶ verify digest and size ─▶ images/ index.json       names → manifests
//!  files ───build───┘                                  └─ ingest/…         partial downloads, resumed
//!                                                          │
//!            reference ──resolve──▶ Image ──unpack once──▶ layers/sha256/… one directory a layer,
//!                                  (manifest,   verify diffID,             shared, ready as overlay
//!                                   config)     confined to its root       lowers, bottom first
//! ```
//!
//! Every byte that comes in is hostile: nothing is kept whose digest and size were not verified while it streamed, every
//! count and size is bounded by [`Limits`], and a layer's paths are resolved by the kernel below the layer's own
//! directory (`openat2`). The crate is synchronous; all of it may be called from many threads and many processes on one
//! data directory at once.

mod artifact;
mod build;
mod codec;
mod config;
mod content;
mod digest;
mod document;
mod error;
mod export;
mod import;
mod layout;
mod limits;
mod media_type;
mod name;
mod platform;
mod progress;
mod pull;
mod registry;
mod store;
mod tar;
#[cfg(test)]
mod testing;
mod unpack;

pub use artifact::{Artifact, ArtifactBlob, ArtifactManifest, Attached, Attachment};
pub use build::{BuildSpec, Ownership, build_scratch};
pub use codec::decompressed;
pub use config::{History, ImageConfig};
pub use content::{ImageContent, LayerBytes, LayerReader};
pub use digest::{Algorithm, Digest};
pub use document::Descriptor;
pub use error::Error;
pub use export::export;
pub use import::{Imported, UPLOADED, import_path, import_stream};
pub use layout::{Layout, NewBlob, NewManifest};
pub use limits::Limits;
pub use media_type::{Compression, MediaType};
pub use name::Reference;
pub use platform::Platform;
pub use progress::{Event, Progress, Silent};
pub use pull::{PullOptions, attach_remote, attached_remote, pull, pull_attached, remote_document};
pub use registry::{CredentialSource, Credentials, PlainHttp, Secret, system_authorities};
pub use store::{Image, ImageSummary, LayerDescriptor, Lent, PruneReport, PulledFor, Store};
pub use tar::{Archive as TarArchive, Entry as LayerEntry, Error as TarError, Kind as EntryKind, Segment};
pub use unpack::{SpecialFile, UnpackRecord, Unpacker, unpacker_main};
