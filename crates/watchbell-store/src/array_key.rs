//! The key that signs the heads of data arrays. It lies beside them, outside the log and every backup, as they do.

use std::path::Path;

use watchbell_audit::SigningKey;

use crate::directory::{ARRAYS_KEY, parent, there};
use crate::{Error, Store, seal};

impl Store {
    /// The key of the heads that this server moves, made when there is none.
    pub fn array_key(&self) -> Result<SigningKey, Error> {
        let path = parent(&self.path).join(ARRAYS_KEY);
        if !there(&path) {
            seal::create_key(&path)?;
        }
        Ok(SigningKey::from_seed(&*seal::read_key(&path)?))
    }

    /// The same of a directory that another process may hold; `None`: it has none.
    pub fn array_key_in(dir: &Path) -> Result<Option<SigningKey>, Error> {
        let path = dir.join(ARRAYS_KEY);
        if there(&path) { Ok(Some(SigningKey::from_seed(&*seal::read_key(&path)?))) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_of_heads_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Store::array_key_in(dir.path()).unwrap().is_none());
        let (store, _) = Store::open(dir.path()).unwrap();
        let key = store.array_key().unwrap();
        assert_eq!(store.array_key().unwrap().public_key(), key.public_key());
        let beside = Store::array_key_in(dir.path()).unwrap().unwrap();
        assert_eq!(beside.public_key(), key.public_key());
        let path = dir.path().join(ARRAYS_KEY);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        // One that others may have read signs nothing any more.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(store.array_key(), Err(Error::KeyExposed { .. })));
    }
}
