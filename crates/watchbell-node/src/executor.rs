//! Carries out what the agent decides, on one thread.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use watchbell_api::Uid;
use watchbell_api::node::Report;
use watchbell_sandbox::{
    ContainerId, Event, RunSpec, Spawner, SpawnerOptions, StartFailure, StartFailureKind, TableEntry,
};

use crate::agent::remembered;
use crate::agent::{Agent, Disk, Effect, Input, Measured, Now, Prerequisite, Watched, What};
use crate::arrays::Arrays;
use crate::examine::Examiner;
use crate::image::Fetcher;
use crate::inbox::Inbox;
use crate::logs::{self, Here, Live, LogDir, Room};
use crate::measure::{Use, used};
use crate::place::{Owners, folder, runs_dir, volumes_dir};
use crate::remove::remove_tree;
use crate::sessions::SharedSpawner;
use crate::volume::{self, HostPath};

/// The longest sleep: a bound on how late a machine that slept looks at its deadlines.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two tries to reach the spawner.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MOST: Duration = Duration::from_secs(5);

pub(crate) struct Executor<R> {
    pub(crate) agent: Agent,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) spawner: Spawner,
    pub(crate) spawner_options: SpawnerOptions,
    /// For those who talk to containers from other threads.
    pub(crate) shared: Arc<SharedSpawner>,
    pub(crate) fetcher: Fetcher,
    pub(crate) examiner: Examiner,
    pub(crate) arrays: Arrays,
    pub(crate) live: Arc<Live>,
    pub(crate) data_dir: PathBuf,
    /// Directories to be removed, on a thread of their own.
    pub(crate) rubbish: Sender<Rubbish>,
    /// Directories to be measured, likewise.
    pub(crate) watched: Sender<Vec<Watched>>,
    pub(crate) report: R,
}

impl<R: Fn(Report)> Executor<R> {
    /// Until the last command.
    pub(crate) fn run(mut self) {
        self.work();
        self.arrays.end();
    }

    fn work(&mut self) {
        let mut patience = Duration::ZERO;
        while let Some(inputs) = self.inbox.wait(patience) {
            let now = now();
            for input in inputs {
                match input {
                    Input::Sandbox(Event::Disconnected) => {
                        let Some(table) = self.reconnect() else { return };
                        self.live.only(&alive(&table));
                        self.agent.take(Input::Reconnected(table), now);
                    }
                    input => {
                        self.note_end(&input);
                        self.agent.take(input, now);
                    }
                }
            }
            let (effects, wake_at) = self.agent.settle(now);
            // Pods that wait for what they need, until the agent has heard of it.
            let mut unmade = HashSet::new();
            for effect in effects {
                self.carry_out(effect, &mut unmade);
            }
            patience = wake_at.map_or(LONGEST_WAIT, |at| at.saturating_sub(now.mono).min(LONGEST_WAIT));
        }
    }

    /// Readers that follow a log learn that it is complete.
    fn note_end(&self, input: &Input) {
        match input {
            Input::Sandbox(Event::Exited(record)) => self.live.end(record.id),
            Input::Sandbox(Event::StartFailed(failure)) => self.live.end(failure.id),
            Input::NotStarted(failure) => self.live.end(failure.id),
            Input::NotMade { id, .. } => self.live.end(*id),
            _ => {}
        }
    }

    fn carry_out(&self, effect: Effect, unmade: &mut HashSet<u128>) {
        let spawner = &self.spawner;
        match effect {
            Effect::Start { spec, needed } => self.start(&spec, &needed, unmade),
            Effect::Signal { id, signal } => note("signal a container", spawner.signal(id, signal)),
            Effect::KillPod(uid) => note("kill a pod", spawner.kill_pod(uid)),
            Effect::UpdateFiles { uid, volume, files } => {
                note("change the files of a volume", spawner.update_files(uid.0, volume, &files));
            }
            Effect::ChangeEgress { uid, egress } => {
                note("change what a pod may connect to", spawner.change_egress(uid.0, egress.to_vec()));
            }
            Effect::HeardConnections(serial) => {
                note("acknowledge what the gate said", spawner.heard(serial));
            }
            Effect::AcknowledgeRun(id) => note("acknowledge a run", spawner.acknowledge(id)),
            Effect::ReleasePod { uid, volumes } => {
                note("release a pod", spawner.release_pod(uid.0));
                if volumes {
                    // The thread lives as long as the process.
                    let _ = self.rubbish.send(Rubbish::Directory(volumes_dir(&self.data_dir, uid)));
                }
            }
            Effect::Fetch(request) => self.fetcher.fetch(request),
            Effect::Examine { id, question } => self.examiner.examine(id, question),
            Effect::Array(work) => self.arrays.ask(work),
            Effect::LookOver => self.examiner.look_over(),
            Effect::LookAt { namespace, images } => self.examiner.look_at(namespace, images),
            Effect::Report(report) => (self.report)(report),
            Effect::SweepVolumes(keep) => {
                let kept: Vec<PathBuf> = keep.iter().map(|uid| volumes_dir(&self.data_dir, *uid)).collect();
                let found = fs::read_dir(self.data_dir.join("volumes")).into_iter().flatten().flatten();
                for path in found.map(|entry| entry.path()).filter(|path| !kept.contains(path)) {
                    let _ = self.rubbish.send(Rubbish::Directory(path));
                }
            }
            Effect::SweepLogs => {
                let _ = self.rubbish.send(Rubbish::Strangers);
            }
            Effect::RemoveLogs(dir) => {
                let _ = self.rubbish.send(Rubbish::Directory(runs_dir(&self.data_dir).join(&dir)));
                let _ = self.rubbish.send(Rubbish::Logs(dir));
            }
            Effect::RemoveRun { log, message } => {
                let _ = self.rubbish.send(Rubbish::Run { log, message });
            }
            Effect::Measure(watched) => {
                let _ = self.watched.send(watched);
            }
            Effect::RemoveFolder(name) => {
                let path = folder(&self.data_dir, &name);
                let _ = self.rubbish.send(Rubbish::Folder { name, path });
            }
        }
    }

