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

mod admitted;
mod adopt;
mod arrays;
mod audit;
mod bootstrap;
mod claims;
mod collect;
mod create;
mod cronjobs;
mod delete;
mod doors;
mod events;
mod explained;
mod facts;
mod forms;
mod images;
mod index;
mod invariants;
mod issue;
mod jobs;
mod json;
mod managed;
mod namespaces;
mod object;
mod owners;
mod pods;
mod podsecurity;
mod policies;
mod quotas;
mod reports;
mod rights;
mod row;
mod rules;
mod runs;
mod seats;
mod shape;
mod shown;
mod snapshot;
mod stage;
mod starts;
mod status;
mod template;
mod update;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::node::{Capacity, Command};
use watchbell_api::{Resource, Uid};

pub use audit::{AuditRecord, BODY_HASH, COMMAND_HASH, ISSUED};
pub use create::{check_new, with_first_status};
pub use facts::{EventFacts, Facts, JobFacts};
pub use managed::Managed;
pub use object::{ArrayPod, Deletion, Fills, Head, JsonHead, Key, NsName, Owner, Status, Stored};
pub use podsecurity::{at_steps, pod_of};
pub use row::{NO_INDEX, Row, RowError, RowKey, encode, row_key};
pub use shown::rfc3339;
pub use snapshot::Snapshot;
pub use stage::{Change, Stage};
pub use template::{COMPLETION_INDEX, JobPods, TRACKING};

use crate::placement::{Pools, Queue};
use index::JobRuntime;
use shape::Shapes;
use stage::Staging;

/// The name of the one node: this machine.
pub const NODE_NAME: &str = "watchbell";

/// The manager of the fields that the controllers write.
const CONTROLLER_MANAGER: &str = "watchbell-controller";
/// The same of the part that runs pods.
const NODE_MANAGER: &str = "watchbell-node";

/// How many objects are reconciled in one batch, so that no answer waits for thousands.
const RECONCILES_PER_BATCH: usize = 256;
/// What policies may cost for the Jobs in either line of a batch, until the last that was begun: as much as for one request.
const POLICY_SHARE: u32 = 1000;

/// What `kubectl describe node` says of the machine. What could not be found out is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// All there is; what pods may have of it is [`Config::capacity`]. `None`: the same.
    pub total: Option<Capacity>,
    pub kernel_version: String,
    pub os_image: String,
    pub boot_id: String,
    pub machine_id: String,
    pub system_uuid: String,
    /// Where other machines reach this one.
    pub address: String,
}

/// What the world is told about where it runs.
#[derive(Debug, Clone)]
pub struct Config {
    pub machine: Machine,
    pub capacity: Capacity,
    /// Its devices at the start; the node tells of changes.
    pub devices: Pools,
    /// The machine's host name, an address of the node.
    pub hostname: String,
    /// PEM of the authority that signed the server's certificate: `kube-root-ca.crt` in every namespace.
    pub ca_pem: String,
    /// Seeds uids and name suffixes; fresh from the kernel at each start.
    pub seed: [u8; 32],
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
    /// Jobs whose author chose the selector.
    manual_jobs: BTreeSet<NsName>,
    /// Pods that a Job might adopt: running, without a controller.
    loose_pods: BTreeSet<NsName>,
    /// Jobs by their controlling CronJob.
    cron_children: HashMap<Uid, BTreeSet<NsName>>,
    /// Every object by an owner's uid, array pods excepted (their Job's runtime lists them).
    owned: HashMap<Uid, BTreeSet<Key>>,
    pods_by_uid: HashMap<Uid, NsName>,
    /// How many pods keep their logs among those of a Job that they left.
    kept_logs: HashMap<Uid, u32>,
    queue: Queue,
    /// Pods that joined the queue since the last pass: those that find no room are told why, once.
    queued: Vec<NsName>,
    /// Events by their age.
    events: BTreeSet<(i64, NsName)>,
    /// The event that counts when the same is told again, by its namespace and [`events::identity`].
    event_names: BTreeMap<(Arc<str>, u64), Arc<str>>,
    /// What the newest event's name ends in.
    last_event_at: u64,

