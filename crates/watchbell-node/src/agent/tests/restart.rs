use watchbell_api::types::pod_status::{Phase, Terminated, TerminatedReason};

use super::*;

fn running(id: ContainerId) -> TableEntry {
    TableEntry::Running { id, pid: 5, started_at: WALL * 1_000_000_000 }
}

fn known(uid: u128, spec: &Arc<PodSpec>, state: ContainerState, restart_count: u32) -> Assignment {
    let mut assignment = index(uid, spec);
    assignment.status.phase = Phase::Running;
    assignment.status.started_at = Some(WALL);
    assignment.status.containers[0] = ContainerStatus {
        state,
        last_terminated: None,
        restart_count,
        image_id: Some(image("tool", program()).image_id.clone()),
    };
    assignment
}

const RUNNING: ContainerState = ContainerState::Running { started_at: WALL };

#[test]
fn what_runs_is_taken_over_and_what_nobody_knows_is_ended() {
    let table = vec![
        running(id(1, 0, 0)),
        TableEntry::Exited(exit(id(2, 0, 0), ExitStatus::Code(0))),
        running(id(8, 0, 0)),
        TableEntry::Exited(exit(id(9, 0, 0), ExitStatus::Code(0))),
    ];
    let mut bench = Bench::with(nothing(), table);
    let spec = spec(json!({}));
    bench.begin(known(1, &spec, RUNNING, 0));
    bench.begin(known(2, &spec, RUNNING, 0));
    // It ends while the commands come.
    bench.exits(id(8, 0, 0), 0);
    bench.expect(&["report 2 Succeeded Completed=0"]);
    bench.tell(Input::Command(Command::Synced));
    let mut effects = bench.effects();
    effects.sort();
    assert_eq!(
        effects,
        [
            "acknowledge 8/0/0",
            "acknowledge 9/0/0",
            "release 8 with volumes",
            "release 9 with volumes",
            "sweep logs",
            "sweep volumes but of 2"
        ]
    );
    bench.exits(id(1, 0, 0), 3);
    bench.expect(&["report 1 Failed Error=3"]);
    bench.acknowledge(1);
    bench.expect(&["acknowledge 1/0/0", "release 1"]);
}

#[test]
fn a_stranger_that_still_ran_is_acknowledged_when_it_has_ended() {
    let mut bench = Bench::with(nothing(), vec![running(id(8, 0, 0))]);
    bench.tell(Input::Command(Command::Synced));
    bench.expect(&["release 8 with volumes", "sweep volumes but of 0", "sweep logs"]);
    bench.exits(id(8, 0, 0), 137);
    bench.expect(&["acknowledge 8/0/0"]);
}

#[test]
fn a_run_that_nobody_knows_any_more_is_lost() {
    let mut bench = Bench::new();
    bench.begin(known(1, &spec(json!({})), RUNNING, 0));
    bench.expect(&["report 1 Failed ContainerStatusUnknown=137"]);
    bench.begin(known(2, &spec(json!({"restartPolicy": "OnFailure"})), RUNNING, 0));
    let effects = bench.effects();
    assert_eq!(effects[0], "fetch tool:1 IfNotPresent pinned", "restarted from the image that it had");
}

#[test]
fn a_start_that_the_journal_did_not_hear_of_is_not_repeated() {
    let mut bench = Bench::with(nothing(), vec![TableEntry::Starting { id: id(1, 0, 0) }]);
    let spec = spec(json!({}));
    bench.begin(index(1, &spec));
    bench.expect(&[]);
    bench.runs(id(1, 0, 0));
    bench.expect(&["report 1 Running running"]);
}

#[test]
fn the_newest_attempt_counts_and_older_ones_are_acknowledged() {
    let table = vec![
        TableEntry::Exited(exit(id(1, 0, 0), ExitStatus::Code(1))),
        TableEntry::Exited(exit(id(1, 0, 1), ExitStatus::Code(1))),
        running(id(1, 0, 2)),
    ];
    let mut bench = Bench::with(nothing(), table);
    bench.begin(known(1, &spec(json!({"restartPolicy": "OnFailure"})), RUNNING, 0));
    bench.expect(&["acknowledge 1/0/0", "acknowledge 1/0/1", "report 1 Running running"]);
}

