//! The journal read back is the state that was written: after any sequence of operations.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::Command;

use super::fake_node::{Node, ended, running};
use super::rights::{binding, cluster_role, role};
use super::{Bench, array, config_map, cron, job, pod};
use crate::request::{DeleteOptions, Propagation};
use crate::world::World;

/// All that a client or the node can see of a world.
fn seen(world: &World) -> (Vec<Value>, BTreeSet<String>, u64) {
    let snapshot = world.snapshot();
    let objects = Resource::all()
        .flat_map(|resource| snapshot.list(resource, None, None).map(|o| o.render()).collect::<Vec<_>>())
        .collect();
    let commands = world.node_sync().iter().map(|command| format!("{command:?}")).collect();
    (objects, commands, world.resource_version())
}

/// A world read back shows the same, and has nothing to do that the one that wrote it had not.
pub(super) fn check_replay(bench: &mut Bench) {
    let mut again = bench.reloaded();
    let (objects, commands, version) = seen(&again);
    let (expect_objects, expect_commands, expect_version) = seen(&bench.world);
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
    };
    let names: Vec<String> = objects.iter().map(name).collect();
    let lost: Vec<&Value> = expect_objects.iter().filter(|object| !names.contains(&name(object))).collect();
    assert!(lost.is_empty(), "not in the journal: {lost:#?}");
    for (found, expect) in objects.iter().zip(&expect_objects) {
        assert_eq!(found, expect);
    }
    assert_eq!(objects.len(), expect_objects.len());
    assert_eq!(commands, expect_commands);
    // Versions of a commit that failed were seen by nobody.
    assert!(version <= expect_version, "{version} is above {expect_version}");
    if bench.world.wake_at().is_none_or(|at| at > bench.at()) {
        loop {
            again.settle(bench.at());
            let stage = again.take_stage(bench.at());
            // A controller says what is wrong whenever it looks: an event may be counted once more.
            let is_said_again =
                stage.changes.iter().all(|change| change.object().resource == Resource::Event)
                    && stage.audit.is_empty()
                    && stage.commands.is_empty();
            assert!(is_said_again, "a world at rest is at rest when it is read back: {stage:#?}");
            again.committed();
            if again.wake_at().is_none_or(|at| at > bench.at()) {
                break;
            }
        }
        assert_eq!(again.wake, bench.world.wake);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8),
    Patch(u8, u8),
    Delete(u8, u8),
    /// What the node says of its pods: which, and what.
    Report(u8, u8),
    Sleep(i64),
    ClockBack(i64),
    Batch,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Create(a, b)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Patch(a, b)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Delete(a, b)),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Report(a, b)),
        3 => (1i64..200).prop_map(Step::Sleep),
        1 => (1i64..200).prop_map(Step::ClockBack),
        3 => Just(Step::Batch),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

fn object(kind: u8, name: &str) -> Value {
    match kind % 12 {
        0 => config_map(name),
        1 => pod(name),
        2 => array(name, 6, 3),
        3 => job(name, json!({"completions": 3, "parallelism": 2, "backoffLimit": 1})),
        4 => job(
            name,
            json!({
                "completionMode": "Indexed", "completions": 4, "parallelism": 4, "backoffLimitPerIndex": 1,
                "ttlSecondsAfterFinished": 100,
            }),
        ),
        5 => cron(name, "* * * * *", json!({"concurrencyPolicy": "Forbid"})),
        6 => {
            cron(name, "*/2 * * * *", json!({"concurrencyPolicy": "Replace", "timeZone": "America/New_York"}))
        }
        // Their names are roles' and bindings' alike, so that what a binding names comes and goes.
        8 => role(name, json!({"rules": [{"apiGroups": [name], "resources": ["x"], "verbs": ["get"]}]})),
        9 => binding(&format!("ml/{name}"), ["Role", "ClusterRole"][name.len() % 2], "o1", &["ada", name]),
        10 => cluster_role(
            name,
            json!({
                "rules": [{"apiGroups": [name], "resources": ["x"], "verbs": ["get"]}],
                "metadata": {"labels": {"x": name}},
            }),
        ),
        11 => cluster_role(
            name,
            json!({"aggregationRule": {"clusterRoleSelectors": [
                {"matchExpressions": [{"key": "x", "operator": "Exists"}]},
            ]}, "metadata": {"labels": {"x": name}}}),
        ),
        _ => {
            let mut object = config_map(name);
            object["metadata"]["finalizers"] = json!(["example.com/a"]);
            object
        }
    }
}

