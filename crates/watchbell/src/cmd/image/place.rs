//! Where the images are, and the one way of asking for either place.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use watchbell_api::node::{ImageRequest, Images};
use watchbell_api::{ApiError, Reason};
use watchbell_image::{PullOptions, Reference, Store};

use super::bars::Bars;
use crate::args::Connect;
use crate::client::{Client, encode};
use crate::datadir::{self, ADMIN_KUBECONFIG, Holder};
use crate::exit::Failure;

/// Longer than a spawner without tasks and without a server lives.
const SPAWNER_PATIENCE: Duration = Duration::from_secs(15);
const IMAGES: &str = "/apis/watchbell.dev/v1alpha1/images";

/// `--data-dir`
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreDir {
    /// Directory that holds the images; else the server that --kubeconfig or $KUBECONFIG names is asked, else it is
    /// $WATCHBELL_DATA_DIR, else the server of ~/.kube/config is asked, and without one it is /var/lib/watchbell
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StoreDir {
    pub(super) fn path(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(datadir::default)
    }
}

pub(super) enum Place {
    /// The store, which nobody holds.
    Here(Arc<dyn Images>),
    Server(Client),
}

impl Place {
    /// `pull` is how this command pulls; a server pulls in its own way.
    pub(super) fn find(dir: &StoreDir, connect: &Connect, pull: PullOptions) -> Result<Place, Failure> {
        if dir.data_dir.is_none() && connect.names_a_server() {
            return Ok(Place::Server(Client::connect(connect.kubeconfig(), None)?));
        }
        let dir = &dir.path();
        match datadir::holder(dir)? {
            Holder::Nobody => {
                datadir::require(dir)?;
                let images = watchbell_node::images_offline(dir, pull).map_err(Failure::refused)?;
                Ok(Place::Here(images))
            }
            Holder::Server => {
                let own = dir.join(ADMIN_KUBECONFIG);
                let kubeconfig = connect.kubeconfig().unwrap_or(&own);
                Ok(Place::Server(Client::connect(Some(kubeconfig), None)?))
            }
        }
    }

    /// Asks without showing what goes on meanwhile.
    pub(super) fn ask(&self, request: &ImageRequest) -> Result<Value, Failure> {
        match self {
            Place::Here(images) => images.call(request, &mut io::empty(), &mut |_| {}).map_err(refused),
            Place::Server(client) => {
                let one = |name: &str| {
                    format!("{IMAGES}/{}", name.split('/').map(encode).collect::<Vec<_>>().join("/"))
                };
                let answer = match request {
                    ImageRequest::List => client.get(IMAGES),
                    ImageRequest::Inspect { name } => client.get(&one(name)),
                    ImageRequest::Remove { name } => client.delete(&one(name), &Value::Null),
                    ImageRequest::Prune => client.post(&format!("{IMAGES}:prune"), &Value::Null),
                    ImageRequest::Pull { .. } | ImageRequest::Import { .. } => {
                        return self.fetch(request, &mut io::empty());
                    }
                };
                Ok(answer?)
            }
        }
    }

    /// Asks for something that takes images away. While no server says which of them pods use, none may run.
    pub(super) fn ask_to_remove(&self, dir: &StoreDir, request: &ImageRequest) -> Result<Value, Failure> {
        if let Place::Here(_) = self {
            let dir = &dir.path();
            // A spawner without tasks ends some seconds after its server.
            let deadline = Instant::now() + SPAWNER_PATIENCE;
            while datadir::has_spawner(dir)? {
                if Instant::now() >= deadline {
                    return Err(Failure::Refused(format!(
                        "tasks that an earlier server started on {} still run and may use the image; start the server, \
                         then ask again",
                        dir.display()
                    )));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.ask(request)
    }

    /// Brings images in, with progress bars.
    pub(super) fn fetch(&self, request: &ImageRequest, body: &mut dyn Read) -> Result<Value, Failure> {
        let bars = Bars::new();
        let client = match self {
            Place::Here(images) => {
                return images.call(request, body, &mut |event| bars.show(&event)).map_err(refused);
            }
            Place::Server(client) => client,
        };
        let mut query = String::new();
        let mut add = |key: &str, value: &str| {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{key}={}", encode(value)));
        };
        let verb = match request {
            ImageRequest::Pull { name, platform, plain_http } => {
                add("name", name);
                if let Some(platform) = platform {
                    add("platform", platform);
                }
                if *plain_http {
                    add("plainHTTP", "true");
                }
                "pull"
            }
            ImageRequest::Import { name } => {
                if let Some(name) = name {
                    add("name", name);
                }
                "import"
            }
            other => return self.ask(other),
        };
        for line in client.post_stream(&format!("{IMAGES}:{verb}{query}"), body)? {
            let mut line = line?;
            if let Some(event) = line.get("progress") {
                bars.show(event);
            } else if let Some(result) = line.get_mut("result") {
                return Ok(result.take());
            } else if let Some(error) = line.get("error") {
                let text = error["message"].as_str().unwrap_or("the server gives no reason");
                return Err(Failure::Refused(text.to_owned()));
            }
        }
        Err(Failure::Unreachable("the server ended in the middle of it; ask again when it is back".into()))
    }

    /// Brings in an image that `make` puts into a store: the one here, or a temporary one whose content then goes to the
    /// server.
    pub(super) fn bring(
        &self,
        dir: &StoreDir,
        make: impl FnOnce(&Store, &Bars) -> Result<Vec<Reference>, watchbell_image::Error>,
    ) -> Result<Value, Failure> {
        if let Place::Here(_) = self {
            let store = Store::open(&dir.path()).map_err(Failure::refused)?;
            let names = make(&store, &Bars::new()).map_err(Failure::refused)?;
            let described =
                names.iter().map(|name| self.ask(&ImageRequest::Inspect { name: name.familiar() }));
            return described.collect::<Result<Vec<Value>, Failure>>().map(Value::from);
        }
        let temporary = Temporary::new()?;
        let store = Store::open(&temporary.path).map_err(Failure::refused)?;
        let names = make(&store, &Bars::new()).map_err(Failure::refused)?;
        let path = temporary.path.join("archive.tar");
        let unwritable = |e: io::Error| Failure::Refused(format!("cannot write {}: {e}", path.display()));
        let mut archive =
            File::options().read(true).write(true).create_new(true).open(&path).map_err(unwritable)?;
        watchbell_image::export(&store, &names, io::BufWriter::new(&archive)).map_err(Failure::refused)?;
        archive.rewind().map_err(unwritable)?;
        self.fetch(&ImageRequest::Import { name: None }, &mut archive)
    }
}

fn refused(error: ApiError) -> Failure {
    match error.reason {
        Reason::BadRequest => Failure::Usage(error.message),
        _ => Failure::Refused(error.message),
    }
}

/// A private directory that goes when this does.
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
}

impl Temporary {
    pub(crate) fn new() -> Result<Temporary, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut random = [0u8; 8];
        getrandom::fill(&mut random)
            .map_err(|e| Failure::Refused(format!("cannot draw random bytes: {e}")))?;
        let path = std::env::temp_dir().join(format!("watchbell-{:016x}", u64::from_be_bytes(random)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Failure::Refused(format!("cannot create {}: {e}; set TMPDIR", path.display())))?;
        Ok(Temporary { path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            crate::output::note(&format!("warning: {} stays behind: {error}", self.path.display()));
        }
    }
}
