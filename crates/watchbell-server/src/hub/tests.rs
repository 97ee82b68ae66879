use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::Capacity;
use watchbell_api::{Reason, Resource};
use watchbell_core::request::{DeleteOptions, PatchKind, Request, User, Write};
use watchbell_core::world::{Change, Config, World};

use crate::limits::Holder;

use super::{HISTORY, HISTORY_BYTES, Heard, Hub};

/// A world whose changes are told.
pub(crate) struct Told {
    pub(crate) world: World,
    hub: Arc<Hub>,
}

impl Told {
    pub(crate) fn new() -> Told {
        let config = Config {
            machine: Default::default(),
            capacity: Capacity { cpu_millis: 1, memory_bytes: 1, pods: 1, ephemeral_storage_bytes: 1 },
            devices: Default::default(),
            hostname: "host".into(),
            ca_pem: String::new(),
            seed: [1; 32],
        };
        let mut told = Told { world: World::new(config), hub: Arc::new(Hub::new(0)) };
        told.world.furnish(Timestamp::UNIX_EPOCH);
        told.commit();
        told
    }

    fn commit(&mut self) -> Vec<Change> {
        let changes = self.world.take_stage(Timestamp::UNIX_EPOCH).take_told();
        self.world.committed();
        self.hub.publish(changes.clone(), self.world.resource_version());
        changes
    }

    fn write(&mut self, name: &str, write: Write) -> Vec<Change> {
        self.stage(name, write);
        self.commit()
    }

    /// Writes into the next batch. Gives what is answered.
    fn stage(&mut self, name: &str, write: Write) -> Value {
        let request = Request {
            user: User::controller(),
            impersonation: None,
            body_hash: None,
            received: None,
            resource: Resource::ConfigMap,
            namespace: "default".into(),
            name: name.into(),
            subresource: Default::default(),
            write,
            options: Default::default(),
            audit_id: String::new(),
        };
        self.world.write(request, Timestamp::UNIX_EPOCH).unwrap().object
    }

    pub(crate) fn create(&mut self, name: &str) -> Change {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        self.write("", Write::Create(object)).remove(0)
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        let body = json!({"data": {"a": value.into()}});
        self.write(name, Write::Patch { kind: PatchKind::Merge, body });
    }
}

#[test]
fn who_read_a_batch_may_watch_from_it_before_it_is_told() {
    let hub = Arc::new(Hub::new(5));
    let watch = |from, read| hub.watch(Resource::Pod, None, from, read);
    assert_eq!(watch(8, 7).unwrap_err().reason, Reason::Timeout);
    assert_eq!(watch(4, 7).unwrap_err().reason, Reason::Expired);
    let mut early = watch(7, 7).unwrap();
    hub.publish(Vec::new(), 7);
    hub.publish(Vec::new(), 8);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let heard = runtime.block_on(early.hear());
    assert!(matches!(heard, Some(Heard::UpTo)) && early.handed_out() == 8, "{heard:?}");
}

/// Events lie ready while a client takes those before them: a bookmark that comes due meanwhile may not be beyond them.
#[test]
fn a_bookmark_is_never_beyond_what_was_handed_out() {
    let mut told = Told::new();
    let from = told.hub.version();
    let versions: Vec<u64> = ["a", "b", "c"].map(|name| told.create(name).resource_version).into();
    let mut watch = told.hub.watch(Resource::ConfigMap, None, from, from).unwrap();
    assert_eq!(watch.handed_out(), from);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let heard = runtime.block_on(watch.hear());
    assert!(matches!(heard, Some(Heard::Change(first)) if first.change.resource_version == versions[0]));
    for version in &versions[1..] {
        assert!(watch.handed_out() < *version, "{} and {versions:?}", watch.handed_out());
        // Who resumes from there hears exactly what this one did not yet.
        let mut resumed = told.hub.watch(Resource::ConfigMap, None, watch.handed_out(), from).unwrap();
        let next = runtime.block_on(resumed.hear());
        assert!(matches!(next, Some(Heard::Change(next)) if next.change.resource_version == *version));
        assert_eq!(watch.ready().map(|event| event.change.resource_version), Some(*version));
    }
    assert_eq!((watch.handed_out(), watch.ready().is_none()), (told.hub.version(), true));
}

