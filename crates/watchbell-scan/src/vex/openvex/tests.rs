use super::*;

const DEB: &str = "pkg:deb/debian/openssl@3.0.11?arch=amd64";

fn document(statements: &str) -> Result<VexDocument, VexError> {
    let text = format!(
        r#"{{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.org/1", "author": "ada",
            "timestamp": "2026-01-01T00:00:00Z", "version": 1, "statements": [{statements}]}}"#
    );
    VexDocument::parse("v.json", text.as_bytes())
}

fn image() -> ImageIdentity {
    ImageIdentity {
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        repository: Some("registry.example/team/app".into()),
        tag: Some("1.0".into()),
    }
}

fn says(statements: &str, vulnerability: &[&str], packages: &[&str]) -> Option<VexStatus> {
    let document = document(statements).unwrap();
    let packages: Vec<String> = packages.iter().map(|purl| (*purl).to_owned()).collect();
    let claim = Claim { vulnerability, packages: &packages, image: &image() };
    VexDocument::judgement(&[document], &claim).map(|(_, statement)| statement.status)
}

fn not_affected(products: &str) -> String {
    format!(
        r#"{{"vulnerability": {{"name": "CVE-2024-1", "aliases": ["GHSA-x"]}}, "products": [{products}],
            "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}}"#
    )
}

