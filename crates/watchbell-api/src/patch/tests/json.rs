use proptest::prelude::*;
use serde_json::{Value, json};

use crate::patch::json_patch;
use crate::{ApiError, Reason, Resource};

fn apply(current: &Value, patch: &Value) -> Result<Value, ApiError> {
    json_patch(Resource::ConfigMap, current, patch)
}

#[track_caller]
fn check(current: Value, patch: Value, expected: Value) {
    let patched = apply(&current, &patch).unwrap_or_else(|e| panic!("{patch}: {e}"));
    assert_eq!(patched, expected, "{patch}");
    // The order that its author gave to an object stays.
    assert_eq!(patched.to_string(), expected.to_string());
}

#[track_caller]
fn refused(current: Value, patch: Value, reason: Reason, text: &str) {
    let error = apply(&current, &patch).expect_err("the patch cannot be applied");
    assert_eq!(error.reason, reason, "{error}");
    assert!(error.message.contains(text), "{error}");
}

#[test]
fn operations_are_carried_out_in_turn() {
    check(json!({"a": 1}), json!([{"op": "add", "path": "/b", "value": [1]}]), json!({"a": 1, "b": [1]}));
    check(json!({"a": [1, 2]}), json!([{"op": "add", "path": "/a/1", "value": 9}]), json!({"a": [1, 9, 2]}));
    check(json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 9}]), json!({"a": [1, 9]}));
    check(json!({"a": [1]}), json!([{"op": "add", "path": "/a/1", "value": 9}]), json!({"a": [1, 9]}));
    check(json!({"a": 1, "b": 2, "c": 3}), json!([{"op": "remove", "path": "/a"}]), json!({"b": 2, "c": 3}));
    check(json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/0"}]), json!({"a": [2]}));
    check(
        json!({"a": {"b": 1}}),
        json!([{"op": "replace", "path": "/a/b", "value": null}]),
        json!({"a": {"b": null}}),
    );
    check(
        json!({"a": {"b": 1}, "c": [5]}),
        json!([{"op": "move", "from": "/a/b", "path": "/c/0"}]),
        json!({"a": {}, "c": [1, 5]}),
    );
    check(
        json!({"a": [1, 2, 3]}),
        json!([{"op": "move", "from": "/a/0", "path": "/a/2"}]),
        json!({"a": [2, 3, 1]}),
    );
    check(
        json!({"a": {"x": 1}}),
        json!([{"op": "copy", "from": "/a", "path": "/b"}]),
        json!({"a": {"x": 1}, "b": {"x": 1}}),
    );
    check(
        json!({"a": 1, "b": {"x": 1, "y": [1.0]}}),
        json!([
            {"op": "test", "path": "/b", "value": {"y": [1], "x": 1}},
            {"op": "test", "path": "/nowhere", "value": null},
            {"op": "test", "path": "", "value": {"b": {"x": 1, "y": [1]}, "a": 1}},
        ]),
        json!({"a": 1, "b": {"x": 1, "y": [1.0]}}),
    );
    check(
        json!({"metadata": {"labels": {"a.b/c": "x", "m~n": "y"}}}),
        json!([{"op": "remove", "path": "/metadata/labels/a.b~1c"}, {"op": "replace", "path": "/metadata/labels/m~0n", "value": "z"}]),
        json!({"metadata": {"labels": {"m~n": "z"}}}),
    );
    check(json!({"": 1}), json!([{"op": "replace", "path": "/", "value": 2}]), json!({"": 2}));
    check(json!({"a": 1}), json!([{"op": "add", "path": "", "value": {"b": 1}}]), json!({"b": 1}));
}

