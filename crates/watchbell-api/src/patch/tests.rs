use proptest::prelude::*;
use serde_json::{Value, json};

use super::{json_patch, merge, strategic};
use crate::{Reason, Resource};

mod json;
mod strategy;

/// RFC 7386, appendix A.
#[test]
fn a_merge_patch_does_what_its_rfc_says() {
    for (target, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), Value::Null, Value::Null),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut merged = target.clone();
        super::merge::apply(&mut merged, &patch);
        assert_eq!(merged, expected, "{target} with {patch}");
    }
}

#[test]
fn what_is_no_patch_is_a_bad_request() {
    let job = json!({"metadata": {"name": "j"}});
    for body in [json!(null), json!("x"), json!([1]), json!(1)] {
        for error in [
            merge(Resource::Job, &job, &body).unwrap_err(),
            strategic(Resource::Job, &job, &body).unwrap_err(),
            json_patch(Resource::Job, &job, &body).unwrap_err(),
        ] {
            assert_eq!(error.reason, Reason::BadRequest);
            assert_eq!(
                (error.kind.as_str(), error.group.as_str(), error.name.as_str()),
                ("jobs", "batch", "j")
            );
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let key = "metadata|labels|spec|template|containers|name|finalizers|ports|env|volumes|a|\\$patch|\\$retainKeys|\
               \\$setElementOrder/containers|\\$deleteFromPrimitiveList/finalizers";
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}

proptest! {
    #[test]
    fn an_empty_patch_changes_nothing(object in any_json().prop_filter("an object", Value::is_object)) {
        prop_assert_eq!(&merge(Resource::Job, &object, &json!({})).unwrap(), &object);
        prop_assert_eq!(&strategic(Resource::Job, &object, &json!({})).unwrap(), &object);
        prop_assert_eq!(&json_patch(Resource::Job, &object, &json!([])).unwrap(), &object);
    }

    /// Applied twice a merge says nothing new; and whatever is sent, it is answered.
    #[test]
    fn merging_again_changes_nothing(
        object in any_json().prop_filter("an object", Value::is_object),
        patch in any_json().prop_filter("an object", Value::is_object),
    ) {
        let once = merge(Resource::Pod, &object, &patch).unwrap();
        prop_assert_eq!(&merge(Resource::Pod, &once, &patch).unwrap(), &once);
        for resource in [Resource::Job, Resource::Pod] {
            if let Ok(once) = strategic(resource, &object, &patch) {
                prop_assert_eq!(&strategic(resource, &once, &patch).unwrap(), &once);
            }
        }
    }

    /// A merge patch onto nothing is the patch itself without its nulls.
    #[test]
    fn a_merge_onto_nothing_is_the_patch(patch in any_json().prop_filter("an object", Value::is_object)) {
        let merged = merge(Resource::Pod, &json!({}), &patch).unwrap();
        prop_assert_eq!(merged, without_nulls(patch));
    }
}
