//! The `_bulk` API of Elasticsearch and OpenSearch: the body, and what an answer says of each document.
//!
//! Every document is sent by `create` with a name of its own, so that sending it twice makes one document: the second is
//! answered 409, which is success.

use std::time::Duration;

use serde::Deserialize;

use super::shipper::{Answer, Item, Outcome};

/// Of a body.
pub const CONTENT_TYPE: &str = "application/x-ndjson";
/// What of the answer is asked for: it is as long as the body otherwise.
pub const FILTER: &str =
    "errors,items.*._id,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store";
/// As much of a server's words is kept.
const REASON_CHARS_MAX: usize = 1024;

/// The path and query below the server's address.
pub fn path(index: &str) -> String {
    format!("/{index}/_bulk?filter_path={FILTER}")
}

/// Whether a name may be that of an index or a data stream (it goes into a path).
pub fn check_index(name: &str) -> Result<(), &'static str> {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 255 {
        return Err("it must have 1 to 255 characters");
    }
    if !name.chars().all(is_fine) {
        return Err("it may have lower-case letters, digits, '-', '_' and '.'");
    }
    if name.starts_with(['-', '_', '.']) {
        return Err("it must begin with a letter or a digit");
    }
    Ok(())
}

/// Appends the two lines of a document.
pub fn push(item: &Item, body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"create\":{\"_id\":\"");
    // Hexadecimal digits, a hyphen and a number: nothing to escape.
    body.extend_from_slice(item.id.as_bytes());
    body.extend_from_slice(b"\"}}\n");
    body.extend_from_slice(&item.document);
    body.push(b'\n');
}

#[derive(Debug, Deserialize)]
struct BulkAnswer {
    errors: bool,
    #[serde(default)]
    items: Vec<BulkItem>,
}

/// One action's answer, below the action's name.
#[derive(Debug, Deserialize)]
struct BulkItem {
    create: Created,
}

#[derive(Debug, Deserialize)]
struct Created {
    #[serde(rename = "_id")]
    id: Option<String>,
    status: u16,
    error: Option<Cause>,
    failure_store: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

/// An HTTP answer as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct HttpAnswer<'a> {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: &'a [u8],
}

/// What the answer to `sent` means.
pub fn judge(sent: &[Item], answer: HttpAnswer<'_>) -> Answer {
    match answer.status {
        200 => judge_items(sent, answer.body),
        413 => Answer::TooLarge,
        408 | 429 | 500 | 502 | 503 | 504 => Answer::Retry {
            after: answer.retry_after,
            reason: format!("the server answered {}: {}", answer.status, excerpt(answer.body)),
        },
        // Authentication, rights, a name that is no data stream: nothing is wrong with the documents, and they wait.
        status => Answer::Hold { reason: format!("the server answered {status}: {}", excerpt(answer.body)) },
    }
}

fn judge_items(sent: &[Item], body: &[u8]) -> Answer {
    let retry = |reason: String| Answer::Retry { after: None, reason };
    let parsed: BulkAnswer = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(cause) => {
            return retry(format!("the server's answer cannot be read: {cause}: {}", excerpt(body)));
        }
    };
    if parsed.items.len() != sent.len() {
        return retry(format!("the server answered for {} of {} documents", parsed.items.len(), sent.len()));
    }
    let is_in_order = parsed
        .items
        .iter()
        .zip(sent)
        .all(|(got, item)| got.create.id.as_deref().is_none_or(|id| id == item.id));
    if !is_in_order {
        return retry("the server answered for other documents than were sent".into());
    }
    let outcomes: Vec<Outcome> = parsed.items.into_iter().map(|item| outcome(item.create)).collect();
    // A summary that contradicts its parts: something between us and the server wrote it.
    if !parsed.errors && !outcomes.iter().all(|o| matches!(o, Outcome::Done | Outcome::Dead { .. })) {
        return retry("the server answered that there are no errors, and lists some".into());
    }
    Answer::Items(outcomes)
}

fn outcome(created: Created) -> Outcome {
    let reason = |what: &str| {
        let (kind, reason) = match &created.error {
            Some(cause) => {
                (cause.kind.as_deref().unwrap_or(what), cause.reason.as_deref().unwrap_or_default())
            }
            None => (what, ""),
        };
        one_line(&format!("{} {kind}: {reason}", created.status))
    };
    match created.status {
        200 | 201 if created.failure_store.as_deref() == Some("used") => {
            Outcome::Dead { reason: reason("the server put it into the failure store of the data stream") }
        }
        // 409: it is there already, from an attempt whose answer was lost.
        200 | 201 | 409 => Outcome::Done,
        // Busy, or not set up as it should be: neither is the document's fault.
        401 | 403 | 404 | 408 | 429 | 502 | 503 | 504 => Outcome::Again { reason: reason("refused for now") },
        // The server's fault, or this document's: a few attempts find out.
        500..=599 => Outcome::Doubt { reason: reason("an error of the server") },
        _ => Outcome::Dead { reason: reason("refused") },
    }
}

/// The beginning of what a server said, on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(&body[..body.len().min(4 * REASON_CHARS_MAX)]))
}

