//! A spawner and its keeper, and the driver that asks them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Instant, SystemTime};

use watchbell_sandbox::{
    Event, ExitStatus, Layered, LogTarget, Mount, PodEnvironment, PodVolume, RunSpec, Scratch, Spawner,
    SpawnerOptions, VolumeSource,
};

const LAYERS_MAX: usize = 10;

/// What one batch took.
pub(super) struct Batch {
    pub(super) count: usize,
    pub(super) wall_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) machine_ms: f64,
    /// Milliseconds of each task, in order of length; empty where nobody knows.
    pub(super) to_exec: Vec<f64>,
    pub(super) to_end: Vec<f64>,
    pub(super) note: String,
}

/// What the tasks' root file system is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct RootOf {
    pub(super) layers: usize,
    pub(super) read_only: bool,
}

pub(super) struct Sandbox {
    spawner: Spawner,
    events: Receiver<Event>,
    /// The first has the program, the others a file each.
    layers: Vec<PathBuf>,
    pub(super) root: RootOf,
    dir: PathBuf,
    next: u128,
}

impl Sandbox {
    pub(super) fn launch(dir: &Path, program: &Path) -> Sandbox {
        let layer = |n: usize| {
            let layer = dir.join(format!("layer-{n}"));
            std::fs::create_dir_all(&layer).expect("a layer");
            let file = if n == 0 { "true".to_owned() } else { format!("file-{n}") };
            std::fs::copy(program, layer.join(file)).expect("a file in the layer");
            layer
        };
        let layers = (0..LAYERS_MAX).map(layer).collect();
        let options = SpawnerOptions { idle_seconds: 0, ..SpawnerOptions::new(dir) };
        let (spawner, _, events) = Spawner::connect_or_start(&options).expect("a spawner");
        let root = RootOf { layers: 1, read_only: true };
        Sandbox { spawner, events, layers, root, dir: dir.to_owned(), next: 1 }
    }

    /// Each task is a pod of its own, as an array's are.
    pub(super) fn run(&mut self, count: usize, at_once: usize) -> Batch {
        self.run_with(count, at_once, &|_| None)
    }

    /// The same with a volume at /data, of which what was written is asked for at the end.
    pub(super) fn run_with(
        &mut self,
        count: usize,
        at_once: usize,
        volume: &dyn Fn(u128) -> Option<Layered>,
    ) -> Batch {
        let before = self.cpu_ms();
        let begun = Instant::now();
        let mut asked: HashMap<u128, (Instant, SystemTime)> = HashMap::new();
        let (mut started, mut ended) = (0, 0);
        let (mut to_exec, mut to_end) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while ended < count {
            while started < count && started - ended < at_once {
                let mut spec = self.spec();
                if let Some(layered) = volume(spec.pod.uid) {
                    let source = VolumeSource::Layered(layered);
                    Arc::make_mut(&mut spec.pod).volumes = vec![PodVolume { id: 0, source }];
                    let target = "/data".to_owned();
                    spec.mounts = vec![Mount { target, volume: 0, sub_path: None, read_only: false }];
                }
                asked.insert(spec.pod.uid, (Instant::now(), SystemTime::now()));
                self.spawner.start(&spec).expect("a request to the spawner");
                started += 1;
            }
            match self.events.recv().expect("an event") {
                Event::Started { id, at, .. } => {
                    let now = asked[&id.pod_uid].1.duration_since(SystemTime::UNIX_EPOCH);
                    to_exec.push((at as f64 - now.map_or(0.0, |n| n.as_nanos() as f64)) / 1e6);
                }
                Event::Exited(record) => {
                    assert_eq!(record.status, ExitStatus::Code(0), "{record:?}");
                    let (at, _) = asked.remove(&record.id.pod_uid).expect("it was asked for");
                    if volume(record.id.pod_uid).is_some_and(|layered| layered.upper.is_some()) {
                        self.spawner.upper(record.id.pod_uid, 0).expect("what it wrote");
                    }
                    to_end.push(at.elapsed().as_secs_f64() * 1e3);
                    self.spawner.acknowledge(record.id).expect("a request to the spawner");
                    self.spawner.release_pod(record.id.pod_uid).expect("a request to the spawner");
                    ended += 1;
                }
                Event::Mapped { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
        let used: Vec<f64> = self.cpu_ms().iter().zip(before).map(|(after, before)| after - before).collect();
        let each = |at: usize| used[at] / count as f64;
        Batch {
            count,
            wall_ms,
            cpu_ms: used.iter().sum(),
            machine_ms: 0.0,
            to_exec,
            to_end,
            note: format!(" (spawner {:.2}, keeper {:.2}, tasks {:.2})", each(0), each(1), each(2)),
        }
    }

    /// Of the next pod; those after it follow.
    pub(super) fn next_uid(&self) -> u128 {
        self.next
    }

    /// As the node makes it for a pod that asks for nothing.
    fn spec(&mut self) -> RunSpec {
        let uid = self.next;
        self.next += 1;
        let pod = PodEnvironment {
            name: format!("default/bench-{uid}"),
            hostname: format!("bench-{uid}"),
            shm_bytes: 64 << 20,
            ..PodEnvironment::alone(uid)
        };
        let bound = Scratch { bytes: 64 << 20, inodes: 65_536 };
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let log = LogTarget { path: format!("bench/{uid}.log").into(), max_bytes: 1 << 20, max_files: 2 };
        let argv = vec!["/true".to_owned()];
        let mut spec = RunSpec::strict(Arc::new(pod), self.layers[0].clone(), argv, log);
        spec.root.layers = self.layers[..self.root.layers].to_vec();
        spec.root.read_only = self.root.read_only;
        spec.env =
            text(&[("PATH", "/bin"), ("HOSTNAME", "bench"), ("HOME", "/"), ("JOB_COMPLETION_INDEX", "7")]);
        (spec.root.upper, spec.tmp) = (bound, Some(bound));
        spec.oom_score_adj = 1000;
        (spec.limits.memory_bytes, spec.limits.pids) = (Some(256 << 20), Some(1024));
        spec
    }

    /// Of the spawner, the keeper, and the tasks that the spawner reaped.
    fn cpu_ms(&self) -> [f64; 3] {
        let place = self.dir.to_string_lossy();
        let mut found = [0.0; 3];
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let args = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let args = String::from_utf8_lossy(&args).into_owned();
            let at = match args.split('\0').nth(1) {
                Some("spawner") if args.contains(&*place) => 0,
                Some("keeper") if args.contains(&*place) => 1,
                _ => continue,
            };
            found[at] += thread_ms(&entry.path());
            if at == 0 {
                found[2] = reaped_ms(&entry.path());
                // What clones for it is its part.
                found[0] += cloner_of(&entry.path()).map_or(0.0, |cloner| thread_ms(&cloner));
            }
        }
        found
    }
}

/// The spawner's child that makes its other children.
fn cloner_of(spawner: &Path) -> Option<PathBuf> {
    let pid = spawner.file_name()?.to_str()?;
    let children = std::fs::read_to_string(spawner.join(format!("task/{pid}/children"))).ok()?;
    let mut children = children.split_whitespace().map(|pid| Path::new("/proc").join(pid));
    children.find(|child| {
        std::fs::read_to_string(child.join("comm")).is_ok_and(|name| name.trim() == "watchbell-clone")
    })
}

/// A process with one thread, to the nanosecond.
fn thread_ms(process: &Path) -> f64 {
    let text = std::fs::read_to_string(process.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

/// `cutime` and `cstime` of proc(5), in hundredths of a second.
fn reaped_ms(process: &Path) -> f64 {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [13, 14].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() * 10.0
}
