//! Creating a container: its image, its configuration, its start; and what it said when it ended.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use watchbell_api::node::Assignment;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{Resource, Uid};
use watchbell_core::pod::{ConfigError, State};
use watchbell_image::Secret;
use watchbell_sandbox::{ContainerId, PodEnvironment};

use super::pod::{Begun, Pod};
use super::remembered::Remembered;
use super::runs::{ImageState, Run};
use super::settings::Settings;
use super::spec::{MESSAGES, Prerequisite, Site, Which, container_at, message_file, message_target};
use super::tokens::TokenSource;
use super::{Agent, Effect, Fetch, Now, ends};

use crate::image::{FetchKind, FetchRequest, Fetched, Prepared};
use crate::logs;
use crate::place::{LogPlace, images_file, volumes_dir};

/// What a pod waits for while its image comes.
enum Image {
    Ready(Arc<Prepared>),
    Awaited,
    Failed { reason: &'static str, message: String, retry_at: Duration },
}

impl Agent {
    /// Starts the container if its image is here; asks for that otherwise.
    pub(super) fn create(&mut self, pod: &mut Pod, ordinal: usize, now: Now) {
        // Before its image is fetched, as kubelet makes the sandbox first.
        let runtime = match self.site.runtime(&pod.assignment) {
            Ok(runtime) => runtime,
            Err(error) => {
                return self.block(pod, ordinal, "ContainerCreating", "FailedCreatePodSandBox", error, now);
            }
        };
        match self.image_of(pod, ordinal, now) {
            Image::Awaited => {}
            Image::Failed { reason, message, retry_at } => {
                pod.life.blocked(ordinal, reason, message, retry_at);
            }
            Image::Ready(image) => {
                if self.is_let_in(pod, ordinal, &image, now) && self.has_arrays(pod, ordinal, &image, now) {
                    self.start_with(pod, ordinal, &image, runtime, now);
                }
            }
        }
    }

    fn image_of(&mut self, pod: &mut Pod, ordinal: usize, now: Now) -> Image {
        let run_uid = pod.run();
        let waiter = (pod.assignment.uid, ordinal);
        let name = &container_at(&pod.assignment.spec, ordinal).image;
        let Some(run) = self.runs.get(run_uid) else { return Image::Awaited };
        let place = run.image(name, pod.plan.containers[ordinal].pull_policy);
        let image = &mut run.images[place];
        match &mut image.state {
            ImageState::Ready(prepared) => {
                let has_lease = pod.leases.iter().any(|(id, _)| *id == prepared.image_id);
                let lease = if has_lease { None } else { self.in_use.lease(prepared) };
                if has_lease || lease.is_some() {
                    pod.leases.extend(lease.map(|lease| (prepared.image_id.clone(), lease)));
                    return Image::Ready(prepared.clone());
                }
                // Images were removed since: look whether it is still there.
            }
            ImageState::Fetching(waiters) => {
                waiters.push(waiter);
                return Image::Awaited;
            }
            ImageState::Failed { reason, message, retry_at } if now.mono < *retry_at => {
                return Image::Failed { reason, message: message.clone(), retry_at: *retry_at };
            }
            ImageState::Unknown | ImageState::Failed { .. } => {}
        }
        image.state = ImageState::Fetching(vec![waiter]);
        let (image, policy, pinned) = (image.name(), image.policy(), image.pinned.clone());
        // Whatever the policy is: an image that is here is for those who could pull it.
        let credentials = pull_secrets(&self.site, &pod.assignment);
        // Who wants the same as another run of the namespace waits with it.
        let namespace = &pod.assignment.namespace;
        let same = self.fetches.values_mut().find(|fetch| {
            let r = &fetch.request;
            (&r.namespace, &r.image, r.policy, &r.pinned) == (namespace, &image, policy, &pinned)
                && r.credentials.as_ref().map(|c| &c.0) == credentials.as_ref().map(|c| &c.0)
        });
        if let Some(fetch) = same {
            fetch.wanted_by.push((run_uid, place));
            return Image::Awaited;
        }
        let id = self.next_fetch;
        self.next_fetch += 1;
        let wanted = Arc::new(());
        let request = FetchRequest {
            id,
            namespace: namespace.clone(),
            wanted: Arc::downgrade(&wanted),
            image,
            policy,
            pinned,
            credentials,
        };
        let fetch = Fetch { request: request.clone(), wanted_by: vec![(run_uid, place)], _wanted: wanted };
        self.fetches.insert(id, fetch);
        self.effects.push(Effect::Fetch(request));
        Image::Awaited
    }