#[test]
fn products_are_packages_or_the_image_with_its_parts() {
    let cleared = |products: &str| {
        says(&not_affected(products), &["CVE-2024-1"], &[DEB]) == Some(VexStatus::NotAffected)
    };
    assert!(cleared(r#"{"@id": "pkg:deb/debian/openssl@3.0.11"}"#));
    assert!(cleared(
        r#"{"@id": "https://example.org/x", "identifiers": {"purl": "pkg:deb/debian/openssl"}}"#
    ));
    assert!(!cleared(r#"{"@id": "pkg:deb/debian/openssl@3.0.12"}"#));
    assert!(cleared(r#"{"@id": "pkg:oci/app?repository_url=registry.example/team/app"}"#));
    assert!(cleared(
        r#"{"@id": "pkg:oci/app@sha256%3Aabababababababababababababababababababababababababababababababab"}"#
    ));
    assert!(!cleared(
        r#"{"@id": "pkg:oci/app@sha256%3A0000000000000000000000000000000000000000000000000000000000000000"}"#
    ));
    assert!(!cleared(r#"{"@id": "pkg:oci/app?repository_url=elsewhere.example/app"}"#));
    assert!(cleared(r#"{"@id": "pkg:oci/app", "subcomponents": [{"@id": "pkg:deb/debian/openssl"}]}"#));
    assert!(!cleared(r#"{"@id": "pkg:oci/app", "subcomponents": [{"@id": "pkg:deb/debian/curl"}]}"#));
    let digest = "AB".repeat(32);
    assert!(cleared(&format!(r#"{{"@id": "urn:x", "hashes": {{"sha-256": "{digest}"}}}}"#)));
    assert!(!cleared(r#"{"@id": "pkg:oci/other"}"#));
}

#[test]
fn any_name_of_the_vulnerability_is_enough() {
    let statement = not_affected(r#"{"@id": "pkg:deb/debian/openssl"}"#);
    assert_eq!(says(&statement, &["OSV-1", "GHSA-X"], &[DEB]), Some(VexStatus::NotAffected));
    assert_eq!(says(&statement, &["CVE-2024-12"], &[DEB]), None);
}

#[test]
fn every_package_of_a_finding_must_be_cleared() {
    let both = [DEB, "pkg:deb/debian/libssl3@1"];
    let one = not_affected(r#"{"@id": "pkg:deb/debian/openssl"}"#);
    assert_eq!(says(&one, &["CVE-2024-1"], &both), None, "one of two is not both");
    let other = not_affected(r#"{"@id": "pkg:deb/debian/libssl3"}"#);
    assert_eq!(says(&format!("{one},{other}"), &["CVE-2024-1"], &both), Some(VexStatus::NotAffected));
    let together = not_affected(r#"{"@id": "pkg:deb/debian/openssl"}, {"@id": "pkg:deb/debian/libssl3"}"#);
    assert_eq!(says(&together, &["CVE-2024-1"], &both), Some(VexStatus::NotAffected));
    let doubted = other.replace("not_affected", "under_investigation");
    assert_eq!(
        says(&format!("{one},{doubted}"), &["CVE-2024-1"], &both),
        Some(VexStatus::UnderInvestigation)
    );
}

#[test]
fn the_newest_statement_counts() {
    let at = |time: &str, status: &str| {
        format!(
            r#"{{"vulnerability": "CVE-2024-1", "products": ["pkg:deb/debian/openssl"], "status": "{status}",
                "impact_statement": "a", "action_statement": "b", "timestamp": "{time}"}}"#
        )
    };
    let both = |first: &str, second: &str| says(&format!("{first},{second}"), &["CVE-2024-1"], &[DEB]);
    let (old, new) = (at("2026-01-01T00:00:00Z", "not_affected"), at("2026-02-01T00:00:00Z", "affected"));
    assert_eq!(both(&old, &new), Some(VexStatus::Affected));
    assert_eq!(both(&new, &old), Some(VexStatus::Affected));
    assert_eq!(both(&new, &new.replace("\"affected\"", "\"fixed\"")), Some(VexStatus::Fixed));
    // By the time that is meant, and not by the letters: an hour earlier in another zone, half a second later.
    let (old, new) =
        (at("2026-01-01T12:00:00+02:00", "not_affected"), at("2026-01-01T11:00:00Z", "affected"));
    assert_eq!(both(&new, &old), Some(VexStatus::Affected));
    let (old, new) = (at("2026-01-01T00:00:00Z", "not_affected"), at("2026-01-01T00:00:00.5Z", "affected"));
    assert_eq!(both(&new, &old), Some(VexStatus::Affected));
}

#[test]
fn what_clears_without_a_reason_or_a_target_is_refused() {
    let refused = |statements: &str, words: &str| {
        let error = document(statements).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot take the VEX document v.json: ") && error.contains(words),
            "{error}"
        );
    };
    let bare = r#"{"vulnerability": {"name": "CVE-1"}, "products": [{"@id": "pkg:deb/a/b"}], "status": "not_affected"}"#;
    refused(bare, "statement 1 (CVE-1): not_affected needs a justification");
    refused(&bare.replace("not_affected", "affected"), "affected needs an action_statement");
    refused(&not_affected(""), "names no products");
    refused(
        &not_affected(r#"{"@id": "https://example.org/app"}"#),
        "neither a package URL nor a sha-256 hash",
    );
    refused(
        &not_affected(r#"{"@id": "pkg:oci/a", "subcomponents": ["openssl"]}"#),
        "\"openssl\" is no package URL",
    );
    refused(&bare.replace("not_affected", "harmless"), "harmless");
    refused(&bare.replace("CVE-1", ""), "has no name");
    let at = |time: &str| {
        bare.replace("not_affected\"", &format!("under_investigation\", \"timestamp\": \"{time}\""))
    };
    refused(&at("yesterday"), "statement 1 (CVE-1): its timestamp \"yesterday\" is none of RFC 3339");
    refused(&at("2026-01-01"), "is none of RFC 3339");
    let untimed = document(&at("2026-01-01T00:00:00.123456789-06:00")).map(|_| ());
    assert_eq!(untimed, Ok(()));
    let text = format!(
        r#"{{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{}]}}"#,
        not_affected(r#"{"@id": "pkg:deb/a/b"}"#)
    );
    let error = VexDocument::parse("v", text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("its timestamp \"\" is none"), "{error}");
    assert!(VexDocument::parse("v", b"{\"@context\": \"x\", \"statements\": []}").is_err());
    assert!(VexDocument::parse("v", b"[]").is_err());
}

#[test]
fn an_image_by_its_last_name_alone_is_told() {
    let vague = |products: &str| document(&not_affected(products)).unwrap().vague_products();
    assert_eq!(
        vague(r#"{"@id": "pkg:oci/app"}, {"@id": "pkg:oci/app@1.0"}"#),
        ["pkg:oci/app", "pkg:oci/app@1.0"]
    );
    let digest = format!("sha256%3A{}", "ab".repeat(32));
    let whole = [
        format!(r#"{{"@id": "pkg:oci/app@{digest}"}}"#),
        r#"{"@id": "pkg:oci/app?repository_url=registry.example/team/app"}"#.to_owned(),
        format!(r#"{{"@id": "pkg:oci/app", "hashes": {{"sha-256": "{}"}}}}"#, "ab".repeat(32)),
        r#"{"@id": "pkg:deb/debian/openssl"}"#.to_owned(),
    ];
    for product in &whole {
        assert!(vague(product).is_empty(), "{product}");
    }
}
