//! The rules between an annotation and the Job around it, and early plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::array::{ArrayEncryption, ArrayFacts};

use super::{
    COMPARISONS_MAX, Known, NotPlanned, SECRET_UPPER, Uses, Verdicts, errors, unplannable, variable_part,
};

/// A hierarchy with the array `/t` of 24 by 8 elements in chunks of 3 by 8.
pub(crate) fn facts() -> ArrayFacts {
    let array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [24, 8], "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 8]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["time", "x"], "attributes": {},
    });
    let documents = BTreeMap::from([
        ("zarr.json".to_owned(), br#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#.to_vec()),
        ("t/zarr.json".to_owned(), array.to_string().into_bytes()),
    ]);
    ArrayFacts {
        format: "zarr v3".into(),
        head: Some("3f2a9c5d1e7b".repeat(5).into()),
        head_at: Some(1_772_323_200),
        documents: Some(Arc::new(documents)),
        snapshots: 1,
        bytes: 768,
        keys: 10,
        ..ArrayFacts::default()
    }
}

fn job(annotation: &str, spec: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "annotations": {}},
        "spec": {
            "completionMode": "Indexed", "completions": 8,
            "template": {
                "metadata": {"annotations": {"watchbell.dev/array": annotation}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]},
            },
        },
    });
    merge(&mut job, spec);
    job
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// What the rules find begins so, in their order; nothing else is found.
fn check(resource: Resource, object: &Value, expect: &[&str]) {
    let found: Vec<String> = errors(resource, object).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (found, expect) in found.iter().zip(expect) {
        assert!(found.contains(expect), "{found}\nhas not\n{expect}");
    }
}

const WRITE: &str = "{name: obs, mount: /data, mode: write, split: {dim: time, into: 8}}";
const READ: &str = "{name: obs, mount: /data}";

