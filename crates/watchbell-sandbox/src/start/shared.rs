//! The namespaces of a pod whose containers meet in them.

use std::io;
use std::os::fd::AsFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::UnshareFlags;

use super::clocks::Clocks;
use super::door::{Door, DoorSockets};
use super::ids::{IdRange, clone_charged_to, open_namespace, write_maps};
use super::kernel::{self, Cloned};
use super::stash::Bare;
use super::task::SharedNamespaces;
use super::terminal::way_out;
use super::{Ready, identity, plan};
use crate::RunSpec;

/// Makes the namespaces that a pod's containers share, by a child that holds them until they are opened.
pub(super) fn share_namespaces(
    spec: &RunSpec,
    ids: &IdRange,
    bare: &Bare,
    clocks: &Clocks,
) -> io::Result<SharedNamespaces> {
    let host = spec.pod.host_namespaces;
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let ready = Ready { wait: wait.as_fd(), go: &go };
    let door = spec.pod.egress.is_some().then(way_out).transpose()?;
    let user = if host.users { 0 } else { libc::CLONE_NEWUSER as u64 };
    let clocks = plan::has_clocks(host).then_some(clocks);
    // A runtime sets limits from outside, which on a host without CAP_SYS_RESOURCE takes the owner: root, as it is of a user
    // namespace that the runtime makes.
    let charged = spec.extras.runtime.is_none().then_some(ids);
    // SAFETY: the spawner has one thread.
    match unsafe { clone_charged_to(charged, Some(bare), clocks, user, None) }? {
        Cloned::Child => {
            if !ready.wait() {
                kernel::exit_now(127);
            }
            let mut flags = UnshareFlags::NEWUTS;
            flags.set(UnshareFlags::NEWNET, !host.network);
            flags.set(UnshareFlags::NEWIPC, !host.ipc);
            let made = if host.users { Ok(()) } else { identity::become_root() }
                .and_then(|()| kernel::unshare(flags))
                .and_then(|()| Ok(rustix::system::sethostname(spec.pod.hostname.as_bytes())?))
                .and_then(|()| if host.network { Ok(()) } else { kernel::loopback_up() })
                .and_then(|()| match &door {
                    Some((_, way)) => DoorSockets::make()?.hand_out(way.as_fd()),
                    None => Ok(()),
                });
            let word: &[u8] = match &made {
                Ok(()) => b"k",
                Err(error) => &error.to_string().into_bytes(),
            };
            let _ = rustix::io::write(&tell, word);
            // Holds the namespaces until the spawner has opened them and ends this process.
            loop {
                std::thread::park();
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop(tell);
            let opened = (|| {
                if !host.users {
                    write_maps(pid, ids.first)?;
                }
                rustix::io::write(&go, b"g")?;
                let mut word = [0u8; 256];
                let read = rustix::io::read(&told, &mut word)?;
                if &word[..read] != b"k" {
                    return Err(io::Error::other(String::from_utf8_lossy(&word[..read]).into_owned()));
                }
                let open = |is_own: bool, kind: &str| is_own.then(|| open_namespace(pid, kind)).transpose();
                let net = open(!host.network, "net")?;
                let door = match (&door, &net) {
                    (Some((way, _)), Some(net)) => {
                        Some(Door::open(DoorSockets::receive(way.as_fd())?, net.as_fd())?)
                    }
                    _ => None,
                };
                Ok(SharedNamespaces {
                    time: open(clocks.is_some(), "time")?,
                    user: open(!host.users, "user")?,
                    net,
                    ipc: open(!host.ipc, "ipc")?,
                    uts: open_namespace(pid, "uts")?,
                    door,
                })
            })();
            kernel::discard(&pidfd);
            opened
        }
    }
}
