//! How the keeper gives up everything but its log directory. A straight list; each step needs what the next takes away.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::LogRate;

/// The command line, as the spawner writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeeperArgs {
    pub(crate) log_dir: PathBuf,
    pub(crate) uid: u32,
    pub(crate) log_rate: LogRate,
}

impl KeeperArgs {
    pub(crate) fn write(&self) -> Vec<OsString> {
        let LogRate { bytes_per_second, burst_bytes } = self.log_rate;
        let numbers = [u64::from(self.uid), bytes_per_second, burst_bytes];
        let log_dir = self.log_dir.clone().into_os_string();
        std::iter::once(log_dir).chain(numbers.map(|number| number.to_string().into())).collect()
    }

    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let args: Vec<OsString> = args.collect();
        let wrong = || io::Error::other("the keeper is started by the spawner alone");
        let [log_dir, uid, rate, burst] = args.as_slice() else { return Err(wrong()) };
        let number = |arg: &OsString| arg.to_str().and_then(|n| n.parse::<u64>().ok()).ok_or_else(wrong);
        let log_rate = LogRate { bytes_per_second: number(rate)?, burst_bytes: number(burst)? };
        let uid = u32::try_from(number(uid)?).map_err(|_| wrong())?;
        Ok(Self { log_dir: log_dir.into(), uid, log_rate })
    }
}

/// Returns the log directory and the socket to the spawner, which is standard input.
pub(crate) fn confine(args: &KeeperArgs) -> io::Result<(OwnedFd, OwnedFd)> {
    confine_in(&args.log_dir, args.uid)
}

/// For whoever writes below the log directory and needs nothing else.
pub(crate) fn confine_in(log_dir: &Path, uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let socket = crate::fds::take_stdin()?;
    // All that was inherited beside the three: nothing of the server or the spawner.
    crate::fds::close_all_but(&[&socket])?;
    // Two pipes and a file a task; a full table is read by an index, not by a name.
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    // What a log holds must not reach a core file, nor, which 0 would not prevent, the host's core handler.
    crate::dumps::forbid_core_files()?;
    // Logs are the server's user's group's to read, nobody else's.
    rustix::process::umask(Mode::from(0o027));

    rustix::process::chdir(log_dir)?;
    rustix::process::chroot(".")?;
    let root = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;

    // Groups and gid first: without root they cannot be changed. Leaving uid 0 drops every capability.
    let (user, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    rustix::thread::set_no_new_privs(true)?;
    if uid == 0 || rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        return Err(io::Error::other("the keeper still has privileges; it does not run with them"));
    }
    Ok((root, socket))
}
