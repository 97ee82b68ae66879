//! `pods/exec` and `pods/attach` over a WebSocket; tungstenite, which the server uses without its I/O, is the client.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Bytes, Message, WebSocket};
use watchbell_api::node::SessionAction;
use watchbell_api::types::pod_status::{ContainerState, Phase};

use crate::client::{Client, Tls};
use crate::harness::Harness;
use crate::kubectl::Kubectl;
use crate::logins::{certify, revoke};
use crate::tokens::token_of_an_editor;

const V4: &str = "v4.channel.k8s.io";
pub(crate) const V5: &str = "v5.channel.k8s.io";

/// `command=…` for each word.
fn command(words: &[&str]) -> String {
    let encode = |word: &&str| {
        let bytes = word.bytes().map(|byte| format!("%{byte:02X}"));
        format!("command={}", bytes.collect::<String>())
    };
    words.iter().map(encode).collect::<Vec<_>>().join("&")
}

fn sh(script: &str) -> String {
    command(&["sh", "-c", script])
}

/// A session as a client holds it.
struct Held {
    socket: WebSocket<Tls>,
    head: String,
}

/// What a session said in all.
#[derive(Debug, Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
    status: Value,
    close: Option<u16>,
}

impl Said {
    fn out(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    fn exit_code(&self) -> Option<&str> {
        assert_eq!(self.status["reason"], "NonZeroExitCode", "{self:?}");
        assert_eq!(self.status["details"]["causes"][0]["reason"], "ExitCode");
        self.status["details"]["causes"][0]["message"].as_str()
    }
}

pub(crate) fn handshake(h: &Harness, path: &str, protocols: &str) -> (Tls, String) {
    handshake_of(&h.client, path, protocols)
}

fn handshake_of(client: &Client, path: &str, protocols: &str) -> (Tls, String) {
    let offer =
        if protocols.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocols}\r\n") };
    handshake_with(client, path, &offer)
}

/// With more lines in the head.
fn handshake_with(client: &Client, path: &str, lines: &str) -> (Tls, String) {
    let mut stream = client.connect();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    (stream, String::from_utf8(head).unwrap().to_ascii_lowercase())
}

impl Held {
    #[track_caller]
    fn open(h: &Harness, path: &str, protocols: &str) -> Held {
        let (stream, head) = handshake(h, path, protocols);
        Held::upgraded(stream, head)
    }

    #[track_caller]
    fn upgraded(stream: Tls, head: String) -> Held {
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        Held { socket: WebSocket::from_raw_socket(stream, Role::Client, None), head }
    }

    fn send(&mut self, channel: u8, data: &[u8]) {
        let message = [&[channel], data].concat();
        self.socket.send(Message::Binary(Bytes::from(message))).unwrap();
    }

    /// The next message with something in it.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.socket.read().unwrap() {
                Message::Binary(bytes) if bytes.len() > 1 => return (bytes[0], bytes[1..].to_vec()),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Listens to the end.
    fn rest(mut self) -> Said {
        let mut said = Said::default();
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => match bytes.split_first() {
                    Some((1, data)) => said.out.extend_from_slice(data),
                    Some((2, data)) => said.err.extend_from_slice(data),
                    Some((3, [])) => {}
                    Some((3, data)) => said.status = serde_json::from_slice(data).unwrap(),
                    other => panic!("{other:?}"),
                },
                Ok(Message::Close(frame)) => said.close = frame.map(|f| u16::from(f.code)),
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return said,
                Err(error) => panic!("{error}: {said:?}"),
            }
        }
    }
}

