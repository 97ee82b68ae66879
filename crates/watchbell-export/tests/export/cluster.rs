//! What Elasticsearch does with `_bulk`, as far as a sender sees it: the checks of its parser, a data stream that takes
//! `create` alone, its answers, and faults by script.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::stand::{Reply, Request, Stand};

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// 429 for the whole request, with Retry-After.
    Busy,
    /// 503 from a proxy, in HTML.
    Unavailable,
    /// Every third document is answered 429.
    SomeBusy,
    /// Every fourth document is answered 500.
    SomeBroken,
    /// All is done, and the connection is cut before the answer.
    CutBeforeAnswer,
    /// All is done, and the connection is cut within the answer.
    CutWithinAnswer,
    /// All is done, and the answer ends early although its length says that it does not.
    TruncatedAnswer,
    /// All is done, and the answer comes in small pieces.
    SlowAnswer,
    /// The answer is of another request.
    ForeignAnswer,
    /// The connection is cut before anything is done.
    CutBeforeWork,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) documents: BTreeMap<String, Value>,
    /// How often a document was sent that was there.
    pub(crate) conflicts: u64,
    pub(crate) requests: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) faults: VecDeque<Fault>,
    /// Ids that end so are refused for their mapping.
    pub(crate) refused: BTreeSet<String>,
    pub(crate) documents_max: usize,
    pub(crate) templates: BTreeMap<String, Value>,
    pub(crate) distribution: Option<&'static str>,
    /// The `Authorization` that is asked for.
    pub(crate) authorization: Option<String>,
    /// The largest batch.
    pub(crate) largest: usize,
}

/// A cluster with one data stream.
pub(crate) struct Cluster {
    pub(crate) stand: Stand,
    pub(crate) inner: Arc<Mutex<Inner>>,
}

pub(crate) const INDEX: &str = "logs-watchbell.audit-default";

impl Cluster {
    pub(crate) fn start(faults: &[Fault]) -> Cluster {
        Cluster::start_killing(faults, |_, _| {})
    }

