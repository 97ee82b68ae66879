//! One request from its head to its answer: authenticate, authorize, then act. In that order, in this one place.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use watchbell_api::node::{Images, LogSource, Sessions};
use watchbell_api::{ApiError, Reason, Uid};
use watchbell_core::request::User;
use watchbell_identity::{Identity, Refusal};

use crate::access::{self, Held, Right};
use crate::answers::Answers;
use crate::authenticate::{Authenticator, Caller, Refused};
use crate::body::{Arriving, Body};
use crate::connection::Peer;
use crate::credential::{Credential, Tenure};
use crate::impersonate;
use crate::intake::{Intake, Intakes};
use crate::limits::{Holder, Shares};
use crate::metrics::Metrics;
use crate::notes::{Answered, ChangeNote, Note, Trail};
use crate::request::{Query, Route, Sub, Verb, method_not_allowed};
use crate::respond::{self, Gzip};
use crate::state::State;
use crate::verbs::stream::{self, Upgrade};
use crate::verbs::{admission, images, keys, list, log, read, review, sandbox, token, watch, write};
use crate::{discovery, documents, probes};

/// How many logs are read at once: each may hold a thread.
const LOGS_MAX: u64 = 256;
/// How many sessions in containers are open at once: each holds a thread that waits for the process's end.
const SESSIONS_MAX: u64 = 128;
/// Of these, how many are kept for the machine's own administrator.
const LOCAL_MIN: u64 = 8;
/// How many pulls and imports run at once.
const IMAGE_TRANSFERS_MAX: usize = 8;

/// What every request needs.
pub(crate) struct App {
    pub(crate) state: State,
    pub(crate) logs: Arc<dyn LogSource>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) authenticator: Authenticator,
    pub(crate) logs_open: Shares,
    pub(crate) sessions_open: Shares,
    pub(crate) intakes: Intakes,
    pub(crate) answers: Answers,
    pub(crate) image_slots: Arc<Semaphore>,
}

/// The head of a request, read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) query: Query,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) content_encoding: Option<String>,
    pub(crate) if_none_match: String,
    pub(crate) user_agent: String,
    pub(crate) gzip: Gzip,
    pub(crate) audit_id: String,
    /// When its head came.
    pub(crate) received: Timestamp,
    /// Set when the writer was asked: it records the request itself.
    pub(crate) recorded: Arc<AtomicBool>,
    /// A random byte: spreads what would otherwise happen at once.
    pub(crate) spread: u8,
    pub(crate) credential: Credential,
    /// For whom what it takes is held.
    pub(crate) holder: Holder,
    pub(crate) intake: Intake,
    pub(crate) held: Held,
    pub(crate) trail: Trail,
    /// What flows goes on as long as this.
    pub(crate) tenure: Tenure,
}

impl Call {
    /// What is noted of a change of what is no object.
    pub(crate) fn change(
        &self,
        resource: &'static str,
        verb: &'static str,
        name: &str,
        head: &Parts,
        source: Option<IpAddr>,
    ) -> ChangeNote {
        ChangeNote {
            trail: self.trail.clone(),
            resource,
            verb,
            name: name.to_owned(),
            uri: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            source,
            audit_id: self.audit_id.clone(),
            received: self.received,
        }
    }
}

/// What is known of a request before it is read.
struct Seen<'a> {
    accept: &'a str,
    audit_id: &'a str,
    received: Timestamp,
    spread: u8,
    recorded: Arc<AtomicBool>,
    /// Written as it becomes known.
    trail: &'a mut Trail,
}

impl App {
    pub(crate) fn new(
        state: State,
        identity: Arc<Identity>,
        authenticator: Authenticator,
        logs: Arc<dyn LogSource>,
        images: Arc<dyn Images>,
        sessions: Arc<dyn Sessions>,
    ) -> App {
        let intakes = Intakes::new();
        state.show_metrics(intakes.metrics());
        App {
            metrics: state.metrics(),
            state,
            logs,
            images,
            sessions,
            identity,
            authenticator,
            logs_open: Shares::new(LOGS_MAX, LOCAL_MIN),
            sessions_open: Shares::new(SESSIONS_MAX, LOCAL_MIN),
            intakes,
            answers: Answers::new(),
            image_slots: Arc::new(Semaphore::new(IMAGE_TRANSFERS_MAX)),
        }
    }