    dirty: VecDeque<Key>,
    is_dirty: HashSet<Key>,
    /// Jobs with pods that ended and are not counted: reconciled in this batch, whatever its bound.
    urgent: VecDeque<Key>,
    timers: BTreeSet<(i64, Key)>,
    wake: HashMap<Key, i64>,
    shapes: Shapes,
    /// Raised by every change of what pods are admitted by.
    rule_changes: u64,
    /// ResourceQuotas by namespace, and those whose status is behind.
    quotas: HashMap<Arc<str>, quotas::Ledger>,
    quota_news: BTreeSet<NsName>,
    /// Jobs that were refused pods and CronJobs that were refused a Job, by namespace, and the namespaces where that may have
    /// changed.
    refused: HashMap<Arc<str>, quotas::Refused>,
    freed: BTreeSet<Arc<str>>,
    /// Pods that have not ended, by the claims that they name.
    claim_users: HashMap<NsName, BTreeSet<NsName>>,
    /// Claims without a volume, and what was said of them.
    unbound_claims: BTreeMap<NsName, claims::Told>,
    /// What admission has to say in the audit entry of the request at hand.
    admission_notes: BTreeMap<std::borrow::Cow<'static, str>, String>,
    /// What is left of what policies may use up for the request at hand.
    policy_budget: crate::admission::policies::Budget,
    /// What policies had of this batch for what controllers make, in thousandths of what a request may cost.
    policy_share: u32,
    /// More pods may have others end for them than one batch looks at.
    preempts_on: bool,
    /// Pods that wait since before their namespace's labels changed: judged again before they start.
    unsure: HashSet<Uid>,
    /// Starts of containers on their way into the journal.
    starts: starts::Starts,
    /// What is known of images, as pods name them. Of the node's telling, and told anew after a start.
    images: images::Images,
    /// What this server's life told the node of each array.
    arrays_told: HashMap<NsName, arrays::Told>,
    publications: arrays::Publications,
    /// What pods were told of where they may connect to.
    doors: doors::Doors,
    /// What the server writes of its own on the next Job that is created, and nobody else may.
    own_annotations: BTreeMap<&'static str, String>,
    /// How many more objects of ending namespaces this batch deletes.
    deletes_left: usize,
    /// Of the last `settle`, to see the clock step back.
    last_second: i64,
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
        let digest =
            Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }
}

/// Of the machine as it is, with nobody in it.
fn empty_queue(config: &Config) -> Queue {
    let mut queue = Queue::new(config.capacity.clone());
    queue.change_devices(&config.devices);
    queue
}

