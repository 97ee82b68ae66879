//! The agent alone: what it is told on one side, what it does on the other. No process, and no file but a seccomp
//! profile.

mod arrays;
mod claims;
mod connections;
mod cost;
pub(crate) mod judged;
mod lives;
mod restart;
mod sizes;
mod specs;
mod tokens;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use watchbell_api::network::EgressWire;
use watchbell_api::node::{Assignment, Capacity, Command, Lookup, Report, StopCause};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, JobLog, PodStatus};
use watchbell_api::{ApiError, Uid};
use watchbell_image::{Digest, ImageConfig};
use watchbell_sandbox::{
    ContainerId, EtcFiles, Event, ExitRecord, ExitStatus, LogSummary, OwnedFile, RunSpec, StartFailure,
    StartFailureKind, TableEntry, Usage,
};

use super::remembered::{self, Remembered};
use super::{Agent, Effect, Input, Machine, Measured, Now, Prerequisite, Site};
use crate::examine::{Gate, Unjudged};
use crate::image::{FetchError, FetchKind, FetchRequest, InUse, Prepared};
use crate::options::LogLimits;
use crate::seccomp::SeccompProfiles;

const WALL: i64 = 1_700_000_000;
const JOB: Uid = Uid(0xabc);

thread_local! {
    /// The host's own.
    static RESOLVER: std::cell::Cell<&'static str> = const { std::cell::Cell::new("host's resolver") };
}

/// What this thread has had of a processor: of two readings, the difference is its work, whoever else is busy.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

struct Bench {
    agent: Agent,
    in_use: Arc<InUse>,
    now: Now,
    wake_at: Option<Duration>,
    /// The last work on arrays that was asked for.
    works: Vec<crate::arrays::Work>,
    fetches: Vec<FetchRequest>,
    /// The last start asked for.
    started: Option<Box<RunSpec>>,
    /// What a server after this one was left.
    remembered: Vec<Remembered>,
    /// What the journal was told of starts.
    starts: Vec<(ContainerId, Option<u32>, Arc<Value>)>,
    /// What pods may connect to, as the gate was to be told.
    egresses: Vec<(u128, EgressWire)>,
}

fn site(lookup: Lookup) -> Site {
    let capacity =
        Capacity { cpu_millis: 4000, memory_bytes: 8 << 30, pods: 110, ephemeral_storage_bytes: 1 << 40 };
    Site {
        data_dir: "/data".into(),
        log_dir: crate::logs::LogDir::new("/data/logs".into()),
        here: Arc::default(),
        node_name: "watchbell".into(),
        host_ip: "127.0.0.1".into(),
        machine: Machine {
            empty_dir_bytes: 1 << 30,
            disk_reserve_bytes: 1 << 20,
            without_images: None,
            capacity,
            pids_per_container: 1024,
            scratch_bytes: 64 << 20,
            oom_score_adj_min: -1000,
            open_files_max: 1 << 20,
        },
        log: LogLimits::default(),
        lookup,
        tokens: Arc::new(|_| Err(ApiError::bad_request("no token here"))),
        gate: Gate::new(Arc::new(Default::default), Arc::default(), Unjudged::Silent),
        seccomp: SeccompProfiles::of("/nowhere/seccomp".into(), false),
        runtimes: vec!["runc".to_owned()],
        host_etc: || EtcFiles {
            hosts: b"host's hosts".to_vec(),
            resolv_conf: RESOLVER.get().as_bytes().to_vec(),
        },
    }
}

fn nothing() -> Lookup {
    Arc::new(|_, _, _| None)
}

fn image(text: &str, config: ImageConfig) -> Arc<Prepared> {
    let digest = Digest::of(text.as_bytes());
    let image_id = format!("docker.io/library/{text}@{digest}");
    let layers = vec![PathBuf::from("/data/layers/1/root")];
    Arc::new(Prepared::for_tests(digest, image_id.into(), layers, config))
}

fn program() -> ImageConfig {
    ImageConfig { entrypoint: vec!["/main".into()], ..ImageConfig::default() }
}

