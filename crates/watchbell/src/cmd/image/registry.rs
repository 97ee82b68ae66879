//! How a registry is spoken to, where a command does that itself.

use std::path::PathBuf;

use watchbell_image::{CredentialSource, PlainHttp, PullOptions};

/// `--auth-file`, `--ca`, `--plain-http`
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryAccess {
    /// Docker configuration file with the registry's credentials
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,
    /// PEM file of the authority that alone may vouch for the registry
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The registry has no TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
}

impl RegistryAccess {
    pub(crate) fn options(&self) -> PullOptions {
        let mut options = PullOptions { ca: self.ca.clone(), ..PullOptions::default() };
        if self.plain_http {
            options.plain_http = PlainHttp::Allowed;
        }
        options.credentials = self
            .auth_file
            .clone()
            .map_or_else(CredentialSource::docker_default, CredentialSource::DockerConfig);
        options
    }
}
