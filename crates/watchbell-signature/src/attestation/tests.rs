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
