//! What a task reads from its clocks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use watchbell_sandbox::{Ceiling, PodEnvironment, RunSpec, Sharing, SpawnerOptions};

use crate::Outcome;
use crate::place::{Place, pod};
use crate::probe::{build_probe, pairs, printed, probe};
use crate::sessions::{end, exec, start};

/// Ways to ask for the time since the start, of [`probe.c`]'s `clocks`.
fn seconds(found: &BTreeMap<&str, &str>) -> Vec<i64> {
    found
        .iter()
        .filter(|(name, _)| !["namespace", "children"].contains(name))
        .map(|(name, value)| value.parse().unwrap_or_else(|_| panic!("{name} is {value}")))
        .collect()
}

fn host_namespace() -> Result<String, std::io::Error> {
    Ok(fs::read_link("/proc/self/ns/time")?.to_string_lossy().into_owned())
}

/// A task cannot tell how long the host has been up, whichever clock it asks.
pub(crate) fn clocks_begin_with_the_pod() -> Outcome {
    let begun = Instant::now();
    let place = Place::new()?;
    build_probe(&place)?;
    let allowed = Ceiling { host_pid: true, host_users: true, ..Ceiling::default() };
    let server = place.connect_with(&SpawnerOptions { ceiling: allowed, ..place.options() })?;
    let host = host_namespace()?;
    let other = probe(&place, 1, &["pause"]);
    start(&server, &other)?;
    let (_, of_other, _) = exec(&server, other.id, &["/bin/probe", "clocks"])?;
    let lines = printed(&place, &server, &probe(&place, 2, &["clocks"]))?;
    let of_other: Vec<String> = of_other.lines().map(str::to_owned).collect();
    for lines in [&of_other, &lines] {
        let found = pairs(lines);
        let seconds = seconds(&found);
        assert_eq!(seconds.len(), 10, "{found:?}");
        // Clocks begin at a whole second of the host, the raw one may be a second behind, and `sysinfo` rounds up.
        let most = begun.elapsed().as_secs() as i64 + 3;
        assert!(seconds.iter().all(|s| (0..=most).contains(s)), "of {most}: {found:?}");
        assert_eq!(found["namespace"], found["children"], "what it starts has them too");
        assert_ne!(found["namespace"], host);
    }
    assert_ne!(pairs(&of_other)["namespace"], pairs(&lines)["namespace"]);
    end(&server, &other)?;
    // With the host's processes it has the host's clocks, by which their ages are told; a start before changes nothing.
    let mut spec = probe(&place, 3, &["clocks"]);
    let mut environment = pod(3);
    environment.host_namespaces.pid = true;
    environment.host_namespaces.users = true;
    spec.pod = Arc::new(environment);
    let lines = printed(&place, &server, &spec)?;
    assert_eq!((pairs(&lines)["namespace"], pairs(&lines)["children"]), (host.as_str(), host.as_str()));
    Ok(())
}

/// Containers of a pod may compare what they measure.
pub(crate) fn containers_of_a_pod_share_clocks() -> Outcome {
    let place = Place::new()?;
    build_probe(&place)?;
    let server = place.connect()?;
    let shared = Arc::new(PodEnvironment { sharing: Sharing::Shared, ..pod(1) });
    let mut seen = Vec::new();
    let keeps = RunSpec { pod: Arc::clone(&shared), ..probe(&place, 1, &["pause"]) };
    server.spawner.start(&keeps)?;
    server.started(keeps.id)?;
    for container in [1, 2] {
        let mut spec = probe(&place, 1, &["clocks"]);
        spec.id.container = container;
        spec.log.path = format!("c{container}.log").into();
        spec.pod = Arc::clone(&shared);
        server.spawner.start(&spec)?;
        server.exit(spec.id)?;
        let lines = place.lines(&format!("c{container}.log"))?;
        let namespace =
            lines.iter().find_map(|line| line.split_once("namespace ")).map(|(_, name)| name.to_owned());
        seen.push(namespace.ok_or("it says no namespace")?);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], host_namespace()?);
    server.spawner.release_pod(1)?;
    server.exit(keeps.id)?;
    Ok(())
}
