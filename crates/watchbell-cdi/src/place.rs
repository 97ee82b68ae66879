//! Opens files that only root can have put where they are.
//!
//! What a spec names becomes part of a container or is run as root: whoever may write to the file, or rename something on
//! the way to it, decides about that. So every directory, every symbolic link and the end itself must be root's alone.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

/// Symbolic links on the way to one file.
const LINKS_MAX: usize = 40;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;

/// Who may have a say in what a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    /// Root alone: what is found is believed or run.
    Root,
    /// A service may own the directory of its socket. From there on no link is followed, so that it gives nothing but what
    /// lies there already.
    Services,
}

/// Opens `path` as a place (`O_PATH`), with what it is. Symbolic links are followed where nobody but root could have put
/// them.
pub fn open_root_owned(path: &Path) -> io::Result<(OwnedFd, Stat)> {
    walk(path, Say::Root)
}

/// The same for what is handed on with its own rights: a device, which root alone can have made, or what is mounted
/// read-only.
pub fn open_source(path: &Path) -> io::Result<(OwnedFd, Stat)> {
    walk(path, Say::Services)
}

fn walk(path: &Path, say: Say) -> io::Result<(OwnedFd, Stat)> {
    if !path.is_absolute() {
        return Err(io::Error::other(format!("{} is not an absolute path", path.display())));
    }
    let mut todo = names(path)?;
    let mut way = PathBuf::from("/");
    // Each place on the way, and whether it is root's alone.
    let mut stack = vec![(open_root()?, true)];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
                way.pop();
            }
            continue;
        }
        let Some((dir, is_in_roots)) = stack.last() else { break };
        let here = way.join(&name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(dir, &name, flags, Mode::empty()).map_err(|e| named(&here, &e.into()))?;
        let stat = fstat(&opened)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let judged = roots_alone(&here, &stat, kind);
        let is_roots = *is_in_roots && judged.is_ok();
        if say == Say::Root || (kind == FileType::Symlink && !is_roots) {
            judged?;
            if !is_roots {
                let cause =
                    io::Error::other("it is a link in a directory that others than root may write to");
                return Err(named(&here, &cause));
            }
        }
        if kind == FileType::Symlink {
            links += 1;
            if links > LINKS_MAX {
                return Err(named(&here, &io::Error::other("more than 40 symbolic links lead there")));
            }
            // Of the very link that was looked at.
            let target = readlinkat(&opened, "", Vec::new())?;
            let target = PathBuf::from(os(target.as_bytes()));
            if target.is_absolute() {
                stack.truncate(1);
                way = PathBuf::from("/");
            }
            todo.extend(names(&target)?);
            continue;
        }
        stack.push((opened, is_roots));
        way = here;
    }
    let (last, _) = stack.pop().ok_or(io::ErrorKind::NotFound)?;
    let stat = fstat(&last)?;
    Ok((last, stat))
}

fn roots_alone(path: &Path, stat: &Stat, kind: FileType) -> io::Result<()> {
    if stat.st_uid != 0 {
        let message = format!("it belongs to user {}, not root", stat.st_uid);
        return Err(named(path, &io::Error::other(message)));
    }
    match kind {
        // In a directory such as /tmp nobody renames what is root's.
        FileType::Directory => refuse_writable(path, stat, STICKY),
        _ => Ok(()),
    }
}

/// Refuses what somebody besides root may write to, unless all of `unless` is set.
pub(crate) fn refuse_writable(path: &Path, stat: &Stat, unless: u32) -> io::Result<()> {
    let is_excused = unless != 0 && stat.st_mode & unless == unless;
    if stat.st_mode & OTHERS_WRITE != 0 && !is_excused {
        let message = format!("others than root may write to it (mode {:04o})", stat.st_mode & 0o7777);
        return Err(named(path, &io::Error::other(message)));
    }
    Ok(())
}

fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/", flags, Mode::empty())?)
}

/// The last first. A path that ends with a slash names a directory, which the kernel would see; here it is left out.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    if path.as_os_str().len() > 4096 {
        return Err(io::Error::other("a path is longer than 4096 bytes"));
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => names.push("..".into()),
            _ => {}
        }
    }
    names.reverse();
    Ok(names)
}

fn os(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec())
}

fn named(path: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
}

/// What stands at `path`, without opening it.
pub(crate) fn look(dir: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<Stat> {
    Ok(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}
