//! What strangers and broken clients send.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::client::Client;
use crate::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn nobody_is_served_unauthenticated() {
    let h = Harness::start();
    let anonymous = h.client.anonymous();
    for path in [
        "/",
        "/api",
        "/apis",
        "/version",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/api/v1/pods",
        MAPS,
        "/api/v1/namespaces/default/secrets?watch=1",
        "/apis/watchbell.dev/v1alpha1/images",
        "/nowhere",
        "/healthz/x",
        "/api/v1/../../healthz",
    ] {
        anonymous.get(path).expect_refusal(401, "Unauthorized", "Unauthorized");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let answer = anonymous.call(method, MAPS, &[("Content-Type", "application/json")], b"{}");
        assert_eq!(answer.code, 401, "{method}");
    }
    anonymous.post(MAPS, &config_map("a", "x")).expect_refusal(401, "Unauthorized", "");
    h.client.get(&format!("{MAPS}/a")).expect(404);
}

#[test]
fn foreign_certificates_are_nobody() {
    let (h, other) = (Harness::start(), Harness::start());
    let read = |h: &Harness, name: &str| std::fs::read(h.dir.path().join("pki").join(name)).unwrap();
    // Signed by another server's authority of the same name, for the same administrator.
    let foreign = Client::new(
        &h.client.server,
        &h.client.ca_pem,
        Some((&read(&other, "admin.crt"), &read(&other, "admin.key"))),
    );
    foreign.get(MAPS).expect_refusal(401, "Unauthorized", "Unauthorized");
    assert_eq!(foreign.get("/readyz").code, 200);
    // The server's own certificate is not for clients.
    let server = Client::new(
        &h.client.server,
        &h.client.ca_pem,
        Some((&read(&h, "server.crt"), &read(&h, "server.key"))),
    );
    server.get(MAPS).expect_refusal(401, "Unauthorized", "Unauthorized");
}

#[test]
fn headers_that_claim_to_be_somebody_claim_nothing() {
    let h = Harness::start();
    let headers = [
        ("Authorization", "Bearer system:masters"),
        ("X-Remote-User", "kubernetes-admin"),
        ("X-Remote-Group", "system:masters"),
        ("Impersonate-User", "kubernetes-admin"),
        ("X-Forwarded-For", "127.0.0.1"),
    ];
    let answer = h.client.anonymous().call("GET", MAPS, &headers, b"");
    answer.expect_refusal(401, "Unauthorized", "Unauthorized");
}

#[test]
fn what_is_no_tls_gets_no_answer() {
    let h = Harness::start();
    for bytes in [
        &b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0u8; 64],
        &[0x16, 3, 1, 0xff, 0xff],
        b"SSH-2.0-x\r\n",
    ] {
        let mut stream = TcpStream::connect(h.address()).unwrap();
        stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(h.client.get("/readyz").code, 200);
}

#[test]
fn idle_connections_keep_nobody_out() {
    let h = Harness::start();
    // More than there are places for handshakes; none says anything.
    let held: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(h.address()).ok()).collect();
    assert!(held.len() > 300, "{}", held.len());
    h.client.anonymous().get("/readyz").expect(200);
    h.client.get(MAPS).expect(200);
    // A known client whose connection is open stays connected.
    h.client.get(MAPS).expect(200);
}

