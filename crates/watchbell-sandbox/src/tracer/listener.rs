//! The kernel's side: a filter that asks about each call, how its listener gets out of the task, and the answers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::counts::Counts;

/// The end of every call but one in a task that is traced: asked about.
pub(super) struct Listener(OwnedFd);

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Until no process is left that could make a call.
    pub(super) fn answer_all(&self, counts: &mut Counts) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let seen = fds[0].revents();
            if seen.contains(PollFlags::IN) {
                self.answer(counts)?;
            } else if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
        }
    }

    fn answer(&self, counts: &mut Counts) -> io::Result<()> {
        // SAFETY: it is plain data, for which all zero bytes are a value; the kernel wants it zeroed.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills a structure of this very size (it is part of the request's number), which outlives the call.
        let received = unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_RECV, &raw mut asked) };
        if received < 0 {
            return forgive(io::Error::last_os_error());
        }
        counts.note(asked.data.nr.cast_unsigned(), &asked.data.args);
        let answer = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        };
        // SAFETY: the kernel reads a structure of this very size, which outlives the call.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), NOTIF_SEND, &raw const answer) } {
            0 => Ok(()),
            _ => forgive(io::Error::last_os_error()),
        }
    }
}

/// Who asked was killed meanwhile, or a signal came between.
fn forgive(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR | libc::EINPROGRESS) => Ok(()),
        _ => Err(error),
    }
}

/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`.
const NOTIF_RECV: libc::Ioctl = request(0, size_of::<libc::seccomp_notif>());
const NOTIF_SEND: libc::Ioctl = request(1, size_of::<libc::seccomp_notif_resp>());

const fn request(number: u32, size: usize) -> libc::Ioctl {
    const READ_AND_WRITE: u32 = 3;
    (READ_AND_WRITE << 30 | (size as u32) << 16 | (b'!' as u32) << 8 | number) as libc::Ioctl
}

/// A message with one descriptor that is not known yet, complete but for that: once the filter asks about every call, this
/// process cannot make one before the tracer has the listener; but for the one that sends this very message, by its address.
pub(crate) struct HandOver {
    header: libc::msghdr,
    /// For `header`, which points to them.
    _piece: Box<libc::iovec>,
    _bytes: Box<[u8; FRAME.len()]>,
    control: Box<Control>,
}

/// A frame without a body and with one descriptor.
const FRAME: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];

#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fd: libc::c_int,
    _rest: libc::c_int,
}

impl HandOver {
    pub(crate) fn new() -> Box<Self> {
        let mut bytes = Box::new(FRAME);
        let mut piece = Box::new(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: FRAME.len() });
        // SAFETY: both are plain data, for which all zero bytes are a value.
        let (mut control, mut header): (Box<Control>, libc::msghdr) =
            unsafe { (Box::new(std::mem::zeroed()), std::mem::zeroed()) };
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        control.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<libc::c_int>()) as _;
        header.msg_iov = &raw mut *piece;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut *control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        Box::new(Self { header, _piece: piece, _bytes: bytes, control })
    }

    /// What the filter lets pass without a question.
    pub(crate) fn address(&self) -> u64 {
        (&raw const self.header) as u64
    }
}

/// Puts this thread under the filter, which asks about every call but this function's last, and sends its listener away.
pub(crate) fn hand_over(
    message: &mut HandOver,
    socket: BorrowedFd<'_>,
    load: impl FnOnce() -> io::Result<libc::c_int>,
) -> io::Result<()> {
    let fd = load()?;
    // Sending it gives it away; this process' own copy is closed by exec.
    // SAFETY: the kernel has just made it for this process, and nobody else knows it.
    let listener = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    message.control.fd = listener.as_raw_fd();
    // SAFETY: the header points to memory that `message` owns, and that outlives the call.
    let sent = unsafe {
        libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const message.header, libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{HandOver, NOTIF_RECV, NOTIF_SEND, hand_over};
    use crate::wire::Inbox;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::{AsFd, IntoRawFd};

    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!((NOTIF_RECV as u32, NOTIF_SEND as u32), (0xc050_2100, 0xc018_2101));
    }

    #[test]
    fn a_descriptor_is_handed_over_in_a_frame() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let file = tempfile::tempfile().unwrap();
        let inode = rustix::fs::fstat(&file).unwrap().st_ino;
        let mut message = HandOver::new();
        hand_over(&mut message, ours.as_fd(), || Ok(std::os::fd::OwnedFd::from(file).into_raw_fd())).unwrap();
        let mut inbox = Inbox::new(64);
        inbox.fill(theirs.as_fd()).unwrap();
        let frame = inbox.next().unwrap().unwrap();
        assert!(frame.body.is_empty() && frame.fds.len() == 1);
        assert_eq!(rustix::fs::fstat(&frame.fds[0]).unwrap().st_ino, inode);
    }
}