#[test]
fn an_ended_container_stays_ended() {
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(WALL),
        finished_at: WALL,
    };
    let mut bench = Bench::new();
    bench.begin(known(1, &spec(json!({})), ContainerState::Terminated(end), 0));
    bench.expect(&["report 1 Succeeded Completed=0"]);
}

#[test]
fn the_image_of_a_container_taken_over_is_held() {
    let mut bench = Bench::with(nothing(), vec![running(id(1, 0, 0))]);
    bench.begin(known(1, &spec(json!({})), RUNNING, 0));
    bench.effects();
    let digest = image("tool", program()).digest.clone();
    assert!(bench.in_use.removing(|keep| keep(&digest)).unwrap());
}

#[test]
fn no_image_is_removed_before_all_pods_are_known() {
    let in_use = Arc::new(InUse::incomplete());
    let mut bench = Bench::new();
    bench.agent = Agent::new(site(nothing()), in_use.clone(), vec![running(id(1, 0, 0))]);
    assert!(in_use.removing(|_| ()).is_err());
    bench.begin(known(1, &spec(json!({})), RUNNING, 0));
    assert!(in_use.removing(|_| ()).is_err());
    bench.tell(Input::Command(Command::Synced));
    let digest = image("tool", program()).digest.clone();
    assert_eq!(in_use.removing(|keep| keep(&digest)), Ok(true));
}

/// The server was killed between the start and the commit that would have told of it.
#[test]
fn of_a_start_that_the_journal_did_not_hear_of_the_image_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = image("tool", ImageConfig { stop_signal: "SIGINT".into(), ..program() });
    let spec = spec(json!({}));
    let mut killed = Bench::with_data(dir.path(), Vec::new());
    killed.begin(index(1, &spec));
    killed.begin(index(2, &spec));
    killed.effects();
    killed.fetched(&prepared);
    killed.expect(&["start 1/0/0", "start 2/0/0"]);
    assert_eq!(killed.remembered.len(), 1, "once a run");
    remembered::append(&dir.path().join(format!("run-images/jobs/{JOB}/images")), &killed.remembered[0])
        .unwrap();

    let mut bench = Bench::with_data(dir.path(), vec![running(id(1, 0, 0))]);
    bench.begin(index(1, &spec));
    bench.expect(&["report 1 Running running"]);
    assert!(bench.in_use.removing(|keep| keep(&prepared.digest)).unwrap());
    let pod = &bench.agent.pods[&Uid(1)];
    assert_eq!(pod.told.containers[0].image_id.as_ref(), Some(&prepared.image_id));
    bench.begin(index(3, &spec));
    bench.expect(&["fetch tool:1 IfNotPresent pinned"]);
    bench.stop(1, 30);
    bench.expect(&["signal 2 1/0/0"]);
}

/// Somebody changed the image while the container ran, and the server was restarted before the container was.
#[test]
fn a_changed_image_counts_from_the_next_restart_on_whoever_was_restarted_before() {
    let dir = tempfile::tempdir().unwrap();
    let tool = image("tool", program());
    let line = Remembered { name: "tool:1".into(), image_id: tool.image_id.to_string(), stop_signal: 2 };
    remembered::append(&dir.path().join(format!("run-images/jobs/{JOB}/images")), &line).unwrap();
    let changed = spec(json!({
        "restartPolicy": "OnFailure", "containers": [{"name": "main", "image": "other:1"}],
    }));
    let mut bench = Bench::with_data(dir.path(), vec![running(id(1, 0, 0))]);
    bench.begin(known(1, &changed, RUNNING, 0));
    bench.expect(&[]);
    assert!(bench.in_use.removing(|keep| keep(&tool.digest)).unwrap(), "what runs is held");
    assert_eq!(bench.agent.pods[&Uid(1)].stop_signals, [2]);
    bench.exits(id(1, 0, 0), 1);
    let effects = bench.effects();
    assert!(effects.contains(&"fetch other:1 IfNotPresent".to_owned()), "{effects:?}");
    // The machine was off.
    let mut bench = Bench::with_data(dir.path(), Vec::new());
    bench.begin(known(1, &changed, RUNNING, 0));
    let effects = bench.effects();
    assert!(effects.contains(&"fetch other:1 IfNotPresent".to_owned()), "{effects:?}");
}

