//! Processes that enter containers: who they are, how they end, and what goes through their streams.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use watchbell_sandbox::{
    Capabilities, CgroupLimits, ContainerId, ExitStatus, HostNamespaces, PodEnvironment, Rlimit,
    RlimitResource, RunSpec, SandboxSession, Scratch, Seccomp, SessionFailureKind, Sharing, Streams,
};

use crate::Outcome;
use crate::place::{Failure, PATIENCE, Place, Server, pod, script};
use crate::probe::{build_probe, pairs, probe};

pub(crate) const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
pub(crate) const TTY: Streams = Streams { stderr: false, tty: true, ..ALL };

/// Everything up to the end; that of a terminal is an error.
pub(crate) fn read_all(fd: Option<OwnedFd>) -> Result<String, Failure> {
    let mut text = Vec::new();
    match File::from(fd.ok_or("the stream is not there")?).read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(5) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The lines that come, one at a time.
pub(crate) fn lines(fd: Option<OwnedFd>) -> Result<impl FnMut() -> Result<String, Failure>, Failure> {
    let mut reader = BufReader::new(File::from(fd.ok_or("the stream is not there")?));
    Ok(move || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    })
}

pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

type Ended = (ExitStatus, String, String);

/// Runs a command in the container to its end.
pub(crate) fn exec(server: &Server, id: ContainerId, words: &[&str]) -> Result<Ended, Failure> {
    let session = server.spawner.exec(id, argv(words), ALL)?;
    drop(session.stdin);
    let (stdout, stderr) = (read_all(session.stdout)?, read_all(session.stderr)?);
    Ok((session.link.wait()?, stdout, stderr))
}

fn sh(server: &Server, id: ContainerId, text: &str) -> Result<Ended, Failure> {
    exec(server, id, &["/bin/sh", "-c", text])
}

pub(crate) fn start(server: &Server, spec: &RunSpec) -> Result<(), Failure> {
    server.spawner.start(spec)?;
    server.started(spec.id).map(drop)
}

pub(crate) fn end(server: &Server, spec: &RunSpec) -> Outcome {
    server.spawner.release_pod(spec.pod.uid)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Signal(9));
    Ok(())
}

/// Waits until something holds; each try costs the other side something, so this does not spin.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failure>) -> Outcome {
    let begin = Instant::now();
    while !holds()? {
        if begin.elapsed() > PATIENCE {
            return Err(format!("it does not happen: {what}").into());
        }
    }
    Ok(())
}

pub(crate) fn a_process_enters_a_container() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let check = |text: &str, status, stdout: &str, stderr: &str| -> Outcome {
        let (found, out, err) = sh(&server, spec.id, text)?;
        assert_eq!((found, out.as_str(), err.as_str()), (status, stdout, stderr), "{text}");
        Ok(())
    };
    check("echo out; echo err >&2; exit 3", ExitStatus::Code(3), "out\n", "err\n")?;
    check("kill -9 $$", ExitStatus::Signal(9), "", "")?;
    check("kill -15 $$", ExitStatus::Signal(15), "", "")?;
    check("cat", ExitStatus::Code(0), "", "")?;
    check("echo again > /dev/stdout; echo and > /dev/stderr", ExitStatus::Code(0), "again\n", "and\n")?;
    // A name without a slash is looked up in the container's PATH, by the container's environment.
    let (status, stdout, _) = exec(&server, spec.id, &["sh", "-c", "echo $PATH"])?;
    assert_eq!((status, stdout.as_str()), (ExitStatus::Code(0), "/bin\n"));
    // What was not asked for is not there, and the process does not mind.
    let none = Streams::default();
    let session = server.spawner.exec(spec.id, argv(&["/bin/sh", "-c", "echo x; cat; exit 4"]), none)?;
    assert!(session.stdin.is_none() && session.stdout.is_none() && session.stderr.is_none());
    assert_eq!(session.link.wait()?, ExitStatus::Code(4));
    assert_eq!(session.link.wait()?, ExitStatus::Code(4), "it can be asked again");
    // None of it is in the log.
    assert!(!place.log("1.log").exists());
    end(&server, &spec)
}

