//! An image that lies in no store: `REF` at its registry, `oci:DIR:TAG` in a folder.

use std::path::PathBuf;

use watchbell_image::{Attached, Descriptor, Layout, Limits, Reference, attached_remote, remote_document};
use watchbell_signature::is_signature;

use super::registry::RegistryAccess;
use crate::exit::Failure;

#[derive(Debug)]
pub(super) enum Target {
    Registry(Reference),
    Layout { dir: PathBuf, tag: Option<String> },
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Target, Failure> {
        let Some(rest) = text.strip_prefix("oci:") else {
            return super::reference(text).map(Target::Registry);
        };
        // What follows the last colon is a tag unless it is part of a path.
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') && !tag.is_empty() => (dir, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if dir.is_empty() {
            return Err(Failure::Usage(format!("\"{text}\" names no folder; write oci:DIR:TAG")));
        }
        Ok(Target::Layout { dir: dir.into(), tag })
    }

    /// The image's manifest or index, and the signatures and attestations beside it.
    pub(super) fn fetch(&self, access: &RegistryAccess) -> Result<(Descriptor, Vec<u8>, Attached), Failure> {
        match self {
            Target::Registry(reference) => {
                let (options, limits) = (access.options(), Limits::default());
                let (descriptor, document) =
                    remote_document(reference, &options, &limits).map_err(Failure::refused)?;
                let attached =
                    attached_remote(reference, &descriptor.digest, &options, &limits, &is_signature);
                Ok((descriptor, document, attached.map_err(Failure::refused)?))
            }
            Target::Layout { dir, tag } => {
                let layout = Layout::open(dir).map_err(Failure::refused)?;
                let (descriptor, document) = layout.image(tag.as_deref()).map_err(Failure::refused)?;
                let attached =
                    layout.attached(&descriptor.digest, &is_signature).map_err(Failure::refused)?;
                Ok((descriptor, document, attached))
            }
        }
    }
}
