//! Which store is opened by which key. Objects name keys, and whoever runs the server has said what those are: a namespace chooses
//! no file and no program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    state: Mutex<KeyState>,
    more: Condvar,
}

enum KeyState {
    Unasked,
    /// Somebody runs the command.
    Asked,
    Had(Arc<Key>),
    Failed(Instant),
}

/// A command that hangs holds up who runs it, and all others for so long alone: they may have other arrays to work on.
const KEY_PATIENCE: Duration = Duration::from_secs(2);
/// Shorter than what asks again waits before it does.
const KEY_FAILURE_HOLDS: Duration = Duration::from_secs(5);

/// What an object says of its store.
#[derive(Clone, Default)]
struct Expected {
    spec: Arc<DataArraySpec>,
    /// The number of the newest head that was seen.
    seen: Arc<AtomicU64>,
    /// Words of the object that no thread has taken up yet: they are newer than any end of a store.
    waiting: usize,
}

impl Stores {
    pub(crate) fn new(data_dir: &Path, keys: &[ArrayKey]) -> Self {
        let keys = keys.iter().cloned().map(KnownKey::new).collect();
        Self { root: data_dir.join("arrays"), keys, expected: Mutex::default() }
    }

    /// What the object of a store asks for, and which head of it was seen before this server's time. [`Stores::take_up`] follows.
    pub(super) fn expect(&self, place: Place, spec: &Arc<DataArraySpec>, head_number: u64) {
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = all.entry(place).or_default();
        expected.spec = spec.clone();
        expected.seen.fetch_max(head_number, Ordering::Relaxed);
        expected.waiting += 1;
    }

    /// What was asked for is carried out now.
    pub(super) fn take_up(&self, place: &Place) {
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expected) = all.get_mut(place) {
            expected.waiting = expected.waiting.saturating_sub(1);
        }
    }

    /// The store is gone: one that is made anew begins anew, as an object says that was made meanwhile.
    pub(super) fn forget(&self, place: &Place) {
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(place).is_some_and(|expected| expected.waiting == 0) {
            all.remove(place);
        }
    }

    fn expected(&self, namespace: &str, name: &str) -> Expected {
        let all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.into(), name.into())).cloned().unwrap_or_default()
    }

    /// A store as its object says that it is: under its key, or in the clear. One whose object names no key is opened without.
    pub(super) fn open(&self, namespace: &str, name: &str) -> Result<Array, Error> {
        self.opening(namespace, name).open()
    }

    /// The same in two steps: this one may wait for a command.
    pub(super) fn opening(&self, namespace: &str, name: &str) -> Opening {
        let Expected { spec, seen, .. } = self.expected(namespace, name);
        let named = |key: &Arc<str>| NamedKey { name: key.clone(), key: self.key(namespace, key) };
        let key = spec.key.as_ref().map(named);
        Opening { dir: held::dir(&self.root, namespace, name), key, seen }
    }

    /// The same whatever it is, for who reads nothing of it.
    pub(super) fn locked(&self, namespace: &str, name: &str) -> Result<Array, Error> {
        Array::open(&held::dir(&self.root, namespace, name)?, Disk::default())
    }

    /// Makes the store that an object asks for. Its heads are counted anew.
    pub(super) fn create(&self, namespace: &str, name: &str, spec: &DataArraySpec) -> Result<Array, Error> {
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
        known.get(KEY_PATIENCE, KEY_FAILURE_HOLDS).map_err(|why| Error::Key(why.of(name)))
    }
}

/// What an object says of its key, and what was had for that.
struct NamedKey {
    name: Arc<str>,
    key: Result<Arc<Key>, Error>,
}

/// A store, and what opens it.
pub(super) struct Opening {
    dir: Result<PathBuf, Error>,
    key: Option<NamedKey>,
    seen: Arc<AtomicU64>,
}

impl Opening {
    pub(super) fn open(self) -> Result<Array, Error> {
        let array = Array::open(&self.dir?, Disk::default())?;
        match self.key {
            None => Ok(array),
            Some(NamedKey { name, .. }) if !array.is_encrypted() => {
                Err(Error::InTheClear(Some(name.to_string())))
            }
            Some(NamedKey { name, key }) => {
                array.not_before(self.seen).unlock(&*key?).map_err(|error| match error {
                    Error::WrongKey => Error::WrongNamedKey(name.to_string()),
                    other => other,
                })
            }
        }
    }
}