pub(crate) fn what_cannot_enter_is_told() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let check = |id: ContainerId, command: Vec<String>, kind: SessionFailureKind, message: &str| match server
        .spawner
        .exec(id, command, ALL)
    {
        Ok(_) => panic!("it started"),
        Err(failure) => {
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(failure.message.contains(message), "{failure}");
        }
    };
    use SessionFailureKind::{CommandNotExecutable, CommandNotFound, NotRunning, Refused};
    check(spec.id, argv(&["nosuch"]), CommandNotFound, "is in no directory of PATH");
    check(spec.id, argv(&["/nosuch"]), CommandNotFound, "is not in the image");
    check(spec.id, argv(&["/etc/hosts"]), CommandNotExecutable, "permission denied");
    check(spec.id, argv(&["/etc"]), CommandNotExecutable, "permission denied");
    check(spec.id, Vec::new(), Refused, "argv");
    check(spec.id, argv(&[""]), Refused, "argv");
    check(spec.id, argv(&["a\0b"]), Refused, "NUL");
    check(spec.id, vec!["x".repeat(5 << 20)], Refused, "4 MiB");
    // Above what the kernel takes for one argument.
    check(spec.id, argv(&["/bin/sh", "-c", &"x".repeat(1 << 20)]), CommandNotExecutable, "too long");
    check(ContainerId { pod_uid: 2, ..spec.id }, argv(&["sh"]), NotRunning, "not running");
    check(ContainerId { attempt: 1, ..spec.id }, argv(&["sh"]), NotRunning, "not running");
    end(&server, &spec)?;
    check(spec.id, argv(&["sh"]), NotRunning, "not running");
    Ok(())
}

/// What `compare` prints of a process that is who the container's first one is.
const SAME: [&str; 19] = [
    "cgroup",
    "cwd",
    "environ",
    "gid_map",
    "identity",
    "limits",
    "mountinfo",
    "ns/cgroup",
    "ns/ipc",
    "ns/mnt",
    "ns/net",
    "ns/pid",
    "ns/pid_for_children",
    "ns/time",
    "ns/user",
    "ns/uts",
    "oom_score_adj",
    "root",
    "uid_map",
];

pub(crate) fn it_is_who_the_container_is() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let mut options = place.options();
    options.ceiling.privileged = true;
    options.ceiling.unconfined = true;
    options.ceiling.host_users = true;
    options.ceiling.host_network = true;
    options.ceiling.host_ipc = true;
    let server = place.connect_with(&options)?;
    let check = |uid: u128, what: &str, change: &dyn Fn(&mut RunSpec, &mut PodEnvironment)| -> Outcome {
        let mut spec = probe(&place, uid, &["pause"]);
        let mut environment = pod(uid);
        change(&mut spec, &mut environment);
        spec.pod = Arc::new(environment);
        start(&server, &spec)?;
        let (status, stdout, stderr) = exec(&server, spec.id, &["/bin/probe", "compare", "1"])?;
        assert_eq!((status, stderr.as_str()), (ExitStatus::Code(0), ""), "{what}");
        let found: Vec<String> = stdout.lines().map(str::to_owned).collect();
        let mut found = pairs(&found);
        assert_eq!(found.remove("leads-session"), Some("yes"), "{what}");
        assert_eq!(found.remove("dumpable"), Some("1"), "{what}: as any program");
        let expect: std::collections::BTreeMap<&str, &str> =
            SAME.iter().map(|name| (*name, "same")).collect();
        assert_eq!(found, expect, "{what}");
        end(&server, &spec)
    };
    check(1, "strict", &|_, _| {})?;
    let baseline = |spec: &mut RunSpec, _: &mut PodEnvironment| {
        (spec.uid, spec.gid, spec.groups) = (0, 0, vec![1, 77]);
        (spec.capabilities, spec.no_new_privs) = (Capabilities::RUNTIME_DEFAULT, false);
        (spec.root.read_only, spec.root.upper) = (false, Scratch { bytes: 1 << 20, inodes: 64 });
        spec.cwd = "/some/where".to_owned();
        spec.env.push(("SECRET".to_owned(), "a b\nc".to_owned()));
        spec.oom_score_adj = 300;
        spec.rlimits = vec![Rlimit { resource: RlimitResource::OpenFiles, soft: 99, hard: 199 }];
    };
    check(2, "baseline", &baseline)?;
    check(3, "shared", &|spec, pod| {
        baseline(spec, pod);
        pod.sharing = Sharing::Shared;
    })?;
    check(4, "unconfined", &|spec, _| spec.seccomp = Seccomp::Unconfined)?;
    check(5, "host users", &|_, pod| pod.host_namespaces.users = true)?;
    check(6, "host network", &|spec, pod| {
        spec.uid = 0;
        pod.host_namespaces = HostNamespaces { users: true, network: true, ipc: true, pid: false };
    })?;
    check(7, "privileged", &|spec, pod| {
        (spec.uid, spec.gid, spec.privileged) = (0, 0, true);
        pod.host_namespaces.users = true;
    })?;
    Ok(())
}

