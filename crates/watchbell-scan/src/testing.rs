//! Images for tests, made byte by byte.

use std::io::Write;

use watchbell_image::{Digest, ImageContent, Limits, Platform};

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, b'0', 0o644, "", content.as_ref())
    }

    pub(crate) fn program(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, b'0', mode, "", content.as_ref())
    }

    /// A program with capabilities of its file: an extended header of that name before it.
    pub(crate) fn capable(self, path: &str, mode: u32) -> Self {
        let record = |length: usize| format!("{length} SCHILY.xattr.security.capability=x\n");
        let length = (1..).find(|n| record(*n).len() == *n).unwrap();
        self.entry("pax", b'x', 0, "", record(length).as_bytes()).program(path, mode, "x")
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(path, b'5', 0o755, "", b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, b'2', 0o777, target, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, b'1', 0o644, target, b"")
    }

    /// Any header; the path may be of any length.
    pub(crate) fn entry(mut self, path: &str, type_flag: u8, mode: u32, link: &str, content: &[u8]) -> Self {
        if path.len() > 100 {
            self = self.entry("././@LongLink", b'L', 0, "", format!("{path}\0").as_bytes());
        }
        let mut block = [0u8; 512];
        let name = &path.as_bytes()[..path.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        let octal = |field: &mut [u8], n: u64| {
            let digits = field.len() - 1;
            field[..digits].copy_from_slice(format!("{n:0digits$o}").as_bytes());
        };
        octal(&mut block[100..108], u64::from(mode));
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], content.len() as u64);
        octal(&mut block[136..148], 0);
        block[156] = type_flag;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of these layers, bottom first, as `docker save` writes it. The directory holds it as long as it is read.
pub(crate) struct TestImage {
    dir: tempfile::TempDir,
    pub(crate) content: ImageContent,
}

impl TestImage {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join(ARCHIVE)
    }
}

const ARCHIVE: &str = "image.tar";

pub(crate) fn image(layers: Vec<Tar>) -> TestImage {
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Tar::bytes).collect();
    let stored = layers.iter().map(|l| l.to_vec()).collect();
    image_of(&layers, stored, &Limits::default()).unwrap()
}

/// `stored` is what the archive has for each of the layers.
pub(crate) fn image_of(
    layers: &[Vec<u8>],
    stored: Vec<Vec<u8>>,
    limits: &Limits,
) -> Result<TestImage, watchbell_image::Error> {
    let platform = Platform::host();
    let config = serde_json::json!({
        "architecture": platform.architecture, "os": platform.os, "config": {},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| Digest::of(l).to_string()).collect::<Vec<_>>()},
    })
    .to_string();
    let names: Vec<String> = (0..stored.len()).map(|n| format!("{n}.tar")).collect();
    let manifest =
        serde_json::json!([{"Config": "config", "RepoTags": ["test:1"], "Layers": names}]).to_string();
    let mut archive = Tar::default().file("manifest.json", manifest).file("config", config);
    for (name, layer) in names.iter().zip(stored) {
        archive = archive.file(name, layer);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(ARCHIVE);
    std::fs::write(&path, archive.bytes()).unwrap();
    let content = ImageContent::open(&path, None, &platform, limits)?;
    Ok(TestImage { dir, content })
}
