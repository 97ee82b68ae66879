//! What a server asks for, and gets.

use std::sync::Arc;
use std::time::Instant;

use watchbell_sandbox::{
    Error, Event, ExitStatus, FileEntry, LogSummary, PodEnvironment, PodVolume, RunSpec, Spawner,
    StartFailureKind, TableEntry, VolumeSource,
};

use crate::Outcome;
use crate::place::{Place, pod, script};

pub(crate) fn a_task_runs_prints_and_is_acknowledged() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    assert_eq!(server.table, []);
    let spec = script(&place, 1, "echo out; echo err >&2; printf rest; exit 3");
    server.spawner.start(&spec)?;
    let pid = server.started(spec.id)?;
    assert!(pid > 1);
    let record = server.exit(spec.id)?;
    assert_eq!(record.status, ExitStatus::Code(3));
    assert!(!record.oom_killed && record.started_at <= record.finished_at);
    assert_eq!(record.log, LogSummary { bytes: 12, lines: 2, dropped_bytes: 0 });
    let mut lines = place.lines("1.log")?;
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout F rest"]);
    server.spawner.acknowledge(spec.id)?;
    server.spawner.release_pod(1)?;
    drop(server);
    assert_eq!(place.connect()?.table, []);
    Ok(())
}

pub(crate) fn signals_and_kills_end_tasks() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let check = |uid: u128, text: &str, end: fn(&Spawner, &RunSpec), expect: ExitStatus| -> Outcome {
        let spec = script(&place, uid, text);
        server.spawner.start(&spec)?;
        server.started(spec.id)?;
        // The trap is set once it has printed.
        place.wait_for_log(&format!("{uid}.log"))?;
        end(&server.spawner, &spec);
        assert_eq!(server.exit(spec.id)?.status, expect, "{text}");
        Ok(())
    };
    let wait = "echo ready; while :; do sleep 0.05; done";
    let signal = |spawner: &Spawner, spec: &RunSpec| assert!(spawner.signal(spec.id, 15).is_ok());
    let kill = |spawner: &Spawner, spec: &RunSpec| assert!(spawner.kill_pod(spec.pod.uid).is_ok());
    let release = |spawner: &Spawner, spec: &RunSpec| assert!(spawner.release_pod(spec.pod.uid).is_ok());
    check(1, &format!("trap 'exit 42' TERM; {wait}"), signal, ExitStatus::Code(42))?;
    check(2, wait, kill, ExitStatus::Signal(9))?;
    check(3, &format!("trap '' TERM; {wait}"), release, ExitStatus::Signal(9))
}

pub(crate) fn what_cannot_start_is_told() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let check = |uid: u128, change: fn(&mut RunSpec), expect: StartFailureKind| -> Outcome {
        let mut spec = script(&place, uid, "exit 0");
        change(&mut spec);
        server.spawner.start(&spec)?;
        let failure = server.failure(spec.id)?;
        assert_eq!(failure.kind, expect, "{failure:?}");
        assert!(!failure.step.is_empty() && !failure.message.is_empty());
        Ok(())
    };
    check(1, |s| s.argv = vec!["/bin/no-such-program".to_owned()], StartFailureKind::CommandNotFound)?;
    check(2, |s| s.argv = vec!["/etc".to_owned()], StartFailureKind::CommandNotExecutable)?;
    // Nothing is sent that is out of bounds, or that this server does not allow.
    let invalid = RunSpec { argv: Vec::new(), ..script(&place, 5, "") };
    assert!(matches!(server.spawner.start(&invalid), Err(Error::Spec(_))));
    let privileged = RunSpec { privileged: true, ..script(&place, 3, "") };
    assert!(matches!(server.spawner.start(&privileged), Err(Error::AboveCeiling { .. })));
    drop(server);
    let table = place.connect()?.table;
    assert_eq!(table.len(), 2);
    assert!(table.iter().all(|entry| matches!(entry, TableEntry::Failed(_))));
    Ok(())
}

pub(crate) fn a_start_happens_once() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let spec = script(&place, 1, "echo once");
    for _ in 0..5 {
        server.spawner.start(&spec)?;
    }
    server.exit(spec.id)?;
    server.spawner.start(&spec)?;
    let next = RunSpec { id: watchbell_sandbox::ContainerId { attempt: 1, ..spec.id }, ..spec.clone() };
    server.spawner.start(&next)?;
    // The repeated start is answered before the next one, by nothing.
    let answer = match server.event()? {
        Event::Mapped { id, .. } if id == next.id => server.event()?,
        answer => answer,
    };
    assert!(matches!(answer, Event::Started { id, .. } if id == next.id));
    server.exit(next.id)?;
    assert_eq!(place.lines("1.log")?.len(), 2);
    Ok(())
}

pub(crate) fn large_pods_cross() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let contents = vec![b'x'; 3 << 20];
    let entries = (0..4)
        .map(|i| FileEntry { path: format!("file-{i}"), mode: 0o444, contents: contents.clone() })
        .collect();
    let volume = PodVolume { id: 1, source: VolumeSource::Files { entries, gid: None } };
    let environment = PodEnvironment { volumes: vec![volume], ..pod(1) };
    let spec = RunSpec {
        pod: Arc::new(environment),
        env: (0..2000).map(|i| (format!("NAME_{i}"), "value".repeat(20))).collect(),
        ..script(&place, 1, "exit 0")
    };
    server.spawner.start(&spec)?;
    assert_eq!(server.exit(spec.id)?.status, ExitStatus::Code(0));
    Ok(())
}