    /// `between` is called within each request: with its number, before and after the work is done.
    pub(crate) fn start_killing(faults: &[Fault], between: impl Fn(u64, Moment) + Send + 'static) -> Cluster {
        let inner =
            Inner { faults: faults.iter().copied().collect(), documents_max: usize::MAX, ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let seen = inner.clone();
        let stand = Stand::start(move |request| {
            let number = {
                let mut inner = seen.lock().unwrap();
                inner.requests += 1;
                inner.requests
            };
            between(number, Moment::BeforeWork);
            let reply = seen.lock().unwrap().answer(request);
            between(number, Moment::AfterWork);
            reply
        });
        Cluster { stand, inner }
    }

    pub(crate) fn url(&self) -> String {
        self.stand.url()
    }

    /// Nothing that was sent was against the protocol.
    pub(crate) fn check(&self) {
        let inner = self.inner.lock().unwrap();
        assert!(inner.violations.is_empty(), "{:?}", inner.violations);
    }

    /// Exactly the entries before `total` are there, each once under its own name with its own content.
    pub(crate) fn check_all(&self, total: u64, but: &[u64]) {
        self.check();
        let inner = self.inner.lock().unwrap();
        let mut indexes: Vec<u64> =
            inner.documents.values().map(|d| d["event"]["sequence"].as_u64().unwrap()).collect();
        indexes.sort_unstable();
        crate::journal::check_indexes(&indexes, (0..total).filter(|n| !but.contains(n)).collect());
        for (id, document) in &inner.documents {
            assert_eq!(document["event"]["id"], **id);
            let index = document["event"]["sequence"].as_u64().unwrap();
            let expect = crate::journal::body(index);
            assert_eq!(document["orchestrator"]["resource"]["name"], expect["objectRef"]["name"]);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforeWork,
    AfterWork,
}

impl Inner {
    fn violation(&mut self, what: String) -> Reply {
        self.violations.push(what.clone());
        let error = json!({"type": "illegal_argument_exception", "reason": what});
        Reply::json(400, &json!({"error": error, "status": 400}))
    }

    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(expect) = &self.authorization
            && request.headers.get("authorization") != Some(expect)
        {
            return Reply::json(401, &json!({"error": {"type": "security_exception"}, "status": 401}));
        }
        match (&*request.method, &*request.path) {
            ("GET", "/") => {
                let mut version = json!({"number": "9.4.0"});
                if let Some(distribution) = self.distribution {
                    version["distribution"] = distribution.into();
                }
                Reply::json(200, &json!({"version": version}))
            }
            (method, path) if path.starts_with("/_index_template/") => self.template(method, request),
            ("POST", path) if path.split('?').next() == Some(&format!("/{INDEX}/_bulk")) => {
                self.bulk(request)
            }
            other => self.violation(format!("nobody asks for {other:?}")),
        }
    }

    fn template(&mut self, method: &str, request: &Request) -> Reply {
        let name = request.path.trim_start_matches("/_index_template/").to_owned();
        match (method, self.templates.get(&name)) {
            ("GET", Some(found)) => {
                Reply::json(200, &json!({"index_templates": [{"name": name, "index_template": found}]}))
            }
            ("GET", None) => Reply::json(404, &json!({"error": {"type": "resource_not_found_exception"}})),
            ("PUT", _) => {
                if request.headers.get("content-type").map(String::as_str) != Some("application/json") {
                    return self.violation("a template is JSON".into());
                }
                match serde_json::from_slice(&request.body) {
                    Ok(template) => drop(self.templates.insert(name, template)),
                    Err(error) => return self.violation(error.to_string()),
                }
                Reply::json(200, &json!({"acknowledged": true}))
            }
            _ => self.violation(format!("{method} of a template")),
        }
    }

    fn bulk(&mut self, request: &Request) -> Reply {
        // The product's own words for a wrong content type are 406.
        match request.headers.get("content-type").map(String::as_str) {
            Some("application/x-ndjson") => {}
            other => return self.violation(format!("Content-Type header [{other:?}] is not supported")),
        }
        if request.headers.get("content-encoding").map(String::as_str) != Some("gzip") {
            return self.violation("the body is not compressed".into());
        }
        let (_, filter) = request.path.split_once("?filter_path=").unwrap_or_default();
        if filter
            != "errors,items.*._id,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store"
        {
            return self.violation(format!("filter_path={filter}"));
        }
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Busy => {
                let body = json!({"error": {"type": "es_rejected_execution_exception"}, "status": 429});
                let headers = vec![("content-type", "application/json".into()), ("retry-after", "0".into())];
                return Reply::Whole { status: 429, headers, body: body.to_string().into_bytes() };
            }
            Fault::Unavailable => {
                let headers = vec![("content-type", "text/html".to_owned())];
                return Reply::Whole { status: 503, headers, body: b"<html>no backend</html>".to_vec() };
            }
            Fault::CutBeforeWork => return Reply::Cut,
            _ => {}
        }
        let pairs = match pairs(&request.body) {
            Ok(pairs) => pairs,
            Err(what) => return self.violation(what),
        };
        if pairs.len() > self.documents_max {
            return Reply::json(413, &json!({"status": 413}));
        }
        self.largest = self.largest.max(pairs.len());
        let mut items = Vec::new();
        for (n, (id, document)) in pairs.into_iter().enumerate() {
            let status = self.create(&id, document, fault, n);
            let mut item = json!({"_id": id, "status": status});
            if status >= 300 {
                let kind = match status {
                    400 => "document_parsing_exception",
                    409 => "version_conflict_engine_exception",
                    429 => "es_rejected_execution_exception",
                    _ => "exception",
                };
                item["error"] = json!({"type": kind, "reason": format!("[{id}]: no")});
            }
            items.push(json!({"create": item}));
        }
        let errors = items.iter().any(|item| item["create"]["status"].as_u64().unwrap() >= 300);
        let body = json!({"errors": errors, "items": items}).to_string().into_bytes();
        let headers = vec![("content-type", "application/json".to_owned())];
        match fault {
            Fault::CutBeforeAnswer => Reply::Cut,
            Fault::CutWithinAnswer => Reply::CutAfter { bytes: body.len() / 2, body },
            Fault::TruncatedAnswer => {
                Reply::Whole { status: 200, headers, body: body[..body.len() / 2].to_vec() }
            }
            Fault::SlowAnswer => Reply::Pieces { status: 200, body },
            Fault::ForeignAnswer => {
                let text = String::from_utf8(body).unwrap().replace("\"_id\":\"", "\"_id\":\"x");
                Reply::Whole { status: 200, headers, body: text.into_bytes() }
            }
            _ => Reply::Whole { status: 200, headers, body },
        }
    }

    fn create(&mut self, id: &str, document: Value, fault: Fault, n: usize) -> u16 {
        if self.refused.iter().any(|end| id.ends_with(end.as_str())) {
            return 400;
        }
        if fault == Fault::SomeBusy && n.is_multiple_of(3) {
            return 429;
        }
        if fault == Fault::SomeBroken && n.is_multiple_of(4) {
            return 500;
        }
        if let Some(there) = self.documents.get(id) {
            assert_eq!(*there, document, "one name, two documents");
            self.conflicts += 1;
            return 409;
        }
        self.documents.insert(id.to_owned(), document);
        201
    }
}

/// The pairs of lines of a body, as strictly as the product reads them.
fn pairs(body: &[u8]) -> Result<Vec<(String, Value)>, String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    if !text.ends_with('\n') {
        return Err("The bulk request must be terminated by a newline [\\n]".into());
    }
    let lines: Vec<&str> = text[..text.len() - 1].split('\n').collect();
    if !lines.len().is_multiple_of(2) {
        return Err(format!("{} lines are no pairs", lines.len()));
    }
    let mut pairs = Vec::new();
    for pair in lines.chunks(2) {
        let action: Value =
            serde_json::from_str(pair[0]).map_err(|e| format!("Malformed action line: {e}"))?;
        let map = action.as_object().filter(|map| map.len() == 1).ok_or("one action a line")?;
        let create = map
            .get("create")
            .ok_or("only write ops with an op_type of create are allowed in data streams")?;
        let fields = create.as_object().ok_or("an action has an object")?;
        if !fields.keys().eq(["_id"]) {
            return Err(format!("unknown parameters in {create}"));
        }
        let id = fields["_id"].as_str().filter(|id| !id.is_empty() && id.len() <= 512).ok_or("no _id")?;
        let document: Value = serde_json::from_str(pair[1]).map_err(|e| format!("a document: {e}"))?;
        let time = document["@timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if time.is_none() {
            return Err("data stream timestamp field [@timestamp] is missing".into());
        }
        pairs.push((id.to_owned(), document));
    }
    Ok(pairs)
}

#[test]
fn the_stand_in_refuses_what_the_product_refuses() {
    let good = "{\"create\":{\"_id\":\"a\"}}\n{\"@timestamp\":\"2026-11-26T06:51:55Z\"}\n";
    assert!(pairs(good.as_bytes()).is_ok());
    for wrong in [
        &good[..good.len() - 1],
        &good.replace("create", "index"),
        &good.replace("\n{", "\n\n{"),
        &good.replace("_id", "id"),
        &good.replace("@timestamp", "time"),
        &good.replace("{\"@", "\"@"),
        &good[..24],
        "",
    ] {
        assert!(pairs(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
