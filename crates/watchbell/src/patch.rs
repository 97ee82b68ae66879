//! The strategic merge patch of a client-side apply: what the new manifest says, and what the last one said that the new
//! one does not say any more. What others set in between stays.
//!
//! ```text
//!   last applied ─┐ gone from the manifest: null, or $patch: delete
//!   new manifest ─┼─▶ patch
//!   live object  ─┘ differs from the manifest: the manifest's value
//! ```

use serde_json::{Map, Value, json};
use watchbell_api::Resource;
use watchbell_api::schema::{self, Field, Shape, Table};

/// The annotation that remembers what was applied.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The patch that makes `live` what `new` says. An empty object when there is nothing to change.
pub(crate) fn three_way(resource: Resource, last: &Value, live: &Value, new: &Value) -> Value {
    let shape = Shape::Object(schema::type_of(resource));
    let empty = Map::new();
    let map = |value: &'_ Value| value.as_object().cloned().unwrap_or_default();
    let patch = match new {
        Value::Object(new) => object(&shape, &map(last), &map(live), new),
        _ => empty,
    };
    Value::Object(patch)
}

/// The field of a struct, when the schema has it.
fn field<'t>(shape: &Shape, name: &str) -> Option<&'t Field> {
    match shape {
        Shape::Object(id) => Table::get().type_of(*id).field(name),
        Shape::Map(_) | Shape::List(_) | Shape::Scalar(_) => None,
    }
}

fn object(
    shape: &Shape,
    last: &Map<String, Value>,
    live: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, wanted) in new {
        let found = live.get(key);
        if wanted.is_null() {
            if found.is_some_and(|value| !value.is_null()) {
                patch.insert(key.clone(), Value::Null);
            }
            continue;
        }
        if found == Some(wanted) {
            continue;
        }
        let known = field(shape, key);
        // A field that the schema does not know is left for the server to refuse.
        let inner = known.map(|field| &field.shape).or(match shape {
            Shape::Map(item) => Some(item.as_ref()),
            _ => None,
        });
        match (wanted, found, inner) {
            (Value::Object(wanted), Some(Value::Object(found)), Some(inner)) => {
                let before = last.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
                let mut change = object(inner, &before, found, wanted);
                if !change.is_empty() {
                    if known.is_some_and(|field| field.patch.retains_keys) {
                        change.insert("$retainKeys".into(), keys(wanted));
                    }
                    patch.insert(key.clone(), Value::Object(change));
                }
            }
            (Value::Array(wanted), Some(Value::Array(found)), Some(Shape::List(item)))
                if known.is_some_and(|field| field.patch.is_merged) =>
            {
                let before = last.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let rules = known.map(|field| field.patch).unwrap_or_default();
                match rules.merge_key {
                    Some(by) => {
                        let lists = Lists { last: before, live: found, new: wanted };
                        keyed_list(item, by, rules.retains_keys, &lists, key, &mut patch);
                    }
                    None => set(before, found, wanted, key, &mut patch),
                }
            }
            _ => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
    }
    for key in last.keys() {
        if !new.contains_key(key) && live.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    patch
}

fn keys(map: &Map<String, Value>) -> Value {
    map.keys().map(|key| Value::String(key.clone())).collect()
}

struct Lists<'a> {
    last: &'a [Value],
    live: &'a [Value],
    new: &'a [Value],
}

