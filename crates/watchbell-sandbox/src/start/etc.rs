//! `/etc/hosts`, `hostname` and `resolv.conf` of a pod: one small tmpfs for each id range, with new files for every pod.
//!
//! A tmpfs for each pod would be mounted and unmounted once a task; an unmount waits until no processor can still see the
//! mount, and with it all starts that stand behind.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::stash::{Kept, Stash, clone_at, tmpfs};
use crate::PodEnvironment;

pub(super) const ETC_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The /etc files of the pod that has the range now.
pub(super) struct Etc {
    /// What containers see is cloned from here.
    read_only: Kept,
    /// Of the same tmpfs; the spawner alone reaches it.
    writable: Kept,
    /// What the files hold.
    written: [Option<Vec<u8>>; ETC_FILES.len()],
}

impl Etc {
    pub(super) fn new(stash: &mut Stash) -> io::Result<Self> {
        // Room for the largest files that a pod may have, see `PodEnvironment::check`.
        let options = [("mode", "0755"), ("size", "3m"), ("nr_inodes", "16")];
        let writable = stash.keep(tmpfs(&options, MountAttrFlags::empty())?)?;
        let read_only = writable.clone_tree()?;
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        kernel::mount_setattr(&read_only, attributes, None)?;
        Ok(Self { read_only: stash.keep(read_only)?, writable, written: Default::default() })
    }

    /// Gives the pod files of its own: a descriptor of an earlier pod's that was passed on still shows that pod's. A file that would
    /// hold the same bytes stays.
    pub(super) fn fill(&mut self, first_id: u32, pod: &PodEnvironment) -> io::Result<()> {
        let own_hosts;
        let hosts = if pod.etc.hosts.is_empty() {
            own_hosts = format!(
                "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{}\n",
                pod.hostname
            );
            own_hosts.as_bytes()
        } else {
            &pod.etc.hosts
        };
        let hostname = format!("{}\n", pod.hostname);
        let contents = [hosts, hostname.as_bytes(), &pod.etc.resolv_conf];
        for (n, (name, contents)) in ETC_FILES.iter().zip(contents).enumerate() {
            if self.written[n].as_deref() != Some(contents) {
                // Half-written files are nobody's.
                self.written[n] = None;
                self.write(name, contents, first_id)?;
                self.written[n] = Some(contents.to_vec());
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, mut contents: &[u8], owner: u32) -> io::Result<()> {
        match unlinkat(self.writable.root(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.writable.root(), name, flags, Mode::from(0o644))?;
        while !contents.is_empty() {
            let written = rustix::io::write(&file, contents)?;
            contents = &contents[written..];
        }
        fchown(&file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?;
        Ok(fchmod(&file, Mode::from(0o644))?)
    }

    /// One read-only mount for each file.
    pub(super) fn mounts(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        ETC_FILES
            .iter()
            .map(|name| Ok(((*name).to_owned(), clone_at(self.read_only.root(), name)?)))
            .collect()
    }
}
