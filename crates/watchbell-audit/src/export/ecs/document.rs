//! The shape of a document. Names are those of ECS; what is not said is left out.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Debug, Default, Serialize)]
pub(super) struct Document<'a> {
    #[serde(rename = "@timestamp")]
    pub(super) timestamp: String,
    pub(super) ecs: Ecs,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_stream: Option<DataStream<'a>>,
    pub(super) event: Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorField>,
    pub(super) service: Service<'a>,
    pub(super) host: Host<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<Destination<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<UserAgent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<Http<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Url<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<Orchestrator<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<Container<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Rule<'a>>,
    #[serde(skip_serializing_if = "Related::is_empty")]
    pub(super) related: Related<'a>,
    pub(super) watchbell: Watchbell<'a>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Ecs {
    pub(super) version: &'static str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct DataStream<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) dataset: &'static str,
    pub(super) namespace: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) category: Vec<&'static str>,
    #[serde(rename = "type", skip_serializing_if = "Vec::is_empty")]
    pub(super) types: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) module: &'static str,
    pub(super) dataset: &'static str,
    pub(super) id: &'a str,
    pub(super) sequence: u64,
    pub(super) hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<&'a str>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) original: Option<Cow<'a, str>>,
}

#[derive(Debug, Serialize)]
pub(super) struct ErrorField {
    pub(super) message: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Service<'a> {
    pub(super) name: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) version: &'a str,
    pub(super) node: Node<'a>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Host<'a> {
    pub(super) hostname: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct User<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effective: Option<Effective<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Effective<'a> {
    pub(super) name: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Source<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    /// Sent from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Destination<'a> {
    /// The name if it was asked for by name, else the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u64>,
    /// Sent from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Network {
    pub(super) direction: &'static str,
    pub(super) transport: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct UserAgent<'a> {
    pub(super) original: &'a str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Http<'a> {
    pub(super) request: HttpRequest<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<HttpResponse>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct HttpResponse {
    pub(super) status_code: u16,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Url<'a> {
    pub(super) original: &'a str,
    pub(super) path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Orchestrator<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_version: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    pub(super) resource: Resource<'a>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Resource<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Image<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) security_context: Option<SecurityContext>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Image<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<ImageHash<'a>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ImageHash<'a> {
    pub(super) all: Vec<&'a str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct SecurityContext {
    pub(super) privileged: bool,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Process {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Rule<'a> {
    pub(super) ruleset: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
}

/// Who and what the document speaks of, wherever in it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Related<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) user: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hash: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<&'a str>,
}

impl Related<'_> {
    fn is_empty(&self) -> bool {
        self.user.is_empty() && self.ip.is_empty() && self.hash.is_empty() && self.hosts.is_empty()
    }
}

/// What ECS has no field for.
#[derive(Debug, Default, Serialize)]
pub(super) struct Watchbell<'a> {
    pub(super) log: Log<'a>,
    /// `Event` or `RunEvent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subresource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_version: Option<&'a str>,
    /// Groups of the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<&'a str>,
    /// What else is known of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_extra: Option<&'a Map<String, Value>>,
    /// How many like events the entry stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization: Option<Authorization<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Run<'a>>,
    /// Of the entry, as they stand there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<&'a Map<String, Value>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Log<'a> {
    pub(super) epoch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Authorization<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Run<'a> {
    /// The slot of the CronJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slot: Option<&'a str>,
    /// The Job of the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<&'a str>,
    /// Slots that one entry says were skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pods: Option<Pods>,
}

/// Pods that one entry speaks of, counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Pods {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<u64>,
    /// Starts of their containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) succeeded: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<u64>,
    /// Each once, in rising order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) indexes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) exit_codes: Vec<i64>,
}
