//! All objects, and what becomes of them: the one place where state changes.
//!
//! ```text
//!            write(request)  report(node)  settle(now)
//!                   └────────────┼────────────┘
//!                              put / remove ──▶ indices (jobs' pods, owners, timers, placement)
//!                                   │       ──▶ dirty keys ── reconcile ──▶ put / remove …
//!                                   ▼
//!                      Stage: changes + audit + commands ──▶ committed as one, or rolled back as one
//! ```
//!
//! The caller is a loop: take what came in, `write` and `report` it, `settle`, `take_stage`, make it durable, publish
//! [`World::snapshot`], then carry out the commands. When the commit fails it calls [`World::rollback`].

mod audit;
mod bootstrap;
mod collect;
mod cronjobs;
mod events;
mod facts;
mod index;
mod jobs;
mod object;
mod pods;
mod row;
mod snapshot;
mod template;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::node::{Capacity, Command};
use watchbell_api::{Resource, Uid};

pub use audit::AuditRecord;
pub use facts::{Facts, JobFacts};
pub use object::{ArrayPod, Deletion, Head, JsonHead, Key, NsName, Owner, Status, Stored, rfc3339};
pub use row::{NO_INDEX, Row, RowError, RowKey, encode, row_key};
pub use snapshot::Snapshot;
pub use template::{COMPLETION_INDEX, JobPods, TRACKING};

use crate::placement::Queue;
use index::JobRuntime;

/// The name of the one node: this machine.
pub const NODE_NAME: &str = "watchbell";

/// How many objects are reconciled in one batch, so that no answer waits for thousands.
const RECONCILES_PER_BATCH: usize = 256;

/// What the world is told about where it runs.
#[derive(Debug, Clone)]
pub struct Config {
    pub capacity: Capacity,
    /// The machine's host name, for the node's label.
    pub hostname: String,
    /// PEM of the authority that signed the server's certificate: `kube-root-ca.crt` in every namespace.
    pub ca_pem: String,
    /// Seeds uids and name suffixes; fresh from the kernel at each start.
    pub seed: [u8; 32],
}

/// One change of one object. `new` is `None` when it is gone.
#[derive(Debug, Clone)]
pub struct Change {
    pub resource_version: u64,
    pub old: Option<Arc<Stored>>,
    pub new: Option<Arc<Stored>>,
}

impl Change {
    /// The object of the change, in its newest form.
    ///
    /// # Panics
    /// Never: a change has an old or a new form.
    pub fn object(&self) -> &Arc<Stored> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an old or a new form")
    }
}

/// What a batch did: made durable as one, or not at all.
#[derive(Debug, Default)]
pub struct Stage {
    /// In the order of their resource versions; at most one for each object (by uid).
    pub changes: Vec<Change>,
    /// The same changes as rows of the journal.
    pub rows: Vec<Row>,
    pub deletes: Vec<RowKey>,
    pub audit: Vec<AuditRecord>,
    /// To be carried out after the commit, in this order.
    pub commands: Vec<Command>,
}

impl Stage {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.audit.is_empty() && self.commands.is_empty()
    }
}

/// The state and its indices. One owner, one thread.
#[derive(Debug)]
pub struct World {
    config: Config,
    random: Random,
    /// With what is staged.
    state: Snapshot,
    committed: Snapshot,
    stage: Staging,

    // Derived from `state`; rebuilt by `reindex`.
    jobs: HashMap<Uid, JobRuntime>,
    /// Jobs by their controlling CronJob.
    cron_children: HashMap<Uid, BTreeSet<NsName>>,
    /// Every object by an owner's uid, array pods excepted (their Job's runtime lists them).
    owned: HashMap<Uid, BTreeSet<Key>>,
    pods_by_uid: HashMap<Uid, NsName>,
    queue: Queue,
    events: events::Ring,

    dirty: VecDeque<Key>,
    is_dirty: HashSet<Key>,
    timers: BTreeSet<(i64, Key)>,
    wake: HashMap<Key, i64>,
}

