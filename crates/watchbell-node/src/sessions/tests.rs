use std::io::Read;

use watchbell_api::Reason;
use watchbell_api::node::SessionEnd;
use watchbell_sandbox::{SessionFailure, SessionFailureKind, Streams};

use super::{as_api_error, not_executed, told};

fn failure(kind: SessionFailureKind) -> SessionFailure {
    SessionFailure { kind, message: "why".to_owned() }
}

#[test]
fn a_command_that_is_not_executed_is_told_as_runc_does() {
    let check = |name: &str, kind, expect: Option<(&str, u8)>| {
        let found = not_executed(&[name.to_owned()], &failure(kind));
        let found = found.as_ref().map(|(text, code)| {
            let (_, end) = text.split_once("unable to start container process: ").unwrap();
            (end, *code)
        });
        assert_eq!(found, expect);
    };
    use SessionFailureKind::{CommandNotExecutable, CommandNotFound, NotRunning, Sandbox};
    check("x", CommandNotFound, Some((r#"exec: "x": executable file not found in $PATH"#, 127)));
    check("/x", CommandNotFound, Some((r#"exec: "/x": stat /x: no such file or directory"#, 127)));
    check("x", CommandNotExecutable, Some((r#"exec: "x": why"#, 126)));
    check("x", NotRunning, None);
    check("x", Sandbox, None);
    assert_eq!(not_executed(&[], &failure(CommandNotFound)), None);
}

#[test]
fn what_is_told_is_read_where_somebody_reads() {
    let text = |fd: Option<std::os::fd::OwnedFd>| {
        fd.map(|fd| {
            let mut text = String::new();
            std::fs::File::from(fd).read_to_string(&mut text).unwrap();
            text
        })
    };
    let check = |streams: Streams, stdout: Option<&str>, stderr: Option<&str>| {
        let session = told("no", 127, streams).unwrap();
        assert_eq!(session.control.wait().unwrap(), SessionEnd::Exited(127));
        assert!(session.stdin.is_none());
        assert_eq!(text(session.stdout).as_deref(), stdout);
        assert_eq!(text(session.stderr).as_deref(), stderr);
    };
    let all = Streams { stdin: true, stdout: true, stderr: true, tty: false };
    check(all, Some(""), Some("no\n"));
    check(Streams { stderr: false, ..all }, Some("no\n"), None);
    check(Streams { stderr: false, tty: true, ..all }, Some("no\r\n"), None);
    check(Streams { stdout: false, ..all }, None, Some("no\n"));
    // A name may be long; the pipe takes what is left of it.
    assert!(told(&"ü".repeat(100_000), 127, all).is_ok());
}

#[test]
fn failures_have_their_codes() {
    use SessionFailureKind::{Connection, NotRunning, Sandbox, TooMany};
    let check = |kind, reason: Reason| {
        let error = as_api_error("exec in", &failure(kind));
        assert_eq!((error.reason, error.message.as_str()), (reason, "cannot exec in the container: why"));
    };
    check(NotRunning, Reason::BadRequest);
    check(TooMany, Reason::TooManyRequests);
    check(Connection, Reason::ServiceUnavailable);
    check(Sandbox, Reason::InternalError);
}
