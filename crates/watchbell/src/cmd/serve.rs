use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use watchbell_core::world::Config;
use watchbell_export::Exports;
use watchbell_identity::Identity;
use watchbell_node::{Node, NodeOptions, Offered};
use watchbell_sandbox::{Ceiling, DeviceCeiling, OciRuntime};
use watchbell_server::{ConnectionLimits, Ended, Listener, Server, ServerOptions, State};
use watchbell_store::{OpenReport, Store};

use crate::array_keys::ArrayKeys;
use crate::audit_export::AuditExport;
use crate::bounds::Bounds;
use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::issuers::{self, Issuers};
use crate::log;
use crate::machine;
use crate::token_issuer::TokenIssuerArgs;

/// How long requests may take to end when the server does.
const GRACE: Duration = Duration::from_secs(5);
/// A command that looks whether a server runs holds the lock for an instant.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Serves Kubernetes' batch API and runs the pods, in the foreground
///
/// It writes DIR/admin.kubeconfig and is ready when /readyz answers. SIGTERM and SIGINT end it; tasks run on, watched by
/// the spawner, and are taken over by the next server on the same directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data_dir: DataDir,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6443")]
    listen: String,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,watchbell_node=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// An OCI runtime that RuntimeClasses may name as their handler, such as runc=/usr/sbin/runc; several are parted by commas
    #[arg(long, value_name = "NAME=PATH", value_delimiter = ',')]
    runtime: Vec<OciRuntime>,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    array_keys: ArrayKeys,
    #[command(flatten)]
    audit_export: AuditExport,
    #[command(flatten)]
    issuers: Issuers,
    #[command(flatten)]
    token_issuer: TokenIssuerArgs,
}

/// What pods may ask for beyond the strict. The spawner keeps to it whatever the server says.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What namespaces that permit it may ask for (default: nothing)")]
struct Allow {
    /// Privileged containers, which have the machine's users
    #[arg(long)]
    allow_privileged: bool,
    /// Pods with the machine's users (hostUsers)
    #[arg(long)]
    allow_host_users: bool,
    /// Pods with the machine's network
    #[arg(long)]
    allow_host_network: bool,
    /// Pods with the machine's processes
    #[arg(long)]
    allow_host_pid: bool,
    /// Pods with the machine's shared memory and message queues
    #[arg(long)]
    allow_host_ipc: bool,
    /// Containers without the system call filter or with an unmasked /proc
    #[arg(long)]
    allow_unconfined: bool,
    /// Containers whose seccomp profile (a file in DIR/seccomp) allows more than the default filter, down to a floor
    #[arg(long)]
    allow_wider_seccomp: bool,
    /// Directories of the machine below which hostPath volumes may lie
    #[arg(long, value_name = "DIR")]
    allow_host_path: Vec<PathBuf>,
    /// Directories of CDI specs, which describe devices that pods may ask for; a later one wins. Only root may be able to
    /// write there
    #[arg(long, value_name = "DIR", default_values = watchbell_cdi::DIRS)]
    cdi_dir: Vec<PathBuf>,
    /// Programs that CDI specs may name as hooks; they run as root on the machine
    #[arg(long, value_name = "PATH")]
    cdi_allow_hook: Vec<PathBuf>,
}