const KINDS: [Resource; 8] = [
    Resource::ConfigMap,
    Resource::Pod,
    Resource::Job,
    Resource::CronJob,
    Resource::Event,
    Resource::Role,
    Resource::RoleBinding,
    Resource::ClusterRole,
];

fn pick(bench: &Bench, which: u8) -> Option<(Resource, String)> {
    let all: Vec<(Resource, String)> =
        KINDS.into_iter().flat_map(|r| bench.names(r).into_iter().map(move |name| (r, name))).collect();
    // The default roles would outnumber all else.
    let all: Vec<(Resource, String)> =
        all.into_iter().filter(|(r, name)| *r != Resource::ClusterRole || name.starts_with('o')).collect();
    if all.is_empty() { None } else { Some(all[usize::from(which) * 7 % all.len()].clone()) }
}

fn play(bench: &mut Bench, node: &mut Node, step: &Step) {
    match step {
        Step::Create(kind, number) => {
            // Refusals are fine: a taken name.
            let _ = bench.try_create(object(*kind, &format!("o{}", number % 12)));
        }
        Step::Patch(which, what) => {
            if let Some((resource, name)) = pick(bench, *which) {
                let body = match what % 6 {
                    0 => json!({"metadata": {"labels": {"x": format!("{what}")}}}),
                    1 => json!({"spec": {"suspend": true}}),
                    2 => json!({"spec": {"suspend": false}}),
                    3 => json!({"metadata": {"ownerReferences": null}}),
                    4 => json!({"metadata": {"finalizers": null}}),
                    _ => json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "x"}}}),
                };
                let _ = bench.try_patch(resource, &name, body);
            }
        }
        Step::Delete(which, how) => {
            if let Some((resource, name)) = pick(bench, *which) {
                let propagation = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
                let options = DeleteOptions {
                    propagation_policy: Some(propagation[usize::from(*how) % 3]),
                    grace_period_seconds: (how % 5 == 0).then_some(0),
                    ..DeleteOptions::default()
                };
                let _ = bench.try_delete(resource, &name, options);
            }
        }
        Step::Report(which, what) => {
            let pods: Vec<_> = node.pods.values().cloned().collect();
            if !pods.is_empty() {
                let pod = &pods[usize::from(*which) % pods.len()];
                let report = match what % 4 {
                    0 => running(pod, bench.now),
                    1 => ended(pod, 1, bench.now),
                    _ => ended(pod, 0, bench.now),
                };
                bench.world.report(report, bench.at());
            }
        }
        Step::Sleep(seconds) => bench.sleep(*seconds),
        Step::ClockBack(seconds) => bench.now -= seconds,
        Step::Batch => {
            bench.step();
        }
        Step::Crash => {
            bench.crash();
            node.pods.clear();
            let told = bench.world.node_sync();
            assert!(matches!(told.last(), Some(Command::Synced)));
            node.obey(&told);
        }
    }
    node.obey(&std::mem::take(&mut bench.commands));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_is_read_back_is_what_was_written(steps in steps()) {
        let mut bench = Bench::new();
        let mut node = Node::default();
        for step in &steps {
            play(&mut bench, &mut node, step);
            bench.check();
        }
        bench.settle();
        check_replay(&mut bench);
    }
}
