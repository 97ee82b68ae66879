use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use watchbell_api::Uid;
use watchbell_api::node::{Command, LogQuery};
use watchbell_api::types::pod_status::{ContainerState, Phase, TerminatedReason};

use crate::rig::{Rig, container, cpu_of, index, pod, query, script, spec, tell, told, until, until_written};
use crate::{arrays, sessions};

type Scene = fn();

pub(crate) const ALL: &[(&str, Scene)] = &[
    ("a_task_ends_with_its_code_and_its_log_is_whole", a_task_ends_with_its_code_and_its_log_is_whole),
    ("a_task_has_nothing_it_did_not_ask_for", a_task_has_nothing_it_did_not_ask_for),
    ("configuration_reaches_the_task", configuration_reaches_the_task),
    (
        "a_token_is_its_users_and_is_replaced_while_he_runs",
        a_token_is_its_users_and_is_replaced_while_he_runs,
    ),
    ("failures_are_told_apart", failures_are_told_apart),
    ("a_task_is_asked_to_end_and_then_killed", a_task_is_asked_to_end_and_then_killed),
    ("containers_of_a_pod_follow_one_another", containers_of_a_pod_follow_one_another),
    ("a_crash_is_restarted", a_crash_is_restarted),
    ("a_log_is_followed", a_log_is_followed),
    ("tasks_outlive_the_server", tasks_outlive_the_server),
    ("what_the_server_does_not_know_is_ended", what_the_server_does_not_know_is_ended),
    ("a_spawner_that_dies_takes_its_tasks_with_it", a_spawner_that_dies_takes_its_tasks_with_it),
    ("the_deadline_is_kept", the_deadline_is_kept),
    ("a_command_runs_in_a_container", sessions::a_command_runs_in_a_container),
    ("a_terminal_has_a_size", sessions::a_terminal_has_a_size),
    ("a_container_is_attached_to_across_servers", sessions::a_container_is_attached_to_across_servers),
    ("input_ends_once", sessions::input_ends_once),
    ("an_array_of_short_tasks", an_array_of_short_tasks),
    ("indices_write_their_parts_of_a_data_array", arrays::indices_write_their_parts_of_a_data_array),
    ("chunks_are_written_in_place", arrays::chunks_are_written_in_place),
    ("nothing_of_a_hostile_index_gets_in", arrays::nothing_of_a_hostile_index_gets_in),
    ("an_index_that_was_killed_is_tried_again", arrays::an_index_that_was_killed_is_tried_again),
    ("an_index_is_committed_by_the_next_server", arrays::an_index_is_committed_by_the_next_server),
    ("what_a_dead_spawner_held_is_lost", arrays::what_a_dead_spawner_held_is_lost),
    ("indices_leave_artifacts", arrays::indices_leave_artifacts),
    ("a_quota_ends_an_index", arrays::a_quota_ends_an_index),
    (
        "what_a_full_disk_did_not_take_is_not_committed",
        arrays::what_a_full_disk_did_not_take_is_not_committed,
    ),
    ("zarr_s_libraries_write_from_containers", arrays::zarr_s_libraries_write_from_containers),
    (
        "zarr_s_libraries_write_what_is_new_from_containers",
        arrays::zarr_s_libraries_write_what_is_new_from_containers,
    ),
    ("scalars_are_read_and_written_in_containers", arrays::scalars_are_read_and_written_in_containers),
];

fn a_task_ends_with_its_code_and_its_log_is_whole() {
    let mut rig = Rig::new();
    let (end, log) = rig.run(pod(1, &script("echo out; echo err >&2; printf cut; exit 3")));
    assert_eq!((end.exit_code, end.reason), (3, TerminatedReason::Error));
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["cut", "err", "out"]);
    let status = &rig.seen[&Uid(1)];
    let image = status.containers[0].image_id.as_deref().unwrap();
    assert!(image.starts_with("docker.io/library/busybox@sha256:"), "{image}");
    // Its log goes with it.
    let logs = rig.path().join("logs/pods").join(Uid(1).to_string());
    assert!(logs.exists());
    rig.send(Command::Forget { uid: Uid(1), log: None });
    until_gone(&logs);
}