#[test]
fn a_command_runs_and_its_exit_code_comes_back() {
    let (h, uid, path) = Harness::with_running_pod();
    for protocol in [V4, V5] {
        let check = |script: &str, out: &str, err: &str, code: Option<&str>| {
            let held = Held::open(&h, &format!("{path}/exec?{}", sh(script)), protocol);
            assert!(held.head.contains(&format!("sec-websocket-protocol: {protocol}\r\n")), "{}", held.head);
            let said = held.rest();
            assert_eq!((said.out(), said.err.as_slice()), (out, err.as_bytes()), "{said:?}");
            assert_eq!(said.close, Some(1000));
            match code {
                None => assert_eq!(said.status["status"], "Success", "{said:?}"),
                code => assert_eq!(said.exit_code(), code),
            }
        };
        check("echo out; echo err >&2", "out\n", "err\n", None);
        check("exit 7", "", "", Some("7"));
        check("kill -9 $$", "", "", Some("137"));
    }
    let asked = h.sessions.asked.lock().unwrap()[0].clone();
    assert_eq!((asked.pod_uid, asked.container), (uid, 0));
    assert_eq!((asked.stdin, asked.stdout, asked.stderr, asked.tty), (false, true, true, false));
    let words = ["sh", "-c", "echo out; echo err >&2"].map(str::to_owned).to_vec();
    assert_eq!(asked.action, SessionAction::Exec { command: words });
}

#[test]
fn words_reach_the_process_as_they_are() {
    let (h, _, path) = Harness::with_running_pod();
    let words = ["printf", "[%s]", "", "a b", "ü&=+%", "two\nlines"];
    let said = Held::open(&h, &format!("{path}/exec?{}&stdout=1", command(&words)), V5).rest();
    assert_eq!(said.out(), "[][a b][ü&=+%][two\nlines]");
}

#[test]
fn input_is_carried_and_ended() {
    let (h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V5);
    held.send(0, b"one\n");
    assert_eq!(held.hear(), (1, b"one\n".to_vec()));
    held.send(0, b"");
    held.send(9, b"nobody listens here");
    held.send(0, b"two\n");
    held.send(255, &[0]);
    // Behind the end nothing is heard.
    held.send(0, b"three\n");
    let said = held.rest();
    assert_eq!((said.out(), &said.status["status"]), ("two\n", &"Success".into()));
}

#[test]
fn much_flows_both_ways_at_once() {
    let (h, _, path) = Harness::with_running_pod();
    // The client sends everything before it reads anything that fits no buffer on the way, as a naive one does.
    let mut held = Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["wc", "-c"])), V5);
    for _ in 0..64 {
        held.send(0, &[b'x'; 128 << 10]);
    }
    held.send(0, &vec![b'y'; 3 << 20]);
    held.send(255, &[0]);
    assert_eq!(held.rest().out().trim(), ((64 << 17) + (3 << 20)).to_string());
    // And the other way: all that a process wrote arrives, however it ends.
    let held = Held::open(&h, &format!("{path}/exec?{}", sh("head -c 9000000 /dev/zero; exit 3")), V5);
    let said = held.rest();
    assert_eq!((said.out.len(), said.exit_code()), (9_000_000, Some("3")));
}

#[test]
fn a_client_that_does_not_read_stops_its_process() {
    let (h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/exec?{}", command(&["cat", "/dev/zero"])), V5);
    held.hear();
    // Were it not stopped, the test would run out of memory before the next session has said its word.
    let said = Held::open(&h, &format!("{path}/exec?{}", command(&["echo", "others"])), V5).rest();
    assert_eq!(said.out(), "others\n");
    let endless = h.sessions.controls.lock().unwrap()[0].clone();
    assert!(!endless.has_ended());
    drop(held);
    until("the process of a client that left is ended", || endless.has_ended());
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + crate::harness::PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_closes_ends_its_process() {
    let (h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V4);
    held.send(0, b"here\n");
    held.hear();
    let control = h.sessions.newest();
    held.socket.close(None).unwrap();
    until("the process is ended", || control.has_ended());
}

#[test]
fn a_child_that_holds_the_output_does_not_hold_the_session() {
    let (h, _, path) = Harness::with_running_pod();
    let said = Held::open(&h, &format!("{path}/exec?{}", sh("sleep 600 & echo $!; exit 5")), V5).rest();
    assert_eq!(said.exit_code(), Some("5"));
    // It is this test's own process, so it ends here.
    let pid = said.out().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn sessions_are_bounded_and_give_their_place_back() {
    let (h, _, path) = Harness::with_running_pod();
    let cat = format!("{path}/exec?{}&stdin=true", command(&["cat"]));
    // A fifth of 128 without those that are kept for the machine's own administrator.
    let mut held: Vec<Held> = (0..24).map(|_| Held::open(&h, &cat, V5)).collect();
    let (_, head) = handshake(&h, &cat, V5);
    assert!(head.starts_with("http/1.1 429 ") && head.contains("retry-after: 1"), "{head}");
    // Somebody else has a share of his own.
    let (other, _) = certify(&h, "ada", &["system:masters"]);
    assert!(handshake_of(&other, &cat, V5).1.starts_with("http/1.1 101 "));
    let mut one = held.pop().unwrap();
    one.send(255, &[0]);
    assert_eq!(one.rest().status["status"], "Success");
    until("its place is free", || handshake(&h, &cat, V5).1.starts_with("http/1.1 101 "));
}

/// Sessions are opened only where the expression holds.
fn require_of_sessions(h: &Harness, expression: &str) {
    let of = |kind: &str, name: &str, spec: Value| {
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("ValidatingAdmissionPolicy{kind}"),
            "metadata": {"name": name}, "spec": spec,
        });
        let plural = if kind.is_empty() { "policies" } else { "policybindings" };
        h.client
            .post(&format!("/apis/admissionregistration.k8s.io/v1/validatingadmission{plural}"), &object)
            .expect(201);
    };
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]});
    let validation = json!({"expression": expression, "reason": "Forbidden"});
    of("", "shells", json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}));
    of("Binding", "shells", json!({"policyName": "shells", "validationActions": ["Deny"]}));
}