    /// The pod waits for no image any more. What nobody waits for is given up.
    pub(super) fn leave_fetches(&mut self, pod: &Pod) {
        let (run_uid, uid) = (pod.run(), pod.assignment.uid);
        let Some(run) = self.runs.get(run_uid) else { return };
        for (place, image) in run.images.iter_mut().enumerate() {
            let ImageState::Fetching(waiters) = &mut image.state else { continue };
            let before = waiters.len();
            waiters.retain(|(waiter, _)| *waiter != uid);
            if waiters.is_empty() && before > 0 {
                image.state = ImageState::Unknown;
                self.fetches.retain(|_, fetch| {
                    fetch.wanted_by.retain(|wanted_by| *wanted_by != (run_uid, place));
                    !fetch.wanted_by.is_empty()
                });
            }
        }
    }

    /// Who waits for one of these images looks again now, not when its back-off ends.
    pub(super) fn images_came(&mut self, names: &[String], now: Now) {
        self.runs.images_came(names, now.mono);
        let mut waiting = Vec::new();
        for (uid, pod) in &mut self.pods {
            if pod.life.look_again(now.mono) {
                waiting.push(*uid);
            }
        }
        for uid in waiting {
            self.touch(uid);
        }
    }

    pub(super) fn fetched(&mut self, id: u64, fetched: Fetched, now: Now) {
        let mut waiters: Vec<(Uid, usize)> = Vec::new();
        let wanted_by = self.fetches.remove(&id).map(|f| f.wanted_by).unwrap_or_default();
        for (run, place) in wanted_by {
            let Some(image) = self.runs.get(run).and_then(|run| run.images.get_mut(place)) else { continue };
            waiters.extend(match &fetched {
                Ok((prepared, _)) => image.ready(prepared.clone()),
                Err(error) => image.failed(error, now.mono),
            });
        }
        let mut is_first = true;
        for (uid, ordinal) in waiters {
            let Some(mut pod) = self.pods.remove(&uid) else { continue };
            if matches!(pod.life.containers[ordinal].state, State::Preparing) {
                if std::mem::take(&mut is_first) {
                    self.tell_fetched(&pod, ordinal, &fetched);
                }
                self.create(&mut pod, ordinal, now);
            }
            self.pods.insert(uid, pod);
            self.touch(uid);
        }
    }

    fn tell_fetched(&mut self, pod: &Pod, ordinal: usize, fetched: &Fetched) {
        let image = container_at(&pod.assignment.spec, ordinal).image.clone();
        match fetched {
            Ok((_, FetchKind::Present)) => self.tell(pod, false, "Pulled", || {
                format!("Container image {image:?} already present on machine")
            }),
            Ok((_, FetchKind::Pulled { bytes, took })) => self.tell(pod, false, "Pulled", || {
                format!(
                    "Successfully pulled image {image:?} in {:.3}s. Image size: {bytes} bytes.",
                    took.as_secs_f64()
                )
            }),
            Err(error) => {
                self.tell(pod, true, "Failed", || format!("Error: {}: {}", error.reason, error.message));
            }
        }
    }

