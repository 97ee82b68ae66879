//! Seccomp profiles of the machine: files that root put below one directory, named by `localhostProfile`.
//!
//! A profile narrows the default filter at will. It counts as it is written, down to a floor, only for pods of a namespace
//! that carries a Pod Security level (each of which permits `Localhost`), and where root let the spawner allow it; the spawner
//! keeps to both floor and ceiling whatever is sent.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use watchbell_sandbox::{Arch, Capabilities, Known, ProfileFacts, SeccompBase, SeccompProfile};

use crate::{Error, NodeOptions};

/// Docker's own has 16 KB.
const BYTES_MAX: u64 = 256 << 10;
/// Names of calls in one message.
const NAMES_MAX: usize = 8;
/// Files that are kept as they were read.
const KEPT_MAX: usize = 64;

pub(crate) struct SeccompProfiles {
    dir: PathBuf,
    /// Root lets the spawner allow more than the default.
    may_widen: bool,
    kernel: (u32, u32),
    kept: Mutex<HashMap<(String, Asker), Kept>>,
}

/// The container that asks, as far as it decides what a profile means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// Its namespace carries a Pod Security level.
    pub(crate) is_labelled: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privs: bool,
}

impl std::hash::Hash for Asker {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.is_labelled, self.capabilities.bits(), self.no_new_privs).hash(state);
    }
}

/// A profile as it was read, and from which file.
type Kept = (Stamp, Arc<SeccompProfile>);
/// A file that was changed, or replaced by another, has another one.
type Stamp = (u64, u64, i64, i64, u64);

impl SeccompProfiles {
    pub(crate) fn open(options: &NodeOptions) -> Result<Self, Error> {
        let dir = options.seccomp_dir.clone();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(Error::io("create", &dir))?;
        let ceiling = &options.spawner.ceiling;
        let may_widen = ceiling.wider_seccomp || ceiling.unconfined;
        Ok(Self::of(dir, may_widen))
    }

    /// As [`SeccompProfiles::open`], without making anything.
    pub(crate) fn of(dir: PathBuf, may_widen: bool) -> Self {
        Self { dir, may_widen, kernel: kernel(), kept: Mutex::default() }
    }

    /// The profile of this name for this container; otherwise why it cannot be used, and what to do.
    pub(crate) fn read(&self, name: &str, asker: &Asker) -> Result<Arc<SeccompProfile>, String> {
        let file = self.find(name)?;
        let data = file.metadata().map_err(|e| e.to_string())?;
        let stamp = (data.dev(), data.ino(), data.ctime(), data.ctime_nsec(), data.size());
        let key = (name.to_owned(), *asker);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, profile)) = kept.get(&key)
            && *known == stamp
        {
            return Ok(profile.clone());
        }
        let mut text = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut text).map_err(|e| format!("it cannot be read: {e}"))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(format!("it is larger than {BYTES_MAX} bytes"));
        }
        let profile = Arc::new(self.judge(&text, asker)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, (stamp, profile.clone()));
        Ok(profile)
    }

    /// A regular file of root's, below the directory, with no link on the way.
    fn find(&self, name: &str) -> Result<File, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let dir = openat(CWD, &self.dir, flags | OFlags::DIRECTORY, Mode::empty());
        let dir = File::from(
            dir.map_err(|e| format!("the directory {} cannot be opened: {e}", self.dir.display()))?,
        );
        let at = format!("in {}", self.dir.display());
        if !is_roots(&dir).map_err(|e| e.to_string())? {
            return Err(format!("the directory {} is not root's alone to write", self.dir.display()));
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened: Result<OwnedFd, Errno> = openat2(&dir, name, flags, Mode::empty(), resolve);
        let file = File::from(opened.map_err(|error| match error {
            Errno::NOENT => format!("there is no such file {at}; put it there, as root"),
            Errno::LOOP => format!("a symbolic link stands on its way {at}; put the file itself there"),
            Errno::XDEV => format!("it leads out of the directory {}", self.dir.display()),
            other => format!("it cannot be opened {at}: {other}"),
        })?);
        let data = file.metadata().map_err(|e| e.to_string())?;
        if !data.is_file() {
            return Err(format!("it is no regular file {at}"));
        }
        if !is_roots(&file).map_err(|e| e.to_string())? {
            return Err(format!(
                "others than root may write to it {at}; make it root's, with mode 0644 or 0600"
            ));
        }
        Ok(file)
    }

    fn judge(&self, text: &[u8], asker: &Asker) -> Result<SeccompProfile, String> {
        let widens = asker.is_labelled && self.may_widen;
        let facts = ProfileFacts {
            base: if widens { SeccompBase::Floor } else { SeccompBase::Default },
            capabilities: asker.capabilities,
            kernel: self.kernel,
        };
        let profile = SeccompProfile::from_json(text, &facts).map_err(|e| e.to_string())?;
        let never = profile.never_allowed();
        if !never.is_empty() {
            return Err(format!(
                "it allows {}, which no profile may; take that out, or ask for seccompProfile type Unconfined, where root \
                 allows it",
                list(&never)
            ));
        }
        let beyond = profile.beyond_default();
        if !widens && !beyond.is_empty() {
            let way_out = if asker.is_labelled {
                "root has to start the server with --allow-wider-seccomp"
            } else {
                "the namespace has to carry the label pod-security.kubernetes.io/enforce, and root to start the server with \
                 --allow-wider-seccomp"
            };
            return Err(format!(
                "it allows {}, which the default filter refuses; take that out, or: {way_out}",
                list(&beyond)
            ));
        }
        if let (false, Known::Here(capset)) = (asker.no_new_privs, Arch::NATIVE.number("capset"))
            && !profile.permits(capset)
        {
            return Err("the container may gain privileges, so that its start needs capset once the profile is in force; \
                        set allowPrivilegeEscalation to false, or allow capset"
                .to_owned());
        }
        Ok(profile)
    }
}

fn list(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMES_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} calls more"),
    }
}

/// Owned by root, or by the user that this process is, and written to by no other.
fn is_roots(file: &File) -> io::Result<bool> {
    let data = file.metadata()?;
    let owners = [0, rustix::process::geteuid().as_raw()];
    Ok(owners.contains(&data.uid()) && data.mode() & 0o022 == 0)
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