/// Judged on a thread of its own, within the places for sessions, and given back with them.
#[test]
fn a_policy_says_who_enters() {
    let (h, _, path) = Harness::with_running_pod();
    require_of_sessions(&h, "object.command[0] == 'cat'");
    for _ in 0..30 {
        let (_, head) = handshake(&h, &format!("{path}/exec?{}", sh("true")), V5);
        assert!(head.starts_with("http/1.1 403 "), "{head}");
    }
    let (_, head) = handshake(&h, &format!("{path}/exec?{}", command(&["cat"])), V5);
    assert!(head.starts_with("http/1.1 101 "), "{head}");
}

/// Who acts as somebody else is judged as that one, and does not take his own name with him.
#[test]
fn a_policy_judges_whom_the_caller_acts_as() {
    let (h, _, path) = Harness::with_running_pod();
    h.bind("default", "edit", "ada");
    require_of_sessions(&h, "request.userInfo.username == 'ada'");
    let path = format!("{path}/exec?{}", command(&["cat"]));
    let as_user = |user: &str| handshake_with(&h.client, &path, &format!("Impersonate-User: {user}\r\n")).1;
    let (_, own) = handshake_with(&h.client, &path, "");
    assert!(own.starts_with("http/1.1 403 "), "{own}");
    let acting = as_user("ada");
    assert!(acting.starts_with("http/1.1 101 "), "{acting}");
    h.bind("default", "edit", "bob");
    let other = as_user("bob");
    assert!(other.starts_with("http/1.1 403 "), "{other}");
}

