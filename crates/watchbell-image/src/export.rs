//! Images to a file: an OCI archive that this and other programs import.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::digest::HashingReader;
use crate::document::Descriptor;
use crate::media_type::OCI_INDEX;
use crate::store::{IndexEntry, verify};
use crate::tar::{Entry, Kind, Writer};
use crate::{Error, Reference, Store};

/// The full name under the key that containerd and Docker read, and under the specification's.
const NAME_KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Writes the images that `references` name as one OCI archive. Every blob is verified while it is written; on an error
/// what was written is no archive.
pub fn export(store: &Store, references: &[Reference], sink: impl Write) -> Result<(), Error> {
    let _in_use = store.in_use()?;
    let mut descriptors = Vec::new();
    let mut blobs: Vec<Descriptor> = Vec::new();
    let mut known = BTreeSet::new();
    for reference in references {
        let Some(IndexEntry { mut descriptor, .. }) = store.find(reference)? else {
            return Err(Error::NoSuchImage { reference: reference.familiar() });
        };
        let manifest = store.read_manifest(&descriptor.digest, &reference.familiar())?;
        descriptor.annotations.clear();
        let all = manifest.layers.into_iter().chain([manifest.config, descriptor.clone()]);
        blobs.extend(all.filter(|blob| known.insert(blob.digest.clone())));
        if reference.tag().is_some() {
            for key in NAME_KEYS {
                descriptor.annotations.insert(key.to_owned(), reference.to_string());
            }
        }
        descriptors.push(descriptor);
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors});
    let write = || -> Result<(), Fault> {
        let mut archive = Writer::new(sink);
        document(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        document(&mut archive, "index.json", index.to_string().as_bytes())?;
        for blob in &blobs {
            copy(store, &mut archive, blob)?;
        }
        archive.finish()?.flush()?;
        Ok(())
    };
    write().map_err(|fault| match fault {
        Fault::Store(error) => error,
        Fault::Sink(error) => Error::io("write", "the archive")(error),
    })
}

enum Fault {
    Store(Error),
    Sink(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

fn copy<W: Write>(store: &Store, archive: &mut Writer<W>, blob: &Descriptor) -> Result<(), Fault> {
    let file = store.open_blob(&blob.digest)?;
    let mut reader = HashingReader::new(file, blob.digest.algorithm());
    let path = format!("blobs/{}/{}", blob.digest.algorithm().as_str(), blob.digest.hex());
    archive.append(&entry(&path, blob.size), &mut reader)?;
    let (digest, size) = reader.finish();
    verify("the store", "a blob", &blob.digest, blob.size, &digest, size)?;
    Ok(())
}

fn document<W: Write>(archive: &mut Writer<W>, path: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append(&entry(path, bytes.len() as u64), &mut io::Cursor::new(bytes))
}

fn entry(path: &str, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_owned(),
        kind: Kind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        size,
        data_offset: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::export;
    use crate::testing::store;
    use crate::{BuildSpec, Reference, Silent, build_scratch, import_path, import_stream};

    #[test]
    fn what_is_exported_imports_as_the_same_image() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("app"), b"\x7fELF").unwrap();
        let spec = BuildSpec {
            copies: vec![(home.path().join("app"), PathBuf::from("/app"))],
            ..BuildSpec::default()
        };
        let from = store();
        let names = [Reference::parse("demo:1").unwrap(), Reference::parse("registry.example/x:y").unwrap()];
        let image = build_scratch(&from.store, &spec, &names[0]).unwrap();
        from.store.tag(&names[0], &names[1]).unwrap();
        let mut archive = Vec::new();
        export(&from.store, &names, &mut archive).unwrap();

        let to = store();
        let imported = import_stream(&to.store, &archive[..], None, &Silent).unwrap();
        assert_eq!(imported.iter().map(|i| i.reference.clone().unwrap()).collect::<Vec<_>>(), names);
        assert!(imported.iter().all(|i| i.image.digest == image.digest));
        // The same input gives the same bytes.
        let mut again = Vec::new();
        export(&to.store, &names, &mut again).unwrap();
        assert!(again == archive);
        let path = home.path().join("x.tar");
        fs::write(&path, &archive).unwrap();
        let third = Reference::parse("other:3").unwrap();
        let refused = import_path(&to.store, &path, Some(&third), &Silent).unwrap_err().to_string();
        assert!(refused.contains("2 images"), "{refused}");
    }

    #[test]
    fn what_is_not_there_or_damaged_is_not_exported() {
        let t = store();
        let name = Reference::parse("demo:1").unwrap();
        let error = export(&t.store, std::slice::from_ref(&name), Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("no image demo:1 in the store"), "{error}");
        let image = build_scratch(&t.store, &BuildSpec::default(), &name).unwrap();
        fs::write(t.store.blob_path(&image.layers[0].digest), vec![7u8; image.layers[0].size as usize])
            .unwrap();
        let error = export(&t.store, &[name], Vec::new()).unwrap_err().to_string();
        assert!(error.contains("does not match its digest"), "{error}");
    }
}
