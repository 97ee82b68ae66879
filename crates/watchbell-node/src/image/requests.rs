//! What a client asks of the image store while the server holds it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use watchbell_api::node::{ImageRequest, Images};
use watchbell_api::{ApiError, Reason};
use watchbell_image::{
    Error, Event, Image, PlainHttp, Platform, Progress, PruneReport, PullOptions, Reference, Silent, Store,
    import_stream, pull,
};

use super::in_use::{InUse, Incomplete};

pub(crate) struct NodeImages {
    /// Told the names of images that came in.
    pub(crate) came: Box<dyn Fn(Vec<String>) + Send + Sync>,
    pub(crate) store: Store,
    pub(crate) options: PullOptions,
    pub(crate) in_use: Arc<InUse>,
}

impl Images for NodeImages {
    fn call(
        &self,
        request: &ImageRequest,
        body: &mut dyn io::Read,
        progress: &mut dyn FnMut(Value),
    ) -> Result<Value, ApiError> {
        let answer = self.answer(request, body, progress)?;
        let came = match request {
            ImageRequest::Pull { .. } => std::slice::from_ref(&answer),
            ImageRequest::Import { .. } => answer.as_array().map_or(&[][..], Vec::as_slice),
            _ => return Ok(answer),
        };
        (self.came)(came.iter().filter_map(|image| image["name"].as_str()).map(str::to_owned).collect());
        Ok(answer)
    }
}

impl NodeImages {
    fn answer(
        &self,
        request: &ImageRequest,
        body: &mut dyn io::Read,
        progress: &mut dyn FnMut(Value),
    ) -> Result<Value, ApiError> {
        match request {
            ImageRequest::List => self.list(),
            ImageRequest::Inspect { name } => self.inspect(&parse(name)?),
            ImageRequest::Remove { name } => self.remove(&parse(name)?),
            ImageRequest::Prune => {
                let removed = self.in_use.removing(|keep| self.store.prune(keep)).map_err(too_early)?;
                removed.map(|r| pruned(&r)).map_err(refusal)
            }
            ImageRequest::Pull { name, platform, plain_http } => {
                self.pull(&parse(name)?, platform.as_deref(), *plain_http, progress)
            }
            ImageRequest::Import { name } => {
                let name = name.as_deref().map(parse).transpose()?;
                // The archive arrives here while it is read, which is progress enough for whoever sends it.
                import_stream(&self.store, body, name.as_ref(), &Silent)
                    .map(|images| {
                        images
                            .iter()
                            .map(|i| described(i.reference.as_ref(), &i.image))
                            .collect::<Vec<_>>()
                            .into()
                    })
                    .map_err(refusal)
            }
        }
    }

    fn list(&self) -> Result<Value, ApiError> {
        let images = self.store.list().map_err(refusal)?;
        let rows = images.into_iter().map(|image| {
            json!({
                "names": image.references.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "digest": image.digest.as_str(),
                "imageID": image.config_digest.as_str(),
                "platform": image.platform.to_string(),
                "size": image.size,
                "created": image.created,
            })
        });
        Ok(rows.collect::<Vec<_>>().into())
    }

    fn inspect(&self, name: &Reference) -> Result<Value, ApiError> {
        let image = self.store.resolve(name).map_err(refusal)?.ok_or_else(|| missing(name))?;
        let config = &image.config;
        let mut value = described(Some(name), &image);
        value["config"] = json!({
            "user": config.user, "env": config.env, "entrypoint": config.entrypoint, "cmd": config.cmd,
            "workingDir": config.working_dir, "stopSignal": config.stop_signal, "labels": config.labels,
            "volumes": config.volumes, "exposedPorts": config.exposed_ports,
        });
        value["history"] = json!(config.history);
        let records = self.store.unpack_records(&image).map_err(refusal)?;
        let layers = image.layers.iter().zip(records).map(|(layer, record)| {
            json!({
                "digest": layer.digest.as_str(), "diffID": layer.diff_id.as_str(), "size": layer.size,
                "unpacked": record,
            })
        });
        value["layers"] = layers.collect::<Vec<_>>().into();
        Ok(value)
    }