    /// Answers a request, whatever it is.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let received = Timestamp::now();
        let (head, incoming) = request.into_parts();
        let request = Request::from_parts(head, ());
        let mut incoming = Arriving::new(incoming);
        let method = request.method().clone();
        let mut random = [0u8; 16];
        // Without randomness the id is that of nobody; no right depends on it.
        let _ = getrandom::fill(&mut random);
        let audit_id = Uid::from_random(random).to_string();
        let route = Route::parse(request.uri().path());
        let is_probe = matches!(route, Ok(Route::Probe(_)));
        let uri = request.uri().clone();
        let accept = joined(request.headers(), ACCEPT);
        peer.stirs();
        let caller = match is_probe {
            // Everybody may ask how the server is.
            true => Err(Refused { why: Refusal::Nothing, wait: None }),
            false => self.authenticator.authenticate(peer, request.headers(), &self.state).await,
        };
        if let Ok(caller) = &caller {
            peer.is_of(&caller.holder());
        }
        // Who waits to be told to send the body is told the answer instead.
        let waits_to_send = request.headers().contains_key(EXPECT);
        // A place among those of users is for who is one.
        let outstays = !is_probe && caller.is_err() && peer.is_known();
        let mut trail = Trail::default();
        let recorded: Arc<AtomicBool> = Arc::default();
        let seen = Seen {
            accept: &accept,
            audit_id: &audit_id,
            received,
            spread: random[0],
            recorded: recorded.clone(),
            trail: &mut trail,
        };
        let result = Box::pin(self.serve(peer, &caller, request, &mut incoming, route, seen)).await;
        let response = result.unwrap_or_else(|error| {
            if error.reason == Reason::InternalError {
                tracing::error!(audit_id, "{error}");
            }
            respond::refusal(&error, &accept)
        });
        if !is_probe {
            self.metrics.request(&method, response.status());
        }
        if !is_probe && !recorded.load(Ordering::Relaxed) {
            let answered = Answered {
                trail: &trail,
                method: &method,
                path: uri.path(),
                query: uri.query().unwrap_or_default(),
                source: peer.ip(),
                audit_id: &audit_id,
                received,
                status: response.status(),
            };
            self.note(&caller, &answered);
        }
        let response = respond::with_header(response, "audit-id", &audit_id);
        // Nothing is waited for on a stranger's behalf.
        let goes_on = match peer.is_known() && !waits_to_send {
            true => incoming.discard().await,
            false => incoming.is_over(),
        } && !outstays;
        peer.stirs();
        if goes_on { response } else { respond::with_header(response, "connection", "close") }
    }

    /// Leaves a note of a request that the writer did not see.
    fn note(&self, caller: &Result<Caller, Refused>, answered: &Answered<'_>) {
        let note = match caller {
            Err(refused) => {
                self.metrics.stranger(refused.why.word(), answered.status);
                Some(Note::Stranger(answered.source, refused.why.word()))
            }
            Ok(_) => answered.record(Timestamp::now()).map(Note::Request),
        };
        if let Some(note) = note {
            self.state.note(note);
        }
    }

    async fn serve(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        caller: &Result<Caller, Refused>,
        mut request: Request<()>,
        incoming: &mut Arriving,
        route: Result<Route, ApiError>,
        seen: Seen<'_>,
    ) -> Result<Response<Body>, ApiError> {
        if let Ok(Route::Probe(probe)) = route {
            require_get(request.method())?;
            let query = Query::parse(request.uri().query().unwrap_or_default());
            // A query that cannot be read asks for nothing more.
            return Ok(probes::answer(&self.state, probe, &query.unwrap_or_default()));
        }
        // Who asks.
        let caller = caller.as_ref().map_err(|refused| {
            tracing::debug!(peer = ?peer.ip(), "refused: {}", refused.why);
            refused.error()
        })?;
        let (user, holder) = (&caller.user, caller.holder());
        let credential = caller.credential.clone();
        seen.trail.user = user.clone();
        let on = hyper::upgrade::on(&mut request);
        let (head, ()) = request.into_parts();
        // Whether he may, before anything else is said of what he asks for.
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let rights = {
            let none = Query::default();
            access::needed(&head.method, head.uri.path(), &route, query.as_ref().unwrap_or(&none))
        };
        let held = self.authorize(user.clone(), &head.headers, rights, seen.trail)?;
        let (route, query) = (route?, query?);
        let call = Call {
            query,
            accept: seen.accept.into(),
            content_type: joined(&head.headers, CONTENT_TYPE),
            content_encoding: Some(joined(&head.headers, CONTENT_ENCODING))
                .filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity")),
            if_none_match: joined(&head.headers, hyper::header::IF_NONE_MATCH),
            user_agent: joined(&head.headers, hyper::header::USER_AGENT),
            gzip: Gzip::of(&head.headers),
            audit_id: seen.audit_id.into(),
            received: seen.received,
            recorded: seen.recorded,
            spread: seen.spread,
            tenure: Tenure::new(self.state.clone(), self.identity.clone(), credential.clone(), held.clone()),
            held,
            trail: seen.trail.clone(),
            credential,
            intake: self.intakes.of(&holder),
            holder,
        };
        self.dispatch(peer, &call, &head, route, incoming, on).await
    }

    /// Whom the request acts as, and that he may do all that it stands for.
    fn authorize(
        &self,
        user: User,
        headers: &HeaderMap,
        rights: Vec<Right>,
        trail: &mut Trail,
    ) -> Result<Held, ApiError> {
        let snapshot = self.state.snapshot();
        let rbac = snapshot.rbac();
        let (user, impersonation) = match impersonate::wish(headers)?.grant(user.clone())? {
            None => (user, None),
            Some((acting, impersonation)) => {
                if let Err((decision, refusal)) = impersonation.decide(rbac) {
                    trail.decision = Some(decision);
                    return Err(refusal);
                }
                trail.impersonated = Some(acting.clone());
                (acting, Some(impersonation))
            }
        };
        let held = Held { user, impersonation, rights: rights.into() };
        let (decision, judged) = held.decide(rbac);
        trail.decision = decision;
        judged.map(|()| held)
    }

    async fn dispatch(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        call: &Call,
        head: &Parts,
        route: Route,
        incoming: &mut Arriving,
        on: OnUpgrade,
    ) -> Result<Response<Body>, ApiError> {
        match route {
            Route::Object(path) => {
                let verb = Verb::of(&head.method, &path, &call.query)?;
                match verb {
                    Verb::Get if path.sub == Sub::Log => log::log(self, call, &path).await,
                    Verb::Get if path.sub == Sub::Sandbox => sandbox::of_stored(self, call, &path).await,
                    _ if path.sub == Sub::Sandbox => sandbox::of_sent(self, call, &path, incoming).await,
                    Verb::Get if path.sub == Sub::Admission => admission::of_stored(self, call, &path),
                    _ if path.sub == Sub::Admission => admission::of_sent(self, call, &path, incoming).await,
                    _ if matches!(path.sub, Sub::Exec | Sub::Attach) => {
                        let upgrade = Upgrade { method: &head.method, headers: &head.headers, on };
                        stream::open(self, call, peer, verb, &path, upgrade).await
                    }
                    _ if path.sub == Sub::Token => token::issue(self, call, &path, incoming).await,
                    Verb::Get => self.answers.hold(&call.holder, read::get(self, call, &path)?),
                    Verb::List => list::list(self, call, &path).await,
                    Verb::Watch => watch::watch(self, call, &path),
                    Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                        write::write(self, call, verb, &path, incoming).await
                    }
                }
            }
            Route::Review(path) => {
                if head.method != Method::POST {
                    return Err(method_not_allowed());
                }
                self.answers.hold(&call.holder, review::review(self, call, &path, incoming).await?)
            }
            Route::Images(path) => images::serve(self, call, peer.ip(), head, &path, incoming).await,
            Route::SigningKeys(path) => keys::serve(self, call, peer.ip(), head, path, incoming).await,
            other => {
                require_get(&head.method)?;
                self.document(call, other).await
            }
        }
    }

    async fn document(self: &Arc<Self>, call: &Call, route: Route) -> Result<Response<Body>, ApiError> {
        match route {
            Route::Root => documents::root(call),
            Route::Version => documents::version(call),
            Route::Metrics => documents::metrics(self, call).await,
            Route::OpenIdConfiguration => documents::openid_configuration(self, call),
            Route::TokenKeys => documents::token_keys(self, call),
            Route::OpenApiV2 => documents::openapi_v2(call).await,
            Route::OpenApiIndex => documents::openapi_index(call).await,
            Route::OpenApi { group, version } => documents::openapi_v3(call, group, version).await,
            Route::Definitions => discovery::definitions(self, call),
            Route::CoreVersions => discovery::core(call),
            Route::Groups => discovery::groups(call),
            Route::Group(group) => discovery::group(call, &group),
            Route::Resources { group, version } => discovery::resources(call, &group, &version),
            // Answered before.
            Route::Probe(_)
            | Route::Object(_)
            | Route::Review(_)
            | Route::Images(_)
            | Route::SigningKeys(_) => Err(crate::request::no_such_path()),
        }
    }
}

fn require_get(method: &Method) -> Result<(), ApiError> {
    if *method == Method::GET || *method == Method::HEAD { Ok(()) } else { Err(method_not_allowed()) }
}

/// The values of a header as one list; bytes that are no text count as none.
fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(",")
}

/// An answer without a body: what the client has is still right.
pub(crate) fn not_modified() -> Response<Body> {
    let mut response = Response::new(crate::body::whole(""));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}
