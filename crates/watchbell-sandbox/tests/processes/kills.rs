//! Each process is killed while tasks run and print.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use watchbell_sandbox::{ExitStatus, RunSpec, Spawner, TableEntry};

use crate::Outcome;
use crate::place::{Failure, Place, script, wait_for_end};
use crate::probe::{build_probe, probe};

const TASKS: u128 = 12;
/// Ends when it is told to.
const LAST: u128 = TASKS - 1;
/// A shell's words: whoever sends USR1 after the first line lets it go on.
const TOLD: &str = "until [ $told ]; do sleep 0.01; done";

/// Some end before the server is killed, some while it is down, one after it is back.
fn printing(place: &Place, uid: u128) -> RunSpec {
    let lines = 5 + uid * 8;
    let then = if uid == LAST { TOLD } else { ":" };
    let text = format!(
        "trap told=1 USR1; i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep 0.01; done; {then}; exit {uid}"
    );
    script(place, uid, &text)
}

/// A server of its own that starts the tasks, says so, and waits to be killed.
pub(crate) fn client(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(dir) = args.next() else { return ExitCode::FAILURE };
    let run = || -> Outcome {
        let place = Place::at(Path::new(&dir));
        let (spawner, _, _events) = Spawner::connect_or_start(&place.options())?;
        for uid in 0..TASKS {
            spawner.start(&printing(&place, uid))?;
        }
        println!("started");
        loop {
            std::thread::park();
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn the_server_is_killed() -> Outcome {
    let place = Place::new()?;
    let mut client =
        Command::new("/proc/self/exe").arg("client").arg(place.path()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    BufReader::new(client.stdout.take().ok_or("no stdout")?).read_line(&mut said)?;
    assert_eq!(said, "started\n");
    // Until one has printed: then all three processes are at work.
    place.wait_for_log("3.log")?;
    client.kill()?;
    client.wait()?;

    let server = place.connect()?;
    assert_eq!(server.table.len(), TASKS as usize, "{:?}", server.table);
    let mut records: Vec<_> = server
        .table
        .iter()
        .filter_map(|entry| match entry {
            TableEntry::Exited(record) => Some(record.clone()),
            _ => None,
        })
        .collect();
    let under_way = TASKS as usize - records.len();
    assert!(under_way > 0, "all ended before the server was back");
    place.wait_for_log(&format!("{LAST}.log"))?;
    server.spawner.signal(script(&place, LAST, "").id, libc::SIGUSR1)?;
    for _ in 0..under_way {
        records.push(server.any_exit()?);
    }
    for record in records {
        let uid = record.id.pod_uid;
        assert_eq!(record.status, ExitStatus::Code(uid as u8));
        let expect: Vec<String> = (0..5 + uid * 8).map(|i| format!("stdout F line {i}")).collect();
        assert_eq!(place.lines(&format!("{uid}.log"))?, expect);
        assert_eq!(record.log.lines, expect.len() as u64);
    }
    Ok(())
}

pub(crate) fn the_spawner_is_killed() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let ended = script(&place, 1, "exit 7");
    server.spawner.start(&ended)?;
    server.exit(ended.id)?;
    let endless = script(&place, 2, "echo up; sleep 1000 & sleep 1000; wait");
    server.spawner.start(&endless)?;
    let pid = server.started(endless.id)?;
    place.wait_for_log("2.log")?;
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("pid 0")?;
    let task = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    place.kill("spawner")?;
    server.disconnected()?;
    assert!(server.spawner.signal(endless.id, 15).is_err());

    let server = place.connect()?;
    wait_for_end(&task)?;
    let status = |id| {
        server.table.iter().find_map(|entry| match entry {
            TableEntry::Exited(record) if record.id == id => Some(record.status),
            _ => None,
        })
    };
    assert_eq!(status(ended.id), Some(ExitStatus::Code(7)));
    assert_eq!(status(endless.id), Some(ExitStatus::Lost));
    assert_eq!(server.table.len(), 2);
    // What it printed is there, and the new spawner works.
    assert_eq!(place.lines("2.log")?, ["stdout F up"]);
    let next = script(&place, 3, "exit 1");
    server.spawner.start(&next)?;
    assert_eq!(server.exit(next.id)?.status, ExitStatus::Code(1));
    Ok(())
}

pub(crate) fn the_keeper_is_killed() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let lines = 200;
    let text = format!(
        "trap told=1 USR1; echo line 0; {TOLD}; i=1; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done"
    );
    let spec = script(&place, 1, &text);
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    place.wait_for_log("1.log")?;
    // It has written all that it had read.
    place.kill("keeper")?;
    server.spawner.signal(spec.id, libc::SIGUSR1)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0), "no SIGPIPE");
    let expect: Vec<String> = (0..lines).map(|i| format!("stdout F line {i}")).collect();
    assert_eq!(place.lines("1.log")?, expect);
    Ok(())
}