#[test]
fn sizes_reach_the_terminal() {
    let (h, _, path) = Harness::with_running_pod();
    let query = format!("{}&stdin=true&tty=true&stderr=true", command(&["cat"]));
    let mut held = Held::open(&h, &format!("{path}/exec?{query}"), V5);
    held.send(4, br#"{"Width":80,"Height":24}"#);
    held.send(4, b"nonsense");
    held.send(4, br#"{"Width":132,"Height":50}"#);
    held.send(0, b"x");
    held.hear();
    h.sessions.newest().wait_for_size((132, 50));
    // With a terminal there is no standard error of its own; Kubernetes overlooks that it was asked for.
    let asked = h.sessions.asked.lock().unwrap()[0].clone();
    assert!(asked.tty && asked.stdout && !asked.stderr);
}

#[test]
fn attach_joins_the_container_and_leaves_it() {
    let (h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/attach?stdin=true&stdout=true"), V5);
    held.send(0, b"you\n");
    let said = held.rest();
    // The container's exit code is the pod's to tell.
    assert_eq!((said.out(), &said.status["status"]), ("heard you\n", &"Success".into()));
    assert_eq!(h.sessions.asked.lock().unwrap()[0].action, SessionAction::Attach);
}

#[test]
fn the_oldest_protocols_are_spoken_too() {
    let (h, _, path) = Harness::with_running_pod();
    let query = format!("{path}/exec?{}", sh("echo out; exit 7"));
    let base64 = |text: &str| Message::Text(text.into());
    let check = |protocol: &str, expect: &[Message]| {
        let mut held = Held::open(&h, &query, protocol);
        assert_eq!(held.head.contains("sec-websocket-protocol"), !protocol.is_empty());
        let mut got = Vec::new();
        while let Ok(message) = held.socket.read() {
            if matches!(&message, Message::Text(_) | Message::Binary(_)) {
                got.push(message);
            }
        }
        assert_eq!(got, expect, "{protocol}");
    };
    let words = "command terminated with non-zero exit code: exit status 7";
    let plain = [
        Message::Binary(Bytes::from_static(b"\x01")),
        Message::Binary(Bytes::from_static(b"\x01out\n")),
        Message::Binary(Bytes::from(format!("\u{3}{words}"))),
    ];
    check("", &plain);
    check("channel.k8s.io", &plain);
    check(
        "base64.channel.k8s.io",
        &[
            base64("1"),
            base64("1b3V0Cg=="),
            base64("3Y29tbWFuZCB0ZXJtaW5hdGVkIHdpdGggbm9uLXplcm8gZXhpdCBjb2RlOiBleGl0IHN0YXR1cyA3"),
        ],
    );
}

#[test]
fn what_cannot_be_is_refused_before_the_upgrade() {
    let (h, uid, path) = Harness::with_running_pod();
    let check = |path: &str, code: u16, reason: &str, words: &str| {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        h.client.call("GET", path, &headers, b"").expect_refusal(code, reason, words);
    };
    let exec = format!("{path}/exec");
    check(
        &format!("{exec}?command=ls&container=x"),
        400,
        "BadRequest",
        "container x is not valid for pod a-",
    );
    check(&format!("{exec}?stdin=true"), 400, "BadRequest", "you must specify at least one command");
    check(
        &format!("{exec}?command=ls&stdout=false&stderr=false"),
        400,
        "BadRequest",
        "you must specify at least 1 of stdin, stdout, stderr",
    );
    check(&format!("{exec}?command=a%00b"), 400, "BadRequest", "zero byte");
    check(&format!("{exec}?command={}", "x".repeat(40_000)), 400, "BadRequest", "32768 bytes");
    check("/api/v1/namespaces/default/pods/none/exec?command=ls", 404, "NotFound", "pods \"none\" not found");
    check("/apis/batch/v1/namespaces/default/jobs/a/exec", 404, "NotFound", "");
    // SPDY, plain HTTP, a wrong method, a foreign protocol: each refusal says the way out.
    let ls = format!("{exec}?command=ls");
    let call = |method: &str, headers: &[(&str, &str)]| h.client.call(method, &ls, headers, b"");
    let spdy = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ];
    call("POST", &spdy).expect_refusal(400, "BadRequest", "WebSocket and not SPDY: use kubectl 1.31");
    call("GET", &[]).expect_refusal(400, "BadRequest", "Upgrade request required");
    call("POST", &[]).expect_refusal(400, "BadRequest", "Upgrade request required");
    call("DELETE", &[]).expect_refusal(405, "MethodNotAllowed", "");
    let (_, head) = handshake(&h, &ls, "chat");
    assert!(head.starts_with("http/1.1 400 "), "{head}");
    // A pod that has ended.
    assert!(h.sessions.asked.lock().unwrap().is_empty());
    let end = watchbell_api::types::pod_status::Terminated {
        exit_code: 0,
        signal: None,
        reason: watchbell_api::types::pod_status::TerminatedReason::Completed,
        message: None,
        started_at: Some(1),
        finished_at: 2,
    };
    h.report(uid, Phase::Running, ContainerState::Terminated(end.clone()));
    h.client.wait_for(&path, "ended", |a| {
        a.body["status"]["containerStatuses"][0]["state"]["terminated"].is_object()
    });
    check(&ls, 400, "BadRequest", "is not running: it ended with exit code 0");
    h.report(uid, Phase::Succeeded, ContainerState::Terminated(end));
    h.client.wait_for(&path, "over", |a| a.body["status"]["phase"] == "Succeeded");
    check(
        &ls,
        400,
        "BadRequest",
        "cannot exec into a container in a completed pod; current phase is Succeeded",
    );
    check(&format!("{path}/attach"), 400, "BadRequest", "current phase is Succeeded");
    h.client.anonymous().get(&ls).expect_refusal(401, "Unauthorized", "Unauthorized");
}

#[test]
fn a_start_that_fails_is_told_on_the_error_channel() {
    let (h, _, path) = Harness::with_running_pod();
    let said = Held::open(&h, &format!("{path}/exec?command=no-such-program"), V5).rest();
    assert_eq!((&said.status["status"], &said.status["code"]), (&"Failure".into(), &400.into()));
    let message = said.status["message"].as_str().unwrap();
    assert!(message.contains("cannot start \"no-such-program\""), "{message}");
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_and_cut() {
    let (h, _, path) = Harness::with_running_pod();
    let open = || Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V5);
    let mut held = open();
    held.send(0, &vec![0; (4 << 20) + 1]);
    let said = held.rest();
    assert_eq!((said.close, &said.status["reason"]), (Some(1009), &"RequestEntityTooLarge".into()));
    let mut held = open();
    held.socket.send(Message::Binary(Bytes::new())).unwrap();
    let said = held.rest();
    assert!(said.status["message"].as_str().unwrap().contains("must begin with its channel"), "{said:?}");
    let mut held = open();
    // A frame that is not masked.
    held.socket.get_mut().write_all(&[0x82, 0x02, 0, b'x']).unwrap();
    let said = held.rest();
    assert!(said.status["message"].as_str().unwrap().contains("no WebSocket"), "{said:?}");
    until("their processes are ended", || h.sessions.controls.lock().unwrap().iter().all(|c| c.has_ended()));
}

#[test]
fn a_server_that_ends_says_so_to_its_sessions() {
    let (mut h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V5);
    held.send(0, b"here\n");
    held.hear();
    let control = h.sessions.newest();
    let listening = std::thread::spawn(move || held.rest());
    h.end();
    let said = listening.join().unwrap();
    assert_eq!(said.close, Some(1001));
    assert!(said.status["message"].as_str().unwrap().contains("the server ended"), "{said:?}");
    until("the process is ended", || control.has_ended());
}

#[test]
fn a_session_ends_with_the_certificate_that_opened_it() {
    let (h, _, path) = Harness::with_running_pod();
    let mut held = Held::open(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V5);
    held.send(0, b"one\n");
    assert_eq!(held.hear(), (1, b"one\n".to_vec()));
    let (other, _) = certify(&h, "bob", &["system:masters"]);
    revoke(&other, &h.admin_serial_number()).expect(201);
    let said = held.rest();
    assert_eq!((&said.status["code"], said.close), (&401.into(), Some(1000)), "{said:?}");
    until("its process ends", || h.sessions.controls.lock().unwrap()[0].has_ended());
}

#[test]
fn a_session_ends_with_the_key_that_signed_its_token() {
    let (h, _, path) = Harness::with_running_pod();
    let lines =
        format!("Authorization: Bearer {}\r\nSec-WebSocket-Protocol: {V5}\r\n", token_of_an_editor(&h));
    let path = format!("{path}/exec?{}&stdin=true", command(&["cat"]));
    let (stream, head) = handshake_with(&h.client.anonymous(), &path, &lines);
    let mut held = Held::upgraded(stream, head);
    held.send(0, b"one\n");
    assert_eq!(held.hear(), (1, b"one\n".to_vec()));
    h.client.post("/apis/watchbell.dev/v1alpha1/tokenkeys:revoke", &json!({})).expect(200);
    let said = held.rest();
    assert_eq!((&said.status["code"], said.close), (&401.into(), Some(1000)), "{said:?}");
    until("its process ends", || h.sessions.controls.lock().unwrap()[0].has_ended());
}

#[test]
fn sessions_stand_in_the_audit_journal_without_a_byte_of_theirs() {
    let (h, _, path) = Harness::with_running_pod();
    let query = format!("{}&stdin=true", sh("read word; echo $word; exit 9"));
    let mut held = Held::open(&h, &format!("{path}/exec?{query}"), V5);
    let id = held.head.lines().find_map(|l| l.strip_prefix("audit-id: ")).unwrap().trim().to_owned();
    held.send(0, b"swordfish\n");
    assert_eq!(held.rest().exit_code(), Some("9"));
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut entries: Vec<Value> = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            assert!(!row.body.windows(9).any(|w| w == b"swordfish"));
            entries.push(serde_json::from_slice(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    entries.retain(|e| e["auditID"] == id.as_str());
    let stages: Vec<_> = entries.iter().map(|e| e["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    for entry in &entries {
        assert_eq!(entry["verb"], "get");
        assert_eq!(entry["user"]["username"], "kubernetes-admin");
        assert_eq!(entry["objectRef"]["subresource"], "exec");
        assert_eq!(entry["annotations"]["watchbell.dev/container"], "main");
        assert_eq!(
            entry["annotations"]["watchbell.dev/command"],
            r#"["sh","-c","read word; echo $word; exit 9"]"#
        );
        assert!(entry["annotations"]["watchbell.dev/command-hash"].is_string());
    }
    assert_eq!(entries[1]["annotations"]["watchbell.dev/exit-code"], "9");
}

/// A copy of the directory is what a crash at that moment leaves.
#[test]
fn a_session_is_recorded_before_it_begins() {
    let (h, _, path) = Harness::with_running_pod();
    let (_stream, head) = handshake(&h, &format!("{path}/exec?{}&stdin=true", command(&["cat"])), V5);
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let crashed = tempfile::tempdir().unwrap();
    crate::audit::copy(h.dir.path(), crashed.path());
    let entries = crate::audit::entries(crashed.path());
    let begun = entries.iter().filter(|e| e["objectRef"]["subresource"] == "exec");
    let noted: Vec<(&Value, &Value)> =
        begun.map(|e| (&e["stage"], &e["annotations"]["watchbell.dev/command"])).collect();
    assert_eq!(noted, [(&"ResponseStarted".into(), &r#"["cat"]"#.into())]);
}

#[test]
fn the_end_of_a_long_command_stands_in_the_audit_journal() {
    let (h, _, path) = Harness::with_running_pod();
    let text = format!("{}exit 7", " ".repeat(6000));
    let held = Held::open(&h, &format!("{path}/exec?{}", sh(&text)), V5);
    assert_eq!(held.rest().exit_code(), Some("7"));
    let dir = h.stop();
    let entries = crate::audit::entries(dir.path());
    let begun = entries.iter().find(|e| e["annotations"]["watchbell.dev/command"].is_string()).unwrap();
    let noted = begun["annotations"]["watchbell.dev/command"].as_str().unwrap();
    assert!(noted.starts_with(r#"["sh","-c",""#) && noted.ends_with(r#"  exit 7"]"#), "{noted}");
    assert!(noted.contains(" …1924 characters are left out… ") && noted.len() < 4200, "{noted}");
    let hash = begun["annotations"]["watchbell.dev/command-hash"].as_str().unwrap();
    let key = watchbell_store::Store::body_key_in(dir.path()).unwrap().unwrap();
    let command = serde_json::json!(["sh", "-c", text]).to_string();
    let says = key.compare(begun["auditID"].as_str().unwrap(), command.as_bytes(), hash);
    assert_eq!(says, watchbell_store::BodyMatch::Same);
}

#[test]
fn kubectl_runs_commands_and_attaches() {
    let (h, _, path) = Harness::with_running_pod();
    let Some(kubectl) = Kubectl::of(&h) else { return };
    let pod = path.rsplit('/').next().unwrap();
    assert_eq!(kubectl.ok(&["exec", pod, "--", "echo", "a  b"], ""), "a  b\n");
    assert_eq!(kubectl.ok(&["exec", "job/a", "--", "echo", "by job"], ""), "by job\n");
    let text = "line\n".repeat(100_000);
    assert_eq!(kubectl.ok(&["exec", "-i", pod, "--", "cat"], &text), text);
    let output = kubectl.run(&["exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 42"], "");
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(output.stdout, b"out\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("err\n"), "{output:?}");
    kubectl.refused(&["exec", pod, "--", "no-such-program"], "", "cannot start \"no-such-program\"");
    kubectl.refused(&["exec", pod, "-c", "x", "--", "ls"], "", "container x is not valid for pod");
    assert_eq!(kubectl.ok(&["attach", "-i", pod], "you\n"), "heard you\n");
}
