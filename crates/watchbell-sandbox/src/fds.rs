//! Which descriptors a process starts with.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// Takes standard input, the socket to whoever started this process, and puts /dev/null in its place.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(socket)
}

/// Closes what was inherited by accident: a lock or a socket of the server would live as long as this process.
/// Called before anything else is opened.
pub(crate) fn close_all_but(keep: &[&OwnedFd]) -> io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    let kept = |fd: RawFd| fd <= 2 || keep.iter().any(|keep| keep.as_raw_fd() == fd);
    for fd in open.into_iter().filter(|fd| !kept(*fd)) {
        // Also the one that listed the directory, which is closed already: then there is nothing to own.
        if std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok() {
            // SAFETY: the process has one thread and has opened nothing but what it keeps, so no object owns this one.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(())
}
