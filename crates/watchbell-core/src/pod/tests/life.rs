use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use watchbell_api::node::StopCause;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};

use super::spec;
use crate::pod::{Action, Life, State};

mod lost;

const WALL: i64 = 1_700_000_000;

/// `Never init:a sidecar:s main:m deadline:30 grace:5`; `own:OnFailure` and `again:3` are of the main container before.
fn pod(words: &str) -> PodSpec {
    let (mut inits, mut mains) = (Vec::new(), Vec::new());
    let mut object = json!({});
    for word in words.split_whitespace() {
        match word.split_once(':') {
            None => object["restartPolicy"] = word.into(),
            Some(("init", name)) => inits.push(json!({"name": name})),
            Some(("sidecar", name)) => inits.push(json!({"name": name, "restartPolicy": "Always"})),
            Some(("main", name)) => mains.push(json!({"name": name})),
            Some(("own", policy)) => mains.last_mut().unwrap()["restartPolicy"] = policy.into(),
            Some(("again", code)) => {
                let codes = json!({"operator": "In", "values": [code.parse::<i32>().unwrap()]});
                mains.last_mut().unwrap()["restartPolicyRules"] =
                    json!([{"action": "Restart", "exitCodes": codes}]);
            }
            Some(("deadline", s)) => object["activeDeadlineSeconds"] = s.parse::<i64>().unwrap().into(),
            Some(("grace", s)) => object["terminationGracePeriodSeconds"] = s.parse::<i64>().unwrap().into(),
            Some(other) => panic!("{other:?}"),
        }
    }
    object["initContainers"] = inits.into();
    object["containers"] = mains.into();
    spec(object)
}

struct Play {
    spec: PodSpec,
    life: Life,
    now: Duration,
    wake_at: Option<Duration>,
}

impl Play {
    fn new(words: &str) -> Play {
        let spec = pod(words);
        let now = Duration::from_secs(1000);
        let life = Life::new(&spec, &PodStatus::default(), |_| None, WALL, now);
        Play { spec, life, now, wake_at: None }
    }

    fn ordinal(&self, name: &str) -> usize {
        let mut all = self.spec.init_containers.iter().chain(&self.spec.containers);
        all.position(|c| c.name == name).unwrap_or_else(|| panic!("no container {name}"))
    }

    fn name(&self, ordinal: usize) -> &str {
        let inits = self.spec.init_containers.len();
        if ordinal < inits {
            &self.spec.init_containers[ordinal].name
        } else {
            &self.spec.containers[ordinal - inits].name
        }
    }

    fn end(&mut self, name: &str, exit_code: i32, started_at: Option<i64>) {
        let reason = if exit_code == 0 { TerminatedReason::Completed } else { TerminatedReason::Error };
        let finished_at = WALL + i64::try_from(self.now.as_secs()).unwrap() - 1000;
        let how = Terminated { exit_code, signal: None, reason, message: None, started_at, finished_at };
        self.life.ended(self.ordinal(name), how, self.now);
    }

    /// Something happens.
    fn event(&mut self, event: &str) {
        let words: Vec<&str> = event.split_whitespace().collect();
        match words[..] {
            ["begin"] => {}
            ["wake"] => self.now = self.wake_at.expect("nothing to wake for"),
            ["wait", seconds] => self.now += Duration::from_secs(seconds.parse().unwrap()),
            ["stop", grace] => {
                let grace = Duration::from_secs(grace.parse().unwrap());
                self.life.stop(StopCause::Deleted, grace, self.now);
            }
            ["deadline", seconds] => {
                self.spec.active_deadline_seconds = Some(seconds.parse().unwrap());
                let wall = WALL + i64::try_from(self.now.as_secs()).unwrap() - 1000;
                self.life.spec_changed(&self.spec, wall, self.now);
            }
            ["preempt"] => self.life.stop(StopCause::Preempted, Duration::ZERO, self.now),
            ["refuse"] => self.life.refuse("Unsupported", "no such thing here", self.now),
            [name, "starts"] => self.life.starting(self.ordinal(name), "img@sha256:1".into()),
            [name, "runs"] => {
                let ordinal = self.ordinal(name);
                self.life.starting(ordinal, "img@sha256:1".into());
                self.life.running(ordinal, WALL);
            }
            [name, "exits", code] => self.end(name, code.parse().unwrap(), Some(WALL)),
            ["pod", "is", "lost"] => {
                for i in 0..self.life.containers.len() {
                    if matches!(self.life.containers[i].state, State::Running { .. }) {
                        self.event(&format!("{} is lost", self.name(i).to_owned()));
                    }
                }
                self.life.environment_lost(&self.spec);
            }
            [name, "is", "lost"] => {
                let how = Terminated {
                    exit_code: 137,
                    signal: None,
                    reason: TerminatedReason::ContainerStatusUnknown,
                    message: None,
                    started_at: Some(WALL),
                    finished_at: WALL,
                };
                self.life.ended(self.ordinal(name), how, self.now);
            }
            [name, "cannot", "start"] => self.end(name, 128, None),
            [name, "lacks", seconds] => {
                let retry_at = self.now + Duration::from_secs(seconds.parse().unwrap());
                self.life.blocked(self.ordinal(name), "ErrImagePull", "no registry".into(), retry_at);
            }
            _ => panic!("{event:?}"),
        }
    }

