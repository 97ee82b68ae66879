//! Clocks that begin with the pod: the host's uptime tells when it was last patched, and that two pods share it.
//!
//! A process enters a time namespace by being cloned after its parent has left for a new one; the parent itself stays. So
//! the spawner leaves, says where the clocks begin, and clones the task. It writes to its own /proc alone: the task could
//! not, because the file is the host's root's. The wall clock is nobody's: it is the host's, and cannot be set from inside.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};

use super::kernel;

/// Where what this process clones has its clocks from.
pub(super) struct Clocks {
    offsets: OwnedFd,
    home: OwnedFd,
}

impl Clocks {
    pub(super) fn open() -> io::Result<Self> {
        let open = |path: &str, flags| {
            openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("cannot open {path}: {e}")))
        };
        Ok(Self {
            offsets: open("/proc/self/timens_offsets", OFlags::WRONLY)?,
            home: open("/proc/self/ns/time", OFlags::RDONLY)?,
        })
    }

    /// What is cloned from now on has clocks that begin now, until [`Clocks::go_home`]. On an error nothing has changed.
    pub(super) fn begin(&self) -> io::Result<()> {
        kernel::unshare(UnshareFlags::NEWTIME)?;
        let set = self.set_to_zero();
        if set.is_err() {
            self.go_home()?;
        }
        set
    }

    fn set_to_zero(&self) -> io::Result<()> {
        // Whole seconds, down: a clock that began below 0 would be refused.
        let (monotonic, boottime) = (clock_gettime(ClockId::Monotonic), clock_gettime(ClockId::Boottime));
        // The raw clock has the same offset, and is behind where the other was slewed forward.
        let least = monotonic.tv_sec.min(clock_gettime(ClockId::MonotonicRaw).tv_sec);
        let text = format!("monotonic -{least} 0\nboottime -{} 0\n", boottime.tv_sec);
        match rustix::io::write(&self.offsets, text.as_bytes()) {
            Ok(written) if written == text.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(e) => {
                let e = io::Error::from(e);
                let message = format!("cannot set where clocks begin, which needs CAP_SYS_TIME: {e}");
                Err(io::Error::new(e.kind(), message))
            }
        }
    }

    /// What is cloned from now on has the host's clocks again.
    pub(super) fn go_home(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Time))?)
    }
}