    fn remove(&self, name: &Reference) -> Result<Value, ApiError> {
        let removed = self.in_use.removing(|keep| {
            let image = self.store.resolve(name).map_err(refusal)?.ok_or_else(|| missing(name))?;
            if keep(&image.digest) {
                return Err(ApiError::new(
                    Reason::Conflict,
                    format!(
                        "image {:?} ({}) is used by a pod that runs; let it end or delete it first",
                        name.familiar(),
                        image.digest
                    ),
                )
                .about("images", "", &name.familiar()));
            }
            self.store.remove(name, keep).map(|r| pruned(&r)).map_err(refusal)
        });
        removed.map_err(too_early)?
    }

    fn pull(
        &self,
        name: &Reference,
        platform: Option<&str>,
        plain_http: bool,
        progress: &mut dyn FnMut(Value),
    ) -> Result<Value, ApiError> {
        let mut options = self.options.clone();
        if let Some(platform) = platform {
            options.platform = Platform::parse(platform).map_err(refusal)?;
        }
        if plain_http {
            options.plain_http = PlainHttp::Allowed;
        }
        with_progress(progress, |sink| pull(&self.store, name, &options, sink))
            .map(|image| described(Some(name), &image))
            .map_err(refusal)
    }
}

/// Progress comes from several threads; the client's end of it is one.
fn with_progress<T: Send>(tell: &mut dyn FnMut(Value), work: impl FnOnce(&dyn Progress) -> T + Send) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    let sink = Sink(Mutex::new(send));
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(&sink));
        for event in receive {
            tell(event);
        }
        match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

struct Sink(Mutex<std::sync::mpsc::Sender<Value>>);

impl Progress for Sink {
    fn event(&self, event: Event<'_>) {
        // The receiver lives as long as the work.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(event.to_json());
    }
}

fn described(name: Option<&Reference>, image: &Image) -> Value {
    json!({
        "name": name.map(Reference::familiar),
        "digest": image.digest.as_str(),
        "imageID": image.config_digest.as_str(),
        "platform": image.config.platform().to_string(),
        "size": image.size(),
        "created": image.config.created,
    })
}

fn pruned(report: &PruneReport) -> Value {
    json!({
        "images": report.images.iter().map(watchbell_image::Digest::as_str).collect::<Vec<_>>(),
        "blobs": report.blobs, "bytes": report.bytes, "layers": report.layers, "deferred": report.deferred,
    })
}

fn too_early(_: Incomplete) -> ApiError {
    ApiError::new(
        Reason::ServiceUnavailable,
        "the server has just begun and does not know yet which images run; try again in a moment",
    )
}

fn parse(name: &str) -> Result<Reference, ApiError> {
    Reference::parse(name).map_err(refusal)
}

fn missing(name: &Reference) -> ApiError {
    let name = name.familiar();
    ApiError::new(Reason::NotFound, format!("no image {name:?} in the store; pull or import it first"))
        .about("images", "", &name)
}

/// Whose fault an error is.
fn refusal(error: Error) -> ApiError {
    let reason = match &error {
        Error::Reference { .. } | Error::Platform { .. } | Error::Digest { .. } | Error::Import { .. } => {
            Reason::BadRequest
        }
        Error::NoSuchImage { .. } => Reason::NotFound,
        Error::DigestMismatch { .. }
        | Error::SizeMismatch { .. }
        | Error::Document { .. }
        | Error::Limit { .. }
        | Error::NoPlatform { .. }
        | Error::Layer { .. } => Reason::Invalid,
        Error::Unreachable { .. } | Error::Refused { .. } | Error::Protocol { .. } => {
            Reason::ServiceUnavailable
        }
        Error::NoRoom { .. } => Reason::InsufficientStorage,
        full if full.is_disk_full() => Reason::InsufficientStorage,
        _ => Reason::InternalError,
    };
    ApiError::new(reason, error.to_string())
}
