//! Claims and classes: what the node finds behind their names.

use watchbell_api::Resource;
use watchbell_sandbox::VolumeSource;

use super::*;

/// A claim `data` of the namespace, bound to a volume with this spec.
fn bound(volume: Value) -> Lookup {
    let claim = json!({"metadata": {"uid": "u1"}, "spec": {"volumeName": "pvc-u1"}});
    let mut volume = json!({"metadata": {"name": "pvc-u1"}, "spec": volume});
    if volume["spec"]["claimRef"].is_null() {
        volume["spec"]["claimRef"] = json!({"uid": "u1"});
    }
    let class = |handler: &str| json!({"handler": handler});
    Arc::new(move |resource, _, name| match (resource, name) {
        (Resource::PersistentVolumeClaim, "data") => Some(Arc::new(claim.clone())),
        (Resource::PersistentVolume, "pvc-u1") => Some(Arc::new(volume.clone())),
        (Resource::RuntimeClass, "ours") => Some(Arc::new(class("watchbell"))),
        (Resource::RuntimeClass, "plain") => Some(Arc::new(class("runc"))),
        (Resource::RuntimeClass, "gvisor") => Some(Arc::new(class("runsc"))),
        _ => None,
    })
}

fn ours() -> Value {
    json!({"csi": {"driver": "watchbell.dev/local", "volumeHandle": "pvc-u1"}})
}

fn begun(lookup: Lookup, claim: Value) -> (Vec<String>, Option<Box<RunSpec>>) {
    let mut bench = Bench::with(lookup, Vec::new());
    let volumes = json!([{"name": "v", "persistentVolumeClaim": claim}]);
    let container =
        json!({"name": "m", "image": "tool:1", "volumeMounts": [{"name": "v", "mountPath": "/d"}]});
    bench.begin(pod(1, &spec(json!({"containers": [container], "volumes": volumes}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    (bench.effects(), bench.started)
}

#[test]
fn a_claim_is_the_folder_of_its_volume() {
    let check = |claim: Value, read_only: bool| {
        let (effects, started) = begun(bound(ours()), claim);
        assert!(effects.iter().any(|e| e.contains(" folder /data/claims/pvc-u1")), "{effects:?}");
        let run = started.expect("it starts");
        assert_eq!(run.pod.volumes[0].source, VolumeSource::Dir { path: "/data/claims/pvc-u1".into() });
        assert_eq!(run.mounts[0].read_only, read_only);
    };
    check(json!({"claimName": "data"}), false);
    check(json!({"claimName": "data", "readOnly": true}), true);
}

#[test]
fn a_volume_of_the_host_is_for_the_spawner_to_allow() {
    let (effects, started) = begun(bound(json!({"local": {"path": "/srv/x"}})), json!({"claimName": "data"}));
    assert!(!effects.iter().any(|e| e.contains("host dir")), "{effects:?}");
    let source = &started.expect("it is asked for").pod.volumes[0].source;
    assert_eq!(*source, VolumeSource::HostPath { path: "/srv/x".into() });
}

#[test]
fn what_is_not_bound_is_not_mounted() {
    let check = |volume: Value, claim: &str| {
        let (effects, started) = begun(bound(volume), json!({"claimName": claim}));
        assert!(effects.contains(&"event 1 FailedMount!".to_owned()), "{effects:?}");
        assert!(started.is_none());
    };
    check(ours(), "other");
    let mut foreign = ours();
    foreign["claimRef"] = json!({"uid": "u2"});
    check(foreign, "data");
    check(json!({"nfs": {"server": "s"}}), "data");
    check(json!({"csi": {"driver": "watchbell.dev/local", "volumeHandle": "../../etc"}}), "data");
}

#[test]
fn a_folder_goes_by_its_name() {
    let mut bench = Bench::new();
    bench.tell(Input::Command(Command::RemoveVolume { name: "pvc-u1".into() }));
    bench.expect(&["remove folder pvc-u1"]);
    bench.tell(Input::FolderRemoved { name: "pvc-u1".into(), error: None });
    bench.expect(&["removed pvc-u1"]);
}

#[test]
fn a_class_names_who_runs_a_pod() {
    let check = |class: &str, expect: Option<&str>| {
        let mut bench = Bench::with(bound(ours()), Vec::new());
        bench.begin(pod(1, &spec(json!({"runtimeClassName": class}))));
        bench.effects();
        bench.fetched(&image("tool", program()));
        bench.effects();
        assert_eq!(bench.started.expect("it starts").extras.runtime.as_deref(), expect);
    };
    check("", None);
    check("ours", None);
    check("plain", Some("runc"));
}

/// As in Kubernetes: no sandbox, no image, no end; the pod waits and says for what.
#[test]
fn a_class_that_means_nobody_here_keeps_a_pod_waiting() {
    let check = |class: &str, part: &str| {
        let mut bench = Bench::with(bound(ours()), Vec::new());
        bench.begin(pod(1, &spec(json!({"runtimeClassName": class}))));
        let (effects, _) = bench.agent.settle(bench.now);
        let is_told =
            |e: &Effect| matches!(e, Effect::Report(Report::Event { .. })) && format!("{e:?}").contains(part);
        assert!(effects.iter().any(is_told), "{effects:?}");
        assert!(!effects.iter().any(|e| matches!(e, Effect::Fetch(_) | Effect::Start { .. })), "{effects:?}");
        let ended = |e: &Effect| matches!(e, Effect::Report(Report::Status { status, .. }) if status.phase.is_terminal());
        assert!(!effects.iter().any(ended), "{effects:?}");
        assert!(format!("{effects:?}").contains("ContainerCreating"), "{effects:?}");
    };
    check("gvisor", "no runtime for \\\"runsc\\\" is configured");
    check("absent", "RuntimeClass \\\"absent\\\" not found");
}