/// A list whose items are matched by the field `by`.
fn keyed_list(
    item: &Shape,
    by: &'static str,
    retains_keys: bool,
    lists: &Lists<'_>,
    name: &str,
    patch: &mut Map<String, Value>,
) {
    let find = |list: &[Value], key: &Value| list.iter().find(|item| item[by] == *key).cloned();
    let mut changes = Vec::new();
    for wanted in lists.new {
        let key = &wanted[by];
        let (Some(wanted_map), Some(Value::Object(found))) = (wanted.as_object(), find(lists.live, key))
        else {
            changes.push(wanted.clone());
            continue;
        };
        let before = find(lists.last, key).and_then(|v| v.as_object().cloned()).unwrap_or_default();
        let mut change = object(item, &before, &found, wanted_map);
        if !change.is_empty() {
            if retains_keys {
                change.insert("$retainKeys".into(), keys(wanted_map));
            }
            change.insert(by.into(), key.clone());
            changes.push(Value::Object(change));
        }
    }
    for old in lists.last {
        let key = &old[by];
        if find(lists.new, key).is_none() && find(lists.live, key).is_some() {
            changes.push(json!({"$patch": "delete", by: key}));
        }
    }
    if changes.is_empty() {
        return;
    }
    let order: Vec<Value> = lists.new.iter().map(|item| json!({by: item[by]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), Value::Array(order));
    patch.insert(name.to_owned(), Value::Array(changes));
}

/// A list of scalars that is merged as a set.
fn set(last: &[Value], live: &[Value], new: &[Value], name: &str, patch: &mut Map<String, Value>) {
    let added: Vec<Value> = new.iter().filter(|item| !live.contains(item)).cloned().collect();
    let removed: Vec<Value> =
        last.iter().filter(|item| !new.contains(item) && live.contains(item)).cloned().collect();
    if !removed.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), Value::Array(removed));
    }
    if !added.is_empty() {
        patch.insert(format!("$setElementOrder/{name}"), Value::Array(new.to_vec()));
        patch.insert(name.to_owned(), Value::Array(added));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use watchbell_api::Resource;

    use super::three_way;

    #[track_caller]
    fn check(resource: Resource, last: Value, live: Value, new: Value, expect: Value) {
        assert_eq!(three_way(resource, &last, &live, &new), expect);
    }

    #[test]
    fn what_others_set_stays() {
        check(
            Resource::ConfigMap,
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"a": "1", "b": "2", "other": "x"}, "metadata": {"uid": "u"}}),
            json!({"data": {"a": "3"}}),
            json!({"data": {"a": "3", "b": null}}),
        );
        check(
            Resource::ConfigMap,
            json!({}),
            json!({"data": {"a": "1"}}),
            json!({"data": {"a": "1"}}),
            json!({}),
        );
        check(
            Resource::ConfigMap,
            json!({"immutable": true, "gone": 1}),
            json!({"immutable": true}),
            json!({}),
            json!({"immutable": null}),
        );
    }

    fn cron_job(containers: Value) -> Value {
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": containers}}}}}})
    }

    #[test]
    fn items_of_a_list_are_matched_by_their_key() {
        check(
            Resource::CronJob,
            cron_job(json!([{"name": "a", "image": "x:1", "tty": true}, {"name": "b", "image": "y"}])),
            cron_job(json!([
                {"name": "a", "image": "x:1", "tty": true, "terminationMessagePath": "/dev/termination-log"},
                {"name": "b", "image": "y"}
            ])),
            cron_job(json!([{"name": "a", "image": "x:2"}])),
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"image": "x:2", "tty": null, "name": "a"}, {"$patch": "delete", "name": "b"}],
            }}}}}}),
        );
        // Defaults that the server filled in are no difference.
        let filled = cron_job(json!([{"name": "a", "image": "x", "imagePullPolicy": "Always"}]));
        let said = cron_job(json!([{"name": "a", "image": "x"}]));
        check(Resource::CronJob, said.clone(), filled, said, json!({}));
    }

    #[test]
    fn a_volume_changes_its_kind_whole() {
        let pod = |volume: Value| json!({"spec": {"volumes": [volume]}});
        check(
            Resource::Pod,
            pod(json!({"name": "v", "emptyDir": {}})),
            pod(json!({"name": "v", "emptyDir": {}})),
            pod(json!({"name": "v", "configMap": {"name": "c"}})),
            json!({"spec": {
                "$setElementOrder/volumes": [{"name": "v"}],
                "volumes": [{"configMap": {"name": "c"}, "emptyDir": null, "$retainKeys": ["name", "configMap"], "name": "v"}],
            }}),
        );
    }

    #[test]
    fn atomic_lists_are_replaced() {
        let command = |words: Value| cron_job(json!([{"name": "a", "command": words}]));
        check(
            Resource::CronJob,
            command(json!(["x", "y"])),
            command(json!(["x", "y"])),
            command(json!(["x"])),
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"command": ["x"], "name": "a"}],
            }}}}}}),
        );
    }

    #[test]
    fn sets_gain_and_lose_members() {
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        check(
            Resource::ConfigMap,
            finalizers(json!(["a", "b"])),
            finalizers(json!(["a", "b", "z"])),
            finalizers(json!(["b", "c"])),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["b", "c"],
                "finalizers": ["c"],
            }}),
        );
    }
}
