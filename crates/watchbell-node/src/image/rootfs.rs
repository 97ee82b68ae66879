//! Reads a file of an image without mounting it: the layers are looked through as the overlay would show them, and no name
//! leads out of them. Everything in them is hostile.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

const BYTES_MAX: u64 = 1 << 20;
const LINKS_MAX: usize = 40;
const DEPTH_MAX: usize = 64;

/// The text at `path` (relative), bytes that are no UTF-8 replaced; empty when it is not there or no regular file, as for
/// an image that has no such file. `layers` are bottom first.
pub(super) fn read_text(layers: &[PathBuf], path: &str) -> io::Result<String> {
    let roots = layers.iter().map(|layer| {
        rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    });
    let roots = roots.collect::<Result<Vec<OwnedFd>, Errno>>()?;
    let mut rest: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    let mut here: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == b".." {
            here.pop();
            continue;
        }
        here.push(name);
        if here.len() > DEPTH_MAX {
            return Ok(String::new());
        }
        let Some(found) = look(&roots, &here)? else { return Ok(String::new()) };
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory => {}
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(String::new());
                }
                let target = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
                here.pop();
                if target.first() == Some(&b'/') {
                    here.clear();
                }
                for name in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(name);
                }
            }
            FileType::RegularFile if rest.is_empty() => return read(&roots, &here),
            _ => return Ok(String::new()),
        }
    }
    Ok(String::new())
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec)
}

/// What the topmost layer that says something of this path has there; none of its parents is a link.
fn look(roots: &[OwnedFd], path: &[Vec<u8>]) -> io::Result<Option<OwnedFd>> {
    for root in roots.iter().rev() {
        for depth in 1..=path.len() {
            let is_last = depth == path.len();
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match open(root, &path[..depth], flags) {
                Ok(found) => {
                    let stat = rustix::fs::fstat(&found)?;
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    if kind == FileType::CharacterDevice {
                        // A whiteout hides everything below it.
                        return Ok(None);
                    }
                    if is_last {
                        return Ok(Some(found));
                    }
                    if kind != FileType::Directory {
                        return Ok(None);
                    }
                }
                Err(Errno::NOENT) if is_opaque_within(root, &path[..depth - 1])? => return Ok(None),
                Err(Errno::NOENT) => break,
                Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(None)
}

/// Whether one of these directories of a layer hides the same one of the layers below.
fn is_opaque_within(root: &OwnedFd, path: &[Vec<u8>]) -> io::Result<bool> {
    for depth in 1..=path.len() {
        let dir = open(root, &path[..depth], OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        let mut value = [0u8; 4];
        match rustix::fs::fgetxattr(&dir, c"trusted.overlay.opaque", &mut value) {
            Ok(n) if value[..n] == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(false)
}

fn open(root: &impl AsFd, path: &[Vec<u8>], flags: OFlags) -> Result<OwnedFd, Errno> {
    let joined = path.join(&b'/');
    openat2(
        root,
        joined,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

fn read(roots: &[OwnedFd], path: &[Vec<u8>]) -> io::Result<String> {
    for root in roots.iter().rev() {
        // The topmost layer that has it is the one that was looked at.
        match open(root, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC) {
            Ok(file) => {
                if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
                    return Ok(String::new());
                }
                let mut bytes = Vec::new();
                File::from(file).take(BYTES_MAX).read_to_end(&mut bytes)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests;