    fn start_with(
        &mut self,
        pod: &mut Pod,
        ordinal: usize,
        image: &Prepared,
        runtime: Option<String>,
        now: Now,
    ) {
        let environment = match &pod.environment {
            Some(environment) => environment.clone(),
            None => match self.environment_of(pod, ordinal, image, now) {
                Ok((environment, made)) => {
                    pod.needed = made;
                    pod.environment.insert(Arc::new(environment)).clone()
                }
                // A volume is kubelet's business, not the container's: it shows as creation that takes its time.
                Err(error) => {
                    return self.block(pod, ordinal, "ContainerCreating", "FailedMount", error, now);
                }
            },
        };
        let attempt = pod.life.containers[ordinal].restart_count;
        let arrays = super::arrays::given(pod);
        let which = Which { ordinal, attempt, arrays: &arrays };
        let spec = self.site.run_spec(&pod.assignment, &pod.plan, environment, which, image);
        let mut spec = match spec {
            Ok(spec) => spec,
            Err(error) => {
                return self.block(pod, ordinal, "CreateContainerConfigError", "Failed", error, now);
            }
        };
        // A file of the machine: with kubelet it is the container runtime that finds it missing.
        let profile = self.site.seccomp_profile(&pod.assignment, &pod.plan, ordinal, runtime.as_deref());
        spec.extras.seccomp = match profile {
            Ok(profile) => profile,
            Err(error) => return self.block(pod, ordinal, "CreateContainerError", "Failed", error, now),
        };
        spec.extras.runtime = runtime;
        pod.stop_signals[ordinal] = ends::stop_signal(&image.config.stop_signal);
        pod.handed.push(spec.id);
        if let Some(run) = self.runs.get(pod.run()) {
            if run.settings.len() <= ordinal {
                run.settings.resize_with(ordinal + 1, || None);
            }
            let settings = Settings::of(&mut run.settings[ordinal], &spec, &image.image_id).clone();
            // One that was never executed is none.
            pod.begun.retain(|begun| begun.is_executed || begun.id.container != spec.id.container);
            pod.begun.push(Begun { id: spec.id, host_ids: None, is_executed: false, settings });
        }
        pod.life.starting(ordinal, image.image_id.clone());
        let mut needed = std::mem::take(&mut pod.needed);
        needed.extend(self.remember(pod, ordinal, image));
        if message_target(&pod.assignment, container_at(&pod.assignment.spec, ordinal)).is_some() {
            let dir = volumes_dir(&self.site.data_dir, pod.assignment.uid).join(MESSAGES);
            needed.push(Prerequisite::Message(dir.join(message_file(ordinal as u16, attempt))));
        }
        self.effects.push(Effect::Start { spec: Box::new(spec), needed });
        // As kubelet, this node keeps what the run before this one left; older runs make room.
        if let Some(old) = attempt.checked_sub(2) {
            self.effects.push(Effect::RemoveRun {
                log: LogPlace::of(&pod.assignment).file(ordinal as u16, old),
                message: volumes_dir(&self.site.data_dir, pod.assignment.uid)
                    .join(MESSAGES)
                    .join(message_file(ordinal as u16, old)),
            });
        }
        let name = &container_at(&pod.assignment.spec, ordinal).name;
        self.tell(pod, false, "Created", || format!("Created container: {name}"));
    }

    /// What a container needs could not be made on this machine: as with kubelet its creation takes its time, for it is nothing
    /// that the pod did. With the next try all is made anew, by whichever container comes first.
    pub(super) fn not_made(&mut self, id: ContainerId, message: &str, now: Now) {
        let Some(mut pod) = self.pods.remove(&Uid(id.pod_uid)) else { return };
        self.runs.get(pod.run()).into_iter().for_each(Run::remember_again);
        pod.environment = None;
        let mut unmade = vec![id];
        // Nor is there anything for those that were to start meanwhile.
        self.effects.retain(|effect| match effect {
            Effect::Start { spec, .. } if spec.id.pod_uid == id.pod_uid => {
                unmade.push(spec.id);
                false
            }
            _ => true,
        });
        for id in unmade {
            pod.handed.retain(|handed| *handed != id);
            if pod.is_present(id) {
                let (ordinal, error) = (usize::from(id.container), ConfigError(message.to_owned()));
                self.block(&mut pod, ordinal, "ContainerCreating", "FailedMount", error, now);
            }
        }
        self.pods.insert(Uid(id.pod_uid), pod);
        self.touch(Uid(id.pod_uid));
    }

    /// Before the run's first container of an image starts.
    fn remember(&mut self, pod: &Pod, ordinal: usize, image: &Prepared) -> Option<Prerequisite> {
        let name = &container_at(&pod.assignment.spec, ordinal).image;
        let run = self.runs.get(pod.run())?;
        let place = run.image(name, pod.plan.containers[ordinal].pull_policy);
        if std::mem::replace(&mut run.images[place].is_remembered, true) {
            return None;
        }
        let image = Remembered {
            name: name.clone(),
            image_id: image.image_id.to_string(),
            stop_signal: pod.stop_signals[ordinal],
        };
        let path = images_file(&self.site.data_dir, &LogPlace::of(&pod.assignment));
        Some(Prerequisite::Image { path, image })
    }

