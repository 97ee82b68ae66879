//! This program as one of its parts: the keeper, the gate, a tracer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::oom::{self, Score};

/// Starts one, which talks through its standard input.
pub(crate) fn start(
    word: &str,
    args: impl IntoIterator<Item: AsRef<OsStr>>,
    stdin: OwnedFd,
    score: Score,
) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("watchbell").arg(word).args(args).current_dir("/");
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null());
    // SAFETY: it makes system calls alone; neither the path nor the score is allocated.
    unsafe { command.pre_exec(move || oom::set(score)) };
    command.spawn()
}
