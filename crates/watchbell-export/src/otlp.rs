//! Receivers of OTLP/HTTP.

use ureq::http::header;
use watchbell_audit::export::bulk::HttpAnswer;
use watchbell_audit::export::ecs::Context;
use watchbell_audit::export::otlp;
use watchbell_audit::export::shipper::{Answer, Item};

use crate::elasticsearch::gzip;
use crate::http::{Client, Sent};
use crate::options::{OptionError, OtlpOptions};

/// A receiver.
#[derive(Debug)]
pub(crate) struct Otlp {
    client: Client,
}

impl Otlp {
    pub(crate) fn open(options: &OtlpOptions, program: &str) -> Result<Otlp, OptionError> {
        Ok(Otlp { client: Client::new(&options.endpoint, program)? })
    }

    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.client.base(), otlp::PATH)
    }

    pub(crate) fn send(&self, context: &Context, items: &[Item]) -> Answer {
        let body = match gzip(&otlp::body(context, items)) {
            Ok(body) => body,
            Err(error) => return Answer::Hold { reason: format!("cannot compress a batch: {error}") },
        };
        let headers = [(header::CONTENT_TYPE, otlp::CONTENT_TYPE), (header::CONTENT_ENCODING, "gzip")];
        match self.client.call(&Sent { method: "POST", path: otlp::PATH, headers: &headers, body: &body }) {
            Err(answer) => answer,
            Ok(received) => {
                let answer = HttpAnswer {
                    status: received.status,
                    retry_after: received.retry_after,
                    body: &received.body,
                };
                otlp::judge(items, answer)
            }
        }
    }
}
