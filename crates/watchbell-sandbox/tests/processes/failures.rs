//! What goes wrong around the spawner.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use watchbell_sandbox::{Ceiling, Error, Event, ExitStatus, LogTrouble, Spawner, SpawnerOptions};

use crate::Outcome;
use crate::place::{Failure, Place, script};
use crate::{doors, runtimes, sessions};

pub(crate) fn a_hostile_client_is_survived() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    drop(server);
    let socket = place.path().join("run/spawner.sock");
    let attacks: [Vec<u8>; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        // A frame within the limit whose message is noise.
        [&4_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[9, 9, 9, 9]].concat(),
        // A start before the greeting.
        [&2_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[3, 0]].concat(),
    ];
    for attack in attacks {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(&attack)?;
        // It hangs up; what it says before does not matter.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Half a frame, and gone.
    UnixStream::connect(&socket)?.write_all(&[100, 0, 0, 0, 0])?;
    let server = place.connect()?;
    assert_eq!(server.table.len(), 1);
    server.spawner.kill_pod(1)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

pub(crate) fn nothing_of_the_server_is_inherited() -> Outcome {
    let place = Place::new()?;
    // A lock and a directory that somebody forgot to close on exec.
    let lock = File::create(place.path().join("server.lock"))?;
    let forgotten = rustix::io::dup(&lock)?;
    let server = place.connect()?;
    drop(forgotten);
    for kind in ["spawner", "keeper"] {
        let pids = place.pids(kind)?;
        let [pid] = pids[..] else { return Err(format!("{kind}: {pids:?}").into()) };
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let target = fs::read_link(entry.path()).unwrap_or_default();
            assert!(!target.ends_with("server.lock"), "{kind} holds {}", target.display());
            if entry.file_name() == "1" {
                assert_eq!(target, Path::new("/dev/null"));
            }
        }
        let exe = fs::read_link(format!("/proc/{pid}/exe"))?;
        assert!(exe.starts_with("/memfd:watchbell (deleted)"), "{kind} runs {}", exe.display());
        assert!(File::options().write(true).open(format!("/proc/{pid}/exe")).is_err());
        assert_ne!(session(&pid.to_string())?, session("self")?, "{kind} is of our session");
    }
    drop(server);
    Ok(())
}

/// The session of a process: 0 when its leader is of an outer PID namespace, as in a CI container.
fn session(process: &str) -> Result<i32, Box<dyn std::error::Error>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    Ok(fields.split_whitespace().nth(3).ok_or("no session in stat")?.parse()?)
}

pub(crate) fn the_keeper_has_no_privileges() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    // It has confined itself once it has written a log.
    let spec = script(&place, 1, "echo up");
    server.spawner.start(&spec)?;
    server.exit(spec.id)?;
    let pids = place.pids("keeper")?;
    let [pid] = pids[..] else { return Err(format!("{pids:?}").into()) };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let uid = watchbell_sandbox::DEFAULT_KEEPER_UID;
    let ids = Some([uid; 4].map(|uid| uid.to_string()).join(" "));
    assert_eq!((field("Uid"), field("Gid"), field("Groups")), (ids.clone(), ids, Some(String::new())));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), Some("0000000000000000".to_owned()), "{set}");
    }
    assert_eq!(field("NoNewPrivs"), Some("1".to_owned()));
    assert_eq!(fs::read_link(format!("/proc/{pid}/root"))?, fs::canonicalize(place.log(""))?);
    Ok(())
}

/// What the kernel prefers when it looks for somebody to kill.
fn oom_score(pid: impl std::fmt::Display) -> Result<i32, Failure> {
    Ok(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?.trim().parse()?)
}

