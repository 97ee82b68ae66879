//! `exec` and `attach` as the server asks for them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;

use serde_json::json;
use watchbell_api::node::{Assignment, Command, Session, SessionAction, SessionEnd, SessionRequest};
use watchbell_api::types::pod_status::Phase;
use watchbell_api::{Reason, Uid};

use crate::rig::{Rig, container, pod, query, script, spec};

fn request(uid: u128, action: SessionAction) -> SessionRequest {
    let pod_uid = Uid(uid);
    SessionRequest { pod_uid, container: 0, action, stdin: true, stdout: true, stderr: true, tty: false }
}

fn sh(text: &str) -> SessionAction {
    SessionAction::Exec { command: ["/bin/sh", "-c", text].map(str::to_owned).to_vec() }
}

fn text(fd: Option<OwnedFd>) -> String {
    let mut text = String::new();
    File::from(fd.unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// What the process printed on both streams, and its end.
fn to_the_end(session: Session) -> (String, String, SessionEnd) {
    let Session { stdin, stdout, stderr, control } = session;
    drop(stdin);
    (text(stdout), text(stderr), control.wait().unwrap())
}

pub(crate) fn a_command_runs_in_a_container() {
    let mut rig = Rig::new();
    let sessions = rig.sessions();
    let refused = |request: &SessionRequest| sessions.open(request).err().unwrap();
    assert_eq!(refused(&request(1, sh("true"))).reason, Reason::BadRequest);
    rig.begin(pod(1, &script("busybox sleep 1000")));
    rig.until(1, |s| s.phase == Phase::Running);
    let run = |action| to_the_end(sessions.open(&request(1, action)).unwrap());
    let (out, err, end) = run(sh("echo $HOSTNAME; echo no >&2; busybox id -u; exit 3"));
    assert_eq!((out.as_str(), err.as_str(), end), ("pod-1\n65534\n", "no\n", SessionEnd::Exited(3)));
    assert_eq!(run(sh("kill -9 $$")).2, SessionEnd::Signalled(9));
    let (out, err, end) = run(SessionAction::Exec { command: vec!["nosuch".to_owned()] });
    assert_eq!((out.as_str(), end), ("", SessionEnd::Exited(127)));
    assert!(err.ends_with("exec: \"nosuch\": executable file not found in $PATH\n"), "{err}");
    let end = run(SessionAction::Exec { command: vec!["/etc/hosts".to_owned()] }).2;
    assert_eq!(end, SessionEnd::Exited(126));
    // One that its client leaves is ended; another container of the pod is not there.
    let session = sessions.open(&request(1, sh("busybox sleep 1000"))).unwrap();
    session.control.end();
    assert_eq!(session.control.wait().unwrap(), SessionEnd::Signalled(9));
    let other = SessionRequest { container: 1, ..request(1, sh("true")) };
    assert_eq!(refused(&other).message, "cannot exec in the container: it is not running");
    rig.stop(1, 0);
    rig.until_over(1);
    assert_eq!(refused(&request(1, sh("true"))).reason, Reason::BadRequest);
}

pub(crate) fn a_terminal_has_a_size() {
    let mut rig = Rig::new();
    rig.begin(pod(1, &script("busybox sleep 1000")));
    rig.until(1, |s| s.phase == Phase::Running);
    let action = sh("read x; busybox stty size; busybox tty; exit 4");
    let asked = SessionRequest { stderr: false, tty: true, ..request(1, action) };
    let session = rig.sessions().open(&asked).unwrap();
    session.control.resize(101, 37).unwrap();
    File::from(session.stdin.unwrap()).write_all(b"go\n").unwrap();
    let mut out = BufReader::new(File::from(session.stdout.unwrap()));
    assert_eq!([line(&mut out), line(&mut out), line(&mut out)], ["go", "37 101", "/dev/pts/0"]);
    assert!(session.stderr.is_none());
    assert_eq!(session.control.wait().unwrap(), SessionEnd::Exited(4));
    rig.stop(1, 0);
    rig.until_over(1);
}

pub(crate) fn a_container_is_attached_to_across_servers() {
    let mut rig = Rig::new();
    let mut main = container("main", "while read x; do echo got $x; done; exit 6");
    main["stdin"] = json!(true);
    let assignment = pod(1, &spec(json!({"containers": [main]})));
    rig.begin(assignment.clone());
    let status = rig.until(1, |s| s.phase == Phase::Running);
    let say = |rig: &Rig, word: &str| {
        let session = rig.sessions().open(&request(1, SessionAction::Attach)).unwrap();
        writeln!(File::from(session.stdin.unwrap()), "{word}").unwrap();
        assert_eq!(line(&mut BufReader::new(File::from(session.stdout.unwrap()))), format!("got {word}"));
    };
    say(&rig, "one");
    let dir = rig.end_server();
    let mut rig = Rig::restart(dir);
    rig.begin(Assignment { status, ..assignment.clone() });
    rig.send(Command::Synced);
    say(&rig, "two");
    let (out, _, end) = to_the_end(rig.sessions().open(&request(1, sh("echo $0 $HOSTNAME"))).unwrap());
    assert_eq!((out.as_str(), end), ("/bin/sh pod-1\n", SessionEnd::Exited(0)));
    rig.stop(1, 0);
    rig.until_over(1);
    assert_eq!(rig.log(&query(&assignment, 0)), "got one\ngot two\n", "the log is whole");
}

pub(crate) fn input_ends_once() {
    let mut rig = Rig::new();
    let mut main = container("main", "busybox cat; exit 6");
    (main["stdin"], main["stdinOnce"]) = (json!(true), json!(true));
    rig.begin(pod(1, &spec(json!({"containers": [main]}))));
    rig.until(1, |s| s.phase == Phase::Running);
    let session = rig.sessions().open(&request(1, SessionAction::Attach)).unwrap();
    File::from(session.stdin.unwrap()).write_all(b"all\n").unwrap();
    assert_eq!(text(session.stdout), "all\n");
    assert_eq!(session.control.wait().unwrap(), SessionEnd::Exited(6));
    assert_eq!(rig.until_over(1).containers[0].terminated().unwrap().exit_code, 6);
}
