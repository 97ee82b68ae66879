//! Bounds on everything that comes from a registry or an archive.

use serde::{Deserialize, Serialize};

/// The bounds; [`Limits::default`] fits machine-learning images of some tens of gigabytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// A manifest, an index or a configuration, bytes. Registries agree on 4 MiB.
    pub document_bytes_max: u64,
    /// Layers of one image. Docker stops at 127.
    pub layers_max: usize,
    /// An index inside an index inside …; real ones nest once.
    pub index_depth_max: usize,
    /// Entries of one index, and images of one archive.
    pub index_entries_max: usize,
    /// All compressed layers of one image together, bytes.
    pub image_compressed_bytes_max: u64,
    /// All unpacked layers of one image together, bytes, holes of sparse files included.
    pub image_unpacked_bytes_max: u64,
    /// Entries (files, directories, links) of one layer.
    pub layer_entries_max: u64,
    /// Unpacked bytes per compressed byte, applied once `ratio_free_bytes` have been unpacked.
    pub compression_ratio_max: u64,
    pub ratio_free_bytes: u64,
    /// A path inside a layer, bytes (Linux: PATH_MAX with its NUL).
    pub path_bytes_max: usize,
    /// Directories above one another inside a layer.
    pub path_depth_max: usize,
    /// Extended headers of one entry, bytes.
    pub entry_header_bytes_max: u64,
    /// A whole archive being imported, after decompression, bytes.
    pub archive_bytes_max: u64,
    /// Entries of an archive being imported.
    pub archive_entries_max: usize,
    /// What is looked at of what is attached to one image: signatures, attestations, bills of materials.
    pub attachments_max: usize,
    /// The content of one of them that is read, bytes; and of all together.
    pub attachment_bytes_max: u64,
    pub attachments_bytes_max: u64,
    /// A list of what is attached, bytes.
    pub attachments_list_bytes_max: u64,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes_max: 4 * MIB,
            layers_max: 127,
            index_depth_max: 3,
            index_entries_max: 1_000,
            image_compressed_bytes_max: 64 * GIB,
            image_unpacked_bytes_max: 128 * GIB,
            layer_entries_max: 1_000_000,
            compression_ratio_max: 200,
            ratio_free_bytes: 64 * MIB,
            path_bytes_max: 4095,
            path_depth_max: 256,
            entry_header_bytes_max: MIB,
            archive_bytes_max: 128 * GIB,
            archive_entries_max: 10_000,
            attachments_max: 64,
            attachment_bytes_max: 128 * MIB,
            attachments_bytes_max: 128 * MIB,
            attachments_list_bytes_max: 16 * MIB,
        }
    }
}
