//! Files that only this user may read, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::IdentityError;

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> IdentityError {
    move |source| IdentityError::File { step, path: path.to_path_buf(), source }
}

/// Makes the directory, or takes others' access to it away.
pub(crate) fn private_dir(path: &Path) -> Result<(), IdentityError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect", path))
}

/// Reads a file; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path)(e)),
    }
}

/// Whether nobody else may read or write the file.
pub(crate) fn is_private(path: &Path) -> Result<bool, IdentityError> {
    let mode = fs::metadata(path).map_err(failed("read the mode of", path))?.permissions().mode();
    Ok(mode & 0o077 == 0)
}

/// Removes a file; one that is not there is removed.
pub(crate) fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Beside a path, under the name with `suffix` behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// An empty file in the place of what an interrupted run left there, or anything else of that name, which is never followed.
fn make(path: &Path) -> Result<File, IdentityError> {
    remove(path)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(failed("create", path))
}

/// Puts the content in the file's place, mode 0600. A reader sees the old or the new one, also after a crash.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let new = beside(path, ".new");
    let mut file = make(&new)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
    put(&new, path)
}

fn put(new: &Path, path: &Path) -> Result<(), IdentityError> {
    fs::rename(new, path).map_err(failed("replace", path))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed("sync", parent))
}

/// Disk space held beside a file, so that it can be replaced on a full disk.
const ROOM_BYTES: usize = 16 << 10;
const ROOM: &str = ".room";

/// A quota of the file system is as full as a disk.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Holds the space, as far as there is any.
pub(crate) fn hold_room(path: &Path) {
    let room = beside(path, ROOM);
    if fs::symlink_metadata(&room).is_ok_and(|meta| meta.is_file() && meta.len() >= ROOM_BYTES as u64) {
        return;
    }
    let held = make(&room).and_then(|mut file| {
        let filled = file.write_all(&[0; ROOM_BYTES]).and_then(|()| file.sync_all());
        filled.map_err(failed("write", &room))
    });
    if let Err(error) = held {
        tracing::warn!("no space is held for the next {}: {error}", path.display());
        // What is too small holds nothing.
        let _ = remove(&room);
    }
}

/// Replaces the file as [`replace`] does; on a full disk in the space that is held.
pub(crate) fn replace_in_room(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let result = match replace(path, content) {
        Err(IdentityError::File { source, .. }) if is_full(&source) => {
            remove(&beside(path, ".new"))?;
            let room = beside(path, ROOM);
            // Its blocks are written over: none is asked for.
            let mut file =
                OpenOptions::new().write(true).open(&room).map_err(|_| failed("replace", path)(source))?;
            file.write_all(content)
                .and_then(|()| file.set_len(content.len() as u64))
                .and_then(|()| file.sync_all())
                .map_err(failed("write", &room))?;
            put(&room, path)
        }
        other => other,
    };
    hold_room(path);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_as_full_as_a_disk() {
        for (kind, expect) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
        ] {
            assert_eq!(is_full(&kind.into()), expect, "{kind}");
        }
    }
}