/// The stage while it grows: a later change of the same object joins the earlier one, as nobody has seen it yet.
#[derive(Debug, Default)]
struct Staging {
    changes: Vec<Change>,
    by_uid: HashMap<Uid, usize>,
    audit: Vec<AuditRecord>,
    commands: Vec<Command>,
}

/// Uids and suffixes: SHA-256 of a seed and a counter.
#[derive(Debug)]
struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    fn bytes(&mut self) -> [u8; 16] {
        use sha2::{Digest, Sha256};
        self.counter += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }
}

impl World {
    pub fn new(config: Config) -> World {
        World {
            random: Random { seed: config.seed, counter: 0 },
            queue: Queue::new(config.capacity.clone()),
            config,
            state: Snapshot::empty(),
            committed: Snapshot::empty(),
            stage: Staging::default(),
            jobs: HashMap::new(),
            cron_children: HashMap::new(),
            owned: HashMap::new(),
            pods_by_uid: HashMap::new(),
            events: events::Ring::default(),
            dirty: VecDeque::new(),
            is_dirty: HashSet::new(),
            timers: BTreeSet::new(),
            wake: HashMap::new(),
        }
    }

    /// The committed state.
    pub fn snapshot(&self) -> Snapshot {
        self.committed.clone()
    }

    pub fn resource_version(&self) -> u64 {
        self.state.version
    }