    /// What the pod's containers share, with fresh tokens.
    fn environment_of(
        &self,
        pod: &mut Pod,
        ordinal: usize,
        image: &Prepared,
        now: Now,
    ) -> Result<(PodEnvironment, Vec<Prerequisite>), ConfigError> {
        let source = TokenSource::new(&self.site, &pod.assignment);
        let made = self.site.pod_environment(&pod.assignment, &pod.plan, &|asked| source.get(asked));
        let due = source.due(now);
        pod.refresh_at = due.or(pod.refresh_at);
        let (mut environment, mut needed) = made?;
        if pod.arrays.is_some() {
            let user = self.site.user(&pod.assignment, ordinal, image)?;
            super::arrays::lay(&self.site, pod, (user.uid, user.gid), &mut environment, &mut needed);
        }
        Ok((environment, needed))
    }

    fn block(
        &mut self,
        pod: &mut Pod,
        ordinal: usize,
        reason: &'static str,
        event: &'static str,
        error: ConfigError,
        now: Now,
    ) {
        if pod.tries == 0 {
            self.tell(pod, true, event, || match event {
                "Failed" => format!("Error: {error}"),
                _ => error.to_string(),
            });
        }
        pod.back_off(ordinal, reason, error.0, now);
    }
}

/// The pod's `imagePullSecrets` as one Docker configuration; the first that names a registry counts. One that is missing
/// or unreadable is passed over, as kubelet does: the registry will say what it thinks of that.
pub(crate) fn pull_secrets(site: &Site, pod: &Assignment) -> Option<Secret> {
    let mut auths: Map<String, Value> = Map::new();
    for reference in &pod.spec.image_pull_secrets {
        let Some(object) = (site.lookup)(Resource::Secret, &pod.namespace, &reference.name) else { continue };
        // The older form holds the content of `auths` alone.
        for (key, is_old) in [(".dockerconfigjson", false), (".dockercfg", true)] {
            let text = object["data"].get(key).and_then(Value::as_str);
            let bytes = text.and_then(|t| STANDARD.decode(t).ok());
            let config = bytes.and_then(|b| serde_json::from_slice::<Value>(&b).ok());
            let found = config.as_ref().map(|c| if is_old { c } else { &c["auths"] });
            for (registry, auth) in found.and_then(Value::as_object).into_iter().flatten() {
                auths.entry(registry.clone()).or_insert_with(|| auth.clone());
            }
        }
    }
    if auths.is_empty() {
        return None;
    }
    Some(Secret(serde_json::json!({"auths": auths}).to_string().into_bytes()))
}

/// What a container left behind to say: the file at `terminationMessagePath`, and by `FallbackToLogsOnError` the end of
/// its log.
pub(super) fn termination_message(
    site: &Site,
    pod: &Assignment,
    id: ContainerId,
    exit_code: i32,
) -> Option<Box<str>> {
    let ordinal = usize::from(id.container);
    if ordinal >= pod.spec.init_containers.len() + pod.spec.containers.len() {
        return None;
    }
    let container = container_at(&pod.spec, ordinal);
    if message_target(pod, container).is_some() {
        let root = volumes_dir(&site.data_dir, pod.uid).join(MESSAGES);
        if let Some(text) = logs::read_message(&root, &message_file(id.container, id.attempt)) {
            return Some(text.into());
        }
    }
    let path = container.termination_message_path.as_deref().unwrap_or("");
    let in_volume = container.volume_mounts.iter().find_map(|mount| {
        let rest = path.strip_prefix(mount.mount_path.trim_end_matches('/'))?.strip_prefix('/')?;
        is_disk_volume(&pod.spec, &mount.name)
            .then(|| (mount.name.as_str(), mount.sub_path.as_deref().unwrap_or(""), rest))
    });
    if let Some((volume, sub_path, rest)) = in_volume {
        let root = volumes_dir(&site.data_dir, pod.uid).join(volume);
        let path = if sub_path.is_empty() { rest.to_owned() } else { format!("{sub_path}/{rest}") };
        if let Some(text) = logs::read_message(&root, &path) {
            return Some(text.into());
        }
    }
    if exit_code == 0 || container.termination_message_policy.as_deref() != Some("FallbackToLogsOnError") {
        return None;
    }
    let file = LogPlace::of(pod).file(id.container, id.attempt);
    logs::last_words(&site.log_dir, &file).map(Into::into)
}

fn is_disk_volume(spec: &PodSpec, name: &str) -> bool {
    let volume = spec.volumes.iter().find(|v| v.name == name);
    volume.and_then(|v| v.empty_dir.as_ref()).is_some_and(|dir| dir.medium.is_empty())
}
