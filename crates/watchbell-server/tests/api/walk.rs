//! Every route of the server, walked by those who may not: nobody, viewers and editors of another namespace, and a viewer of
//! this one where he may only look. Nothing of an object is in an answer, nothing reaches the node, nothing changes.
//!
//! The rows come from `walk/routes.txt`, which a test of the route grammar holds complete, from discovery and from OpenAPI: a
//! route that is added is walked without anybody thinking of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::client::{Answer, Client};
use crate::harness::{Harness, job};

/// Stands in every object of the namespace `ml`.
const MARK: &str = "c0ntent-0f-an-0bject";
/// The name of an object that is there, and of one that is not.
const NAME: &str = "marked";
const ABSENT: &str = "absent";

/// Who may go a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    All,
    Known,
    Granted,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    method: &'static str,
    path: String,
    who: Who,
}

impl Row {
    fn new(method: &str, path: String, who: Who) -> Row {
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = methods.into_iter().find(|known| *known == method).expect("a method");
        Row { method, path, who }
    }

    fn go(&self, client: &Client) -> Answer {
        let (headers, body) = self.head_and_body();
        client.call(self.method, &self.path, headers, body)
    }

    /// As far as the answer's first line: a watch that is let in does not end.
    fn knock(&self, client: &Client) -> u16 {
        let (headers, body) = self.head_and_body();
        client.open(self.method, &self.path, headers, body).status().as_u16()
    }

    fn head_and_body(&self) -> (&'static [(&'static str, &'static str)], &'static [u8]) {
        const UPGRADE: [(&str, &str); 5] = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
        ];
        let is_session = self.path.contains("/exec") || self.path.contains("/attach");
        match self.method {
            "GET" if is_session => (&UPGRADE, b""),
            "GET" | "HEAD" | "DELETE" => (&[], b""),
            "PATCH" => {
                (&[("Content-Type", "application/merge-patch+json")], b"{\"spec\":{\"suspend\":true}}")
            }
            _ => (&[("Content-Type", "application/json")], b"{}"),
        }
    }

    fn is_write(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD") || self.path.contains("/exec") || self.path.contains("/attach")
    }
}

fn listed() -> BTreeSet<Row> {
    let rows =
        include_str!("walk/routes.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let who = match words.next() {
            Some("all") => Who::All,
            Some("known") => Who::Known,
            Some("granted") => Who::Granted,
            other => panic!("{line}: {other:?}"),
        };
        Row::new(method, path.to_owned(), who)
    })
    .collect()
}

/// What an identity is enough for: to learn who one is, what one may, and what is served.
fn who_may(path: &str) -> Who {
    let is_of_oneself = path.rsplit('/').next().is_some_and(|last| last.starts_with("selfsubject"));
    if is_of_oneself { Who::Known } else { Who::Granted }
}

/// The rows of all that discovery names.
fn discovered(admin: &Client) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    let groups = admin.get("/apis").expect(200);
    let versions = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    let mut seen = BTreeSet::new();
    for base in versions.chain(["/api/v1".to_owned()]) {
        rows.insert(Row::new("GET", base.clone(), Who::Known));
        for entry in admin.get(&base).expect(200)["resources"].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap();
            seen.insert((base.clone(), name.to_owned()));
            let (plural, sub) = name.split_once('/').unwrap_or((name, ""));
            let is_namespaced = entry["namespaced"] == true;
            let here = if is_namespaced {
                format!("{base}/namespaces/ml/{plural}")
            } else {
                format!("{base}/{plural}")
            };
            let one = match sub {
                "" => format!("{here}/{NAME}"),
                sub => format!("{here}/{NAME}/{sub}"),
            };
            for verb in entry["verbs"].as_array().unwrap() {
                let mut add = |method: &str, path: String| {
                    rows.insert(Row::new(method, path.clone(), who_may(&path)));
                };
                match verb.as_str().unwrap() {
                    "get" => add("GET", one.clone()),
                    "update" => add("PUT", one.clone()),
                    "patch" => add("PATCH", one.clone()),
                    "delete" => add("DELETE", one.clone()),
                    "deletecollection" => add("DELETE", here.clone()),
                    "create" if sub.is_empty() => add("POST", here.clone()),
                    "create" => add("POST", one.clone()),
                    "list" => {
                        add("GET", here.clone());
                        add("GET", format!("{here}?fieldSelector=metadata.name%3D{NAME}"));
                        add("GET", format!("{base}/{plural}"));
                    }
                    "watch" => {
                        add("GET", format!("{one}?watch=true"));
                        add("GET", format!("{here}?watch=true"));
                        add("GET", format!("{base}/{plural}?watch=true"));
                    }
                    other => panic!("{name} has the verb {other}, and nobody walks it"),
                }
            }
        }
    }
    for resource in Resource::all() {
        let info = resource.info();
        let base = match info.group {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        assert!(seen.contains(&(base, info.plural.to_owned())), "{} is not discovered", info.plural);
    }
    rows
}

