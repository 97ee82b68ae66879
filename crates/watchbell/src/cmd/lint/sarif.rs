//! SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format), as code-scanning views read it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Finding, rules};

/// The name of our fingerprints; a change of what they are made of changes the number.
const FINGERPRINT: &str = "watchbellLint/v1";

/// The whole log.
pub(super) fn log(findings: &[Finding]) -> Value {
    let rules: Vec<Value> = rules::all()
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.summary},
                "fullDescription": {"text": format!("{}: {}.", rule.summary, rule.why)},
                "help": {"text": rule.way_out},
                "defaultConfiguration": {"level": rule.severity.as_str()},
            })
        })
        .collect();
    let mut times: HashMap<String, usize> = HashMap::new();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, &mut times)).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "watchbell lint", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, times: &mut HashMap<String, usize>) -> Value {
    let place = finding.place;
    let index = rules::all().iter().position(|rule| rule.id == finding.rule.id);
    let message = match finding.object.as_str() {
        "" => finding.message.clone(),
        object => format!("{object}: {}", finding.message),
    };
    let mut location = json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(&finding.file)},
        "region": {"startLine": place.line, "startColumn": place.column, "endColumn": place.end_column},
    }});
    if !finding.object.is_empty() {
        location["logicalLocations"] = json!([{
            "name": finding.path, "fullyQualifiedName": format!("{}: {}", finding.object, finding.path),
            "kind": "object",
        }]);
    }
    json!({
        "ruleId": finding.rule.id, "ruleIndex": index, "level": finding.rule.severity.as_str(),
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: fingerprint(finding, times)},
    })
}

/// The same for as long as the same is wrong with the same field of the same object, wherever it stands in its file.
fn fingerprint(finding: &Finding, times: &mut HashMap<String, usize>) -> String {
    // Without an object the file is what it is about.
    let about = if finding.object.is_empty() { &finding.file } else { &finding.object };
    let what = format!("{}\n{about}\n{}", finding.rule.id, finding.path);
    let time = times.entry(what.clone()).or_insert(0);
    *time += 1;
    let digest = Sha256::new().chain_update(what).chain_update(time.to_string()).finalize();
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path as a URI reference (RFC 3986): relative stays relative.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            other => {
                // Writing to a String does not fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uris() {
        let check = |path: &str, expect: &str| assert_eq!(uri(path), expect);
        check("jobs/a.yaml", "jobs/a.yaml");
        check("/srv/a b.yaml", "file:///srv/a%20b.yaml");
        check("ä#1.yaml", "%C3%A4%231.yaml");
        check("standard input", "standard%20input");
    }
}
