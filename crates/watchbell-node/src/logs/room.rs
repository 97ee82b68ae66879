//! Room among the logs: what all of them hold is counted. When those of pods that have ended hold too much, or the disk has too
//! little left, they go, before anybody who runs has to.
//!
//! ```text
//!   logs/{jobs,pods}/* ── count ──▶ who is here
//!                           └─────▶ who has ended ── losses ──▶ of each namespace ── oldest ──▶ removed, marked, told
//! ```

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{FileType, Stat};
use watchbell_api::Uid;
use watchbell_api::node::Report;

use super::dir::{Folder, LogDir};
use super::here::Here;
use crate::measure::{Use, amount};
use crate::place::{LogOwner, LogPlace, Owners, removed_mark, runs_dir};

/// Of a hundred thousand files a count takes a while: while the disk has room, it rests so many times as long as it took.
const REST: u32 = 50;
/// Pods whose logs go at a time. The next look goes on.
const ENDED_MAX: usize = 1 << 16;
/// Events at a time: a disk that is nearly full has no room for one of each pod. The server's log has the sum.
const TOLD_MAX: usize = 16;

/// What is there for the logs of all pods together.
pub(crate) struct Room {
    pub(crate) dir: LogDir,
    pub(crate) data_dir: PathBuf,
    pub(crate) here: Arc<Here>,
    /// Those that the server knows.
    pub(crate) owners: Box<dyn Fn() -> Owners + Send>,
    /// What those of pods that have ended may hold together. Of who runs each has a bound of its own; counted with the others, they
    /// would take the past of others away.
    pub(crate) bytes_max: u64,
    pub(crate) tally: Arc<Tally>,
    pub(crate) tell: Box<dyn Fn(Report) + Send>,
    pub(crate) counted: Counted,
}

/// When it is to be counted next, and how many pods were here, and ever, when it was counted last.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    next_at: Option<Instant>,
    pods: (usize, u64),
}

/// For everybody to read.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    held: AtomicU64,
    removed: AtomicU64,
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What the logs of each pod hold that is here.
    pub(crate) here: Vec<(Uid, Use)>,
    /// What was removed of logs. That so much is free for it shows in a moment.
    pub(crate) removed: Use,
}

/// What all logs hold.
#[derive(Debug, Default)]
struct Held {
    total: Use,
    here: HashMap<Uid, Use>,
    past: Use,
    ended: Vec<(LogOwner, Use)>,
}

/// The logs of a pod that has ended, by when something was last written: the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ended {
    at: (i64, u64),
    place: LogPlace,
    used: Use,
}

/// What an owner lost.
#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    pods: u64,
    used: Use,
}

impl Room {
    /// Sees what logs hold, when it is time to or when the disk lacks something, and makes room where that is needed.
    pub(crate) fn look(&mut self, lacking: Use) -> Found {
        let pods = self.here.counts();
        let is_lacking = lacking != Use::default();
        let is_due = self.counted.next_at.is_none_or(|at| at <= Instant::now());
        // Where nobody was, nothing was written.
        let may_have_grown = pods.0 > 0 || pods != self.counted.pods;
        if !self.here.is_complete() || !(is_lacking || is_due && may_have_grown) {
            return Found::default();
        }
        let since = Instant::now();
        let held = self.count();
        self.counted = Counted { next_at: Some(since + since.elapsed() * REST), pods };
        self.tally.held.store(held.total.bytes, Ordering::Relaxed);
        let over = held.past.bytes.saturating_sub(self.bytes_max);
        let mut removed = Use::default();
        let bytes = lacking.bytes.max(over);
        if bytes > 0 {
            removed = self.make_room(&held, Use { bytes, inodes: 0 }, lacking.bytes > 0);
        }
        let inodes = lacking.inodes.saturating_sub(removed.inodes);
        if inodes > 0 {
            let anew = (removed != Use::default()).then(|| self.count());
            let lacking = Use { bytes: 0, inodes };
            removed = removed.plus(self.make_room(anew.as_ref().unwrap_or(&held), lacking, true));
        }
        Found { here: held.here.into_iter().collect(), removed }
    }

    fn count(&self) -> Held {
        let mut held = Held::default();
        for owner in owners_in(&self.dir) {
            let mut ended = Use::default();
            self.files(owner, |_, _, place, stat| {
                let used = Use::of(stat);
                held.total = held.total.plus(used);
                let of = match self.here.pod_at(&place) {
                    Some(pod) => held.here.entry(pod).or_default(),
                    None => &mut ended,
                };
                *of = of.plus(used);
                Ok(())
            });
            if ended != Use::default() {
                held.past = held.past.plus(ended);
                held.ended.push((owner, ended));
            }
        }
        held
    }

