//! Sees arrays come, change and go, whoever changes them: this server's threads, or `watchbell array` beside it. The kernel
//! tells; nothing is asked in intervals.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::facts::Teller;
use crate::{Error, spawn};

/// What of an array's directory tells that something about it changed.
const PARTS: [&str; 5] = ["", "refs", "refs/tags", "snapshots", "drafts"];

/// While the kernel tells nothing, all arrays are looked at this often.
const AGAIN: Duration = Duration::from_secs(30);

/// Tells of all arrays, and then of each that changes. Ends when what is returned is dropped.
pub(crate) fn watch(data_dir: &Path, teller: Arc<Teller>) -> Result<OwnedFd, Error> {
    let (end, held) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::thread(e.into()))?;
    let root = data_dir.join("arrays");
    crate::make_private(&root)?;
    spawn("node-array-watch", move || {
        keep_watching(&root, &end, &teller, AGAIN, || Watches::new(root.clone()));
    })?;
    Ok(held)
}

/// Watches as long as nobody ends it. Where that fails, all arrays are looked at each time that it is begun anew.
fn keep_watching(
    root: &Path,
    end: &OwnedFd,
    teller: &Teller,
    again: Duration,
    mut begin: impl FnMut() -> io::Result<Watches>,
) {
    let mut is_failing = false;
    loop {
        let followed = begin().and_then(|watches| {
            follow(watches, end, teller, || {
                if std::mem::take(&mut is_failing) {
                    tracing::info!("arrays are watched again");
                }
            })
        });
        let Err(error) = followed else { return };
        if !std::mem::replace(&mut is_failing, true) {
            let seconds = again.as_secs();
            tracing::error!(
                "arrays are not watched: {error}; until they are, all of them are looked at every {seconds} seconds"
            );
        }
        look_at_all(root, teller);
        if has_ended(end, again) {
            return;
        }
    }
}

/// Tells what changed of all arrays, without a watch. One that cannot be listed does not hide the others.
fn look_at_all(root: &Path, teller: &Teller) {
    let mut found: BTreeSet<(String, String)> = teller.known().into_iter().collect();
    let listed = |dir: &Path| {
        names(dir).unwrap_or_else(|error| {
            tracing::warn!("cannot list {}: {error}", dir.display());
            Vec::new()
        })
    };
    for namespace in listed(root) {
        let arrays = listed(&root.join(&namespace));
        found.extend(arrays.into_iter().map(|name| (namespace.clone(), name)));
    }
    for (namespace, name) in found {
        teller.tell_changes(&namespace, &name);
    }
}

/// Waits, unless it is over.
fn has_ended(end: &OwnedFd, patience: Duration) -> bool {
    let due = Instant::now() + patience;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut ready = [PollFd::new(end, PollFlags::IN)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            // Without a word from the end nobody could end this: it is over.
            Err(error) => {
                tracing::error!(
                    "arrays are no longer watched: {error}; restart the server after a change by hand"
                );
                return true;
            }
        }
    }
}

/// A directory that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Root,
    Namespace(String),
    Array(String, String),
}

struct Watches {
    events: OwnedFd,
    root: PathBuf,
    places: HashMap<i32, Place>,
}

fn follow(mut watches: Watches, end: &OwnedFd, teller: &Teller, is_watched: impl FnOnce()) -> io::Result<()> {
    let mut changed = watches.look_around()?;
    // What went while nothing was watched.
    changed.extend(teller.known());
    is_watched();
    loop {
        for (namespace, name) in std::mem::take(&mut changed) {
            // Watched first and read then: what changes in between is read again.
            watches.add_array(&namespace, &name)?;
            teller.tell_changes(&namespace, &name);
        }
        let mut ready = [PollFd::new(&watches.events, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        let (found, is_new) = watches.read()?;
        changed = found;
        if is_new {
            changed.extend(watches.look_around()?);
            changed.extend(teller.known());
        }
    }
}

impl Watches {
    fn new(root: PathBuf) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self { events, root, places: HashMap::new() })
    }

    /// All arrays that there are, watched.
    fn look_around(&mut self) -> io::Result<BTreeSet<(String, String)>> {
        let mut found = BTreeSet::new();
        self.add(&self.root.clone(), Place::Root)?;
        for namespace in names(&self.root)? {
            let dir = self.root.join(&namespace);
            self.add(&dir, Place::Namespace(namespace.clone()))?;
            for name in names(&dir)? {
                self.add_array(&namespace, &name)?;
                found.insert((namespace.clone(), name));
            }
        }
        Ok(found)
    }

    fn add_array(&mut self, namespace: &str, name: &str) -> io::Result<()> {
        let dir = self.root.join(namespace).join(name);
        for part in PARTS {
            self.add(&dir.join(part), Place::Array(namespace.to_owned(), name.to_owned()))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, place: Place) -> io::Result<()> {
        // What is written in place, as `cp` does it from a backup, is closed then.
        let what = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(&self.events, path, what) {
            Ok(watch) => {
                self.places.insert(watch, place);
                Ok(())
            }
            // Not there yet, or no more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(Errno::NOSPC) => {
                Err(io::Error::other("no more directories can be watched: raise fs.inotify.max_user_watches"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes all events that there are: the arrays that they are about, and whether some may have come or gone.
    fn read(&mut self) -> io::Result<(BTreeSet<(String, String)>, bool)> {
        let (mut changed, mut is_new) = (BTreeSet::new(), false);
        let mut space = [MaybeUninit::uninit(); 4096];
        let events = self.events.try_clone()?;
        let mut reader = inotify::Reader::new(events.as_fd(), &mut space);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok((changed, is_new)),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                is_new = true;
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.places.remove(&event.wd());
                continue;
            }
            match self.places.get(&event.wd()) {
                Some(Place::Array(namespace, name)) => {
                    changed.insert((namespace.clone(), name.clone()));
                }
                Some(Place::Root | Place::Namespace(_)) => is_new = true,
                None => {}
            }
        }
    }
}

/// The directories in one, but for those that are being removed.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let is_plain = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let (true, Ok(name)) = (is_plain, entry.file_name().into_string())
            && !name.starts_with('.')
        {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
