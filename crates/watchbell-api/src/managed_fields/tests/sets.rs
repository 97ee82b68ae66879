//! The algebra of field sets, and their text.

use proptest::prelude::*;

use super::*;

/// Each kind of path element, as `kubectl get --show-managed-fields -o json` prints a Job's.
const OF_KUBECTL: &str = r#"{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}},"f:finalizers":{".":{},"v:\"example.com/hold\"":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"6c2d7a34-8a8e-4d4f-8ac1-2f0f1d2b1a55\"}":{}}},"f:spec":{"f:backoffLimit":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:command":{},"f:env":{".":{},"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{}}},"f:restartPolicy":{}}}}}"#;

#[test]
fn text_comes_back_as_it_was() {
    let json: Value = serde_json::from_str(OF_KUBECTL).unwrap();
    let set = FieldSet::from_json(&json).unwrap();
    assert_eq!(set.to_json().to_string(), OF_KUBECTL);
    let told = paths(&set);
    for path in [
        ".metadata.annotations",
        ".metadata.finalizers[=\"example.com/hold\"]",
        ".spec.template.spec.containers[name=\"main\"]",
        ".spec.template.spec.containers[name=\"main\"].ports[containerPort=80,protocol=\"TCP\"].protocol",
    ] {
        assert!(told.contains(&path.to_owned()), "{path} is not in {told:?}");
    }
    assert!(
        !told.contains(&".spec".to_owned()) && !told.contains(&".spec.template.spec.containers".to_owned())
    );
}

#[test]
fn what_is_no_set_is_refused() {
    for wrong in [
        json!([]),
        json!(null),
        json!({"x": {}}),
        json!({"f:a": 1}),
        json!({"k:name": {}}),
        json!({"k:[1]": {}}),
        json!({"v:": {}}),
        json!({"i:-1": {}}),
        json!({"z:a": {}}),
    ] {
        assert!(FieldSet::from_json(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(FieldSet::from_json(&json!({"f:": {}})).map(|s| paths(&s)), Ok(vec![".".into()]));
}

#[test]
fn entries_are_read_with_care() {
    let entry = json!({
        "manager": "m", "operation": "Update", "apiVersion": "v1", "time": "2026-03-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}, "subresource": "status",
    });
    let read = decode(&json!([entry])).unwrap();
    assert_eq!(encode(&read), json!([entry]));
    for (field, value, words) in [
        ("operation", json!("Patch"), "operation"),
        ("fieldsType", json!("FieldsV2"), "fieldsType"),
        ("time", json!("yesterday"), "time"),
        ("fieldsV1", json!({"data": {}}), "path element"),
    ] {
        let mut wrong = entry.clone();
        wrong[field] = value;
        let error = decode(&json!([entry, wrong])).unwrap_err();
        assert!(error.starts_with("metadata.managedFields[1]: ") && error.contains(words), "{error}");
    }
    assert!(is_reset(&json!([{}])));
    assert!(!is_reset(&json!([])) && !is_reset(&json!([{"manager": "x"}])) && !is_reset(&json!(null)));
}

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[a-c.]".prop_map(|name| PathElement::field(&name)),
        "[a-c]".prop_map(|name| PathElement::Key(json!({"name": name}).to_string().into())),
        (0i64..3).prop_map(|n| PathElement::Value(n.to_string().into())),
        (0u32..3).prop_map(PathElement::Index),
    ]
}

fn set() -> impl Strategy<Value = FieldSet> {
    prop::collection::vec(prop::collection::vec(element(), 1..4), 0..12).prop_map(|paths| {
        let mut set = FieldSet::default();
        for path in &paths {
            set.insert(path);
        }
        set
    })
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_sets_of_paths(a in set(), b in set(), c in set()) {
        let all: Vec<_> = a.paths().into_iter().chain(b.paths()).chain(c.paths()).collect();
        let (union, both, only) = (a.union(&b), a.intersection(&b), a.difference(&b));
        for path in &all {
            let (x, y) = (a.contains(path), b.contains(path));
            prop_assert_eq!(union.contains(path), x || y);
            prop_assert_eq!(both.contains(path), x && y);
            prop_assert_eq!(only.contains(path), x && !y);
        }
        // The same set has one form, however it was made.
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(&both, &b.intersection(&a));
        prop_assert_eq!(&only.union(&both), &a);
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.difference(&b.union(&c)), a.difference(&b).difference(&c));
        prop_assert!(a.difference(&a).is_empty());
        prop_assert_eq!(a.paths().is_empty(), a.is_empty());
    }

    #[test]
    fn any_set_comes_back_from_its_text(set in set()) {
        let json = set.to_json();
        // A field called "." cannot be told from the item itself; no schema has one.
        prop_assert_eq!(FieldSet::from_json(&json), Ok(set));
    }
}
