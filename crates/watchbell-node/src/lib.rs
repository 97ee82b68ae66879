//! Runs the pods that the server assigns to this machine.
//!
//! ```text
//!  Command ──▶ agent ── image by digest ── volumes ── RunSpec ──▶ spawner ──▶ container
//!  Report  ◀── agent ◀─────────────────── Event ────────────────────┘           │
//!  LogQuery ──▶ logs ◀── data dir/logs ◀── keeper ◀── stdout, stderr ────────────┘
//! ```
//!
//! What happens next to a pod is decided in `watchbell_core::pod`; this crate carries it out. It starts nothing whose
//! image it did not verify by digest.

mod agent;
mod arrays;
mod capacity;
mod devices;
mod error;
mod examine;
mod executor;
mod image;
mod inbox;
mod logs;
mod measure;
mod options;
mod place;
mod recent;
mod remove;
mod seccomp;
mod sessions;
mod volume;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use watchbell_api::node::{Command, Images, LogSource, Lookup, Report, Sessions, Tokens};
use watchbell_array::Limits;
use watchbell_image::{PullOptions, Store};
use watchbell_sandbox::{EtcFiles, Spawner};

use agent::{Agent, Input, Machine, Site};
use arrays::{Arrays, Room, Stores, Teller};
use examine::{Examiner, Gate, Known, Unjudged};
use executor::Executor;
use image::{Fetcher, InUse, NodeImages, make_room};
use inbox::Inbox;
use logs::{Counted, Here, Live, LogDir, Logs, Room as LogRoom, Tally};
use seccomp::SeccompProfiles;
use sessions::{NodeSessions, SharedSpawner};

pub use capacity::{Kept, Offered, capacity};
pub use devices::devices;
pub use error::Error;
pub use examine::{Snapshots, scanner_main};
pub use options::{ArrayKey, HeadCheck, HeadKey, LogLimits, NodeOptions};

/// The running node. It ends when the sender of its commands is gone; containers go on without it.
pub struct Node {
    logs: Arc<dyn LogSource>,
    images: Arc<dyn Images>,
    sessions: Arc<dyn Sessions>,
    known: Arc<Known>,
    logs_held: Arc<Tally>,
    spawner: Arc<SharedSpawner>,
    thread: JoinHandle<()>,
    /// Their ends are those of the threads that watch devices and arrays.
    _watched: [std::os::fd::OwnedFd; 2],
}