impl Allow {
    fn ceiling(&self) -> Result<Ceiling, Failure> {
        let paths = [
            ("--allow-host-path", &self.allow_host_path),
            ("--cdi-dir", &self.cdi_dir),
            ("--cdi-allow-hook", &self.cdi_allow_hook),
        ];
        for (flag, paths) in paths {
            if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
                return Err(Failure::Usage(format!("{flag} {} is not absolute", path.display())));
            }
        }
        Ok(Ceiling {
            privileged: self.allow_privileged,
            // Privilege is the greater of the two, and its pods have no users of their own.
            host_users: self.allow_host_users || self.allow_privileged,
            host_network: self.allow_host_network,
            host_pid: self.allow_host_pid,
            host_ipc: self.allow_host_ipc,
            unconfined: self.allow_unconfined,
            // No filter at all is more.
            wider_seccomp: self.allow_wider_seccomp || self.allow_unconfined,
            host_paths: self.allow_host_path.clone(),
            devices: DeviceCeiling { cdi_dirs: self.cdi_dir.clone(), cdi_hooks: self.cdi_allow_hook.clone() },
            ..Ceiling::default()
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Before there is anything to keep.
    watchbell_sandbox::forbid_dumps()
        .map_err(|e| Failure::Refused(format!("cannot keep core files from being made: {e}")))?;
    log_to_stderr(&args.log)?;
    let listen = address(&args.listen)?;
    let mut ceiling = args.allow.ceiling()?;
    ceiling.runtimes = runtimes(&args.runtime)?;
    let issuers = args.issuers.configs()?;
    let token_issuer = args.token_issuer.issuer(&issuers)?;
    let kept = args.bounds.kept()?;
    let exported = args.audit_export.options()?;
    let (store, report) = open_store(&args.data_dir.data_dir)?;
    // Absolute from here on: helpers of the sandbox get it and may run elsewhere.
    let dir = std::fs::canonicalize(&args.data_dir.data_dir)
        .map_err(|e| Failure::Refused(format!("cannot use {}: {e}", args.data_dir.data_dir.display())))?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let identity = Identity::open(&dir, listen, &hostname).map_err(Failure::refused)?;
    let identity = Arc::new(identity.with_issuer(token_issuer));
    if identity.issuer().keys_at().is_none() {
        tracing::warn!(
            issuer = identity.issuer().url,
            "the issuer of tokens is no https:// URL: others cannot discover it"
        );
    }
    let offered = watchbell_node::capacity(&dir, &kept).map_err(Failure::refused)?;
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|e| Failure::Refused(format!("cannot draw random bytes: {e}")))?;
    let Offered { capacity, total } = offered;
    let config = Config {
        machine: machine::describe(listen, &total),
        capacity: capacity.clone(),
        devices: watchbell_node::devices(&ceiling.devices),
        hostname: hostname.clone(),
        ca_pem: identity.ca_pem().to_owned(),
        seed,
    };
    let mut options = NodeOptions::new(&dir, watchbell_core::world::NODE_NAME, capacity);
    options.spawner.ceiling = ceiling;
    options.head_key = Some(super::array::head_key(store.array_key().map_err(Failure::refused)?));
    args.bounds.apply(&kept, &total, &mut options)?;
    args.array_keys.apply(total.memory_bytes, &mut options)?;

    let exports = Exports::start(&store, &dir, &exported).map_err(Failure::refused)?;
    let export_metrics = exports.metrics();
    // A start in vain begins nothing: it is tried again and again.
    let listener = Listener::bind(listen).map_err(Failure::refused)?;
    let (commands, follow) = channel();
    let (state, writer) =
        State::start(store, report.last_resource_version, config, commands).map_err(Failure::refused)?;
    state.show_metrics(move || export_metrics.render(jiff::Timestamp::now()));
    let node = Node::start(
        options,
        state.lookup(),
        state.tokens(identity.clone()),
        state.snapshots(),
        follow,
        state.reports(),
    )
    .map_err(Failure::refused)?;
    state.show_metrics(node.metrics());
    let connections = ConnectionLimits::of(open_files_max());
    let options = ServerOptions { listener, identity, issuers: issuers::start(issuers)?, connections };
    let server = Server::start(options, state.clone(), node.logs(), node.images(), node.sessions())
        .map_err(Failure::refused)?;
    tracing::info!(
        address = %server.local_addr(),
        kubeconfig = %server.admin_kubeconfig().display(),
        "serving"
    );

    let ended = server.wait();
    tracing::info!("ending; tasks run on");
    server.shutdown(GRACE);
    state.end();
    // The writer holds the sender of the node's commands: the node ends after the last of them.
    writer.join();
    node.join();
    // The journal is closed with the writer: what it holds is sent as far as the targets take it now.
    exports.join(GRACE);
    match ended.map_err(Failure::refused)? {
        Ended::Signal => Ok(()),
        Ended::Journal(cause) => Err(Failure::Refused(format!(
            "the journal failed: {cause}; start the server again, it goes on from what is durable"
        ))),
    }
}

/// How many files the server may open, which are as many as it is allowed: a login session's first limit is a thousand, for
/// programs that use select(2).
fn open_files_max() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let now = if raised.is_ok() { files.maximum } else { files.current };
    now.unwrap_or(u64::MAX)
}

/// Each name once, each program root's alone: it will run as root.
fn runtimes(given: &[OciRuntime]) -> Result<Vec<OciRuntime>, Failure> {
    for (n, runtime) in given.iter().enumerate() {
        if given[..n].iter().any(|other| other.name == runtime.name) {
            return Err(Failure::Usage(format!("--runtime names {:?} twice", runtime.name)));
        }
        runtime.check().map_err(Failure::refused)?;
    }
    Ok(given.to_vec())
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::try_new(filter).map_err(|e| Failure::Usage(format!("--log {filter:?}: {e}")))?;
    log::to_stderr(filter, std::io::stderr().is_terminal())
        .map_err(|e| Failure::Refused(format!("cannot log: {e}")))
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let wrong = |cause: String| Failure::Usage(format!("--listen {text:?} is not HOST:PORT: {cause}"));
    let mut found = text.to_socket_addrs().map_err(|e| wrong(e.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address".into()))
}

fn open_store(dir: &Path) -> Result<(Store, OpenReport), Failure> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Store::open(dir) {
            Err(watchbell_store::Error::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(Failure::refused(error)),
            Ok((store, report)) => {
                if let Some(from) = report.migrated_from {
                    tracing::info!(from, to = watchbell_store::FORMAT_VERSION, "migrated the journal");
                }
                return Ok((store, report));
            }
        }
    }
}
