//! What a hostile container tries against those who enter it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use watchbell_sandbox::{
    Capabilities, ContainerId, ExitStatus, RunSpec, Scratch, SessionFailureKind, Spawner,
};

use crate::Outcome;
use crate::place::{Place, script};
use crate::probe::{build_probe, probe};
use crate::sessions::{ALL, TTY, argv, end, exec, start, until};

/// How often somebody enters while another process of the container watches as fast as it can.
const ENTRIES: usize = 100;

pub(crate) fn peers_see_nothing_of_who_enters() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let strict = probe(&place, 1, &["spy"]);
    // Root inside, with the right to trace everybody there.
    let root = RunSpec {
        uid: 0,
        gid: 0,
        capabilities: Capabilities::ALL,
        no_new_privs: false,
        ..probe(&place, 2, &["spy"])
    };
    for spec in [strict, root] {
        let log = format!("{}.log", spec.id.pod_uid);
        start(&server, &spec)?;
        place.wait_for_log(&log)?;
        for i in 0..ENTRIES {
            let (status, _, stderr) = exec(&server, spec.id, &["/bin/probe", "exit", "7"])?;
            assert_eq!((status, stderr.as_str()), (ExitStatus::Code(7), ""), "{i}");
        }
        // The runtime itself, by the link to it (CVE-2019-5736): whatever it does, nothing of it can be written to.
        for _ in 0..3 {
            if let Ok(session) = server.spawner.exec(spec.id, argv(&["/proc/self/exe", "--list"]), ALL) {
                session.link.wait()?;
            }
        }
        exec(&server, spec.id, &["/bin/probe", "touch", "/tmp/stop"])?;
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0));
        let seen = place.lines(&log)?;
        let leaks: Vec<&String> = seen
            .iter()
            // Once it runs inside, the copy shows its own link to those who may look.
            .filter(|line| line.contains("leak ") && !line.contains("leak exe /memfd:watchbell (deleted)"))
            .collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
        assert!(seen.iter().any(|line| line.ends_with("looked yes")), "{seen:?}");
    }
    Ok(())
}

pub(crate) fn it_has_no_descriptor_of_the_host() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let spec = probe(&place, 1, &["pause"]);
    start(&server, &spec)?;
    let (status, stdout, _) = exec(&server, spec.id, &["/bin/probe", "fds"])?;
    assert_eq!((status, stdout.as_str()), (ExitStatus::Code(0), "0 1 2 \n"));
    let session = server.spawner.exec(spec.id, argv(&["/bin/probe", "fds"]), TTY)?;
    assert_eq!(crate::sessions::read_all(session.stdout)?, "0 1 2 \r\n");
    // The same filter and rights hold, so the same attacks fail.
    let (_, stdout, _) = exec(&server, spec.id, &["/bin/probe", "changes"])?;
    for expect in ["mount EPERM", "setns EPERM", "setuid EPERM", "pivot_root EPERM", "unknown-call ENOSYS"] {
        assert!(stdout.lines().any(|line| line == expect), "{expect}: {stdout}");
    }
    let (status, stdout, _) = exec(&server, spec.id, &["/bin/probe", "who"])?;
    let words: Vec<&str> = stdout.split_whitespace().collect();
    assert_eq!(status, ExitStatus::Code(0));
    // Its parent is outside: it has no number here.
    assert_eq!((words[0], words[3], words[2]), ("65534", "0", words[4]), "{stdout}");
    end(&server, &spec)
}

pub(crate) fn a_working_directory_is_no_way_out() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let targets = (3..12).map(|fd| format!("/proc/self/fd/{fd}")).chain(["/nowhere".to_owned()]);
    for (uid, target) in (1..).zip(targets) {
        let mut spec = probe(&place, uid, &["swap", "/work", &target]);
        (spec.uid, spec.cwd) = (0, "/work".to_owned());
        (spec.root.read_only, spec.root.upper) = (false, Scratch { bytes: 1 << 20, inodes: 64 });
        start(&server, &spec)?;
        place.wait_for_log(&format!("{uid}.log"))?;
        until("the link is there", || Ok(place.lines(&format!("{uid}.log"))?.len() == 2))?;
        assert_eq!(place.lines(&format!("{uid}.log"))?[1], "stdout F symlink allowed");
        let failure = server.spawner.exec(spec.id, argv(&["/bin/probe", "who"]), ALL).err();
        let failure = failure.ok_or_else(|| format!("it entered {target}"))?;
        assert_eq!(failure.kind, SessionFailureKind::Sandbox, "{failure}");
        assert!(failure.message.starts_with("cannot enter /work: "), "{failure}");
        end(&server, &spec)?;
    }
    Ok(())
}

const ID: ContainerId = ContainerId { pod_uid: 1, container: 0, attempt: 0 };

/// A server of its own that enters a container, says the process's number, and waits to be killed.
pub(crate) fn client(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(dir) = args.next() else { return ExitCode::FAILURE };
    let run = || -> Outcome {
        let place = Place::at(Path::new(&dir));
        let (spawner, _, _events) = Spawner::connect_or_start(&place.options())?;
        let session = spawner.exec(ID, argv(&["/bin/sh", "-c", "echo $$; sleep 1000"]), ALL)?;
        println!("{}", crate::sessions::lines(session.stdout)?()?);
        session.link.wait()?;
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn a_killed_server_leaves_no_session() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "sleep 1000");
    start(&server, &spec)?;
    drop(server);
    let mut client = Command::new("/proc/self/exe")
        .arg("session-client")
        .arg(place.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pid = String::new();
    BufReader::new(client.stdout.take().ok_or("no stdout")?).read_line(&mut pid)?;
    client.kill()?;
    client.wait()?;
    let server = place.connect()?;
    let look = format!("[ ! -d /proc/{} ]", pid.trim());
    until("the process is gone", || {
        Ok(exec(&server, spec.id, &["/bin/sh", "-c", &look])?.0 == ExitStatus::Code(0))
    })?;
    end(&server, &spec)
}
