//! An entry of a transparency log, and the proofs that it is in it: the tree's (RFC 6962) under a signed checkpoint (C2SP
//! signed-note), and the log's signed promise with the time.

use jiff::Timestamp;
use serde::Deserialize;
use watchbell_audit::{Checkpoint, Hash, Note, includes, leaf_hash};

use crate::key::hex;
use crate::proto::{self, Bytes, Int64};
use crate::refused::{ProofFault, Reason};
use crate::trust_root::{Contents, Log, Validity};

/// Hashes from a leaf to the root of a tree of 2^63 entries.
const HASHES_MAX: usize = 63;
/// rekor.v1.TransparencyLogEntry
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogEntry {
    #[serde(default)]
    pub(crate) log_index: Int64,
    pub(crate) log_id: LogId,
    pub(crate) kind_version: Option<KindVersion>,
    #[serde(default)]
    pub(crate) integrated_time: Int64,
    pub(crate) inclusion_promise: Option<Promise>,
    pub(crate) inclusion_proof: Option<InclusionProof>,
    pub(crate) canonicalized_body: Bytes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogId {
    pub(crate) key_id: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct KindVersion {
    pub(crate) kind: String,
    pub(crate) version: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Promise {
    pub(crate) signed_entry_timestamp: Bytes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InclusionProof {
    #[serde(default)]
    log_index: Int64,
    root_hash: Bytes,
    #[serde(default)]
    tree_size: Int64,
    #[serde(default)]
    hashes: Vec<Bytes>,
    pub(crate) checkpoint: Option<SignedCheckpoint>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SignedCheckpoint {
    pub(crate) envelope: String,
}

/// What a verified entry shows.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) log: String,
    pub(crate) index: u64,
    /// The time that the log signed with its promise.
    pub(crate) promised_at: Option<Timestamp>,
    /// When the log's key was in use.
    pub(crate) validity: Validity,
}

impl LogEntry {
    /// Whether the entry is in its log, by every proof that it carries; it must carry one.
    pub(crate) fn verify(&self, root: &Contents) -> Result<Logged, Reason> {
        let log = root.log(&self.log_id.key_id.0)?;
        let promised_at = match &self.inclusion_promise {
            Some(promise) => Some(self.verify_promise(&promise.signed_entry_timestamp.0, log)?),
            None => None,
        };
        // A log of several trees counts through them, which the promise says; the proof counts in its own.
        let mut index = promised_at.map(|_| self.log_index.0);
        if let Some(proof) = &self.inclusion_proof {
            proof.verify(&self.canonicalized_body.0, log)?;
            index = index.or(Some(proof.log_index.0));
        }
        let index = index.ok_or(Reason::NotInLog)?;
        Ok(Logged { log: hex(&log.id), index, promised_at, validity: log.validity })
    }

    /// The promise (signed entry timestamp): the log's signature of body, time, log and index as canonical JSON (RFC 8785).
    fn verify_promise(&self, signature: &[u8], log: &Log) -> Result<Timestamp, Reason> {
        let wrong = Reason::ProofWrong(ProofFault::Promise);
        let key = log.key.as_ref().map_err(|e| Reason::from(e.clone()))?;
        let signed = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            proto::encode(&self.canonicalized_body.0),
            self.integrated_time.0,
            hex(&self.log_id.key_id.0),
            self.log_index.0
        );
        if self.integrated_time.0 == 0 || !key.verifies(signed.as_bytes(), signature) {
            return Err(wrong);
        }
        let at = i64::try_from(self.integrated_time.0)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok())
            .ok_or(wrong)?;
        if !log.validity.holds(at) {
            return Err(Reason::ProofWrong(ProofFault::LogTime));
        }
        Ok(at)
    }
}

impl InclusionProof {
    fn verify(&self, body: &[u8], log: &Log) -> Result<(), Reason> {
        let malformed = |reason: &str| Reason::malformed("inclusion proof", reason);
        if self.hashes.len() > HASHES_MAX {
            return Err(malformed("it has more than 63 hashes"));
        }
        let hash =
            |bytes: &Bytes| Hash::try_from(bytes.0.as_slice()).map_err(|_| malformed("a hash has 32 bytes"));
        let root = hash(&self.root_hash)?;
        let hashes = self.hashes.iter().map(hash).collect::<Result<Vec<Hash>, Reason>>()?;
        let checkpoint = self.checkpoint.as_ref().ok_or_else(|| malformed("it has no checkpoint"))?;
        let signed = open(&checkpoint.envelope, log)?;
        if signed.root != root || signed.size != self.tree_size.0 {
            return Err(Reason::ProofWrong(ProofFault::CheckpointOther));
        }
        if !includes(&leaf_hash(body), self.log_index.0, signed.size, &hashes, &signed.root) {
            return Err(Reason::ProofWrong(ProofFault::Inclusion));
        }
        Ok(())
    }
}

/// The tree that the log signed. Signatures of others (witnesses) are passed over. ECDSA logs have notes too, which is why
/// the key is not one of signed-note's.
fn open(envelope: &str, log: &Log) -> Result<Checkpoint, Reason> {
    let malformed = |e: watchbell_audit::NoteError| Reason::malformed("checkpoint", e.to_string());
    let note = Note::parse(envelope.as_bytes()).map_err(malformed)?;
    let key = log.key.as_ref().map_err(|e| Reason::from(e.clone()))?;
    let is_signed = note
        .signatures
        .iter()
        .filter(|signature| Some(signature.id) == log.note_id())
        .any(|signature| key.verifies(note.text.as_bytes(), &signature.bytes));
    if !is_signed {
        return Err(Reason::ProofWrong(ProofFault::CheckpointUnsigned));
    }
    Checkpoint::parse(&note.text).map_err(malformed)
}
