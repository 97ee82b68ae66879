//! Terminals: opened inside the container by the process that gets one, handed out by descriptor.
//!
//! The container may have put anything in the place of /dev/pts. So nothing is believed of a path: what was opened must be
//! the multiplexer of a devpts, and the other end comes from it by descriptor (CVE-2025-52565). The program gets the
//! slave alone. Nobody's terminal outside is ever opened: what is typed into the slave (TIOCSTI) stays with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fchown, fstat, fstatfs, makedev, openat2};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// DEVPTS_SUPER_MAGIC of linux/magic.h.
const DEVPTS: i64 = 0x1cd1;

/// Both ends of a terminal of a container.
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    /// Held so that the master does not break while no process of the container happens to have the terminal open.
    pub(crate) slave: OwnedFd,
}

/// The way of a terminal out of the process that opened it: ours, and the process's.
pub(super) fn way_out() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Opens a terminal of this mount namespace, for `uid`, and makes it this session's.
pub(super) fn open(uid: u32) -> io::Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let master = openat2(CWD, "/dev/pts/ptmx", flags, Mode::empty(), resolve)
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("/dev/pts/ptmx: {e}")))?;
    let found = fstat(&master)?;
    let is_multiplexer = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && found.st_rdev == makedev(5, 2)
        && is_devpts(&master)?;
    if !is_multiplexer {
        return Err(io::Error::other("/dev/pts/ptmx is not what makes terminals"));
    }
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    if !is_devpts(&slave)? {
        return Err(io::Error::other("the terminal is not of a devpts"));
    }
    fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    Ok(Terminal { master, slave })
}

fn is_devpts(fd: impl AsFd) -> io::Result<bool> {
    Ok(i128::from(fstatfs(fd)?.f_type) == i128::from(DEVPTS))
}

/// Sends both ends to the spawner.
pub(super) fn hand_out(terminal: &Terminal, way: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [terminal.master.as_fd(), terminal.slave.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(way, &[IoSlice::new(b"t")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A terminal that an OCI runtime opened in a container: it sends the multiplexer's end over its console socket.
pub(super) fn from_master(socket: impl AsFd) -> io::Result<Terminal> {
    // runc says the terminal's name beside it.
    let mut fds = descriptors(socket.as_fd(), 4096)?;
    let master = fds.pop().ok_or_else(|| io::Error::other("the runtime sent no terminal"))?;
    if !is_devpts(&master)? {
        return Err(io::Error::other("what the runtime sent is not of a devpts"));
    }
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Terminal { master, slave })
}

/// Takes both ends. They were sent before the program was executed, so nothing is waited for.
pub(super) fn receive(way: BorrowedFd<'_>) -> io::Result<Terminal> {
    match <[OwnedFd; 2]>::try_from(descriptors(way, 1)?) {
        Ok([master, slave]) => Ok(Terminal { master, slave }),
        Err(_) => Err(io::Error::other("the process handed out no terminal")),
    }
}

/// The descriptors of a message that was sent already, with up to so many bytes beside them.
fn descriptors(way: BorrowedFd<'_>, bytes: usize) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = vec![0u8; bytes];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(way, &mut [IoSliceMut::new(&mut said)], &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(fds)
}
