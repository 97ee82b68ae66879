//! Answers: objects, refusals, warnings.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, VARY,
    WARNING,
};
use hyper::{Response, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use watchbell_api::{ApiError, decode, protobuf};

use crate::body::{Body, whole};
use crate::request::accept::{Answer, Encoding};

/// Answers above this are compressed for clients that take it; below, it costs more than it saves.
pub(crate) const GZIP_FROM_BYTES: usize = 128 << 10;
/// All warnings of one answer together, as Kubernetes bounds them.
const WARNING_BYTES_MAX: usize = 4096;

/// Whether the client takes gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gzip {
    No,
    Taken,
}

impl Gzip {
    pub(crate) fn of(headers: &HeaderMap) -> Gzip {
        let taken =
            headers.get_all(hyper::header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).any(|v| {
                v.split(',').any(|coding| {
                    let mut parts = coding.split(';').map(str::trim);
                    let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
                    is_gzip && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
                })
            });
        if taken { Gzip::Taken } else { Gzip::No }
    }
}

/// An answer with a body that is known whole.
pub(crate) fn bytes(code: StatusCode, content_type: &str, content: Bytes, gzip: Gzip) -> Response<Body> {
    let mut response = if gzip == Gzip::Taken && content.len() >= GZIP_FROM_BYTES {
        zipped(content_type, whole(compress(&content)))
    } else {
        stream(content_type, whole(content))
    };
    *response.status_mut() = code;
    response
}

pub(crate) fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// The name of a content: clients that have it already are told so.
pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// An answer whose body flows, or lies ready.
pub(crate) fn stream(content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// The same of a body that is compressed.
pub(crate) fn zipped(content_type: &str, body: Body) -> Response<Body> {
    let mut response = stream(content_type, body);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// One object or document, in the form asked for.
pub(crate) fn document(
    code: StatusCode,
    answer: Answer,
    value: &Value,
    gzip: Gzip,
) -> Result<Response<Body>, ApiError> {
    let content = match answer.encoding {
        Encoding::Json => {
            let mut text = value.to_string();
            text.push('\n');
            text.into_bytes()
        }
        Encoding::Yaml => decode::to_yaml(value)
            .map_err(|e| ApiError::internal(format!("cannot make YAML: {e}")))?
            .into_bytes(),
        Encoding::Protobuf => protobuf::encode(value)?,
    };
    Ok(bytes(code, &answer.content_type(), Bytes::from(content), gzip))
}

/// A refusal, as the `Status` object that clients read. It comes in JSON where the client takes no form that it has.
pub(crate) fn refusal(error: &ApiError, accept: &str) -> Response<Body> {
    let code = StatusCode::from_u16(error.reason.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let status = error.to_status();
    let answer = Answer::negotiate(accept, &[]).unwrap_or(Answer::JSON);
    let mut response = document(code, answer, &status, Gzip::No)
        .unwrap_or_else(|_| bytes(code, "application/json", Bytes::from(status.to_string()), Gzip::No));
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

pub(crate) fn text(code: StatusCode, content: impl Into<Bytes>) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", content.into(), Gzip::No)
}

/// Adds a header of our own making.
pub(crate) fn with_header(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

/// `Warning: 299 - "…"` for each, as RFC 7234 quotes a text. What would not fit is left out.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut left = WARNING_BYTES_MAX;
    for warning in warnings {
        let value = format!("299 - \"{}\"", quoted(warning));
        let Some(rest) = left.checked_sub(value.len()) else { return };
        left = rest;
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Control characters do not reach a header (or the terminal of who reads it).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings_of(texts: &[&str]) -> Vec<String> {
        let mut response = Response::new(whole(""));
        warn(&mut response, &texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        response
            .headers()
            .get_all(WARNING)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    }

    #[test]
    fn warnings_cannot_leave_their_quotes() {
        assert_eq!(warnings_of(&["unknown field \"spec.x\""]), [r#"299 - "unknown field \"spec.x\"""#]);
        assert_eq!(warnings_of(&["a\r\nSet-Cookie: b\\"]), [r#"299 - "a  Set-Cookie: b\\""#]);
        assert_eq!(warnings_of(&["größe"]), ["299 - \"größe\""]);
    }

    #[test]
    fn warnings_are_bounded() {
        let long = "x".repeat(3000);
        assert_eq!(warnings_of(&[&long, &long, "never reached"]).len(), 1);
    }

    #[test]
    fn gzip_is_taken_only_when_offered() {
        for (offer, expect) in [
            ("gzip", Gzip::Taken),
            ("deflate, GZIP;q=0.5", Gzip::Taken),
            ("gzip;q=0", Gzip::No),
            ("identity", Gzip::No),
            ("x-gzip", Gzip::No),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(hyper::header::ACCEPT_ENCODING, HeaderValue::from_static(offer));
            assert_eq!(Gzip::of(&headers), expect, "{offer}");
        }
    }
}
