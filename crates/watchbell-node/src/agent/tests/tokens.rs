//! Volumes with tokens, on a clock that the test plays.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use watchbell_api::node::{IssuedToken, TokenQuery};
use watchbell_sandbox::VolumeSource;

use super::*;

/// Who gives tokens: each has a number, and lives as long as was asked for.
struct Issuer {
    now: AtomicI64,
    given: Mutex<Vec<TokenQuery>>,
    refuses: std::sync::atomic::AtomicBool,
}

fn bench(issuer: &Arc<Issuer>, table: Vec<TableEntry>) -> Bench {
    let mut bench = Bench::new();
    let issuer = issuer.clone();
    let tokens = move |query: &TokenQuery| {
        if issuer.refuses.load(Ordering::Relaxed) {
            return Err(ApiError::bad_request("not now"));
        }
        let mut given = issuer.given.lock().unwrap();
        given.push(query.clone());
        let issued_at = issuer.now.load(Ordering::Relaxed);
        let expires_at = issued_at + query.expiration_seconds;
        Ok(IssuedToken { token: format!("t{}", given.len()), issued_at, expires_at })
    };
    let site = Site { tokens: Arc::new(tokens), ..site(nothing()) };
    bench.agent = Agent::new(site, bench.in_use.clone(), table);
    bench
}

fn issuer() -> Arc<Issuer> {
    Arc::new(Issuer { now: AtomicI64::new(WALL), given: Mutex::default(), refuses: Default::default() })
}

fn spec_with_token() -> Arc<PodSpec> {
    spec(json!({
        "securityContext": {"runAsUser": 1000},
        "containers": [{"name": "m", "image": "tool:1", "volumeMounts": [{"name": "v", "mountPath": "/t"}]}],
        "volumes": [{"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000, "audience": "vault"}},
            {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}}],
    }))
}

fn wait(bench: &mut Bench, issuer: &Issuer, seconds: u64) {
    bench.wait(seconds);
    issuer.now.fetch_add(seconds as i64, Ordering::Relaxed);
}

#[test]
fn a_token_is_replaced_while_the_pod_runs() {
    let issuer = issuer();
    let mut bench = bench(&issuer, Vec::new());
    bench.begin(pod(1, &spec_with_token()));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    let source = bench.started.as_ref().unwrap().pod.volumes[0].source.clone();
    let VolumeSource::Changing { files, .. } = source else { panic!("{source:?}") };
    let told: Vec<_> = files.iter().map(|f| (&*f.file.path, f.file.mode, f.uid, &*f.file.contents)).collect();
    assert_eq!(told, [("token", 0o600, 1000, &b"t1"[..]), ("ns", 0o644, 0, b"ns")]);
    let asked = issuer.given.lock().unwrap()[0].clone();
    assert_eq!((&*asked.audience, &*asked.pod_name, asked.pod_uid), ("vault", "p1", Uid(1)));
    bench.runs(id(1, 0, 0));
    bench.effects();
    wait(&mut bench, &issuer, 799);
    bench.expect(&[]);
    assert_eq!(bench.wake_at, Some(bench.now.mono + Duration::from_secs(1)), "at four fifths of its life");
    wait(&mut bench, &issuer, 1);
    bench.expect(&["update 1/0 token=t2 (600 of 1000) ns=ns (644 of 0)"]);
    wait(&mut bench, &issuer, 799);
    bench.expect(&[]);
    // Who gives tokens may be away for a moment.
    issuer.refuses.store(true, Ordering::Relaxed);
    wait(&mut bench, &issuer, 1);
    bench.expect(&["event 1 FailedMount!"]);
    issuer.refuses.store(false, Ordering::Relaxed);
    wait(&mut bench, &issuer, 59);
    bench.expect(&[]);
    wait(&mut bench, &issuer, 1);
    bench.expect(&["update 1/0 token=t3 (600 of 1000) ns=ns (644 of 0)"]);
    // A pod that is over needs none.
    bench.exits(id(1, 0, 0), 0);
    bench.effects();
    wait(&mut bench, &issuer, 10_000);
    assert!(!bench.effects().iter().any(|e| e.starts_with("update")));
}

/// The key that signed them is known to others.
#[test]
fn tokens_that_hold_no_longer_are_replaced_at_once() {
    let issuer = issuer();
    let mut bench = bench(&issuer, Vec::new());
    bench.begin(pod(1, &spec_with_token()));
    bench.begin(pod(2, &spec(json!({"containers": [{"name": "m", "image": "tool:1"}]}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    bench.runs(id(2, 0, 0));
    bench.effects();
    wait(&mut bench, &issuer, 10);
    bench.expect(&[]);
    bench.tell(Input::Command(Command::RefreshTokens));
    bench.expect(&["update 1/0 token=t2 (600 of 1000) ns=ns (644 of 0)"]);
    wait(&mut bench, &issuer, 799);
    bench.expect(&[]);
    wait(&mut bench, &issuer, 1);
    bench.expect(&["update 1/0 token=t3 (600 of 1000) ns=ns (644 of 0)"]);
}

#[test]
fn a_pod_that_was_taken_over_gets_fresh_tokens() {
    let issuer = issuer();
    let running = TableEntry::Running { id: id(1, 0, 0), pid: 1, started_at: WALL * 1_000_000_000 };
    let mut bench = bench(&issuer, vec![running]);
    bench.begin(pod(1, &spec_with_token()));
    let effects = bench.effects();
    assert!(effects.iter().any(|e| e.starts_with("update 1/0") && e.contains("token=t1")), "{effects:?}");
    wait(&mut bench, &issuer, 800);
    bench.expect(&["update 1/0 token=t2 (600 of 1000) ns=ns (644 of 0)"]);
}

#[test]
fn a_pod_without_a_token_does_not_start() {
    let issuer = issuer();
    issuer.refuses.store(true, Ordering::Relaxed);
    let mut bench = bench(&issuer, Vec::new());
    bench.begin(pod(1, &spec_with_token()));
    bench.effects();
    bench.fetched(&image("tool", program()));
    let effects = bench.effects();
    assert!(bench.started.is_none() && effects.contains(&"event 1 FailedMount!".to_owned()), "{effects:?}");
}
