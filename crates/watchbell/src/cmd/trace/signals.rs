//! SIGINT, SIGTERM and SIGHUP take the way of `--timeout`: the copy of the Job would else run on, and nobody would know of it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Becomes, JobCopy, lock};
use crate::exit::Failure;
use crate::output;

const MAY_RUN: &str = "may still run: delete it with `watchbell delete job`";

/// From here on one of them takes the copy back and ends the program with 128 and its number, as a shell says it. A second one ends it
/// at once, whatever the server does. Signals that whoever started the program has it ignore (`nohup`) stay ignored.
pub(super) fn hear(copy: &Arc<Mutex<JobCopy>>, name: &str) -> Result<(), Failure> {
    let deaf = |e: std::io::Error| Failure::Refused(format!("cannot hear signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(deaf)?;
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").map_err(deaf)?);
    let mut heard = Vec::new();
    {
        let _inside = runtime.enter();
        for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
            let number = kind.as_raw_value();
            if ignored & (1 << (number - 1)) == 0 {
                heard.push((number, signal(kind).map_err(deaf)?));
            }
        }
    }
    let copy = copy.clone();
    let name = name.to_owned();
    let wait = move || {
        let mut next = || {
            runtime.block_on(poll_fn(|context| {
                let came = |(number, signal): &mut (i32, Signal)| {
                    signal.poll_recv(context).is_ready().then_some(*number)
                };
                heard.iter_mut().find_map(came).map_or(Poll::Pending, Poll::Ready)
            }))
        };
        let number = next();
        let taken_back = std::thread::Builder::new().name("take-back".into()).spawn(move || {
            let copy = lock(&copy);
            if copy.is_over {
                std::process::exit(128 + number);
            }
            let becomes = match copy.take_back() {
                Becomes::Kept => "runs on",
                Becomes::Deleted => "was deleted",
                Becomes::Unknown => MAY_RUN,
            };
            output::note(&format!("ended by a signal: job {} {becomes}; no profile was written", copy.name));
            std::process::exit(128 + number);
        });
        if taken_back.is_ok() {
            next();
        }
        output::note(&format!("ended by a signal: job {name} {MAY_RUN}"));
        std::process::exit(128 + number);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(deaf)?;
    Ok(())
}

/// The signals that a process ignores, by its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    field.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn what_is_ignored_is_read() {
        assert_eq!(ignored("SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000\n"), 0x1001);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