    /// Each file of an owner whose pod can be told.
    fn files(
        &self,
        owner: LogOwner,
        mut each: impl FnMut(&Folder, &Path, LogPlace, &Stat) -> io::Result<()>,
    ) {
        let done = self.dir.each(&owner.dir(), |folder, name, stat| {
            let place = name.to_str().and_then(|name| LogPlace::of_file(owner, name));
            match place {
                Some(place) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    each(folder, name, place, stat)
                }
                _ => Ok(()),
            }
        });
        if let Err(e) = done {
            tracing::warn!(dir = %owner.dir().display(), "cannot see to all logs of a directory: {e}");
        }
    }

    /// What went of logs, by bytes or, where none lack, by inodes. What no object names any more goes first; then the namespaces that hold most lose what they have
    /// more than others, the oldest first.
    fn make_room(&self, held: &Held, lacking: Use, is_disk: bool) -> Use {
        let owners = (self.owners)();
        let measure = |used: &Use| if lacking.bytes > 0 { used.bytes } else { used.inodes };
        let mut namespaces: BTreeMap<Option<Arc<str>>, (u64, Vec<LogOwner>)> = BTreeMap::new();
        for (owner, used) in &held.ended {
            let namespace = owners.get(owner).map(|known| known.namespace.clone());
            let (sum, list) = namespaces.entry(namespace).or_default();
            *sum = sum.saturating_add(measure(used));
            list.push(*owner);
        }
        let mut lost: BTreeMap<LogOwner, Lost> = BTreeMap::new();
        let mut left = measure(&lacking);
        if let Some((sum, list)) = namespaces.remove(&None) {
            self.remove_oldest(&list, left, measure, &mut lost);
            left = left.saturating_sub(sum);
        }
        let sums: Vec<u64> = namespaces.values().map(|(sum, _)| *sum).collect();
        for ((_, list), loss) in namespaces.values().zip(losses(&sums, left)) {
            self.remove_oldest(list, loss, measure, &mut lost);
        }
        if lost.is_empty() {
            return Use::default();
        }
        let why = if is_disk {
            "the disk has less left than is kept free".to_owned()
        } else {
            format!(
                "the logs of pods that have ended held more than {} together (serve --log-disk)",
                amount(self.bytes_max)
            )
        };
        self.say(lost, &owners, &why)
    }

    /// Removes the oldest logs of these owners until so much went.
    fn remove_oldest(
        &self,
        owners: &[LogOwner],
        loss: u64,
        measure: impl Fn(&Use) -> u64,
        lost: &mut BTreeMap<LogOwner, Lost>,
    ) {
        let (mut chosen, mut sum) = (BTreeMap::<LogOwner, HashSet<LogPlace>>::new(), 0u64);
        if loss == 0 {
            return;
        }
        for ended in self.oldest(owners) {
            if sum >= loss {
                break;
            }
            sum = sum.saturating_add(measure(&ended.used));
            chosen.entry(ended.place.owner()).or_default().insert(ended.place);
        }
        for (owner, places) in chosen {
            let gone = self.remove(owner, &places);
            if gone.pods > 0 {
                lost.insert(owner, gone);
            }
        }
    }

    /// The logs of pods that have ended, oldest first.
    fn oldest(&self, owners: &[LogOwner]) -> Vec<Ended> {
        let mut oldest = BinaryHeap::new();
        for owner in owners {
            let mut ended: HashMap<LogPlace, Ended> = HashMap::new();
            self.files(*owner, |_, _, place, stat| {
                let entry = ended.entry(place).or_insert(Ended { at: (0, 0), place, used: Use::default() });
                entry.at = entry.at.max((stat.st_mtime, stat.st_mtime_nsec));
                entry.used = entry.used.plus(Use::of(stat));
                Ok(())
            });
            // Asked after the files were found.
            for ended in ended.into_values().filter(|ended| self.here.pod_at(&ended.place).is_none()) {
                oldest.push(ended);
                if oldest.len() > ENDED_MAX {
                    oldest.pop();
                }
            }
        }
        oldest.into_sorted_vec()
    }

    /// What went counts, and nothing that could not be removed: a pod has to go then.
    fn remove(&self, owner: LogOwner, places: &HashSet<LogPlace>) -> Lost {
        // First, as nobody is to take what is gone for what was never written; but a full disk may refuse it.
        let marked = mark(&self.data_dir, owner);
        let (mut pods, mut used) = (HashSet::new(), Use::default());
        self.files(owner, |folder, name, place, stat| {
            if places.contains(&place) && folder.remove(name)? {
                pods.insert(place);
                used = used.plus(Use::of(stat));
            }
            Ok(())
        });
        if let LogOwner::Pod(_) = owner
            && let Err(e) = self.dir.remove_tree(&owner.dir())
        {
            tracing::warn!(dir = %owner.dir().display(), "cannot remove the directory of a pod that has ended: {e}");
        }
        if let Err(e) = marked.or_else(|_| mark(&self.data_dir, owner)) {
            tracing::warn!(dir = %owner.dir().display(), "cannot note that logs were removed: {e}");
        }
        Lost { pods: pods.len() as u64, used }
    }

    /// The sum of it.
    fn say(&self, lost: BTreeMap<LogOwner, Lost>, owners: &Owners, why: &str) -> Use {
        let sum = lost.values().fold(Lost::default(), |sum, one| Lost {
            pods: sum.pods + one.pods,
            used: sum.used.plus(one.used),
        });
        let bytes = sum.used.bytes;
        self.tally.held.fetch_sub(bytes.min(self.tally.held.load(Ordering::Relaxed)), Ordering::Relaxed);
        self.tally.removed.fetch_add(bytes, Ordering::Relaxed);
        tracing::warn!(pods = sum.pods, bytes, "removed logs of pods that have ended, to make room: {why}");
        let mut by_size: Vec<(LogOwner, Lost)> = lost.into_iter().collect();
        by_size.sort_by_key(|(_, lost)| std::cmp::Reverse(lost.used.bytes));
        let told = by_size.iter().filter_map(|(owner, lost)| Some((owners.get(owner)?.pod?, lost)));
        for (pod, Lost { pods, used }) in told.take(TOLD_MAX) {
            let whom =
                if *pods == 1 { "a pod that has".to_owned() } else { format!("{pods} pods that have") };
            let message =
                format!("Removed the logs of {whom} ended, {} in all, because {why}", amount(used.bytes));
            (self.tell)(Report::Event { uid: pod, warning: true, reason: "LogsRemoved", message });
        }
        sum.used
    }
}