#[test]
fn after_a_lost_connection_the_table_is_the_truth() {
    let mut bench = Bench::new();
    let spec = spec(json!({}));
    for uid in 1..=5 {
        bench.begin(index(uid, &spec));
    }
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    for uid in 2..=4 {
        bench.runs(id(uid, 0, 0));
    }
    bench.effects();
    bench.stop(4, 30);
    bench.expect(&["signal 15 4/0/0"]);
    bench.tell(Input::Command(Command::Synced));
    bench.effects();
    // 1 was never started, 2 is lost, 3 ended, 4 runs on, 5 has started, 9 is a stranger.
    bench.tell(Input::Reconnected(vec![
        TableEntry::Exited(exit(id(3, 0, 0), ExitStatus::Code(0))),
        running(id(4, 0, 0)),
        running(id(5, 0, 0)),
        running(id(9, 0, 0)),
    ]));
    let mut effects = bench.effects();
    effects.sort();
    assert_eq!(
        effects,
        [
            "release 9 with volumes",
            "report 2 Failed ContainerStatusUnknown=137",
            "report 3 Succeeded Completed=0",
            "report 5 Running running",
            "signal 15 4/0/0",
            "start 1/0/0",
        ]
    );
}

#[test]
fn what_a_lost_spawner_held_is_made_again_from_the_first_container() {
    for lost in [false, true] {
        let mut bench = Bench::new();
        let spec = spec(json!({
            "restartPolicy": "OnFailure", "volumes": [{"name": "work", "emptyDir": {}}],
            "initContainers": [{"name": "unpack", "image": "tool:1"}],
        }));
        let dir = "/data/volumes/00000000-0000-0000-0000-000000000001/work";
        bench.begin(index(1, &spec));
        bench.effects();
        bench.fetched(&image("tool", program()));
        bench.expect(&[&format!("start 1/0/0 dir {dir}")]);
        bench.runs(id(1, 0, 0));
        bench.exits(id(1, 0, 0), 0);
        bench.effects();
        bench.runs(id(1, 1, 0));
        bench.effects();
        let done = TableEntry::Exited(exit(id(1, 0, 0), ExitStatus::Code(0)));
        bench.tell(Input::Reconnected(match lost {
            false => vec![done, running(id(1, 1, 0))],
            true => vec![done, TableEntry::Exited(exit(id(1, 1, 0), ExitStatus::Lost))],
        }));
        let started: Vec<String> = bench.effects().into_iter().filter(|e| e.starts_with("start")).collect();
        let expect = lost.then(|| format!("start 1/0/1 dir {dir}"));
        assert_eq!(started, Vec::from_iter(expect));
    }
}

/// The main container's image comes while the init container makes anew what was lost.
#[test]
fn who_waits_for_an_image_is_not_begun_before_what_was_lost_is_made_again() {
    let mut bench = Bench::new();
    let spec = spec(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [
            {"name": "unpack", "image": "tool:1"},
            {"name": "serve", "image": "tool:1", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "main", "image": "other:1"}],
    }));
    bench.begin(index(1, &spec));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.expect(&["start 1/0/0"]);
    bench.runs(id(1, 0, 0));
    bench.exits(id(1, 0, 0), 0);
    bench.effects();
    bench.runs(id(1, 1, 0));
    assert!(bench.effects().contains(&"fetch other:1 IfNotPresent".to_owned()));
    bench.tell(Input::Reconnected(vec![
        TableEntry::Exited(exit(id(1, 0, 0), ExitStatus::Code(0))),
        TableEntry::Exited(exit(id(1, 1, 0), ExitStatus::Lost)),
    ]));
    let starts = |bench: &mut Bench| -> Vec<String> {
        bench.effects().into_iter().filter(|e| e.starts_with("start")).collect()
    };
    assert_eq!(starts(&mut bench), ["start 1/0/1"]);
    bench.runs(id(1, 0, 1));
    bench.fetched(&image("other", program()));
    assert_eq!(starts(&mut bench), [""; 0]);
    bench.exits(id(1, 0, 1), 0);
    assert_eq!(starts(&mut bench), ["start 1/1/1"]);
    bench.runs(id(1, 1, 1));
    assert_eq!(starts(&mut bench), ["start 1/2/0"]);
}
