//! What is decrypted for pods: directories in memory that the spawner holds, within one bound for all.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
        let _taken = Taken { used: Arc::default(), bytes: 0 };
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
    used: Arc<AtomicU64>,
}

/// A part of the room.
struct Taken {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Room {
    pub(crate) fn new(memories: Memories, bytes_max: u64) -> Self {
        Self { memories, bytes_max, used: Arc::default() }
    }

    /// Decrypts into memory.
    pub(super) fn view(&self, decrypted: &Decrypted<'_>) -> Result<View, Trouble> {
        let taken = self.take(decrypted.memory_bytes())?;
        let made =
            (self.memories)(taken.bytes, decrypted.inodes(), self.bytes_max).map_err(Trouble::Passing)?;
        decrypted.write(made.dir.as_fd(), MEMORY_VIEW).map_err(passing)?;
        Ok(View::Memory(Arc::new(MemoryView { id: made.id, _held: made.held, _taken: taken })))
    }

    fn take(&self, bytes: u64) -> Result<Taken, Trouble> {
        let max = self.bytes_max;
        if bytes > max {
            return Err(Trouble::Lasting(format!(
                "it takes {bytes} bytes in memory when it is decrypted, and the server has {max} for all such arrays: \
                 `serve --array-memory` gives more, and readScope: own decrypts an index's own chunks alone"
            )));
        }
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Taken { used: self.used.clone(), bytes }),
            Err(used) => Err(Trouble::Passing(format!(
                "it takes {bytes} bytes in memory when it is decrypted, and {used} of the {max} for all such arrays are taken"
            ))),
        }
    }
}