    /// `create m, terminate s, kill; Running; wake 10`
    fn step(&mut self) -> String {
        let step = self.life.step(&self.spec, self.now);
        let actions: Vec<String> = step
            .actions
            .iter()
            .map(|action| match action {
                Action::Create { container } => format!("create {}", self.name(*container)),
                Action::Terminate { container } => format!("terminate {}", self.name(*container)),
                Action::Kill => "kill".into(),
            })
            .collect();
        let mut text = actions.join(", ");
        let status = self.life.status(&self.spec);
        let _ = write!(text, "; {}", status.phase.as_str());
        if let Some(reason) = &status.reason {
            let _ = write!(text, " {reason}");
        }
        assert_eq!(step.is_over, status.phase.is_terminal(), "over and terminal are one");
        if let Some(at) = step.wake_at {
            let _ = write!(text, "; wake {}", at.saturating_sub(self.now).as_secs());
        }
        self.wake_at = step.wake_at;
        text
    }
}

fn check(pod: &str, script: &[(&str, &str)]) {
    let mut play = Play::new(pod);
    for (event, expect) in script {
        play.event(event);
        assert_eq!(play.step(), *expect, "{pod}: after {event:?} of {script:?}");
    }
}

#[test]
fn one_container_runs_to_its_end() {
    check(
        "Never main:m",
        &[("begin", "create m; Pending"), ("m runs", "; Running"), ("m exits 0", "; Succeeded")],
    );
    check(
        "Never main:m",
        &[("begin", "create m; Pending"), ("m runs", "; Running"), ("m exits 3", "; Failed")],
    );
    check(
        "Never main:m",
        &[("begin", "create m; Pending"), ("m starts", "; Pending"), ("m cannot start", "; Failed")],
    );
    check(
        "OnFailure main:m",
        &[("begin", "create m; Pending"), ("m runs", "; Running"), ("m exits 0", "; Succeeded")],
    );
}

