//! Kubernetes' REST protocol as the command line speaks it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response, request};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};
use watchbell_api::Resource;

use crate::kubeconfig::{self, Connection, Proof, Way};
use crate::session::Door;
use crate::socket::{Nowhere, SocketConnector};

/// The largest answer that is read into memory.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What a client that prints columns accepts.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The server answered with a `Status`.
    #[error("{message}")]
    Refused { code: u16, reason: String, message: String },
    #[error("{0}")]
    Config(String),
    #[error(
        "cannot reach the server at {server}: {cause}; is `watchbell serve` running, and does this kubeconfig belong to it?"
    )]
    Unreachable { server: String, cause: String },
    #[error("the server's answer cannot be read: {0}")]
    Broken(String),
}

impl ClientError {
    /// Whether the same question may be answered in a moment: the server is away, restarts, or forgot the version that a
    /// watch was to go on from.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Broken(_) => true,
            ClientError::Refused { code, .. } => matches!(code, 410 | 429 | 503 | 504),
            ClientError::Config(_) => false,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused { code: 404, .. })
    }
}

/// A connection to one server as one user.
pub(crate) struct Client {
    agent: Agent,
    connection: Connection,
    pub(crate) namespace: String,
}

/// Where an object lies.
pub(crate) fn path(resource: Resource, namespace: &str, name: &str) -> String {
    let info = resource.info();
    let root = if info.group.is_empty() {
        format!("/api/{}", info.version)
    } else {
        format!("/apis/{}/{}", info.group, info.version)
    };
    let mut path = if resource.is_namespaced() && !namespace.is_empty() {
        format!("{root}/namespaces/{}/{}", encode(namespace), info.plural)
    } else {
        format!("{root}/{}", info.plural)
    };
    if !name.is_empty() {
        path.push('/');
        path.push_str(&encode(name));
    }
    path
}

impl Client {
    /// Connects with a kubeconfig, found as kubectl finds it.
    pub(crate) fn connect(kubeconfig: Option<&Path>, namespace: Option<&str>) -> Result<Client, ClientError> {
        let connection = kubeconfig::connection(&kubeconfig::find(kubeconfig)?)?;
        Client::new(connection, namespace)
    }

    fn new(connection: Connection, namespace: Option<&str>) -> Result<Client, ClientError> {
        let wrong = |what: &str, e: ureq::Error| ClientError::Config(format!("the kubeconfig's {what}: {e}"));
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .max_redirects(0)
            .proxy(None);
        let agent = match &connection.way {
            Way::Socket(path) => {
                let connector = SocketConnector { path: path.clone() };
                Agent::with_parts(builder.build(), connector, Nowhere)
            }
            Way::Tls { ca_pem, proof } => {
                let authority = Certificate::from_pem(ca_pem).map_err(|e| wrong("authority", e))?;
                let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[authority]));
                let tls = match proof {
                    Proof::Token(_) => tls,
                    Proof::Certificate { certificate_pem, key_pem } => {
                        let certificate = Certificate::from_pem(certificate_pem)
                            .map_err(|e| wrong("client certificate", e))?;
                        let key = PrivateKey::from_pem(key_pem).map_err(|e| wrong("client key", e))?;
                        tls.client_cert(Some(ClientCert::new_with_certs(&[certificate], key)))
                    }
                };
                builder.tls_config(tls.build()).build().new_agent()
            }
        };
        Ok(Client { agent, namespace: namespace.unwrap_or(&connection.namespace).to_owned(), connection })
    }

    /// Where sessions in containers are asked for.
    pub(crate) fn door(&self) -> Result<Door, ClientError> {
        Door::of(&self.connection)
    }

    fn unreachable(&self, error: ureq::Error) -> ClientError {
        ClientError::Unreachable { server: self.connection.server.clone(), cause: error.to_string() }
    }

    /// The head of a request to a path.
    fn request(&self, method: &str, path: &str, accept: &str) -> request::Builder {
        let url = format!("{}{path}", self.connection.server);
        let builder = Request::builder().method(method).uri(url).header("Accept", accept);
        match &self.connection.way {
            Way::Tls { proof: Proof::Token(token), .. } => {
                builder.header("Authorization", format!("Bearer {token}"))
            }
            Way::Tls { proof: Proof::Certificate { .. }, .. } | Way::Socket(_) => builder,
        }
    }

    fn run(&self, request: request::Builder, body: SendBody<'_>) -> Result<Response<Body>, ClientError> {
        let request = request.body(body).map_err(|e| ClientError::Config(e.to_string()))?;
        self.agent.run(request).map_err(|e| self.unreachable(e))
    }

    /// How the server is reached.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A GET whose answer is one JSON document.
    pub(crate) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.get_as(path, "application/json")
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Result<Value, ClientError> {
        json(self.run(self.request("GET", path, accept), SendBody::none())?)
    }

    /// Sends a body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: SendBody<'_>,
    ) -> Result<Value, ClientError> {
        let request = self.request(method, path, "application/json").header("Content-Type", content_type);
        let answer = self.run(request, body)?;
        warn(&answer);
        json(answer)
    }

    /// A POST of bytes whose answer flows: one JSON document a line.
    pub(crate) fn post_stream(
        &self,
        path: &str,
        mut body: &mut dyn Read,
    ) -> Result<impl Iterator<Item = Result<Value, ClientError>> + use<>, ClientError> {
        let request = self
            .request("POST", path, "application/x-ndjson,application/json")
            .header("Content-Type", "application/octet-stream");
        let answer = self.run(request, SendBody::from_reader(&mut body))?;
        if !answer.status().is_success() {
            return Err(refusal(answer));
        }
        Ok(documents(answer.into_body().into_reader()))
    }

    /// Posts an object; null: nothing.
    pub(crate) fn post(&self, path: &str, object: &Value) -> Result<Value, ClientError> {
        self.send("POST", path, "application/json", body(object))
    }

    pub(crate) fn patch(&self, path: &str, content_type: &str, patch: &Value) -> Result<Value, ClientError> {
        let bytes = patch.to_string().into_bytes();
        self.send("PATCH", path, content_type, SendBody::from_owned_reader(std::io::Cursor::new(bytes)))
    }

    pub(crate) fn delete(&self, path: &str, options: &Value) -> Result<Value, ClientError> {
        self.send("DELETE", path, "application/json", body(options))
    }

    /// A GET whose answer flows: logs, watches.
    pub(crate) fn stream(&self, path: &str, accept: &str) -> Result<Box<dyn Read + Send>, ClientError> {
        let answer = self.run(self.request("GET", path, accept), SendBody::none())?;
        if !answer.status().is_success() {
            return Err(refusal(answer));
        }
        Ok(Box::new(answer.into_body().into_reader()))
    }

    /// The events of a watch, one JSON document a line.
    pub(crate) fn watch(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Iterator<Item = Result<Value, ClientError>> + use<>, ClientError> {
        Ok(documents(self.stream(path, accept)?))
    }
}

