//! Networks of the test's own: each is a process that holds it, and threads that go into it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Outcome;

pub(crate) struct Network {
    holder: Child,
}

impl Network {
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        // It says that it is there, and ends with its standard input.
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = holder.stdout.as_mut().ok_or("no standard output")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        let network = Self { holder };
        network.sh("ip link set lo up")?;
        Ok(network)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Does something in it. Sockets that are made there, and processes that are started, stay there.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.pid());
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(path).unwrap();
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn sh(&self, script: &str) -> Outcome {
        self.within(|| sh(script)).map_err(Into::into)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Runs a script; what it says when it fails.
pub(crate) fn sh(script: &str) -> Result<(), String> {
    let ran = Command::new("sh").args(["-ec", script]).output().map_err(|error| error.to_string())?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{script}: {}", String::from_utf8_lossy(&ran.stderr)))
}