    /// When `settle` must be called again though nothing came in. In the past: at once.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if !self.dirty.is_empty() {
            return Some(Timestamp::UNIX_EPOCH);
        }
        self.timers.first().and_then(|(at, _)| Timestamp::from_second(*at).ok())
    }

    /// Reconciles what changed and what is due, up to a bounded number of objects.
    pub fn settle(&mut self, now: Timestamp) {
        let second = now.as_second();
        while let Some((at, key)) = self.timers.first() {
            if *at > second {
                break;
            }
            let key = key.clone();
            self.clear_timer(&key);
            self.mark(key);
        }
        for _ in 0..RECONCILES_PER_BATCH {
            let Some(key) = self.dirty.pop_front() else { break };
            self.is_dirty.remove(&key);
            match key.resource {
                Resource::Job => self.reconcile_job(&key.at, now),
                Resource::CronJob => self.reconcile_cronjob(&key.at, now),
                Resource::Namespace => self.reconcile_namespace(&key.at.name, now),
                Resource::Event => self.expire_events(now),
                _ => self.collect(&key, now),
            }
        }
        self.bind_pods(now);
    }

    /// Takes what was staged since the last call. The caller makes it durable, then calls [`World::committed`] or
    /// [`World::rollback`].
    pub fn take_stage(&mut self) -> Stage {
        let mut staging = std::mem::take(&mut self.stage);
        // An object that came and went within the batch was never seen by anybody.
        staging.changes.retain(|c| c.old.is_some() || c.new.is_some());
        staging.changes.sort_by_key(|c| c.resource_version);
        let (mut rows, mut deletes) = (Vec::new(), Vec::new());
        for change in &staging.changes {
            let old = change.old.as_deref();
            if let Some(new) = change.new.as_deref() {
                rows.push(encode(old, new, self.images_of(new)));
            }
            // Gone, or moved: a pod that outlives its Job leaves the Job's rows.
            if let Some(old) = old
                && change.new.as_ref().is_none_or(|new| row_key(new) != row_key(old))
            {
                deletes.push(row_key(old));
            }
        }
        Stage { changes: staging.changes, rows, deletes, audit: staging.audit, commands: staging.commands }
    }

    /// The list by which the row of an array pod names its images.
    fn images_of(&self, pod: &Stored) -> &[Arc<str>] {
        let Head::ArrayPod(array) = &pod.head else { return &[] };
        let job = self.jobs.get(&array.template.job_uid).and_then(|job| self.get_at(Resource::Job, &job.at));
        match job.map(|job| &job.status) {
            Some(Status::Job { images, .. }) => images,
            _ => &[],
        }
    }

    /// The stage is durable: readers may see it.
    pub fn committed(&mut self) {
        self.committed = self.state.clone();
    }

    /// The stage was not committed: forget it. Resource versions are not given out a second time.
    pub fn rollback(&mut self, now: Timestamp) {
        let version = self.state.version;
        self.stage = Staging::default();
        self.state = self.committed.clone();
        self.state.version = version;
        self.reindex(now);
    }

    fn mark(&mut self, key: Key) {
        if self.is_dirty.insert(key.clone()) {
            self.dirty.push_back(key);
        }
    }

    fn set_timer(&mut self, key: &Key, at: Option<i64>) {
        self.clear_timer(key);
        if let Some(at) = at {
            self.wake.insert(key.clone(), at);
            self.timers.insert((at, key.clone()));
        }
    }

    fn clear_timer(&mut self, key: &Key) {
        if let Some(at) = self.wake.remove(key) {
            self.timers.remove(&(at, key.clone()));
        }
    }

    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.state.get(resource, namespace, name)
    }

    fn get_at(&self, resource: Resource, at: &NsName) -> Option<&Arc<Stored>> {
        self.state.maps[resource as usize].get(at)
    }

    /// Stores a new version of an object. The version number is given here, and nowhere else.
    fn put(&mut self, mut object: Stored) -> Arc<Stored> {
        self.state.version += 1;
        object.resource_version = self.state.version;
        let object = Arc::new(object);
        let at = NsName { namespace: object.namespace.clone(), name: object.name.clone() };
        let old = self.state.maps[object.resource as usize].insert(at, object.clone());
        self.note(old, Some(object.clone()));
        object
    }

    /// Removes an object for good; what it owned is collected.
    fn remove(&mut self, resource: Resource, at: &NsName) -> Option<Arc<Stored>> {
        let old = self.state.maps[resource as usize].remove(at)?;
        self.state.version += 1;
        self.note(Some(old.clone()), None);
        Some(old)
    }

    fn note(&mut self, old: Option<Arc<Stored>>, new: Option<Arc<Stored>>) {
        let version = self.state.version;
        self.index(old.as_ref(), new.as_ref());
        if let (Some(o), Some(n)) = (&old, &new)
            && o.uid != n.uid
        {
            // Another object took the name: two changes.
            self.stage_change(o.uid, version, old, None);
            let uid = n.uid;
            self.stage_change(uid, version, None, new);
            return;
        }
        let Some(uid) = new.as_ref().or(old.as_ref()).map(|o| o.uid) else { return };
        self.stage_change(uid, version, old, new);
    }

    fn stage_change(
        &mut self,
        uid: Uid,
        resource_version: u64,
        old: Option<Arc<Stored>>,
        new: Option<Arc<Stored>>,
    ) {
        match self.stage.by_uid.get(&uid) {
            Some(&place) => {
                let change = &mut self.stage.changes[place];
                change.resource_version = resource_version;
                change.new = new;
            }
            None => {
                self.stage.by_uid.insert(uid, self.stage.changes.len());
                self.stage.changes.push(Change { resource_version, old, new });
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.stage.commands.push(command);
    }

    /// Laws of the state that must hold after every step; tests and the simulation call it.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut active: BTreeMap<Uid, usize> = BTreeMap::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let status = pod.pod_status().ok_or_else(|| format!("pod {} has no status", pod.name))?;
            if self.pods_by_uid.get(&pod.uid).is_none_or(|at| *at.name != *pod.name) {
                return Err(format!("pod {} is not found by its uid", pod.name));
            }
            if let Some(job) = pod.controller()
                && !status.phase.is_terminal()
                && self.jobs.contains_key(&job)
            {
                *active.entry(job).or_default() += 1;
            }
        }
        for (uid, job) in &self.jobs {
            let counted = active.get(uid).copied().unwrap_or(0);
            if counted != job.active.len() {
                return Err(format!("job {}: {counted} pods run, its index lists {}", job.at.name, job.active.len()));
            }
        }
        for (key, at) in &self.wake {
            if !self.timers.contains(&(*at, key.clone())) {
                return Err(format!("the timer of {key:?} is lost"));
            }
        }
        if self.pods_by_uid.len() != self.state.count(Resource::Pod) {
            return Err("the index of pods by uid holds a pod that is gone".into());
        }
        Ok(())
    }
}
