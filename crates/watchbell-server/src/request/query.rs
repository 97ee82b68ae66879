//! The query string.

use watchbell_api::ApiError;

/// More parameters than any client sends; each word of a command is one.
const PARAMETERS_MAX: usize = 1024;

/// The parameters of a query, decoded, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Query, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = |text: &str| {
                form_decode(text).ok_or_else(|| {
                    ApiError::bad_request(format!("the query has a broken escape in {text:?}"))
                })
            };
            let (key, value) = (decoded(key)?, decoded(value)?);
            if pairs.len() == PARAMETERS_MAX {
                return Err(ApiError::bad_request(format!(
                    "the query has more than {PARAMETERS_MAX} parameters"
                )));
            }
            // Two readers would disagree on which of them counts. `dryRun` and `exclude` are lists, `command` has a
            // value a word.
            if !matches!(key.as_str(), "dryRun" | "command" | "exclude")
                && pairs.iter().any(|(k, _)| *k == key)
            {
                return Err(ApiError::bad_request(format!(
                    "the query has the parameter {key:?} twice: give it once"
                )));
            }
            pairs.push((key, value));
        }
        Ok(Query { pairs })
    }

    /// A parameter that is there and not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Every value of a parameter, the empty ones too.
    pub(crate) fn every<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A switch as Kubernetes reads it: only `false` and `0` turn it off once it is named.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.switch(key).unwrap_or(false)
    }

    /// The same, and whether it was named at all.
    pub(crate) fn switch(&self, key: &str) -> Option<bool> {
        let value = self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v)?;
        Some(!(value.eq_ignore_ascii_case("false") || value == "0"))
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("the query parameter {key} is {text:?}: a whole number is needed"))
        })
    }
}

fn form_decode(text: &str) -> Option<String> {
    if text.contains('+') {
        percent_decode(text.replace('+', " ").as_bytes())
    } else {
        percent_decode(text.as_bytes())
    }
}

/// Percent-decoding; `None` for a broken escape or for what is not UTF-8.
pub(crate) fn percent_decode(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
