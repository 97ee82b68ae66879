//! What is told of an array's store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use watchbell_api::Uid;
use watchbell_api::array::{
    ARRAY_DOCUMENT_BYTES_MAX, ArrayEncryption, ArrayFacts, HeadSignature, is_key_name,
};
use watchbell_api::node::Report;
use watchbell_array::{Array, Error, KeptSource, Kind};
use watchbell_zarr::{Format, Hierarchy, Node};

use super::held::LEASE;
use super::{Reports, Stores};
use crate::HeadKey;

/// Lines that tell of nodes, and the characters of one.
const NODES_MAX: usize = 256;
const LINE_MAX: usize = 256;
const TAGS_MAX: usize = 1000;

/// Tells the server of stores, one after another: what is told last is the newest.
pub(crate) struct Teller {
    pub(super) stores: Arc<Stores>,
    head_key: Option<HeadKey>,
    report: Reports,
    told: Mutex<HashMap<(String, String), Arc<ArrayFacts>>>,
    /// Why stores are not swept.
    unswept: Mutex<HashMap<(String, String), String>>,
}

impl Teller {
    pub(crate) fn new(stores: Arc<Stores>, head_key: Option<&HeadKey>, report: Reports) -> Self {
        Self {
            stores,
            head_key: head_key.cloned(),
            report,
            told: Mutex::default(),
            unswept: Mutex::default(),
        }
    }

    /// Tells of a store, with what went wrong with it.
    pub(super) fn tell(&self, namespace: &str, name: &str, error: Option<String>) {
        self.look(namespace, name, Some(error));
    }

    /// Tells how the last sweep of a store ended, when the one before ended otherwise.
    pub(super) fn swept(&self, namespace: &str, name: &str, problem: Option<String>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut unswept = self.unswept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &problem {
            Some(problem) => unswept.insert(key, problem.clone()),
            None => unswept.remove(&key),
        };
        drop(unswept);
        if before != problem {
            self.tell(namespace, name, None);
        }
    }

    /// Tells of a store if something of it has changed.
    pub(super) fn tell_changes(&self, namespace: &str, name: &str) {
        self.look(namespace, name, None);
    }

    /// The stores that were told of.
    pub(super) fn known(&self) -> Vec<(String, String)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn look(&self, namespace: &str, name: &str, asked: Option<Option<String>>) {
        let key = (namespace.to_owned(), name.to_owned());
        // Whoever waits for a key keeps nobody from telling of other arrays.
        let opening = self.stores.opening(namespace, name);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let found = opening.open().and_then(|array| self.facts(&array));
        let (facts, trouble) = match found {
            Ok(facts) => (Some(Arc::new(facts)), None),
            Err(Error::NoArray(_)) => (None, None),
            // What was known of it still holds.
            Err(error) => (told.get(&key).cloned(), Some(error.to_string())),
        };
        let unswept = || {
            let unswept = self.unswept.lock().unwrap_or_else(PoisonError::into_inner);
            facts.as_ref().and_then(|_| unswept.get(&key).cloned())
        };
        let trouble = trouble.or_else(unswept);
        let is_news = told.get(&key) != facts.as_ref();
        if let Some(HeadSignature::Other(problem)) = facts.as_ref().map(|facts| &facts.signature)
            && told.get(&key).is_none_or(|before| !matches!(before.signature, HeadSignature::Other(_)))
        {
            tracing::warn!(
                %namespace, %name,
                "the head of an array is not signed by this server's key ({problem}): it was signed by hand, or arrays.key was \
                 lost and made anew"
            );
        }
        match &facts {
            Some(facts) => told.insert(key, facts.clone()),
            None => {
                self.unswept.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                told.remove(&key)
            }
        };
        let was_asked = asked.is_some();
        let error = asked.flatten().or(trouble);
        if is_news || was_asked || error.is_some() {
            let (namespace, name) = (namespace.into(), name.into());
            (self.report)(Report::Array { namespace, name, facts, error });
        }
    }
}

impl Teller {
    /// With what this server's key says of the head.
    fn facts(&self, array: &Array) -> Result<ArrayFacts, Error> {
        let facts = facts(array)?;
        let Some(key) = &self.head_key else { return Ok(facts) };
        let head = facts.head.as_ref().and_then(|head| head.parse().ok());
        let signature = head.map(|head| (key.check)(array, head)).unwrap_or_default();
        Ok(ArrayFacts { signing_key: Some(key.public.clone()), signature, ..facts })
    }
}

