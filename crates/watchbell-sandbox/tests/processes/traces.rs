//! Runs whose system calls are noted.

use std::sync::Arc;

use watchbell_sandbox::{ExitStatus, PodEnvironment, RunSpec, Sharing, StartFailureKind};

use crate::Outcome;
use crate::place::{Place, pod, script};

fn traced(spec: RunSpec) -> RunSpec {
    let mut spec = spec;
    spec.extras.trace = true;
    spec
}

/// Names and counts; the first line is of the architecture.
fn calls(place: &Place, name: &str) -> Result<Vec<String>, crate::place::Failure> {
    let lines = place.lines(&format!("{name}.log.trace"))?;
    let (first, rest) = lines.split_first().ok_or("the trace is empty")?;
    assert!(first.starts_with("stdout F {\"architecture\":\"SCMP_ARCH_"), "{first}");
    Ok(rest.iter().map(|line| line.trim_start_matches("stdout F ").to_owned()).collect())
}

pub(crate) fn what_a_traced_task_calls_is_noted() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let text = "echo out; cd /dev; sleep 0.01 & wait; exit 3";
    let check = |uid: u128, change: fn(&mut RunSpec)| -> Outcome {
        let mut spec = traced(script(&place, uid, text));
        change(&mut spec);
        server.spawner.start(&spec)?;
        let record = server.exit(spec.id)?;
        server.spawner.release_pod(uid)?;
        let name = uid.to_string();
        assert_eq!(record.status, ExitStatus::Code(3), "{:?}", place.lines(&format!("{name}.log")));
        assert_eq!(place.lines(&format!("{name}.log"))?, ["stdout F out"]);
        // It is there as soon as the end is told.
        let calls = calls(&place, &name)?;
        let has = |call: &str| {
            calls.iter().any(|line| line.starts_with(&format!("{{\"call\":\"{call}\",\"count\":")))
        };
        for call in ["execve", "exit_group", "write", "wait4", "chdir"] {
            assert!(has(call), "{call}: {calls:?}");
        }
        // The filter below answers for itself: nobody is asked about what it refuses.
        assert!(!has("clone3"), "{calls:?}");
        // Of what the start does, this is the last; only without no-new-privileges more follows.
        assert_eq!(has("capset"), !spec.no_new_privs, "{calls:?}");
        Ok(())
    };
    check(1, |_| {})?;
    check(2, |spec| spec.no_new_privs = false)?;
    check(3, |spec| {
        spec.pod = Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(spec.id.pod_uid) });
    })?;
    assert!(place.pids("tracer")?.is_empty());
    Ok(())
}

pub(crate) fn a_tracer_ends_with_its_task_and_the_other_way_round() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let mut missing = traced(script(&place, 1, ""));
    missing.argv = vec!["/bin/none".to_owned()];
    server.spawner.start(&missing)?;
    assert_eq!(server.failure(missing.id)?.kind, StartFailureKind::CommandNotFound);
    // What the spawner itself refuses has begun nothing.
    let mut refused = traced(script(&place, 2, ""));
    refused.root.layers = vec![place.path().join("no-such-layer")];
    server.spawner.start(&refused)?;
    assert_eq!(server.failure(refused.id)?.kind, StartFailureKind::Sandbox);
    assert!(place.pids("tracer")?.is_empty());

    // Nobody answers any more: calls fail, and a task that makes none does not go on unwatched either.
    let orphan = traced(script(&place, 3, "echo ready; while :; do :; done"));
    server.spawner.start(&orphan)?;
    server.started(orphan.id)?;
    place.wait_for_log("3.log")?;
    place.kill("tracer")?;
    assert_ne!(server.exit(orphan.id)?.status, ExitStatus::Code(0));
    assert!(place.lines("3.log.trace").is_err(), "there is no trace");

    let killed = traced(script(&place, 4, "echo ready; while :; do sleep 0.05; done"));
    server.spawner.start(&killed)?;
    server.started(killed.id)?;
    place.wait_for_log("4.log")?;
    server.spawner.kill_pod(4)?;
    assert_eq!(server.exit(killed.id)?.status, ExitStatus::Signal(9));
    assert!(calls(&place, "4")?.len() > 5, "what it did until then");
    assert!(place.pids("tracer")?.is_empty());
    Ok(())
}
