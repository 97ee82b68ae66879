//! What the server and the node say to each other. They never import one another; the binary joins them.
//!
//! ```text
//!  server ── Command (start · stop · forget) ──▶ node
//!  server ◀── Report (pod status · capacity) ─── node
//!  server ── LogQuery ──▶ node's log store ──▶ bytes
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::Value;

use crate::array::{ArrayFacts, ArrayRefusal, ArrayRun, DataArraySpec, PublishedArray, RolledBack};
use crate::image::{ImageFacts, ImageJudged, ImageUser};
use crate::network::{ConnectionNews, EgressWire};
use crate::types::pod::PodSpec;
use crate::types::pod_status::{JobLog, PodStatus};
use crate::{ApiError, Resource, Uid};

/// The annotation of a pod whose system calls are to be noted, with the value `true`.
pub const TRACE: &str = "watchbell.dev/trace";

/// The CSI driver of the volumes that this node mounts.
pub const LOCAL_DRIVER: &str = "watchbell.dev/local";

/// A pod bound to this machine, as the node needs it.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub uid: Uid,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: Arc<BTreeMap<String, String>>,
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The effective spec: defaults and the strict fill-in are in it. Shared by the pods of one array.
    pub spec: Arc<PodSpec>,
    /// What `hostname` prints inside; it wins over the spec's. An index of an array is `<job>-<index>`.
    pub hostname: Arc<str>,
    /// The Job this pod belongs to, if any.
    pub job: Option<(Uid, Arc<str>)>,
    pub index: Option<u32>,
    pub attempt: u32,
    /// Where its logs lie; `None`: by the pod's own uid. A pod that a Job let go of, or took in, has others than its Job's.
    pub log: Option<JobLog>,
    /// The pod was made in a namespace without a Pod Security level: a container whose root is read-only gets a bounded
    /// scratch /tmp of its own where nothing else is mounted. Kubernetes itself gives none.
    pub private_tmp: bool,
    /// There exactly if the pod has the annotation [`crate::array::ARRAY`].
    pub arrays: Option<Arc<ArrayRun>>,
    /// Where it may connect to, for the gate, if a policy of networks says so of it; else nowhere. A pod that is started
    /// without has no way out until it is started again.
    pub egress: Option<EgressWire>,
    /// What the journal knew of the pod: after a restart of the server the node resumes from here.
    pub status: PodStatus,
}

