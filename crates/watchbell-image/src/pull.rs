//! Pulling an image: its manifest for one platform, then its layers in parallel, then its name.

mod layer;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::artifact::{ArtifactManifest, Attached, Attachment, attached};
use crate::document::{Chosen, descend};
use crate::registry::Registry;
use crate::store::{IndexEntry, Shown};
use crate::{
    CredentialSource, Descriptor, Digest, Error, Event, Image, ImageConfig, Limits, MediaType, NewBlob,
    PlainHttp, Platform, Progress, PulledFor, Reference, Store,
};

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    pub platform: Platform,
    pub credentials: CredentialSource,
    pub pulled_for: PulledFor,
    /// A file of PEM certificates that alone may vouch for the registry; without it the system's do.
    pub ca: Option<PathBuf>,
    pub plain_http: PlainHttp,
    /// Layers at once.
    pub parallel_layers: usize,
    /// How often a layer is tried again without getting on.
    pub attempts: u32,
    /// Between two such tries; doubled each time.
    pub retry_delay: Duration,
    /// How long a registry may send nothing.
    pub stall_timeout: Duration,
    /// What it has to send at least in so long.
    pub stall_bytes_min: u64,
    /// How long all requests together may take. None: as long as the registry sends something.
    pub total_timeout: Option<Duration>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            credentials: CredentialSource::default(),
            pulled_for: PulledFor::default(),
            ca: None,
            plain_http: PlainHttp::default(),
            parallel_layers: 4,
            attempts: 5,
            retry_delay: Duration::from_millis(500),
            stall_timeout: Duration::from_secs(60),
            stall_bytes_min: 60 << 10,
            total_timeout: None,
        }
    }
}

/// Pulls the image that `reference` names at its registry, and names it so in the store. What is there already is not
/// transferred again; what broke off is resumed. On an error the store is as before, but for verified layers and partial
/// downloads that a later pull uses and `prune` takes away.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image, Error> {
    let _in_use = store.in_use()?;
    if options.pulled_for == PulledFor::All
        && reference.digest().is_some()
        && let Some(image) = store.resolve(reference)?
        && image.config.platform().satisfies(&options.platform)
        && image
            .layers
            .iter()
            .map(|l| store.has_blob(&l.digest, l.size))
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .all(|p| *p)
        && store.keep_for_all(reference, &image.digest)?
    {
        return Ok(image);
    }
    let limits = store.limits();
    let registry = Registry::connect(reference, options, limits)?;
    let origin = registry.origin();
    let (top, top_bytes) = registry.document()?;
    let index = (MediaType::parse(&top.media_type) == Some(MediaType::Index))
        .then(|| (top.digest.clone(), top_bytes.clone()));
    let Chosen { manifest, mut descriptor, bytes } =
        descend(top, top_bytes, &options.platform, limits, &origin, &mut |d| registry.listed(d))?;
    let config_bytes = registry.config(&manifest.config)?;
    let config = ImageConfig::parse(&config_bytes, &origin)?;
    if !config.platform().satisfies(&options.platform) {
        return Err(Error::NoPlatform {
            origin,
            wanted: options.platform.to_string(),
            offered: crate::digest::excerpt(&config.platform().to_string()),
        });
    }
    let index_digest = index.as_ref().map(|(digest, _)| digest.clone());
    let image = Image::assemble(descriptor.digest.clone(), index_digest.clone(), &manifest, config, &origin)?;
    progress.event(Event::Resolved {
        reference: Some(reference),
        manifest: &image.digest,
        layers: image.layers.len(),
        bytes: image.size(),
    });
    fetch_layers(store, &registry, &manifest.layers, options, progress)?;
    store.put_verified(&manifest.config.digest, &config_bytes)?;
    store.put_verified(&descriptor.digest, &bytes)?;
    if let Some((digest, bytes)) = &index {
        store.put_verified(digest, bytes)?;
    }
    descriptor.platform = Some(image.config.platform());
    descriptor.annotations.clear();
    let name = match reference.digest() {
        // The tag beside a digest was not asked for at the registry, so nothing is known of it.
        Some(digest) => reference.with_digest(digest.clone()),
        None => reference.clone(),
    };
    let line = IndexEntry { descriptor, reference: Some(name), chosen_from: index_digest };
    match options.pulled_for {
        PulledFor::All => store.record(line)?,
        PulledFor::Pod => store.record_pulled(line, shown(&registry, reference, options)?)?,
    }
    Ok(image)
}

