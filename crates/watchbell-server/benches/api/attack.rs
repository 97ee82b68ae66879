//! The memory of a server whose places are all taken, by clients each of which sends the largest request that there is.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::JSON;
use crate::client::Client;
use crate::server::Process;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TOKENS: &str = "/apis/watchbell.dev/v1alpha1/usertokens";
/// The largest body that is taken.
const LARGEST: usize = 3 << 20;
/// Who take part; each holds an own share.
const USERS: usize = 32;
const HELD: &str = "watchbell_request_bytes ";
/// Threads that send.
const SENDERS: usize = 8;

pub(crate) fn measure(connections: usize, time: Duration) {
    raise_open_files();
    let server = Process::start(Duration::ZERO, Duration::ZERO);
    let tokens: Vec<String> = (0..USERS).map(|n| token(&server, n)).collect();
    println!("{connections} connections of {USERS} users; the server's memory:");
    println!("  at rest: {} KiB", server.memory_kib("VmRSS"));
    let begun = Instant::now();
    let connect = |n: usize| {
        let mut client = server.stranger();
        // The first request gives a connection its place; until then it is one of few.
        client.ask(MAPS, &tokens[n % USERS]);
        client
    };
    let mut open: Vec<Client> = (0..connections).map(connect).collect();
    let took = begun.elapsed().as_secs_f64();
    println!("  all open, each asked once: {} KiB, {took:.1} s", server.memory_kib("VmRSS"));
    largest(&server, &mut open, &tokens);
    drop(open);
    dense(&server, &tokens, time);
}

/// All of the largest body but its last byte, on every connection.
fn largest(server: &Process, open: &mut [Client], tokens: &[String]) {
    server.forget_peak();
    let body = vec![b' '; LARGEST - 1];
    let sent = AtomicU32::new(0);
    let begun = Instant::now();
    let each = open.len().div_ceil(SENDERS);
    std::thread::scope(|scope| {
        for (thread, part) in open.chunks_mut(each).enumerate() {
            let (body, sent) = (&body, &sent);
            scope.spawn(move || {
                for (n, client) in part.iter_mut().enumerate() {
                    let token = &tokens[(thread * each + n) % USERS];
                    if client.begin(MAPS, token, LARGEST, body).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let asked = Instant::now();
        let held = server.counted(HELD);
        println!("  an administrator asks meanwhile: {:.0} ms, {held} bytes are held", millis(asked));
    });
    let held = server.counted(HELD);
    println!(
        "  a body of {LARGEST} bytes on each, never finished: {} sent in {:.1} s, {held} bytes are held, peak {} KiB",
        sent.into_inner(),
        begun.elapsed().as_secs_f64(),
        server.memory_kib("VmHWM"),
    );
}

/// As many values as a request may have, in as few bytes, from as many clients as there are users.
fn dense(server: &Process, tokens: &[String], time: Duration) {
    server.forget_peak();
    let values = vec![r#"{"":0}"#; 49_990].join(",");
    let body = format!(r#"{{"metadata":{{"name":"a"}},"data":[{values}]}}"#);
    let is_over = AtomicBool::new(false);
    let (read, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for token in tokens {
            let (body, is_over, read, refused) = (body.as_bytes(), &is_over, &read, &refused);
            scope.spawn(move || {
                let mut client = server.stranger();
                while !is_over.load(Ordering::Relaxed) {
                    match client.post(MAPS, token, body) {
                        // It was read whole, and is no ConfigMap.
                        400 => read.fetch_add(1, Ordering::Relaxed),
                        429 => refused.fetch_add(1, Ordering::Relaxed),
                        code => panic!("{code}"),
                    };
                }
            });
        }
        std::thread::sleep(time);
        is_over.store(true, Ordering::Relaxed);
    });
    println!(
        "  {} bytes that say 100,000 values, from {USERS} at a time: {} read, {} told to wait, peak {} KiB",
        body.len(),
        read.into_inner(),
        refused.into_inner(),
        server.memory_kib("VmHWM"),
    );
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn token(server: &Process, number: usize) -> String {
    let object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"name": format!("u{number}")},
        "spec": {"user": format!("u{number}"), "groups": ["system:masters"]},
    });
    let made = server.client().call("POST", TOKENS, JSON, Some((JSON, object.to_string().as_bytes())));
    let made: Value = serde_json::from_slice(&made).unwrap();
    made["status"]["token"].as_str().unwrap().to_owned()
}

/// Each connection has an end here and one in the server, which inherits the limit.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
}
