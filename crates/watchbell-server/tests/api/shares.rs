//! Who holds what of what there is a bounded amount of, and that nobody keeps others out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use watchbell_server::ConnectionLimits;

use crate::client::{Client, Tls};
use crate::harness::Harness;
use crate::logins::{certify, revoke};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LIMITS: ConnectionLimits = ConnectionLimits { handshakes: 64, anonymous: 8, known: 12, local: 4 };

/// Asks over an open connection; `None`: it was cut.
fn ask(stream: &mut (impl Read + Write), path: &str) -> Option<u16> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let answer = answer(stream)?;
    // The body, so that the next answer begins where it should.
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// The head of an answer.
fn answer(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(String::from_utf8(head).ok()?.to_ascii_lowercase())
}

/// Connections over which something was asked, so that they have their place.
fn open(client: &Client, count: usize) -> Vec<Tls> {
    (0..count)
        .map(|_| {
            let mut stream = client.connect();
            assert_eq!(ask(&mut stream, "/readyz"), Some(200));
            stream
        })
        .collect()
}

fn alive(streams: &mut [Tls]) -> usize {
    streams.iter_mut().filter_map(|stream| ask(stream, "/readyz")).count()
}

fn local(h: &Harness) -> UnixStream {
    UnixStream::connect(h.dir.path().join(watchbell_server::ADMIN_SOCKET)).unwrap()
}

#[test]
fn one_users_connections_cost_no_other_theirs() {
    let h = Harness::with_connections(LIMITS);
    let (bob, _) = certify(&h, "bob", &["system:masters"]);
    let (eve, _) = certify(&h, "eve", &["system:masters"]);
    let mut bobs = open(&bob, 4);
    let mut locals: Vec<UnixStream> = (0..3).map(|_| local(&h)).collect();
    for stream in &mut locals {
        assert_eq!(ask(stream, MAPS), Some(200));
    }
    // More than there are places: they are cut at her own cost, but for what nobody else holds.
    let mut eves = open(&eve, 40);
    assert_eq!(alive(&mut bobs), 4);
    assert!(alive(&mut eves) <= 8, "no more than are left");
    // Who comes now finds a place, and so does the machine's administrator, whatever others do.
    assert_eq!(alive(&mut open(&bob, 1)), 1);
    h.client.get(MAPS).expect(200);
    for stream in &mut locals {
        assert_eq!(ask(stream, MAPS), Some(200));
    }
    assert_eq!(ask(&mut local(&h), MAPS), Some(200));
}

/// A certificate gives its connection a place among those of users only while it counts.
#[test]
fn what_was_revoked_has_no_place_among_users() {
    let h = Harness::with_connections(LIMITS);
    let (bob, _) = certify(&h, "bob", &["system:masters"]);
    let (eve, record) = certify(&h, "eve", &["system:masters"]);
    let mut before = eve.connect();
    assert_eq!(ask(&mut before, MAPS), Some(200));
    revoke(&h.client, record["status"]["serialNumber"].as_str().unwrap()).expect(201);
    // All that are left: were hers counted among them, one of his would go for each.
    let mut bobs = open(&bob, 9);
    let eves = open(&eve, 20);
    assert_eq!(alive(&mut bobs), 9);
    drop(eves);
    // The one that she had goes with the first request that is refused.
    assert_eq!((ask(&mut before, MAPS), ask(&mut before, MAPS)), (Some(401), None));
}

