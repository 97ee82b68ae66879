//! Processes that start others for the bench: the bench itself, called again. Whatever they started ends with them, also
//! what made itself a daemon, because they are the reaper of all their descendants; so its CPU time is counted, too.
//!
//! - `--many COUNT AT_ONCE COMMAND…` runs a command COUNT times, AT_ONCE at a time; `{}` in it is a number.
//! - `--hold COMMAND… -- COMMAND…` runs services until its standard input ends.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::Took;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// This program, to be called so. `before` stands before it on the command line.
pub(crate) fn called(before: &[&str], with: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words = before.iter().map(std::ffi::OsStr::new).chain([this.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(with);
    command
}

/// A `--many` whose process the bench can look at; it waits for [`start`].
pub(crate) fn many(
    before: &[&str],
    count: usize,
    at_once: usize,
    words: &[String],
) -> std::io::Result<Child> {
    let mut command = called(before, &["--many", &count.to_string(), &at_once.to_string()]);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Lets a `--many` go, to its end.
pub(crate) fn start(mut many: Child) -> Result<Took, String> {
    drop(many.stdin.take());
    let output = many.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [wall_ms, cpu_ms] if output.status.success() => Ok(Took { wall_ms: Some(wall_ms), cpu_ms }),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it failed").trim().to_owned())
        }
    }
}

/// When this process is such a one: does it, and says how it ended.
pub(crate) fn serve() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--many", count, at_once, ref words @ ..] => {
            Some(run_many(count.parse().unwrap(), at_once.parse().unwrap(), words))
        }
        ["--hold", ref words @ ..] => {
            hold(words);
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

fn run_many(count: usize, at_once: usize, words: &[&str]) -> ExitCode {
    set_child_subreaper(Some(getpid())).unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = format!("{}-{number}", std::process::id());
                    let mut words = words.iter().map(|word| word.replace("{}", &number));
                    let mut command = Command::new(words.next().unwrap());
                    // Not /dev/null: crun gives the streams that it finds to the container's user.
                    let output = command.args(words).stdin(Stdio::piped()).output().unwrap();
                    if !output.status.success() {
                        std::io::stderr().write_all(&output.stderr).unwrap();
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let wall = begun.elapsed();
    reap_all();
    let mut out = std::io::stdout();
    let cpu_ms = crate::stand::cpu_of_children_ms(std::process::id());
    writeln!(out, "{} {cpu_ms}", wall.as_secs_f64() * 1e3).unwrap();
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn hold(words: &[&str]) {
    set_child_subreaper(Some(getpid())).unwrap();
    let services: Vec<Child> = words
        .split(|word| *word == "--")
        .map(|words| Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap())
        .collect();
    // Reaps what became its own while it waits.
    std::thread::spawn(|| {
        loop {
            if waitpid(None, WaitOptions::empty()).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
    for service in services.iter().rev() {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(service), Signal::TERM);
    }
    // The other thread reaps; what does not end within this is killed.
    let begun = Instant::now();
    let lives = |child: &Child| rustix::process::test_kill_process(Pid::from_child(child)).is_ok();
    while services.iter().any(lives) {
        if begun.elapsed().as_secs() > 20 {
            for service in services.iter().filter(|s| lives(s)) {
                let _ = kill_process(Pid::from_child(service), Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Waits for all that is left below.
fn reap_all() {
    while waitpid(None, WaitOptions::empty()).is_ok() {}
}
