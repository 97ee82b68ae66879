//! Every field of a good bundle changed and taken away, one at a time: nothing that is left still counts, and the other
//! implementations say the same.

use serde_json::Value;
use watchbell_signature::TrustRoot;

use crate::case::{Case, Generation, IN_TOTO, PROVENANCE, message, provenance, statement};
use crate::peers;
use crate::stand::{Leaf, START, Sigstore, unb64};

/// The paths of everything in a document that is no object or list.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                leaves(inner, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                leaves(inner, &format!("{path}/{at}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Another value of the same form: the letter of base64 or text at this eighth, or the digit.
fn flip(value: &mut Value, eighth: usize) {
    let Value::String(text) = value else { panic!("bundles have strings alone, not {value}") };
    let at = text.len() * eighth / 8;
    let old = text.as_bytes()[at];
    let new = match old {
        b'0'..=b'8' => old + 1,
        b'9' => b'0',
        b'a'..=b'y' | b'A'..=b'Y' => old + 1,
        _ => b'Q',
    };
    text.replace_range(at..=at, &char::from(new).to_string());
}

fn remove(bundle: &mut Value, path: &str) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    match bundle.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.shift_remove(key)),
        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
        _ => unreachable!("a path leads through objects and lists"),
    }
}

/// What nobody signed and nothing rests on. Where the log gives no promise, the entry's index is only the proof's; what a
/// timestamp carries of certificates is not used, the trust root has them.
fn is_idle(name: &str, embedded: &[String]) -> bool {
    let is_second = name.contains(" 2");
    (is_second && name.ends_with(" /verificationMaterial/tlogEntries/0/logIndex"))
        || embedded.iter().any(|e| e == name)
}

/// Where another implementation answers otherwise, and why.
fn differs(peer: &str, name: &str, embedded: &[String]) -> Option<&'static str> {
    let ends = |path: &str| name.ends_with(path);
    let is_second = name.contains(" 2");
    match peer {
        "python" if name.starts_with("statement 2e") => Some("it does not know dsse 0.0.2"),
        "js" if name.starts_with("statement 2:") || name == "statement 2" => {
            Some("it does not know envelopes logged by the hash of their encoding")
        }
        _ if ends("flip /verificationMaterial/tlogEntries/0/inclusionProof/treeSize") => {
            Some("it compares the size with no checkpoint, where the proof is as long")
        }
        "js" if ends("/inclusionProof/treeSize") || ends("/inclusionProof/rootHash") => {
            Some("it takes both from the checkpoint alone")
        }
        _ if is_second && ends("/logId/keyId") => Some("it finds the log by the checkpoint's key alone"),
        "python" if is_second && ends("remove /verificationMaterial/tlogEntries/0/logIndex") => {
            Some("it wants the field there though 0 may be left out")
        }
        _ if embedded.iter().any(|e| e == name) => Some("it reads the certificate in a timestamp too"),
        "js" if name.contains("0/8 flip") && (ends("/rawBytes") || ends("/signedTimestamp")) => {
            Some("it does not look at the first tag")
        }
        "js" if name.contains("7/8 flip") && ends("/certificate/rawBytes") => {
            Some("it does not compare what a certificate says twice: the algorithm of its signature")
        }
        "js" if ends("remove /messageSignature/messageDigest/algorithm") => {
            Some("it reads no algorithm as SHA-256")
        }
        _ => None,
    }
}

/// Whether that eighth of a timestamp lies in the certificate that it carries.
fn is_in_certificate(stamp: &str, certificate: &[u8], eighth: usize) -> bool {
    let bytes = unb64(stamp);
    let start = bytes.windows(certificate.len()).position(|w| w == certificate).unwrap();
    let at = stamp.len() * eighth / 8 * 3 / 4;
    (start..start + certificate.len()).contains(&at)
}

#[test]
fn nothing_of_a_bundle_can_be_changed() {
    let sigstore = Sigstore::new();
    let root_json = sigstore.trust_root();
    let root = TrustRoot::parse(root_json.to_string().as_bytes()).unwrap();
    let signer = sigstore.signer(&Leaf::default());
    let payload = (IN_TOTO, &provenance());
    let good = [
        Case::new("message", message(&sigstore, &signer, Generation::First, START + 60), None),
        Case::new("message 2", message(&sigstore, &signer, Generation::Second, START + 60), None),
        Case::new(
            "statement",
            statement(&sigstore, &signer, Generation::First, START + 60, payload),
            Some(PROVENANCE),
        ),
        Case::new(
            "statement 2",
            statement(&sigstore, &signer, Generation::Second, START + 60, payload),
            Some(PROVENANCE),
        ),
        Case::new(
            "statement 2e",
            statement(&sigstore, &signer, Generation::SecondAsEnvelope, START + 60, payload),
            Some(PROVENANCE),
        ),
    ];
    let mut embedded = Vec::new();
    let mut cases = Vec::new();
    for case in &good {
        let verdict = case.judged(&root);
        assert!(verdict.is_ok(), "{}: {verdict:?}", case.name);
        cases.push(case.clone());
        let mut paths = Vec::new();
        leaves(&case.bundle, "", &mut paths);
        for path in paths {
            let text = case.bundle.pointer(&path).unwrap().as_str().unwrap();
            for eighth in if text.len() > 200 { 0..8 } else { 4..5 } {
                let mut flipped = case.clone();
                let place = if eighth == 4 { String::new() } else { format!("{eighth}/8 ") };
                flipped.name = format!("{}: {place}flip {path}", case.name);
                flip(flipped.bundle.pointer_mut(&path).unwrap(), eighth);
                if path.ends_with("/signedTimestamp") && is_in_certificate(text, sigstore.stamper(), eighth) {
                    embedded.push(flipped.name.clone());
                }
                cases.push(flipped);
            }
            let mut removed = case.clone();
            removed.name = format!("{}: remove {path}", case.name);
            remove(&mut removed.bundle, &path);
            cases.push(removed);
        }
    }
    let ours: Vec<bool> = cases.iter().map(|case| case.judged(&root).is_ok()).collect();
    let mut wrong = Vec::new();
    for (case, ours) in cases.iter().zip(&ours) {
        let idle = !case.name.contains(": ") || is_idle(&case.name, &embedded);
        if *ours != idle {
            wrong.push(format!("here: {} {}", case.name, if *ours { "counts" } else { "does not count" }));
        }
    }
    for (peer, opinions) in
        [("python", peers::python(&root_json, &cases)), ("js", peers::js(&root_json, &cases))]
    {
        for ((case, ours), theirs) in cases.iter().zip(&ours).zip(opinions.unwrap_or_default()) {
            if *ours != theirs.is_ok() && differs(peer, &case.name, &embedded).is_none() {
                wrong.push(format!("{peer}: {}: {theirs:?}, here {ours}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "of {} cases:\n{}", cases.len(), wrong.join("\n"));
}
