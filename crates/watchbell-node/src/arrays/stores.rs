//! Which store is opened by which key. Objects name keys, and whoever runs the server has said what those are: a namespace chooses
//! no file and no program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use watchbell_api::array::DataArraySpec;
use watchbell_array::{Array, Disk, Error, KeptSource, Key, Kind};

use super::held;
use crate::ArrayKey;

/// Namespace and name of an array.
type Place = (Arc<str>, Arc<str>);

/// DIR/arrays, with the keys.
pub(crate) struct Stores {
    pub(super) root: PathBuf,
    keys: Vec<KnownKey>,
    expected: Mutex<HashMap<Place, Expected>>,
}

struct KnownKey {
    of: ArrayKey,
    /// Once it was had. Whoever waits for it waits for one command.
    key: Mutex<Option<Arc<Key>>>,
}

/// What an object says of its store.
#[derive(Clone, Default)]
struct Expected {
    spec: Arc<DataArraySpec>,
    /// The number of the newest head that was seen.
    seen: Arc<AtomicU64>,
}

impl Stores {
    pub(crate) fn new(data_dir: &Path, keys: &[ArrayKey]) -> Self {
        let keys = keys.iter().map(|of| KnownKey { of: of.clone(), key: Mutex::default() }).collect();
        Self { root: data_dir.join("arrays"), keys, expected: Mutex::default() }
    }

    /// What the object of a store asks for, and which head of it was seen before this server's time.
    pub(super) fn expect(&self, place: Place, spec: &Arc<DataArraySpec>, head_number: u64) {
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = all.entry(place).or_default();
        expected.spec = spec.clone();
        expected.seen.fetch_max(head_number, Ordering::Relaxed);
    }

    /// The store is gone: one that is made anew begins anew.
    pub(super) fn forget(&self, place: &Place) {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(place);
    }

    fn expected(&self, namespace: &str, name: &str) -> Expected {
        let all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.into(), name.into())).cloned().unwrap_or_default()
    }

    /// A store as its object says that it is: under its key, or in the clear. One whose object names no key is opened without.
    pub(super) fn open(&self, namespace: &str, name: &str) -> Result<Array, Error> {
        let array = self.locked(namespace, name)?;
        let Expected { spec, seen } = self.expected(namespace, name);
        match &spec.key {
            None => Ok(array),
            Some(name) if !array.is_encrypted() => Err(Error::InTheClear(Some(name.to_string()))),
            Some(name) => {
                let key = self.key(namespace, name)?;
                array.not_before(seen).unlock(&key).map_err(|error| match error {
                    Error::WrongKey => Error::WrongNamedKey(name.to_string()),
                    other => other,
                })
            }
        }
    }

    /// The same whatever it is, for who reads nothing of it.
    pub(super) fn locked(&self, namespace: &str, name: &str) -> Result<Array, Error> {
        Array::open(&held::dir(&self.root, namespace, name)?, Disk::default())
    }

    /// Makes the store that an object asks for. Its heads are counted anew.
    pub(super) fn create(&self, namespace: &str, name: &str) -> Result<Array, Error> {
        let spec = self.expected(namespace, name).spec;
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expected) = all.get_mut(&(namespace.into(), name.into())) {
            expected.seen = Arc::default();
        }
        drop(all);
        let kind = if spec.is_artifacts == Some(true) { Kind::Artifacts } else { Kind::Zarr };
        let key = spec.key.as_deref().map(|name| self.key(namespace, name)).transpose()?;
        let kept = spec.key.as_deref().map(|name| KeptSource::Named(name.to_owned()));
        let dir = held::dir(&self.root, namespace, name)?;
        Array::create_of(&dir, Disk::default(), kind, kept.zip(key.as_deref()))
    }

    /// A key that a namespace may use: its own before one that is for all.
    fn key(&self, namespace: &str, name: &str) -> Result<Arc<Key>, Error> {
        let named = |known: &&KnownKey| known.of.name == name;
        let own = |known: &&KnownKey| known.of.namespace.as_deref() == Some(namespace);
        let of_all = |known: &&KnownKey| known.of.namespace.is_none();
        let find = |is_it: &dyn Fn(&&KnownKey) -> bool| self.keys.iter().filter(named).find(is_it);
        let Some(known) = find(&own).or_else(|| find(&of_all)) else {
            return Err(Error::Key(format!(
                "the server has no key {name:?} for namespace {namespace:?}: `serve --array-key` or `--array-kms` gives it one"
            )));
        };
        let mut key = known.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*key {
            return Ok(key.clone());
        }
        let had = known.of.source.key().map(Arc::new).map_err(|error| {
            // Where it lies is nothing for a namespace.
            tracing::error!(key = name, "a key of arrays cannot be had: {error}");
            Error::Key(format!("the server cannot have the key {name:?}; its log says why"))
        })?;
        Ok(key.insert(had).clone())
    }
}
