//! What the pods of one run (a Job, or a pod of its own) share: the plan, and the image that each name stood for when the
//! run first asked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use watchbell_api::Uid;
use watchbell_api::image::ImageJudged;
use watchbell_api::types::pod::{ImagePullPolicy, PodSpec};
use watchbell_core::pod::CRASH;
use watchbell_image::Reference;

use super::arrays::RunArrays;
use super::plan::{Machine, Plan};
use super::settings::Settings;
use crate::image::{FetchError, Prepared};

/// How long a run without pods keeps its images at hand: the next index is likely to come.
const LINGER: Duration = Duration::from_secs(30);
/// Of what was told of a run's images, so much is remembered.
const TOLD_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Runs {
    runs: HashMap<Uid, Run>,
    /// Runs that had no pod from some time on, oldest first.
    idle: VecDeque<(Duration, Uid)>,
    /// Runs whose arrays nobody needs at hand: namespace and whose drafts they are.
    rested: Vec<(Arc<str>, Uid)>,
}

pub(super) struct Run {
    pods: u32,
    /// It has no pod; until then its images stay at hand.
    lingers_until: Option<Duration>,
    /// The Job is gone: its logs go with the last pod.
    is_forgotten: bool,
    pub images: Vec<RunImage>,
    plan: Option<Arc<Plan>>,
    is_job: bool,
    /// By container.
    pub settings: Vec<Option<Settings>>,
    /// What was told of its images and policies: once, however many pods it has.
    told: Vec<ImageJudged>,
    pub arrays: RunArrays,
}

pub(super) struct RunImage {
    name: Arc<str>,
    policy: ImagePullPolicy,
    /// The image by digest, once known: the run keeps it.
    pub pinned: Option<Arc<str>>,
    pub state: ImageState,
    /// A server after this one finds it.
    pub is_remembered: bool,
    /// Failures in a row.
    tries: u32,
}

pub(super) enum ImageState {
    Unknown,
    /// Being got for these pods' containers.
    Fetching(Vec<(Uid, usize)>),
    Ready(Arc<Prepared>),
    Failed {
        reason: &'static str,
        message: String,
        retry_at: Duration,
    },
}

impl Runs {
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Run> {
        self.runs.values_mut()
    }

    /// The run of a pod that is taken up, and its plan.
    pub(super) fn join(
        &mut self,
        run: Uid,
        is_job: bool,
        spec: &Arc<PodSpec>,
        machine: &Machine,
    ) -> Arc<Plan> {
        let run = self.runs.entry(run).or_insert_with(|| Run {
            pods: 0,
            lingers_until: None,
            is_forgotten: false,
            images: Vec::new(),
            plan: None,
            is_job,
            settings: Vec::new(),
            told: Vec::new(),
            arrays: RunArrays::default(),
        });
        run.pods += 1;
        run.lingers_until = None;
        match &run.plan {
            Some(plan) if Arc::ptr_eq(&plan.spec, spec) => plan.clone(),
            _ => run.plan.insert(Arc::new(Plan::new(spec, machine))).clone(),
        }
    }

    pub(super) fn get(&mut self, run: Uid) -> Option<&mut Run> {
        self.runs.get_mut(&run)
    }

    /// A pod of the run is gone. Gives whether the run's logs are to go too.
    pub(super) fn leave(&mut self, uid: Uid, now: Duration) -> bool {
        let Some(run) = self.runs.get_mut(&uid) else { return false };
        run.pods = run.pods.saturating_sub(1);
        if run.pods > 0 {
            return false;
        }
        if run.is_forgotten || !run.is_job {
            let was_forgotten = run.is_forgotten;
            self.remove(uid);
            return was_forgotten;
        }
        run.lingers_until = Some(now + LINGER);
        self.idle.push_back((now + LINGER, uid));
        false
    }

    /// The Job is gone. Gives whether its logs may go now.
    pub(super) fn forget(&mut self, uid: Uid) -> bool {
        match self.runs.get_mut(&uid) {
            Some(run) if run.pods > 0 => {
                run.is_forgotten = true;
                false
            }
            _ => {
                self.remove(uid);
                true
            }
        }
    }