/// The rows of all operations that OpenAPI describes.
fn described(admin: &Client) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    let index = admin.get("/openapi/v3").expect(200);
    for (document, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        rows.insert(Row::new("GET", url.to_owned(), Who::Known));
        let read = admin.get(url).expect(200);
        for (template, operations) in read["paths"].as_object().unwrap() {
            let path = template.replace("{namespace}", "ml").replace("{name}", NAME);
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                rows.insert(Row::new(&method.to_ascii_uppercase(), path.clone(), who_may(&path)));
            }
        }
        assert!(!document.is_empty());
    }
    rows
}

/// A server with two namespaces; in `ml` there is something of all that holds content, with a pod that runs.
fn furnished() -> Harness {
    let h = Harness::start();
    for name in ["ml", "other"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        h.client.post("/api/v1/namespaces", &namespace).expect(201);
    }
    let object = |api_version: &str, kind: &str, more: Value| {
        let mut object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": NAME, "annotations": {"note": MARK}},
        });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let core = "/api/v1/namespaces/ml";
    let batch = "/apis/batch/v1/namespaces/ml";
    let text = json!({"data": {"key": MARK}});
    h.client.post(&format!("{core}/configmaps"), &object("v1", "ConfigMap", text)).expect(201);
    let secret = json!({"stringData": {"key": MARK}});
    h.client.post(&format!("{core}/secrets"), &object("v1", "Secret", secret)).expect(201);
    h.client.post(&format!("{core}/serviceaccounts"), &object("v1", "ServiceAccount", json!({}))).expect(201);
    let pod = json!({"spec": job("x")["spec"]["template"]["spec"]});
    h.client.post(&format!("{core}/pods"), &object("v1", "Pod", pod)).expect(201);
    let (uid, _) = h.started();
    h.client
        .post(&format!("{batch}/jobs"), &object("batch/v1", "Job", json!({"spec": job("x")["spec"]})))
        .expect(201);
    h.started();
    let cron = json!({"spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": job("x")["spec"]}}});
    h.client.post(&format!("{batch}/cronjobs"), &object("batch/v1", "CronJob", cron)).expect(201);
    let state = watchbell_api::types::pod_status::ContainerState::Running { started_at: 1 };
    h.report(uid, watchbell_api::types::pod_status::Phase::Running, state);
    let path = format!("{core}/pods/{NAME}");
    h.client.wait_for(&path, "running", |answer| answer.body["status"]["phase"] == "Running");
    h.logs.texts.lock().unwrap().insert((uid, 0), MARK.as_bytes().to_vec());
    h
}

/// Walks all rows and asserts that none of them leads anywhere.
fn walk(h: &Harness, client: &Client, rows: &BTreeSet<Row>, is_refused: impl Fn(u16) -> bool) {
    for row in rows {
        let answer = row.go(client);
        assert!(is_refused(answer.code), "{row:?}: {} {}", answer.code, answer.text);
        assert!(!answer.text.contains(MARK), "{row:?}: {}", answer.text);
        if row.method == "HEAD" {
            assert_eq!(answer.text, "", "{row:?}");
            continue;
        }
        assert!(
            answer.body["kind"] == "Status" && answer.body["status"] == "Failure",
            "{row:?}: {}",
            answer.text
        );
        assert!(answer.code != 403 || answer.body["reason"] == "Forbidden", "{row:?}: {}", answer.text);
        // What is not there sounds like what is. A stranger hears nothing of either, and whether he has to wait is another matter.
        if row.path.contains(NAME) {
            let absent = Row { path: row.path.replace(NAME, ABSENT), ..row.clone() }.go(client);
            assert!(is_refused(absent.code), "{row:?}: {} {}", absent.code, absent.text);
            if answer.code == 403 {
                let named = absent.body["message"].as_str().unwrap_or_default().replace(ABSENT, NAME);
                assert_eq!((absent.code, &answer.body["message"]), (403, &json!(named)), "{row:?}");
            }
        }
    }
    assert!(h.logs.asked.lock().unwrap().is_empty(), "a log was read");
    assert!(h.sessions.asked.lock().unwrap().is_empty(), "a session was opened");
    assert!(h.images.asked.lock().unwrap().is_empty(), "the image store was asked");
}

