//! Each process is killed while tasks run and print.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use watchbell_sandbox::{ExitStatus, RunSpec, Spawner, TableEntry};

use crate::Outcome;
use crate::place::{Place, script, wait_for_end};

const TASKS: u128 = 12;
/// Some end before the server is killed, some while it is down, some after it is back.
fn printing(place: &Place, uid: u128) -> RunSpec {
    let lines = 5 + uid * 8;
    let text =
        format!("i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit {uid}");
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
    let text = format!("i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep 0.005; done");
    let spec = script(&place, 1, &text);
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    place.wait_for_log("1.log")?;
    place.kill("keeper")?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0), "no SIGPIPE");
    // One line may have been read and not written; none after it is lost.
    let found = place.lines("1.log")?;
    assert!(found.len() >= lines - 1, "{}", found.len());
    assert_eq!(found.last(), Some(&format!("stdout F line {}", lines - 1)));
    Ok(())
}

pub(crate) fn nothing_stays_when_nobody_needs_it() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 0.5; echo done");
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    drop(server);
    // It stays for its task, then for nobody.
    assert_eq!(place.pids("spawner")?.len(), 1);
    place.wait_for_spawner_end()?;
    assert!(place.pids("keeper")?.is_empty());
    assert_eq!(place.lines("1.log")?, ["stdout F done"]);
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
