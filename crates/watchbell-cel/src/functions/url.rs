//! Addresses of resources, as Go's `url.ParseRequestURI` reads them: absolute, or a path from the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cost, Row, global, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome, text_key};
use crate::value::{Key, Map, Opaque, Value};

pub(super) const TABLE: &[Row] = &[
    global("url", &["(string) -> net.URL"], url, Cost::Traverse),
    global("isURL", &["(string) -> bool"], is_url, Cost::Traverse),
    member("getScheme", &["(net.URL) -> string"], scheme, Cost::One),
    member("getHost", &["(net.URL) -> string"], host, Cost::One),
    member("getHostname", &["(net.URL) -> string"], hostname, Cost::One),
    member("getPort", &["(net.URL) -> string"], port, Cost::One),
    member("getEscapedPath", &["(net.URL) -> string"], path, Cost::One),
    member("getQuery", &["(net.URL) -> map<string,list<string>>"], query, Cost::One),
];

#[derive(Debug)]
pub struct Url {
    pub(crate) text: Box<str>,
    scheme: Box<str>,
    /// With the port.
    host: Box<str>,
    /// Escaped as it was written.
    path: Box<str>,
    query: Box<str>,
}

/// What is wrong with a text that is no such address.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| {
        let shown: String = text.chars().take(128).collect();
        format!("parse {shown:?}: {why}")
    };
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = match scheme_end(text) {
        Some(0) => return Err(wrong("missing protocol scheme")),
        Some(end) => (text[..end].to_ascii_lowercase(), &text[end + 1..]),
        None => (String::new(), text),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        // Of a scheme without slashes (`mailto:x`) nothing more is known.
        return match scheme.is_empty() {
            true => Err(wrong("invalid URI for request")),
            false => Ok(Url {
                text: text.into(),
                scheme: scheme.into(),
                host: "".into(),
                path: "".into(),
                query: query.into(),
            }),
        };
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
            let end = after.find('/').unwrap_or(after.len());
            after.split_at(end)
        }
        _ => ("", rest),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    check_host(host).map_err(|why| wrong(&why))?;
    check_escapes(path).map_err(|why| wrong(&why))?;
    Ok(Url {
        text: text.into(),
        scheme: scheme.into(),
        host: host.into(),
        path: path.into(),
        query: query.into(),
    })
}

/// Where the colon behind a scheme stands; `None`: there is no scheme.
fn scheme_end(text: &str) -> Option<usize> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' => return Some(at),
            _ => return None,
        }
    }
    None
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(inside) => {
            let (address, after) = inside.split_once(']').ok_or("missing ']' in host")?;
            let address = address.split('%').next().unwrap_or_default();
            address.parse::<std::net::Ipv6Addr>().map_err(|_| format!("invalid host: {host:?}"))?;
            after
        }
        None => {
            if let Some(letter) =
                host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}' | '|'))
            {
                return Err(format!("invalid character {letter:?} in host name"));
            }
            check_escapes(host)?;
            host.find(':').map_or("", |at| &host[at..])
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err(format!("invalid port {port:?} after host")),
    }
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let escape = text.as_bytes().get(at + 1..at + 3);
        if !escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = text.ceil_char_boundary((at + 3).min(text.len()));
            return Err(format!("invalid URL escape {:?}", &text[at..end]));
        }
    }
    Ok(())
}

fn url<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].as_str().ok_or_else(EvalError::no_overload)?;
    evaluator.budget.memory(text.len() * 2)?;
    let url = parse(text)
        .map_err(|why| EvalError::failed(format!("URL parse error during conversion from string: {why}")))?;
    Ok(Value::Opaque(Opaque::Url(Arc::new(url))))
}

fn is_url<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].as_str().ok_or_else(EvalError::no_overload)?;
    evaluator.budget.memory(text.len() * 2)?;
    Ok(Value::Bool(parse(text).is_ok()))
}

fn of<'v>(args: &'v [Value<'_>]) -> Result<&'v Url, EvalError> {
    match args.first() {
        Some(Value::Opaque(Opaque::Url(url))) => Ok(url),
        _ => Err(EvalError::no_overload()),
    }
}

fn text<'a>(evaluator: &mut Evaluator<'a, '_>, part: &str) -> Outcome<'a> {
    evaluator.budget.memory(part.len())?;
    Ok(Value::from(part.to_owned()))
}

fn scheme<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    text(evaluator, &of(args)?.scheme)
}

fn host<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    text(evaluator, &of(args)?.host)
}

fn split(host: &str) -> (&str, &str) {
    match host.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((name, port)) => (name, port.trim_start_matches(':')),
        None => host.split_once(':').unwrap_or((host, "")),
    }
}

fn hostname<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    text(evaluator, split(&of(args)?.host).0)
}

fn port<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    text(evaluator, split(&of(args)?.host).1)
}

fn path<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    text(evaluator, &of(args)?.path)
}

fn query<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    let text = &of(args)?.query;
    evaluator.budget.memory(text.len() * 8)?;
    evaluator.budget.work(text.len())?;
    for part in text.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
            found.entry(key).or_default().push(Value::from(value));
        }
    }
    let map: BTreeMap<Key<'a>, Value<'a>> =
        found.into_iter().map(|(key, values)| (text_key(&key), Value::from(values))).collect();
    Ok(Value::Map(Map::Made(Arc::new(map))))
}

fn unescape(text: &str) -> Option<String> {
    check_escapes(text).ok()?;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
                at += 3;
            }
            b'+' => {
                out.push(b' ');
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
