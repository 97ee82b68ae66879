//! Whole contents take the place of damaged ones: where an import reads again what an object should be.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::cipher::Role;
use crate::digest::Digest;
use crate::error::Error;
use crate::object::{self, Located, Objects};
use crate::pack;
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

/// With the lock held: what is staged as a file takes the place of what is damaged under its name; how many. Views that were made of
/// a damaged object keep it.
pub(crate) fn mend(array: &Array, staging: &Path) -> Result<Vec<Digest>, Error> {
    let objects = Objects { array, staging: None };
    let mut mended = Vec::new();
    for name in names(staging)? {
        let Ok(digest) = name.parse::<Digest>() else { continue };
        let staged = staging.join(&name);
        if is_whole(array, digest)? {
            continue;
        }
        // Nothing is in the way of one that is missing: it is placed as any other.
        let Some(at) = objects.locate(digest)? else { continue };
        let path = array.object_path(digest);
        array.disk.rename(&staged, &path)?;
        array.disk.sync_dir(path.parent().unwrap_or(&path))?;
        if let Located::Packed(_) = at {
            // Only now: the content is found in a pack before a file of its own.
            leave_out(array, digest)?;
        }
        mended.push(digest);
    }
    Ok(mended)
}

/// Writes every pack anew in which an object is damaged, without it: so the pack has another name, and nobody goes on reading the old
/// one.
fn leave_out(array: &Array, digest: Digest) -> Result<(), Error> {
    let dir = array.packs_dir()?;
    for (number, name) in pack::found(&dir)?.into_iter().enumerate() {
        let path = dir.join(name);
        // One whose index is damaged is found to hold nothing.
        let Ok(entries) = pack::read(&path).map_err(Error::io("read", &path))? else { continue };
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let bytes_of = |offset: u64, length: u32| {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, offset).map_err(Error::io("read", &path))?;
            Ok::<_, Error>(bytes)
        };
        let Some((_, offset, length)) = entries.iter().find(|(of, ..)| *of == digest) else { continue };
        let content = array.opened(bytes_of(*offset, *length)?, Role::Object)?;
        if content.is_some_and(|bytes| array.digest(&bytes).is_ok_and(|found| found == digest)) {
            continue;
        }
        let writer = pack::Writer::create(&array.disk, &dir, number as u64)?;
        for (of, offset, length) in entries.iter().filter(|(of, ..)| *of != digest) {
            // What else is damaged stays so, for `verify` to tell.
            writer.add(*of, &bytes_of(*offset, *length)?)?;
        }
        if writer.finish(&array.disk)?.as_ref() != Some(&path) {
            array.disk.remove(&path)?;
        }
    }
    array.disk.sync_dir(&dir)?;
    Objects { array, staging: None }.refresh()
}
