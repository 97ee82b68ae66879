use serde_json::{Value, json};

use super::pod_status;
use crate::Uid;
use crate::types::pod::PodSpec;
use crate::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};

const T0: i64 = 1_767_322_800; // 2026-01-02T03:00:00Z

fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

fn one_container() -> PodSpec {
    spec(json!({"containers": [{"name": "main", "image": "busybox:1"}]}))
}

fn render(status: &PodStatus, spec: &PodSpec) -> Value {
    pod_status(Uid(7), status, spec, T0, None)
}

fn ended(exit_code: i32, reason: TerminatedReason, at: i64) -> Terminated {
    Terminated { exit_code, signal: None, reason, message: None, started_at: Some(at - 2), finished_at: at }
}

fn container(state: ContainerState) -> ContainerStatus {
    ContainerStatus { state, ..ContainerStatus::waiting("x") }
}

/// The conditions as `Type=Status/Reason@seconds after T0`.
#[track_caller]
fn check(status: &PodStatus, spec: &PodSpec, expected: &[&str]) {
    let rendered = render(status, spec);
    let found: Vec<String> = rendered["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            let at: jiff::Timestamp = c["lastTransitionTime"].as_str().unwrap().parse().unwrap();
            let reason = c["reason"].as_str().map(|r| format!("/{r}")).unwrap_or_default();
            let kind = c["type"].as_str().unwrap();
            format!("{kind}={}{reason}@{}", c["status"].as_str().unwrap(), at.as_second() - T0)
        })
        .collect();
    assert_eq!(found, expected, "{rendered:#}");
}

#[test]
fn a_pod_that_waits_for_room_says_so_in_a_condition() {
    let mut status = PodStatus::default();
    check(&status, &one_container(), &[]);
    status.reason = Some("Unschedulable".into());
    status.message = Some("0/1 nodes are available: 1 Insufficient cpu.".into());
    check(&status, &one_container(), &["PodScheduled=False/Unschedulable@0"]);
    let rendered = render(&status, &one_container());
    assert_eq!(rendered["conditions"][0]["message"], "0/1 nodes are available: 1 Insufficient cpu.");
    // At the pod's own level kubectl would print it instead of Pending.
    assert_eq!(rendered.get("reason"), None);
    assert_eq!(rendered["qosClass"], "BestEffort");
    assert_eq!(rendered.get("containerStatuses"), None);
}

#[test]
fn a_pod_lives_and_ends() {
    let spec = one_container();
    let mut status = PodStatus { scheduled_at: Some(T0 + 1), ..PodStatus::default() };
    check(&status, &spec, &["PodScheduled=True@1"]);

    status.started_at = Some(T0 + 2);
    status.containers = vec![ContainerStatus::waiting("ContainerCreating")];
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=False@2",
            "Initialized=True@2",
            "Ready=False/ContainersNotReady@2",
            "ContainersReady=False/ContainersNotReady@2",
            "PodScheduled=True@1",
        ],
    );

    status.phase = Phase::Running;
    status.containers = vec![container(ContainerState::Running { started_at: T0 + 3 })];
    status.containers[0].image_id = Some("docker.io/library/busybox@sha256:ab".into());
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=True@3",
            "Initialized=True@2",
            "Ready=True@3",
            "ContainersReady=True@3",
            "PodScheduled=True@1",
        ],
    );
    assert_eq!(
        render(&status, &spec)["containerStatuses"],
        json!([{
            "name": "main", "state": {"running": {"startedAt": "2026-01-02T03:00:03Z"}}, "lastState": {},
            "ready": true, "restartCount": 0, "image": "busybox:1",
            "imageID": "docker.io/library/busybox@sha256:ab",
            "containerID": "watchbell://00000000-0000-0000-0000-000000000007/main/0", "started": true,
        }])
    );

    status.phase = Phase::Succeeded;
    status.finished_at = Some(T0 + 9);
    status.containers =
        vec![container(ContainerState::Terminated(ended(0, TerminatedReason::Completed, T0 + 8)))];
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=False@9",
            "Initialized=True/PodCompleted@2",
            "Ready=False/PodCompleted@9",
            "ContainersReady=False/PodCompleted@9",
            "PodScheduled=True@1",
        ],
    );
    let rendered = render(&status, &spec);
    assert_eq!(rendered["startTime"], "2026-01-02T03:00:02Z");
    assert_eq!(
        rendered["containerStatuses"][0]["state"]["terminated"],
        json!({
            "exitCode": 0, "reason": "Completed", "startedAt": "2026-01-02T03:00:06Z",
            "finishedAt": "2026-01-02T03:00:08Z",
            "containerID": "watchbell://00000000-0000-0000-0000-000000000007/main/0",
        })
    );
    assert_eq!(rendered["containerStatuses"][0]["ready"], false);

    status.phase = Phase::Failed;
    status.reason = Some("DeadlineExceeded".into());
    status.disruption = Some("TerminationByKubelet".into());
    check(
        &status,
        &spec,
        &[
            "DisruptionTarget=True/TerminationByKubelet@9",
            "PodReadyToStartContainers=False@9",
            "Initialized=True@2",
            "Ready=False/PodFailed@9",
            "ContainersReady=False/PodFailed@9",
            "PodScheduled=True@1",
        ],
    );
    assert_eq!(render(&status, &spec)["reason"], "DeadlineExceeded");
}

