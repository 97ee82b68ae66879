use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Prune, SchemaReport, Shape, Table, check, check_type, type_of};
use crate::Resource;

/// What an object becomes and what is said of it; `Ok` when nothing is.
#[track_caller]
fn check_as(resource: Resource, input: Value, expected: &Value, findings: &[&str]) {
    let mut object = input.clone();
    let report = check(resource, &mut object, Prune::Unknown);
    let mut found: Vec<String> = report.type_errors.iter().map(ToString::to_string).collect();
    found.extend(report.unknown.iter().map(|path| format!("unknown {path}")));
    assert_eq!(found, findings, "{input}");
    assert_eq!(&object, expected, "{input}");
}

#[track_caller]
fn wrong(resource: Resource, input: Value, findings: &[&str]) {
    let object = input.clone();
    check_as(resource, input, &object, findings);
}

#[test]
fn the_table_holds_every_served_resource() {
    for resource in Resource::all() {
        let of = Table::get().type_of(type_of(resource));
        assert!(of.field("metadata").is_some(), "{}", of.name);
    }
    assert_eq!(Table::get().version, "1.36");
}

#[test]
fn the_fields_of_each_type_are_sorted() {
    for of in Table::get().types() {
        assert!(of.fields.is_sorted_by(|a, b| a.name < b.name), "{}", of.name);
    }
}

#[test]
fn wrong_json_types_are_worded_as_go_does() {
    let container = |c: Value| json!({"spec": {"containers": [{"name": "a"}, c]}});
    wrong(
        Resource::Pod,
        container(json!({"name": "b", "image": 7})),
        &[
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ],
    );
    wrong(
        Resource::Job,
        json!({"spec": {"completions": "3", "parallelism": 1.5, "backoffLimit": 4_294_967_296i64}}),
        &[
            "json: cannot unmarshal string into Go struct field JobSpec.spec.completions of type int32",
            "json: cannot unmarshal number 1.5 into Go struct field JobSpec.spec.parallelism of type int32",
            "json: cannot unmarshal number 4294967296 into Go struct field JobSpec.spec.backoffLimit of type int32",
        ],
    );
    wrong(
        Resource::Job,
        json!({"metadata": [], "spec": {"template": {"spec": {"containers": {}, "nodeSelector": []}}}}),
        &[
            "json: cannot unmarshal array into Go struct field Job.metadata of type v1.ObjectMeta",
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            "json: cannot unmarshal array into Go struct field PodSpec.spec.template.spec.nodeSelector of type map[string]string",
        ],
    );
    wrong(
        Resource::ConfigMap,
        json!({"data": {"a": 1, "b": true}}),
        &[
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
            "json: cannot unmarshal bool into Go struct field ConfigMap.data of type string",
        ],
    );
    wrong(Resource::Pod, json!([1]), &["json: cannot unmarshal array into Go value of type v1.Pod"]);
    wrong(
        Resource::Pod,
        json!({"spec": {"containers": [1]}}),
        &["json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container"],
    );
    wrong(
        Resource::Pod,
        container(json!({"name": "b", "livenessProbe": {"httpGet": {"port": true}}})),
        &[
            "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type intstr.IntOrString",
        ],
    );
}

#[test]
fn content_of_the_wrong_form_is_named_with_its_path() {
    let limits =
        |q: Value| json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": q}}}]}});
    const QUANTITY: &str = "spec.containers[0].resources.limits.memory: quantities must match the regular expression \
                            '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    wrong(Resource::Pod, limits(json!("1GB")), &[QUANTITY]);
    wrong(Resource::Pod, limits(json!(true)), &[QUANTITY]);
    wrong(
        Resource::Secret,
        json!({"data": {"a": "YQ=", "b": "Y Q=", "c": "YQ==\n", "d": "", "e": "!"}}),
        &[
            "data.a: illegal base64 data at input byte 3",
            "data.b: illegal base64 data at input byte 1",
            "data.e: illegal base64 data at input byte 0",
        ],
    );
    for time in [
        "2026-11-25",
        "2026-11-25 10:00:00Z",
        "2026-11-25T10:00:00",
        "2026-02-30T10:00:00Z",
        "2026-11-25T10:00:60Z",
        "2026-11-25T10:00:00.Z",
        "2026-11-25T10:00:00Z[UTC]",
        "now",
        "",
    ] {
        let mut object = json!({"metadata": {"creationTimestamp": time}});
        let report = check(Resource::Pod, &mut object, Prune::Unknown);
        assert!(
            report.type_errors[0].detail.starts_with("metadata.creationTimestamp: parsing time"),
            "{report:?}"
        );
    }
}