pub(crate) fn nothing_stays_when_nobody_needs_it() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, &format!("trap told=1 USR1; echo here; {TOLD}; echo done"));
    server.spawner.start(&spec)?;
    let pid = server.started(spec.id)?;
    place.wait_for_log("1.log")?;
    drop(server);
    // It stays for its task, then for nobody.
    assert_eq!(place.pids("spawner")?.len(), 1);
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("pid 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::USR1)?;
    place.wait_for_spawner_end()?;
    assert!(place.pids("keeper")?.is_empty());
    assert_eq!(place.lines("1.log")?, ["stdout F here", "stdout F done"]);
    let server = place.connect()?;
    assert!(
        matches!(&server.table[..], [TableEntry::Exited(record)] if record.status == ExitStatus::Code(0)),
        "{:?}",
        server.table
    );
    Ok(())
}

pub(crate) fn the_directory_is_removed() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    server.spawner.start(&spec)?;
    let pid = server.started(spec.id)?;
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("pid 0")?;
    let task = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    std::fs::remove_dir_all(place.path().join("run"))?;
    drop(server);
    wait_for_end(&task)?;
    place.wait_for_spawner_end()
}

/// Control groups of this process other than its own, in every hierarchy that tasks are in.
struct Elsewhere(Vec<(PathBuf, PathBuf)>);

impl Elsewhere {
    fn enter() -> Result<Self, Failure> {
        let (mounts, own) =
            (fs::read_to_string("/proc/self/mountinfo")?, fs::read_to_string("/proc/self/cgroup")?);
        let mut entered = Self(Vec::new());
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let at = fields.iter().position(|field| *field == "-").ok_or("no separator")?;
            let (kind, options) = (fields[at + 1], fields[at + 3]);
            let names = match kind {
                "cgroup2" => "",
                "cgroup" => options.trim_start_matches("rw,"),
                _ => continue,
            };
            if names.contains("cpuset") || names.contains("name=") {
                continue;
            }
            let listed = own.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                (parts.next()? == names).then(|| parts.next())?
            });
            let below = listed.ok_or("it is in no group")?;
            let below = below.strip_prefix(fields[3].trim_end_matches('/')).unwrap_or(below);
            let home = Path::new(fields[4]).join(below.trim_start_matches('/'));
            let away = home.join(format!("watchbell-test-{}", std::process::id()));
            fs::create_dir(&away)?;
            entered.0.push((home, away.clone()));
            fs::write(away.join("cgroup.procs"), std::process::id().to_string())?;
        }
        Ok(entered)
    }

    fn leave(&self) -> Result<(), Failure> {
        for (home, _) in &self.0 {
            fs::write(home.join("cgroup.procs"), std::process::id().to_string())?;
        }
        Ok(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            eprintln!("this process stays in other groups: {error}");
        }
        for (_, away) in &self.0 {
            if let Err(error) = fs::remove_dir(away) {
                eprintln!("left behind: {}: {error}", away.display());
            }
        }
    }
}

/// Started by hand the server is in a login's groups, later in a unit's: a task that outlived its spawner is found in either.
pub(crate) fn what_a_spawner_left_elsewhere_is_ended() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let elsewhere = Elsewhere::enter()?;
    let server = place.connect()?;
    let spec = probe(&place, 1, &["outlive"]);
    server.spawner.start(&spec)?;
    let pid = server.started(spec.id)?;
    place.wait_for_log("1.log")?;
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("pid 0")?;
    let task = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    place.kill("spawner")?;
    server.disconnected()?;
    elsewhere.leave()?;
    rustix::process::pidfd_send_signal(&task, rustix::process::Signal::CONT)?;
    let server = place.connect()?;
    // The spawner answers once nothing is left.
    let mut fds = [rustix::event::PollFd::new(&task, rustix::event::PollFlags::IN)];
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&at_once))?, 1, "the task goes on");
    let next = script(&place, 2, "exit 6");
    server.spawner.start(&next)?;
    assert_eq!(server.exit(next.id)?.status, ExitStatus::Code(6));
    Ok(())
}
