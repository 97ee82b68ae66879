//! The program that runs inside, and how it is run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use watchbell_sandbox::{
    ExitRecord, ExitStatus, Mount, PodEnvironment, PodVolume, RunSpec, Scratch, VolumeSource,
};

use crate::place::{Failure, Place, Server, pod, script};

/// The probe in the place's layer; what it is linked against is in it.
pub(crate) fn build_probe(place: &Place) -> Result<(), Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/probe.c");
    let program = place.path().join("layer/bin/probe");
    let cc = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).arg(program).arg(source).status()?;
    if cc.success() {
        Ok(())
    } else {
        Err("the probe does not compile; cc and libc's static library are needed".into())
    }
}

pub(crate) fn probe(place: &Place, uid: u128, args: &[&str]) -> RunSpec {
    let tmp = Some(Scratch { bytes: 1 << 20, inodes: 64 });
    let argv = ["/bin/probe"].iter().chain(args).map(ToString::to_string).collect();
    RunSpec { argv, tmp, ..script(place, uid, "") }
}

/// Runs it to its end; its lines on both outputs.
pub(crate) fn run(
    place: &Place,
    server: &Server,
    spec: &RunSpec,
) -> Result<(ExitRecord, Vec<String>), Failure> {
    let log = format!("{}.log", spec.id.pod_uid);
    server.spawner.start(spec)?;
    let record = server.exit(spec.id)?;
    server.spawner.release_pod(spec.pod.uid)?;
    let lines = place.lines(&log).unwrap_or_default();
    let text = lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned);
    Ok((record, text.collect()))
}

pub(crate) fn printed(place: &Place, server: &Server, spec: &RunSpec) -> Result<Vec<String>, Failure> {
    let (record, lines) = run(place, server, spec)?;
    match record.status {
        ExitStatus::Code(0) => Ok(lines),
        status => Err(format!("{:?} ended with {status:?}: {lines:?}", spec.argv).into()),
    }
}

pub(crate) fn pairs(lines: &[String]) -> BTreeMap<&str, &str> {
    lines.iter().filter_map(|line| line.split_once(' ')).collect()
}

/// A volume of the pod at a path, with its source.
pub(crate) fn with_volume(
    spec: RunSpec,
    target: &str,
    source: VolumeSource,
    sub_path: Option<&str>,
) -> RunSpec {
    let volume = PodVolume { id: 1, source };
    let pod = PodEnvironment { volumes: vec![volume], ..pod(spec.id.pod_uid) };
    let sub_path = sub_path.map(str::to_owned);
    let mount = Mount { target: target.to_owned(), volume: 1, sub_path, read_only: false };
    RunSpec { pod: Arc::new(pod), mounts: vec![mount], ..spec }
}
