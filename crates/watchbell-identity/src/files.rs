//! Files that only this user may read, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

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

/// Puts the content in the file's place, mode 0600. A reader sees the old or the new one, also after a crash.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    // What an interrupted run left, or anything else of that name: the file below is made anew, never followed.
    remove(new)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)
        .map_err(failed("create", new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", new))?;
    fs::rename(new, path).map_err(failed("replace", path))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed("sync", parent))
}
