//! A manifest as a plain directory: hard links to objects, which every index gets as the lower of its overlay.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use watchbell_zarr::Hierarchy;

use crate::digest::Digest;
use crate::disk::Disk;
use crate::draft::boot_id;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::object::{self, Located, Objects};
use crate::parallel::in_parallel;
use crate::store::Array;

/// A directory's mode in a view: whoever the container is may make files in the upper above it. Nobody else comes this far: the
/// array's own directory is root's alone.
pub(crate) const DIRECTORY_MODE: u32 = 0o777;

impl Array {
    /// The directory of a manifest's content, made if it is not there. It stays while a lease holds its snapshot: who asks has
    /// taken one.
    pub fn view(&self, digest: Digest, manifest: &Manifest) -> Result<PathBuf, Error> {
        let path = self.dir.join("views").join(digest.to_string());
        // A sweep removes what nobody holds, and what is not finished.
        let _kept = self.lock_shared()?;
        if !path.exists() {
            let objects = Objects { array: self, staging: None };
            build(&self.disk, objects, manifest.entries.iter(), &BTreeSet::new(), &path)?;
        }
        Ok(path)
    }

    /// A directory of a manifest's documents and of those chunks that `sees` says, at a path of the caller's on the same file
    /// system, who removes it.
    pub fn view_at(
        &self,
        manifest: &Manifest,
        sees: impl Fn(&str) -> bool,
        path: &Path,
    ) -> Result<(), Error> {
        let entries =
            manifest.entries.iter().filter(|entry| Hierarchy::is_document(&entry.key) || sees(&entry.key));
        build(&self.disk, Objects { array: self, staging: None }, entries, &BTreeSet::new(), path)
    }
}

/// Links entries into a directory, which has its name when it is whole. No sync: after a crash of the machine a view is made
/// anew, because [`crate::sweep()`] begins by removing views, and nothing in one is ever read back into the store.
pub(crate) fn build<'a>(
    disk: &Disk,
    objects: Objects<'_>,
    entries: impl Iterator<Item = &'a Entry>,
    parents: &BTreeSet<String>,
    path: &Path,
) -> Result<(), Error> {
    if objects.array.is_encrypted() {
        return Err(Error::Encrypted);
    }
    // A sweep removes what was unpacked and nothing links to.
    let _kept = objects.array.lock_shared()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".next-{:016x}", random()));
    let next = path.with_file_name(name);
    disk.make_dir_with(&next, DIRECTORY_MODE)?;
    let mut made: HashSet<PathBuf> = HashSet::new();
    make_dirs(disk, &next, parents.iter().map(String::as_str))?;
    let entries: Vec<&Entry> = entries.collect();
    for entry in &entries {
        make_parents(disk, &next, &entry.key, &mut made)?;
    }
    let unpacked = objects.array.dir.join(UNPACKED).join(boot_id());
    if !unpacked.exists() {
        disk.make_dir(unpacked.parent().unwrap_or(&unpacked))?;
        disk.make_dir(&unpacked)?;
    }
    in_parallel(entries.len(), |at| link(disk, objects, entries[at].digest, &next.join(&entries[at].key)))?;
    match disk.rename(&next, path) {
        // Somebody else was faster; what he made is the same.
        Err(_) if path.exists() => disk.remove_dir(&next),
        renamed => renamed,
    }
}

/// Directories, each with those above it, as views have them.
fn make_dirs<'a>(disk: &Disk, root: &Path, dirs: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut made = HashSet::new();
    for dir in dirs {
        make_parents(disk, root, &format!("{dir}/"), &mut made)?;
    }
    Ok(())
}

fn make_parents(disk: &Disk, root: &Path, key: &str, made: &mut HashSet<PathBuf>) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut rest = key;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        let path = root.join(parent);
        if made.contains(&path) {
            break;
        }
        missing.push(path);
        rest = parent;
    }
    for path in missing.into_iter().rev() {
        disk.make_dir_with(&path, DIRECTORY_MODE)?;
        made.insert(path);
    }
    Ok(())
}

/// Links an object. A file system bounds the links of an inode (ext4: 65,000), and equal chunks are one object: at the bound a
/// copy takes its place, and then that one's.
fn link(disk: &Disk, objects: Objects<'_>, digest: Digest, to: &Path) -> Result<(), Error> {
    let path = match objects.get(digest)? {
        Located::File(path) => path,
        Located::Packed(_) => match unpack(disk, objects, digest, to)? {
            None => return Ok(()),
            Some(path) => path,
        },
    };
    let mut copy = 0;
    loop {
        let from = if copy == 0 { path.clone() } else { with_number(&path, copy) };
        if copy > 0 && !from.exists() {
            copy_whole(disk, objects, &path, &from, digest)?;
        }
        match disk.link(&from, to) {
            Ok(()) => return Ok(()),
            Err(Errno::MLINK) => copy += 1,
            Err(error) => return Err(Error::errno("link an object to", to)(error)),
        }
    }
}

/// An object of a pack as a file that can be linked to: made in the view that asks first, and kept by another name for all views of
/// this boot of the machine. No sync waits for it: the pack has the content, and after another boot a file may be half of it.
/// Nothing when `to` has it with this.
fn unpack(disk: &Disk, objects: Objects<'_>, digest: Digest, to: &Path) -> Result<Option<PathBuf>, Error> {
    // One directory: a file system lays files of many directories far apart.
    let path = objects.array.dir.join(UNPACKED).join(boot_id()).join(digest.to_string());
    if path.exists() {
        return Ok(Some(path));
    }
    let bytes = objects.read(digest, u64::from(u32::MAX))?;
    disk.create(to, object::MODE)?.write_all(&bytes).map_err(Error::io("write", to))?;
    match disk.link(to, &path) {
        // Somebody else was faster: this view has a file of its own.
        Ok(()) | Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(Error::errno("link an object to", &path)(error)),
    }
}

pub(crate) const UNPACKED: &str = "unpacked";

/// The name of an object's further copies.
pub(crate) fn with_number(path: &Path, copy: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{copy}"));
    path.with_file_name(name)
}

fn copy_whole(
    disk: &Disk,
    objects: Objects<'_>,
    from: &Path,
    to: &Path,
    digest: Digest,
) -> Result<(), Error> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".next-{:016x}", random()));
    let next = to.with_file_name(name);
    let mut source = std::fs::File::open(from).map_err(Error::io("open", from))?;
    let mut file = disk.create(&next, 0o444)?;
    std::io::copy(&mut source, &mut file).map_err(Error::io("copy to", &next))?;
    let mut copied = std::fs::File::open(&next).map_err(Error::io("open", &next))?;
    if object::hash(objects.array, &mut copied, &next)?.0 != digest {
        disk.remove(&next)?;
        return Err(Error::Damaged {
            what: "object",
            digest,
            problem: "its content has another digest".to_owned(),
        });
    }
    disk.sync_file(&file, &next)?;
    disk.rename(&next, to)
}

/// For a name that nobody else takes; a kernel without random numbers gets the one name, and `create` refuses a second of it.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