pub(crate) fn much_goes_through_both_ways() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let session = server.spawner.exec(spec.id, argv(&["cat"]), ALL)?;
    let sent: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut stdin = File::from(session.stdin.ok_or("no stdin")?);
    let mut received = Vec::new();
    std::thread::scope(|scope| -> Outcome {
        let writer = scope.spawn(|| {
            let written = stdin.write_all(&sent);
            drop(stdin);
            written
        });
        File::from(session.stdout.ok_or("no stdout")?).read_to_end(&mut received)?;
        writer.join().map_err(|_| "the writer panicked")??;
        Ok(())
    })?;
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!(session.link.wait()?, ExitStatus::Code(0), "it read to the end");
    end(&server, &spec)
}

pub(crate) fn limits_count_what_enters() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let limits = CgroupLimits { memory_bytes: Some(32 << 20), pids: Some(16), ..CgroupLimits::default() };
    let spec = RunSpec { limits, ..probe(&place, 1, &["pause"]) };
    start(&server, &spec)?;
    let session = server.spawner.exec(spec.id, argv(&["/bin/probe", "forks", "100"]), ALL)?;
    // The container's first process, this one, and those it made.
    assert_eq!(lines(session.stdout)?()?, "14 EAGAIN");
    assert_eq!(session.link.wait()?, ExitStatus::Code(0));
    // Those that it left behind are the container's now; they go with the container alone.
    // One place was this process's own: for the helper, and not for what it would clone.
    let none = server.spawner.exec(spec.id, argv(&["/bin/probe", "exit", "0"]), ALL);
    let failure = none.err().ok_or("it started beyond the limit")?;
    assert_eq!(failure.kind, SessionFailureKind::Sandbox, "{failure}");
    end(&server, &spec)?;
    let spec = RunSpec { limits, ..probe(&place, 2, &["pause"]) };
    start(&server, &spec)?;
    assert_eq!(exec(&server, spec.id, &["/bin/probe", "eat"])?.0, ExitStatus::Signal(9));
    end(&server, &spec)
}

/// Its number inside, and that of a child of its own, which both would run for ever.
fn endless(server: &Server, id: ContainerId) -> Result<(SandboxSession, String), Failure> {
    let text = "sleep 1000 & echo $$ $!; wait";
    let mut session = server.spawner.exec(id, argv(&["/bin/sh", "-c", text]), ALL)?;
    let pids = lines(session.stdout.take())?()?;
    Ok((session, pids))
}

fn until_gone(server: &Server, id: ContainerId, pids: &str) -> Outcome {
    let alive = format!("for p in {pids}; do [ -d /proc/$p ] && exit 1; done; exit 0");
    until("the process of a session goes with it", || Ok(sh(server, id, &alive)?.0 == ExitStatus::Code(0)))
}

pub(crate) fn it_ends_with_its_session() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let (session, pids) = endless(&server, spec.id)?;
    drop(session);
    until_gone(&server, spec.id, &pids)?;
    // Asked to end while somebody waits for it.
    let (session, pids) = endless(&server, spec.id)?;
    std::thread::scope(|scope| -> Outcome {
        let waiter = scope.spawn(|| session.link.wait());
        session.link.end();
        let ended = waiter.join().map_err(|_| "the waiter panicked")??;
        assert_eq!(ended, ExitStatus::Signal(9));
        Ok(())
    })?;
    until_gone(&server, spec.id, &pids)?;
    // The container ends first: the process goes with it, and that is told.
    let (session, _) = endless(&server, spec.id)?;
    end(&server, &spec)?;
    assert_eq!(session.link.wait()?, ExitStatus::Signal(9));
    Ok(())
}

pub(crate) fn sessions_are_bounded() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let open = || server.spawner.attach(spec.id, ALL);
    let mut sessions = (0..32).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let failure = open().err().ok_or("there is room for one more")?;
    assert_eq!(failure.kind, SessionFailureKind::TooMany, "{failure}");
    let failure =
        server.spawner.exec(spec.id, argv(&["sh"]), ALL).err().ok_or("there is room for one more")?;
    assert_eq!(failure.kind, SessionFailureKind::TooMany, "{failure}");
    sessions.pop();
    until("a place becomes free", || Ok(open().is_ok()))?;
    // Each container has its own.
    let other = script(&place, 2, "sleep 1000");
    start(&server, &other)?;
    assert_eq!(sh(&server, other.id, "exit 6")?.0, ExitStatus::Code(6));
    drop(sessions);
    end(&server, &other)?;
    end(&server, &spec)
}

pub(crate) fn a_later_server_enters_too() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    let (session, pids) = endless(&server, spec.id)?;
    // A server that goes takes its sessions along; the container stays.
    drop((session, server));
    let server = place.connect()?;
    until_gone(&server, spec.id, &pids)?;
    assert_eq!(
        sh(&server, spec.id, "echo $PATH; exit 8")?,
        (ExitStatus::Code(8), "/bin\n".into(), String::new())
    );
    end(&server, &spec)
}
