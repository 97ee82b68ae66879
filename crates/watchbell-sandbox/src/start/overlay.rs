//! Overlays of layers that are known by descriptors.
//!
//! Linux 6.8 and newer take the layers one by one. Older ones take a list of paths, which may be long for mount(2) alone: there each
//! path is a descriptor's number, looked up in /proc/self/fd.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount,
};
use rustix::process::fchdir;

use super::ids::{act_as_both, fd_path};
use super::kernel;
use super::stash::Stash;

/// What a layer says of redirection or metadata-only copies is a forgery: none of ours has any. `nofollow` is `off` also where the
/// kernel was built to follow.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];

/// Inodes of an upper's file system that are not for what is written: of the directories that an overlay and its holder make.
pub(super) const OWN_INODES: u64 = 8;

/// How this kernel takes layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handing {
    OneByOne,
    InOneList,
}

/// What is to be mounted. Each descriptor is of an attached mount; the overlay then holds mounts of its own.
pub(super) struct Overlay<'a> {
    /// Uppermost first.
    pub(super) lowers: Vec<BorrowedFd<'a>>,
    pub(super) writable: Option<Writable<'a>>,
}

/// Where it is written.
#[derive(Clone, Copy)]
pub(super) struct Writable<'a> {
    pub(super) upper: BorrowedFd<'a>,
    pub(super) work: BorrowedFd<'a>,
    pub(super) sync: Sync,
    /// The user and group of the host as whom overlayfs makes files of its own.
    pub(super) maker: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Usual,
    /// Whoever takes what was written syncs his copy.
    Never,
}

impl Overlay<'_> {
    /// A detached mount of it.
    pub(super) fn mount(&self, stash: &mut Stash, attributes: u64) -> io::Result<OwnedFd> {
        let mount = match stash.handing {
            Some(Handing::OneByOne) => self.one_by_one()?,
            Some(Handing::InOneList) => self.in_one_list(stash)?,
            // An older kernel says the same of `lowerdir+` as of anything else that is wrong.
            None => match self.one_by_one() {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    let mount = self.in_one_list(stash)?;
                    stash.handing = Some(Handing::InOneList);
                    mount
                }
                found => {
                    let mount = found?;
                    stash.handing = Some(Handing::OneByOne);
                    mount
                }
            },
        };
        kernel::mount_setattr(&mount, attributes, None)?;
        Ok(mount)
    }

    fn one_by_one(&self) -> io::Result<OwnedFd> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in &self.lowers {
            fsconfig_set_string(&fs, "lowerdir+", fd_path(lower))?;
        }
        for (key, value) in OPTIONS {
            fsconfig_set_string(&fs, key, value)?;
        }
        if let Some(writable) = &self.writable {
            fsconfig_set_string(&fs, "upperdir", fd_path(writable.upper))?;
            fsconfig_set_string(&fs, "workdir", fd_path(writable.work))?;
            if writable.sync == Sync::Never {
                fsconfig_set_flag(&fs, "volatile")?;
            }
        }
        self.as_maker(|| fsconfig_create(&fs))?;
        Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
    }

    fn in_one_list(&self, stash: &mut Stash) -> io::Result<OwnedFd> {
        let data = CString::new(self.list())?;
        let kept = stash.keep_by(|at| {
            in_descriptors(|| {
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                self.as_maker(|| mount("overlay", at, "overlay", flags, Some(data.as_c_str())))
            })
        })?;
        kept.clone_tree()
    }

    /// The options in mount(2)'s one string, with numbers of descriptors for paths.
    fn list(&self) -> String {
        let lowers: Vec<String> = self.lowers.iter().map(|lower| lower.as_raw_fd().to_string()).collect();
        let mut list = format!("lowerdir={}", lowers.join(":"));
        let mut add = |key: &str, value: &str| {
            // A `String` takes it.
            let _ = write!(list, ",{key}={value}");
        };
        OPTIONS.iter().for_each(|(key, value)| add(key, value));
        if let Some(writable) = &self.writable {
            add("upperdir", &writable.upper.as_raw_fd().to_string());
            add("workdir", &writable.work.as_raw_fd().to_string());
            if writable.sync == Sync::Never {
                list.push_str(",volatile");
            }
        }
        list
    }

    fn as_maker(&self, work: impl FnOnce() -> Result<(), Errno>) -> io::Result<()> {
        let maker = self.writable.as_ref().map_or(0, |writable| writable.maker);
        if maker == 0 {
            return Ok(work()?);
        }
        let done = act_as_both(maker).and_then(|()| Ok(work()?));
        act_as_both(0)?;
        done
    }
}

/// Does something where the names of files are this process's descriptors, and comes back.
fn in_descriptors(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let open =
        |path: &Path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let (back, descriptors) = (open(Path::new("."))?, open(Path::new("/proc/self/fd"))?);
    fchdir(&descriptors)?;
    let done = work();
    fchdir(&back)?;
    done
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn check(lowers: &[BorrowedFd<'_>], writable: Option<Writable<'_>>, expect: &str) {
        assert_eq!(Overlay { lowers: lowers.to_vec(), writable }.list(), expect);
    }

    #[test]
    fn a_list_names_descriptors() {
        let files: Vec<OwnedFd> = (0..3).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let [a, b, c] = [0, 1, 2].map(|n: usize| files[n].as_fd());
        let number = |fd: BorrowedFd<'_>| fd.as_raw_fd();
        let options = "redirect_dir=nofollow,metacopy=off,index=off,xino=off";
        check(&[a], None, &format!("lowerdir={},{options}", number(a)));
        check(&[b, a], None, &format!("lowerdir={}:{},{options}", number(b), number(a)));
        let writable = Writable { upper: b, work: c, sync: Sync::Usual, maker: 0 };
        let above = format!("lowerdir={},{options},upperdir={},workdir={}", number(a), number(b), number(c));
        check(&[a], Some(writable), &above);
        check(&[a], Some(Writable { sync: Sync::Never, ..writable }), &format!("{above},volatile"));
    }
}