/// What a pod's pull has shown to the registry. The machine's own credentials are for every pod.
fn shown(registry: &Registry<'_>, reference: &Reference, options: &PullOptions) -> Result<Shown, Error> {
    let of_pod = match &options.credentials {
        CredentialSource::DockerConfigJson(_) if registry.is_guarded() => {
            options.credentials.proof(reference)?
        }
        _ => None,
    };
    Ok(of_pod.map_or(Shown::Nothing, Shown::Credentials))
}

/// What `reference` stands for at its registry: the manifest or index, which is not kept.
pub fn remote_document(
    reference: &Reference,
    options: &PullOptions,
    limits: &Limits,
) -> Result<(Descriptor, Vec<u8>), Error> {
    Registry::connect(reference, options, limits)?.document()
}

/// Reads what is attached to the image `subject` in the repository of `reference`: by the referrers API or the tag that
/// stands for it, and by cosign's tags. Content is read of artifacts whose manifest is `wanted`.
///
/// # Errors
/// The registry cannot be asked. That nothing is attached is none, nor that there is more than `limits` allow.
pub fn attached_remote(
    reference: &Reference,
    subject: &Digest,
    options: &PullOptions,
    limits: &Limits,
    wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
) -> Result<Attached, Error> {
    attached(&Registry::connect(reference, options, limits)?, subject, limits, wanted)
}

/// Attaches `blobs` as one artifact to the image that `reference` names at its registry; gives back the digest of the image
/// and that of the artifact. An index is not gone into: what it names is attached to by its digest.
pub fn attach_remote(
    reference: &Reference,
    artifact_type: &str,
    blobs: &[NewBlob],
    options: &PullOptions,
    limits: &Limits,
) -> Result<(Digest, Digest), Error> {
    let registry = Registry::connect(reference, options, limits)?.pushing();
    let (subject, _) = registry.document()?;
    let artifact = registry.attach(&subject, artifact_type, blobs)?;
    Ok((subject.digest, artifact.digest))
}

/// Reads what is attached to `image` at its registry, to its manifest and to the index that it was chosen from, and keeps it
/// beside the image: [`Store::attached`] then answers without the registry.
///
/// # Errors
/// As [`attached_remote`]; what was kept before then stays.
pub fn pull_attached(
    store: &Store,
    reference: &Reference,
    image: &Image,
    options: &PullOptions,
    wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
) -> Result<(), Error> {
    let registry = Registry::connect(reference, options, store.limits())?;
    for subject in image.index_digest.iter().chain([&image.digest]) {
        store.keep_attached(reference, subject, &attached(&registry, subject, store.limits(), wanted)?)?;
    }
    Ok(())
}

/// Fetches the layers, some at once. The first error stops all.
fn fetch_layers(
    store: &Store,
    registry: &Registry<'_>,
    layers: &[Descriptor],
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut distinct: Vec<&Descriptor> = Vec::new();
    for layer in layers {
        if !distinct.iter().any(|d| d.digest == layer.digest) {
            distinct.push(layer);
        }
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..options.parallel_layers.clamp(1, distinct.len().max(1)) {
            scope.spawn(|| {
                while let Some(layer) = distinct.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(e) = layer::fetch(store, registry, layer, options, progress, &stop) {
                        // The first error is the cause; those of the others only say that they were stopped, so it is
                        // noted before they are.
                        let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failed.get_or_insert(e);
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}
