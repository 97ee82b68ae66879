//! What is decrypted for pods: directories in memory that the spawner holds, within one bound for all, and shared among namespaces.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use watchbell_array::Decrypted;
use watchbell_sandbox::MEMORY_VIEW;

use super::Trouble;
use super::held::passing;

/// Makes a directory in memory of so many bytes and inodes, where all of them take no more than the third says: also those that pods
/// from before this server's time have, of which the spawner alone knows.
pub(crate) type Memories = Arc<dyn Fn(u64, u64, u64) -> Result<MemoryDir, String> + Send + Sync>;

/// One that is empty.
pub(crate) struct MemoryDir {
    /// By which the spawner knows it.
    pub id: u64,
    pub dir: OwnedFd,
    /// It goes with this.
    pub held: Box<dyn Any + Send + Sync>,
}

/// What pods see of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// On the disk.
    Directory(PathBuf),
    Memory(Arc<MemoryView>),
}

impl View {
    #[cfg(test)]
    pub(crate) fn directory(&self) -> &std::path::Path {
        match self {
            Self::Directory(path) => path,
            Self::Memory(_) => panic!("it is in memory"),
        }
    }
}

/// A directory in memory with an array's plaintext in it, until the last pod that may need it is gone.
pub(crate) struct MemoryView {
    pub id: u64,
    _held: Box<dyn Any + Send + Sync>,
    _taken: Taken,
}

#[cfg(test)]
impl MemoryView {
    /// One of which nothing is there.
    pub(crate) fn blank(id: u64) -> Arc<Self> {
        let _taken = Taken { shares: Arc::default(), namespace: String::new(), bytes: 0 };
        Arc::new(Self { id, _held: Box::new(()), _taken })
    }
}

impl PartialEq for MemoryView {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for MemoryView {}

impl fmt::Debug for MemoryView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryView({})", self.id)
    }
}

/// Where plaintext may lie, and how much of it.
pub(crate) struct Room {
    memories: Memories,
    bytes_max: u64,
    shares: Arc<Mutex<Shares>>,
}

/// Which namespace has how many bytes, and which waits for some.
#[derive(Debug, Default)]
struct Shares {
    held: BTreeMap<String, u64>,
    /// What it asked for last and did not get, and when that was.
    waiting: BTreeMap<String, (u64, Instant)>,
}

/// Why there is no room.
#[derive(Debug, PartialEq, Eq)]
enum Shortage {
    /// Of so many bytes that are taken.
    All(u64),
    /// What is free is for a namespace that waits and has less than this one would have.
    Turn(String),
}

impl Shares {
    /// One namespace alone may have all. What becomes free then goes to those that wait for it and have less.
    fn take(&mut self, namespace: &str, bytes: u64, bytes_max: u64, now: Instant) -> Result<(), Shortage> {
        self.waiting.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < WAITS);
        let used = self.held.values().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        let own = self.held.get(namespace).copied().unwrap_or(0).saturating_add(bytes);
        let left = bytes_max.checked_sub(used).and_then(|free| free.checked_sub(bytes));
        let comes_first = |(name, (wants, _)): (&String, &(u64, Instant))| {
            let would_have = self.held.get(name).copied().unwrap_or(0).saturating_add(*wants);
            let has_room = left.is_some_and(|left| *wants <= left);
            (name != namespace && would_have < own && !has_room).then(|| name.clone())
        };
        let shortage = match left {
            None => Shortage::All(used),
            Some(_) => match self.waiting.iter().find_map(comes_first) {
                Some(first) => Shortage::Turn(first),
                None => {
                    self.waiting.remove(namespace);
                    self.held.insert(namespace.to_owned(), own);
                    return Ok(());
                }
            },
        };
        self.waiting.insert(namespace.to_owned(), (bytes, now));
        Err(shortage)
    }

    fn give_back(&mut self, namespace: &str, bytes: u64) {
        if let Some(own) = self.held.get_mut(namespace) {
            *own -= bytes;
            if *own == 0 {
                self.held.remove(namespace);
            }
        }
    }
}

/// Who waits asks again each half minute, unless the pod is gone.
const WAITS: Duration = Duration::from_secs(120);

