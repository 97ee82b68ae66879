//! What devices this machine has: root's CDI specs, read again whenever one of them, or a device that one names, comes or
//! goes. The kernel tells; nothing is asked in intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use watchbell_cdi::{Policy, Problem, Registry};
use watchbell_core::placement::KINDS_MAX;
use watchbell_sandbox::DeviceCeiling;

use crate::{Error, spawn};

/// Full names (`vendor.com/class=name`) under their kinds, in the order in which they are leased.
pub(crate) type Pools = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// A tool writes several files, and a driver makes several nodes: they are read once it has been quiet for so long.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Events that are read together before the specs are, quiet or not.
const EVENTS_MAX: usize = 1 << 12;

/// What there is now. Which files are not used is told in the log when they begin to be watched.
pub fn devices(ceiling: &DeviceCeiling) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    pools(&read(ceiling))
}

/// Calls `changed` with what there is, once it is known and whenever it is something else. Ends when what is returned is
/// dropped.
pub(crate) fn watch(
    ceiling: DeviceCeiling,
    changed: impl Fn(Pools) + Send + 'static,
) -> Result<OwnedFd, Error> {
    let (end, held) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::thread(e.into()))?;
    if !ceiling.cdi_dirs.is_empty() {
        spawn("node-devices", move || {
            if let Err(error) = follow(&ceiling, &end, changed) {
                tracing::error!(
                    "devices are no longer watched: {error}; restart the server after a change of CDI specs"
                );
            }
        })?;
    }
    Ok(held)
}

fn read(ceiling: &DeviceCeiling) -> Registry {
    Registry::load(&ceiling.cdi_dirs, &Policy { hooks: ceiling.cdi_hooks.clone() })
}

fn pools(registry: &Registry) -> Pools {
    let full = |kind: &str, names: Vec<String>| {
        names.into_iter().map(|name| format!("{kind}={name}").into()).collect()
    };
    let mut pools: Pools = registry
        .pools()
        .into_iter()
        .map(|(kind, names)| (Arc::from(kind.as_str()), full(&kind, names)))
        .collect();
    while pools.len() > KINDS_MAX
        && let Some((kind, _)) = pools.pop_last()
    {
        tracing::warn!("devices of the kind {kind} are not counted: there are more than {KINDS_MAX} kinds");
    }
    pools
}

fn tell(problems: &[Problem]) {
    for problem in problems {
        tracing::warn!("the CDI spec {} is not used: {}", problem.path.display(), problem.reason);
    }
}

fn follow(ceiling: &DeviceCeiling, end: &OwnedFd, changed: impl Fn(Pools)) -> io::Result<()> {
    let mut known: Option<Pools> = None;
    let mut told: Vec<Problem> = Vec::new();
    loop {
        // Watched first and read then: what changes in between is read again.
        let paths = read(ceiling).host_paths();
        let watches = Watches::new(&ceiling.cdi_dirs, &paths)?;
        let registry = read(ceiling);
        if registry.host_paths() != paths {
            continue;
        }
        if registry.problems() != told {
            told = registry.problems().to_vec();
            tell(&told);
        }
        let found = pools(&registry);
        if known.as_ref() != Some(&found) {
            changed(found.clone());
            known = Some(found);
        }
        if !watches.wait(end)? {
            return Ok(());
        }
    }
}

struct Watches {
    events: OwnedFd,
    /// Of each watch the names that matter; none: all do.
    names: BTreeMap<i32, BTreeSet<PathBuf>>,
    all: BTreeSet<i32>,
}

