//! What stands in the audit journal, read as it is on the disk.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Harness;

const IMAGES: &str = "/apis/watchbell.dev/v1alpha1/images";

/// The entries of the journal in a directory that no server uses.
pub(crate) fn entries(dir: &Path) -> Vec<Value> {
    let (mut store, _) = watchbell_store::Store::open(dir).unwrap();
    let mut entries = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            entries.push(serde_json::from_slice(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    entries
}

/// Copies the directory of a server that runs: files that it moves away meanwhile are not copied.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Some(entries) = there(std::fs::read_dir(from)) else { return };
    for entry in entries {
        let Some(entry) = there(entry) else { continue };
        let Some(kind) = there(entry.file_type()) else { continue };
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            there(std::fs::copy(entry.path(), to));
        }
    }
}

fn there<T>(found: std::io::Result<T>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn which_image_came_and_what_became_of_it_is_told() {
    let h = Harness::start();
    for name in ["docker.io/library/good:1", "broken"] {
        assert_eq!(h.client.call("POST", &format!("{IMAGES}:pull?name={name}"), &[], b"").code, 200);
    }
    // What a crash at this moment leaves.
    let crashed = tempfile::tempdir().unwrap();
    copy(h.dir.path(), crashed.path());
    let begun = |e: &Value| {
        e["verb"] == "pull" && e["stage"] == "ResponseStarted" && e["objectRef"]["name"] == "broken"
    };
    assert!(entries(crashed.path()).iter().any(begun));
    let ada = h.as_user("ada", &[]);
    assert_eq!(ada.call("POST", &format!("{IMAGES}:pull?name=evil:1"), &[], b"").code, 403);
    let dir = h.stop();
    let found: Vec<Value> = entries(dir.path()).into_iter().filter(|e| e["verb"] == "pull").collect();
    let of =
        |name: &str| -> Vec<&Value> { found.iter().filter(|e| e["objectRef"]["name"] == name).collect() };
    let good = of("docker.io/library/good:1");
    assert_eq!(good.iter().map(|e| &e["stage"]).collect::<Vec<_>>(), ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(good[0]["auditID"], good[1]["auditID"]);
    assert_eq!(good[0]["requestURI"], format!("{IMAGES}:pull?name=docker.io/library/good:1"));
    assert_eq!(good[1]["annotations"]["watchbell.dev/images"], "docker.io/library/good:1@sha256:ab");
    assert_eq!(good[1]["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(good[1]["user"]["username"], good[0]["user"]["username"]);
    let broken = of("broken");
    assert_eq!(broken[1]["responseStatus"]["code"], 404, "{broken:?}");
    assert_eq!(broken[1]["responseStatus"]["message"], "no such image");
    let evil = of("evil:1");
    assert_eq!((evil.len(), &evil[0]["responseStatus"]["code"]), (1, &json!(403)));
    assert_eq!(evil[0]["user"]["username"], "ada");
}

#[test]
fn who_asks_without_end_makes_no_entry_for_each() {
    let h = Harness::start();
    let ada = h.as_user("ada", &[]);
    let asked = flood(|| drop(ada.get("/api/v1/namespaces/default/secrets").expect(403)));
    let dir = h.stop();
    let found: Vec<Value> =
        entries(dir.path()).into_iter().filter(|e| e["user"]["username"] == "ada").collect();
    let count = |entry: &Value| -> Option<u64> {
        entry["annotations"]["watchbell.dev/count"].as_str().map(|count| count.parse().unwrap())
    };
    let counts: Vec<&Value> = found.iter().filter(|e| count(e).is_some()).collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert_eq!((&counts[0]["verb"], &counts[0]["responseStatus"]["code"]), (&json!("list"), &json!(403)));
    assert_eq!(counts[0]["objectRef"]["resource"], "secrets");
    let alone = found.len() as u64 - 1;
    assert!(alone >= 1000, "{alone}");
    assert_eq!(alone + count(counts[0]).unwrap(), asked);
}

/// Asks more often than a user has entries of his own: 1,000, and one more each 100 ms. How often, as a slow machine has to ask more.
fn flood(ask: impl Fn()) -> u64 {
    let begun = std::time::Instant::now();
    let mut asked = 0;
    while asked < 1100 + begun.elapsed().as_millis() / 100 {
        ask();
        asked += 1;
    }
    asked as u64
}

/// Whatever else somebody asks, and though the server dies before it is told how it ended.
#[test]
fn what_takes_images_and_keys_away_is_never_a_count() {
    let h = Harness::start();
    flood(|| drop(h.client.get(IMAGES).expect(200)));
    h.client.call("DELETE", &format!("{IMAGES}/gone:1"), &[], b"").expect(200);
    h.client.call("POST", &format!("{IMAGES}:prune"), &[], b"").expect(200);
    h.client.call("POST", "/apis/watchbell.dev/v1alpha1/tokenkeys:rotate", &[], b"").expect(200);
    let asked = |e: &&Value| e["stage"] == "RequestReceived";
    let verbs = |found: &[&Value]| found.iter().map(|e| e["verb"].clone()).collect::<Vec<_>>();
    // What a crash at this moment leaves.
    let crashed = tempfile::tempdir().unwrap();
    copy(h.dir.path(), crashed.path());
    let left = entries(crashed.path());
    assert_eq!(verbs(&left.iter().filter(asked).collect::<Vec<_>>()), ["delete", "prune", "rotate"]);
    let dir = h.stop();
    let found = entries(dir.path());
    let list = found.iter().filter(|e| e["verb"] == "list" && e["objectRef"]["resource"] == "images");
    assert!(list.clone().any(|e| e["annotations"]["watchbell.dev/count"].is_string()), "it was no flood");
    let delete: Vec<&Value> = found.iter().filter(|e| e["verb"] == "delete").collect();
    assert_eq!(delete.len(), 2, "{delete:?}");
    assert!(delete.iter().all(|e| e["objectRef"]["name"] == "gone:1"));
    assert!(delete[0]["responseStatus"].is_null(), "nothing was done yet");
    assert_eq!(delete[1]["responseStatus"]["code"], 200);
    assert_eq!(delete[0]["auditID"], delete[1]["auditID"]);
    let ended: Vec<&Value> =
        found.iter().filter(|e| e["verb"] == "rotate" && e["stage"] == "ResponseComplete").collect();
    assert_eq!((ended.len(), &ended[0]["objectRef"]["resource"]), (1, &json!("tokenkeys")));
}

/// A copy of the directory is what a crash at that moment leaves.
#[test]
fn a_pods_token_is_recorded_before_anybody_has_it() {
    let h = Harness::start();
    let (tokens, query) = h.tokens_of_a_pod();
    tokens(&query).unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(h.dir.path(), crashed.path());
    let is_token = |e: &&Value| {
        e["objectRef"]["subresource"] == "token" && e["user"]["username"] == "system:node:watchbell"
    };
    assert_eq!(entries(crashed.path()).iter().filter(is_token).count(), 1);
    drop(h.stop());
}
