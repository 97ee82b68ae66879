use watchbell_sandbox::{Seccomp, SeccompBase};

use super::super::HOLD;
use super::*;

#[test]
fn a_pod_from_start_to_acknowledgement() {
    let mut bench = Bench::new();
    bench.begin(pod(1, &spec(json!({}))));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.fetched(&image("tool", program()));
    bench.expect(&["event 1 Pulled", "start 1/0/0", "event 1 Created"]);
    bench.runs(id(1, 0, 0));
    bench.expect(&["event 1 Started", "report 1 Running running"]);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["report 1 Succeeded Completed=0"]);
    bench.expect(&[]);
    bench.acknowledge(1);
    bench.expect(&["acknowledge 1/0/0", "release 1"]);
    bench.acknowledge(1);
    bench.expect(&[]);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: None }));
    bench.expect(&["remove logs pods/00000000-0000-0000-0000-000000000001"]);
}

#[test]
fn what_starts_and_ends_at_once_is_told_once() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    let tool = image("tool", program());
    bench.begin(index(1, &spec));
    bench.begin(index(2, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.fetched(&tool);
    bench.expect(&["start 1/0/0", "start 2/0/0"]);
    // The image that the run began with is at hand for those that come later.
    bench.begin(index(3, &spec));
    bench.runs(id(1, 0, 0));
    bench.exits(id(1, 0, 0), 7);
    let effects = bench.effects();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(effects.contains(&"start 3/0/0".into()) && effects.contains(&"report 1 Failed Error=7".into()));
    // A Job's logs outlive its pods and go with it.
    bench.acknowledge(1);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: LOG }));
    bench.tell(Input::Command(Command::ForgetJob { uid: JOB }));
    bench.expect(&["acknowledge 1/0/0", "release 1"]);
    for uid in [2, 3] {
        bench.runs(id(uid, 0, 0));
        bench.exits(id(uid, 0, 0), 0);
    }
    bench.effects();
    bench.acknowledge(2);
    bench.acknowledge(3);
    bench.expect(&[
        "acknowledge 2/0/0",
        "release 2",
        "acknowledge 3/0/0",
        "release 3",
        "remove logs jobs/00000000-0000-0000-0000-000000000abc",
    ]);
}