/// Who made it was answered with its version, and waits for its end from there.
#[test]
fn what_comes_and_goes_in_one_batch_is_told() {
    let mut told = Told::new();
    let from = told.hub.version();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let made = told.stage("", Write::Create(object.clone()));
    told.stage("a", Write::Delete(DeleteOptions::default()));
    let again = told.stage("", Write::Create(object));
    told.commit();
    let version =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hear = |from: u64| {
        let mut watch = told.hub.watch(Resource::ConfigMap, None, from, from).unwrap();
        let mut heard = Vec::new();
        while let Some(event) = watch.ready().or_else(|| match runtime.block_on(watch.hear()) {
            Some(Heard::Change(event)) => Some(event),
            Some(Heard::UpTo) | None => None,
        }) {
            let change = &event.change;
            heard.push((change.old.is_some(), change.new.is_some(), change.resource_version));
            if watch.handed_out() == told.hub.version() {
                break;
            }
        }
        heard
    };
    let (came, anew) = (version(&made), version(&again));
    assert_eq!(hear(from), [(false, true, came), (true, false, came + 1), (false, true, anew)]);
    assert_eq!(hear(came), [(true, false, came + 1), (false, true, anew)]);
}

#[test]
fn a_bell_rings_for_its_object_alone() {
    let mut told = Told::new();
    let (a, _) = (told.create("a"), told.create("b"));
    let uid = a.object().uid;
    let mut bell = told.hub.bell_of(uid);
    let other = told.hub.bell_of(uid);
    let rang = |bell: &mut super::ObjectBell| bell.bell.has_changed().unwrap();
    told.set("b", "x");
    told.create("c");
    assert!(!rang(&mut bell), "nothing of it changed");
    told.set("a", "x");
    assert!(rang(&mut bell));
    bell.hush();
    assert!(!rang(&mut bell));
    told.write("a", Write::Delete(DeleteOptions::default()));
    assert!(rang(&mut bell));
    drop(other);
    assert_eq!(told.hub.awaited().len(), 1, "one still listens");
    drop(bell);
    assert_eq!(told.hub.awaited().len(), 0);
}

#[test]
fn what_is_gone_is_remembered_for_a_while() {
    let mut told = Told::new();
    told.create("a");
    let gone = |told: &Told| told.hub.deleted(Resource::ConfigMap, "a").map(|stored| stored.uid);
    assert_eq!(gone(&told), None, "it is there");
    let first = told.write("a", Write::Delete(DeleteOptions::default())).remove(0).object().uid;
    assert_eq!(gone(&told), Some(first));
    told.create("a");
    assert_eq!(gone(&told), None, "another is there");
    for _ in 0..2 {
        told.write("a", Write::Delete(DeleteOptions::default()));
        told.create("a");
    }
    let last = told.write("a", Write::Delete(DeleteOptions::default())).remove(0).object().uid;
    assert_eq!(gone(&told), Some(last));
}

#[test]
fn large_objects_that_change_often_are_not_remembered_for_ever() {
    let mut told = Told::new();
    told.create("a");
    let before = told.hub.version();
    let seen = told.hub.pins.seen(|| Arc::new(told.world.snapshot()));
    told.hub.pins.keep(&seen, &Holder::Local(0), Instant::now());
    let is_kept = |told: &Told| told.hub.pins.at(before, Instant::now()).is_some();
    told.set("a", "small");
    assert!(is_kept(&told));
    for n in 0..80 {
        told.set("a", n.to_string().repeat(500_000));
    }
    {
        let history = told.hub.history(Resource::ConfigMap);
        assert!(history.bytes <= HISTORY_BYTES, "{}", history.bytes);
        assert!((20..80).contains(&history.changes.len()), "{}", history.changes.len());
        let kept: usize = history.changes.iter().map(|event| super::kept_by(&event.change)).sum();
        assert_eq!(history.bytes, kept);
    }
    // Nor are they kept for who has a list of them on its way.
    assert!(!is_kept(&told));
    let watch = |from| told.hub.watch(Resource::ConfigMap, None, from, from).map(drop);
    assert_eq!(watch(before).unwrap_err().reason, Reason::Expired);
    watch(told.hub.version()).unwrap();
}

/// Changes that keep nothing of an object beside what its present form has are many.
#[test]
fn small_changes_are_remembered_by_their_number() {
    let mut told = Told::new();
    let change = told.create("a");
    let hub = Hub::new(0);
    hub.publish(vec![change; HISTORY + 10], 1);
    assert_eq!(hub.history(Resource::ConfigMap).changes.len(), HISTORY);
}