fn facts(array: &Array) -> Result<ArrayFacts, Error> {
    let drafts = array.drafts()?;
    let mut facts = ArrayFacts {
        quota_bytes: array.quota_bytes()?,
        snapshots: array.snapshots()?.len() as u64,
        drafts: runs(array, &drafts)?,
        draft_runs: drafts.len() as u64,
        ..ArrayFacts::default()
    };
    for (tag, digest) in array.tags()?.into_iter().take(TAGS_MAX) {
        facts.tags.insert(tag.into(), digest.to_string().into());
    }
    if let Some(kept) = array.key_source()? {
        let key = match kept {
            KeptSource::Named(name) if is_key_name(&name) => Some(name.into()),
            KeptSource::Named(_) | KeptSource::File(_) | KeptSource::Command => None,
        };
        let (head_number, is_locked) = (array.head_number()?, !array.is_unlocked());
        facts.encryption = Some(ArrayEncryption { key, head_number, is_locked });
    }
    let Some(head) = array.head()? else { return Ok(facts) };
    let snapshot = array.snapshot(head)?;
    facts.head = Some(head.to_string().into());
    facts.head_at = Some(snapshot.created_at);
    (facts.bytes, facts.keys) = (snapshot.bytes, snapshot.keys);
    facts.published_by = Some((snapshot.by.name.into(), snapshot.by.uid.parse().ok()));
    if array.is_encrypted() && !array.is_unlocked() {
        // Its object names no key.
        facts.format = "encrypted".into();
        return Ok(facts);
    }
    let documents = array.documents(&array.manifest(snapshot.manifest)?)?;
    let hierarchy = Hierarchy::of(&documents)?;
    facts.format = match (array.kind(), hierarchy.format) {
        (Kind::Artifacts, _) => "artifacts",
        (Kind::Zarr, Format::V2) => "zarr v2",
        (Kind::Zarr, Format::V3) => "zarr v3",
    }
    .into();
    // They would stand in the object, and so on the disk in the clear.
    if !array.is_encrypted() {
        facts.nodes = nodes(&hierarchy, &documents);
    }
    let bytes: usize = documents.values().map(Vec::len).sum();
    facts.documents = (bytes <= ARRAY_DOCUMENT_BYTES_MAX).then(|| Arc::new(documents));
    Ok(facts)
}

/// The runs that have a draft, or keep a snapshot.
fn runs(array: &Array, drafts: &[String]) -> Result<Vec<Uid>, Error> {
    let leases = array.lease_names()?;
    let readers = leases.iter().filter_map(|name| name.strip_prefix(LEASE));
    let found: BTreeSet<Uid> =
        drafts.iter().map(String::as_str).chain(readers).filter_map(|uid| uid.parse().ok()).collect();
    Ok(found.into_iter().collect())
}

fn nodes(hierarchy: &Hierarchy, documents: &BTreeMap<String, Vec<u8>>) -> Vec<Box<str>> {
    let line = |(path, node): (&watchbell_zarr::NodePath, &Node)| {
        let text = match node {
            Node::Group => format!("{path} group"),
            Node::Array(array) => {
                let (document, field) = match hierarchy.format {
                    Format::V2 => (".zarray", "dtype"),
                    Format::V3 => ("zarr.json", "data_type"),
                };
                let found = documents.get(&path.key(document));
                let fields = found.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
                let kind = match fields.as_ref().map(|fields| &fields[field]) {
                    Some(Value::String(name)) => name.clone(),
                    // An extension's, with a configuration.
                    Some(Value::Object(of)) => {
                        of.get("name").and_then(Value::as_str).unwrap_or("?").to_owned()
                    }
                    _ => "structured".to_owned(),
                };
                let chunks = array.inner_chunk_shape.as_ref().unwrap_or(&array.chunk_shape);
                let shards = match array.is_sharded() {
                    true => format!(", shards of {:?}", array.chunk_shape),
                    false => String::new(),
                };
                format!("{path} {kind} {:?} in chunks of {chunks:?}{shards}", array.shape)
            }
        };
        text.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect::<String>().into_boxed_str()
    };
    hierarchy.nodes.iter().map(line).take(NODES_MAX).collect()
}
