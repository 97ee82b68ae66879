//! What a hostile container tries against those who enter it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use watchbell_sandbox::{
    Capabilities, ContainerId, ExitStatus, RunSpec, Scratch, SessionFailureKind, Spawner,
};

use crate::Outcome;
use crate::place::{Place, script};
use crate::probe::{build_probe, probe};
use crate::sessions::{ALL, TTY, argv, end, exec, start, until};

/// How often somebody enters while another process of the container watches as fast as it can; more often where it has not seen anybody.
const ENTRIES: usize = 100;

pub(crate) fn peers_see_nothing_of_who_enters() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let strict = probe(&place, 1, &["spy"]);
    // Root inside, with the right to trace everybody there.
    let root = |uid: u128| RunSpec {
        uid: 0,
        gid: 0,
        capabilities: Capabilities::ALL,
        no_new_privs: false,
        ..probe(&place, uid, &["spy"])
    };
    // The last one is entered by the runtime itself, by the link to it (CVE-2019-5736): once it runs inside it is no secret, but
    // nothing of it can be written to.
    for (spec, entries, copies) in [(strict, ENTRIES, 0), (root(2), ENTRIES, 0), (root(3), 0, 3)] {
        let log = format!("{}.log", spec.id.pod_uid);
        start(&server, &spec)?;
        place.wait_for_log(&log)?;
        for i in 0..entries {
            let (status, _, stderr) = exec(&server, spec.id, &["/bin/probe", "exit", "7"])?;
            assert_eq!((status, stderr.as_str()), (ExitStatus::Code(7), ""), "{i}");
        }
        for _ in 0..copies {
            if let Ok(session) = server.spawner.exec(spec.id, argv(&["/proc/self/exe", "--list"]), ALL) {
                session.link.wait()?;
            }
        }
        let has_looked = || Ok(place.lines(&log)?.iter().any(|line| line.ends_with(" looked")));
        until("the spy has looked at somebody", || {
            exec(&server, spec.id, &["/bin/probe", "exit", "7"])?;
            has_looked()
        })?;
        exec(&server, spec.id, &["/bin/probe", "touch", "/tmp/stop"])?;
        assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0));
        let seen = place.lines(&log)?;
        let leaks: Vec<&String> = seen
            .iter()
            .filter(|line| line.contains("leak ") && (copies == 0 || !line.contains("leak exe")))
            .collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
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

/// A frame as the protocol has it, with a claim of descriptors that may be a lie.
fn frame(body: &[u8], fds: u32) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &fds.to_le_bytes(), body].concat()
}

pub(crate) fn hostile_sessions_are_survived() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "exec sleep 1000");
    start(&server, &spec)?;
    let count = "n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; echo $n";
    let before = exec(&server, spec.id, &["/bin/sh", "-c", count])?.1;
    drop(server);
    let hello = postcard::to_allocvec(&(0_u8, u64::from_le_bytes(*b"WBELLspn"), 1_u32, 2_u32))?;
    let command = Some(vec!["/bin/sh".to_owned()]);
    let ask = postcard::to_allocvec(&(10_u8, ID.pod_uid, ID.container, ID.attempt, command, [true; 4]))?;
    let (_pipe, not_a_socket) = rustix::pipe::pipe()?;
    let (one, other) = UnixStream::pair()?;
    drop(one);
    let both: [BorrowedFd<'_>; 2] = [not_a_socket.as_fd(), other.as_fd()];
    let attacks: [(&[u8], u32, &[BorrowedFd<'_>]); 6] = [
        (&ask, 0, &[]),
        (&ask, 1, &[]),
        (&ask, 1, &both[..1]),
        (&ask, 2, &both),
        (&ask[..ask.len() - 1], 1, &both[1..]),
        // The client has left before it asked.
        (&ask, 1, &both[1..]),
    ];
    for (body, claimed, fds) in attacks {
        let mut stream = UnixStream::connect(place.path().join("run/spawner.sock"))?;
        stream.write_all(&frame(&hello, 0))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let bytes = frame(body, claimed);
        sendmsg(&stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        // It hangs up; what it says before does not matter.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let server = place.connect()?;
    assert_eq!(exec(&server, spec.id, &["/bin/sh", "-c", "exit 9"])?.0, ExitStatus::Code(9));
    // Nothing that was asked for by one who had left runs.
    until("all is as before", || Ok(exec(&server, spec.id, &["/bin/sh", "-c", count])?.1 == before))?;
    end(&server, &spec)
}