#[test]
fn large_heads_are_refused() {
    let h = Harness::start();
    let check = |head: String, code: &str| {
        let answer = h.client.raw(head.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        // The server closes before it has read all: then the answer may be lost on the way.
        assert!(
            line.is_empty() && head.len() > 60_000 || line.contains(code),
            "{line:?} instead of {code} to {:?}",
            &head[..head.len().min(60)]
        );
    };
    let huge = "x".repeat(200 << 10);
    check(format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\nX-Huge: {huge}\r\n\r\n"), "431");
    check(format!("GET {MAPS}?labelSelector={huge} HTTP/1.1\r\nHost: x\r\n\r\n"), "4");
    let many: String = (0..150).map(|i| format!("x-{i}: y\r\n")).collect();
    check(format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431");
    check("NONSENSE\r\n\r\n".into(), "400");
    check(format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n"), "400");
    check("GET /healthz/../api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), "404");
    check("GET http://elsewhere/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), "404");
    check("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), "404");
    // Two lengths, or a length beside chunks: what one proxy reads as a body another reads as a request.
    let post = format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    check(format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), "400");
    check(format!("{post}Content-Length: 99999999999\r\n\r\n"), "413");
    h.client.get(MAPS).expect(200);
}

#[test]
fn large_bodies_are_refused() {
    let h = Harness::start();
    let mut map = config_map("big", "x");
    map["data"]["key"] = "v".repeat(4 << 20).into();
    h.client.post(MAPS, &map).expect_refusal(413, "RequestEntityTooLarge", "limit is 3145728");
    h.client.get(&format!("{MAPS}/big")).expect(404);
}

#[test]
fn bodies_that_are_no_objects() {
    let h = Harness::start();
    let check = |content_type: &str, body: &[u8], code: u16| {
        let answer = h.client.call("POST", MAPS, &[("Content-Type", content_type)], body);
        assert_eq!(
            answer.code,
            code,
            "{content_type} {:?}: {}",
            String::from_utf8_lossy(&body[..body.len().min(60)]),
            answer.text
        );
        assert_eq!(answer.body["kind"], "Status");
    };
    let json = "application/json";
    check(json, b"{", 400);
    check(json, b"[]", 400);
    check(json, b"null", 400);
    check(json, b"{\"a\":1}{\"b\":2}", 400);
    check(json, b"{\"kind\":\"ConfigMap\",\"kind\":\"Secret\"}", 400);
    check(json, b"\xff\xfe", 400);
    check(json, &b"[".repeat(100_000), 400);
    check(json, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":[]}"#, 400);
    check(json, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7}}"#, 400);
    check(json, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"../x"}}"#, 422);
    check(
        json,
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"kube-system"}}"#,
        400,
    );
    check("application/vnd.kubernetes.protobuf", b"k8s\x00garbage", 400);
    check("text/html", b"<p>", 415);
    let bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
        d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    check("application/yaml", bomb, 400);
    let packed =
        h.client.call("POST", MAPS, &[("Content-Type", json), ("Content-Encoding", "gzip")], b"\x1f\x8b");
    packed.expect_refusal(415, "UnsupportedMediaType", "gzip");
}

#[test]
fn queries_and_paths_with_tricks() {
    let h = Harness::start();
    h.client.get(&format!("{MAPS}?limit=1&limit=2")).expect_refusal(400, "BadRequest", "\"limit\" twice");
    h.client.get(&format!("{MAPS}?limit=%zz")).expect_refusal(400, "BadRequest", "broken escape");
    h.client.delete(&format!("{MAPS}?labelSelector=a&labelSelector=b")).expect_refusal(
        400,
        "BadRequest",
        "twice",
    );
    for path in [
        "/api/v1/namespaces/default/configmaps/%2e%2e",
        "/api/v1/namespaces/default/configmaps/a%2fb",
        "/api/v1/namespaces/default/configmaps/a%00",
        "/api/v1/namespaces/default/configmaps//",
        "/apis/batch/v1/namespaces/default/pods",
    ] {
        h.client.get(path).expect_refusal(404, "NotFound", "could not find");
    }
    let answer = h.client.patch(
        &format!("{MAPS}/kube-root-ca.crt"),
        "application/json-patch+json",
        &json!([{"op": "copy", "from": "", "path": "/data/x"}]),
    );
    assert!(answer.code >= 400, "{}", answer.text);
}

#[test]
fn a_refused_body_that_comes_late_does_not_cost_the_connection() {
    let h = Harness::start();
    let mut stream = h.client.connect();
    let head = "POST /api/v1/namespaces/default/pods/p/binding HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The refusal is known before the body's first byte has come.
    for part in [head, "2\r\n{}\r\n", "0\r\n\r\n"] {
        stream.write_all(part.as_bytes()).unwrap();
        stream.flush().unwrap();
    }
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answers = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answers.extend_from_slice(&buffer[..count]);
    }
    let answers = String::from_utf8_lossy(&answers);
    let codes: Vec<&str> = answers.matches("HTTP/1.1 405").chain(answers.matches("HTTP/1.1 200")).collect();
    assert_eq!(codes.len(), 2, "{answers}");
}
