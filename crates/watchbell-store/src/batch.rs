//! What one commit holds, and the checks it must pass before it touches the file.

use std::fmt;

/// Longest resource, namespace or name of a row; Kubernetes' own names end at 253.
pub const MAX_NAME_BYTES: usize = 512;
/// Largest head or status. An API server takes 3 MiB in a request; this leaves room for what the server adds.
pub const MAX_BLOB_BYTES: usize = 16 << 20;
/// Largest audit entry: the transparency log's entries carry a 16-bit length (C2SP tlog-tiles).
pub const MAX_AUDIT_BODY_BYTES: usize = 65_535;
/// Resource versions stay exact in every JSON reader (IEEE 754 doubles).
pub const MAX_RESOURCE_VERSION: u64 = (1 << 53) - 1;

/// All that one commit changes. It says the net effect: **deletes come first, then puts** in the order of their resource
/// versions, so an object deleted and made anew under its name within one batch is both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The journal's resource version after this batch. Above the last one when anything is put, else at least equal.
    pub resource_version: u64,
    pub puts: Vec<Put>,
    /// A key without a row is fine: it came and went before it was ever committed.
    pub deletes: Vec<RowKey>,
    pub audit: Vec<AuditEntry>,
    /// On a full disk the reserve may serve it, if it puts nothing but statuses in the place of others. For what takes away, and for
    /// what must be written before that; for nothing that anybody can make large.
    pub may_use_reserve: bool,
}

/// Where a row lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// `resource` is plural and qualified (`jobs.batch`, `configmaps`); `namespace` is empty for cluster-scoped objects.
    Object { resource: Box<str>, namespace: Box<str>, name: Box<str> },
    /// A pod of an array. `job` is a small number the caller gives each Job, below 2^63: smaller ones make smaller rows.
    ArrayPod { job: u64, index: u32, attempt: u32 },
}

impl RowKey {
    pub fn object(resource: &str, namespace: &str, name: &str) -> RowKey {
        RowKey::Object { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowKey::Object { resource, namespace, name } if namespace.is_empty() => {
                write!(f, "{resource} {name}")
            }
            RowKey::Object { resource, namespace, name } => write!(f, "{resource} {namespace}/{name}"),
            RowKey::ArrayPod { job, index, attempt } => {
                write!(f, "attempt {attempt} of index {index} of array {job}")
            }
        }
    }
}

/// Writes a row. Both blobs are opaque; `None` leaves that part as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub key: RowKey,
    /// The object's own resource version: above the journal's last, at most the batch's.
    pub resource_version: u64,
    /// The object without its status. An object's first put must have one; an array pod has one only where it differs
    /// from its template.
    pub head: Option<Vec<u8>>,
    pub status: Option<Vec<u8>>,
    /// Given at the first put; a later one must say the same.
    pub seal: Seal,
}

/// Whether a row's blobs are encrypted at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seal {
    Plain,
    /// XChaCha20-Poly1305 with the key of the data directory. Objects only.
    Secret,
}

/// One entry of the audit journal. The store gives it the next sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Nanoseconds since 1970 UTC: good until 2262.
    pub at_unix_nanos: i64,
    /// JSON, at most [`MAX_AUDIT_BODY_BYTES`].
    pub body: Vec<u8>,
}

/// A batch that the store does not take: a mistake of the caller, found before or within the transaction, which then leaves
/// nothing behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    #[error("resource version {given} of the batch does not follow {last}")]
    StaleVersion { given: u64, last: u64 },
    #[error("resource version {given} is above 2^53 - 1")]
    VersionTooLarge { given: u64 },
    #[error("{key} has resource version {given}, which is not above {last} and at most {batch}")]
    PutVersion { key: RowKey, given: u64, last: u64, batch: u64 },
    #[error("a row has no resource or no name, or one longer than {MAX_NAME_BYTES} bytes")]
    Name,
    #[error("{key} has a blob of {bytes} bytes; at most {MAX_BLOB_BYTES} are taken")]
    BlobTooLarge { key: RowKey, bytes: usize },
    #[error("{key} has neither head nor status")]
    Nothing { key: RowKey },
    #[error("{key} is not there, so its status cannot be written without its head")]
    NoHead { key: RowKey },
    #[error("{key} was first written with the other seal")]
    SealChanged { key: RowKey },
    #[error("{key} cannot be sealed: only objects can")]
    SealedArrayPod { key: RowKey },
    #[error("{key} has a job number of 2^63 or more")]
    JobNumber { key: RowKey },
    #[error(
        "audit entry {position} of the batch has {bytes} bytes; at most {MAX_AUDIT_BODY_BYTES} are taken"
    )]
    AuditTooLarge { position: usize, bytes: usize },
}

impl Batch {
    /// Whether it may use the reserve when the disk is full.
    pub(crate) fn is_for_reserve(&self) -> bool {
        self.may_use_reserve && self.puts.iter().all(|put| put.head.is_none())
    }

    /// Checks all that can be known without the file.
    pub(crate) fn check(&self, last: u64) -> Result<(), InvalidBatch> {
        let changes = !self.puts.is_empty();
        if self.resource_version < last || (changes && self.resource_version == last) {
            return Err(InvalidBatch::StaleVersion { given: self.resource_version, last });
        }
        if self.resource_version > MAX_RESOURCE_VERSION {
            return Err(InvalidBatch::VersionTooLarge { given: self.resource_version });
        }
        for put in &self.puts {
            put.check(last, self.resource_version)?;
        }
        for key in &self.deletes {
            key.check()?;
        }
        for (position, entry) in self.audit.iter().enumerate() {
            let bytes = entry.body.len();
            if bytes > MAX_AUDIT_BODY_BYTES {
                return Err(InvalidBatch::AuditTooLarge { position, bytes });
            }
        }
        Ok(())
    }
}

impl Put {
    fn check(&self, last: u64, batch: u64) -> Result<(), InvalidBatch> {
        self.key.check()?;
        let key = || self.key.clone();
        let given = self.resource_version;
        if given <= last || given > batch {
            return Err(InvalidBatch::PutVersion { key: key(), given, last, batch });
        }
        if self.head.is_none() && self.status.is_none() {
            return Err(InvalidBatch::Nothing { key: key() });
        }
        for blob in [&self.head, &self.status].into_iter().flatten() {
            if blob.len() > MAX_BLOB_BYTES {
                return Err(InvalidBatch::BlobTooLarge { key: key(), bytes: blob.len() });
            }
        }
        match (&self.key, self.seal) {
            (RowKey::ArrayPod { .. }, Seal::Secret) => Err(InvalidBatch::SealedArrayPod { key: key() }),
            _ => Ok(()),
        }
    }
}

impl RowKey {
    fn check(&self) -> Result<(), InvalidBatch> {
        match self {
            RowKey::Object { resource, namespace, name } => {
                let fits = |part: &str| part.len() <= MAX_NAME_BYTES;
                let named = !resource.is_empty() && !name.is_empty();
                if named && fits(resource) && fits(namespace) && fits(name) {
                    Ok(())
                } else {
                    Err(InvalidBatch::Name)
                }
            }
            RowKey::ArrayPod { job, .. } if i64::try_from(*job).is_err() => {
                Err(InvalidBatch::JobNumber { key: self.clone() })
            }
            RowKey::ArrayPod { .. } => Ok(()),
        }
    }
}
