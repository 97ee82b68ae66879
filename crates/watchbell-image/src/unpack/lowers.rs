//! Parent directories that an archive leaves out.
//!
//! Builders such as Bazel write `lib/x` without an entry for `lib`. In the merged view that containerd unpacks into, the
//! lower layers' `lib` counts, its mode, its owner, even when it is a symbolic link. A layer that is unpacked by itself
//! copies it up, as the overlay would on a write; otherwise `/tmp` would lose its mode and `/lib -> usr/lib` would become
//! an empty directory.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::AtFlags;

use super::root::{Fill, Found, Root, is_opaque, look, os};

pub(super) struct Lowers<'a> {
    /// Bottom first.
    layers: &'a [Root],
    /// Whether something had to be taken from them, or would have been had it been there.
    pub(super) consulted: bool,
}

impl<'a> Lowers<'a> {
    pub(super) fn new(layers: &'a [Root]) -> Self {
        Self { layers, consulted: false }
    }

    /// What the layers below have at `path`, or a plain directory.
    pub(super) fn parent(&mut self, path: &[Vec<u8>]) -> io::Result<Fill> {
        self.consulted = true;
        for layer in self.layers.iter().rev() {
            match find(layer, path)? {
                Lookup::Found(fill) => return Ok(fill),
                Lookup::Hidden => break,
                Lookup::NotHere => {}
            }
        }
        Ok(Fill::PLAIN)
    }
}

enum Lookup {
    Found(Fill),
    /// This layer has nothing there, and hides what is below.
    Hidden,
    NotHere,
}

fn find(layer: &Root, path: &[Vec<u8>]) -> io::Result<Lookup> {
    let (name, parents) = path.split_last().expect("the root of a layer is never absent");
    let mut dir = layer.open_dir(&[])?;
    let mut opaque = false;
    for parent in parents {
        dir = match look(dir.as_fd(), parent)? {
            None if opaque => return Ok(Lookup::Hidden),
            None => return Ok(Lookup::NotHere),
            Some(Found::Directory(dir)) => dir,
            Some(_) => return Ok(Lookup::Hidden),
        };
        opaque |= is_opaque(&dir)?;
    }
    let Some(found) = look(dir.as_fd(), name)? else {
        return Ok(if opaque { Lookup::Hidden } else { Lookup::NotHere });
    };
    let stat = rustix::fs::statat(&dir, os(name), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match found {
        Found::Directory(_) => {
            Lookup::Found(Fill::Directory { mode: stat.st_mode & 0o3777, uid: stat.st_uid, gid: stat.st_gid })
        }
        Found::Symlink(target) => Lookup::Found(Fill::Symlink { target, uid: stat.st_uid, gid: stat.st_gid }),
        Found::Whiteout | Found::Other => Lookup::Hidden,
    })
}
