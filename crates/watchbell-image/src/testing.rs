//! Archives and images for tests, made byte by byte so that they can lie.

use std::io::Write;
use std::path::Path;

use crate::document::Manifest;
use crate::media_type::{OCI_CONFIG, OCI_MANIFEST};
use crate::store::IndexEntry;
use crate::{
    Compression, Descriptor, Digest, Image, ImageConfig, Limits, MediaType, Reference, Store, Unpacker,
};

/// A raw tar archive under construction.
#[derive(Default)]
pub(crate) struct RawTar {
    pub(crate) bytes: Vec<u8>,
}

/// The fields of a header that tests set.
#[derive(Clone)]
pub(crate) struct Raw<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) type_flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) link: &'a [u8],
    pub(crate) content: &'a [u8],
    /// Instead of the content's length.
    pub(crate) stated_size: Option<u64>,
    pub(crate) mtime: u64,
}

pub(crate) fn raw(name: &str, type_flag: u8) -> Raw<'_> {
    Raw {
        name: name.as_bytes(),
        type_flag,
        mode: if type_flag == b'5' { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        link: b"",
        content: b"",
        stated_size: None,
        mtime: 1_000_000_000,
    }
}

pub(crate) fn file<'a>(name: &'a str, content: &'a str) -> Raw<'a> {
    Raw { content: content.as_bytes(), ..raw(name, b'0') }
}

pub(crate) fn dir(name: &str) -> Raw<'_> {
    raw(name, b'5')
}

pub(crate) fn symlink<'a>(name: &'a str, target: &'a str) -> Raw<'a> {
    Raw { link: target.as_bytes(), ..raw(name, b'2') }
}

pub(crate) fn hard_link<'a>(name: &'a str, target: &'a str) -> Raw<'a> {
    Raw { link: target.as_bytes(), ..raw(name, b'1') }
}

impl RawTar {
    pub(crate) fn of(entries: &[Raw<'_>]) -> Vec<u8> {
        let mut tar = Self::default();
        for entry in entries {
            tar.push(entry);
        }
        tar.end()
    }

    pub(crate) fn push(&mut self, raw: &Raw<'_>) -> &mut Self {
        let mut block = [0u8; 512];
        block[..raw.name.len()].copy_from_slice(raw.name);
        let octal = |field: &mut [u8], n: u64| {
            let digits = field.len() - 1;
            let text = format!("{n:0digits$o}");
            field[..digits].copy_from_slice(&text.as_bytes()[..digits]);
        };
        octal(&mut block[100..108], u64::from(raw.mode));
        octal(&mut block[108..116], u64::from(raw.uid));
        octal(&mut block[116..124], u64::from(raw.gid));
        octal(&mut block[124..136], raw.stated_size.unwrap_or(raw.content.len() as u64));
        octal(&mut block[136..148], raw.mtime);
        block[156] = raw.type_flag;
        block[157..157 + raw.link.len()].copy_from_slice(raw.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.push_block(block).push_content(raw.content)
    }

    /// A header block whose checksum is put right.
    pub(crate) fn push_block(&mut self, mut block: [u8; 512]) -> &mut Self {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
        self
    }

    pub(crate) fn push_content(&mut self, content: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(&mut self, records: &[(&str, &str)]) -> &mut Self {
        let mut content = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            content.push_str(&format!("{length} {key}={value}\n"));
        }
        self.push(&Raw { content: content.as_bytes(), ..raw("pax", b'x') })
    }

    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        std::mem::take(&mut self.bytes)
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A layer as it would come from a registry.
pub(crate) struct TestLayer {
    pub(crate) blob: Vec<u8>,
    pub(crate) compression: Compression,
    pub(crate) diff_id: Digest,
}

impl TestLayer {
    pub(crate) fn plain(tar: Vec<u8>) -> Self {
        Self { diff_id: Digest::of(&tar), blob: tar, compression: Compression::None }
    }

    pub(crate) fn gzip(tar: &[u8]) -> Self {
        Self { diff_id: Digest::of(tar), blob: gzip(tar), compression: Compression::Gzip }
    }

    pub(crate) fn zstd(tar: &[u8]) -> Self {
        Self { diff_id: Digest::of(tar), blob: zstd(tar), compression: Compression::Zstd }
    }
}

/// Records an image of these layers, whatever they hold.
pub(crate) fn record(store: &Store, name: &str, layers: &[TestLayer]) -> Image {
    let config = ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        diff_ids: layers.iter().map(|l| l.diff_id.clone()).collect(),
        // Images of equal layers are still different images.
        user: name.to_owned(),
        ..ImageConfig::default()
    };
    let config_bytes = config.to_bytes();
    let layers = layers
        .iter()
        .map(|l| {
            let digest = store.put_blob(&l.blob).unwrap();
            Descriptor::new(MediaType::of_layer(l.compression), digest, l.blob.len() as u64)
        })
        .collect();
    let config_digest = store.put_blob(&config_bytes).unwrap();
    let manifest =
        Manifest { config: Descriptor::new(OCI_CONFIG, config_digest, config_bytes.len() as u64), layers };
    let bytes = manifest.to_bytes();
    let digest = store.put_blob(&bytes).unwrap();
    let descriptor = Descriptor::new(OCI_MANIFEST, digest, bytes.len() as u64);
    let reference = Reference::parse(name).unwrap();
    store.record(IndexEntry { descriptor, reference: Some(reference.clone()), chosen_from: None }).unwrap();
    store.resolve(&reference).unwrap().unwrap()
}

/// A store in a directory that removes itself, inside another where an escape would be seen.
pub(crate) struct TestStore {
    pub(crate) outside: tempfile::TempDir,
    pub(crate) store: Store,
}

pub(crate) fn store() -> TestStore {
    store_with(Limits::default())
}

pub(crate) fn store_with(limits: Limits) -> TestStore {
    let outside = tempfile::tempdir().unwrap();
    let store =
        Store::open_with(&outside.path().join("data"), limits).unwrap().unpacking_by(Unpacker::Thread);
    TestStore { outside, store }
}

impl TestStore {
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.outside.path().join("data")
    }

    /// Nothing was written beside the data directory, and no layer or leftover is in it.
    pub(crate) fn assert_nothing_unpacked(&self) {
        assert_eq!(names(self.outside.path()), ["data"]);
        assert_eq!(names(&self.data()), ["images", "layers"]);
        assert!(names(&self.data().join("layers/sha256")).is_empty(), "a layer was kept");
        let work = names(&self.data().join("layers/work"));
        assert!(work.iter().all(|n| n.ends_with(".lock")), "left over: {work:?}");
        assert!(names(&self.data().join("images/ingest")).is_empty(), "left over in ingest");
    }
}

/// The sorted names in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
