//! What the node is told when it starts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use watchbell_api::array::HeadSignature;
use watchbell_api::node::Capacity;
use watchbell_array::{Array, Digest, KeySource, Signer};
use watchbell_image::PullOptions;
use watchbell_sandbox::SpawnerOptions;

/// How a node runs pods. [`NodeOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Holds images, layers, volumes and logs.
    pub data_dir: PathBuf,
    pub spawner: SpawnerOptions,
    /// `spec.nodeName` as pods see it.
    pub node_name: Arc<str>,
    /// What this machine offers: a limit that a container leaves unsaid reads as this (`resourceFieldRef`).
    pub capacity: Capacity,
    /// How images are pulled for pods; a pod's `imagePullSecrets` come before these credentials.
    pub pull: PullOptions,
    /// Images pulled or unpacked at the same time.
    pub pulls_at_once: usize,
    /// Processes of a container. Kubernetes has no field for it; a fork bomb must end somewhere.
    pub pids_per_container: u64,
    /// Bytes of the writable layer of a container whose root is not read-only, and of the scratch `/tmp`. They live in
    /// memory and count as the container's.
    pub scratch_bytes: u64,
    /// Bytes of an `emptyDir` on disk that has no `sizeLimit`.
    pub empty_dir_bytes: u64,
    /// When the data directory's file system has less left, what nobody uses is removed, and then the pod that holds most of it
    /// is evicted.
    pub disk_reserve_bytes: u64,
    pub log: LogLimits,
    /// Bytes of the logs of all pods that have ended: beyond, the oldest go.
    pub logs_bytes: u64,
    /// The index of advisories, or the directory that it lies in; there need be none.
    pub advisories: PathBuf,
    /// Files that `seccompProfile.localhostProfile` names, as kubelet has them below its root directory.
    pub seccomp_dir: PathBuf,
    /// By which encrypted data arrays are opened.
    pub array_keys: Vec<ArrayKey>,
    /// What all of them together may take in memory, decrypted.
    pub array_memory_bytes: u64,
    /// Chunks and files that a run may write to an array, and that it may have then.
    pub array_chunks_max: u64,
    /// Signs the heads of data arrays that the node moves.
    pub head_key: Option<HeadKey>,
}

/// A key of data arrays, under the name by which their objects ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayKey {
    /// Nothing: all namespaces may use it.
    pub namespace: Option<String>,
    pub name: String,
    pub source: KeySource,
}

/// A key that signs heads of arrays.
#[derive(Clone)]
pub struct HeadKey {
    /// What verifies them, for everybody.
    pub public: Arc<str>,
    pub signer: Arc<Signer>,
    pub check: Arc<HeadCheck>,
}

/// Says by whom a snapshot was signed when it became the head of an array.
pub type HeadCheck = dyn Fn(&Array, Digest) -> HeadSignature + Send + Sync;

impl fmt::Debug for HeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadKey({})", self.public)
    }
}

/// Bounds of one container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// A file is rotated when it would grow above this.
    pub max_bytes: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
}

impl NodeOptions {
    pub fn new(data_dir: impl Into<PathBuf>, node_name: impl Into<Arc<str>>, capacity: Capacity) -> Self {
        let data_dir = data_dir.into();
        Self {
            spawner: SpawnerOptions::new(&data_dir),
            seccomp_dir: data_dir.join("seccomp"),
            advisories: data_dir.join("advisories"),
            data_dir,
            node_name: node_name.into(),
            capacity,
            pull: PullOptions::default(),
            pulls_at_once: 4,
            pids_per_container: 1024,
            scratch_bytes: 64 << 20,
            empty_dir_bytes: 10 << 30,
            disk_reserve_bytes: 0,
            log: LogLimits::default(),
            logs_bytes: u64::MAX,
            array_keys: Vec::new(),
            array_memory_bytes: 1 << 30,
            array_chunks_max: 1 << 20,
            head_key: None,
        }
    }
}

impl Default for LogLimits {
    /// kubelet's defaults: 10 MiB a file, 5 files.
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}
