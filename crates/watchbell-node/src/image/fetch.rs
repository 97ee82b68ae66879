//! Finds an image here or pulls it, and makes it ready to run. Pulls have threads of their own, so that a slow registry
//! holds up nobody whose image is here; and namespaces take turns, so that one holds up itself alone.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use watchbell_api::types::pod::ImagePullPolicy;
use watchbell_image::{
    CredentialSource, Error, Event, Progress, PullOptions, PulledFor, Reference, Secret, Store, pull,
};

use crate::examine::Outline;
use crate::examine::crew::{Crew, Size};
use crate::examine::turns::Urgency;

use super::collect::make_room;
use super::in_use::{Held, InUse};
use super::{Prepared, rootfs};

/// Threads that look images up and unpack what is here.
const LOCAL: Size = Size { threads: 2, each: 1 };

/// What a pod wants.
#[derive(Clone, Debug)]
pub(crate) struct FetchRequest {
    /// Answers carry it.
    pub id: u64,
    /// Of the pod: namespaces take turns.
    pub namespace: Arc<str>,
    /// Gone once nobody waits for it any more.
    pub wanted: Weak<()>,
    /// As the pod wrote it.
    pub image: Arc<str>,
    pub policy: ImagePullPolicy,
    /// What the name stood for when the run began: the digest decides.
    pub pinned: Option<Arc<str>>,
    /// A Docker configuration from the pod's `imagePullSecrets`.
    pub credentials: Option<Secret>,
}

/// How an image came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchKind {
    Present,
    Pulled { bytes: u64, took: Duration },
}

pub(crate) type Fetched = Result<(Arc<Prepared>, FetchKind), FetchError>;

/// Why there is no image, by kubelet's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchError {
    pub reason: &'static str,
    pub message: String,
}

/// The threads.
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    local: Crew<FetchRequest>,
}

struct Shared {
    store: Store,
    options: PullOptions,
    in_use: Arc<InUse>,
    answer: Box<dyn Fn(u64, Fetched) + Send + Sync>,
}

impl Fetcher {
    pub(crate) fn start(
        store: Store,
        options: PullOptions,
        pulls_at_once: usize,
        in_use: Arc<InUse>,
        answer: impl Fn(u64, Fetched) + Send + Sync + 'static,
    ) -> std::io::Result<Fetcher> {
        let shared = Arc::new(Shared { store, options, in_use, answer: Box::new(answer) });
        // Whoever pulls leaves half of the threads to the others.
        let size = Size { threads: pulls_at_once.max(1), each: (pulls_at_once / 2).max(1) };
        let puller = shared.clone();
        let pulls = Crew::start("pulls", size, move |request: FetchRequest| {
            (puller.answer)(request.id, puller.pull(&request));
        })?;
        let finder = shared.clone();
        let local = Crew::start("images", LOCAL, move |request: FetchRequest| {
            match finder.look_up(&request).transpose() {
                Some(fetched) => (finder.answer)(request.id, fetched),
                None => finder.hand(&pulls, request),
            }
        })?;
        Ok(Fetcher { shared, local })
    }

    pub(crate) fn fetch(&self, request: FetchRequest) {
        self.shared.hand(&self.local, request);
    }
}

impl Shared {
    /// What there is no room for is tried once more, when images that nobody uses have gone.
    fn with_room<T>(&self, get: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match get() {
            Err(Error::NoRoom { .. }) if make_room(&self.store, &self.in_use) => get(),
            got => got,
        }
    }

    fn hand(&self, crew: &Crew<FetchRequest>, request: FetchRequest) {
        // No two requests are the same: whoever wants the same waits for the first.
        let (namespace, key) = (request.namespace.clone(), request.id.to_string());
        if let Err(request) = crew.ask(Urgency::Now, &namespace, &key, request) {
            let message = format!(
                "namespace {namespace} waits for too many images to get {:?} now; it is tried again",
                request.image
            );
            (self.answer)(request.id, Err(FetchError { reason: "ErrImagePull", message }));
        }
    }

    /// The image if it is here and may be used without asking the registry: by who has shown what it takes before.
    fn look_up(&self, request: &FetchRequest) -> Result<Option<(Arc<Prepared>, FetchKind)>, FetchError> {
        let reference = request.reference()?;
        let is_never = request.policy == ImagePullPolicy::Never;
        let never = |what: &str| FetchError {
            reason: "ErrImageNeverPull",
            message: format!("Container image {:?} {what}", request.image),
        };
        // What a run began with it goes on with: whether its name stands for something else by now is not asked.
        let is_settled = request.policy != ImagePullPolicy::Always || request.pinned.is_some();
        if is_settled
            && let Some(held) = self.in_use.find(|| self.store.resolve(&reference)).map_err(broken)?
        {
            let credentials = &self.options(request).credentials;
            if self.store.may_use(&reference, &held.image.digest, credentials).map_err(broken)? {
                return Ok(Some((self.prepare(&reference, held)?, FetchKind::Present)));
            }
            if is_never {
                return Err(never(
                    "is present with pull policy of Never, but was pulled with credentials that this pod does not \
                     have; name them in its imagePullSecrets",
                ));
            }
        }
        if is_never {
            return Err(never("is not present with pull policy of Never; import or pull it first"));
        }
        Ok(None)
    }