/// One JSON document a line.
fn documents(flow: impl Read) -> impl Iterator<Item = Result<Value, ClientError>> {
    BufReader::new(flow).lines().map(|line| {
        let line = line.map_err(|e| ClientError::Broken(e.to_string()))?;
        serde_json::from_str(&line).map_err(|e| ClientError::Broken(e.to_string()))
    })
}

/// The error of an answer that has an error's status.
fn refusal(answer: Response<Body>) -> ClientError {
    match json(answer) {
        Err(error) => error,
        Ok(_) => ClientError::Broken("it has an error's status and no error".into()),
    }
}

/// A value as a body; null is none at all.
fn body(value: &Value) -> SendBody<'static> {
    match value {
        Value::Null => SendBody::none(),
        value => SendBody::from_owned_reader(std::io::Cursor::new(value.to_string().into_bytes())),
    }
}

/// The server's warnings, as kubectl prints them.
fn warn(answer: &Response<Body>) {
    for value in answer.headers().get_all("warning") {
        let text = value.to_str().unwrap_or_default();
        // `299 - "text"` (RFC 7234, section 5.5).
        let text = text.splitn(3, ' ').nth(2).unwrap_or(text).trim_matches('"').replace("\\\"", "\"");
        crate::output::note(&format!("Warning: {text}"));
    }
}

fn json(mut answer: Response<Body>) -> Result<Value, ClientError> {
    let code = answer.status().as_u16();
    let body = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()
        .map_err(|e| ClientError::Broken(e.to_string()))?;
    let value: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).map_err(|e| ClientError::Broken(e.to_string()))?
    };
    if (200..300).contains(&code) {
        return Ok(value);
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let message =
        if text("message").is_empty() { format!("the server answered {code}") } else { text("message") };
    Err(ClientError::Refused { code, reason: text("reason"), message })
}

/// A value as part of a query string or path.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use watchbell_api::Resource;

    use super::path;

    #[test]
    fn no_name_leads_to_another_path() {
        let check = |resource, namespace: &str, name: &str, expect: &str| {
            assert_eq!(path(resource, namespace, name), expect);
        };
        check(Resource::Job, "ml", "a", "/apis/batch/v1/namespaces/ml/jobs/a");
        check(Resource::Job, "", "", "/apis/batch/v1/jobs");
        check(Resource::Namespace, "ml", "x", "/api/v1/namespaces/x");
        check(Resource::Pod, "a/b", "../x?y=1#z", "/api/v1/namespaces/a%2Fb/pods/..%2Fx%3Fy%3D1%23z");
    }
}
