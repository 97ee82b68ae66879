//! The media types of the OCI image and Docker manifest formats.

use serde::{Deserialize, Serialize};

/// What a media type says a document or blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Index,
    Manifest,
    Config,
    Layer(Compression),
}

/// How a layer's tar stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "an uncompressed tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Told from the first bytes of the content.
    pub(crate) fn sniff(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or one of the skippable frames that some writers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYER_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
pub(crate) const DOCKER_MANIFEST_V1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

impl MediaType {
    /// `None` for what is no part of a container image (a chart, a signature, an encrypted layer).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            OCI_INDEX | DOCKER_INDEX => return Some(Self::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => return Some(Self::Manifest),
            OCI_CONFIG | DOCKER_CONFIG => return Some(Self::Config),
            _ => {}
        }
        let suffix = [OCI_LAYER, OCI_LAYER_FOREIGN, DOCKER_LAYER, DOCKER_LAYER_FOREIGN]
            .into_iter()
            .find_map(|base| text.strip_prefix(base))?;
        Some(Self::Layer(match suffix {
            "" => Compression::None,
            "+gzip" | ".gzip" => Compression::Gzip,
            "+zstd" | ".zstd" => Compression::Zstd,
            _ => return None,
        }))
    }

    /// The OCI layer media type of a compression.
    pub(crate) fn of_layer(compression: Compression) -> String {
        let suffix = match compression {
            Compression::None => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
        };
        format!("{OCI_LAYER}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_types_of_both_formats_are_read() {
        let check = |text: &str, expect| assert_eq!(MediaType::parse(text), expect, "{text}");
        check(&MediaType::of_layer(Compression::Zstd), Some(MediaType::Layer(Compression::Zstd)));
        check("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(MediaType::Layer(Compression::Gzip)));
        check(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Some(MediaType::Layer(Compression::Gzip)),
        );
        check("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", None);
        check("application/vnd.cncf.helm.config.v1+json", None);
        check("text/html", None);
    }
}