    fn start(&self, spec: &RunSpec, needed: &[Prerequisite], unmade: &mut HashSet<u128>) {
        let id = spec.id;
        self.live.begin(id);
        let made = match unmade.contains(&id.pod_uid) {
            true => Err("what its pod needs was not made".to_owned()),
            false => make(needed, &self.spawner_options.ceiling.host_paths),
        };
        if let Err(message) = made {
            unmade.insert(id.pod_uid);
            self.inbox.push([Input::NotMade { id, message }]);
            return;
        }
        match self.spawner.start(spec) {
            Ok(()) => {}
            // What became of it stands in the table, once connected again.
            Err(error @ watchbell_sandbox::Error::Connection { .. }) => {
                tracing::warn!(container = %id, "cannot tell the spawner to start: {error}");
            }
            Err(error) => {
                let (kind, step) = (StartFailureKind::Refused, "ask the spawner".to_owned());
                let failure = StartFailure { id, at: unix_nanos(), kind, step, message: error.to_string() };
                self.inbox.push([Input::NotStarted(failure)]);
            }
        }
    }

    /// Tries until the spawner answers; `None` when nobody waits for that any more.
    fn reconnect(&mut self) -> Option<Vec<TableEntry>> {
        let mut wait = RECONNECT_FIRST;
        loop {
            match Spawner::connect_or_start(&self.spawner_options) {
                Ok((spawner, table, events)) => {
                    tracing::info!("connected to the spawner again");
                    self.shared.set(spawner.clone());
                    self.spawner = spawner;
                    forward_events(events, &self.inbox);
                    return Some(table);
                }
                Err(error) => tracing::error!("the spawner is gone: {error}"),
            }
            if self.inbox.is_closed() {
                return None;
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(RECONNECT_MOST);
        }
    }
}

/// What a start needs on the disk.
fn make(needed: &[Prerequisite], host_paths: &[PathBuf]) -> Result<(), String> {
    for item in needed {
        let (path, made) = match item {
            Prerequisite::Volume { path, gid } => (path, volume::make(path, *gid)),
            Prerequisite::Folder { path, gid } => (path, volume::make_folder(path, *gid)),
            Prerequisite::HostPath(path) => (path, volume::find_host_path(path, host_paths)),
            Prerequisite::HostDirectory(path) => {
                (path, volume::make_host_path(path, host_paths, HostPath::Directory))
            }
            Prerequisite::HostFile(path) => (path, volume::make_host_path(path, host_paths, HostPath::File)),
            Prerequisite::Upper(path) => (path, volume::make_upper(path)),
            Prerequisite::Message(path) => (path, volume::make_message(path)),
            Prerequisite::Image { path, image } => (path, remembered::append(path, image)),
        };
        made.map_err(|cause| {
            let verb = if matches!(item, Prerequisite::HostPath(_)) { "find" } else { "make" };
            format!("cannot {verb} {}, which it needs: {cause}", path.display())
        })?;
    }
    Ok(())
}

/// The runs of a table that may still write.
pub(crate) fn alive(table: &[TableEntry]) -> HashSet<ContainerId> {
    let writes = |e: &&TableEntry| matches!(e, TableEntry::Starting { .. } | TableEntry::Running { .. });
    table.iter().filter(writes).map(TableEntry::id).collect()
}

/// Hands the spawner's events on. The thread ends with the connection.
pub(crate) fn forward_events(events: Receiver<Event>, inbox: &Arc<Inbox>) {
    let inbox = inbox.clone();
    let forward = move || {
        while let Ok(event) = events.recv() {
            let is_last = event == Event::Disconnected;
            inbox.push(std::iter::once(event).chain(events.try_iter()).map(Input::Sandbox));
            if is_last {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("node-events".into()).spawn(forward) {
        tracing::error!("cannot follow the spawner's events: {error}");
    }
}

/// What nobody needs any more.
#[derive(Debug)]
pub(crate) enum Rubbish {
    Directory(PathBuf),
    /// Below the directory of logs.
    Logs(PathBuf),
    /// The logs, and what is kept beside them, of whom neither the server knows nor the node.
    Strangers,
    /// The log of a run, below the directory of logs, with the files it was rotated into; and its last words.
    Run {
        log: PathBuf,
        message: PathBuf,
    },
    /// A persistent volume's: somebody waits to hear that it is gone.
    Folder {
        name: Arc<str>,
        path: PathBuf,
    },
}

/// Removes directories that nobody needs any more.
pub(crate) fn sweep(
    rubbish: Receiver<Rubbish>,
    inbox: &Inbox,
    log_dir: &LogDir,
    data_dir: &Path,
    here: &Here,
    owners: impl Fn() -> Owners,
) {
    for item in rubbish {
        let (dir, removed) = match &item {
            Rubbish::Directory(path) | Rubbish::Folder { path, .. } => (path, remove_tree(path)),
            Rubbish::Logs(path) => (path, log_dir.remove_tree(path)),
            Rubbish::Strangers => {
                logs::sweep_strangers(log_dir, data_dir, here, &owners);
                continue;
            }
            Rubbish::Run { log, message } => {
                for removed in [logs::remove(log_dir, log), fs::remove_file(message)] {
                    if let Err(e) = removed
                        && e.kind() != std::io::ErrorKind::NotFound
                    {
                        tracing::warn!(log = %log.display(), "cannot remove what an old run left: {e}");
                    }
                }
                continue;
            }
        };
        if let Err(e) = &removed {
            tracing::warn!(dir = %dir.display(), "cannot remove a directory: {e}");
        }
        if let Rubbish::Folder { name, .. } = item {
            let error = removed.err().map(|e| format!("cannot remove the folder of the volume: {e}"));
            inbox.push([Input::FolderRemoved { name, error }]);
        }
    }
}

/// Sees what directories and logs hold, and what the disk has left. Before any pod has to make room, `collect` is asked to, which
/// says whether it did, and then what there is of logs.
pub(crate) fn measure(
    watched: Receiver<Vec<Watched>>,
    data_dir: &Path,
    mut room: Room,
    inbox: &Inbox,
    reserve_bytes: u64,
    collect: impl Fn() -> bool,
) {
    for list in watched {
        let size = |item: Watched| {
            let found = match item.what {
                What::Log(_) => logs::size(&room.dir, &item.path).map(|bytes| Use { bytes, inodes: 0 }),
                What::EmptyDir(_) | What::Claim(_) | What::Messages | What::Upper(..) | What::Logs => {
                    used(&item.path, item.most)
                }
            };
            match found {
                Ok(found) => Some((item.pod, item.what, found)),
                Err(e) => {
                    tracing::warn!(path = %item.path.display(), "cannot measure what a pod holds: {e}");
                    None
                }
            }
        };
        let mut sizes: Vec<(Uid, What, Use)> = list.into_iter().filter_map(size).collect();
        let mut disk = disk(data_dir);
        if disk.as_ref().is_some_and(|disk| disk.free_bytes < reserve_bytes) && collect() {
            disk = self::disk(data_dir);
        }
        let found = room.look(disk.map(|disk| disk.lacking(reserve_bytes)).unwrap_or_default());
        sizes.extend(found.here.into_iter().map(|(pod, used)| (pod, What::Logs, used)));
        let disk = disk.map(|disk| disk.with(found.removed));
        inbox.push([Input::Measured(Measured { sizes, disk })]);
    }
}

fn disk(data_dir: &Path) -> Option<Disk> {
    match rustix::fs::statvfs(data_dir) {
        Ok(found) => Some(Disk {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            free_inodes: found.f_favail,
        }),
        Err(e) => {
            tracing::warn!("cannot see what the disk has left: {e}");
            None
        }
    }
}

fn note(step: &str, result: Result<(), watchbell_sandbox::Error>) {
    if let Err(error) = result {
        tracing::warn!("cannot {step}: {error}");
    }
}

pub(crate) fn now() -> Now {
    // Sleep of the machine counts: a grace period is not longer because the lid was closed.
    let mono = clock_gettime(ClockId::Boottime);
    Now {
        mono: Duration::new(mono.tv_sec.unsigned_abs(), u32::try_from(mono.tv_nsec).unwrap_or(0)),
        wall: jiff::Timestamp::now().as_second(),
    }
}

fn unix_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