impl Watches {
    fn new(dirs: &[PathBuf], nodes: &[PathBuf]) -> io::Result<Watches> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mut watches = Watches { events, names: BTreeMap::new(), all: BTreeSet::new() };
        for dir in dirs {
            let files = WatchFlags::CLOSE_WRITE
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            if let Some(watch) = watches.add(dir, comings() | files)? {
                watches.all.insert(watch);
            }
            watches.add_way_to(dir)?;
        }
        for node in nodes {
            watches.add_way_to(node)?;
        }
        Ok(watches)
    }

    /// The nearest directory above that is there, for the name that leads on: what is missing may come, and what is there
    /// may go with all it lies in.
    fn add_way_to(&mut self, path: &Path) -> io::Result<()> {
        let mut below = path;
        while let (Some(dir), Some(name)) = (below.parent(), below.file_name()) {
            if let Some(watch) = self.add(dir, comings())? {
                self.names.entry(watch).or_default().insert(PathBuf::from(name));
                return Ok(());
            }
            below = dir;
        }
        Ok(())
    }

    /// `None`: it is not there.
    fn add(&self, path: &Path, what: WatchFlags) -> io::Result<Option<i32>> {
        // Watched for one thing and another.
        match inotify::add_watch(&self.events, path, what | WatchFlags::MASK_ADD | WatchFlags::ONLYDIR) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => {
                Err(io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display())))
            }
        }
    }

    /// Waits for a change. `false`: the end came first.
    fn wait(&self, end: &OwnedFd) -> io::Result<bool> {
        let mut seen = 0;
        loop {
            let mut fds = [PollFd::new(end, PollFlags::IN), PollFd::new(&self.events, PollFlags::IN)];
            match poll(&mut fds, if seen > 0 { Some(&QUIET) } else { None }) {
                Ok(0) => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() {
                return Ok(false);
            }
            seen += self.matter()?;
            if seen > EVENTS_MAX {
                return Ok(true);
            }
        }
    }

    /// How many of the events at hand matter.
    fn matter(&self) -> io::Result<usize> {
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.events.as_fd(), &mut space);
        let mut count = 0;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name =
                        event.file_name().map(|name| PathBuf::from(name.to_string_lossy().into_owned()));
                    let is_named = self
                        .names
                        .get(&event.wd())
                        .is_some_and(|names| name.is_none_or(|name| names.contains(&name)));
                    let is_lost = event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED);
                    count += usize::from(is_named || is_lost || self.all.contains(&event.wd()));
                }
                Err(Errno::AGAIN) => return Ok(count),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn comings() -> WatchFlags {
    WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    use std::fs;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn every_change_is_told_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        // Neither the directory of specs nor that of the device is there yet.
        let ceiling =
            DeviceCeiling { cdi_dirs: vec![path("etc/cdi"), path("run/cdi")], cdi_hooks: Vec::new() };
        assert_eq!(devices(&ceiling), Pools::new());
        let (send, changes) = channel();
        let held = watch(ceiling, move |pools| send.send(pools).unwrap()).unwrap();
        let next = || changes.recv_timeout(Duration::from_secs(20)).unwrap();
        let toys = |names: &[&str]| {
            let names = names.iter().map(|name| format!("a.com/toy={name}").into());
            Pools::from([("a.com/toy".into(), names.collect())])
        };
        assert_eq!(next(), Pools::new());
        fs::create_dir_all(path("etc/cdi")).unwrap();
        let device = |i: u8| {
            let node = path(&format!("dev/toy{i}"));
            format!(
                "- {{name: \"{i}\", containerEdits: {{deviceNodes: [{{path: /dev/toy{i}, hostPath: {}}}]}}}}\n",
                node.display()
            )
        };
        let text = format!("cdiVersion: 0.5.0\nkind: a.com/toy\ndevices:\n{}{}", device(0), device(1));
        fs::write(path("etc/cdi/toy.yaml"), text).unwrap();
        assert_eq!(next(), toys(&[]));
        fs::create_dir(path("dev")).unwrap();
        let make = |i: u8| {
            let node = path(&format!("dev/toy{i}"));
            mknodat(CWD, node, FileType::CharacterDevice, Mode::from(0o600), makedev(1, 3)).unwrap();
        };
        make(1);
        assert_eq!(next(), toys(&["1"]));
        make(0);
        assert_eq!(next(), toys(&["0", "1"]));
        // One vanishes.
        fs::remove_file(path("dev/toy1")).unwrap();
        assert_eq!(next(), toys(&["0"]));
        // What is none of ours is not told.
        fs::write(path("dev/other"), "").unwrap();
        fs::write(path("etc/cdi/readme"), "").unwrap();
        // The spec moves to where none was, by way of a rename, as tools write.
        fs::rename(path("etc/cdi/toy.yaml"), path("toy.yaml")).unwrap();
        assert_eq!(next(), Pools::new());
        fs::create_dir_all(path("run/cdi")).unwrap();
        fs::rename(path("toy.yaml"), path("run/cdi/toy.yaml")).unwrap();
        assert_eq!(next(), toys(&["0"]));
        // Somebody else could write it.
        std::os::unix::fs::chown(path("run/cdi/toy.yaml"), Some(1), None).unwrap();
        assert_eq!(next(), Pools::new());
        fs::remove_dir_all(path("run")).unwrap();
        drop(held);
        // The thread has ended, and said nothing more.
        assert!(
            changes
                .recv_timeout(Duration::from_secs(20))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