fn a_task_has_nothing_it_did_not_ask_for() {
    let mut rig = Rig::new();
    let look = "busybox grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
        busybox touch /x 2>/dev/null && echo root writable; busybox touch /tmp/x && echo tmp writable; \
        echo $HOSTNAME $(busybox hostname) $HOME $PATH; busybox ls /sys | busybox wc -l; \
        busybox ip link 2>/dev/null | busybox grep -c '^[0-9]'";
    let (end, log) = rig.run(pod(1, &script(look)));
    let text = log.replace('\t', " ");
    for expect in [
        "Uid: 65534 65534 65534 65534",
        "Gid: 65534 65534 65534 65534",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "tmp writable",
        "pod-1 pod-1 / /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ] {
        assert!(text.contains(expect), "{expect} is not in:\n{text}");
    }
    assert!(!text.contains("root writable"), "{text}");
    assert_eq!(end.exit_code, 0, "{text}");
}

fn configuration_reaches_the_task() {
    let mut rig = Rig::new();
    let mut main = container(
        "main",
        "echo $COLOR $TOKEN $CPU $WHO; busybox cat /cfg/size /sec/t; busybox stat -c %a /sec/t; \
         echo kept > /work/f; busybox cat /work/f; busybox stat -c %g /work; echo no > /cfg/size; true",
    );
    main["env"] = json!([
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "color"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "token"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    main["resources"] = json!({"limits": {"cpu": "2"}});
    main["volumeMounts"] = json!([
        {"name": "cfg", "mountPath": "/cfg"}, {"name": "sec", "mountPath": "/sec"},
        {"name": "work", "mountPath": "/work"},
    ]);
    let spec = spec(json!({
        "securityContext": {"fsGroup": 4321},
        "containers": [main],
        "volumes": [
            {"name": "cfg", "configMap": {"name": "cfg"}},
            {"name": "sec", "secret": {"secretName": "sec", "defaultMode": 0o400,
                "items": [{"key": "token", "path": "t"}]}},
            {"name": "work", "emptyDir": {}},
        ],
    }));
    let (end, log) = rig.run(pod(1, &spec));
    assert_eq!(end.exit_code, 0, "{log}");
    assert!(log.starts_with("red hunter2 2 pod-1\n10hunter2440\nkept\n4321\n"), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
    until_gone(&rig.path().join("volumes").join(Uid(1).to_string()));
}

fn until_gone(path: &Path) {
    until(&format!("{} goes", path.display()), || !path.exists());
}

fn a_token_is_its_users_and_is_replaced_while_he_runs() {
    let mut rig = Rig::new();
    let look = "busybox cat /t/sub/token; echo; busybox stat -L -c '%a %u' /t/sub/token; busybox cat /t/ns; echo; \
        busybox rm /t/..data 2>/dev/null || echo sealed; busybox touch /t/x 2>/dev/null || echo closed; \
        until busybox grep -q token-2 /t/sub/token; do busybox sleep 0.05; done; \
        busybox stat -L -c '%a %u' /t/sub/token; busybox ls -a /t | busybox grep -c '^[.][.][0-9]'";
    let mut container = container("main", look);
    container["volumeMounts"] = json!([{"name": "t", "mountPath": "/t"}]);
    let volumes = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "sub/token", "expirationSeconds": 3600}},
        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}}]);
    let (end, log) = rig.run(pod(1, &spec(json!({"containers": [container], "volumes": volumes}))));
    assert_eq!(end.exit_code, 0, "{log}");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines, ["token-1", "600 65534", "ns", "sealed", "closed", "600 65534", "1"]);
}