fn spec(mut value: Value) -> Arc<PodSpec> {
    let fields = value.as_object_mut().unwrap();
    fields.entry("restartPolicy").or_insert("Never".into());
    fields.entry("automountServiceAccountToken").or_insert(false.into());
    fields.entry("containers").or_insert(json!([{"name": "main", "image": "tool:1"}]));
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A pod of its own.
fn pod(uid: u128, spec: &Arc<PodSpec>) -> Assignment {
    let waiting = |count| vec![ContainerStatus::waiting("ContainerCreating"); count];
    let init = vec![ContainerStatus::waiting("PodInitializing"); spec.init_containers.len()];
    let mains = if init.is_empty() {
        waiting(spec.containers.len())
    } else {
        vec![init[0].clone(); spec.containers.len()]
    };
    Assignment {
        uid: Uid(uid),
        namespace: "ns".into(),
        name: format!("p{uid}").into(),
        labels: Arc::new(BTreeMap::from([("l".into(), "v".into())])),
        annotations: Arc::default(),
        spec: spec.clone(),
        hostname: format!("p{uid}").into(),
        job: None,
        index: None,
        attempt: 0,
        log: None,
        private_tmp: true,
        egress: None,
        arrays: None,
        status: PodStatus {
            scheduled_at: Some(WALL),
            init_containers: init,
            containers: mains,
            ..PodStatus::default()
        },
    }
}

/// The logs of the pod 1 of the array.
const LOG: Option<JobLog> = Some(JobLog { job: JOB, index: Some(1), attempt: 0 });

/// A pod of an array.
fn index(uid: u128, spec: &Arc<PodSpec>) -> Assignment {
    Assignment { job: Some((JOB, "train".into())), index: Some(uid as u32), ..pod(uid, spec) }
}

fn id(pod_uid: u128, container: u16, attempt: u32) -> ContainerId {
    ContainerId { pod_uid, container, attempt }
}

fn exit(id: ContainerId, status: ExitStatus) -> ExitRecord {
    ExitRecord {
        id,
        status,
        oom_killed: false,
        started_at: WALL * 1_000_000_000,
        finished_at: (WALL + 1) * 1_000_000_000,
        usage: Usage::default(),
        log: LogSummary::default(),
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(nothing(), Vec::new())
    }

    fn with(lookup: Lookup, table: Vec<TableEntry>) -> Bench {
        let in_use = Arc::new(InUse::default());
        Bench {
            agent: Agent::new(site(lookup), in_use.clone(), table),
            in_use,
            now: Now { mono: Duration::from_secs(1000), wall: WALL },
            wake_at: None,
            works: Vec::new(),
            fetches: Vec::new(),
            started: None,
            remembered: Vec::new(),
            starts: Vec::new(),
            egresses: Vec::new(),
        }
    }

    /// With this directory of data.
    fn with_data(dir: &std::path::Path, table: Vec<TableEntry>) -> Bench {
        let mut bench = Bench::new();
        let site = Site { data_dir: dir.to_owned(), ..site(nothing()) };
        bench.agent = Agent::new(site, bench.in_use.clone(), table);
        bench
    }

    /// With profiles in this directory.
    fn with_profiles(dir: &std::path::Path, may_widen: bool) -> Bench {
        let mut bench = Bench::new();
        let seccomp = SeccompProfiles::of(dir.to_owned(), may_widen);
        bench.agent = Agent::new(Site { seccomp, ..site(nothing()) }, bench.in_use.clone(), Vec::new());
        bench
    }

    fn wait(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall += seconds as i64;
    }

    fn tell(&mut self, input: Input) {
        self.agent.take(input, self.now);
    }

    /// Its logs lie where those of a pod lie that its Job made, if no other place is said.
    fn begin(&mut self, mut assignment: Assignment) {
        let (index, attempt) = (assignment.index, assignment.attempt);
        let made = assignment.job.as_ref().map(|(job, _)| JobLog { job: *job, index, attempt });
        assignment.log = assignment.log.or(made);
        self.tell(Input::Command(Command::Start(Box::new(assignment))));
    }

    fn stop(&mut self, uid: u128, grace_seconds: u32) {
        self.tell(Input::Command(Command::Stop { uid: Uid(uid), grace_seconds, cause: StopCause::Deleted }));
    }

    fn acknowledge(&mut self, uid: u128) {
        self.tell(Input::Command(Command::Acknowledge { uid: Uid(uid) }));
    }

    /// Answers the oldest fetch.
    fn fetched(&mut self, image: &Arc<Prepared>) {
        let fetch = self.fetches.remove(0);
        self.tell(Input::Fetched(fetch.id, Ok((image.clone(), FetchKind::Present))));
    }

    fn not_fetched(&mut self, reason: &'static str) {
        let fetch = self.fetches.remove(0);
        self.tell(Input::Fetched(fetch.id, Err(FetchError { reason, message: "no route".into() })));
    }

    fn images_came(&mut self, names: &[&str]) {
        self.tell(Input::ImagesCame(names.iter().map(|&name| name.to_owned()).collect()));
    }

    fn runs(&mut self, id: ContainerId) {
        self.tell(Input::Sandbox(Event::Started { id, pid: 1, at: WALL * 1_000_000_000 }));
    }

    fn exits(&mut self, id: ContainerId, code: u8) {
        self.tell(Input::Sandbox(Event::Exited(exit(id, ExitStatus::Code(code)))));
    }

    fn fails(&mut self, id: ContainerId, kind: StartFailureKind) {
        let failure = StartFailure {
            id,
            at: WALL * 1_000_000_000,
            kind,
            step: "exec".into(),
            message: "cannot execute /main".into(),
        };
        self.tell(Input::Sandbox(Event::StartFailed(failure)));
    }

    /// What it does, one effect a line.
    fn effects(&mut self) -> Vec<String> {
        let (mut effects, _) = self.agent.settle(self.now);
        // What is held back comes too.
        let (held, wake_at) = self.agent.settle(Now { mono: self.now.mono + super::HOLD, ..self.now });
        self.wake_at = wake_at;
        effects.extend(held);
        effects.retain(|effect| match effect {
            // For the journal, and looked at by itself.
            Effect::Report(Report::Started { uid, container, attempt, host_ids, settings }) => {
                let id = id(uid.0, *container, *attempt);
                self.starts.push((id, *host_ids, settings.clone()));
                false
            }
            // The disk alone.
            Effect::Measure(watched) if watched.is_empty() => {
                self.agent.take(Input::Measured(Measured::default()), self.now);
                false
            }
            // Each pod that is taken over is told it.
            Effect::ChangeEgress { uid, egress } => {
                self.egresses.push((uid.0, egress.clone()));
                false
            }
            _ => true,
        });
        effects.into_iter().map(|effect| self.line(effect)).collect()
    }

    #[track_caller]
    fn expect(&mut self, expect: &[&str]) {
        assert_eq!(self.effects(), expect);
    }

    fn line(&mut self, effect: Effect) -> String {
        let run = |id: ContainerId| format!("{}/{}/{}", id.pod_uid, id.container, id.attempt);
        match effect {
            Effect::Start { spec, needed } => {
                let mut line = format!("start {}", run(spec.id));
                for item in needed {
                    let _ = match item {
                        Prerequisite::Volume { path, .. } => write!(line, " dir {}", path.display()),
                        Prerequisite::Folder { path, .. } => write!(line, " folder {}", path.display()),
                        Prerequisite::HostPath(path) => write!(line, " host path {}", path.display()),
                        Prerequisite::HostDirectory(path) => write!(line, " host dir {}", path.display()),
                        Prerequisite::Message(path) => write!(line, " message {}", path.display()),
                        Prerequisite::Upper(path) => write!(line, " upper {}", path.display()),
                        Prerequisite::HostFile(path) => write!(line, " host file {}", path.display()),
                        Prerequisite::Image { image, .. } => {
                            self.remembered.push(image);
                            Ok(())
                        }
                    };
                }
                self.started = Some(spec);
                line
            }
            Effect::Signal { id, signal } => format!("signal {signal} {}", run(id)),
            Effect::KillPod(uid) => format!("kill {uid}"),
            Effect::ReleasePod { uid, volumes } => {
                format!("release {}{}", uid.0, if volumes { " with volumes" } else { "" })
            }
            Effect::AcknowledgeRun(id) => format!("acknowledge {}", run(id)),
            Effect::Fetch(request) => {
                let mut line = format!("fetch {} {:?}", request.image, request.policy);
                if request.pinned.is_some() {
                    line.push_str(" pinned");
                }
                if let Some(secret) = &request.credentials {
                    let _ = write!(line, " with {}", String::from_utf8_lossy(&secret.0));
                }
                self.fetches.push(request);
                line
            }
            Effect::RemoveRun { log, .. } => format!("remove log {}", log.display()),
            Effect::Measure(watched) => {
                let mut line = "measure".to_owned();
                for item in watched {
                    let _ = write!(line, " {:?} of {} ({})", item.what, item.pod.0, item.most.bytes);
                }
                line
            }
            Effect::UpdateFiles { uid, volume, files } => {
                let mut line = format!("update {}/{volume}", uid.0);
                for OwnedFile { file, uid } in files {
                    let text = String::from_utf8_lossy(&file.contents).into_owned();
                    let _ = write!(line, " {}={text} ({:o} of {uid})", file.path, file.mode);
                }
                line
            }
            Effect::ChangeEgress { .. } => unreachable!("they were taken out"),
            Effect::HeardConnections(serial) => format!("heard {serial}"),
            Effect::Report(Report::Connection { uid, .. }) => format!("connection of {}", uid.0),
            Effect::Report(Report::ConnectionsTold { serial, lost }) => format!("told {serial}, lost {lost}"),
            Effect::Report(Report::GateLost { from, until }) => format!("gate lost, {from} to {until}"),
            Effect::RemoveFolder(name) => format!("remove folder {name}"),
            Effect::Examine { id, question } => format!("examine {id} {}", question.image),
            Effect::LookOver => "look over".to_owned(),
            Effect::LookAt { namespace, images } => format!("look at {} for {namespace}", images.join(" ")),
            Effect::Report(Report::Image { image, .. }) => format!("facts of {image}"),
            Effect::Report(Report::ImageJudged { uid, judged }) => {
                format!("judged {} {:?}", uid.0, judged.outcome)
            }
            Effect::Array(work) => self.array_line(work),
            Effect::Report(Report::ArrayCommitted { uid, array, index, attempt, keys, bytes }) => {
                format!("committed {} {array}[{index}] attempt {attempt}: {keys} keys, {bytes} bytes", uid.0)
            }
            Effect::Report(
                Report::Array { .. }
                | Report::ArraysPublished { .. }
                | Report::ArraysDelayed { .. }
                | Report::ArrayRolledBack { .. },
            ) => unreachable!("the threads tell of these"),
            Effect::Report(Report::Devices { .. }) => unreachable!("the agent knows none"),
            Effect::Report(Report::Started { .. }) => unreachable!("they were taken out"),
            Effect::Report(Report::VolumeRemoved { name, error }) => {
                format!("removed {name}{}", error.map(|why| format!(" not: {why}")).unwrap_or_default())
            }
            Effect::SweepLogs => "sweep logs".to_owned(),
            Effect::SweepVolumes(keep) => format!("sweep volumes but of {}", keep.len()),
            Effect::RemoveLogs(dir) => format!("remove logs {}", dir.display()),
            Effect::Report(Report::Event { uid, warning, reason, .. }) => {
                format!("event {} {reason}{}", uid.0, if warning { "!" } else { "" })
            }
            Effect::Report(Report::Status { uid, status }) => {
                let mut line = format!("report {} {}", uid.0, status.phase.as_str());
                if let Some(reason) = &status.reason {
                    let _ = write!(line, " {reason}");
                }
                for container in status.init_containers.iter().chain(&status.containers) {
                    let _ = match &container.state {
                        ContainerState::Waiting { reason, .. } => write!(line, " {reason}"),
                        ContainerState::Running { .. } => write!(line, " running"),
                        ContainerState::Terminated(end) => {
                            write!(line, " {}={}", end.reason.as_str(), end.exit_code)
                        }
                    };
                }
                line
            }
        }
    }
}
