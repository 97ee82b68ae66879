//! The Elastic Common Schema: one document an entry.
//!
//! ```text
//!  Event     (audit.k8s.io/v1)         ── request.rs ─┐
//!  RunEvent, LogEvent, ServerEvent     ── run.rs ─────┼──▶ Document ──▶ one line of JSON
//!  anything else                       ── unreadable ─┘    (its shape: document.rs; its types: fields.rs)
//! ```
//!
//! Fields of ours are below `watchbell.`; every other one is a published field of ECS in the version that `ecs.version`
//! names, with the type it has there (`tests/ecs.rs` looks each up in the published list).

mod connection;
mod document;
mod request;
mod run;

use jiff::Timestamp;

use super::entry::{Body, Entry, hex};
use document::{DataStream, Document, Ecs, ErrorField, Event, Host, Node, Service};

/// The version of the schema whose fields are used.
pub const ECS_VERSION: &str = "9.4.0";
/// What the documents are called, by the naming scheme of data streams: `logs-DATASET-NAMESPACE`.
pub const DATASET: &str = "watchbell.audit";
/// The data stream that is written to when no other is named.
pub const DEFAULT_INDEX: &str = "logs-watchbell.audit-default";

/// Whether a document carries its entry byte by byte beside the fields made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Original {
    #[default]
    Omit,
    Keep,
}

/// What all documents of one server have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The machine's name.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// `namespace` of `logs-watchbell.audit-NAMESPACE`; `None` when the target has another name.
    pub data_stream_namespace: Option<String>,
    pub original: Original,
}

impl Context {
    /// For a target of this name.
    pub fn new(hostname: &str, version: &str, index: &str, original: Original) -> Context {
        let namespace = index.strip_prefix("logs-").and_then(|rest| rest.strip_prefix(DATASET));
        let namespace = namespace.and_then(|rest| rest.strip_prefix('-')).map(str::to_owned);
        Context {
            hostname: hostname.into(),
            version: version.into(),
            data_stream_namespace: namespace,
            original,
        }
    }
}

/// What an exporter wants to know of a document beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub message: String,
    pub level: Level,
    /// [`Kind::Request`] names its kind of event, and so on.
    pub kind: Kind,
}

/// How much attention an entry deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    /// Something was refused, or failed.
    Warning,
    /// The entry itself cannot be read.
    Error,
}

/// Which kind of entry a document was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Run,
    /// Of the log itself or of the server.
    Server,
    /// None of these: it is exported as it is, and says why it could not be read.
    Unreadable,
}

/// Appends the document of `entry` to `to`: one line of JSON without its end of line.
pub fn write(context: &Context, entry: &Entry, to: &mut Vec<u8>) -> Summary {
    let hash = hex(&crate::leaf_hash(&entry.body));
    let id = entry.id();
    let epoch = hex(&entry.epoch);
    let parsed = serde_json::from_slice::<Body<'_>>(&entry.body);
    let mut document = skeleton(context, entry, &id, &epoch, &hash);
    let kind = match &parsed {
        Ok(body) if body.kind == "Event" => {
            request::fill(&mut document, body);
            Kind::Request
        }
        Ok(body) if body.kind == "RunEvent" => {
            run::fill(&mut document, body);
            Kind::Run
        }
        Ok(body) if body.kind == "LogEvent" || body.kind == "ServerEvent" => {
            run::fill(&mut document, body);
            Kind::Server
        }
        Ok(body) => {
            unreadable(&mut document, entry, format!("an entry of the unknown kind {:?}", body.kind));
            Kind::Unreadable
        }
        Err(cause) => {
            unreadable(&mut document, entry, format!("an entry that cannot be read: {cause}"));
            Kind::Unreadable
        }
    };
    let level = match (kind, document.event.outcome) {
        (Kind::Unreadable, _) => Level::Error,
        (_, Some("failure")) => Level::Warning,
        _ => Level::Info,
    };
    if serde_json::to_writer(&mut *to, &document).is_err() {
        // Maps have text keys and a vector takes all bytes: this cannot fail.
        tracing::error!(id, "a document of the audit export cannot be written");
    }
    Summary { message: document.message, level, kind }
}

fn skeleton<'a>(
    context: &'a Context,
    entry: &'a Entry,
    id: &'a str,
    epoch: &'a str,
    hash: &'a str,
) -> Document<'a> {
    let original = match context.original {
        Original::Omit => None,
        Original::Keep => Some(String::from_utf8_lossy(&entry.body)),
    };
    Document {
        timestamp: time(entry.at_unix_nanos),
        ecs: Ecs { version: ECS_VERSION },
        data_stream: context.data_stream_namespace.as_deref().map(|namespace| DataStream {
            kind: "logs",
            dataset: DATASET,
            namespace,
        }),
        event: Event {
            kind: "event",
            module: "watchbell",
            dataset: DATASET,
            id,
            sequence: entry.index,
            hash,
            original,
            ..Event::default()
        },
        service: Service {
            name: "watchbell",
            kind: "watchbell",
            version: &context.version,
            node: Node { name: &context.hostname },
        },
        host: Host { hostname: &context.hostname },
        watchbell: document::Watchbell {
            log: document::Log {
                epoch,
                origin: entry.log.as_ref().map(|place| &*place.origin),
                index: entry.log.as_ref().map(|place| place.index),
            },
            ..Default::default()
        },
        ..Document::default()
    }
}

fn unreadable(document: &mut Document<'_>, entry: &Entry, cause: String) {
    document.event.kind = "pipeline_error";
    document.event.original = Some(String::from_utf8_lossy(&entry.body).into_owned().into());
    document.error = Some(ErrorField { message: cause.clone() });
    document.message = cause;
}

/// RFC 3339 in UTC. A time that no calendar has is the epoch's; the entry itself is not lost for it.
fn time(at_unix_nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(at_unix_nanos)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