#[test]
fn one_users_logs_leave_others_theirs() {
    let (h, uid, path) = Harness::with_running_pod();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"line\n".to_vec());
    let (bob, _) = certify(&h, "bob", &["system:masters"]);
    let log = format!("{path}/log?follow=true");
    let follow = |stream: &mut Tls| {
        stream.write_all(format!("GET {log} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        answer(stream).unwrap()
    };
    let mut held = Vec::new();
    let refused = loop {
        let mut stream = bob.connect();
        let head = follow(&mut stream);
        if !head.starts_with("http/1.1 200") {
            break head;
        }
        held.push(stream);
        assert!(held.len() < 256, "there is no end");
    };
    assert!(refused.starts_with("http/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(held.len(), 49, "a fifth of 256 without what is kept for the machine's administrator");
    assert!(follow(&mut h.client.connect()).starts_with("http/1.1 200"), "others have theirs");
    drop(held);
    h.logs.ended.store(true, std::sync::atomic::Ordering::SeqCst);
    h.client.wait_for(&format!("{path}/log"), "free again", |answer| answer.code == 200);
}

/// Begins a request whose body is as large as may be, and says what it was told: to go on, or what is wrong.
fn begin(stream: &mut (impl Read + Write), length: Option<usize>) -> String {
    let length = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".into(),
    };
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    answer(stream).unwrap()
}

#[test]
fn bodies_on_their_way_are_bounded_for_all_and_for_each() {
    const LARGEST: usize = 3 << 20;
    let h = Harness::start();
    let flood = |client: &Client| {
        let mut held = Vec::new();
        loop {
            let mut stream = client.connect();
            let told = begin(&mut stream, Some(LARGEST));
            if !told.starts_with("http/1.1 100") {
                return (held, told);
            }
            held.push(stream);
            assert!(held.len() < 200, "there is no end");
        }
    };
    let (bob, _) = certify(&h, "bob", &["system:masters"]);
    let (bobs, refused) = flood(&bob);
    assert!(refused.starts_with("http/1.1 429") && refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(bobs.len(), 12, "a fifth of 192 MiB");
    // One that is sent without asking is taken and thrown away; somebody else's is not.
    let large =
        |bytes: usize| serde_json::json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(bytes)}});
    bob.post(MAPS, &large(LARGEST - 100)).expect_refusal(
        429,
        "TooManyRequests",
        "you have too many requests with bodies",
    );
    h.client.post(MAPS, &large(1 << 20)).expect(201);
    // However many come, all together hold no more than there is.
    let floods: Vec<_> =
        (0..12).map(|n| flood(&certify(&h, &format!("u{n}"), &["system:masters"]).0)).collect();
    let all = bobs.len() + floods.iter().map(|(held, _)| held.len()).sum::<usize>();
    assert!((40..=63).contains(&all), "{all} of 3 MiB in 192 MiB");
    let metrics = h.client.get("/metrics").text;
    let held = metrics.lines().find_map(|line| line.strip_prefix("watchbell_request_bytes ")?.parse().ok());
    assert_eq!(held, Some(all * (LARGEST + 4096)), "{metrics}");
    // The machine's administrator has what is kept for him.
    assert!(begin(&mut local(&h), Some(LARGEST)).starts_with("http/1.1 100"));
    // What is given up is free again.
    drop((bobs, floods));
    h.client
        .wait_for("/metrics", "free of them", |answer| answer.text.contains("watchbell_request_bytes 0\n"));
    bob.post(MAPS, &serde_json::json!({"metadata": {"name": "b"}})).expect(201);
}

/// A body that does not say how long it is takes its share as it comes.
#[test]
fn a_body_of_unknown_length_is_counted_as_it_comes() {
    let h = Harness::start();
    let mut stream = h.client.connect();
    assert!(begin(&mut stream, None).starts_with("http/1.1 100"));
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    stream.write_all(piece.as_bytes()).unwrap();
    stream.flush().unwrap();
    h.client.wait_for("/metrics", "counted", |answer| {
        let held = answer.text.lines().find_map(|l| l.strip_prefix("watchbell_request_bytes ")?.parse().ok());
        held.is_some_and(|held: u64| held >= 1 << 20)
    });
    drop(stream);
    h.client.wait_for("/metrics", "free of it", |answer| answer.text.contains("watchbell_request_bytes 0\n"));
}

/// What becomes of a body counts too: it may be a hundred times as large.
#[test]
fn a_body_of_many_small_values_is_refused() {
    let h = Harness::start();
    let body = format!(r#"{{"metadata": {{"name": "a"}}, "data": [{}]}}"#, vec!["{}"; 100_000].join(","));
    let answer = h.client.call("POST", MAPS, &[("Content-Type", "application/json")], body.as_bytes());
    answer.expect_refusal(400, "BadRequest", "it has more than 100000 values");
}
