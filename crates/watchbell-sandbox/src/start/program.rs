//! From a name to a running program: the last step of every start.

use std::ffi::CString;
use std::io;

use super::kernel::{self, Strings};
use super::{Failure, failed};
use crate::{RunSpec, StartFailureKind};

pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program with its arguments and variables, as exec wants them.
pub(super) struct Program {
    candidates: Vec<CString>,
    argv: Strings,
    env: Strings,
}

impl Program {
    pub(super) fn new(spec: &RunSpec) -> Result<Self, Failure> {
        let c = |text: String| {
            CString::new(text).map_err(|_| {
                let cause = io::Error::other("it holds a NUL byte");
                failed("pass", "an argument or variable", &cause)
            })
        };
        let name = spec.argv.first().cloned().unwrap_or_default();
        let candidates = if name.contains('/') {
            vec![name]
        } else {
            let path =
                spec.env.iter().rev().find(|(k, _)| k == "PATH").map_or(DEFAULT_PATH, |(_, v)| v.as_str());
            // An empty entry is the working directory, by POSIX.
            path.split(':')
                .map(|dir| if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") })
                .collect()
        };
        Ok(Self {
            candidates: candidates.into_iter().map(c).collect::<Result<_, _>>()?,
            argv: Strings::new(spec.argv.iter().cloned().map(c).collect::<Result<_, _>>()?),
            env: Strings::new(spec.env.iter().map(|(k, v)| c(format!("{k}={v}"))).collect::<Result<_, _>>()?),
        })
    }

    pub(super) fn execute(&self, name: &str) -> Failure {
        let mut worst: Option<(StartFailureKind, String)> = None;
        for candidate in &self.candidates {
            let error = kernel::execve(candidate, &self.argv, &self.env);
            let shown = candidate.to_string_lossy();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {
                    if rustix::fs::stat(candidate.as_c_str()).is_ok() {
                        let why = "it needs an interpreter or loader that the image lacks; add it or link statically";
                        worst.get_or_insert((
                            StartFailureKind::CommandNotExecutable,
                            format!("{shown}: {why}"),
                        ));
                    }
                }
                Some(libc::EACCES) => {
                    let why = "permission denied: it is not executable by this user, or a directory on its way is closed";
                    worst.get_or_insert((StartFailureKind::CommandNotExecutable, format!("{shown}: {why}")));
                }
                Some(libc::ENOEXEC) => {
                    let why =
                        "it is no program for this machine (wrong architecture, or a script without #!)";
                    worst.get_or_insert((StartFailureKind::CommandNotExecutable, format!("{shown}: {why}")));
                }
                _ => {
                    worst
                        .get_or_insert((StartFailureKind::CommandNotExecutable, format!("{shown}: {error}")));
                }
            }
        }
        let (kind, why) = worst.unwrap_or_else(|| {
            let where_ = if name.contains('/') {
                "is not in the image"
            } else {
                "is in no directory of PATH in the image"
            };
            (StartFailureKind::CommandNotFound, format!("{name} {where_}; check command and args"))
        });
        Failure {
            kind,
            step: format!("execute {name}"),
            message: format!("cannot execute \"{name}\": {why}"),
        }
    }
}
