//! Bills of materials, one file an image below `DIR/sboms`: what a scan found, so that an image is read once.
//!
//! A file can be made again at any time: one that is of another version or cannot be read is as good as none.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use watchbell_image::Digest;
use watchbell_scan::Inventory;

/// Raised whenever a scan finds more, or says it otherwise: images are then read again.
pub(super) const VERSION: u32 = 3;
pub(super) const BYTES_MAX: u64 = 32 << 20;
/// The largest images that are about have a tenth of that.
const PACKAGES_MAX: usize = 50_000;
/// Of all bills together. What was not asked for longest goes.
const QUOTA_BYTES: u64 = 1 << 30;

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bill {
    version: u32,
    pub inventory: Inventory,
    /// Paths from the root, without a leading slash.
    pub shells: Vec<String>,
    /// Programs with a setuid or setgid bit or with capabilities.
    pub setuid: Vec<String>,
    /// Of both those that are not listed.
    pub shells_more: usize,
    pub setuid_more: usize,
}

impl Bill {
    pub(super) fn new(inventory: Inventory, shells: Vec<String>, setuid: Vec<String>) -> Bill {
        Bill { version: VERSION, inventory, shells, setuid, shells_more: 0, setuid_more: 0 }
    }

    /// The bill, or why it is not taken: what is asked for an image is bounded, whoever made it.
    pub(super) fn bounded(self) -> Result<Bill, String> {
        match self.inventory.packages.len() {
            0..=PACKAGES_MAX => Ok(self),
            more => Err(format!("it has {more} packages, and at most {PACKAGES_MAX} are looked at")),
        }
    }
}

/// The directory.
pub(super) struct Bills {
    dir: PathBuf,
    quota: u64,
    /// Whoever adds or removes one is alone.
    changing: Mutex<()>,
}

impl Bills {
    /// Makes it if there is none.
    pub(super) fn open(data_dir: &Path) -> io::Result<Bills> {
        let dir = data_dir.join("sboms");
        for algorithm in ["sha256", "sha512"] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join(algorithm))?;
        }
        Ok(Bills { dir, quota: QUOTA_BYTES, changing: Mutex::default() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The bill of an image; none: it has to be made.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Bill>> {
        let file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        (&file).take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        // A crash may have left half of it.
        let bill = serde_json::from_slice::<Bill>(&bytes).ok().filter(|bill| bill.version == VERSION);
        if bill.is_some() {
            file.set_modified(SystemTime::now())?;
        }
        Ok(bill)
    }

    /// Keeps one. A reader sees it whole or not at all.
    pub(super) fn write(&self, digest: &Digest, bill: &Bill) -> io::Result<()> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(digest);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(bill)?)?;
        fs::rename(&new, &path)?;
        self.make_room(&path)
    }

    /// Removes what was not asked for longest until all together are below the quota; `last` stays.
    fn make_room(&self, last: &Path) -> io::Result<()> {
        let mut bills = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for entry in fs::read_dir(self.dir.join(algorithm))? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                bills.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        let mut bytes: u64 = bills.iter().map(|(_, bytes, _)| bytes).sum();
        bills.sort();
        for (_, of_it, path) in bills.iter().filter(|(_, _, path)| path != last) {
            if bytes <= self.quota {
                break;
            }
            fs::remove_file(path)?;
            bytes -= of_it;
        }
        Ok(())
    }

    /// Removes those of other images.
    pub(super) fn keep(&self, is_here: impl Fn(&Digest) -> bool) -> io::Result<()> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
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

    #[test]
    fn an_image_of_too_many_packages_is_not_looked_at() {
        let package: watchbell_scan::Package = serde_json::from_value(serde_json::json!({
            "kind": "deb", "name": "x", "version": "1", "licences": [], "evidence": "installed", "locations": [],
        }))
        .unwrap();
        let bill = |packages: usize| {
            let packages = vec![package.clone(); packages];
            Bill::new(Inventory { packages, ..Inventory::default() }, Vec::new(), Vec::new())
        };
        assert!(bill(PACKAGES_MAX).bounded().is_ok());
        let why = bill(PACKAGES_MAX + 1).bounded().unwrap_err();
        assert_eq!(why, "it has 50001 packages, and at most 50000 are looked at");
    }

    #[test]
    fn all_bills_together_have_a_quota() {
        let dir = tempfile::tempdir().unwrap();
        let mut bills = Bills::open(dir.path()).unwrap();
        let bill = Bill::new(Inventory::default(), vec!["x".repeat(1000)], Vec::new());
        bills.quota = 2 * serde_json::to_vec(&bill).unwrap().len() as u64;
        let digests = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        for (digest, second) in digests.iter().zip(1..) {
            bills.write(digest, &bill).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            File::open(bills.path(digest)).unwrap().set_modified(at).unwrap();
            // What is asked for stays.
            assert!(bills.read(&digests[0]).unwrap().is_some());
        }
        assert_eq!(bills.read(&digests[1]).unwrap(), None);
        assert!(bills.read(&digests[2]).unwrap().is_some());
    }
}