#[test]
fn a_job_fits_its_arrays() {
    let of_job = |annotation: &str, spec: Value, expect: &[&str]| {
        check(Resource::Job, &job(annotation, spec.clone()), expect);
    };
    of_job(WRITE, json!({}), &[]);
    of_job(READ, json!({}), &[]);
    of_job(READ, json!({"spec": {"completionMode": "NonIndexed", "completions": null}}), &[]);
    of_job(r#"{"name": "obs", "mount": "/data"}"#, json!({}), &[]);
    of_job(
        "{name: obs",
        json!({}),
        &["spec.template.metadata.annotations[watchbell.dev/array]: Invalid value"],
    );
    of_job("a: 1\n---\nb: 2", json!({}), &["it is not one document of JSON or YAML"]);
    of_job("{name: obs, mount: /data, mode: write}", json!({}), &["split: is required when mode is write"]);
    of_job(
        WRITE,
        json!({"spec": {"completions": 7}}),
        &["spec.completions: Invalid value: \"7\": the split of array \"obs\" makes 8 indices"],
    );
    let auto = json!({"metadata": {"annotations": {"watchbell.dev/array-completions": "auto"}}, "spec": {"completions": 1}});
    of_job(WRITE, auto.clone(), &[]);
    of_job(READ, auto.clone(), &["no array is split"]);
    of_job(
        WRITE,
        json!({"metadata": {"annotations": {"watchbell.dev/array-completions": "yes"}}}),
        &["is auto, or left out"],
    );
    let single = json!({"spec": {"completionMode": "NonIndexed", "completions": 1}});
    of_job(&WRITE.replace('8', "1"), single.clone(), &[]);
    of_job(
        WRITE,
        json!({"spec": {"completionMode": "NonIndexed", "completions": 8}}),
        &["a split needs a Job with completionMode: Indexed", "completionMode: Indexed, or completions: 1"],
    );
    of_job(
        WRITE,
        json!({"spec": {
            "successPolicy": {"rules": [{"succeededCount": 1}]}, "managedBy": "example.com/other",
            "template": {"spec": {"restartPolicy": "OnFailure"}},
        }}),
        &[
            "spec.successPolicy: Invalid value",
            "spec.managedBy: Invalid value: \"example.com/other\"",
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\"",
        ],
    );
    of_job(READ, json!({"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}), &[]);
    of_job(&WRITE.replace("into: 8}", "into: 8}, quota: 1Gi"), json!({}), &[]);
    of_job(
        &WRITE.replace("into: 8}", "into: 8}, quota: much"),
        json!({}),
        &["the quota must be a whole number"],
    );
    of_job(
        &WRITE.replace("into: 8}", "into: 8}, quota: 1m"),
        json!({}),
        &["the quota must be a whole number"],
    );
    of_job(
        &WRITE.replace("into: 8}", "into: 8}, quota: 4095"),
        json!({}),
        &["the quota must be a whole number"],
    );
    of_job(
        "[{name: sea-level, mount: /a}, {name: sea.level, mount: /b}]",
        json!({}),
        &["another array has the variables WATCHBELL_ARRAY_SEA_LEVEL_"],
    );
}

#[test]
fn a_gate_stands_before_a_publication() {
    let gate = |value: &str| json!({"metadata": {"annotations": {"watchbell.dev/array-gate": value}}});
    check(Resource::Job, &job(WRITE, gate("check")), &[]);
    check(Resource::Job, &job(READ, gate("check")), &["no array is written"]);
    check(Resource::Job, &job(WRITE, gate("")), &["must be the name of a CronJob"]);
    let rebasing = WRITE.replace("mode: write", "mode: write, onConflict: rebase");
    check(
        Resource::Job,
        &job(&rebasing, gate("check")),
        &["publishes something else once the head has moved"],
    );
    check(Resource::Job, &job(&rebasing, json!({})), &[]);
    let mut plain = job(READ, gate("check"));
    plain["spec"]["template"]["metadata"]["annotations"] = json!({});
    check(
        Resource::Job,
        &plain,
        &[
            "metadata.annotations[watchbell.dev/array-gate]: Invalid value: \"check\": the pod template uses no array",
        ],
    );
}

#[test]
fn a_mount_takes_no_other_place() {
    let at = |mount: &str| job(&format!("{{name: obs, mount: {mount}}}"), json!({}));
    for mount in ["/proc", "/sys/fs", "/dev/shm"] {
        check(Resource::Job, &at(mount), &["an array cannot be mounted at, in or over /"]);
    }
    for mount in ["/etc", "/run", "/var/run"] {
        check(Resource::Job, &at(mount), &["would hide what a container needs"]);
    }
    check(Resource::Job, &at("/etc/data"), &[]);
    check(Resource::Job, &at("/procs"), &[]);
    for (volume, expect) in [
        ("/data", &["container \"main\" mounts a volume at \"/data\""][..]),
        ("/data/", &["container \"main\" mounts a volume at \"/data/\""]),
        ("/data/in", &["container \"main\" mounts a volume at \"/data/in\""]),
        ("/database", &[]),
    ] {
        let container = json!({"name": "main", "volumeMounts": [{"name": "v", "mountPath": volume}]});
        let spec = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        check(Resource::Job, &job(READ, spec), expect);
    }
}

#[test]
fn a_pod_alone_only_reads() {
    let pod = |annotation: &str| json!({"metadata": {"annotations": {"watchbell.dev/array": annotation}}, "spec": {"containers": []}});
    check(Resource::Pod, &pod(READ), &[]);
    check(Resource::Pod, &pod(WRITE), &["only the pods of a Job can write an array"]);
    check(
        Resource::Pod,
        &pod("{name: obs, mount: /data, split: {dim: time, into: 8}}"),
        &["only the pods of a Job have an index"],
    );
}

#[test]
fn a_cron_job_is_judged_as_its_jobs() {
    let inner = job(WRITE, json!({"spec": {"completions": 7}}));
    let cron = json!({"metadata": {}, "spec": {"jobTemplate": {"metadata": inner["metadata"], "spec": inner["spec"]}}});
    check(Resource::CronJob, &cron, &["spec.jobTemplate.spec.completions: Invalid value: \"7\""]);
}

/// It is the name of most projected grids.
#[test]
fn a_dimension_y_is_written_in_quotes() {
    let read = |split: &str| {
        Uses::read(&format!("{{name: obs, mount: /data, mode: write, split: {split}}}")).map(drop)
    };
    for split in ["{dim: y, into: 8}", "{explicit: [{y: [0, 1], x: [0, 1]}]}"] {
        let why = read(split).unwrap_err();
        assert!(why.ends_with("write \"y\" in quotes"), "{why}");
    }
    for split in ["{dim: \"y\", into: 8}", "{explicit: [{'y': [0, 1], x: [0, 1]}]}"] {
        assert_eq!(read(split), Ok(()));
    }
}

#[test]
fn a_plan_is_made_early() {
    let known = Known::new(Arc::new(facts()));
    let plan = |known: &Known, split: &str, completions: u32| {
        let uses = Uses::read(&format!("{{name: obs, mount: /data, mode: write, {split}}}")).unwrap();
        let mut comparisons = COMPARISONS_MAX;
        let indices = known.indices(&uses.list[0], &mut comparisons);
        let made = known.plan(&uses.list[0], completions, &mut comparisons);
        (made.map(|plan| plan.map(|plan| plan.elements(1)[0].start)), indices)
    };
    assert_eq!(plan(&known, "split: {dim: time, into: 8}", 8), (Ok(Some(3)), Ok(Some(8))));
    assert_eq!(plan(&known, "split: perChunk", 8), (Ok(Some(3)), Ok(Some(8))));
    let (grown, indices) = plan(&known, "split: perChunk, extend: {dim: time, by: 6}", 2);
    assert_eq!((grown, indices), (Ok(Some(27)), Ok(Some(2))));
    let (refused, _) = plan(&known, "split: {dim: time, into: 9}", 9);
    let Err(NotPlanned::Illegal(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("it cannot be split into 9; the most is 8"), "{why}");
    let (refused, _) = plan(&known, "split: {dim: depth, into: 2}", 2);
    let Err(NotPlanned::Illegal(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("no array has a dimension \"depth\""), "{why}");
    let empty = Known::new(Arc::new(ArrayFacts { head: None, documents: None, ..facts() }));
    assert_eq!(
        plan(&empty, "split: perChunk", 8),
        (Err(NotPlanned::NoSnapshot), Err(NotPlanned::NoSnapshot))
    );
    // In memory alone an encrypted array is written.
    let secret = Known::new(Arc::new(ArrayFacts { encryption: Some(ArrayEncryption::default()), ..facts() }));
    assert_eq!(plan(&secret, "split: perChunk", 8).0, Ok(Some(3)));
    let on_disk = plan(&secret, "split: perChunk, upper: disk", 8).0;
    assert_eq!(on_disk, Err(NotPlanned::Illegal(SECRET_UPPER.to_owned())));
    assert_eq!(plan(&known, "split: perChunk, upper: disk", 8).0, Ok(Some(3)));
    let large = Known::new(Arc::new(ArrayFacts { documents: None, ..facts() }));
    assert_eq!(plan(&large, "split: perChunk", 8), (Err(NotPlanned::TooLarge), Err(NotPlanned::TooLarge)));
}

/// Regions that overlap along the dimension with most chunks, and do not meet: each is compared with all before it.
#[test]
fn regions_that_take_long_to_compare_are_for_the_node() {
    let array = r#"{"zarr_format": 3, "node_type": "array", "shape": [2000, 44, 44], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 1]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes"}], "dimension_names": ["t", "u", "x"], "attributes": {}}"#;
    let group = r#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#;
    let mut documents = BTreeMap::from([("zarr.json".to_owned(), group.as_bytes().to_vec())]);
    documents.extend((0..200).map(|n| (format!("a{n}/zarr.json"), array.as_bytes().to_vec())));
    let known = Known::new(Arc::new(ArrayFacts { documents: Some(Arc::new(documents)), ..facts() }));
    let region = |n: u32| {
        format!(
            "{{t: [{n}, 2000], u: [{u}, {}], x: [{x}, {}]}}",
            n / 44 + 1,
            n % 44 + 1,
            u = n / 44,
            x = n % 44
        )
    };
    let regions: Vec<String> = (0..1_400).map(region).collect();
    let text =
        format!("{{name: obs, mount: /data, mode: write, split: {{explicit: [{}]}}}}", regions.join(","));
    let uses = Uses::read(&text).unwrap();
    let mut left = COMPARISONS_MAX;
    assert_eq!(known.plan(&uses.list[0], 1_400, &mut left), Err(NotPlanned::TooLarge));
    // Of 200 times a million pairs.
    assert!(COMPARISONS_MAX <= 1 << 20 && left < COMPARISONS_MAX, "{left}");
    // Nothing is left for the next array of the same request.
    assert_eq!(known.plan(&uses.list[0], 1_400, &mut left), Err(NotPlanned::TooLarge));
    assert_eq!(known.indices(&uses.list[0], &mut left), Ok(Some(1_400)));
    let wanted = job(&text, json!({"spec": {"completions": 1_400}}));
    assert_eq!(unplannable(Resource::Job, &wanted, |_| Some(&known)), []);
}

#[test]
fn an_explanation_names_the_elements() {
    let known = Known::new(Arc::new(facts()));
    let uses = Uses::read(WRITE).unwrap();
    let told = Known::explain(Ok(Some(&known)), &uses.list[0], 8, Some(7));
    assert_eq!(
        told["indices"],
        json!([{"index": 7, "elements": [{"dimension": "time", "start": 21, "stop": 24}], "chunks": 1}])
    );
    let unknown = Known::explain(Ok(None), &uses.list[0], 8, None);
    assert!(unknown["problem"].as_str().unwrap().contains("nothing is known"));
}

#[test]
fn a_variable_has_the_letters_of_one() {
    assert_eq!(variable_part("sea-level.v2"), "SEA_LEVEL_V2");
}

#[test]
fn artifacts_follow_no_plan() {
    let document = watchbell_zarr::ARTIFACTS_DOCUMENT.as_bytes().to_vec();
    let documents = Some(Arc::new(BTreeMap::from([("zarr.json".to_owned(), document)])));
    let known = Known::new(Arc::new(ArrayFacts { documents, ..facts() }));
    let uses = Uses::read("{name: obs, mount: /out, mode: artifacts}").unwrap();
    assert_eq!(known.indices(&uses.list[0], &mut 0), Ok(None));
    assert!(matches!(known.plan(&uses.list[0], 5, &mut 0), Ok(Some(plan)) if plan.completions == 5));
    assert_eq!(Known::explain(Ok(Some(&known)), &uses.list[0], 5, None)["mode"], "artifacts");
    let auto = json!({"metadata": {"annotations": {"watchbell.dev/array-completions": "auto"}}});
    let no_plan = &["no plan says how many, so set completions and leave this out"];
    let alone = job("{name: obs, mount: /out, mode: artifacts}", auto.clone());
    check(Resource::Job, &alone, no_plan);
    let cron = json!({"metadata": {}, "spec": {"jobTemplate": {"metadata": alone["metadata"], "spec": alone["spec"]}}});
    check(Resource::CronJob, &cron, no_plan);
    // Beside an array that is only read whole, too; a split says how many.
    let beside =
        |other: &str| job(&format!("[{{name: obs, mount: /out, mode: artifacts}}, {other}]"), auto.clone());
    check(Resource::Job, &beside("{name: in, mount: /in}"), no_plan);
    check(Resource::Job, &beside("{name: in, mount: /in, split: {dim: time, into: 8}}"), &[]);
    let hierarchy = Known::new(Arc::new(facts()));
    assert!(matches!(hierarchy.plan(&uses.list[0], 5, &mut 0), Err(NotPlanned::Illegal(_))));
}

#[test]
fn a_plan_is_made_once_of_what_is_known() {
    let (known, mut verdicts, mut asked) = (Arc::new(Known::new(Arc::new(facts()))), Verdicts::default(), 0);
    let mut ask = |verdicts: &mut Verdicts, position, known: &Arc<Known>| {
        let found = verdicts.of(position, known, || {
            asked += 1;
            Err(NotPlanned::NoSnapshot)
        });
        assert_eq!(found, Err(NotPlanned::NoSnapshot));
        asked
    };
    assert_eq!(ask(&mut verdicts, 0, &known), 1);
    assert_eq!(ask(&mut verdicts, 0, &known), 1);
    assert_eq!(ask(&mut verdicts, 1, &known), 2);
    let other = Arc::new(Known::new(known.facts.clone()));
    drop(known);
    assert_eq!(ask(&mut verdicts, 0, &other), 3);
    assert_eq!(ask(&mut verdicts, 0, &other), 3);
}
