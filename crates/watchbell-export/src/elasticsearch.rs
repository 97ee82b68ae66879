//! Elasticsearch and OpenSearch.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use ureq::http::header;
use watchbell_audit::export::bulk::{self, HttpAnswer};
use watchbell_audit::export::shipper::{Answer, Item};
use watchbell_audit::export::template::{self, Engine, TEMPLATE_NAME};

use crate::http::{Client, Sent};
use crate::options::{ElasticsearchOptions, OptionError, Template};

/// A cluster and the data stream in it.
#[derive(Debug)]
pub(crate) struct Elasticsearch {
    client: Client,
    index: String,
    template: Template,
}

impl Elasticsearch {
    pub(crate) fn open(options: &ElasticsearchOptions, program: &str) -> Result<Elasticsearch, OptionError> {
        options.check()?;
        Ok(Elasticsearch {
            client: Client::new(&options.endpoint, program)?,
            index: options.index.clone(),
            template: options.template,
        })
    }

    /// What the target is: another address or another data stream is another one.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.client.base(), self.index)
    }

    pub(crate) fn send(&mut self, items: &[Item]) -> Answer {
        if let Err(answer) = self.install_template() {
            return answer;
        }
        let mut body = Vec::with_capacity(items.iter().map(|item| item.document.len() + 96).sum());
        for item in items {
            bulk::push(item, &mut body);
        }
        let body = match gzip(&body) {
            Ok(body) => body,
            Err(error) => return Answer::Hold { reason: format!("cannot compress a batch: {error}") },
        };
        let headers = [(header::CONTENT_TYPE, bulk::CONTENT_TYPE), (header::CONTENT_ENCODING, "gzip")];
        let path = bulk::path(&self.index);
        match self.client.call(&Sent { method: "POST", path: &path, headers: &headers, body: &body }) {
            Err(answer) => answer,
            Ok(received) => {
                let answer = HttpAnswer {
                    status: received.status,
                    retry_after: received.retry_after,
                    body: &received.body,
                };
                bulk::judge(items, answer)
            }
        }
    }

    /// Once a start, where it was asked for: puts the index template there if there is none. One that is there is left as
    /// it is, because somebody may have changed it for a reason.
    fn install_template(&mut self) -> Result<(), Answer> {
        if self.template == Template::Leave {
            return Ok(());
        }
        let path = format!("/_index_template/{TEMPLATE_NAME}");
        let get = |path| Sent { method: "GET", path, headers: &[], body: b"" };
        let found = self.client.call(&get(&path))?;
        let refused = |what: &str, status: u16, body: &[u8]| {
            let answer = HttpAnswer { status, retry_after: None, body };
            match bulk::judge(&[], answer) {
                Answer::Retry { after, reason } => {
                    Answer::Retry { after, reason: format!("{what}: {reason}") }
                }
                Answer::Hold { reason } => Answer::Hold { reason: format!("{what}: {reason}") },
                _ => Answer::Hold { reason: format!("{what}: the server answered {status}") },
            }
        };
        match found.status {
            200 => tracing::info!(
                template = TEMPLATE_NAME,
                "the index template is there already and stays as it is"
            ),
            404 => {
                let about = self.client.call(&get("/"))?;
                let about: Value = serde_json::from_slice(&about.body).unwrap_or_default();
                let engine = match about["version"]["distribution"].as_str() {
                    Some("opensearch") => Engine::OpenSearch,
                    _ => Engine::Elasticsearch,
                };
                let body = template::template(engine).to_string();
                let headers = [(header::CONTENT_TYPE, "application/json")];
                let put = Sent { method: "PUT", path: &path, headers: &headers, body: body.as_bytes() };
                let put = self.client.call(&put)?;
                if put.status != 200 {
                    return Err(refused("cannot install the index template", put.status, &put.body));
                }
                tracing::info!(template = TEMPLATE_NAME, "installed the index template");
            }
            status => return Err(refused("cannot look for the index template", status, &found.body)),
        }
        self.template = Template::Leave;
        Ok(())
    }
}

/// Compresses a body. Level 1: a batch of like lines shrinks to a tenth by it, and the CPU has other work.
pub(crate) fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 6), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