/// A part of the room.
struct Taken {
    shares: Arc<Mutex<Shares>>,
    namespace: String,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.give_back(&self.namespace, self.bytes);
    }
}

impl Room {
    pub(crate) fn new(memories: Memories, bytes_max: u64) -> Self {
        Self { memories, bytes_max, shares: Arc::default() }
    }

    /// Decrypts into memory, for pods of the namespace.
    pub(super) fn view(&self, namespace: &str, decrypted: &Decrypted<'_>) -> Result<View, Trouble> {
        let taken = self.take(namespace, decrypted.memory_bytes())?;
        let made =
            (self.memories)(taken.bytes, decrypted.inodes(), self.bytes_max).map_err(Trouble::Passing)?;
        decrypted.write(made.dir.as_fd(), MEMORY_VIEW).map_err(passing)?;
        Ok(View::Memory(Arc::new(MemoryView { id: made.id, _held: made.held, _taken: taken })))
    }

    fn take(&self, namespace: &str, bytes: u64) -> Result<Taken, Trouble> {
        let max = self.bytes_max;
        if bytes > max {
            return Err(Trouble::Lasting(format!(
                "it takes {bytes} bytes in memory when it is decrypted, and the server has {max} for all such arrays: \
                 `serve --array-memory` gives more, and readScope: own decrypts an index's own chunks alone"
            )));
        }
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        match shares.take(namespace, bytes, max, Instant::now()) {
            Ok(()) => Ok(Taken { shares: self.shares.clone(), namespace: namespace.to_owned(), bytes }),
            Err(Shortage::All(used)) => Err(Trouble::Passing(format!(
                "it takes {bytes} bytes in memory when it is decrypted, and {used} of the {max} for all such arrays are taken"
            ))),
            Err(Shortage::Turn(first)) => Err(Trouble::Passing(format!(
                "it takes {bytes} bytes in memory when it is decrypted, and what is free of the {max} for all such arrays is for \
                 namespace {first}, which waits and has less of it"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_free_is_for_who_waits_and_has_less() {
        let (mut shares, now) = (Shares::default(), Instant::now());
        let take = |shares: &mut Shares, who: &str, bytes| shares.take(who, bytes, 100, now);
        let turn = |who: &str| Err(Shortage::Turn(who.to_owned()));
        // Nobody else is there: all of it may be one's.
        assert_eq!(take(&mut shares, "greedy", 60), Ok(()));
        assert_eq!(take(&mut shares, "greedy", 40), Ok(()));
        assert_eq!(take(&mut shares, "small", 30), Err(Shortage::All(100)));
        // Of what ends, nothing goes back to who has most, however often they ask.
        for _ in 0..3 {
            shares.give_back("greedy", 10);
            assert_eq!(take(&mut shares, "greedy", 10), turn("small"));
        }
        assert_eq!(take(&mut shares, "small", 30), Ok(()));
        assert_eq!(take(&mut shares, "greedy", 10), Err(Shortage::All(100)));
        // Who waits and has more is passed by.
        shares.give_back("small", 5);
        assert_eq!(take(&mut shares, "small", 5), Ok(()));
        // Who would have more than the other comes after it.
        shares.give_back("greedy", 50);
        assert_eq!(take(&mut shares, "small", 60), Err(Shortage::All(50)));
        assert_eq!(take(&mut shares, "greedy", 20), Ok(()));
        shares.give_back("greedy", 40);
        assert!(!shares.held.contains_key("greedy"), "{shares:?}");
    }

    #[test]
    fn who_asks_no_more_waits_no_more() {
        let (mut shares, now) = (Shares::default(), Instant::now());
        assert_eq!(shares.take("greedy", 100, 100, now), Ok(()));
        assert_eq!(shares.take("gone", 100, 100, now), Err(Shortage::All(100)));
        shares.give_back("greedy", 20);
        assert!(
            shares.take("greedy", 20, 100, now).is_ok(),
            "who would have more than one has is not before one"
        );
        shares.give_back("greedy", 20);
        assert_eq!(shares.take("little", 30, 100, now), Err(Shortage::All(80)));
        assert_eq!(shares.take("greedy", 20, 100, now + WAITS / 2), Err(Shortage::Turn("little".to_owned())));
        assert_eq!(shares.take("greedy", 20, 100, now + WAITS), Ok(()));
    }
}
