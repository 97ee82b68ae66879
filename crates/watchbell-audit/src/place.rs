//! Putting files into a log's directory, so that each is there whole or not at all, and durable before the checkpoint is.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// A log's directory, and the one beside it where its files are made: what lies in the log's own is always whole, after a
/// crash too.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    drafts: PathBuf,
}

impl Place {
    /// Makes the directories that are missing, and clears what a crash left of drafts.
    pub(crate) fn open(dir: &Path) -> Result<Place, Error> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let place = Place { dir: dir.to_path_buf(), drafts: dir.with_file_name(name) };
        let mut changed = BTreeSet::new();
        make_dir(dir, &mut changed)?;
        match std::fs::remove_dir_all(&place.drafts) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("clear", &place.drafts)(e));
            }
            _ => {}
        }
        make_dir(&place.drafts, &mut changed)?;
        sync_dirs(&changed)?;
        Ok(place)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts files that never change. One that is there already must be the same.
    pub(crate) fn put_new(&self, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let mut drafts = Vec::new();
        for (number, (name, bytes)) in files.iter().enumerate() {
            let path = self.dir.join(name);
            match std::fs::read(&path) {
                Ok(there) if there == *bytes => {}
                Ok(_) => return Err(Error::damaged(&path, "it is not what the journal says")),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    drafts.push((self.draft(&number.to_string(), bytes)?, path));
                }
                Err(e) => return Err(Error::io("read", &path)(e)),
            }
        }
        self.name_drafts(&drafts)
    }

    /// Puts a file in the place of what is there.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let draft = self.draft(name, bytes)?;
        self.name_drafts(&[(draft, self.dir.join(name))])
    }

    fn draft(&self, name: &str, bytes: &[u8]) -> Result<(File, PathBuf), Error> {
        let path = self.drafts.join(name);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = write().map_err(Error::io("write", &path))?;
        Ok((file, path))
    }

    /// All are written before the first is synced: the disk then works on them together.
    fn name_drafts(&self, drafts: &[((File, PathBuf), PathBuf)]) -> Result<(), Error> {
        for ((file, draft), _) in drafts {
            file.sync_all().map_err(Error::io("sync", draft))?;
        }
        let mut changed = BTreeSet::new();
        for ((_, draft), path) in drafts {
            let parent = path.parent().unwrap_or(&self.dir);
            make_dir(parent, &mut changed)?;
            std::fs::rename(draft, path).map_err(Error::io("rename to", path))?;
            changed.insert(parent.to_path_buf());
        }
        sync_dirs(&changed)
    }
}

/// Replaces a file of a log beside its server: made in a directory of its own name, so that the two do not meet.
pub(crate) fn replace_beside(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut drafts = dir.file_name().unwrap_or_default().to_owned();
    drafts.push(format!(".{name}.partial"));
    let place = Place { dir: dir.to_path_buf(), drafts: dir.with_file_name(drafts) };
    let mut changed = BTreeSet::new();
    make_dir(&place.drafts, &mut changed)?;
    place.replace(name, bytes)?;
    std::fs::remove_dir(&place.drafts).map_err(Error::io("remove", &place.drafts))
}

/// Makes a directory and those above it that are missing, for its owner alone.
fn make_dir(dir: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(parent, changed)?;
        changed.insert(parent.to_path_buf());
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("make", dir)(e)),
        _ => Ok(()),
    }
}

fn sync_dirs(dirs: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for dir in dirs {
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("sync the directory", dir))?;
    }
    Ok(())
}
