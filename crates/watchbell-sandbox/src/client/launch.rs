//! Starts a spawner: from a sealed copy of the program, with nothing of the server but one socket.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::SpawnerOptions;
use crate::Error;
use crate::spawner::SpawnerArgs;

/// The spawner's log is begun anew above this; one older is kept.
const LOG_MAX: u64 = 8 << 20;
/// What the spawner's own log may need; nothing else of the server's environment, which may hold secrets.
const ENVIRONMENT: [&str; 3] = ["RUST_LOG", "RUST_BACKTRACE", "NO_COLOR"];

/// Returns the server's end of the first connection.
pub(super) fn launch(options: &SpawnerOptions, args: &SpawnerArgs, log: &Path) -> Result<OwnedFd, Error> {
    let failed = |step, path: &Path| {
        let path = path.to_path_buf();
        move |cause: io::Error| Error::State { step, path, cause }
    };
    let mut exe = File::open(&options.exe).map_err(failed("open the program", &options.exe))?;
    let copy = crate::seal::sealed_program(&mut exe)
        .map_err(failed("copy into sealed memory the program", &options.exe))?;
    let log_file = open_log(log).map_err(failed("open the log", log))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed("make a socket for", &options.state_dir)(error.into()))?;

    let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    command
        .arg0("watchbell")
        .arg("spawner")
        .args(args.write())
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log_file));
    let mut child = command.spawn().map_err(failed("run", &options.exe))?;
    // It outlives us, but when it ends first it must not stay a zombie of ours.
    std::thread::Builder::new()
        .name("spawner-end".to_owned())
        .spawn(move || child.wait())
        .map_err(failed("watch", &options.exe))?;
    Ok(ours)
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.len() > LOG_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)
}
