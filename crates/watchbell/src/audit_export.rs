//! `serve`: where the audit trail goes, beside the journal.

use std::path::PathBuf;
use std::time::Duration;

use watchbell_audit::export::ecs::{DEFAULT_INDEX, Original};
use watchbell_audit::export::rotation::Limits;
use watchbell_export::{ElasticsearchOptions, Endpoint, FileOptions, Options, OtlpOptions, Template};

use crate::bounds::Bytes;
use crate::duration;
use crate::exit::Failure;

/// Each target is fed by itself; one that is down holds up nobody.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where the audit trail goes, beside the journal (default: nowhere)")]
pub(crate) struct AuditExport {
    /// A file of lines in the Elastic Common Schema, for Filebeat, Logstash or `tail -F`; full files are renamed
    #[arg(long, value_name = "PATH")]
    audit_export_file: Option<PathBuf>,
    /// The file is renamed before it would grow above this
    #[arg(long, value_name = "SIZE", default_value = "100Mi", requires = "audit_export_file")]
    audit_export_file_max_size: Bytes,
    /// Renamed files that are kept
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "audit_export_file")]
    audit_export_file_max_files: u32,
    /// The file is renamed with the next line once it was begun so long ago, such as 24h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse, requires = "audit_export_file")]
    audit_export_file_max_age: Duration,
    /// Elasticsearch or OpenSearch, by its address: https://HOST:9200
    #[arg(long, value_name = "URL")]
    audit_export_elasticsearch: Option<String>,
    /// The data stream there
    #[arg(long, value_name = "NAME", default_value = DEFAULT_INDEX, requires = "audit_export_elasticsearch")]
    audit_export_index: String,
    /// Installs the index template when the server has none (`watchbell audit export template` prints it)
    #[arg(long, requires = "audit_export_elasticsearch")]
    audit_export_install_template: bool,
    /// Certificates (PEM) that vouch for that server; else the authorities that Mozilla trusts
    #[arg(long, value_name = "FILE", requires = "audit_export_elasticsearch")]
    audit_export_elasticsearch_ca: Option<PathBuf>,
    /// One line: `api-key KEY`, `basic USER:PASSWORD` or `bearer TOKEN`; read anew for each request
    #[arg(long, value_name = "FILE", requires = "audit_export_elasticsearch")]
    audit_export_elasticsearch_credentials: Option<PathBuf>,
    /// A receiver of OTLP/HTTP logs, by its address without /v1/logs: https://HOST:4318
    #[arg(long, value_name = "URL")]
    audit_export_otlp: Option<String>,
    /// Certificates (PEM) that vouch for the receiver
    #[arg(long, value_name = "FILE", requires = "audit_export_otlp")]
    audit_export_otlp_ca: Option<PathBuf>,
    /// As for Elasticsearch
    #[arg(long, value_name = "FILE", requires = "audit_export_otlp")]
    audit_export_otlp_credentials: Option<PathBuf>,
    /// Each document carries its entry byte by byte too (event.original), so that event.hash can be checked by itself
    #[arg(long)]
    audit_export_original: bool,
}

/// A file smaller than this would hold a line or two.
const FILE_SIZE_MIN: u64 = 64 << 10;
/// Below this every file would hold a line or two as well.
const FILE_AGE_MIN: Duration = Duration::from_secs(60);

impl AuditExport {
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let Bytes(bytes) = self.audit_export_file_max_size;
        if bytes < FILE_SIZE_MIN {
            return Err(Failure::Usage(format!(
                "--audit-export-file-max-size {bytes} is less than {FILE_SIZE_MIN} bytes"
            )));
        }
        if self.audit_export_file_max_age < FILE_AGE_MIN {
            return Err(Failure::Usage("--audit-export-file-max-age is less than a minute".into()));
        }
        let limits = Limits {
            bytes,
            count: self.audit_export_file_max_files as usize,
            age: self.audit_export_file_max_age,
        };
        let endpoint = |url: &String, ca: &Option<PathBuf>, credentials: &Option<PathBuf>| Endpoint {
            url: url.clone(),
            ca: ca.clone(),
            credentials: credentials.clone(),
        };
        let elasticsearch = self.audit_export_elasticsearch.as_ref().map(|url| ElasticsearchOptions {
            endpoint: endpoint(
                url,
                &self.audit_export_elasticsearch_ca,
                &self.audit_export_elasticsearch_credentials,
            ),
            index: self.audit_export_index.clone(),
            template: if self.audit_export_install_template { Template::Install } else { Template::Leave },
        });
        let otlp = self.audit_export_otlp.as_ref().map(|url| OtlpOptions {
            endpoint: endpoint(url, &self.audit_export_otlp_ca, &self.audit_export_otlp_credentials),
        });
        let options = Options {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            original: if self.audit_export_original { Original::Keep } else { Original::Omit },
            file: self.audit_export_file.clone().map(|path| FileOptions { path, limits }),
            elasticsearch,
            otlp,
        };
        options.check().map_err(|error| Failure::Usage(format!("--audit-export: {error}")))?;
        Ok(options)
    }
}