fn failures_are_told_apart() {
    let mut rig = Rig::new();
    let mut missing = container("main", "");
    missing["command"] = json!(["/no/such/program"]);
    let (end, _) = rig.run(pod(1, &spec(json!({"containers": [missing]}))));
    assert_eq!((end.exit_code, end.reason), (127, TerminatedReason::ContainerCannotRun));
    assert!(end.message.is_some());

    let mut greedy = container("main", "exec busybox dd if=/dev/zero of=/dev/null bs=64M count=1");
    greedy["resources"] = json!({"limits": {"memory": "16Mi"}});
    let (end, _) = rig.run(pod(2, &spec(json!({"containers": [greedy]}))));
    assert_eq!((end.exit_code, end.reason), (137, TerminatedReason::OomKilled));

    // Kubernetes makes `$` of `$$`.
    let (end, log) = rig.run(pod(3, &script("busybox sh -c 'kill -SEGV $$$$'; exit $?")));
    assert_eq!((end.exit_code, end.reason), (139, TerminatedReason::Error), "{log}");

    let mut words = container("main", "echo the last words; exit 1");
    words["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    let (end, _) = rig.run(pod(4, &spec(json!({"containers": [words]}))));
    assert_eq!(end.message.as_deref(), Some("the last words\n"));

    let mut note = container("main", "echo by file > /out/note");
    note["terminationMessagePath"] = "/out/note".into();
    note["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
    let (end, _) = rig.run(pod(
        5,
        &spec(json!({
            "containers": [note], "volumes": [{"name": "out", "emptyDir": {}}],
        })),
    ));
    assert_eq!(end.message.as_deref(), Some("by file\n"));

    let mut default = container("main", "echo by default > /dev/termination-log; busybox touch /dev/x; true");
    default["terminationMessagePath"] = "/dev/termination-log".into();
    let (end, log) = rig.run(pod(7, &spec(json!({"containers": [default]}))));
    assert_eq!((end.exit_code, end.message.as_deref()), (0, Some("by default\n")), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");

    let mut absent = container("main", "true");
    absent["image"] = "none:1".into();
    rig.begin(pod(6, &spec(json!({"containers": [absent]}))));
    rig.until(6, |s| {
        matches!(&s.containers[0].state, ContainerState::Waiting { reason, .. } if &**reason == "ErrImageNeverPull")
    });
    rig.stop(6, 0);
    assert_eq!(rig.until_over(6).phase, Phase::Failed);
}

fn a_task_is_asked_to_end_and_then_killed() {
    let mut rig = Rig::new();
    let running = |s: &watchbell_api::types::pod_status::PodStatus| s.phase == Phase::Running;
    // Asked once, so not before the trap is set, which is when something was printed. PATIENT is more than a busy machine needs.
    const PATIENT: u32 = 600;
    for (uid, trap, grace, code) in [(1, "trap 'exit 5' TERM", PATIENT, 5), (2, "trap '' TERM", 1, 137)] {
        let assignment =
            pod(uid, &script(&format!("{trap}; echo up; while true; do busybox sleep 0.02; done")));
        let query = query(&assignment, 0);
        rig.begin(assignment);
        rig.until(uid, running);
        until("it has set its trap", || rig.log(&query) == "up\n");
        rig.stop(uid, grace);
        assert_eq!(rig.until_over(uid).containers[0].terminated().unwrap().exit_code, code);
    }
}

fn containers_of_a_pod_follow_one_another() {
    let mut rig = Rig::new();
    let mounted = |mut c: serde_json::Value| {
        c["volumeMounts"] = json!([{"name": "w", "mountPath": "/w"}]);
        c
    };
    let mut sidecar = mounted(container(
        "sidecar",
        "trap 'exit 0' TERM; echo up > /w/sidecar; while true; do busybox sleep 0.02; done",
    ));
    sidecar["restartPolicy"] = "Always".into();
    let spec = spec(json!({
        "initContainers": [mounted(container("first", "echo 1 > /w/first")), sidecar],
        "containers": [
            mounted(container("a", "until busybox test -e /w/sidecar; do busybox sleep 0.02; done; \
                busybox cat /w/first; echo done > /w/a")),
            mounted(container("b", "until busybox test -e /w/a; do busybox sleep 0.02; done; busybox cat /w/a")),
        ],
        "volumes": [{"name": "w", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    }));
    let assignment = pod(1, &spec);
    rig.begin(assignment.clone());
    let status = rig.until_over(1);
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(rig.log(&query(&assignment, 2)), "1\n");
    assert_eq!(rig.log(&query(&assignment, 3)), "done\n");
}

fn a_crash_is_restarted() {
    let mut rig = Rig::new();
    let mut main = container(
        "main",
        "if busybox test -e /w/x; then echo again; else echo > /w/x; echo once; exit 1; fi",
    );
    main["volumeMounts"] = json!([{"name": "w", "mountPath": "/w"}]);
    let spec = spec(json!({
        "restartPolicy": "OnFailure", "containers": [main], "volumes": [{"name": "w", "emptyDir": {}}],
    }));
    let assignment = pod(1, &spec);
    rig.begin(assignment.clone());
    let status = rig.until_over(1);
    assert_eq!((status.phase, status.containers[0].restart_count), (Phase::Succeeded, 1));
    assert_eq!(status.containers[0].last_terminated.as_ref().unwrap().exit_code, 1);
    assert_eq!(rig.log(&query(&assignment, 0)), "once\n", "each run has its own log");
    assert_eq!(rig.log(&LogQuery { restart: 1, ..query(&assignment, 0) }), "again\n");
}

fn a_log_is_followed() {
    let mut rig = Rig::new();
    let assignment = pod(1, &script("echo first; read line; echo never"));
    let slow = script("echo first; busybox sleep 0.2; echo second; exit 0");
    let assignment = watchbell_api::node::Assignment { spec: slow, ..assignment };
    rig.begin(assignment.clone());
    rig.until(1, |s| s.phase != Phase::Pending);
    let text = rig.log(&LogQuery { follow: true, ..query(&assignment, 0) });
    assert_eq!(text, "first\nsecond\n");
    rig.until_over(1);
}

fn tasks_outlive_the_server() {
    let mut rig = Rig::new();
    let spec = script(&told(rig.path(), "echo after; exit 7"));
    let (ends, stays) = (index(1, &spec), index(2, &script("busybox sleep 1000")));
    rig.begin(ends.clone());
    rig.begin(stays.clone());
    let mut status = BTreeMap::new();
    for uid in [1, 2] {
        status.insert(uid, rig.until(uid, |s| s.phase == Phase::Running));
    }
    let log = rig.path().join(format!("logs/jobs/{}/1.0.0.0.log", crate::rig::JOB));
    until_written(&log, "before");
    let dir = rig.end_server();
    // While nobody is there the first one goes on printing and ends.
    tell(dir.path());
    until_written(&log, "after");
    let mut rig = Rig::restart(dir);
    for (uid, assignment) in [(1, ends.clone()), (2, stays)] {
        rig.begin(watchbell_api::node::Assignment { status: status[&uid].clone(), ..assignment });
    }
    rig.send(Command::Synced);
    let status = rig.until_over(1);
    assert_eq!(status.containers[0].terminated().unwrap().exit_code, 7, "its true end");
    assert_eq!(rig.log(&query(&ends, 0)), "before\nafter\n", "no line is lost");
    rig.stop(2, 0);
    assert_eq!(rig.until_over(2).containers[0].terminated().unwrap().exit_code, 137);
}

fn what_the_server_does_not_know_is_ended() {
    let mut rig = Rig::new();
    rig.begin(pod(1, &script("busybox sleep 1000")));
    rig.until(1, |s| s.phase == Phase::Running);
    let dir = rig.end_server();
    let mut rig = Rig::restart(dir);
    rig.send(Command::Synced);
    // It is gone when its pod may start anew.
    let (end, _) = rig.run(pod(2, &script("busybox ps | busybox grep -c '[s]leep 1000'; true")));
    assert_eq!(end.exit_code, 0);
}

fn a_spawner_that_dies_takes_its_tasks_with_it() {
    let mut rig = Rig::new();
    rig.begin(pod(1, &script("busybox sleep 1000")));
    rig.until(1, |s| s.phase == Phase::Running);
    rig.kill_spawner();
    let status = rig.until_over(1);
    let end = status.containers[0].terminated().unwrap();
    assert_eq!((end.exit_code, end.reason), (137, TerminatedReason::ContainerStatusUnknown));
    // Another one has taken its place.
    let (end, log) = rig.run(pod(2, &script("echo on")));
    assert_eq!((end.exit_code, log.as_str()), (0, "on\n"));
}

fn the_deadline_is_kept() {
    let mut rig = Rig::new();
    let spec = spec(json!({
        "activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0,
        "containers": [container("main", "busybox sleep 1000")],
    }));
    rig.begin(pod(1, &spec));
    let status = rig.until_over(1);
    assert_eq!((status.phase, status.reason.as_deref()), (Phase::Failed, Some("DeadlineExceeded")));
}

/// Prints what a task of an array costs this side of the sandbox.
fn an_array_of_short_tasks() {
    const COUNT: u128 = 300;
    const AT_ONCE: u128 = 8;
    let mut rig = Rig::new();
    let mut main = container("main", "");
    main["command"] = json!(["/bin/busybox", "true"]);
    let spec = spec(json!({"containers": [main]}));
    let (since, cpu) = (Instant::now(), cpu_of("self"));
    for uid in 0..AT_ONCE {
        rig.begin(index(uid, &spec));
    }
    for uid in 0..COUNT {
        let status = rig.until_over(uid);
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
        if uid + AT_ONCE < COUNT {
            rig.begin(index(uid + AT_ONCE, &spec));
        }
    }
    let (wall, cpu) = (since.elapsed(), cpu_of("self").saturating_sub(cpu));
    println!("{COUNT} tasks in {wall:?}: {:?} of processor time each in the node", cpu / COUNT as u32);
    rig.send(Command::ForgetJob { uid: crate::rig::JOB });
}
