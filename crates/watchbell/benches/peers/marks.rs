//! When tasks begin and end, told by the kernel, whoever starts them.
//!
//! The program of every contender names itself in its first instruction (`prctl(PR_SET_NAME)`), which the kernel's
//! connector of process events reports with the time, as it does each exit. So a task is measured from outside, alike for
//! all, and pays one system call for it. The connector speaks to root outside of any PID namespace alone.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Of linux/cn_proc.h and linux/connector.h.
const CN_IDX_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_COMM: u32 = 0x200;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;
const NLMSG_DONE: u16 = 3;
/// Headers of netlink and of the connector.
const HEADERS: usize = 16 + 20;
/// Room for what a busy machine does meanwhile.
const BUFFER_BYTES: usize = 32 << 20;

/// Nanoseconds of the monotonic clock, which the kernel stamps its events with.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Instants of one batch, each list in order.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) begun: Vec<u64>,
    pub(crate) ended: Vec<u64>,
}

impl Seen {
    /// Milliseconds from due to begun. The first tasks, as many as may run at once, are due when they are asked for; each
    /// other when an earlier one has ended and so left its place.
    pub(crate) fn latencies_ms(&self, asked_at: u64, at_once: usize) -> Vec<f64> {
        let due = |n: usize| if n < at_once { Some(asked_at) } else { self.ended.get(n - at_once).copied() };
        let begun = self.begun.iter().enumerate();
        begun.filter_map(|(n, begun)| Some(begun.saturating_sub(due(n)?) as f64 / 1e6)).collect()
    }
}

pub(crate) struct Marks {
    over_at: Arc<AtomicU64>,
    thread: JoinHandle<Seen>,
}

impl Marks {
    /// Listens from now on for tasks that call themselves `name`.
    pub(crate) fn listen(name: &str) -> Result<Marks, String> {
        let socket = connect().map_err(|e| format!("the kernel's process events are not to be had: {e}"))?;
        let over_at = Arc::new(AtomicU64::new(u64::MAX));
        let (over, name) = (over_at.clone(), name.as_bytes().to_owned());
        let thread = std::thread::spawn(move || collect(&socket, &name, &over));
        Ok(Marks { over_at, thread })
    }

    /// All until now.
    pub(crate) fn take(self) -> Seen {
        self.over_at.store(now_ns(), Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn connect() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::CONNECTOR),
    )?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, CN_IDX_PROC))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(50)))?;
    let mut message = Vec::new();
    message.extend(((HEADERS + 4) as u32).to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    message.extend([CN_IDX_PROC, 1, 0, 0].map(u32::to_ne_bytes).concat());
    message.extend([4u16, 0].map(u16::to_ne_bytes).concat());
    message.extend(PROC_CN_MCAST_LISTEN.to_ne_bytes());
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

fn collect(socket: &OwnedFd, name: &[u8], over_at: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let mut running: HashSet<u32> = HashSet::new();
    let mut bytes = [0u8; 512];
    loop {
        let length = match rustix::net::recv(socket, &mut bytes, RecvFlags::empty()) {
            Ok((length, _)) => length,
            // Nothing more is on its way.
            Err(rustix::io::Errno::AGAIN) if over_at.load(Ordering::Relaxed) != u64::MAX => break,
            // Lost events show in the number of those that were seen.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => continue,
            Err(error) => panic!("process events: {error}"),
        };
        let Some(event) = bytes[..length].get(HEADERS..) else { continue };
        let word =
            |at: usize| event.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        // what, cpu, timestamp, then the process and its group.
        let (what, pid, group) = (word(0), word(16), word(20));
        let at = u64::from(word(8)) | u64::from(word(12)) << 32;
        if at > over_at.load(Ordering::Relaxed) {
            break;
        }
        if what == PROC_EVENT_COMM && event.get(24..24 + name.len()) == Some(name) {
            running.insert(pid);
            seen.begun.push(at);
        } else if what == PROC_EVENT_EXIT && pid == group && running.remove(&pid) {
            seen.ended.push(at);
        }
    }
    seen.begun.sort_unstable();
    seen.ended.sort_unstable();
    seen
}