fn all_rows(h: &Harness) -> BTreeSet<Row> {
    let rows: BTreeSet<Row> =
        [listed(), discovered(&h.client), described(&h.client)].into_iter().flatten().collect();
    // A row in the list says best who may go there.
    let known: BTreeSet<(&str, String)> = listed().into_iter().map(|row| (row.method, row.path)).collect();
    let exact = listed();
    let rows: BTreeSet<Row> = rows
        .into_iter()
        .filter(|row| exact.contains(row) || !known.contains(&(row.method, row.path.clone())))
        .collect();
    // Whatever can be read can be asked for without its content. A session cannot.
    let heads = rows.iter().filter(|row| row.method == "GET" && !row.is_write());
    let heads: Vec<Row> = heads.map(|row| Row { method: "HEAD", ..row.clone() }).collect();
    rows.into_iter().chain(heads).collect()
}

#[test]
fn nobody_goes_anywhere_but_to_the_health_endpoints() {
    let h = furnished();
    let (open, closed): (BTreeSet<Row>, BTreeSet<Row>) =
        all_rows(&h).into_iter().partition(|row| row.who == Who::All);
    let stranger = h.client.anonymous();
    for row in &open {
        row.go(&stranger).expect_text(200);
    }
    let before = h.state.snapshot().resource_version();
    // Whoever fails too often waits, which is no less of a refusal.
    walk(&h, &stranger, &closed, |code| matches!(code, 401 | 429));
    assert_eq!(h.state.snapshot().resource_version(), before);
}

#[test]
fn who_has_rights_in_another_namespace_has_none_in_this() {
    let h = furnished();
    let rows = all_rows(&h);
    assert!(rows.len() > 300, "{} rows are too few to be all", rows.len());
    let (open, closed): (BTreeSet<Row>, BTreeSet<Row>) =
        rows.into_iter().partition(|row| row.who != Who::Granted);
    for role in ["view", "edit", "admin", "cron-operator"] {
        h.bind("other", role, role);
        let user = h.as_user(role, &["team"]);
        // The right that he has, so that the refusals mean something.
        user.get("/apis/batch/v1/namespaces/other/jobs").expect(200);
        for row in open.iter().filter(|row| row.method == "GET") {
            row.go(&user).expect_text(200);
        }
        let before = h.state.snapshot().resource_version();
        walk(&h, &user, &closed, |code| code == 403);
        assert_eq!(h.state.snapshot().resource_version(), before, "{role} changed something");
    }
}

#[test]
fn a_viewer_changes_nothing_and_sees_no_secret() {
    let h = furnished();
    let rows: BTreeSet<Row> = all_rows(&h)
        .into_iter()
        .filter(|row| row.who == Who::Granted && (row.is_write() || row.path.contains("/secrets")))
        .collect();
    h.bind("ml", "view", "viewer");
    let viewer = h.as_user("viewer", &["team"]);
    let seen = viewer.get(&format!("/api/v1/namespaces/ml/configmaps/{NAME}")).expect(200);
    assert_eq!(seen["data"]["key"], MARK);
    assert!(
        viewer.call("GET", &format!("/api/v1/namespaces/ml/pods/{NAME}/log"), &[], b"").text.contains(MARK)
    );
    h.logs.asked.lock().unwrap().clear();
    let before = h.state.snapshot().resource_version();
    walk(&h, &viewer, &rows, |code| code == 403);
    assert_eq!(h.state.snapshot().resource_version(), before, "the viewer changed something");
}

/// Without this the refusals above could be of ways that nobody can go.
#[test]
fn who_may_everything_goes_everywhere() {
    let h = furnished();
    for row in all_rows(&h).into_iter().filter(|row| row.who == Who::Granted) {
        if row.path.contains("watch=true") || row.path.contains("follow=true") {
            let code = row.knock(&h.client);
            assert!(!matches!(code, 401 | 403), "{row:?}: {code}");
            continue;
        }
        let path = match row.path.split_once('?') {
            Some(_) => format!("{}&dryRun=All", row.path),
            None => format!("{}?dryRun=All", row.path),
        };
        if matches!(row.method, "GET" | "HEAD") {
            let code = row.go(&h.client).code;
            assert!(!matches!(code, 401 | 403), "{row:?}: {code}");
        } else {
            let code = Row { path, ..row.clone() }.go(&h.client).code;
            assert!(!matches!(code, 401 | 403), "{row:?}: {code}");
        }
    }
}
