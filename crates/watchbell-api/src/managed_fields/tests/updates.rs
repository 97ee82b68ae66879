//! What a create, an update and a patch own.

use super::*;

#[test]
fn the_fields_of_an_object_follow_the_schema() {
    let check = |object: Value, expected: &[&str]| {
        assert_eq!(paths(&fields_of(Resource::Job, &object)), expected, "{object}");
    };
    check(json!({"spec": {"completions": 1}}), &[".spec.completions"]);
    // Maps by key, empty ones as a whole.
    check(json!({"metadata": {"labels": {"a.b/c": "x"}}}), &[".metadata.labels.a.b/c"]);
    check(json!({"metadata": {"labels": {}}}), &[".metadata.labels"]);
    // Sets by value.
    check(json!({"metadata": {"finalizers": ["a/b"]}}), &[".metadata.finalizers[=\"a/b\"]"]);
    // Atomic: lists, maps and structs as a whole.
    let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    check(pod(json!({"nodeSelector": {"a": "b"}})), &[".spec.template.spec.nodeSelector"]);
    check(pod(json!({"tolerations": [{"key": "a"}]})), &[".spec.template.spec.tolerations"]);
    check(json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), &[".spec.selector"]);
    // Lists by their keys, of which one has a default.
    check(
        pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80}], "args": ["x"]}]})),
        &[
            ".spec.template.spec.containers[name=\"a\"]",
            ".spec.template.spec.containers[name=\"a\"].args",
            ".spec.template.spec.containers[name=\"a\"].name",
            ".spec.template.spec.containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"]",
            ".spec.template.spec.containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
        ],
    );
}

#[test]
fn a_creator_owns_what_it_wrote() {
    let mut object = containers(json!([{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1"}}}]));
    object["metadata"]["labels"] = json!({"a": "b"});
    object["metadata"]["uid"] = "u".into();
    object["status"] = json!({"active": 1});
    let managed = update(Resource::Job, None, &object, Vec::new(), by("kubectl-create"));
    assert_eq!(
        encode(&managed),
        json!([{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "batch/v1",
            "time": "2026-03-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:image": {}, "f:name": {},
                    "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}},
                }}}}},
            },
        }])
    );
    let nameless = update(Resource::Job, None, &object, Vec::new(), by(""));
    assert_eq!(nameless[0].manager, "unknown");
}

#[test]
fn who_changes_a_field_owns_it() {
    let data = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let step = |before: &Value, after: &Value, managed: &[Entry], manager: &str, now: i64| {
        let by = Writer { now, ..by(manager) };
        update(Resource::ConfigMap, Some(before), after, managed.to_vec(), by)
    };
    let one = data(json!({"a": "1", "b": "2"}));
    let made = update(Resource::ConfigMap, None, &one, Vec::new(), by("x"));
    assert_eq!(told(&made), ["x Update: .data .data.a .data.b"]);
    // Nothing changed: nobody is told of it, and no time moves.
    assert_eq!(step(&one, &one, &made, "y", NOW + 1), made);
    let two = data(json!({"a": "9", "c": "3"}));
    let changed = step(&one, &two, &made, "y", NOW + 1);
    assert_eq!(told(&changed), ["x Update: .data", "y Update: .data.a .data.c"]);
    // The same manager again is one entry; one that owns nothing any more has none.
    let three = data(json!({"a": "9", "c": "4"}));
    let again = step(&two, &three, &changed, "y", NOW + 2);
    assert_eq!(told(&again), told(&changed));
    assert_eq!(again[1].time, Some(NOW + 2));
    let mut bare = three.clone();
    bare.as_object_mut().unwrap().shift_remove("data");
    assert_eq!(told(&step(&three, &bare, &again, "z", NOW + 3)), [""; 0]);
    // Where nobody is tracked, an update does not begin it.
    assert!(step(&one, &two, &[], "y", NOW).is_empty());
}

#[test]
fn a_subresource_owns_its_part_alone() {
    let before = job(json!({"parallelism": 1}));
    let mut after = job(json!({"parallelism": 2}));
    after["status"] = json!({"active": 1, "conditions": [{"type": "Suspended"}]});
    let managed = update(Resource::Job, None, &before, Vec::new(), by("x"));
    let status = Writer { subresource: "status", ..by("x") };
    let managed = update(Resource::Job, Some(&before), &after, managed, status);
    // Of one second they stand by their names.
    assert_eq!(
        told(&managed),
        ["x Update: .spec.parallelism", "x Update: .status.active .status.conditions"]
            .map(|s| s.replace(".status.active", ".status .status.active"))
    );
    assert_eq!(managed[1].subresource, "status");
}

#[test]
fn the_oldest_updates_become_one() {
    let data = |n: usize| {
        let data: Value =
            (0..n).map(|i| (format!("k{i:02}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
    };
    let mut managed = update(Resource::ConfigMap, None, &data(1), Vec::new(), by("m00"));
    let mut applied = by("applier").entry(Resource::ConfigMap, Operation::Apply);
    applied.fields.insert(&[PathElement::field("immutable")]);
    managed.push(applied);
    for n in 1..20 {
        let manager = format!("m{n:02}");
        let by = Writer { now: NOW + n as i64, ..by(&manager) };
        managed = update(Resource::ConfigMap, Some(&data(n)), &data(n + 1), managed, by);
        assert!(managed.len() <= 11, "{managed:?}");
    }
    let names: Vec<&str> = managed.iter().map(|e| e.manager.as_str()).collect();
    assert_eq!(
        names,
        ["applier", "ancient-changes", "m11", "m12", "m13", "m14", "m15", "m16", "m17", "m18", "m19"]
    );
    // Nothing is lost, and the merged entry has the time of the newest in it.
    assert_eq!(paths(&managed[1].fields).len(), 12);
    assert_eq!(managed[1].time, Some(NOW + 10));
}