/// Why a key is not had. Where it lies is nothing for a namespace.
#[derive(Debug, PartialEq, Eq)]
enum NoKey {
    Failed,
    Awaited,
}

impl NoKey {
    fn of(&self, name: &str) -> String {
        match self {
            Self::Failed => format!("the server cannot have the key {name:?}; its log says why"),
            Self::Awaited => {
                format!("the server waits for the key {name:?}, which its command has not printed yet")
            }
        }
    }
}

impl KnownKey {
    fn new(of: ArrayKey) -> Self {
        Self { of, state: Mutex::new(KeyState::Unasked), more: Condvar::new() }
    }

    /// One asks for it; the others wait for that, but no longer than `patience`. What failed is asked for again after `holds`.
    fn get(&self, patience: Duration, holds: Duration) -> Result<Arc<Key>, NoKey> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = |state: &mut KeyState| matches!(state, KeyState::Asked);
        let waited = self.more.wait_timeout_while(state, patience, is_asked);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match &*state {
            KeyState::Had(key) => return Ok(key.clone()),
            KeyState::Asked => return Err(NoKey::Awaited),
            KeyState::Failed(at) if at.elapsed() < holds => return Err(NoKey::Failed),
            KeyState::Unasked | KeyState::Failed(_) => *state = KeyState::Asked,
        }
        drop(state);
        let got = self.of.source.key().map(Arc::new).map_err(|error| {
            tracing::error!(key = self.of.name, "a key of arrays cannot be had: {error}");
            NoKey::Failed
        });
        let known =
            got.as_ref().map_or_else(|_| KeyState::Failed(Instant::now()), |key| KeyState::Had(key.clone()));
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = known;
        self.more.notify_all();
        got
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use watchbell_array::KeySource;

    use super::*;

    /// By a program that runs this.
    fn by(dir: &Path, script: &str) -> KnownKey {
        let program = dir.join("kms");
        fs::write(&program, format!("#!/bin/sh\ncd {}\n{script}\n", dir.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let source = KeySource::Command(vec!["/bin/sh".to_owned(), program.display().to_string()]);
        KnownKey::new(ArrayKey { namespace: None, name: "kms".to_owned(), source })
    }

    #[test]
    fn a_command_that_fails_is_not_run_for_each_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let key = by(dir.path(), "echo run >> runs; cat key");
        let runs = || fs::read_to_string(dir.path().join("runs")).unwrap().lines().count();
        for _ in 0..3 {
            assert_eq!(key.get(Duration::MAX, Duration::MAX).map(drop), Err(NoKey::Failed));
        }
        assert_eq!(runs(), 1);
        fs::write(dir.path().join("key"), [7; 32]).unwrap();
        key.get(Duration::MAX, Duration::ZERO).unwrap();
        // What was had stays, whatever becomes of where it was.
        fs::remove_file(dir.path().join("key")).unwrap();
        key.get(Duration::MAX, Duration::ZERO).unwrap();
        assert_eq!(runs(), 2);
    }

    #[test]
    fn a_command_that_hangs_holds_up_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            mknodat(CWD, dir.path().join(name), FileType::Fifo, Mode::from(0o600), 0).unwrap();
            dir.path().join(name)
        };
        let (begun, printed) = (pipe("begun"), pipe("key"));
        let key = by(dir.path(), "echo > begun; cat key");
        thread::scope(|scope| {
            let first = scope.spawn(|| key.get(Duration::MAX, Duration::MAX).map(drop));
            fs::read(&begun).unwrap();
            assert_eq!(key.get(Duration::ZERO, Duration::MAX).map(drop), Err(NoKey::Awaited));
            let other = scope.spawn(|| key.get(Duration::MAX, Duration::MAX).map(drop));
            fs::File::options().write(true).open(&printed).unwrap().write_all(&[7; 32]).unwrap();
            assert_eq!((first.join().unwrap(), other.join().unwrap()), (Ok(()), Ok(())));
        });
    }
}