impl Tally {
    /// In Prometheus' text form.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "watchbell_log_bytes",
                "gauge",
                "What the logs of all containers held when it was looked at.",
                &self.held,
            ),
            (
                "watchbell_log_removed_bytes_total",
                "counter",
                "Logs of pods that have ended, removed to make room.",
                &self.removed,
            ),
        ] {
            let value = value.load(Ordering::Relaxed);
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
        text
    }
}

/// How much each loses so that `lacking` is made up: whoever holds most first, down to what the next one holds, and then both.
fn losses(held: &[u64], lacking: u64) -> Vec<u64> {
    let mut largest: Vec<u64> = held.to_vec();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    // Nobody keeps more than this.
    let mut level = 0;
    let mut sum = 0u128;
    for (count, held) in (1u128..).zip(&largest) {
        sum += u128::from(*held);
        let next = largest.get(count as usize).copied().unwrap_or(0);
        if let Some(rest) = sum.checked_sub(u128::from(lacking))
            && rest / count >= u128::from(next)
        {
            level = u64::try_from(rest / count).unwrap_or(u64::MAX);
            break;
        }
    }
    held.iter().map(|held| held.saturating_sub(level)).collect()
}

/// Removes what lies with owners that the server does not know: one before it may have ended before it was done with that.
pub(crate) fn sweep_strangers(dir: &LogDir, data_dir: &Path, here: &Here, owners: impl FnOnce() -> Owners) {
    let runs = LogDir::new(runs_dir(data_dir));
    let found = [dir, &runs].map(|dir| (dir, owners_in(dir)));
    // Asked after the directories were found: whose they are was committed before they were made.
    let known = owners();
    for (dir, found) in found {
        for owner in found.into_iter().filter(|owner| !known.contains_key(owner) && !here.has(*owner)) {
            if let Err(e) = dir.remove_tree(&owner.dir()) {
                tracing::warn!(dir = %owner.dir().display(), "cannot remove what nobody knows any more: {e}");
            } else {
                tracing::info!(dir = %owner.dir().display(), "removed what nobody knows any more");
            }
        }
    }
}

fn owners_in(dir: &LogDir) -> Vec<LogOwner> {
    let mut owners = Vec::new();
    for (kind, owner) in LogOwner::KINDS {
        let done = dir.each(Path::new(kind), |_, name, stat| {
            let uid = name.to_str().and_then(|name| name.parse().ok());
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                owners.extend(uid.map(owner));
            }
            Ok(())
        });
        if let Err(e) = done {
            tracing::warn!("cannot see whose logs there are: {e}");
        }
    }
    owners
}

fn mark(data_dir: &Path, owner: LogOwner) -> io::Result<()> {
    let path = removed_mark(data_dir, owner);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