#[test]
fn that_it_runs_is_held_back_for_a_moment() {
    let mut bench = Bench::new();
    bench.begin(index(1, &spec(json!({}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    let (effects, wake_at) = bench.agent.settle(bench.now);
    assert!(effects.is_empty() && wake_at == Some(bench.now.mono + HOLD), "{effects:?} {wake_at:?}");
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["report 1 Succeeded Completed=0"]);
}

#[test]
fn commands_are_idempotent() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    bench.begin(pod(1, &spec));
    bench.begin(pod(1, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.begin(pod(1, &spec));
    bench.stop(1, 30);
    bench.stop(1, 30);
    bench.expect(&["signal 15 1/0/0", "event 1 Killing"]);
    bench.stop(9, 0);
    bench.acknowledge(9);
    bench.expect(&[]);
}

#[test]
fn a_restart_is_a_new_attempt_and_the_old_one_is_forgotten() {
    let mut bench = Bench::new();
    bench.begin(index(1, &spec(json!({"restartPolicy": "OnFailure"}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["start 1/0/0"]);
    bench.runs(id(1, 0, 0));
    bench.exits(id(1, 0, 0), 1);
    bench.expect(&["start 1/0/1", "report 1 Running ContainerCreating"]);
    bench.runs(id(1, 0, 1));
    bench.expect(&["acknowledge 1/0/0", "report 1 Running running"]);
    bench.exits(id(1, 0, 1), 1);
    bench.expect(&["report 1 Running CrashLoopBackOff"]);
    assert_eq!(bench.wake_at, Some(bench.now.mono + Duration::from_secs(10)));
    bench.wait(10);
    bench.expect(&[
        "start 1/0/2",
        "remove log jobs/00000000-0000-0000-0000-000000000abc/1.0.0.0.log",
        "report 1 Running ContainerCreating",
    ]);
    // Late news of an old run changes nothing.
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&[]);
}

#[test]
fn an_image_that_cannot_be_had_is_asked_for_again() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    bench.begin(index(1, &spec));
    bench.begin(index(2, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.not_fetched("ErrImagePull");
    let mut effects = bench.effects();
    effects.sort();
    assert_eq!(
        effects,
        ["event 1 Failed!", "report 1 Pending ErrImagePull", "report 2 Pending ErrImagePull"]
    );
    // Who comes meanwhile waits with them.
    bench.begin(index(3, &spec));
    bench.expect(&["report 3 Pending ErrImagePull"]);
    bench.wait(10);
    let effects = bench.effects();
    assert_eq!(effects.iter().filter(|e| e.starts_with("fetch")).count(), 1, "{effects:?}");
    bench.not_fetched("ErrImagePull");
    let effects = bench.effects();
    assert!(effects.contains(&"report 1 Pending ImagePullBackOff".into()), "{effects:?}");
    assert_eq!(bench.agent.pods[&Uid(1)].wake_at, Some(bench.now.mono + Duration::from_secs(20)));
    bench.wait(20);
    bench.effects();
    bench.fetched(&image("tool", program()));
    let effects = bench.effects();
    assert_eq!(effects.iter().filter(|e| e.starts_with("start")).count(), 3, "{effects:?}");
}

#[test]
fn an_image_that_is_brought_in_ends_the_back_off() {
    let mut bench = Bench::new();
    bench.begin(pod(1, &spec(json!({}))));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.not_fetched("ErrImagePull");
    bench.effects();
    bench.images_came(&["other:1"]);
    bench.expect(&[]);
    bench.images_came(&["other:1", "tool:1"]);
    bench.expect(&["fetch tool:1 IfNotPresent", "report 1 Pending ContainerCreating"]);
    bench.fetched(&image("tool", program()));
    let effects = bench.effects();
    assert_eq!(effects.iter().filter(|e| e.starts_with("start")).count(), 1, "{effects:?}");
}

#[test]
fn the_same_image_is_fetched_once_for_all_runs() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    bench.begin(pod(1, &spec));
    bench.begin(pod(2, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    bench.fetched(&image("tool", program()));
    let effects = bench.effects();
    assert_eq!(effects.iter().filter(|e| e.starts_with("start")).count(), 2, "{effects:?}");
}

#[test]
fn nobody_waits_for_what_another_namespace_fetches() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    bench.begin(pod(1, &spec));
    bench.begin(Assignment { namespace: "other".into(), ..pod(2, &spec) });
    bench.expect(&["fetch tool:1 IfNotPresent", "fetch tool:1 IfNotPresent"]);
    assert_eq!(bench.fetches.iter().map(|fetch| &*fetch.namespace).collect::<Vec<_>>(), ["ns", "other"]);
}

#[test]
fn what_no_pod_waits_for_is_not_fetched_on() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    for uid in [1, 2] {
        bench.begin(index(uid, &spec));
    }
    bench.begin(pod(3, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
    let is_wanted = |bench: &Bench| bench.fetches[0].wanted.strong_count() > 0;
    for uid in [1, 2, 3] {
        assert!(is_wanted(&bench), "pod {uid} waits for it");
        bench.stop(uid, 0);
        bench.effects();
    }
    assert!(!is_wanted(&bench));
    // What came all the same is nobody's, and who comes next fetches anew.
    bench.fetched(&image("tool", program()));
    bench.expect(&[]);
    bench.begin(index(4, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent"]);
}

#[test]
fn a_run_keeps_the_digest_it_began_with() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    let old = image("tool", program());
    bench.begin(index(1, &spec));
    bench.effects();
    bench.fetched(&old);
    bench.effects();
    bench.exits(id(1, 0, 0), 0);
    bench.effects();
    bench.acknowledge(1);
    bench.effects();
    // The image is let go of when no pod comes for it; its digest is not.
    bench.wait(31);
    bench.effects();
    bench.begin(index(2, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent pinned"]);
    assert_eq!(bench.fetches[0].pinned.as_ref(), Some(&old.image_id));
}

#[test]
fn an_image_is_held_while_its_pod_runs() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    let tool = image("tool", program());
    bench.begin(index(1, &spec));
    bench.effects();
    bench.fetched(&tool);
    bench.effects();
    assert!(bench.in_use.removing(|keep| keep(&tool.digest)).unwrap(), "in use");
    // Something was removed: what was made ready before is looked up again.
    bench.begin(index(2, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent pinned"]);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&["report 1 Succeeded Completed=0"]);
    assert!(!bench.in_use.removing(|keep| keep(&tool.digest)).unwrap(), "no longer in use");
}

#[test]
fn missing_configuration_is_waited_for() {
    let found = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = found.clone();
    let lookup: Lookup = Arc::new(move |_, namespace, name| {
        assert_eq!((namespace, name), ("ns", "cfg"));
        seen.load(std::sync::atomic::Ordering::Relaxed).then(|| Arc::new(json!({"data": {"k": "v"}})))
    });
    let mut bench = Bench::with(lookup, Vec::new());
    let from = json!([{"configMapRef": {"name": "cfg"}}]);
    bench.begin(pod(1, &spec(json!({"containers": [{"name": "m", "image": "tool:1", "envFrom": from}]}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["event 1 Pulled", "event 1 Failed!", "report 1 Pending CreateContainerConfigError"]);
    bench.wait(1);
    bench.expect(&[]);
    assert_eq!(bench.wake_at, Some(bench.now.mono + Duration::from_secs(2)), "the wait doubles");
    found.store(true, std::sync::atomic::Ordering::Relaxed);
    bench.wait(2);
    bench.expect(&["start 1/0/0", "event 1 Created", "report 1 Pending ContainerCreating"]);
    let env = &bench.started.as_ref().unwrap().env;
    assert!(env.contains(&("k".to_owned(), "v".to_owned())));
}

#[test]
fn a_missing_seccomp_profile_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::with_profiles(dir.path(), false);
    let context = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "small.json"},
        "allowPrivilegeEscalation": false});
    let container = json!({"name": "m", "image": "tool:1", "securityContext": context});
    bench.begin(pod(1, &spec(json!({"containers": [container]}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["event 1 Pulled", "event 1 Failed!", "report 1 Pending CreateContainerError"]);
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]});
    std::fs::write(dir.path().join("small.json"), profile.to_string()).unwrap();
    bench.wait(1);
    bench.expect(&["start 1/0/0", "event 1 Created", "report 1 Pending ContainerCreating"]);
    let started = bench.started.as_ref().unwrap();
    let profile = started.extras.seccomp.as_ref().unwrap();
    assert_eq!(
        (profile.rules.len(), profile.base, started.seccomp),
        (1, SeccompBase::Default, Seccomp::Default)
    );
}

#[test]
fn volumes_are_made_with_the_first_start_and_removed_with_the_pod() {
    let mut bench = Bench::new();
    let spec = spec(json!({
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "cfg", "configMap": {"name": "none", "optional": true}}],
        "containers": [{"name": "m", "image": "tool:1", "volumeMounts": [{"name": "work", "mountPath": "/work"}]}],
    }));
    bench.begin(index(1, &spec));
    bench.effects();
    bench.fetched(&image("tool", program()));
    let dir = "/data/volumes/00000000-0000-0000-0000-000000000001/work";
    bench.expect(&[&format!("start 1/0/0 dir {dir}")]);
    bench.exits(id(1, 0, 0), 1);
    bench.expect(&["start 1/0/1", "report 1 Running ContainerCreating"]);
    bench.exits(id(1, 0, 1), 0);
    bench.effects();
    bench.acknowledge(1);
    bench.expect(&["acknowledge 1/0/1", "release 1 with volumes"]);
}

#[test]
fn a_volume_that_lacks_its_source_shows_as_creating() {
    let mut bench = Bench::new();
    bench.begin(pod(1, &spec(json!({"volumes": [{"name": "cfg", "secret": {"secretName": "none"}}]}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["event 1 Pulled", "event 1 FailedMount!", "report 1 Pending ContainerCreating"]);
}

#[test]
fn failures_to_start_have_the_shells_codes() {
    let check = |kind, expect: &str| {
        let mut bench = Bench::new();
        bench.begin(index(1, &spec(json!({}))));
        bench.effects();
        bench.fetched(&image("tool", program()));
        bench.effects();
        bench.fails(id(1, 0, 0), kind);
        bench.expect(&["event 1 Failed!", &format!("report 1 Failed {expect}")]);
    };
    check(StartFailureKind::CommandNotFound, "ContainerCannotRun=127");
    check(StartFailureKind::CommandNotExecutable, "ContainerCannotRun=126");
    check(StartFailureKind::Sandbox, "StartError=128");
    check(StartFailureKind::Refused, "StartError=128");
}

#[test]
fn a_change_of_its_spec_reaches_a_pod_that_runs() {
    let mut bench = Bench::new();
    let of = |fields: Value| {
        let mut whole = json!({"restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 3});
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec(whole)
    };
    bench.begin(index(1, &of(json!({}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    bench.effects();
    let other = json!({"containers": [{"name": "main", "image": "other:1"}]});
    bench.tell(Input::Command(Command::ChangeSpec { uid: Uid(1), spec: of(other.clone()) }));
    bench.expect(&[]);
    // With the next run, and not before.
    bench.exits(id(1, 0, 0), 1);
    assert!(bench.effects().contains(&"fetch other:1 IfNotPresent".to_owned()));
    bench.fetched(&image("other", program()));
    bench.effects();
    bench.runs(id(1, 0, 1));
    bench.effects();
    let mut shorter = other;
    shorter["activeDeadlineSeconds"] = 5.into();
    bench.tell(Input::Command(Command::ChangeSpec { uid: Uid(1), spec: of(shorter) }));
    bench.expect(&[]);
    bench.wait(5);
    bench.expect(&["signal 15 1/0/1", "report 1 Running DeadlineExceeded running"]);
}

/// It is nothing that the task did: neither an attempt of its Job nor a restart.
#[test]
fn what_cannot_be_made_yet_is_waited_for() {
    for policy in ["Never", "OnFailure"] {
        let mut bench = Bench::new();
        let spec = spec(json!({
            "restartPolicy": policy, "volumes": [{"name": "work", "emptyDir": {}}],
            "containers": [
                {"name": "main", "image": "tool:1", "volumeMounts": [{"name": "work", "mountPath": "/work"}]},
                {"name": "side", "image": "tool:1"},
            ],
        }));
        let dir = "/data/volumes/00000000-0000-0000-0000-000000000001/work";
        let not_made = |bench: &mut Bench, id| {
            let message = format!("cannot make {dir}, which it needs: No space left on device");
            bench.tell(Input::NotMade { id, message });
        };
        bench.begin(index(1, &spec));
        bench.effects();
        bench.fetched(&image("tool", program()));
        bench.expect(&[&format!("start 1/0/0 dir {dir}"), "start 1/1/0"]);
        not_made(&mut bench, id(1, 0, 0));
        not_made(&mut bench, id(1, 1, 0));
        bench.expect(&["event 1 FailedMount!", "report 1 Pending ContainerCreating ContainerCreating"]);
        // All of it again, by whichever is first, and it is not told again, nor written.
        let again = |bench: &mut Bench, start: &str| {
            bench.now.mono = bench.wake_at.expect("it is tried again");
            assert_eq!(bench.effects()[0], start);
        };
        bench.now.mono = bench.wake_at.expect("it is tried again");
        bench.expect(&[&format!("start 1/0/0 dir {dir}")]);
        not_made(&mut bench, id(1, 0, 0));
        bench.expect(&[]);
        again(&mut bench, &format!("start 1/1/0 dir {dir}"));
        bench.runs(id(1, 1, 0));
        again(&mut bench, "start 1/0/0");
        bench.runs(id(1, 0, 0));
        bench.expect(&["report 1 Running running running"]);
    }
}

/// The one was to start in the round in which the other's things were not made.
#[test]
fn nothing_starts_without_what_its_pod_needs() {
    let mut bench = Bench::new();
    let spec = spec(json!({
        "volumes": [{"name": "work", "emptyDir": {}}],
        "containers": [{"name": "main", "image": "tool:1"}, {"name": "side", "image": "tool:2"}],
    }));
    bench.begin(index(1, &spec));
    bench.effects();
    bench.fetched(&image("tool", program()));
    let dir = "/data/volumes/00000000-0000-0000-0000-000000000001/work";
    bench.expect(&[&format!("start 1/0/0 dir {dir}")]);
    bench.fetched(&image("tool", program()));
    bench.tell(Input::NotMade { id: id(1, 0, 0), message: "no space".into() });
    bench.expect(&["event 1 FailedMount!", "report 1 Pending ContainerCreating ContainerCreating"]);
    bench.stop(1, 0);
    bench.expect(&["report 1 Failed ContainerCreating ContainerCreating"]);
}

#[test]
fn ends_are_told_apart() {
    let check = |status, oom_killed, expect: &str| {
        let mut bench = Bench::new();
        bench.begin(index(1, &spec(json!({}))));
        bench.effects();
        bench.fetched(&image("tool", program()));
        bench.effects();
        let record = ExitRecord { oom_killed, ..exit(id(1, 0, 0), status) };
        bench.tell(Input::Sandbox(Event::Exited(record)));
        bench.expect(&[&format!("report 1 {expect}")]);
    };
    check(ExitStatus::Code(0), false, "Succeeded Completed=0");
    check(ExitStatus::Code(0), true, "Succeeded Completed=0");
    check(ExitStatus::Code(255), false, "Failed Error=255");
    check(ExitStatus::Signal(9), false, "Failed Error=137");
    check(ExitStatus::Signal(9), true, "Failed OOMKilled=137");
    check(ExitStatus::Signal(11), false, "Failed Error=139");
    check(ExitStatus::Lost, false, "Failed ContainerStatusUnknown=137");
}

#[test]
fn a_pod_that_was_forced_away_ends_unheard() {
    let mut bench = Bench::new();
    bench.begin(pod(1, &spec(json!({}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    bench.effects();
    bench.stop(1, 0);
    bench.tell(Input::Command(Command::Forget { uid: Uid(1), log: None }));
    bench.expect(&["kill 1"]);
    bench.exits(id(1, 0, 0), 0);
    bench.expect(&[
        "acknowledge 1/0/0",
        "release 1",
        "remove logs pods/00000000-0000-0000-0000-000000000001",
    ]);
}

#[test]
fn what_this_node_cannot_do_is_said() {
    let check = |spec_json: Value, part: &str| {
        let mut bench = Bench::new();
        bench.begin(pod(1, &spec(spec_json)));
        let (effects, _) = bench.agent.settle(bench.now);
        let Some(Effect::Report(Report::Status { status, .. })) = effects.last() else {
            panic!("{effects:?}")
        };
        let message = status.message.as_deref().unwrap();
        assert!(status.phase.is_terminal() && message.contains(part), "{message}");
        assert!(!effects.iter().any(|e| matches!(e, Effect::Fetch(_) | Effect::Start { .. })));
    };
    check(json!({"volumes": [{"name": "v", "nfs": {"server": "s"}}]}), "volume \"v\": its source");
    check(json!({"volumes": [{"name": "v", "emptyDir": {"medium": "HugePages"}}]}), "medium \"HugePages\"");
    check(json!({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}), "sysctls");
    check(json!({"os": {"name": "windows"}}), "the OS field doesn't match node OS");
    check(json!({"os": {"name": "plan9"}}), "the OS field doesn't match node OS");
    let container = |extra: Value| {
        let mut c = json!({"name": "m", "image": "tool:1"});
        c.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"containers": [c], "volumes": [{"name": "v", "emptyDir": {}}]})
    };
    check(
        container(json!({"securityContext": {"seccompProfile": {"type": "Elsewhere"}}})),
        "seccompProfile type \"Elsewhere\"",
    );
    check(
        container(json!({"securityContext": {"capabilities": {"add": ["FLY"]}}})),
        "unknown capability \"FLY\"",
    );
    check(container(json!({"volumeMounts": [{"name": "w", "mountPath": "/w"}]})), "names no volume");
    check(
        container(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/w", "mountPropagation": "Bidirectional"}]}),
        ),
        "mountPropagation",
    );
}

#[test]
fn pull_secrets_are_merged_and_the_first_counts() {
    let lookup: Lookup = Arc::new(|_, _, name| {
        use base64::Engine as _;
        let encode = |v: Value| base64::engine::general_purpose::STANDARD.encode(v.to_string());
        let data = match name {
            "a" => {
                json!({".dockerconfigjson": encode(json!({"auths": {"r": {"auth": "A"}}, "credsStore": "evil"}))})
            }
            "b" => json!({".dockercfg": encode(json!({"r": {"auth": "B"}, "s": {"auth": "C"}}))}),
            _ => return None,
        };
        Some(Arc::new(json!({"data": data})))
    });
    let mut bench = Bench::with(lookup, Vec::new());
    bench.begin(pod(1, &spec(json!({"imagePullSecrets": [{"name": "none"}, {"name": "a"}, {"name": "b"}]}))));
    bench.expect(&[r#"fetch tool:1 IfNotPresent with {"auths":{"r":{"auth":"A"},"s":{"auth":"C"}}}"#]);
}

#[test]
fn each_start_is_told_once_with_what_it_was_started_with() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    for uid in [1, 2] {
        bench.begin(index(uid, &spec));
    }
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    // What was only asked for is not told.
    assert!(bench.starts.is_empty());
    for (uid, first_host_id) in [(1, 1_000_000), (2, 1_065_536)] {
        let id = id(uid, 0, 0);
        bench.tell(Input::Sandbox(Event::Mapped { id, first_host_id }));
        bench.runs(id);
        bench.exits(id, 0);
        bench.effects();
    }
    let [(first, first_ids, settings), (second, second_ids, other)] = &bench.starts[..] else {
        panic!("{:?}", bench.starts)
    };
    assert_eq!(
        (*first, *first_ids, *second, *second_ids),
        (id(1, 0, 0), Some(1_000_000), id(2, 0, 0), Some(1_065_536))
    );
    // The pods of an array are alike, and cost one object.
    assert!(Arc::ptr_eq(settings, other));
    assert_eq!(settings["container"], "main");
    assert!(settings["image"].as_str().unwrap().starts_with("docker.io/library/tool@sha256:"));
    // A start that failed is none; nor is one whose word comes from a table that somebody else's start stands in.
    bench.begin(index(3, &spec));
    bench.effects();
    bench.fails(id(3, 0, 0), StartFailureKind::Sandbox);
    bench.effects();
    bench.tell(Input::Sandbox(Event::Mapped { id: id(99, 0, 0), first_host_id: 1 }));
    assert_eq!(bench.starts.len(), 2);
}

#[test]
fn a_start_that_was_executed_while_the_connection_was_broken_is_told() {
    let mut bench = Bench::new();
    bench.begin(pod(1, &spec(json!({}))));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    let running = TableEntry::Running { id: id(1, 0, 0), pid: 7, started_at: WALL * 1_000_000_000 };
    bench.tell(Input::Reconnected(vec![running]));
    bench.effects();
    assert_eq!(
        bench.starts.iter().map(|(id, ids, _)| (*id, *ids)).collect::<Vec<_>>(),
        [(id(1, 0, 0), None)]
    );
}
