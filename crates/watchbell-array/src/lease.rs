use std::fs::{self, File};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::snapshot::hex;
use crate::store::{Array, names, read_bounded, valid_name};

/// Keeps a snapshot, and the views of it, from being swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub snapshot: Digest,
    pub kind: LeaseKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseKind {
    /// Of a run: until it is given back.
    Run,
    /// Of a program that reads: while it holds the file, which the kernel ends with the program.
    Reader,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    #[serde(with = "hex")]
    snapshot: Digest,
    kind: LeaseKind,
    /// Of an encrypted array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// How the name of a reader's lease begins, and how that of a file ends that is not written yet.
const READER: &str = "reader-";
const UNFINISHED: &str = ".next";

/// A reader's lease, which ends with it.
pub(crate) struct Held {
    array: Array,
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Left behind it is found to be nobody's.
        let _ = self.array.disk.remove(&self.path);
    }
}

impl Array {
    /// Keeps a snapshot for a run, under its name, until [`Array::give_back`].
    pub fn lease(&self, name: &str, snapshot: Digest) -> Result<(), Error> {
        // Only a sweep must not come between: commits, which take long, do the same.
        let _kept = self.lock_shared()?;
        self.snapshot(snapshot)?;
        if name.starts_with(READER) || name.ends_with(UNFINISHED) {
            return Err(Error::BadName(name.to_owned()));
        }
        let leases = self.dir.join("leases");
        let path = leases.join(valid_name(name)?);
        // Of its own: several may take one lease at once.
        let next = leases.join(format!("{name}.{:016x}{UNFINISHED}", crate::view::random()));
        self.disk.write_synced(&next, &self.encode(name, Lease { snapshot, kind: LeaseKind::Run })?)?;
        self.disk.rename(&next, &path)?;
        self.disk.sync_dir(&leases)
    }

    /// The snapshot that a run keeps under this name.
    pub fn leased(&self, name: &str) -> Result<Option<Digest>, Error> {
        let path = self.dir.join("leases").join(valid_name(name)?);
        let bytes = match read_bounded(&path, 1 << 16) {
            Err(error) if error.is_not_found() => {
                return Ok(None);
            }
            bytes => bytes?,
        };
        let Kept { snapshot, kind, code } = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Format { path, problem: error.to_string() })?;
        // Another one would be read in its place.
        if self.code_of(name, &Lease { snapshot, kind })? != code {
            return Err(Error::Forged { what: format!("leases/{name}") });
        }
        Ok(Some(snapshot))
    }

    /// The names under which runs keep snapshots.
    pub fn lease_names(&self) -> Result<Vec<String>, Error> {
        let names = names(&self.dir.join("leases"))?.into_iter();
        Ok(names.filter(|name| !name.starts_with(READER) && !name.ends_with(UNFINISHED)).collect())
    }

    pub fn give_back(&self, name: &str) -> Result<(), Error> {
        self.disk.remove(&self.dir.join("leases").join(valid_name(name)?))
    }

    /// Keeps a snapshot while this program reads it.
    pub(crate) fn read_lease(&self, snapshot: Digest) -> Result<Held, Error> {
        let _kept = self.lock_shared()?;
        self.snapshot(snapshot)?;
        let name = format!("{READER}{}-{:016x}", std::process::id(), crate::view::random());
        let path = self.dir.join("leases").join(&name);
        let lease = Lease { snapshot, kind: LeaseKind::Reader };
        self.disk.write_synced(&path, &self.encode(&name, lease)?)?;
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(Error::errno("lock", &path))?;
        Ok(Held { array: self.clone(), path, _file: file })
    }

    /// With the lock held: the leases that hold something. What a dead reader left is removed.
    pub(crate) fn leases(&self) -> Result<Vec<(String, Lease)>, Error> {
        let dir = self.dir.join("leases");
        let mut found = Vec::new();
        for name in names(&dir)? {
            let path = dir.join(&name);
            if name.ends_with(UNFINISHED) {
                // Who was at it has ended: the lock is held here.
                self.disk.remove(&path)?;
                continue;
            }
            if name.starts_with(READER) {
                // Before it is read: a reader that was killed early has left it empty.
                let Ok(file) = File::open(&path) else { continue };
                if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                    continue;
                }
            }
            let bytes = match read_bounded(&path, 1 << 16) {
                Ok(bytes) => bytes,
                // Its holder has just ended.
                Err(_) if !path.exists() => continue,
                Err(error) => return Err(error),
            };
            let lease = match serde_json::from_slice(&bytes) {
                Ok(Kept { snapshot, kind, .. }) => Lease { snapshot, kind },
                // Without knowing what it holds, nothing may be swept.
                Err(error) => return Err(Error::Format { path, problem: error.to_string() }),
            };
            found.push((name, lease));
        }
        Ok(found)
    }

    fn code_of(&self, name: &str, lease: &Lease) -> Result<Option<String>, Error> {
        let Lease { snapshot, kind } = lease;
        Ok(self
            .code(&format!("leases/{name}"), &format!("{snapshot} {kind:?}"))?
            .map(|code| code.to_string()))
    }

    fn encode(&self, name: &str, lease: Lease) -> Result<Vec<u8>, Error> {
        let code = self.code_of(name, &lease)?;
        let Lease { snapshot, kind } = lease;
        // Into memory, with string keys alone: nothing that can fail.
        Ok(serde_json::to_vec(&Kept { snapshot, kind, code }).unwrap_or_default())
    }
}
