//! The key of the hashes that stand for bodies in the audit entries. It lies outside the log and every backup, so that it can be
//! destroyed: then nothing of a body is in the log, though the log itself can never be changed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use watchbell_audit::{BODY_KEY_BYTES, BodyKey};

use crate::directory::{BODIES_KEY, DirectoryLock, parent, remove, sync_dir, there};
use crate::{Error, Store, seal};

impl Store {
    /// The key of the hashes of bodies, made when there is none.
    pub fn body_key(&self) -> Result<BodyKey, Error> {
        let path = parent(&self.path).join(BODIES_KEY);
        if let Some(key) = read(&path)? {
            return Ok(key);
        }
        remove(&path)?;
        seal::create_key(&path)?;
        Ok(BodyKey::new(&*seal::read_key(&path)?))
    }

    /// The same of a directory that another process may hold; `None`: it has none.
    pub fn body_key_in(dir: &Path) -> Result<Option<BodyKey>, Error> {
        read(&dir.join(BODIES_KEY))
    }

    /// Destroys the key of the hashes of all bodies so far; the next start makes another. No process may hold `dir`.
    pub fn forget_bodies(dir: &Path) -> Result<(), Error> {
        let _lock = DirectoryLock::acquire(dir)?;
        let path = dir.join(BODIES_KEY);
        if !there(&path) {
            return Ok(());
        }
        // As far as a file system writes over what is there; the name goes in any case.
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&[0; BODY_KEY_BYTES]).and_then(|()| file.sync_all()))
            .map_err(|e| Error::of_io("write over", &path, e))?;
        remove(&path)?;
        sync_dir(dir)
    }
}

/// The key in a file. Zeros are what a destruction leaves that a loss of power cut short, and are none.
fn read(path: &Path) -> Result<Option<BodyKey>, Error> {
    if !there(path) {
        return Ok(None);
    }
    let key = seal::read_key(path)?;
    Ok((*key != [0; BODY_KEY_BYTES]).then(|| BodyKey::new(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_destruction_left_half_done_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BODIES_KEY);
        let (store, _) = Store::open(dir.path()).unwrap();
        let before = store.body_key().unwrap().hash("id", b"body");
        std::fs::write(&path, [0; BODY_KEY_BYTES]).unwrap();
        assert!(Store::body_key_in(dir.path()).unwrap().is_none());
        let after = store.body_key().unwrap().hash("id", b"body");
        assert_ne!(after, BodyKey::new(&[0; BODY_KEY_BYTES]).hash("id", b"body"));
        assert_ne!(after, before);
        let read = Store::body_key_in(dir.path()).unwrap().unwrap();
        assert_eq!(read.hash("id", b"body"), after);
        std::fs::write(&path, [0; BODY_KEY_BYTES]).unwrap();
        drop(store);
        Store::forget_bodies(dir.path()).unwrap();
        assert!(!path.exists());
    }
}
