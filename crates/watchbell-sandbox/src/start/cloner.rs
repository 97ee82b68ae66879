//! A small process that clones the others.
//!
//! A clone of the spawner would copy the tables of all its memory, and every page that either of them writes to afterwards:
//! a third of what a start costs. This process was cloned when there was little, allocates next to nothing and stays in the
//! bare mount namespace. What it clones is the spawner's child all the same (CLONE_PARENT), and its number stands in memory
//! that both share before it runs; so it is reaped whatever becomes of the cloner.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, View};
use super::clocks::Clocks;
use super::ids::{IdRange, act_as, clone_charged_to, write_maps};
use super::kernel::{self, Cloned, CommandLine, SharedWord};
use super::plan::{self, Basis};
use super::stash::Bare;
use super::{Ready, ahead, identity};

/// Its answers: nothing when it cloned, or what failed.
const ANSWER_MAX: usize = 1024;
/// The line, the unified group, and a door for each version 1 hierarchy.
const FDS_MAX: usize = 8;

/// The spawner's end.
pub(super) struct Cloner {
    socket: OwnedFd,
    pidfd: OwnedFd,
    /// The number of what it cloned last.
    word: SharedWord,
}

/// What it knows of the machine from the start, and what it clones with it.
pub(super) struct Known<'a> {
    pub(super) views: &'a [View],
    pub(super) landlock: Option<u32>,
    pub(super) command_line: CommandLine,
}

/// What it is asked for.
#[derive(Serialize, Deserialize)]
struct Request {
    /// The host's id of the container's 0.
    first: u32,
    basis: Basis,
    /// The descriptor after the line is a group of the unified hierarchy.
    has_group: bool,
}

impl Cloner {
    /// Clones it, and waits until it is ready.
    pub(super) fn start(bare: &Bare, known: &Known<'_>) -> io::Result<Self> {
        let word = SharedWord::new()?;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // SAFETY: the spawner has one thread.
        match unsafe { clone_charged_to(None, Some(bare), None, 0, None) }? {
            Cloned::Child => serve(&theirs, &word, known),
            Cloned::Parent { pidfd, .. } => {
                drop(theirs);
                let cloner = Self { socket, pidfd, word };
                cloner.answer()?;
                Ok(cloner)
            }
        }
    }

    /// Asks for a process that waits at the other end of `line`. One at a time: the answer comes next.
    pub(super) fn ask(&self, ids: &IdRange, cgroup: &Cgroup, basis: Basis, line: &OwnedFd) -> io::Result<()> {
        self.word.clear();
        let group = cgroup.clone_into();
        let request = Request { first: ids.first, basis, has_group: group.is_some() };
        let bytes = postcard::to_allocvec(&request).map_err(io::Error::other)?;
        let fds: Vec<BorrowedFd<'_>> =
            [line.as_fd()].into_iter().chain(group).chain(cgroup.doors()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("more control group hierarchies than are known"));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The process that was asked for. On an error there is none.
    pub(super) fn cloned(&self) -> io::Result<(u32, OwnedFd)> {
        let answer = self.answer();
        let pid = Pid::from_raw(self.word.get().cast_signed());
        let open = |pid| match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((pid, pidfd)),
            // It is our child and not reaped, so the number is still its.
            Err(error) => {
                kernel::discard_by_number(pid);
                Err(error)
            }
        };
        match (answer, pid.map(open).transpose()?) {
            (Ok(()), Some((pid, pidfd))) => Ok((pid.as_raw_nonzero().get().cast_unsigned(), pidfd)),
            (Ok(()), None) => Err(io::Error::other("the process that clones told no number")),
            (Err(error), opened) => {
                if let Some((_, pidfd)) = opened {
                    kernel::discard(&pidfd);
                }
                Err(error)
            }
        }
    }

    /// Whether [`Cloner::cloned`] would not have to wait.
    pub(super) fn has_answered(&self) -> bool {
        ahead::has_something(&self.socket)
    }

    fn answer(&self) -> io::Result<()> {
        let mut text = [0u8; ANSWER_MAX];
        let read = loop {
            match rustix::io::read(&self.socket, &mut text) {
                Err(Errno::INTR) => {}
                read => break read?,
            }
        };
        match &text[..read] {
            [] => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the process that clones is gone")),
            b"k" => Ok(()),
            text => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
        }
    }
}

impl Drop for Cloner {
    fn drop(&mut self) {
        kernel::discard(&self.pidfd);
    }
}