#[test]
fn init_containers_come_first() {
    let spec = spec(json!({
        "initContainers": [
            {"name": "fetch", "image": "a"},
            {"name": "proxy", "image": "b", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "main", "image": "c"}],
    }));
    let mut status = PodStatus {
        scheduled_at: Some(T0),
        started_at: Some(T0 + 1),
        init_containers: vec![
            container(ContainerState::Running { started_at: T0 + 2 }),
            ContainerStatus::waiting("PodInitializing"),
        ],
        containers: vec![ContainerStatus::waiting("PodInitializing")],
        ..PodStatus::default()
    };
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=True@2",
            "Initialized=False/ContainersNotInitialized@1",
            "Ready=False/ContainersNotReady@1",
            "ContainersReady=False/ContainersNotReady@1",
            "PodScheduled=True@0",
        ],
    );
    let rendered = render(&status, &spec);
    assert_eq!(rendered["conditions"][1]["message"], "containers with incomplete status: [fetch proxy]");
    assert_eq!(rendered["conditions"][2]["message"], "containers with unready status: [proxy main]");
    assert_eq!(rendered["initContainerStatuses"][0]["ready"], false);

    status.init_containers = vec![
        container(ContainerState::Terminated(ended(0, TerminatedReason::Completed, T0 + 5))),
        container(ContainerState::Running { started_at: T0 + 6 }),
    ];
    status.containers = vec![container(ContainerState::Running { started_at: T0 + 7 })];
    status.phase = Phase::Running;
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=True@3",
            "Initialized=True@6",
            "Ready=True@7",
            "ContainersReady=True@7",
            "PodScheduled=True@0",
        ],
    );
    let rendered = render(&status, &spec);
    assert_eq!(rendered["initContainerStatuses"][0]["ready"], true);
    assert_eq!(rendered["initContainerStatuses"][1]["started"], true);
}

#[test]
fn a_restarted_container_shows_how_it_ended_before() {
    let spec = one_container();
    let killed = Terminated {
        signal: Some(9),
        message: Some("killed".into()),
        ..ended(137, TerminatedReason::OomKilled, T0 + 5)
    };
    let mut main = ContainerStatus::waiting("CrashLoopBackOff");
    main.restart_count = 3;
    main.last_terminated = Some(Box::new(killed));
    let status = PodStatus {
        phase: Phase::Running,
        scheduled_at: Some(T0),
        started_at: Some(T0 + 1),
        containers: vec![main],
        ..PodStatus::default()
    };
    let rendered = render(&status, &spec);
    assert_eq!(
        rendered["containerStatuses"][0]["lastState"]["terminated"],
        json!({
            "exitCode": 137, "signal": 9, "reason": "OOMKilled", "message": "killed",
            "startedAt": "2026-01-02T03:00:03Z", "finishedAt": "2026-01-02T03:00:05Z",
            "containerID": "watchbell://00000000-0000-0000-0000-000000000007/main/2",
        })
    );
    assert_eq!(rendered["containerStatuses"][0]["state"], json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    check(
        &status,
        &spec,
        &[
            "PodReadyToStartContainers=True@3",
            "Initialized=True@1",
            "Ready=False/ContainersNotReady@5",
            "ContainersReady=False/ContainersNotReady@5",
            "PodScheduled=True@0",
        ],
    );
}

#[test]
fn the_class_follows_from_requests_and_limits() {
    let class = |resources: Value| {
        let spec = spec(json!({"containers": [{"name": "a", "image": "a", "resources": resources}]}));
        render(&PodStatus::default(), &spec)["qosClass"].as_str().unwrap().to_owned()
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "0"}})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(
        class(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}})
        ),
        "Guaranteed"
    );
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}})),
        "Burstable"
    );
}