/// Server to node. Commands are idempotent by uid.
#[derive(Debug, Clone)]
pub enum Command {
    /// Run the pod, or take it over if it runs already.
    Start(Box<Assignment>),
    /// End it: SIGTERM, then SIGKILL after the grace period. A [`Report::Status`] with a terminal phase follows.
    Stop { uid: Uid, grace_seconds: u32, cause: StopCause },
    /// A client changed what may be changed of it: the deadline counts at once, an image from the next restart on.
    ChangeSpec { uid: Uid, spec: Arc<PodSpec> },
    /// The object is gone: forget the pod, and remove its logs unless they lie among those of a Job.
    Forget { uid: Uid, log: Option<JobLog> },
    /// The Job is gone with all pods whose logs lie among its own: remove its log directory.
    ForgetJob { uid: Uid },
    /// No claim needs the volume any more: remove its folder. A [`Report::VolumeRemoved`] follows.
    RemoveVolume { name: Arc<str> },
    /// Tokens that were given for volumes hold no longer: ask for others now.
    RefreshTokens,
    /// All pods that the journal knows have been sent: end whatever else runs.
    Synced,
    /// Policies of images changed: who was refused may be let in, and the other way round.
    ImagePoliciesChanged,
    /// Policies of networks changed, or the labels of a pod: where it may connect to from now on. `None`: nowhere.
    ChangeEgress { uid: Uid, egress: Option<EgressWire> },
    /// What a [`Report::ConnectionsTold`] spoke of is durable.
    ConnectionsHeard { serial: u64 },
    /// A CronJob or a Job of the namespace names images that policies cannot be decided by yet: look at those that are here.
    ImagesNamed { namespace: Arc<str>, images: Vec<Arc<str>> },
    /// The terminal status of the pod is durable: its exit records may be dropped.
    Acknowledge { uid: Uid },
    /// All indices have committed: let the drafts of the run be the heads of the arrays that it writes. Done again it ends
    /// the same way. A [`Report::ArraysPublished`] follows. `uses` is the annotation, as JSON.
    PublishArrays { namespace: Arc<str>, run: Arc<ArrayRun>, uses: Arc<Value> },
    /// No Job can go on with this run: remove its drafts of all arrays of the namespace, and let go of what it read.
    AbandonDrafts { namespace: Arc<str>, run: Uid },
    /// There is an object: let there be a store, with this quota and retention. A [`Report::Array`] follows.
    /// `head_number`: an encrypted store's head was that at least. One that is not there is made if `make`.
    KeepArray { namespace: Arc<str>, name: Arc<str>, spec: Arc<DataArraySpec>, head_number: u64, make: bool },
    /// The object is going: remove the store. A [`Report::Array`] without facts follows, or with why it is still there. What
    /// `runs` keep of it goes first: they are over.
    RemoveArray { namespace: Arc<str>, name: Arc<str>, runs: Arc<[Uid]> },
    /// Let the head be what an older snapshot was: a tag, a digest or the beginning of one. When it is so already, nothing is
    /// done. Only a snapshot that this server signed, unless `unsigned_ok`. A [`Report::ArrayRolledBack`] follows.
    RollbackArray { namespace: Arc<str>, name: Arc<str>, to: Arc<str>, user: Arc<str>, unsigned_ok: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    Deleted,
    JobDeadline,
    JobFailed,
    Suspended,
    Preempted,
}

/// Node to server.
#[derive(Debug, Clone)]
pub enum Report {
    /// The whole status of a pod; a terminal phase comes once, after its last process ended and its log is complete.
    Status { uid: Uid, status: Box<PodStatus> },
    /// With what a container was started. It comes before the status that says that it runs or ran.
    Started {
        uid: Uid,
        /// Ordinal in the pod, init containers first.
        container: u16,
        /// The run's restart count.
        attempt: u32,
        /// The host's id of the pod's user 0, when it has ids of its own and the spawner told.
        host_ids: Option<u32>,
        /// As the audit journal keeps it. Equal settings of one run are one object.
        settings: Arc<Value>,
    },
    /// Something a person should see (`Pulled`, `FailedMount`, …), for the pod's events.
    Event { uid: Uid, warning: bool, reason: &'static str, message: String },
    /// The devices of this machine from now on: full names (`vendor.com/class=name`) under their kinds.
    Devices { pools: BTreeMap<Arc<str>, Vec<Arc<str>>> },
    /// What is known of an image, as pods of a namespace name it. With those of the namespace who refer to it, or with none: a
    /// container of the namespace is about to start from it, so the namespace could have it.
    Image { namespace: Arc<str>, image: Arc<str>, facts: Arc<ImageFacts>, users: Vec<ImageUser> },
    /// What policies said of an image that a container was to start from.
    ImageJudged { uid: Uid, judged: Box<ImageJudged> },
    /// What became of a connection that a pod wanted, or of a name that it asked for.
    Connection { uid: Uid, news: Box<ConnectionNews> },
    /// All of these that the gate numbered up to here have been told, but for `lost`, for which there was no room before a server
    /// was there to take them.
    ConnectionsTold { serial: u64, lost: u64 },
    /// A gate died: of connections between these times, by nanoseconds since 1970, something may be unknown.
    GateLost { from: i64, until: i64 },
    /// The folder of a volume is gone, or why it is not.
    VolumeRemoved { name: Arc<str>, error: Option<String> },
    /// What is known of an array's store: at the start of each, and whenever something of it changed. Without facts and
    /// without an error there is no store.
    Array { namespace: Arc<str>, name: Arc<str>, facts: Option<Arc<ArrayFacts>>, error: Option<String> },
    /// All uses for writing of a pod's index are in the draft. It comes before the terminal status of the pod, once for each
    /// array.
    ArrayCommitted { uid: Uid, array: Arc<str>, index: u32, attempt: u32, keys: u64, bytes: u64 },
    /// What became of a [`Command::PublishArrays`].
    ArraysPublished { job: Uid, result: Result<Vec<PublishedArray>, ArrayRefusal> },
    /// A [`Command::PublishArrays`] does not end yet, and why: it is tried again and again.
    ArraysDelayed { job: Uid, message: Box<str> },
    /// What became of a [`Command::RollbackArray`].
    ArrayRolledBack { namespace: Arc<str>, name: Arc<str>, to: Arc<str>, result: Result<RolledBack, String> },
}

/// Reads objects of the published state: ConfigMaps, Secrets and pods that volumes and variables name.
pub type Lookup = Arc<dyn Fn(Resource, &str, &str) -> Option<Arc<Value>> + Send + Sync>;

/// A token that a volume of a pod needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenQuery {
    pub namespace: Arc<str>,
    pub pod_name: Arc<str>,
    pub pod_uid: Uid,
    /// Empty: for the server itself.
    pub audience: String,
    /// How long it should live.
    pub expiration_seconds: i64,
}

/// A signed token of the pod's service account, bound to the pod.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    pub token: String,
    /// Unix seconds.
    pub issued_at: i64,
    pub expires_at: i64,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuedToken({} to {})", self.issued_at, self.expires_at)
    }
}

