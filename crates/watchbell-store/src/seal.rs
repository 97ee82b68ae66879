//! Secrets at rest: the key file and the sealed form of a blob.
//!
//! ```text
//! sealed blob = 1 (form) │ nonce, 24 random bytes │ XChaCha20-Poly1305(blob) │ tag, 16 bytes
//! associated data = form │ part │ length and bytes of resource, namespace, name
//! ```
//!
//! The nonce is wide enough (192 bits) that random ones never meet under one key. The key lies beside the data: it guards
//! copies of the journal file and disks thrown away without the key, not a machine that is taken over.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::directory::{SECRETS_KEY, create_private, parent, partial, remove, sync_dir};
use crate::{Error, RowKey};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const FORM: u8 = 1;
const CHECK_TEXT: &[u8] = b"watchbell";

/// Which blob of a row: head and status of one row cannot be exchanged either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Head = b'h' as isize,
    Status = b's' as isize,
    KeyCheck = b'k' as isize,
}

/// The key of a data directory. Wiped when dropped.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    /// Where it was read, for messages.
    path: PathBuf,
}

/// The key file of `dir`, when there is one.
pub(crate) fn key_in(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(SECRETS_KEY);
    path.symlink_metadata().is_ok().then_some(path)
}

/// Makes a new key file, whole or not at all: it gets its name when its bytes are durable, and never that of another.
pub(crate) fn create_key(path: &Path) -> Result<(), Error> {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(Error::Random)?;
    write_key(path, &key)
}

/// Copies a key file, checking it on the way.
pub(crate) fn copy_key(from: &Path, to: &Path) -> Result<(), Error> {
    write_key(to, &*read_key(from)?)
}

fn write_key(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), Error> {
    let draft = partial(path);
    remove(&draft)?;
    create_private(&draft)?
        .write_all(key)
        .and_then(|()| File::open(&draft)?.sync_all())
        .map_err(|e| Error::of_io("write the key", &draft, e))?;
    // A link fails where the name is taken; a rename would replace a key that sealed something.
    std::fs::hard_link(&draft, path).map_err(|e| Error::of_io("create the key", path, e))?;
    remove(&draft)?;
    sync_dir(parent(path))
}

/// The key in a file that its owner alone may read.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    let failed = |e| Error::of_io("read the key", path, e);
    // A key behind a symbolic link may be anybody's.
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(nofollow).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let unusable = |cause| Error::KeyUnusable { path: path.to_path_buf(), cause };
    if !meta.is_file() {
        return Err(unusable("it is no regular file"));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::KeyExposed { path: path.to_path_buf(), mode });
    }
    if meta.len() != KEY_BYTES as u64 {
        return Err(unusable("it is not 32 bytes long"));
    }
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    file.read_exact(&mut *key).map_err(failed)?;
    Ok(key)
}

impl Sealer {
    pub(crate) fn open(path: &Path) -> Result<Sealer, Error> {
        let key = read_key(path)?;
        Ok(Sealer { cipher: XChaCha20Poly1305::new((&*key).into()), path: path.to_path_buf() })
    }

    /// A text that only this key opens, to be kept in the journal.
    pub(crate) fn key_check(&self) -> Result<Vec<u8>, Error> {
        self.seal_as(Part::KeyCheck, ["", "", ""], CHECK_TEXT)
    }

    /// Whether this is the key that made `check`.
    pub(crate) fn verify(&self, check: &[u8]) -> Result<(), Error> {
        let text = self.unseal_as(Part::KeyCheck, ["", "", ""], check);
        match text.as_deref().map(Vec::as_slice) {
            Some(CHECK_TEXT) => Ok(()),
            _ => Err(Error::KeyUnusable {
                path: self.path.clone(),
                cause: "it is not the key this journal was sealed with",
            }),
        }
    }

    pub(crate) fn seal(&self, key: &RowKey, part: Part, plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.seal_as(part, names(key), plain)
    }

    pub(crate) fn unseal(&self, key: &RowKey, part: Part, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        match self.unseal_as(part, names(key), sealed) {
            Some(mut plain) => Ok(std::mem::take(&mut *plain)),
            None => Err(Error::Unseal { key: key.clone() }),
        }
    }

    fn seal_as(&self, part: Part, names: [&str; 3], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let payload = Payload { msg: plain, aad: &associated(part, names) };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a blob is far below the 256 GiB that one nonce may seal");
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        out.push(FORM);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn unseal_as(&self, part: Part, names: [&str; 3], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&FORM, rest) = sealed.split_first()? else { return None };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if sealed.len() < TAG_BYTES {
            return None;
        }
        let payload = Payload { msg: sealed, aad: &associated(part, names) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }
}

fn names(key: &RowKey) -> [&str; 3] {
    match key {
        RowKey::Object { resource, namespace, name } => [resource, namespace, name],
        RowKey::ArrayPod { .. } => {
            unreachable!("a batch with a sealed array pod is refused, and its table has no seal")
        }
    }
}

/// Lengths keep `a/bc` and `ab/c` apart.
fn associated(part: Part, names: [&str; 3]) -> Vec<u8> {
    let mut out = vec![FORM, part as u8];
    for name in names {
        out.extend_from_slice(&(name.len() as u64).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
