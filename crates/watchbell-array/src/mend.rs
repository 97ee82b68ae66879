//! Whole contents take the place of damaged ones: where an import reads again what an object should be.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use crate::digest::Digest;
use crate::error::Error;
use crate::object::{self, Located, Objects};
use crate::pack;
use crate::parallel::in_parallel;
use crate::store::{Array, names};

/// Whether an object that is in place is what its name says. One that is not there, or cannot be read, is not.
pub(crate) fn is_whole(array: &Array, digest: Digest) -> Result<bool, Error> {
    // Without a staging directory: what lies there is no object yet.
    let objects = Objects { array, staging: None };
    match objects.open(digest).and_then(|(mut content, _)| object::hash(array, &mut content, Path::new("it")))
    {
        Ok((found, _)) => Ok(found == digest),
        Err(Error::Damaged { .. } | Error::Io { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is staged as a file and damaged in place. All of it is hashed, so this is asked before the lock is held.
pub(crate) fn damaged(array: &Array, staging: &Path) -> Result<Vec<Digest>, Error> {
    let objects = Objects { array, staging: None };
    objects.refresh()?;
    let staged: Vec<Digest> = names(staging)?.iter().filter_map(|name| name.parse().ok()).collect();
    let is_damaged = |at: usize| Ok(objects.locate(staged[at])?.is_some() && !is_whole(array, staged[at])?);
    let is_damaged = in_parallel(staged.len(), is_damaged)?;
    Ok(staged
        .into_iter()
        .zip(is_damaged)
        .filter_map(|(digest, is_damaged)| is_damaged.then_some(digest))
        .collect())
}

/// With the lock held: what is staged takes the place of what was found damaged under its name; what was replaced. Where another import
/// did it meanwhile, a whole content replaces an equal one. Views that were made of a damaged object keep it.
pub(crate) fn mend(array: &Array, staging: &Path, damaged: &[Digest]) -> Result<Vec<Digest>, Error> {
    let objects = Objects { array, staging: None };
    let (mut mended, mut packed) = (Vec::new(), BTreeSet::new());
    for digest in damaged {
        // Nothing is in the way of one that is missing: it is placed as any other.
        let Some(at) = objects.locate(*digest)? else { continue };
        let path = array.object_path(*digest);
        array.disk.rename(&staging.join(digest.to_string()), &path)?;
        array.disk.sync_dir(path.parent().unwrap_or(&path))?;
        if let Located::Packed(_) = at {
            packed.insert(*digest);
        }
        mended.push(*digest);
    }
    if !packed.is_empty() {
        // Only now: the content is found in a pack before a file of its own.
        leave_out(array, &packed, &pack::bytes_at)?;
    }
    Ok(mended)
}

/// [`pack::bytes_at`], or a test's disk.
type ReadAt = dyn Fn(&File, u64, u32) -> io::Result<Vec<u8>>;

/// Writes every pack anew in which one of these is damaged, without it: so the pack has another name, and nobody goes on reading the old
/// one. That is set aside when something else of it cannot be read: for a disk that may be read again.
fn leave_out(array: &Array, mended: &BTreeSet<Digest>, read: &ReadAt) -> Result<(), Error> {
    let dir = array.packs_dir()?;
    // What a crash, or a full disk, left of this.
    pack::remove_unfinished(&array.disk, &array.objects_dir())?;
    let index = array.packs(&array.objects_dir())?;
    let names: Vec<String> = index.read().unwrap_or_else(PoisonError::into_inner).names().cloned().collect();
    for (number, name) in names.iter().enumerate() {
        let path = dir.join(name);
        // One whose index is damaged by now is found to hold nothing.
        let Ok(entries) = pack::read(&path).map_err(Error::io("read", &path))? else { continue };
        if !entries.iter().any(|(digest, ..)| mended.contains(digest)) {
            continue;
        }
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let mut out = BTreeSet::new();
        for (digest, offset, length) in entries.iter().filter(|(digest, ..)| mended.contains(digest)) {
            // A sector that cannot be read is what a bad disk has.
            let bytes = read(&file, *offset, *length).ok();
            if !bytes.map_or(Ok(false), |bytes| array.is_object(*digest, bytes))? {
                out.insert(*digest);
            }
        }
        if out.is_empty() {
            continue;
        }
        let (_, is_all_read) = pack::Writer::write(&array.disk, &dir, number as u64, |writer| {
            let mut is_all_read = true;
            for (digest, offset, length) in entries.iter().filter(|(digest, ..)| !out.contains(digest)) {
                match read(&file, *offset, *length) {
                    // What else is damaged stays so, for `verify` to tell.
                    Ok(bytes) => writer.add(*digest, &bytes)?,
                    Err(_) => is_all_read = false,
                }
            }
            Ok(is_all_read)
        })?;
        if is_all_read {
            array.disk.remove(&path)?;
        } else {
            array.disk.rename(&path, &pack::aside_name(&path))?;
        }
    }
    array.disk.sync_dir(&dir)?;
    Objects { array, staging: None }.refresh()
}

#[cfg(test)]
mod tests;
