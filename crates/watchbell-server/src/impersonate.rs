//! Whom a request wants to be: Kubernetes' headers `Impersonate-User`, `-Group`, `-Uid` and `-Extra-KEY`.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use watchbell_api::ApiError;
use watchbell_core::access::Wish;

use crate::request::percent_decode;

const PREFIX: &str = "impersonate-";
const EXTRA: &str = "extra-";

/// Reads the headers.
///
/// # Errors
/// What is no text, what is said twice and means one thing, and headers of this family that nobody knows: a request that asks
/// to be somebody else must not be answered with the caller's own rights.
pub(crate) fn wish(headers: &HeaderMap) -> Result<Wish, ApiError> {
    let mut wish = Wish::default();
    for key in headers.keys() {
        let Some(what) = key.as_str().strip_prefix(PREFIX) else { continue };
        let values = headers
            .get_all(key)
            .iter()
            .map(|value| text(key.as_str(), value))
            .collect::<Result<Vec<String>, ApiError>>()?;
        match what {
            "user" => wish.name = single(key.as_str(), values)?,
            "uid" => wish.uid = single(key.as_str(), values)?,
            "group" => wish.groups = values,
            _ => match what.strip_prefix(EXTRA) {
                Some(extra) if !extra.is_empty() => {
                    // As Kubernetes does: a key that is not escaped stands for itself.
                    let name = percent_decode(extra.as_bytes()).unwrap_or_else(|| extra.to_owned());
                    wish.extra.entry(name).or_default().extend(values);
                }
                _ => {
                    return Err(ApiError::bad_request(format!(
                        "the header {key} is not known: there are Impersonate-User, Impersonate-Group, Impersonate-Uid and \
                         Impersonate-Extra-KEY"
                    )));
                }
            },
        }
    }
    Ok(wish)
}

fn text(header: &str, value: &HeaderValue) -> Result<String, ApiError> {
    str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| ApiError::bad_request(format!("the header {header} is not UTF-8")))
}

fn single(header: &str, mut values: Vec<String>) -> Result<String, ApiError> {
    match (values.pop(), values.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(ApiError::bad_request(format!("the header {header} stands there more than once"))),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn read(lines: &[(&str, &[u8])]) -> Result<Wish, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        wish(&headers)
    }

    #[test]
    fn headers_are_read_as_kubernetes_reads_them() {
        assert_eq!(read(&[("accept", b"x")]).unwrap(), Wish::default());
        let wish = read(&[
            ("Impersonate-User", b"ada"),
            ("Impersonate-Group", b"dev"),
            ("Impersonate-Group", "büro".as_bytes()),
            ("Impersonate-Uid", b"u1"),
            ("Impersonate-Extra-Scopes", b"a"),
            ("Impersonate-Extra-Scopes", b"b"),
            ("Impersonate-Extra-acme.com%2Fproject", b"c"),
            ("Impersonate-Extra-acme%zz", b"d"),
        ])
        .unwrap();
        assert_eq!((wish.name.as_str(), wish.uid.as_str()), ("ada", "u1"));
        assert_eq!(wish.groups, ["dev", "büro"]);
        let extra: Vec<(&str, usize)> = wish.extra.iter().map(|(key, v)| (key.as_str(), v.len())).collect();
        assert_eq!(extra, [("acme%zz", 1), ("acme.com/project", 1), ("scopes", 2)]);
        for wrong in [
            &[("impersonate-user", &b"a"[..]), ("impersonate-user", b"b")][..],
            &[("impersonate-user", b"\xff")],
            &[("impersonate-users", b"a")],
            &[("impersonate-extra-", b"a")],
        ] {
            assert_eq!(read(wrong).unwrap_err().reason.code(), 400, "{wrong:?}");
        }
    }
}