    fn remove(&mut self, uid: Uid) {
        let removed = self.runs.remove(&uid);
        self.rested.extend(removed.and_then(|mut run| run.arrays.rest()));
    }

    /// Those that came to rest since this was asked last.
    pub(super) fn take_rested(&mut self) -> Vec<(Arc<str>, Uid)> {
        std::mem::take(&mut self.rested)
    }

    /// Images of these names are in the store now: what failed for want of them is tried at once.
    pub(super) fn images_came(&mut self, names: &[String], now: Duration) {
        for image in self.runs.values_mut().flat_map(|run| &mut run.images) {
            if let ImageState::Failed { retry_at, .. } = &mut image.state
                && Reference::parse(&image.name).is_ok_and(|name| names.contains(&name.familiar()))
            {
                *retry_at = now;
            }
        }
    }

    /// Lets go of images and plans that no pod came for. The digests stay known. Gives when to look again.
    pub(super) fn tidy(&mut self, now: Duration) -> Option<Duration> {
        while let Some(&(at, uid)) = self.idle.front() {
            if at > now {
                return Some(at);
            }
            self.idle.pop_front();
            if let Some(run) = self.runs.get_mut(&uid)
                && run.lingers_until == Some(at)
            {
                run.plan = None;
                self.rested.extend(run.arrays.rest());
                for image in &mut run.images {
                    if matches!(image.state, ImageState::Ready(_)) {
                        image.state = ImageState::Unknown;
                    }
                }
            }
        }
        None
    }
}

impl Run {
    /// Whether it is the first time that this is said of the run's images.
    pub(super) fn is_news(&mut self, judged: &ImageJudged) -> bool {
        let is_news = !self.told.contains(judged);
        if is_news {
            if self.told.len() >= TOLD_MAX {
                self.told.clear();
            }
            self.told.push(judged.clone());
        }
        is_news
    }

    pub(super) fn remember_again(&mut self) {
        self.images.iter_mut().for_each(|image| image.is_remembered = false);
    }

    /// The place of an image among those of the run.
    pub(super) fn image(&mut self, name: &str, policy: ImagePullPolicy) -> usize {
        match self.images.iter().position(|i| &*i.name == name && i.policy == policy) {
            Some(position) => position,
            None => {
                let state = ImageState::Unknown;
                let (name, is_remembered) = (name.into(), false);
                self.images.push(RunImage { name, policy, pinned: None, state, is_remembered, tries: 0 });
                self.images.len() - 1
            }
        }
    }
}

impl RunImage {
    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(super) fn policy(&self) -> ImagePullPolicy {
        self.policy
    }

    /// It is here. Gives the containers that wait for it.
    pub(super) fn ready(&mut self, image: Arc<Prepared>) -> Vec<(Uid, usize)> {
        self.tries = 0;
        self.pinned = Some(image.image_id.clone());
        match std::mem::replace(&mut self.state, ImageState::Ready(image)) {
            ImageState::Fetching(waiters) => waiters,
            _ => Vec::new(),
        }
    }

    /// It could not be got; tried again later. kubelet calls the first failure by its own name, later ones a back-off.
    pub(super) fn failed(&mut self, error: &FetchError, now: Duration) -> Vec<(Uid, usize)> {
        let (reason, message) = match (error.reason, self.tries) {
            ("ErrImagePull", 1..) => {
                ("ImagePullBackOff", format!("Back-off pulling image {:?}: {}", self.name, error.message))
            }
            (reason, _) => (reason, error.message.clone()),
        };
        let retry_at = now + CRASH.wait(self.tries);
        self.tries = self.tries.saturating_add(1);
        match std::mem::replace(&mut self.state, ImageState::Failed { reason, message, retry_at }) {
            ImageState::Fetching(waiters) => waiters,
            _ => Vec::new(),
        }
    }
}
