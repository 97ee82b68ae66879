//! The state behind the server: durable before it answers, and the same after a restart.

use serde_json::{Value, json};

use crate::harness::{Harness, config_map, job};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn everything(h: &Harness) -> Vec<Value> {
    [
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/secrets",
        "/apis/batch/v1/jobs",
        "/apis/batch/v1/cronjobs",
        "/api/v1/pods",
    ]
    .iter()
    .map(|path| h.client.get(path).expect(200)["items"].clone())
    .collect()
}

/// Shows the first difference alone.
#[track_caller]
fn same(left: &[Value], right: &[Value]) {
    assert_eq!(left.len(), right.len());
    for (a, b) in left.iter().zip(right) {
        let (a, b) = (a.as_array().unwrap(), b.as_array().unwrap());
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert_eq!(x, y);
        }
    }
}

fn fill(h: &Harness) {
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let mut array = job("array");
    array["spec"]["completions"] = 6.into();
    array["spec"]["parallelism"] = 6.into();
    array["spec"]["completionMode"] = "Indexed".into();
    h.client.post(JOBS, &array).expect(201);
    for _ in 0..6 {
        h.started();
    }
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "swordfish-4711"},
    });
    h.client.post("/api/v1/namespaces/default/secrets", &secret).expect(201);
    h.client.delete(&format!("{MAPS}/a")).expect(200);
    h.client.post(MAPS, &config_map("b", "x")).expect(201);
}

#[test]
fn a_restart_changes_nothing() {
    let h = Harness::start();
    fill(&h);
    let before = everything(&h);
    let version: u64 = h.state.snapshot().resource_version();
    let dir = h.stop();
    let again = Harness::start_in(dir);
    same(&everything(&again), &before);
    assert!(again.state.snapshot().resource_version() >= version);
    // The node hears of every pod that runs.
    let mut names: Vec<String> = (0..6).map(|_| again.started().1).collect();
    names.sort();
    assert!(names.iter().all(|name| name.starts_with("array-")), "{names:?}");
    // The old administrator's file is still good but for the port.
    again.client.get(MAPS).expect(200);
}

#[test]
fn what_was_answered_survives_an_end_without_warning() {
    let h = Harness::start();
    fill(&h);
    let before = everything(&h);
    // A copy of the files as they lie, taken while the server runs: what a power cut would leave.
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal", "secrets.key", "audit.key"] {
        std::fs::copy(h.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    // Another authority would change the ConfigMap that holds its certificate.
    std::fs::create_dir(copy.path().join("pki")).unwrap();
    for entry in std::fs::read_dir(h.dir.path().join("pki")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join("pki").join(entry.file_name())).unwrap();
    }
    let wal = std::fs::read(copy.path().join("journal.db-wal")).unwrap();
    let again = Harness::start_in(copy);
    same(&everything(&again), &before);
    let plain = b"swordfish-4711";
    assert!(!wal.windows(plain.len()).any(|w| w == plain), "a Secret lies in the journal as it is");
}

#[test]
fn refused_requests_change_nothing_and_are_noted() {
    let h = Harness::start();
    let before = h.state.snapshot().resource_version();
    h.client.delete(&format!("{MAPS}/none")).expect(404);
    let mut invalid = job("x");
    invalid["spec"]["parallelism"] = (-1).into();
    let answer = h.client.post(JOBS, &invalid);
    let id = answer.header("audit-id").to_owned();
    assert_eq!(answer.code, 422);
    assert_eq!(h.state.snapshot().resource_version(), before);
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut noted = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(1, &mut |row| {
            noted.push(serde_json::from_slice::<Value>(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    let entry = noted
        .iter()
        .find(|entry| entry["auditID"] == id.as_str())
        .expect("the refusal is not in the journal");
    assert_eq!(entry["responseStatus"]["code"], 422);
    assert_eq!(entry["user"]["username"], "kubernetes-admin");
    assert!(noted.iter().any(|entry| entry["responseStatus"]["code"] == 404));
}

#[test]
fn concurrent_writers_all_get_their_answer() {
    let h = Harness::start();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let client = h.client.clone();
            scope.spawn(move || {
                for i in 0..25 {
                    client.post(MAPS, &config_map(&format!("w{worker}-{i}"), "x")).expect(201);
                }
            });
        }
    });
    let list = h.client.get(&format!("{MAPS}?labelSelector=team%3Dx")).expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(200));
}

#[test]
fn one_of_many_updates_of_a_version_wins() {
    let h = Harness::start();
    let made = h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|worker| {
                let (client, mut object) = (h.client.clone(), made.clone());
                object["data"]["key"] = format!("from {worker}").into();
                scope.spawn(move || client.put(&format!("{MAPS}/a"), &object).code)
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 200 | 409)));
}

#[test]
fn reads_and_strangers_stand_in_the_audit_journal() {
    let h = Harness::start();
    let map = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";
    h.client.get(map).expect(200);
    h.client.get("/version").expect(200);
    let html = [("Content-Type", "text/html")];
    assert_eq!(h.client.call("POST", "/api/v1/namespaces/default/configmaps", &html, b"x").code, 415);
    for _ in 0..5 {
        h.client.anonymous().get(map).expect_refusal(401, "Unauthorized", "Unauthorized");
    }
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut entries: Vec<serde_json::Value> = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            entries.push(serde_json::from_slice(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    let with_code = |code: u16| entries.iter().filter(move |e| e["responseStatus"]["code"] == code);
    let reads: Vec<_> = with_code(200).filter(|e| e["verb"] == "get" && e["kind"] == "Event").collect();
    assert_eq!(reads.len(), 1, "{reads:#?}");
    assert_eq!(reads[0]["objectRef"]["name"], "kube-root-ca.crt");
    assert_eq!(with_code(415).count(), 1);
    let strangers: u64 = with_code(401)
        .map(|e| e["annotations"]["watchbell.dev/count"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(strangers, 5);
}

#[test]
fn nobody_makes_an_entry_that_keeps_others_from_writing() {
    let h = Harness::start();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let mut long = job("long");
    let containers = (0..70).map(|n| json!({"name": format!("c{n}"), "image": "i".repeat(1_000)}));
    long["spec"]["template"]["spec"]["containers"] = containers.collect();
    h.client.post(jobs, &long).expect(201);
    h.client.post(jobs, &job("after")).expect(201);
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut cut = 0;
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            let entry: serde_json::Value = serde_json::from_slice(&row.body).unwrap();
            cut += u32::from(entry["truncatedFromBytes"].as_u64().is_some_and(|bytes| bytes > 70_000));
            Ok(())
        })
        .unwrap();
    assert!(cut > 0, "no entry was that long");
}