/// Not a bench, but a rate far below would be a fault.
pub(crate) fn many_short_tasks() -> Outcome {
    const TASKS: u128 = 300;
    let place = Place::new()?;
    let server = place.connect()?;
    let begin = Instant::now();
    for uid in 0..TASKS {
        server.spawner.start(&script(&place, uid, "exit 0"))?;
    }
    let (mut left, mut mapped) = (TASKS, std::collections::BTreeMap::new());
    while left > 0 {
        match server.event()? {
            // Before anything else of it, and never the ids of one that is there.
            Event::Mapped { id, first_host_id } => {
                assert!(first_host_id >= 65_536 && !mapped.values().any(|ids| *ids == first_host_id));
                mapped.insert(id, first_host_id);
            }
            Event::Started { id, .. } => assert!(mapped.contains_key(&id)),
            Event::Exited(record) => {
                assert_eq!(record.status, ExitStatus::Code(0));
                assert!(mapped.remove(&record.id).is_some());
                server.spawner.acknowledge(record.id)?;
                server.spawner.release_pod(record.id.pod_uid)?;
                left -= 1;
            }
            Event::StartFailed(failure) => return Err(failure.message.into()),
            Event::LogTrouble { .. } | Event::Connections { .. } | Event::GateLost { .. } => {}
            Event::Disconnected => return Err("the spawner is gone".into()),
        }
    }
    let rate = TASKS as f64 / begin.elapsed().as_secs_f64();
    let cpu = |kind: &str| -> Result<f64, Box<dyn std::error::Error>> {
        let pid = *place.pids(kind)?.first().ok_or("it is gone")?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let ns: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
        Ok(ns / 1e6 / TASKS as f64)
    };
    println!(
        "     {rate:.0} tasks a second; ms of CPU a task: spawner {:.2}, keeper {:.3}",
        cpu("spawner")?,
        cpu("keeper")?
    );
    assert!(std::fs::read_dir(place.log(""))?.next().is_none(), "silent tasks leave no file");
    Ok(())
}

pub(crate) fn only_one_server_is_served() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let Err(Error::Busy { pid }) = Spawner::connect_or_start(&place.options()).map(drop) else {
        return Err("a second server was served".into());
    };
    assert_eq!(pid, std::process::id());
    let spec = script(&place, 1, "exit 0");
    server.spawner.start(&spec)?;
    server.exit(spec.id)?;
    drop(server);
    assert_eq!(place.connect()?.table.len(), 1);
    Ok(())
}

/// The spawner of the server before, which allowed more, still runs a task.
pub(crate) fn an_allowance_is_gone_with_the_server_that_had_it() -> Outcome {
    let place = Place::new()?;
    let mut raised = place.options();
    raised.ceiling.unconfined = true;
    let server = place.connect_with(&raised)?;
    assert!(!server.spawner.is_outdated());
    let unconfined = |uid| RunSpec {
        seccomp: watchbell_sandbox::Seccomp::Unconfined,
        ..script(&place, uid, "sleep 1000")
    };
    let sleeper = unconfined(1);
    server.spawner.start(&sleeper)?;
    server.started(sleeper.id)?;
    let first = place.pids("spawner")?;
    drop(server);

    let server = place.connect()?;
    assert_eq!(place.pids("spawner")?, first);
    assert!(server.spawner.is_outdated());
    let Err(error @ Error::AboveCeiling { .. }) = server.spawner.start(&unconfined(2)) else {
        return Err("what only the server before allowed was asked for".into());
    };
    assert!(
        error.to_string().contains("pod test/pod-2: seccomp")
            && error.to_string().contains("--allow-unconfined")
    );
    let strict = script(&place, 3, "exit 0");
    server.spawner.start(&strict)?;
    assert_eq!(server.exit(strict.id)?.status, ExitStatus::Code(0));
    server.spawner.release_pod(1)?;
    server.exit(sleeper.id)?;
    Ok(())
}

pub(crate) fn other_settings_need_another_spawner() -> Outcome {
    let place = Place::new()?;
    let server = place.connect()?;
    let first = place.pids("spawner")?;
    let spec = script(&place, 1, "sleep 1000");
    server.spawner.start(&spec)?;
    server.started(spec.id)?;
    drop(server);

    let mut raised = place.options();
    raised.ceiling.unconfined = true;
    let unconfined =
        RunSpec { seccomp: watchbell_sandbox::Seccomp::Unconfined, ..script(&place, 2, "exit 0") };
    // As long as a task runs, the spawner stays what root made it.
    let server = place.connect_with(&raised)?;
    assert_eq!(place.pids("spawner")?, first);
    server.spawner.start(&unconfined)?;
    assert_eq!(server.failure(unconfined.id)?.kind, StartFailureKind::Refused);
    server.spawner.acknowledge(unconfined.id)?;
    server.spawner.release_pod(1)?;
    server.exit(spec.id)?;
    server.spawner.release_pod(2)?;
    drop(server);

    let server = place.connect_with(&raised)?;
    assert_ne!(place.pids("spawner")?, first);
    assert_eq!(server.table.len(), 1, "what ended before is still known");
    server.spawner.start(&unconfined)?;
    assert_eq!(server.exit(unconfined.id)?.status, ExitStatus::Code(0));
    Ok(())
}
