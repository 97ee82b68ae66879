//! Bills of materials, one file an image below `DIR/sboms`: what a scan found, so that an image is read once.
//!
//! A file can be made again at any time: one that is of another version or cannot be read is as good as none.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use watchbell_image::Digest;
use watchbell_scan::Inventory;

/// Raised whenever a scan finds more, or says it otherwise: images are then read again.
const VERSION: u32 = 1;
/// More than any image has.
pub(super) const BYTES_MAX: u64 = 256 << 20;

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bill {
    version: u32,
    pub inventory: Inventory,
    /// Paths from the root, without a leading slash.
    pub shells: Vec<String>,
    pub setuid: Vec<String>,
}

impl Bill {
    pub(super) fn new(inventory: Inventory, shells: Vec<String>, setuid: Vec<String>) -> Bill {
        Bill { version: VERSION, inventory, shells, setuid }
    }
}

/// The directory.
pub(super) struct Bills {
    dir: PathBuf,
}

impl Bills {
    /// Makes it if there is none.
    pub(super) fn open(data_dir: &Path) -> io::Result<Bills> {
        let dir = data_dir.join("sboms");
        for algorithm in ["sha256", "sha512"] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join(algorithm))?;
        }
        Ok(Bills { dir })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The bill of an image; none: it has to be made.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Bill>> {
        let bytes = match fs::read(self.path(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // A crash may have left half of it.
        Ok(serde_json::from_slice::<Bill>(&bytes).ok().filter(|bill| bill.version == VERSION))
    }

    /// Keeps one. A reader sees it whole or not at all.
    pub(super) fn write(&self, digest: &Digest, bill: &Bill) -> io::Result<()> {
        let path = self.path(digest);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(bill)?)?;
        fs::rename(&new, &path)
    }

    /// Removes those of other images.
    pub(super) fn keep(&self, is_here: impl Fn(&Digest) -> bool) -> io::Result<()> {
        for algorithm in ["sha256", "sha512"] {
            for entry in fs::read_dir(self.dir.join(algorithm))? {
                let entry = entry?;
                let digest = format!("{algorithm}:{}", entry.file_name().to_string_lossy());
                if !Digest::parse(&digest).is_ok_and(|digest| is_here(&digest)) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_kept_until_its_image_goes() {
        let dir = tempfile::tempdir().unwrap();
        let bills = Bills::open(dir.path()).unwrap();
        let (here, gone) = (Digest::of(b"here"), Digest::of(b"gone"));
        let bill = Bill::new(Inventory::default(), vec!["bin/sh".into()], Vec::new());
        for digest in [&here, &gone] {
            assert_eq!(bills.read(digest).unwrap(), None);
            bills.write(digest, &bill).unwrap();
            assert_eq!(bills.read(digest).unwrap().as_ref(), Some(&bill));
        }
        bills.keep(|digest| *digest == here).unwrap();
        assert_eq!(bills.read(&here).unwrap(), Some(bill.clone()));
        assert_eq!(bills.read(&gone).unwrap(), None);
        // What is damaged, or of another version, is made again.
        fs::write(bills.path(&here), b"{").unwrap();
        assert_eq!(bills.read(&here).unwrap(), None);
        bills.write(&here, &Bill { version: VERSION + 1, ..bill }).unwrap();
        assert_eq!(bills.read(&here).unwrap(), None);
    }
}