#[test]
fn what_cannot_be_carried_out_names_the_operation() {
    let invalid = |current, patch, text| refused(current, patch, Reason::Invalid, text);
    invalid(
        json!({"a": 1}),
        json!([{"op": "test", "path": "/a", "value": 1}, {"op": "test", "path": "/a", "value": 2}]),
        "the server rejected our request due to an error in our request: operation 1 of the JSON patch, test \"/a\": \
         the value is another one",
    );
    invalid(json!({}), json!([{"op": "remove", "path": "/a"}]), "there is no \"a\"");
    invalid(json!({}), json!([{"op": "replace", "path": "/a", "value": 1}]), "there is no \"a\"");
    invalid(json!({}), json!([{"op": "add", "path": "/a/b", "value": 1}]), "there is no \"a\"");
    invalid(json!({"a": [1]}), json!([{"op": "add", "path": "/a/2", "value": 1}]), "the list has 1");
    invalid(json!({"a": [1]}), json!([{"op": "remove", "path": "/a/1"}]), "the list has 1");
    invalid(json!({"a": [1]}), json!([{"op": "remove", "path": "/a/-"}]), "\"-\" is no place in a list");
    invalid(json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/01"}]), "\"01\" is no place in a list");
    invalid(json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), "\"-1\" is no place in a list");
    invalid(json!({"a": 1}), json!([{"op": "add", "path": "/a/b", "value": 1}]), "neither a map nor a list");
    invalid(
        json!({"a": {}}),
        json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
        "cannot move into itself",
    );
    invalid(json!({}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), "from: there is no \"a\"");
    invalid(json!({}), json!([{"op": "replace", "path": "", "value": 1}]), "no object");

    let error = apply(&json!({}), &json!([{"op": "remove", "path": "/a"}])).unwrap_err();
    assert_eq!((error.kind.as_str(), error.causes[0].field.as_str()), ("ConfigMap", "patch[0]"));
    assert_eq!(error.causes[0].message, "remove \"/a\": there is no \"a\"");

    let bad = |patch, text| refused(json!({}), patch, Reason::BadRequest, text);
    bad(json!([{"op": "frob", "path": "/a"}]), "operation 0 of the JSON patch: op \"frob\" is none of");
    bad(json!([{"path": "/a"}]), "op is missing");
    bad(json!([{"op": "add", "path": "/a"}]), "value is missing");
    bad(json!([{"op": "add", "path": "a", "value": 1}]), "begins with '/'");
    bad(json!([{"op": "remove", "path": "/a~2"}]), "no JSON pointer");
    bad(json!([{"op": "move", "path": "/a"}]), "from is missing");
}

#[test]
fn a_small_patch_cannot_make_much_work() {
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "test", "path": "", "value": {}})).collect();
    refused(json!({}), Value::from(many), Reason::RequestEntityTooLarge, "10000, got 10001");

    let doubling: Vec<Value> =
        (0..64).map(|i| json!({"op": "copy", "from": "", "path": format!("/{i}")})).collect();
    refused(json!({"a": "x"}), Value::from(doubling), Reason::Invalid, "copies more than");

    let nesting: Vec<Value> = (0..200).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/b"})).collect();
    refused(json!({"a": {}}), Value::from(nesting), Reason::Invalid, "nested deeper than 128");

    let list: Vec<u8> = vec![0; 200_000];
    let shifting: Vec<Value> =
        (0..10_000).map(|_| json!({"op": "add", "path": "/a/0", "value": 0})).collect();
    refused(json!({"a": list}), Value::from(shifting), Reason::Invalid, "moves too much");
}

proptest! {
    /// Whatever is added can be taken away again, and a copy equals what it is a copy of.
    #[test]
    fn what_is_added_can_be_removed(key in ".{0,8}", value in "[a-z]{0,4}") {
        let step = key.replace('~', "~0").replace('/', "~1");
        let path = format!("/data/{step}");
        let before = json!({"data": {}});
        let added = apply(&before, &json!([{"op": "add", "path": path, "value": value}])).unwrap();
        prop_assert_eq!(&added["data"][&key], &Value::from(value.clone()));
        let copied = json!([
            {"op": "copy", "from": path, "path": "/copy"},
            {"op": "test", "path": "/copy", "value": value},
        ]);
        apply(&added, &copied).unwrap();
        let removed = apply(&added, &json!([{"op": "remove", "path": path}])).unwrap();
        prop_assert_eq!(removed, before);
    }
}
