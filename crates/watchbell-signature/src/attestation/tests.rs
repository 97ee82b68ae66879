use serde_json::json;
use watchbell_image::Digest;

use super::*;

fn parse(predicate_type: &str, predicate: &Value) -> Result<Statement, Reason> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "00"}}, {"digest": {"sha256": Digest::of(b"x").hex()}}],
        "predicateType": predicate_type, "predicate": predicate,
    });
    Statement::parse(statement.to_string().as_bytes())
}

fn provenance(predicate_type: &str, predicate: &Value) -> Provenance {
    match parse(predicate_type, predicate).unwrap().predicate {
        Predicate::Provenance(provenance) => provenance,
        other => panic!("{other:?}"),
    }
}

#[test]
fn provenance_of_both_versions_says_the_same() {
    let old = json!({
        "builder": {"id": "b"}, "buildType": "t", "invocation": {"configSource": {"uri": "s", "entryPoint": "e"}},
        "materials": [{"uri": "m"}, {"digest": {}}],
    });
    let expect = Provenance {
        builder_id: "b".into(),
        build_type: "t".into(),
        source_uri: Some("s".into()),
        dependencies: vec!["m".into()],
    };
    assert_eq!(provenance(PROVENANCE_02, &old), expect);
    let source = |parameters: &Value| {
        let new = json!({
            "buildDefinition": {
                "buildType": "t", "externalParameters": parameters, "resolvedDependencies": [{"uri": "m"}],
            },
            "runDetails": {"builder": {"id": "b"}},
        });
        provenance(PROVENANCE_1, &new)
    };
    assert_eq!(source(&json!({"source": "s"})), expect);
    assert_eq!(source(&json!({"source": {"uri": "s"}})), expect);
    assert_eq!(source(&json!({"workflow": {"repository": "s", "ref": "r"}})), expect);
    // What a build depends on is not what was built.
    assert_eq!(source(&json!({})).source_uri, None);
    assert_eq!(source(&Value::Null).source_uri, None);
}

#[test]
fn other_predicates_are_handed_on() {
    let check = |uri: &str, is: fn(&Predicate) -> bool| {
        let statement = parse(uri, &json!({"scanner": {"uri": "s"}, "a": 1})).unwrap();
        assert!(is(&statement.predicate), "{uri}: {:?}", statement.predicate);
        assert!(statement.is_about(&Digest::of(b"x")) && !statement.is_about(&Digest::of(b"y")));
    };
    check("https://cyclonedx.org/bom", |p| matches!(p, Predicate::CycloneDx(_)));
    check("https://cyclonedx.org/bom/v1.6", |p| matches!(p, Predicate::CycloneDx(_)));
    check("https://cyclonedx.org/bomb", |p| matches!(p, Predicate::Other(_)));
    check("https://spdx.dev/Document/v2.3", |p| matches!(p, Predicate::Spdx(_)));
    check("https://openvex.dev/ns", |p| matches!(p, Predicate::Vex(_)));
    check(VULNERABILITIES, |p| matches!(p, Predicate::Vulnerabilities(scan) if scan.scanner_uri == "s"));
    check(COSIGN_SIGN, |p| *p == Predicate::Signature);
    for (name, uri) in
        [("slsaprovenance", PROVENANCE_1), ("slsaprovenance", PROVENANCE_02), ("vuln", VULNERABILITIES)]
    {
        assert!(PredicateType::parse(name).is(uri));
    }
    assert!(!PredicateType::parse("slsaprovenance1").is(PROVENANCE_02));
}

/// Two readers must not take different ones, and a lie must not take our memory.
#[test]
fn what_is_said_twice_or_too_often_is_refused() {
    let twice = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"a","predicateType":"{COSIGN_SIGN}","predicate":{{}}}}"#
    );
    assert!(Statement::parse(twice.as_bytes()).is_err());
    let twice = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"{PROVENANCE_02}","predicate":{{"builder":{{"id":"a","id":"b"}}}}}}"#
    );
    assert!(Statement::parse(twice.as_bytes()).is_err());
    let of = |predicate_type: &str, subject: &str, predicate: &str| {
        let payload = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{{subject}}}}}],"predicateType":"{predicate_type}","predicate":{predicate}}}"#
        );
        Statement::parse(payload.as_bytes()).map_err(|reason| reason.to_string())
    };
    let built = |parameters: &str| {
        let predicate = format!(
            r#"{{"buildDefinition":{{"externalParameters":{parameters}}},"runDetails":{{"builder":{{"id":"b"}}}}}}"#
        );
        of(PROVENANCE_1, r#""sha256":"00""#, &predicate)
    };
    let refused = |judged: Result<Statement, String>, field: &str| {
        let reason = judged.unwrap_err();
        assert!(reason.contains(&format!("duplicate field `{field}`")), "{reason}");
    };
    assert!(built(r#"{"source":"a","workflow":{"repository":"b"},"n":[1,-1,0.5,true,null]}"#).is_ok());
    refused(built(r#"{"source":"a","source":"b"}"#), "source");
    refused(built(r#"{"source":{"uri":"a","uri":"b"}}"#), "uri");
    refused(built(r#"{"workflow":{"repository":"a","repository":"b"}}"#), "repository");
    refused(built(r#"{"inputs":[{"x":1,"x":2}]}"#), "x");
    refused(of(COSIGN_SIGN, r#""sha256":"00","sha256":"11""#, "{}"), "sha256");
    refused(of("https://example.com/any", "", r#"{"a":{"b":1,"b":2}}"#), "b");
    let scan = r#"{"scanner":{"uri":"s","result":{"a":1,"a":2}}}"#;
    refused(of(VULNERABILITIES, "", scan), "a");
    let many = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "a", "predicate": {},
        "subject": vec![json!({"name": "a", "digest": {}}); SUBJECTS_MAX + 1],
    });
    assert!(Statement::parse(many.to_string().as_bytes()).is_err());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"a","predicate":{deep}}}"#
    );
    assert!(Statement::parse(deep.as_bytes()).is_err());
}
