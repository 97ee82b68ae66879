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
    /// Directories of the log whose own names are known to be durable. One that is only seen is not: whoever made it may have
    /// been killed, or have failed, before it was synced.
    settled: BTreeSet<PathBuf>,
}

impl Place {
    /// Makes the directories that are missing, and clears what a crash left of drafts.
    pub(crate) fn open(dir: &Path) -> Result<Place, Error> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let place =
            Place { dir: dir.to_path_buf(), drafts: dir.with_file_name(name), settled: BTreeSet::new() };
        let mut changed = BTreeSet::new();
        make_dir(dir, &mut changed)?;
        changed.extend(dir.parent().filter(|above| !above.as_os_str().is_empty()).map(Path::to_path_buf));
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
    pub(crate) fn put_new(&mut self, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let (mut drafts, mut seen) = (Vec::new(), Vec::new());
        for (number, (name, bytes)) in files.iter().enumerate() {
            let path = self.dir.join(name);
            match std::fs::read(&path) {
                // Its bytes were synced before it had its name; the name may not be durable yet.
                Ok(there) if there == *bytes => seen.push(path),
                Ok(_) => return Err(Error::damaged(&path, "it is not what the journal says")),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    drafts.push((self.draft(&number.to_string(), bytes)?, path));
                }
                Err(e) => return Err(Error::io("read", &path)(e)),
            }
        }
        self.name_drafts(&drafts, &seen)
    }

    /// Puts a file in the place of what is there.
    pub(crate) fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let draft = self.draft(name, bytes)?;
        self.name_drafts(&[(draft, self.dir.join(name))], &[])
    }

    /// Removes a directory with what is in it, if it is there.
    pub(crate) fn remove_dir(&mut self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
            _ => {
                self.settled.remove(&path);
                Ok(())
            }
        }
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

    /// All are written before the first is synced: the disk then works on them together. With them the names of files that
    /// were there already are made durable.
    fn name_drafts(&mut self, drafts: &[((File, PathBuf), PathBuf)], seen: &[PathBuf]) -> Result<(), Error> {
        for ((file, draft), _) in drafts {
            file.sync_all().map_err(Error::io("sync", draft))?;
        }
        let mut changed = BTreeSet::new();
        for ((_, draft), path) in drafts {
            make_dir(path.parent().unwrap_or(&self.dir), &mut changed)?;
            std::fs::rename(draft, path).map_err(Error::io("rename to", path))?;
        }
        let mut settling = Vec::new();
        for path in drafts.iter().map(|(_, path)| path).chain(seen) {
            changed.insert(path.parent().unwrap_or(&self.dir).to_path_buf());
            for dir in self.unsettled(path) {
                changed.insert(dir.parent().unwrap_or(&self.dir).to_path_buf());
                settling.push(dir.to_path_buf());
            }
        }
        sync_dirs(&changed)?;
        self.settled.extend(settling);
        Ok(())
    }

    /// The directories that lead to `path` and whose own names may not be durable.
    fn unsettled<'a>(&self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        let leading = path.ancestors().skip(1).take_while(|dir| *dir != self.dir);
        leading.take_while(|dir| !self.settled.contains(*dir))
    }
}

/// Replaces a file of a log beside its server: made in a directory of its own name, so that the two do not meet.
pub(crate) fn replace_beside(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut drafts = dir.file_name().unwrap_or_default().to_owned();
    drafts.push(format!(".{name}.partial"));
    let mut place =
        Place { dir: dir.to_path_buf(), drafts: dir.with_file_name(drafts), settled: BTreeSet::new() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_file_is_made_durable_whoever_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("audit");
        // What one leaves who was killed before it synced anything.
        std::fs::create_dir_all(dir.join("tile/0/x001")).unwrap();
        std::fs::write(dir.join("tile/0/x001/000"), b"tile").unwrap();
        let mut place = Place::open(&dir).unwrap();
        let path = dir.join("tile/0/x001/000");
        let unsettled = |place: &Place| -> Vec<PathBuf> {
            place.unsettled(&path).map(|dir| dir.strip_prefix(place.dir()).unwrap().to_path_buf()).collect()
        };
        assert_eq!(unsettled(&place), ["tile/0/x001", "tile/0", "tile"].map(PathBuf::from));
        place.put_new(&[("tile/0/x001/000".into(), b"tile".to_vec())]).unwrap();
        assert!(unsettled(&place).is_empty());
        // Another tile of the directory needs no more; one of a new directory that one alone.
        place.put_new(&[("tile/0/x001/001.p/3".into(), b"hashes".to_vec())]).unwrap();
        assert!(place.settled.contains(&dir.join("tile/0/x001/001.p")));
        place.remove_dir("tile/0/x001/001.p").unwrap();
        assert!(!place.settled.contains(&dir.join("tile/0/x001/001.p")));
        assert!(place.put_new(&[("tile/0/x001/000".into(), b"else".to_vec())]).is_err());
    }
}