/// A spawner that may not shield itself has the score of who started it: here one that is told apart from any that it gives.
pub(crate) fn helpers_do_not_have_the_spawners_shield() -> Outcome {
    let place = Place::new()?;
    let before = oom_score("self")?;
    fs::write("/proc/self/oom_score_adj", "77")?;
    let ceiling = Ceiling { runtimes: runtimes::installed(), ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling, ..place.options() });
    fs::write("/proc/self/oom_score_adj", before.to_string())?;
    let server = server?;
    let own = oom_score(place.spawner()?)?;
    assert!([-999, 77].contains(&own), "{own}");
    let (mut traced, door) = (script(&place, 1, "sleep 1000"), script(&place, 2, "sleep 1000"));
    traced.extras.trace = true;
    for spec in [&traced, &doors::with_door("all", door)] {
        sessions::start(&server, spec)?;
    }
    let mut seen = BTreeMap::new();
    for pid in place.children_of_the_spawner()? {
        // Who waits for a task ends where none comes.
        let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let word = command.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        if let Ok(score) = oom_score(pid) {
            seen.insert(String::from_utf8_lossy(word).into_owned(), score);
        }
    }
    assert_eq!(
        (seen.get("keeper"), seen.get("gate"), seen.get("tracer")),
        (Some(&0), Some(&300), Some(&300))
    );
    for (n, runtime) in runtimes::installed().iter().enumerate() {
        let spec = runtimes::by(&runtime.name, script(&place, 3 + n as u128, "sleep 1000"));
        server.spawner.start(&spec)?;
        assert_eq!(oom_score(server.started(spec.id)?)?, 0, "the shim of {}", runtime.name);
    }
    Ok(())
}

/// A tmpfs of one MiB that goes away again.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn at(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        Self::of(path, c"size=1m")
    }

    pub(crate) fn of(path: &Path, options: &std::ffi::CStr) -> Result<Self, Box<dyn std::error::Error>> {
        fs::create_dir_all(path)?;
        mount("watchbell-test", path, "tmpfs", MountFlags::empty(), Some(options))?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

pub(crate) fn a_full_disk_loses_lines_and_no_task() -> Outcome {
    let place = Place::new()?;
    let disk = SmallDisk::at(&place.path().join("logs"))?;
    let server = place.connect()?;
    // 4 MiB into 1 MiB.
    let spec = script(&place, 1, "head -c 4194304 /dev/zero; echo; echo end");
    server.spawner.start(&spec)?;
    // It is told at once, not only when the task ends.
    let cause = loop {
        if let Event::LogTrouble { id, trouble: LogTrouble::Lost { cause } } = server.event()? {
            assert_eq!(id, spec.id);
            break cause;
        }
    };
    assert!(cause.contains("No space left"), "{cause}");
    let record = server.exit(spec.id)?;
    assert_eq!(record.status, ExitStatus::Code(0));
    assert_eq!((record.log.bytes, record.log.lines), (4_194_304 + 5, 2));
    assert!(record.log.dropped_bytes > 3 << 20, "{record:?}");
    // Whole records only.
    let text = fs::read(place.log("1.log"))?;
    assert_eq!(text.last(), Some(&b'\n'));
    // Once there is room again, logs are written again.
    fs::remove_file(place.log("1.log"))?;
    let next = script(&place, 2, "echo again");
    server.spawner.start(&next)?;
    assert_eq!(server.exit(next.id)?.log.dropped_bytes, 0);
    assert_eq!(place.lines("2.log")?, ["stdout F again"]);
    drop(server);
    place.wait_for_spawner_end()?;
    drop(disk);
    Ok(())
}

pub(crate) fn a_spawner_that_cannot_start_says_why() -> Outcome {
    let place = Place::new()?;
    let run = place.path().join("run");
    fs::create_dir(&run)?;
    fs::write(run.join("spawner.table"), "this is not a table, and longer than any header would ever be")?;
    let error = Spawner::connect_or_start(&place.options()).map(drop);
    let Err(Error::DidNotStart { reason, log }) = error else { return Err(format!("{error:?}").into()) };
    assert!(reason.contains("table"), "{reason}");
    assert!(fs::read_to_string(log)?.contains("table"));

    let mut options = place.options();
    options.exe = "/bin/true".into();
    fs::remove_file(run.join("spawner.table"))?;
    let error = Spawner::connect_or_start(&options).map(drop);
    assert!(matches!(error, Err(Error::DidNotStart { .. })), "{error:?}");

    fs::write(place.path().join("logs"), "not a directory")?;
    let error = Spawner::connect_or_start(&place.options()).map(drop);
    let Err(Error::DidNotStart { reason, .. }) = error else { return Err(format!("{error:?}").into()) };
    assert!(reason.contains("keeper of logs"), "{reason}");
    Ok(())
}
