//! The spawner's end of the gate: starts it, hands it doors, starts it again when it dies.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::gate::{DoorSocket, GateArgs, NOTICE_MAX, Order};
use crate::start::DoorSockets;
use crate::wire::{Filled, Inbox, Outbox};

/// What may wait for a gate that takes no orders. Above it, it is ended and started again, with all doors.
const WAITING_MAX: usize = 64 << 20;
/// As many as C libraries ask.
const RESOLVERS_MAX: usize = 3;
/// More is no file of resolvers.
pub(crate) const RESOLV_CONF_MAX: u64 = 64 << 10;

pub(crate) struct GateLink {
    child: Child,
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    /// As it was told last.
    resolvers: Vec<SocketAddr>,
}

impl GateLink {
    pub(crate) fn start(args: GateArgs) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = Command::new("/proc/self/exe")
            .arg0("watchbell")
            .arg("gate")
            .args(args.write())
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let (inbox, outbox) = (Inbox::new(NOTICE_MAX), Outbox::default());
        Ok(Self { child, socket: ours, inbox, outbox, resolvers: Vec::new() })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn add(&mut self, pod: u128, egress: &[u8], door: &DoorSockets) -> io::Result<()> {
        let fds = door.try_clone()?;
        let sockets = std::iter::once(DoorSocket::Dns)
            .chain(std::iter::repeat(DoorSocket::Tcp))
            .take(fds.len())
            .collect();
        self.outbox.push(&Order::Add { pod, egress: egress.to_vec(), sockets }, fds);
        Ok(())
    }

    pub(crate) fn change(&mut self, pod: u128, egress: &[u8]) {
        self.outbox.push(&Order::Change { pod, egress: egress.to_vec() }, []);
    }

    pub(crate) fn remove(&mut self, pod: u128) {
        self.outbox.push(&Order::Remove { pod }, []);
    }

    /// Tells who answers for names, where that has changed.
    pub(crate) fn resolve_by(&mut self, addresses: Vec<SocketAddr>) {
        if self.resolvers != addresses {
            self.resolvers.clone_from(&addresses);
            self.outbox.push(&Order::Resolvers { addresses }, []);
        }
    }

    /// Sends what waits; `false` when the socket is full.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let all = self.outbox.flush(self.socket.as_fd())?;
        if self.outbox.len() > WAITING_MAX {
            return Err(io::Error::other("it takes no orders"));
        }
        Ok(all)
    }

    /// Takes notices, which are not read here: it may have been taken over. An error or the end means that it died.
    pub(crate) fn take(&mut self, out: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let filled = self.inbox.fill(self.socket.as_fd())?;
        while let Some(frame) = self.inbox.next().map_err(io::Error::other)? {
            out.push(frame.body);
        }
        match filled {
            Filled::End => Err(io::ErrorKind::UnexpectedEof.into()),
            Filled::Bytes(_) | Filled::WouldBlock => Ok(()),
        }
    }

    /// Makes sure that it is gone. Its connections end with it.
    pub(crate) fn discard(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who answers for names by a resolv.conf; by none: this machine, as C libraries have it.
pub(crate) fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
    });
    let found: Vec<SocketAddr> = named.take(RESOLVERS_MAX).collect();
    if found.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { found }
}

#[cfg(test)]
mod tests {
    use super::resolvers;

    #[test]
    fn resolvers_are_those_of_the_file() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect, "{text:?}");
        };
        check("", &["127.0.0.1:53"]);
        check(
            "# nameserver 9.9.9.9\nsearch example.org\nnameserver\t192.0.2.1 # first\n nameserver ::1\n",
            &["192.0.2.1:53", "[::1]:53"],
        );
        check("nameserver example.org\nnameservers 192.0.2.1\nnameserver", &["127.0.0.1:53"]);
        let four = "nameserver 192.0.2.1\n".repeat(4);
        check(&four, &["192.0.2.1:53"; 3]);
    }
}
