//! Images from files: `docker save` archives, OCI archives, OCI layout folders. Told apart by what is inside.

mod docker;
mod oci;
mod source;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::digest::excerpt;
use crate::{Error, Event, Image, Progress, Reference, Store};
pub(crate) use docker::SavedImage;
pub(crate) use oci::layout_name;
pub(crate) use source::{Source, Spool, blob_name};

/// An image that came out of an archive.
#[derive(Clone, Debug)]
pub struct Imported {
    /// `None` when neither the archive nor the caller named it; it is then known by its digest alone.
    pub reference: Option<Reference>,
    pub image: Image,
}

/// Imports every image of the archive file or OCI layout folder at `path`.
///
/// `name` replaces the name that the archive gives; the archive must then hold one image.
pub fn import_path(
    store: &Store,
    path: &Path,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Vec<Imported>, Error> {
    let origin = excerpt(&path.display().to_string());
    let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
    let source = if metadata.is_dir() {
        Source::folder(path)?
    } else if metadata.is_file() {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Source::archive(
            Spool::from_file(&store.ingest_dir(), store.limits(), file, &origin)?,
            store.limits(),
            &origin,
        )?
    } else {
        return Err(Error::Import { origin, reason: "it is neither a file nor a folder".to_owned() });
    };
    import(store, &source, name, progress, &origin)
}

/// What errors call an archive that arrives as a stream: whoever sends it knows its name.
pub const UPLOADED: &str = "the uploaded archive";

/// Imports every image of an archive that arrives as a stream. It is kept in a nameless temporary file meanwhile.
pub fn import_stream(
    store: &Store,
    stream: impl Read,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Vec<Imported>, Error> {
    let origin = UPLOADED;
    let spool = Spool::from_stream(store, stream, origin)?;
    import(store, &Source::archive(spool, store.limits(), origin)?, name, progress, origin)
}

fn import(
    store: &Store,
    source: &Source,
    name: Option<&Reference>,
    progress: &dyn Progress,
    origin: &str,
) -> Result<Vec<Imported>, Error> {
    if let Some(name) = name
        && name.digest().is_some()
    {
        return Err(Error::Import {
            origin: origin.to_owned(),
            reason: format!("{name} is a digest; give the image a name and a tag"),
        });
    }
    let _in_use = store.in_use()?;
    let importer = Importer { store, source, name, progress, origin };
    // `docker save` of today writes both forms; the OCI one has the digests that registries use.
    if source.has("index.json") {
        importer.import_oci()
    } else if source.has("manifest.json") {
        importer.import_docker()
    } else {
        Err(Error::Import {
            origin: origin.to_owned(),
            reason: "it holds neither index.json (OCI layout) nor manifest.json (docker save); \
                     a plain root file system becomes an image with `image build`"
                .to_owned(),
        })
    }
}

/// What both formats need.
struct Importer<'a> {
    store: &'a Store,
    source: &'a Source,
    name: Option<&'a Reference>,
    progress: &'a dyn Progress,
    origin: &'a str,
}

impl Importer<'_> {
    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::Import { origin: self.origin.to_owned(), reason: reason.into() }
    }

    /// A new name fits one image only.
    fn check_image_count(&self, images: usize) -> Result<(), Error> {
        if images == 0 {
            return Err(self.refuse("it holds no image"));
        }
        if images > self.store.limits().index_entries_max {
            return Err(self.refuse(format!("it holds {images} images")));
        }
        match self.name {
            Some(name) if images > 1 => Err(self.refuse(format!(
                "it holds {images} images, which cannot all be named {}; import without a name",
                name.familiar()
            ))),
            _ => Ok(()),
        }
    }

    fn announce(&self, reference: Option<&Reference>, image: &Image) {
        self.progress.event(Event::Resolved {
            reference,
            manifest: &image.digest,
            layers: image.layers.len(),
            bytes: image.size(),
        });
    }
}

#[cfg(test)]
mod tests;