    fn pull(&self, request: &FetchRequest) -> Fetched {
        let reference = request.reference()?;
        let options = self.options(request);
        let since = Instant::now();
        let pull = || pull(&self.store, &reference, &options, &Waited(&request.wanted));
        let image = self.with_room(pull).map_err(|e| FetchError {
            reason: "ErrImagePull",
            message: format!("failed to pull image {:?}: {e}", request.image),
        })?;
        let kind = FetchKind::Pulled { bytes: image.size(), took: since.elapsed() };
        // This very image, whatever its name stands for meanwhile.
        let pulled = reference.with_digest(image.digest);
        let held = self.in_use.find(|| self.store.resolve(&pulled)).map_err(broken)?;
        let held = held.ok_or_else(|| FetchError {
            reason: "ErrImagePull",
            message: format!("image {:?} was removed as soon as it was pulled", request.image),
        })?;
        Ok((self.prepare(&reference, held)?, kind))
    }

    fn prepare(&self, reference: &Reference, held: Held) -> Result<Arc<Prepared>, FetchError> {
        let layers = self.with_room(|| self.store.unpacked_layers(&held.image)).map_err(broken)?;
        prepare(reference, held, layers).map(Arc::new)
    }

    fn options(&self, request: &FetchRequest) -> PullOptions {
        let mut options = PullOptions { pulled_for: PulledFor::Pod, ..self.options.clone() };
        if let Some(credentials) = &request.credentials {
            options.credentials = CredentialSource::DockerConfigJson(credentials.clone());
        }
        options
    }
}

/// A pull goes on as long as somebody waits for it.
struct Waited<'a>(&'a Weak<()>);

impl Progress for Waited<'_> {
    fn event(&self, _: Event<'_>) {}

    fn is_wanted(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// An image that is here, whatever a pod's pull policy is; nothing is asked of a registry.
pub(crate) fn present(
    store: &Store,
    in_use: &Arc<InUse>,
    name: &str,
    credentials: Option<Secret>,
) -> Result<Prepared, FetchError> {
    let reference = parse(name, name)?;
    let credentials = credentials.map_or(CredentialSource::Anonymous, CredentialSource::DockerConfigJson);
    let missing = |what: &str| FetchError {
        reason: "ErrImageNeverPull",
        message: format!("image {name:?} {what}, and ask again"),
    };
    let held = in_use.find(|| store.resolve(&reference)).map_err(broken)?;
    let held = held.ok_or_else(|| missing("is not here: pull or import it"))?;
    if !store.may_use(&reference, &held.image.digest, &credentials).map_err(broken)? {
        return Err(missing(
            "was pulled with credentials that this pod does not have: name them in its imagePullSecrets",
        ));
    }
    let layers = store.unpacked_layers(&held.image).map_err(broken)?;
    prepare(&reference, held, layers)
}

/// The image stays as long as this works on it.
fn prepare(reference: &Reference, held: Held, layers: Vec<PathBuf>) -> Result<Prepared, FetchError> {
    let Held { image, generation, _lease } = held;
    if layers.is_empty() {
        return Err(FetchError {
            reason: "CreateContainerError",
            message: format!(
                "image {} has no files at all; build it with a program inside",
                reference.familiar()
            ),
        });
    }
    let text = |path: &str| {
        rootfs::read_text(&layers, path).map_err(|cause| FetchError {
            reason: "CreateContainerError",
            message: format!("cannot read /{path} of image {}: {cause}", reference.familiar()),
        })
    };
    let (passwd, group) = (text("etc/passwd")?, text("etc/group")?);
    let image_id = format!("{}@{}", reference.repository(), image.digest).into();
    let outline = Outline::of(&image);
    Ok(Prepared {
        digest: image.digest,
        image_id,
        layers,
        config: image.config,
        outline,
        passwd,
        group,
        generation,
    })
}

impl FetchRequest {
    fn reference(&self) -> Result<Reference, FetchError> {
        parse(self.pinned.as_deref().unwrap_or(&self.image), &self.image)
    }
}

fn parse(text: &str, shown: &str) -> Result<Reference, FetchError> {
    Reference::parse(text).map_err(|e| FetchError {
        reason: "InvalidImageName",
        message: format!("Failed to apply default image tag {shown:?}: {e}"),
    })
}

fn broken(error: Error) -> FetchError {
    FetchError { reason: "CreateContainerError", message: error.to_string() }
}