impl World {
    pub fn new(config: Config) -> World {
        World {
            random: Random { seed: config.seed, counter: 0 },
            queue: empty_queue(&config),
            config,
            state: Snapshot::empty(),
            committed: Snapshot::empty(),
            stage: Staging::default(),
            jobs: HashMap::new(),
            manual_jobs: BTreeSet::new(),
            loose_pods: BTreeSet::new(),
            cron_children: HashMap::new(),
            owned: HashMap::new(),
            pods_by_uid: HashMap::new(),
            kept_logs: HashMap::new(),
            queued: Vec::new(),
            events: BTreeSet::new(),
            event_names: BTreeMap::new(),
            last_event_at: 0,
            dirty: VecDeque::new(),
            is_dirty: HashSet::new(),
            urgent: VecDeque::new(),
            timers: BTreeSet::new(),
            wake: HashMap::new(),
            shapes: Shapes::default(),
            rule_changes: 0,
            quotas: HashMap::new(),
            quota_news: BTreeSet::new(),
            refused: HashMap::new(),
            freed: BTreeSet::new(),
            claim_users: HashMap::new(),
            unbound_claims: BTreeMap::new(),
            admission_notes: BTreeMap::new(),
            policy_budget: crate::admission::policies::Budget::default(),
            policy_share: 0,
            preempts_on: false,
            unsure: HashSet::new(),
            starts: starts::Starts::default(),
            images: images::Images::default(),
            arrays_told: HashMap::new(),
            publications: arrays::Publications::default(),
            doors: doors::Doors::default(),
            own_annotations: BTreeMap::new(),
            deletes_left: 0,
            last_second: i64::MIN,
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
        if !self.dirty.is_empty() || !self.urgent.is_empty() || !self.freed.is_empty() || self.preempts_on {
            return Some(Timestamp::UNIX_EPOCH);
        }
        self.timers.first().and_then(|(at, _)| Timestamp::from_second(*at).ok())
    }

    /// Reconciles what changed and what is due, up to a bounded number of objects, and gives room to pods that wait.
    pub fn settle(&mut self, now: Timestamp) {
        self.mark_due(now.as_second());
        self.tell_gone(now);
        self.wake_refused();
        self.deletes_left = namespaces::DELETES_PER_BATCH;
        self.policy_share = 0;
        self.count_ended(now);
        // So that those in line have their turn however much is made for those that are urgent.
        self.policy_share = 0;
        for _ in 0..RECONCILES_PER_BATCH {
            let Some(key) = self.dirty.pop_front() else { break };
            self.look_at(&key, now);
            self.count_ended(now);
            if self.policy_share >= POLICY_SHARE {
                break;
            }
        }
        self.bind_pods(now);
        self.tell_doors(now);
        self.preempt_pods(now);
        self.tell_who_waits(now);
    }

    /// Jobs with pods that ended, however many.
    fn count_ended(&mut self, now: Timestamp) {
        while let Some(key) = self.urgent.pop_front() {
            self.look_at(&key, now);
        }
    }

    /// A key can stand in both lines; it is looked at once.
    fn look_at(&mut self, key: &Key, now: Timestamp) {
        if self.is_dirty.remove(key) {
            self.reconcile(key, now);
        }
    }

    fn reconcile(&mut self, key: &Key, now: Timestamp) {
        if *key == events::timer_key() {
            self.expire_events(now);
            return;
        }
        if *key == rights::aggregation_key() {
            self.aggregate_roles(now);
            return;
        }
        if self.collect(key, now) {
            return;
        }
        match key.resource {
            Resource::Job => self.reconcile_job(&key.at, now),
            Resource::CronJob => self.reconcile_cronjob(&key.at, now),
            Resource::Namespace => self.reconcile_namespace(&key.at.name, now),
            Resource::PersistentVolumeClaim => self.reconcile_claim(&key.at, now),
            Resource::PersistentVolume => self.reconcile_volume(&key.at, now),
            Resource::DataArray => self.reconcile_array(&key.at, now),
            _ => {}
        }
    }

    /// Marks what is due. When the clock was set back, all that waits for a time is looked at again: what is "ten seconds
    /// after a failure" moves with the clock, what is a second of the calendar does not, and only the object's own
    /// controller knows which.
    fn mark_due(&mut self, second: i64) {
        if second < self.last_second {
            let waiting: Vec<Key> = self.timers.iter().map(|(_, key)| key.clone()).collect();
            for key in waiting {
                self.mark(key);
            }
        }
        self.last_second = second;
        while let Some((at, key)) = self.timers.first() {
            if *at > second {
                break;
            }
            let key = key.clone();
            self.clear_timer(&key);
            self.mark(key);
        }
    }

    /// The stage is durable: readers may see it.
    pub fn committed(&mut self) {
        self.committed = self.state.clone();
        self.starts.committed();
        self.publications.committed();
    }

    /// The stage was not committed: forget it. Resource versions are not given out a second time.
    pub fn rollback(&mut self, now: Timestamp) {
        let version = self.state.version;
        self.stage = Staging::default();
        self.starts.rollback();
        self.publications.rollback();
        // What the node told stays true, whatever became of it.
        let arrays = std::mem::take(&mut self.state.arrays);
        self.state = self.committed.clone();
        self.state.arrays = arrays;
        self.state.version = version;
        self.reindex(now);
        self.doubt_doors();
    }

    fn mark(&mut self, key: Key) {
        if self.is_dirty.insert(key.clone()) {
            self.dirty.push_back(key);
        }
    }

    fn mark_urgent(&mut self, key: Key) {
        self.is_dirty.insert(key.clone());
        self.urgent.push_back(key);
    }

    /// When an object is looked at again though nothing changed. Now or in the past: in the next batch, so that a long
    /// work is many small commits.
    fn set_timer(&mut self, key: &Key, at: Option<i64>) {
        if self.wake.get(key).copied() == at {
            return;
        }
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
    ///
    /// # Panics
    /// In tests, when another object has the name: whoever creates has looked.
    fn put(&mut self, mut object: Stored) -> Arc<Stored> {
        if let (Resource::Pod, Head::Json(_)) = (object.resource, &object.head)
            && let Some(old) = self.get_at(Resource::Pod, &object.at())
        {
            object.keep_job_log(old);
        }
        self.state.version += 1;
        object.resource_version = self.state.version;
        let object = Arc::new(object);
        let old = self.state.insert(&object);
        debug_assert!(
            old.as_ref().is_none_or(|old| old.uid == object.uid),
            "{:?} has two uids",
            object.key()
        );
        self.stage.change(object.uid, self.state.version, old.clone(), Some(object.clone()));
        self.index(old.as_ref(), Some(&object));
        self.ask_for_images(old.as_deref(), &object);
        object
    }

    /// Removes an object for good; what it owned is collected.
    fn remove(&mut self, resource: Resource, at: &NsName) -> Option<Arc<Stored>> {
        let old = self.state.remove(resource, at)?;
        self.state.version += 1;
        self.stage.change(old.uid, self.state.version, Some(old.clone()), None);
        self.index(Some(&old), None);
        Some(old)
    }

    fn command(&mut self, command: Command) {
        self.stage.commands.push(command);
    }
}
