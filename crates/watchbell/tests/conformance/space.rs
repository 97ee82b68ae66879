//! A test's namespace, made and left as the published framework does, and what its tests do and wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixtures::{Place, REAL_MINUTES};
use crate::suite::{Answer, Suite};
use crate::wire;

const GLANCE: Duration = Duration::from_millis(30);

/// The longest anything may take.
fn patience() -> Duration {
    Duration::from_secs(if std::env::var_os(REAL_MINUTES).is_some() { 400 } else { 100 })
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Space {
    pub(crate) suite: Arc<Suite>,
    pub(crate) name: String,
}

/// Says why a test is left out, and whether it is.
pub(crate) fn is_left_out() -> bool {
    crate::stand::is_left_out(&["busybox", "cc"])
}

impl Space {
    /// A new namespace whose pods are held to `level`.
    pub(crate) fn new(base: &str, level: &str) -> Space {
        let suite = Suite::join();
        let name = format!("{base}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let labels = json!({
            "e2e-framework": base, "e2e-run": "7f3c", "pod-security.kubernetes.io/enforce": level,
            "pod-security.kubernetes.io/warn": level, "pod-security.kubernetes.io/audit": level,
        });
        let namespace = json!({
            "kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": {},
        });
        suite.send("POST", "/api/v1/namespaces", &namespace).ok();
        let space = Space { suite, name };
        for (kind, object) in [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")] {
            let selector = format!(
                "fieldSelector=metadata.name%3D{object}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&\
                 allowWatchBookmarks=true"
            );
            space.watch_until(&space.path(kind, ""), &selector, |event| event["type"] == "ADDED");
            // An informer has synced only now.
            space.watch_until(&space.path(kind, ""), &selector, |event| {
                event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
            });
        }
        space
    }

    /// Where a kind or one of its objects lies.
    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        let root = match kind {
            "jobs" | "cronjobs" => "/apis/batch/v1",
            _ => "/api/v1",
        };
        let tail = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{root}/namespaces/{}/{kind}{tail}", self.name)
    }

    #[track_caller]
    pub(crate) fn create(&self, kind: &str, object: &Value) -> Value {
        let answer = self.try_create(kind, object);
        assert_eq!(answer.warnings, Vec::<String>::new());
        answer.ok()
    }

    pub(crate) fn try_create(&self, kind: &str, object: &Value) -> Answer {
        self.suite.send("POST", &self.path(kind, ""), object)
    }

    #[track_caller]
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        self.try_get(kind, name).ok()
    }

    pub(crate) fn try_get(&self, kind: &str, name: &str) -> Answer {
        self.suite.get(&self.path(kind, name))
    }

    /// The items of a list; `query` without its question mark.
    #[track_caller]
    pub(crate) fn list(&self, kind: &str, query: &str) -> Vec<Value> {
        let path = format!("{}?{query}", self.path(kind, ""));
        let mut list = self.suite.get(&path).ok();
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("items is {other}"),
        }
    }

    /// Reads, changes and writes an object, again and again while others write it too. `kind` may name a subresource.
    #[track_caller]
    pub(crate) fn update(&self, kind: &str, name: &str, change: impl Fn(&mut Value)) -> Value {
        for _ in 0..50 {
            let mut object = self.get(kind, name);
            change(&mut object);
            let answer = self.suite.send("PUT", &self.path(kind, name), &object);
            if answer.code != 409 {
                return answer.ok();
            }
        }
        panic!("{kind} {name} changes all the time");
    }

    pub(crate) fn try_patch(&self, kind: &str, name: &str, form: &str, patch: &Value) -> Answer {
        self.suite.patch(&self.path(kind, name), form, patch)
    }

    #[track_caller]
    pub(crate) fn patch(&self, kind: &str, name: &str, form: &str, patch: &Value) -> Value {
        self.try_patch(kind, name, form, patch).ok()
    }

    #[track_caller]
    pub(crate) fn delete(&self, kind: &str, name: &str, options: Value) -> Value {
        self.suite.delete(&self.path(kind, name), options).ok()
    }

    /// Deletes in the background and waits until the dependents are gone.
    #[track_caller]
    pub(crate) fn delete_and_wait(&self, job: &str) {
        let selector = self.get("jobs", job)["spec"]["selector"]["matchLabels"].clone();
        let uid = selector["batch.kubernetes.io/controller-uid"].as_str().unwrap().to_owned();
        self.delete("jobs", job, json!({"propagationPolicy": "Background"}));
        self.until("its pods are gone", || {
            let query = format!("labelSelector=batch.kubernetes.io%2Fcontroller-uid%3D{uid}");
            self.list("pods", &query).is_empty().then_some(())
        });
    }

    /// The pods of a Job, by the label that the tests put into its template.
    #[track_caller]
    pub(crate) fn pods_of(&self, job: &str) -> Vec<Value> {
        self.list("pods", &format!("labelSelector=job%3D{job}"))
    }

    /// Waits until so many pods of the Job are in the phase, and returns them.
    #[track_caller]
    pub(crate) fn wait_for_pods(&self, job: &str, count: usize, phase: &str) -> Vec<Value> {
        self.until(&format!("{count} pods of {job} are {phase}"), || {
            let mut pods = self.pods_of(job);
            pods.retain(|pod| pod["status"]["phase"] == phase);
            (pods.len() == count).then_some(pods)
        })
    }

    /// Waits until the Job has the condition, for the reason.
    #[track_caller]
    pub(crate) fn wait_for_condition(&self, job: &str, kind: &str, reason: &str) -> Value {
        self.wait_for_job(job, &format!("has {kind}, {reason}"), |job| {
            let conditions = job["status"]["conditions"].as_array();
            conditions.is_some_and(|list| {
                list.iter().any(|c| c["type"] == kind && c["status"] == "True" && c["reason"] == reason)
            })
        })
    }

    /// Waits until the Job has succeeded so many times and is complete.
    #[track_caller]
    pub(crate) fn wait_for_completion(&self, job: &str, reason: &str, completions: u32) -> Value {
        let job = self.wait_for_condition(job, "Complete", reason);
        assert_eq!(job["status"]["succeeded"], completions, "{job:#}");
        job
    }

    #[track_caller]
    pub(crate) fn wait_for_job(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let begun = Instant::now();
        loop {
            if let Answer { code: 200, body, .. } = self.try_get("jobs", name) {
                if is_so(&body) {
                    return body;
                }
                last = body;
            }
            assert!(begun.elapsed() < patience(), "job {name} never {what}: {}", self.told(&last));
            std::thread::sleep(GLANCE);
        }
    }

    /// What a failed wait for a Job is explained by.
    fn told(&self, job: &Value) -> String {
        let pods: Vec<Value> =
            self.list("pods", "").into_iter().map(|mut pod| pod["status"].take()).collect();
        let events = self.list("events", "").into_iter().map(|event| {
            format!("{} {}: {}", event["involvedObject"]["name"], event["reason"], event["message"])
        });
        let events = events.collect::<Vec<_>>().join("\n");
        format!("{:#}\n{}\n{events}\n{}", job["status"], json!(pods), self.suite.server_log())
    }

    /// Looks until there is an answer.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < patience(), "it never happened: {what}\n{}", self.suite.server_log());
            std::thread::sleep(GLANCE);
        }
    }

    /// Watches until an event is as wanted, and returns it.
    #[track_caller]
    pub(crate) fn watch_until(&self, path: &str, query: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let path = format!("{path}?watch=true&timeoutSeconds=60&{query}");
        let answer = self.suite.open("GET", &path, "", Vec::new());
        assert_eq!(answer.status(), 200, "{path}");
        let mut stream = answer.into_body().into_reader();
        while let Some(event) = wire::event(&mut stream) {
            assert_ne!(event["type"], "ERROR", "{event:#}");
            if is_it(&event) {
                return event;
            }
        }
        panic!("the watch ended without the event: {path}\n{}", self.suite.server_log());
    }

    /// Events about an object, found as a Go client's `Search` does.
    #[track_caller]
    pub(crate) fn events_of(&self, object: &Value) -> Vec<Value> {
        let of = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let kind = object["kind"].as_str().unwrap();
        self.list(
            "events",
            &format!(
                "fieldSelector=involvedObject.kind%3D{kind}%2CinvolvedObject.name%3D{}%2CinvolvedObject.namespace%3D{}%2C\
                 involvedObject.uid%3D{}",
                of("name"),
                of("namespace"),
                of("uid"),
            ),
        )
    }

    /// The node, looked for as a test does that pins its pods.
    #[track_caller]
    pub(crate) fn place(&self) -> Place {
        let path = "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse&resourceVersion=0";
        let nodes = self.suite.get(path).ok();
        let name = nodes["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
        Place::Node { name, marks: self.suite.marks().join(&self.name) }
    }

    #[track_caller]
    pub(crate) fn evict(&self, pod: &str) {
        let metadata = json!({"name": pod, "namespace": self.name});
        let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": metadata});
        let path = format!("{}/eviction", self.path("pods", pod));
        self.suite.send("POST", &path, &eviction).ok();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let path = format!("/api/v1/namespaces/{}", self.name);
        self.suite.delete(&path, json!({})).ok();
        self.until("the namespace is gone", || (self.suite.get(&path).code == 404).then_some(()));
    }
}