#[test]
fn the_stored_form_is_canonical() {
    check_as(
        Resource::Pod,
        json!({
            "kind": "Pod",
            "metadata": {"name": "a", "labels": {}, "namespace": "", "creationTimestamp": null, "annotations": {"x": null}},
            "spec": {
                "nodeSelector": null, "hostNetwork": false, "enableServiceLinks": false, "volumes": [],
                "containers": [{
                    "name": "a", "args": [], "command": ["", null], "securityContext": {}, "stdin": false, "tty": true,
                    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "x/y": null}, "requests": {}},
                    "env": [{"name": "A", "value": ""}], "ports": [{"containerPort": 80, "hostPort": 0}],
                    "livenessProbe": {"periodSeconds": 0, "failureThreshold": 2, "grpc": {"port": 1, "service": ""}},
                }],
            },
        }),
        &json!({
            "kind": "Pod",
            "metadata": {"name": "a", "annotations": {"x": ""}},
            "spec": {
                "enableServiceLinks": false,
                "containers": [{
                    "name": "a", "command": ["", ""], "securityContext": {}, "tty": true,
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "x/y": "0"}},
                    "env": [{"name": "A"}], "ports": [{"containerPort": 80}],
                    "livenessProbe": {"failureThreshold": 2, "grpc": {"port": 1, "service": ""}},
                }],
            },
        }),
        &[],
    );
    check_as(
        Resource::Event,
        json!({
            "firstTimestamp": "2026-11-25T10:00:00.9+02:00", "eventTime": "2026-11-25T10:00:00.5Z",
            "involvedObject": {}, "metadata": {},
        }),
        &json!({
            "firstTimestamp": "2026-11-25T08:00:00Z", "eventTime": "2026-11-25T10:00:00.500000Z",
            "involvedObject": {}, "metadata": {},
        }),
        &[],
    );
    check_as(
        Resource::CronJob,
        json!({"spec": {"schedule": "", "timeZone": "", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}}),
        &json!({"spec": {"schedule": "", "timeZone": "", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}}),
        &[],
    );
    check_as(Resource::Pod, Value::Null, &json!({}), &[]);
}

#[test]
fn unknown_fields_are_named_and_removed() {
    let object = json!({
        "Kind": "Pod", "metadata": {"labels": {"any.thing": "x"}},
        "spec": {"containers": [{"name": "a"}, {"name": "b", "imag": "x", "env": [{"nam": "y"}]}]},
    });
    let paths = ["Kind", "spec.containers[1].imag", "spec.containers[1].env[0].nam"];
    check_as(
        Resource::Pod,
        object.clone(),
        &json!({
            "metadata": {"labels": {"any.thing": "x"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "env": [{}]}]},
        }),
        &paths.map(|p| format!("unknown {p}")).iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let mut kept = object.clone();
    let report = check(Resource::Pod, &mut kept, Prune::Nothing);
    assert_eq!((report.unknown, kept), (paths.map(String::from).to_vec(), object));
}

#[test]
fn findings_are_bounded_in_number_and_size() {
    let long = "k".repeat(1 << 20);
    let mut many: serde_json::Map<String, Value> = (0..10_000).map(|i| (format!("f{i}"), json!(1))).collect();
    many.insert(long.clone(), json!(1));
    let mut object = json!({"spec": {"containers": vec![json!(1); 10_000]}, "metadata": many, long: 1});
    let report = check(Resource::Pod, &mut object, Prune::Unknown);
    assert_eq!((report.type_errors.len(), report.unknown.len()), (64, 64));
    assert!(report.unknown.iter().all(|path| path.len() < 2048));
    let mut only_long = json!({"x".repeat(10 << 20): 1});
    assert!(check(Resource::Pod, &mut only_long, Prune::Unknown).unknown[0].len() <= 128);
}

