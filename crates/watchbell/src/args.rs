//! The command line as a whole. Each command's own arguments stand in its file.

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Format;
use crate::{cmd, datadir, kubeconfig};

/// Secure scheduled array jobs: Kubernetes' batch API and hardened containers on one Linux machine.
///
/// Exit codes: 0 the thing asked for was done; 1 it was not (refused, not there, a Job failed); 2 the command line or a
/// manifest is wrong and nothing was tried; 3 the server cannot be reached. `exec` ends with the exit code of its command.
#[derive(Debug, clap::Parser)]
#[command(name = "watchbell", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// Kubeconfig file with the server and who asks, or a server's socket (DIR/admin.sock); else $KUBECONFIG, the socket or
    /// kubeconfig that a server made in $WATCHBELL_DATA_DIR, ~/.kube/config, or those in the default data directory
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    // Not global: `explain-schedule` asks no server, and its -n is a count.
    #[command(flatten)]
    scope: Scope,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Which server and namespace a command is about.
    pub(crate) fn connect(&self, scope: Option<&Scope>) -> Connect {
        let namespace =
            scope.and_then(|scope| scope.namespace.clone()).or_else(|| self.scope.namespace.clone());
        Connect { kubeconfig: self.kubeconfig.clone(), namespace }
    }
}

/// `-n`
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Scope {
    /// Namespace; else the kubeconfig's, else `default`
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// Which server, and where in it.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    kubeconfig: Option<PathBuf>,
    pub(crate) namespace: Option<String>,
}

impl Connect {
    /// Connects as these arguments say.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        if let Some(namespace) = &self.namespace
            && !is_label(namespace)
        {
            return Err(Failure::Usage(format!(
                "--namespace {namespace:?} is no namespace: a name has lower-case letters, digits and dashes, at most 63"
            )));
        }
        Ok(Client::connect(self.kubeconfig.as_deref(), self.namespace.as_deref())?)
    }

    /// Whether a kubeconfig says which server, before any data directory does.
    pub(crate) fn names_a_server(&self) -> bool {
        self.kubeconfig.is_some()
            || kubeconfig::of_environment().is_some()
            || (datadir::of_environment().is_none() && kubeconfig::of_user().is_some())
    }

    pub(crate) fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }
}

/// RFC 1123 label.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// json, yaml, name, or wide
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Serve(Box<cmd::serve::Args>),
    Run(cmd::run::Args),
    Apply(cmd::apply::Args),
    Get(cmd::get::Args),
    Describe(cmd::describe::Args),
    Logs(cmd::logs::Args),
    Exec(cmd::exec::Args),
    Attach(cmd::attach::Args),
    Trigger(cmd::trigger::Args),
    Suspend(cmd::suspend::Args),
    Resume(cmd::resume::Args),
    Follow(cmd::follow::Args),
    Rerun(cmd::rerun::Args),
    Trace(cmd::trace::Args),
    Delete(cmd::delete::Args),
    Image(cmd::image::Args),
    Array(cmd::array::Args),
    Explain(cmd::explain::Args),
    ExplainSchedule(cmd::explain_schedule::Args),
    Lint(cmd::lint::Args),
    Scan(Box<cmd::scan::Args>),
    Audit(cmd::audit::Args),
    Db(cmd::db::Args),
    Doctor(cmd::doctor::Args),
    User(cmd::user::Args),
    ServiceAccount(cmd::service_account::Args),
    Backup(cmd::backup::Args),
    Restore(cmd::restore::Args),
    Version(cmd::version::Args),
}