/// Gives the node tokens. It does not block.
pub type Tokens = Arc<dyn Fn(&TokenQuery) -> Result<IssuedToken, ApiError> + Send + Sync>;

/// `pods/log` as a client asks for it.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub pod_uid: Uid,
    /// As in [`Assignment::log`].
    pub log: Option<JobLog>,
    /// Ordinal of the container in the pod, init containers first.
    pub container: u16,
    /// Restart count of the run asked for.
    pub restart: u32,
    pub follow: bool,
    pub tail_lines: Option<u64>,
    pub since_unix_nanos: Option<i64>,
    pub limit_bytes: Option<u64>,
    pub timestamps: bool,
    /// Not what it printed, but which system calls it made (see [`TRACE`]).
    pub trace: bool,
}

/// The node's logs. `read` blocks when it follows; it returns 0 when the container ended and all was read.
pub trait LogSource: Send + Sync {
    fn open(&self, query: &LogQuery) -> io::Result<Box<dyn LogStream>>;
}

/// A log being read.
pub trait LogStream: Send {
    /// The next bytes, at most `buffer`'s length. `Ok(0)`: at the end for now; see [`LogStream::finished`].
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// No more bytes will come: the container ended and its log is complete.
    fn finished(&self) -> bool;
}

/// What this machine offers to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pods: u32,
    pub ephemeral_storage_bytes: u64,
}

/// What a client asks of the image store. Answers are JSON, as the command line prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRequest {
    List,
    Inspect {
        name: String,
    },
    Remove {
        name: String,
    },
    Prune,
    Pull {
        name: String,
        platform: Option<String>,
        plain_http: bool,
    },
    /// The body is a docker-archive or an oci-archive. `name` wins over the names inside.
    Import {
        name: Option<String>,
    },
}

/// The node's image store, for requests that come through the server while it holds the data directory.
pub trait Images: Send + Sync {
    /// Carries out a request. It blocks; `progress` gets what a person may see on the way, one JSON document at a time.
    fn call(
        &self,
        request: &ImageRequest,
        body: &mut dyn io::Read,
        progress: &mut dyn FnMut(Value),
    ) -> Result<Value, ApiError>;
}

/// `pods/exec` or `pods/attach`, after every check that the server can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    pub pod_uid: Uid,
    /// Ordinal of the container in the pod, init containers first.
    pub container: u16,
    pub action: SessionAction,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// A terminal: standard error is part of the output.
    pub tty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAction {
    /// Start one more process in the running container.
    Exec { command: Vec<String> },
    /// Join the streams of the container's own process.
    Attach,
}

/// The node's containers, for clients that talk to a process in one, or want to know how one is started.
pub trait Sessions: Send + Sync {
    /// What the starts of the pod's containers do, step by step, as JSON. Nothing is started; an image that is not here is not
    /// fetched, and said so. It blocks.
    fn explain(&self, pod: &Assignment) -> Result<Value, ApiError>;

    /// Opens the streams. It blocks until the process runs or cannot be started.
    fn open(&self, request: &SessionRequest) -> Result<Session, ApiError>;
}

/// The streams that were asked for, as pipes or one end of a terminal; all may be set non-blocking, and some are. Where a
/// pipe ends with no bytes, a terminal may end with EIO.
pub struct Session {
    /// Dropping it ends the process's input, unless that is a terminal or stays open for others. None also where the
    /// container takes no input (any more): what the client types is then thrown away.
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    /// None with a terminal.
    pub stderr: Option<OwnedFd>,
    /// A process that was started for this session does not outlive it.
    pub control: Arc<dyn SessionControl>,
}

pub trait SessionControl: Send + Sync {
    /// The client's window changed. Without a terminal it does nothing.
    fn resize(&self, columns: u16, rows: u16) -> io::Result<()>;
    /// Blocks until the process has ended. For an attached container this is the container's end.
    fn wait(&self) -> io::Result<SessionEnd>;
    /// The client is gone: what was started for it is killed, an attached container runs on, and [`SessionControl::wait`]
    /// returns. Dropping the last reference does the same.
    fn end(&self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    Exited(u8),
    Signalled(u8),
}