#[test]
fn any_type_of_the_table_can_be_checked() {
    let id = Table::get().find("core.v1.PodTemplateSpec").unwrap();
    let mut template = json!({"spec": {"containers": [], "x": 1}});
    assert_eq!(check_type(id, &mut template, Prune::Unknown).unknown, ["spec.x"]);
}

/// Values near to what a shape takes: mostly right, some null, empty or wrong.
fn near(shape: &Shape, depth: u32) -> BoxedStrategy<Value> {
    let odd = prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!(0)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(false))
    ];
    let right: BoxedStrategy<Value> = match shape {
        Shape::Scalar(super::Scalar::Quantity) => {
            prop_oneof!["[0-9]{1,4}(m|Ki|Mi|e3|)", "[0-9]\\.[0-9]{1,3}"].prop_map(Value::from).boxed()
        }
        Shape::Scalar(super::Scalar::Time | super::Scalar::MicroTime) => (-1_000_000_000i64..4_000_000_000)
            .prop_map(|s| jiff::Timestamp::from_second(s).unwrap().to_string().into())
            .boxed(),
        Shape::Scalar(super::Scalar::Bool) => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Scalar(super::Scalar::Int32 | super::Scalar::Int64 | super::Scalar::Double) => {
            (-3..3i32).prop_map(Value::from).boxed()
        }
        Shape::Scalar(_) => "[a-z]{0,4}".prop_map(Value::from).boxed(),
        Shape::List(item) => prop::collection::vec(near(item, depth), 0..3).prop_map(Value::from).boxed(),
        Shape::Map(item) => prop::collection::btree_map("[a-c]{1,2}", near(item, depth), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Shape::Object(_) if depth == 0 => Just(json!({})).boxed(),
        Shape::Object(id) => {
            let of = Table::get().type_of(*id);
            let fields: Vec<(String, Shape)> =
                of.fields.iter().map(|f| (f.name.to_owned(), f.shape.clone())).collect();
            prop::sample::subsequence(fields.clone(), 0..=fields.len().min(3))
                .prop_flat_map(move |chosen| {
                    let values: Vec<BoxedStrategy<(String, Value)>> = chosen
                        .into_iter()
                        .map(|(name, shape)| {
                            near(&shape, depth - 1).prop_map(move |v| (name.clone(), v)).boxed()
                        })
                        .collect();
                    values
                })
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
                .boxed()
        }
    };
    prop_oneof![8 => right, 1 => odd].boxed()
}

proptest! {
    #[test]
    fn checking_twice_changes_nothing_more(object in near(&Shape::Object(type_of(Resource::Job)), 6)) {
        let mut once = object;
        let first = check(Resource::Job, &mut once, Prune::Unknown);
        let mut twice = once.clone();
        let second = check(Resource::Job, &mut twice, Prune::Unknown);
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(second, SchemaReport { unknown: Vec::new(), ..first });
    }
}

/// The tests of clients use times of long ago, and a holder of none.
#[test]
fn leases_keep_their_times_and_holders() {
    let lease = |acquired: &str| json!({"spec": {"holderIdentity": "", "acquireTime": acquired}});
    check_as(Resource::Lease, lease("0001-01-01T00:00:02Z"), &lease("0001-01-01T00:00:02.000000Z"), &[]);
    check_as(
        Resource::Lease,
        lease("2026-01-01T01:00:00.1234567+01:00"),
        &lease("2026-01-01T00:00:00.123456Z"),
        &[],
    );
}

#[test]
fn what_go_does_not_write_is_not_kept() {
    check_as(
        Resource::PriorityClass,
        json!({"value": 0, "globalDefault": false, "description": ""}),
        &json!({"value": 0}),
        &[],
    );
    check_as(
        Resource::PersistentVolumeClaim,
        json!({"spec": {"storageClassName": "", "volumeName": "", "resources": {"requests": {"storage": "1024Mi"}}}}),
        &json!({"spec": {"storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}),
        &[],
    );
    check_as(
        Resource::NetworkPolicy,
        json!({"spec": {"podSelector": {}, "ingress": [], "egress": [{}]}}),
        &json!({"spec": {"podSelector": {}, "egress": [{}]}}),
        &[],
    );
}