impl Node {
    /// Takes over what still runs and begins to follow commands. `report` is called from the node's own thread.
    pub fn start(
        options: NodeOptions,
        lookup: Lookup,
        tokens: Tokens,
        snapshots: Snapshots,
        commands: Receiver<Command>,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> Result<Node, Error> {
        let store = Store::open(&options.data_dir)?.leaving_free(options.disk_reserve_bytes);
        let volumes = options.data_dir.join("volumes");
        make_private(&volumes)?;
        let (spawner, table, events) = Spawner::connect_or_start(&options.spawner)?;
        let live = Arc::new(Live::default());
        live.only(&executor::alive(&table));
        let inbox = Arc::new(Inbox::default());
        let in_use = Arc::new(InUse::incomplete());
        let answers = inbox.clone();
        let fetcher = Fetcher::start(
            store.clone(),
            options.pull.clone(),
            options.pulls_at_once,
            in_use.clone(),
            move |id, fetched| answers.push([Input::Fetched(id, fetched)]),
        )
        .map_err(Error::thread)?;
        let (rubbish, to_remove) = channel();
        let (told, logs) = (inbox.clone(), LogDir::new(options.spawner.log_dir.clone()));
        let (here, log_marks) = (Arc::new(Here::default()), options.data_dir.clone());
        let (logs_to_remove, pods_here, data_dir) = (logs.clone(), here.clone(), options.data_dir.clone());
        let state = snapshots.clone();
        spawn("node-sweep", move || {
            let owners = || place::owners(&state());
            executor::sweep(to_remove, &told, &logs_to_remove, &data_dir, &pods_here, owners);
        })?;
        let report = Arc::new(report);
        let (state, told) = (snapshots.clone(), report.clone());
        let logs_held = Arc::new(Tally::default());
        let room = LogRoom {
            dir: logs.clone(),
            data_dir: options.data_dir.clone(),
            here: here.clone(),
            owners: Box::new(move || place::owners(&state())),
            bytes_max: options.logs_bytes,
            tally: logs_held.clone(),
            tell: Box::new(move |said| told(said)),
            counted: Counted::default(),
        };
        let (watched, to_measure) = channel();
        let told = inbox.clone();
        let data_dir = options.data_dir.clone();
        let (reserve, images, used) = (options.disk_reserve_bytes, store.clone(), in_use.clone());
        spawn("node-measure", move || {
            executor::measure(to_measure, &data_dir, room, &told, reserve, || make_room(&images, &used));
        })?;
        let known = Arc::new(Known::default());
        let (heard, told) = (inbox.clone(), report.clone());
        let examiner = Examiner::start(
            examine::Site {
                data_dir: options.data_dir.clone(),
                store: store.clone(),
                pull: options.pull.clone(),
                snapshots: snapshots.clone(),
                known: known.clone(),
                database: options.advisories.clone(),
            },
            move |news| heard.push([Input::Examiner(news)]),
            move |said| told(said),
        )
        .map_err(Error::thread)?;
        let shared = Arc::new(SharedSpawner::new(spawner.clone()));
        let told: Arc<dyn Fn(Report) + Send + Sync> = {
            let report = report.clone();
            Arc::new(move |said| report(said))
        };
        let stores = Arc::new(Stores::new(&options.data_dir, &options.array_keys));
        let teller = Arc::new(Teller::new(stores, options.head_key.as_ref(), told.clone()));
        let (heard, holder, memory) = (inbox.clone(), shared.clone(), shared.clone());
        let arrays = Arrays::start(
            options.data_dir.clone(),
            teller.clone(),
            Arc::new(move |pod, volume| holder.upper(pod, volume)),
            Room::new(
                Arc::new(move |bytes, inodes, bytes_max| memory.memory(bytes, inodes, bytes_max)),
                options.array_memory_bytes,
            ),
            move |news| heard.push([Input::Array(news)]),
            told,
            Limits {
                reserve_bytes: options.disk_reserve_bytes,
                keys_max: Some(options.array_chunks_max),
                ..Limits::default()
            },
            options.head_key.clone(),
        )?;
        let watched_arrays = arrays::watch(&options.data_dir, teller)?;
        let site = Arc::new(Site {
            gate: Gate::new(snapshots, known.clone(), Unjudged::Told),
            machine: Machine {
                capacity: options.capacity.clone(),
                pids_per_container: options.pids_per_container,
                scratch_bytes: options.scratch_bytes,
                empty_dir_bytes: options.empty_dir_bytes,
                disk_reserve_bytes: options.disk_reserve_bytes,
                without_images: spawner.without_images().map(str::to_owned),
                oom_score_adj_min: capacity::oom_score_adj_min(),
                open_files_max: capacity::open_files_max(),
            },
            seccomp: SeccompProfiles::open(&options)?,
            data_dir: options.data_dir.clone(),
            log_dir: logs.clone(),
            here: here.clone(),
            node_name: options.node_name.clone(),
            host_ip: "127.0.0.1".into(),
            log: options.log,
            lookup,
            tokens,
            runtimes: options.spawner.ceiling.runtimes.iter().map(|runtime| runtime.name.clone()).collect(),
            host_etc,
        });
        let (told, eyes) = (inbox.clone(), examiner.clone());
        let came = Box::new(move |names| {
            told.push([Input::ImagesCame(names)]);
            eyes.look_over();
        });
        let ranges = options.spawner.ceiling.uid_ranges;
        let told = report.clone();
        let watched_devices = devices::watch(options.spawner.ceiling.devices.clone(), move |pools| {
            told(Report::Devices { pools });
        })?;
        let executor = Executor {
            agent: Agent::new(site.clone(), in_use.clone(), table),
            inbox: inbox.clone(),
            spawner,
            spawner_options: options.spawner.clone(),
            shared: shared.clone(),
            fetcher,
            examiner: examiner.clone(),
            arrays,
            live: live.clone(),
            data_dir: options.data_dir,
            rubbish,
            watched,
            report: move |said| report(said),
        };
        executor::forward_events(events, &inbox);
        spawn("node-commands", move || {
            while let Ok(command) = commands.recv() {
                inbox.push(std::iter::once(command).chain(commands.try_iter()).map(Input::Command));
            }
            inbox.close();
        })?;
        let thread = spawn("node", move || executor.run())?;
        Ok(Node {
            sessions: Arc::new(NodeSessions {
                site,
                ranges,
                store: store.clone(),
                in_use: in_use.clone(),
                live: live.clone(),
                spawner: shared.clone(),
            }),
            logs: Arc::new(Logs { dir: logs, live, here, data_dir: log_marks }),
            logs_held,
            images: Arc::new(NodeImages { came, store, options: options.pull, in_use }),
            known,
            spawner: shared,
            thread,
            _watched: [watched_devices, watched_arrays],
        })
    }

    pub fn logs(&self) -> Arc<dyn LogSource> {
        self.logs.clone()
    }

    pub fn images(&self) -> Arc<dyn Images> {
        self.images.clone()
    }

    /// `exec` and `attach`.
    pub fn sessions(&self) -> Arc<dyn Sessions> {
        self.sessions.clone()
    }

    /// Gives what is known of the database of advisories, of logs and of the spawner, in Prometheus' text form.
    pub fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let (known, logs, spawner) = (self.known.clone(), self.logs_held.clone(), self.spawner.clone());
        move || format!("{}{}{}", known.metrics(), logs.metrics(), spawner.metrics())
    }

    /// Waits until the node has ended, after its last command.
    pub fn join(self) {
        // A panic of the node was reported by the panic hook; the process ends either way.
        let _ = self.thread.join();
    }
}

/// The image store of a data directory that no server holds: the same requests and answers as [`Node::images`].
pub fn images_offline(data_dir: &Path, pull: PullOptions) -> Result<Arc<dyn Images>, Error> {
    let store = Store::open(data_dir)?;
    Ok(Arc::new(NodeImages { came: Box::new(|_| {}), store, options: pull, in_use: Arc::default() }))
}

/// As they are now.
fn host_etc() -> EtcFiles {
    // A host without one of them gives its pods none.
    EtcFiles {
        hosts: fs::read("/etc/hosts").unwrap_or_default(),
        resolv_conf: fs::read("/etc/resolv.conf").unwrap_or_default(),
    }
}

fn make_private(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(Error::thread)
}