#[test]
fn the_crash_back_off_doubles() {
    check(
        "OnFailure main:m",
        &[
            ("begin", "create m; Pending"),
            ("m runs", "; Running"),
            ("m exits 1", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 10"),
            ("wait 9", "; Running; wake 1"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 20"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 40"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 80"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 160"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 300"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 300"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("wait 601", "; Running"),
            ("m exits 1", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 10"),
            ("wake", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 0", "; Succeeded"),
        ],
    );
}

#[test]
fn always_restarts_success_too() {
    check(
        "Always main:m",
        &[
            ("begin", "create m; Pending"),
            ("m runs", "; Running"),
            ("m exits 0", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 0", "; Running; wake 10"),
            ("stop 5", "; Succeeded"),
        ],
    );
}

#[test]
fn a_container_has_its_own_say_about_restarts() {
    check(
        "Never main:m own:Never again:3",
        &[
            ("begin", "create m; Pending"),
            ("m runs", "; Running"),
            ("m exits 3", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Failed"),
        ],
    );
    check(
        "Always main:m own:OnFailure again:0 main:n own:Never",
        &[
            ("begin", "create m, create n; Pending"),
            ("m runs", "; Pending"),
            ("n runs", "; Running"),
            ("n exits 1", "; Running"),
            ("m exits 0", "create m; Running"),
            ("m runs", "; Running"),
            ("m exits 1", "; Running; wake 10"),
            ("stop 1", "; Failed"),
        ],
    );
    // A rule without the container's own policy means nothing; the server refuses it.
    check(
        "Never main:m again:3",
        &[("begin", "create m; Pending"), ("m runs", "; Running"), ("m exits 3", "; Failed")],
    );
}

#[test]
fn several_containers_end_together() {
    check(
        "Never main:a main:b",
        &[
            ("begin", "create a, create b; Pending"),
            ("a runs", "; Pending"),
            ("b runs", "; Running"),
            ("a exits 0", "; Running"),
            ("b exits 0", "; Succeeded"),
        ],
    );
    check(
        "Never main:a main:b",
        &[
            ("begin", "create a, create b; Pending"),
            ("a runs", "; Pending"),
            ("a exits 1", "; Running"),
            ("b runs", "; Running"),
            ("b exits 0", "; Failed"),
        ],
    );
    check(
        "OnFailure main:a main:b",
        &[
            ("begin", "create a, create b; Pending"),
            ("a runs", "; Pending"),
            ("b runs", "; Running"),
            ("a exits 1", "create a; Running"),
            ("b exits 0", "; Running"),
            ("a runs", "; Running"),
            ("a exits 0", "; Succeeded"),
        ],
    );
}

#[test]
fn init_containers_go_one_after_the_other() {
    check(
        "Never init:i init:j main:m",
        &[
            ("begin", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 0", "create j; Pending"),
            ("j runs", "; Pending"),
            ("j exits 0", "create m; Pending"),
            ("m runs", "; Running"),
            ("m exits 0", "; Succeeded"),
        ],
    );
    check(
        "Never init:i main:m",
        &[("begin", "create i; Pending"), ("i runs", "; Pending"), ("i exits 2", "; Failed")],
    );
    check(
        "OnFailure init:i main:m",
        &[
            ("begin", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 2", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 2", "; Pending; wake 10"),
            ("wake", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 0", "create m; Pending"),
        ],
    );
}

#[test]
fn a_sidecar_serves_and_ends_last() {
    check(
        "Never sidecar:s init:i sidecar:t main:m grace:7",
        &[
            ("begin", "create s; Pending"),
            ("s runs", "create i; Pending"),
            ("i runs", "; Pending"),
            ("i exits 0", "create t; Pending"),
            ("t runs", "create m; Pending"),
            ("m runs", "; Running"),
            ("s exits 1", "create s; Running"),
            ("s runs", "; Running"),
            ("m exits 0", "terminate t; Running; wake 7"),
            ("t exits 143", "terminate s; Running; wake 7"),
            ("wait 6", "; Running; wake 1"),
            ("wake", "kill; Running"),
            ("s exits 137", "; Succeeded"),
        ],
    );
    // One that crashes over and over holds up nothing.
    check(
        "Never sidecar:s main:m",
        &[
            ("begin", "create s; Pending"),
            ("s runs", "create m; Pending"),
            ("m runs", "; Running"),
            ("s exits 1", "create s; Running"),
            ("s runs", "; Running"),
            ("s exits 1", "; Running; wake 10"),
            ("m exits 0", "; Succeeded"),
        ],
    );
    // One that never ran holds back what comes after it.
    check(
        "Never sidecar:s main:m",
        &[
            ("begin", "create s; Pending"),
            ("s starts", "; Pending"),
            ("s cannot start", "create s; Pending"),
            ("s starts", "; Pending"),
            ("s cannot start", "; Pending; wake 10"),
        ],
    );
}

#[test]
fn the_deadline_ends_a_pod() {
    check(
        "OnFailure main:m deadline:60 grace:10",
        &[
            ("begin", "create m; Pending; wake 60"),
            ("m runs", "; Running; wake 60"),
            ("wake", "terminate m; Running DeadlineExceeded; wake 10"),
            ("wake", "kill; Running DeadlineExceeded"),
            ("m exits 137", "; Failed DeadlineExceeded"),
        ],
    );
    // It counts while the image is awaited.
    check(
        "Never main:m deadline:60",
        &[
            ("begin", "create m; Pending; wake 60"),
            ("m lacks 300", "; Pending; wake 60"),
            ("wake", "; Failed DeadlineExceeded"),
        ],
    );
    // A task that ended well by itself before its SIGTERM still missed the deadline.
    check(
        "Never main:m deadline:60 grace:10",
        &[
            ("begin", "create m; Pending; wake 60"),
            ("m runs", "; Running; wake 60"),
            ("wake", "terminate m; Running DeadlineExceeded; wake 10"),
            ("m exits 0", "; Failed DeadlineExceeded"),
        ],
    );
}

#[test]
fn a_stop_asks_first() {
    check(
        "Always sidecar:s main:a main:b",
        &[
            ("begin", "create s; Pending"),
            ("s runs", "create a, create b; Pending"),
            ("a runs", "; Pending"),
            ("b runs", "; Running"),
            ("stop 30", "terminate a, terminate b; Running; wake 30"),
            ("a exits 143", "; Running; wake 30"),
            ("stop 5", "; Running; wake 5"),
            ("stop 60", "; Running; wake 5"),
            ("b exits 0", "terminate s; Running; wake 5"),
            ("wake", "kill; Running"),
            ("s exits 137", "; Failed"),
        ],
    );
    check("Never main:m", &[("stop 30", "; Failed")]);
    check("Never main:m", &[("begin", "create m; Pending"), ("stop 30", "; Failed")]);
    check(
        "Never main:m",
        &[
            ("begin", "create m; Pending"),
            ("m runs", "; Running"),
            ("stop 0", "kill; Running"),
            ("m exits 137", "; Failed"),
        ],
    );
    check(
        "Never main:m",
        &[
            ("begin", "create m; Pending"),
            ("m starts", "; Pending"),
            ("stop 9", "terminate m; Pending; wake 9"),
        ],
    );
}

#[test]
fn what_is_missing_is_asked_for_again() {
    check(
        "Never main:m",
        &[
            ("begin", "create m; Pending"),
            ("m lacks 10", "; Pending; wake 10"),
            ("wait 3", "; Pending; wake 7"),
            ("wake", "create m; Pending"),
            ("m runs", "; Running"),
        ],
    );
}

#[test]
fn a_deadline_that_is_changed_counts_from_the_beginning() {
    let begin = [("begin", "create m; Pending; wake 60"), ("m runs", "; Running; wake 60")];
    for script in [
        [("wait 10", "; Running; wake 50"), ("deadline 30", "; Running; wake 20")],
        [("wait 10", "; Running; wake 50"), ("deadline 5", "terminate m; Running DeadlineExceeded; wake 7")],
    ] {
        check("Never main:m deadline:60 grace:7", &[begin, script].concat());
    }
}

#[test]
fn a_pod_that_cannot_run_here_says_so() {
    check("Never main:m", &[("refuse", "; Failed Unsupported")]);
}

#[test]
fn preemption_is_a_disruption() {
    let mut play = Play::new("Never main:m");
    play.event("preempt");
    play.step();
    assert_eq!(play.life.status(&play.spec).disruption.as_deref(), Some("PreemptionByScheduler"));
}

/// What the pod is, how its containers end one after the other, and the reason of its disruption.
#[test]
fn a_pod_that_its_machine_lost_is_disrupted() {
    let check = |words: &str, ends: &[&str], expect: Option<&str>| {
        let mut play = Play::new(words);
        play.step();
        for (name, end) in ends.iter().map(|end| end.split_once(' ').unwrap()) {
            play.event(&format!("{name} runs"));
            play.event(&match end {
                "lost" => format!("{name} is lost"),
                code => format!("{name} exits {code}"),
            });
            play.step();
        }
        let status = play.life.status(&play.spec);
        assert_eq!(status.disruption.as_deref(), expect, "{words}, {ends:?}: {status:?}");
    };
    let lost = Some("DeletionByPodGC");
    check("Never main:m", &["m lost"], lost);
    check("Never main:m main:n", &["m 0", "n lost"], lost);
    check("Never init:a main:m", &["a lost"], lost);
    check("Never main:m", &["m 137"], None);
    // One failed of itself.
    check("Never main:m main:n", &["m 1", "n lost"], None);
    // It goes on, by another run.
    check("OnFailure main:m", &["m lost"], None);
    check("Never main:m main:n", &["m lost"], None);
    // It was ended, and would be so had it not been lost.
    let mut play = Play::new("Never main:m");
    for event in ["begin", "m runs", "stop 5", "m is lost"] {
        play.event(event);
        play.step();
    }
    let status = play.life.status(&play.spec);
    assert_eq!((status.phase, status.disruption), (Phase::Failed, None));
}

#[test]
fn states_carry_kubernetes_reasons() {
    let waiting = |play: &Play, i: usize| match &play.life.status(&play.spec).containers[i].state {
        ContainerState::Waiting { reason, .. } => reason.to_string(),
        other => format!("{other:?}"),
    };
    let mut play = Play::new("OnFailure init:i main:m");
    play.step();
    assert_eq!(waiting(&play, 0), "PodInitializing");
    for event in ["i runs", "i exits 0"] {
        play.event(event);
        play.step();
    }
    assert_eq!(waiting(&play, 0), "ContainerCreating");
    play.event("m lacks 10");
    play.step();
    assert_eq!(waiting(&play, 0), "ErrImagePull");
    play.event("wait 10");
    play.step();
    for event in ["m runs", "m exits 4", "m runs", "m exits 5"] {
        play.event(event);
        play.step();
    }
    assert_eq!(waiting(&play, 0), "CrashLoopBackOff");
    let status = play.life.status(&play.spec);
    assert_eq!(status.containers[0].restart_count, 1);
    assert_eq!(status.containers[0].last_terminated.as_ref().map(|t| t.exit_code), Some(5));
    assert_eq!(status.containers[0].run_before(), Some(1));
    assert_eq!(status.containers[0].image_id.as_deref(), Some("img@sha256:1"));
    play.event("wait 10");
    play.step();
    let status = play.life.status(&play.spec);
    assert_eq!((status.containers[0].restart_count, status.containers[0].run_before()), (2, Some(1)));
}

/// What the node makes of a container that journal and sandbox knew when it came back.
fn taken_over(journal: ContainerState, restarts: u32, found: Option<(u32, State)>) -> (State, u32) {
    let spec = pod("OnFailure main:m");
    let status = PodStatus {
        phase: Phase::Running,
        containers: vec![ContainerStatus {
            state: journal,
            last_terminated: None,
            restart_count: restarts,
            image_id: None,
        }],
        ..PodStatus::default()
    };
    let life = Life::new(&spec, &status, |_| found.clone(), WALL, Duration::from_secs(5));
    let container = &life.containers[0];
    (container.state.clone(), container.restart_count)
}

#[test]
fn the_newest_run_is_taken_over() {
    let waiting = || ContainerState::Waiting { reason: "ContainerCreating".into(), message: None };
    let running = || ContainerState::Running { started_at: WALL };
    let runs = State::Running { started_at: WALL + 1 };
    assert_eq!(taken_over(waiting(), 0, None), (State::Idle, 0));
    assert_eq!(taken_over(waiting(), 0, Some((0, State::Starting))), (State::Starting, 0));
    assert_eq!(taken_over(waiting(), 0, Some((0, runs.clone()))), (runs.clone(), 0));
    // It was restarted after the journal's last word.
    assert_eq!(taken_over(running(), 0, Some((2, runs.clone()))), (runs.clone(), 2));
    // An older run than the journal knows says nothing.
    let (state, restarts) = taken_over(running(), 3, Some((2, runs)));
    assert!(
        matches!(&state, State::Ended(end) if end.exit_code == 137
        && end.reason == TerminatedReason::ContainerStatusUnknown),
        "{state:?}"
    );
    assert_eq!(restarts, 3);
}

#[test]
fn the_deadline_counts_while_the_node_was_away() {
    let spec = pod("Never main:m deadline:60");
    let status = PodStatus { started_at: Some(WALL - 45), ..PodStatus::default() };
    let now = Duration::from_secs(1000);
    let mut life = Life::new(&spec, &status, |_| None, WALL, now);
    assert_eq!(life.step(&spec, now).wake_at, Some(now + Duration::from_secs(15)));
    let status = PodStatus { started_at: Some(WALL - 4500), ..PodStatus::default() };
    let mut life = Life::new(&spec, &status, |_| None, WALL, Duration::from_secs(1));
    assert!(life.step(&spec, Duration::from_secs(1)).is_over, "long past");
}

#[test]
fn a_lost_start_is_asked_again_with_the_same_attempt() {
    let mut play = Play::new("Never main:m");
    for event in ["begin", "m starts"] {
        play.event(event);
        play.step();
    }
    play.life.not_started(0);
    assert_eq!(play.step(), "create m; Pending");
    assert_eq!(play.life.containers[0].restart_count, 0);
}

#[test]
fn orders_are_repeated_after_a_lost_connection() {
    let mut play = Play::new("Never main:m");
    for event in ["begin", "m runs", "stop 5"] {
        play.event(event);
        play.step();
    }
    play.life.repeat_orders();
    assert_eq!(play.step(), "terminate m; Running; wake 5");
}
