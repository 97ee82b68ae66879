use watchbell_api::types::pod::Container;
use watchbell_api::types::pod_status::{Terminated, TerminatedReason};

use super::*;

fn spec(init: &[&str], main: &[&str]) -> PodSpec {
    let containers = |names: &[&str]| {
        names.iter().map(|name| Container { name: (*name).to_owned(), ..Container::default() }).collect()
    };
    PodSpec { init_containers: containers(init), containers: containers(main), ..PodSpec::default() }
}

#[test]
fn containers_are_chosen() {
    let check = |init: &[&str], main: &[&str], asked: Option<&str>, expect: Result<(u16, &str), &str>| {
        let spec = spec(init, main);
        let got = container("p", &spec, asked).map_err(|e| {
            assert_eq!(e.reason.code(), 400);
            e.message
        });
        assert_eq!(got, expect.map_err(str::to_owned));
    };
    check(&[], &["main"], None, Ok((0, "main")));
    check(&["setup"], &["main"], None, Ok((1, "main")));
    check(&["setup"], &["main", "side"], Some("side"), Ok((2, "side")));
    check(&["setup"], &["main"], Some("setup"), Ok((0, "setup")));
    check(&[], &["main"], Some("x"), Err("container x is not valid for pod p"));
    check(
        &["setup"],
        &["main", "side"],
        None,
        Err(
            "a container name must be specified for pod p, choose one of: [main side] or one of the init containers: \
             [setup]",
        ),
    );
}

fn ended() -> Terminated {
    Terminated {
        exit_code: 1,
        signal: None,
        reason: TerminatedReason::Error,
        message: None,
        started_at: None,
        finished_at: 0,
    }
}

#[test]
fn runs_are_chosen() {
    let check = |status: Option<ContainerStatus>, previous: bool, expect: Result<u32, &str>| {
        let got = restart_of("p", "c", status.as_ref(), previous).map_err(|e| e.message);
        assert_eq!(got, expect.map_err(str::to_owned));
    };
    let running = ContainerStatus {
        state: ContainerState::Running { started_at: 0 },
        restart_count: 2,
        last_terminated: Some(Box::new(ended())),
        ..ContainerStatus::waiting("")
    };
    check(Some(running.clone()), false, Ok(2));
    check(Some(running), true, Ok(1));
    let first =
        ContainerStatus { state: ContainerState::Terminated(ended()), ..ContainerStatus::waiting("") };
    check(Some(first.clone()), false, Ok(0));
    check(Some(first), true, Err("previous terminated container \"c\" in pod \"p\" not found"));
    let creating = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
    check(Some(ContainerStatus::waiting("ContainerCreating")), false, Err(creating));
    check(None, false, Err(creating));
    for (reason, words) in [
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("ErrImageNeverPull", "ErrImageNeverPull"),
    ] {
        let expect = format!("container \"c\" in pod \"p\" is waiting to start: {words}");
        check(Some(ContainerStatus::waiting(reason)), false, Err(&expect));
    }
    let backing_off = ContainerStatus {
        restart_count: 3,
        last_terminated: Some(Box::new(ended())),
        ..ContainerStatus::waiting("CrashLoopBackOff")
    };
    // The run that crashed last is counted, the one to come is not.
    check(Some(backing_off.clone()), false, Ok(3));
    check(Some(backing_off.clone()), true, Ok(3));
    // Now the one to come is.
    let again =
        ContainerStatus { restart_count: 4, ..ContainerStatus::waiting("CreateContainerConfigError") };
    let again = ContainerStatus { last_terminated: backing_off.last_terminated, ..again };
    check(Some(again.clone()), false, Ok(3));
    check(Some(again), true, Ok(3));
}

#[test]
fn options_are_read() {
    let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
    let read = |query: &str| LogOptions::read(&Query::parse(query).unwrap(), now).map_err(|e| e.message);
    let second = 1_000_000_000;
    let options =
        read("container=c&follow=true&trace=true&tailLines=0&limitBytes=7&sinceSeconds=10&timestamps=1")
            .unwrap();
    assert_eq!(options.container.as_deref(), Some("c"));
    assert!(options.follow && options.trace && options.timestamps && !options.previous);
    assert_eq!((options.tail_lines, options.limit_bytes), (Some(0), Some(7)));
    let midnight = now.as_second() * second - 10 * second;
    assert_eq!(options.since_unix_nanos, Some(midnight));
    assert_eq!(read("sinceTime=2026-01-01T00:00:00Z").unwrap().since_unix_nanos, Some(midnight));
    assert!(read("sinceSeconds=9223372036854775807").unwrap().since_unix_nanos.is_some());
    for (query, words) in [
        ("tailLines=-1", "must be greater than or equal to 0"),
        ("limitBytes=0", "must be greater than 0"),
        ("sinceSeconds=0", "must be greater than 0"),
        ("sinceTime=yesterday", "must be a time"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "at most one of"),
        ("tailLines=x", "a whole number is needed"),
    ] {
        let message = read(query).unwrap_err();
        assert!(message.contains(words), "{query}: {message}");
    }
}
