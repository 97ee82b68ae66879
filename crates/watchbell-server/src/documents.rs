//! What is no resource: version, OpenAPI documents, metrics.

mod swagger_wire;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use watchbell_api::{ApiError, openapi};

use crate::app::{App, Call, not_modified};
use crate::blocking::blocking;
use crate::body::{Body, whole};
use crate::discovery;
use crate::request::accept::Answer;
use crate::request::no_such_path;
use crate::respond::{self, Gzip};
use crate::verbs::asked::{Asked, REVIEWS};

/// The version of Kubernetes' API that is spoken.
const MINOR: &str = "36";

/// `/version`: the API is Kubernetes' 1.36, the program is this one.
pub(crate) fn version(call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::document(&call.accept);
    let document = json!({
        "major": "1", "minor": MINOR, "emulationMajor": "1", "emulationMinor": MINOR,
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": concat!("v1.36.0+watchbell-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    });
    respond::document(StatusCode::OK, answer, &document, call.gzip)
}

/// In Go's words, as clients compare it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/`: where to go from here.
pub(crate) fn root(call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::document(&call.accept);
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, version) in discovery::group_versions().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]);
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    respond::document(StatusCode::OK, answer, &json!({"paths": paths}), call.gzip)
}

/// `/.well-known/openid-configuration` (OpenID Connect Discovery): what others need to verify tokens of service accounts.
pub(crate) fn openid_configuration(app: &App, call: &Call) -> Result<Response<Body>, ApiError> {
    let issuer = app.identity.issuer();
    // As in Kubernetes: an issuer that is none of OpenID's is not described.
    let keys = issuer.keys_at().ok_or_else(no_such_path)?;
    let document = json!({
        "issuer": issuer.url, "jwks_uri": keys, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    });
    Ok(of_issuer("application/json", &document, call))
}

/// `/openid/v1/jwks`: the keys.
pub(crate) fn token_keys(app: &App, call: &Call) -> Result<Response<Body>, ApiError> {
    Ok(of_issuer("application/jwk-set+json", &app.identity.tokens().jwks(), call))
}

fn of_issuer(content_type: &'static str, document: &Value, call: &Call) -> Response<Body> {
    let content = Bytes::from(document.to_string());
    let mut response = respond::bytes(StatusCode::OK, content_type, content, call.gzip);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

pub(crate) async fn metrics(app: &Arc<App>, call: &Call) -> Result<Response<Body>, ApiError> {
    let shared = app.clone();
    // Counting the objects of a large state takes a moment.
    let text = blocking(move || shared.metrics.render(&shared.state.snapshot())).await?;
    Ok(respond::bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        Bytes::from(text),
        call.gzip,
    ))
}

/// A document that never changes while the program runs: made once, compressed once.
#[derive(Debug)]
struct Fixed {
    plain: Bytes,
    gzip: Bytes,
    hash: String,
}

impl Fixed {
    fn new(document: &Value) -> Fixed {
        Fixed::of(document.to_string().into_bytes())
    }

    fn of(content: Vec<u8>) -> Fixed {
        let hash = respond::digest(&content);
        Fixed { gzip: Bytes::from(respond::compress(&content)), plain: Bytes::from(content), hash }
    }

    fn respond(&self, call: &Call, content_type: &'static str, cache: &'static str) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        if call.if_none_match.split(',').any(|known| known.trim().trim_start_matches("W/") == tag) {
            return not_modified();
        }
        let mut response = Response::new(whole(match call.gzip {
            Gzip::Taken => self.gzip.clone(),
            Gzip::No => self.plain.clone(),
        }));
        let headers = response.headers_mut();
        if call.gzip == Gzip::Taken {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}

type Shelf = Mutex<HashMap<(String, String), Arc<Fixed>>>;

static V3: LazyLock<Shelf> = LazyLock::new(Shelf::default);
static V2: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(&openapi::v2(&asked())));
static V2_WIRE: LazyLock<Fixed> = LazyLock::new(|| Fixed::of(swagger_wire::encode(&openapi::v2(&asked()))));
/// The media type of the Swagger document in protobuf, and the form in which older clients write it.
const SWAGGER_WIRE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const SWAGGER_WIRE_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// What is asked and never stored, as the documents tell it.
fn asked() -> Vec<openapi::Asked> {
    REVIEWS.iter().map(Asked::described).collect()
}

/// The document of a group and version, made at the first request for it.
fn v3(group: &str, version: &str) -> Option<Arc<Fixed>> {
    let mut shelf = V3.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (group.to_owned(), version.to_owned());
    if let Some(fixed) = shelf.get(&key) {
        return Some(fixed.clone());
    }
    let fixed = Arc::new(Fixed::new(&openapi::v3(group, version, &asked())?));
    shelf.insert(key, fixed.clone());
    Some(fixed)
}

/// `/openapi/v3`
pub(crate) async fn openapi_index(call: &Call) -> Result<Response<Body>, ApiError> {
    let answer = Answer::document(&call.accept);
    let paths = blocking(|| {
        let mut paths = Map::new();
        for (group, version) in discovery::group_versions() {
            let Some(fixed) = v3(group, version) else { continue };
            let path =
                if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let url = format!("/openapi/v3/{path}?hash={}", fixed.hash);
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
        paths
    })
    .await?;
    respond::document(StatusCode::OK, answer, &json!({"paths": paths}), call.gzip)
}

/// `/openapi/v3/apis/batch/v1`
pub(crate) async fn openapi_v3(
    call: &Call,
    group: String,
    version: String,
) -> Result<Response<Body>, ApiError> {
    Answer::text(&call.accept)?;
    let fixed = blocking(move || v3(&group, &version)).await?.ok_or_else(no_such_path)?;
    // A client that names the hash it learned from the index may keep the document for good.
    let cache = if call.query.get("hash") == Some(&fixed.hash) {
        "public, immutable, max-age=31536000"
    } else {
        "no-cache, private"
    };
    Ok(fixed.respond(call, "application/json", cache))
}

/// `/openapi/v2`: JSON, or protobuf for clients that name only that.
pub(crate) async fn openapi_v2(call: &Call) -> Result<Response<Body>, ApiError> {
    let named = |media: &str| {
        call.accept.split(',').any(|clause| clause.split(';').next().map(str::trim) == Some(media))
    };
    let (document, media): (&'static LazyLock<Fixed>, _) = match Answer::text(&call.accept) {
        Ok(_) => (&V2, "application/json"),
        Err(_) if named(SWAGGER_WIRE) || named(SWAGGER_WIRE_OLD) => (&V2_WIRE, SWAGGER_WIRE),
        Err(error) => return Err(error),
    };
    let document = blocking(|| LazyLock::force(document)).await?;
    Ok(document.respond(call, media, "no-cache, private"))
}
