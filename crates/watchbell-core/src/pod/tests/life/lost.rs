//! What becomes of a pod whose environment was lost.

use super::*;

#[test]
fn init_containers_run_again_when_what_they_made_is_lost() {
    check(
        "OnFailure init:i main:m main:n",
        &[
            ("begin", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 0", "create m, create n; Pending"),
            ("m runs", "; Pending"),
            ("n runs", "; Running"),
            ("m exits 0", "; Running"),
            ("pod is lost", "create i; Running"),
            ("i runs", "; Running"),
            ("i exits 0", "create n; Running"),
            ("n runs", "; Running"),
            ("n exits 0", "; Succeeded"),
        ],
    );
    check(
        "OnFailure sidecar:s main:m",
        &[
            ("begin", "create s; Pending"),
            ("s runs", "create m; Pending"),
            ("m runs", "; Running"),
            // A sidecar that fails of itself keeps nobody waiting.
            ("s exits 1", "create s; Running"),
            ("m exits 1", "create m; Running"),
            ("s runs", "; Running"),
            ("m runs", "; Running"),
            ("pod is lost", "create s; Running"),
        ],
    );
    check(
        "OnFailure sidecar:s main:m",
        &[
            ("begin", "create s; Pending"),
            ("s runs", "create m; Pending"),
            ("m runs", "; Running"),
            ("pod is lost", "create s; Running"),
            ("s runs", "create m; Running"),
        ],
    );
    check(
        "OnFailure init:i init:j main:m",
        &[
            ("begin", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 0", "create j; Pending"),
            ("j runs", "; Pending"),
            ("pod is lost", "create i; Pending"),
        ],
    );
    // The one that waits for its image or the like is not begun before them when that comes.
    let mut play = Play::new("OnFailure init:i sidecar:s main:m");
    for (event, expect) in [
        ("begin", "create i; Pending"),
        ("i runs", "; Pending"),
        ("i exits 0", "create s; Pending"),
        ("s runs", "create m; Pending"),
        ("pod is lost", "create i; Pending"),
    ] {
        play.event(event);
        assert_eq!(play.step(), expect, "after {event:?}");
    }
    assert_eq!(play.life.containers[2].state, State::Idle);
    for (event, expect) in [
        ("i runs", "; Pending"),
        ("i exits 0", "create s; Pending"),
        ("s runs", "create m; Pending"),
        ("m runs", "; Running"),
    ] {
        play.event(event);
        assert_eq!(play.step(), expect, "after {event:?}");
    }
    for script in [
        // Nothing of it goes on.
        &[("m runs", "; Running"), ("pod is lost", "; Failed")][..],
        &[("m runs", "; Running"), ("stop 5", "terminate m; Running; wake 5"), ("pod is lost", "; Failed")],
    ] {
        let begin =
            [("begin", "create i; Pending"), ("i runs", "; Pending"), ("i exits 0", "create m; Pending")];
        check("Never init:i main:m", &[&begin[..], script].concat());
    }
}

/// A pod with an init container and another one, as the journal had them and the sandbox has them: what is done.
#[test]
fn init_containers_run_again_after_a_restart_of_the_machine() {
    let end = |code, reason| Terminated {
        exit_code: code,
        signal: None,
        reason,
        message: None,
        started_at: Some(WALL),
        finished_at: WALL,
    };
    let done = end(0, TerminatedReason::Completed);
    let lost = end(137, TerminatedReason::ContainerStatusUnknown);
    let known = |state: ContainerState, restart_count| ContainerStatus {
        state,
        restart_count,
        ..ContainerStatus::waiting("PodInitializing")
    };
    let check = |journal: [ContainerStatus; 2], found: [Option<(u32, State)>; 2], expect: &[Action]| {
        let spec = pod("OnFailure init:i main:m");
        let [init, main] = journal;
        let status = PodStatus {
            phase: Phase::Running,
            init_containers: vec![init],
            containers: vec![main],
            ..PodStatus::default()
        };
        let mut life = Life::new(&spec, &status, |i| found[i].clone(), WALL, Duration::from_secs(5));
        assert_eq!(life.step(&spec, Duration::from_secs(5)).actions, expect, "{status:?}, {found:?}");
        life.containers[0].restart_count
    };
    let (create_init, create_main) = (Action::Create { container: 0 }, Action::Create { container: 1 });
    let ran = || known(ContainerState::Terminated(done.clone()), 0);
    let running = || known(ContainerState::Running { started_at: WALL }, 0);
    let runs = State::Running { started_at: WALL };
    // The machine was off; or the spawner alone, which says what it lost.
    assert_eq!(check([ran(), running()], [None, None], &[create_init]), 1);
    let rows = || [Some((0, State::Ended(done.clone()))), Some((0, State::Ended(lost.clone())))];
    assert_eq!(check([ran(), running()], rows(), &[create_init]), 1);
    // Neither was.
    let rows = |main| [Some((0, State::Ended(done.clone()))), Some((0, main))];
    assert_eq!(check([ran(), running()], rows(runs.clone()), &[]), 0);
    let failed = State::Ended(end(1, TerminatedReason::Error));
    assert_eq!(check([ran(), running()], rows(failed), &[create_main]), 0);
    // It was before this server's time, and the init container is at it again, or done.
    let again = || {
        [known(ContainerStatus::waiting("PodInitializing").state, 1), {
            known(ContainerState::Terminated(lost.clone()), 0)
        }]
    };
    let rows = |init| [Some((1, init)), Some((0, State::Ended(lost.clone())))];
    assert_eq!(check(again(), rows(runs), &[]), 1);
    assert_eq!(check(again(), rows(State::Ended(done.clone())), &[create_main]), 1);
}

/// A server came back while the main container ran and the sidecar waited for its image, to be restarted.
#[test]
fn a_sidecar_that_cannot_be_restarted_holds_up_nobody_after_a_restart_of_the_server_either() {
    let failed = Terminated {
        exit_code: 1,
        signal: None,
        reason: TerminatedReason::Error,
        message: None,
        started_at: Some(WALL),
        finished_at: WALL,
    };
    let spec = pod("OnFailure sidecar:s main:m");
    let sidecar = ContainerStatus {
        last_terminated: Some(Box::new(failed.clone())),
        restart_count: 1,
        ..ContainerStatus::waiting("ErrImagePull")
    };
    let main = ContainerStatus {
        state: ContainerState::Running { started_at: WALL },
        ..ContainerStatus::waiting("PodInitializing")
    };
    let status = PodStatus {
        phase: Phase::Running,
        init_containers: vec![sidecar],
        containers: vec![main],
        ..PodStatus::default()
    };
    // It runs on, or ended while the server was away.
    for main in [State::Running { started_at: WALL }, State::Ended(failed.clone())] {
        let found = [Some((0, State::Ended(failed.clone()))), Some((0, main))];
        let now = Duration::from_secs(5);
        let mut life = Life::new(&spec, &status, |i| found[i].clone(), WALL, now);
        let mut actions = life.step(&spec, now).actions;
        life.blocked(0, "ErrImagePull", "no registry".into(), now + Duration::from_secs(300));
        life.ended(1, failed.clone(), now);
        actions.extend(life.step(&spec, now).actions);
        assert_eq!(actions, [Action::Create { container: 0 }, Action::Create { container: 1 }], "{found:?}");
    }
}