/// Words of others go into logs and dead letters: no control character of theirs does.
fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(index: u64) -> Item {
        Item { index, id: format!("e-{index}"), document: b"{}".to_vec(), at_unix_nanos: 0 }
    }

    fn check(status: u16, body: &str, expect: &str) {
        let sent = [item(0), item(1)];
        let got = judge(&sent, HttpAnswer { status, retry_after: None, body: body.as_bytes() });
        let got = match got {
            Answer::Items(outcomes) => {
                let words: Vec<&str> = outcomes
                    .iter()
                    .map(|o| match o {
                        Outcome::Done => "done",
                        Outcome::Again { .. } => "again",
                        Outcome::Doubt { .. } => "doubt",
                        Outcome::Dead { .. } => "dead",
                    })
                    .collect();
                words.join(" ")
            }
            Answer::Retry { .. } => "retry".into(),
            Answer::Hold { .. } => "hold".into(),
            Answer::TooLarge => "too large".into(),
            Answer::Refused { .. } => "refused".into(),
        };
        assert_eq!(got, expect, "{status} {body}");
    }

    fn items(statuses: [u16; 2]) -> String {
        let items: Vec<_> = statuses
            .iter()
            .enumerate()
            .map(|(n, status)| json!({"create": {"_id": format!("e-{n}"), "status": status}}))
            .collect();
        json!({"errors": statuses.iter().any(|s| *s >= 300), "items": items}).to_string()
    }

    #[test]
    fn each_document_has_its_own_answer() {
        check(200, &items([201, 201]), "done done");
        check(200, &items([409, 201]), "done done");
        check(200, &items([201, 429]), "done again");
        check(200, &items([503, 403]), "again again");
        check(200, &items([400, 201]), "dead done");
        check(200, &items([500, 422]), "doubt dead");
    }

    #[test]
    fn an_answer_for_all_is_for_all() {
        check(429, "{}", "retry");
        check(503, "", "retry");
        check(502, "<html>", "retry");
        check(413, "", "too large");
        check(401, "{}", "hold");
        check(400, r#"{"error":"x"}"#, "hold");
        check(302, "", "hold");
        check(201, "{}", "hold");
    }

    #[test]
    fn what_is_no_answer_to_what_was_sent_is_asked_again() {
        let whole = items([201, 201]);
        for end in 0..whole.len() {
            check(200, &whole[..end], "retry");
        }
        check(200, &whole.replace("e-1", "e-7"), "retry");
        check(200, r#"{"errors":false,"items":[{"create":{"_id":"e-0","status":201}}]}"#, "retry");
        check(200, r#"{"errors":false}"#, "retry");
        check(200, &whole.replace("create", "index"), "retry");
        check(200, &items([201, 429]).replace("true", "false"), "retry");
        check(200, "null", "retry");
    }

    #[test]
    fn what_went_into_the_failure_store_is_not_taken_for_done() {
        let body = r#"{"errors":false,"items":[{"create":{"_id":"e-0","status":201,"failure_store":"used"}},{"create":{"_id":"e-1","status":201}}]}"#;
        check(200, body, "dead done");
    }

    #[test]
    fn a_document_has_two_lines() {
        let mut body = Vec::new();
        push(&item(7), &mut body);
        assert_eq!(body, b"{\"create\":{\"_id\":\"e-7\"}}\n{}\n");
    }

    #[test]
    fn a_name_that_would_change_the_path_is_refused() {
        for good in ["logs-watchbell.audit-default", "a", "logs-watchbell.audit-prod_1"] {
            assert_eq!(check_index(good), Ok(()));
        }
        let long = "a".repeat(256);
        for wrong in ["", "A", "a/b", "..", "a b", "_bulk", "-a", "a?b", "a%2f", "a,b", "a*", "é", &long] {
            assert!(check_index(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_server_says_of_a_document_is_one_short_line_too() {
        let reason = format!("first\nsecond\r\u{9b}0m{}", "x".repeat(5000));
        let error = json!({"type": "a\u{1b}[2Jb", "reason": reason});
        for status in [400, 429, 500] {
            let answered = json!({"create": {"_id": "e-0", "status": status, "error": error}});
            let body = json!({"errors": true, "items": [answered]}).to_string();
            let answer = HttpAnswer { status: 200, retry_after: None, body: body.as_bytes() };
            let Answer::Items(outcomes) = judge(&[item(0)], answer) else { panic!("{status}") };
            let (Outcome::Dead { reason } | Outcome::Again { reason } | Outcome::Doubt { reason }) =
                &outcomes[0]
            else {
                panic!("{outcomes:?}")
            };
            assert!(reason.contains("first second") && !reason.contains(char::is_control), "{reason}");
            assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
        }
    }

    #[test]
    fn a_servers_words_are_one_short_line() {
        let words = excerpt("a\nb\u{1b}[31m".as_bytes());
        assert_eq!(words, "a b [31m");
        assert_eq!(excerpt(&[b'x'; 100_000]).len(), REASON_CHARS_MAX);
    }
}