/// The process, from its first instruction to its end, which is that of the spawner: then the socket closes.
fn serve(socket: &OwnedFd, word: &SharedWord, known: &Known<'_>) -> ! {
    let ready = prepare(socket, word, known.command_line);
    tell(socket, &ready.as_ref().map(drop));
    let Ok(clocks) = ready else { kernel::exit_now(1) };
    loop {
        let Ok(Some((request, fds))) = receive(socket) else { kernel::exit_now(0) };
        match clone(&request, &fds, &clocks, word, known) {
            Ok(cloned) => tell(socket, &cloned.as_ref().map(drop)),
            // Nothing is to be cloned from where this is now. Who was cloned ends, as nobody lets it go on.
            Err(lost) => {
                tell(socket, &Err(&lost));
                kernel::exit_now(1)
            }
        }
    }
}

fn prepare(socket: &OwnedFd, word: &SharedWord, command_line: CommandLine) -> io::Result<Clocks> {
    // SAFETY: what owns the others lives in this process's copy of the spawner's memory, which exit ends without running
    // destructors; nothing but the socket is used from here on.
    unsafe { kernel::close_all_but([socket.as_raw_fd()]) }?;
    // SAFETY: neither this process nor what it clones looks at its arguments; all end by exec or exit.
    unsafe { command_line.blank() };
    // With all that it clones: see `Step::HideMemory`.
    identity::hide_memory()?;
    rustix::thread::set_name(c"watchbell-clone")?;
    // Faulted in now: the kernel only then writes to it for certain.
    let _ = word.get();
    let clocks = Clocks::open()?;
    kernel::tidy_heap();
    Ok(clocks)
}

fn tell(socket: &OwnedFd, outcome: &Result<(), &io::Error>) {
    let text = outcome.map_or_else(ToString::to_string, |()| "k".to_owned());
    let mut end = text.len().min(ANSWER_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A spawner that does not hear it is gone, which the next read tells.
    let _ = send(socket, &text.as_bytes()[..end], SendFlags::NOSIGNAL);
}

fn receive(socket: &OwnedFd) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let mut bytes = [0u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let packet = &mut [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(socket, packet, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received == 0 {
        return Ok(None);
    }
    Ok(Some((postcard::from_bytes(&bytes[..received]).map_err(io::Error::other)?, fds)))
}

/// What became of the clone; an error of its own: the way back was lost.
fn clone(
    request: &Request,
    fds: &[OwnedFd],
    clocks: &Clocks,
    word: &SharedWord,
    known: &Known<'_>,
) -> io::Result<io::Result<()>> {
    let Some((line, rest)) = fds.split_first() else { return Ok(Err(io::ErrorKind::InvalidInput.into())) };
    let (group, doors) = rest.split_at(usize::from(request.has_group).min(rest.len()));
    let host = request.basis.host;
    let flag = |is_own: bool, flag: i32| if is_own { flag as u64 } else { 0 };
    let namespaces = flag(!host.users, libc::CLONE_NEWUSER) | flag(!host.pid, libc::CLONE_NEWPID);
    let clocks = plan::has_clocks(host).then_some(clocks);
    let (wait, go) = match pipe_with(PipeFlags::CLOEXEC) {
        Ok(pipe) => pipe,
        Err(error) => return Ok(Err(error.into())),
    };
    clocks.map_or(Ok(()), Clocks::begin)?;
    // As whom: see `clone_charged_to`. What failed on the way is told once the way back was taken.
    let cloned = if host.users { Ok(()) } else { act_as(request.first) }.and_then(|()| {
        // SAFETY: this process has one thread too.
        unsafe { kernel::clone_brother(word, namespaces, group.first().map(AsFd::as_fd)) }
    });
    if matches!(cloned, Ok(Cloned::Child)) {
        if !(Ready { wait: wait.as_fd(), go: &go }).wait() {
            kernel::exit_now(0);
        }
        ahead::wait(line, doors, request.basis, known)
    }
    // Each step is taken, whatever the one before came to.
    let back = [if host.users { Ok(()) } else { act_as(0) }, clocks.map_or(Ok(()), Clocks::go_home)];
    back.into_iter().collect::<io::Result<()>>()?;
    let first = (!host.users).then_some(request.first);
    Ok(cloned.and_then(|cloned| let_go(&cloned, first, &go)))
}

/// Says who it is, and that it may go on.
fn let_go(cloned: &Cloned, first_id: Option<u32>, go: &OwnedFd) -> io::Result<()> {
    if let (Cloned::Parent { pid, .. }, Some(first)) = (cloned, first_id) {
        write_maps(*pid, first)?;
    }
    // Who was killed meanwhile does not hear it; its end tells.
    match rustix::io::write(go, b"g") {
        Ok(_) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
