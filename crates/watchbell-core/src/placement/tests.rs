use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use watchbell_api::Uid;
use watchbell_api::node::Capacity;

use super::{Demand, KINDS_MAX, OVERTAKES_MAX, Pools, Preemption, Queue, Waiting};

const MI: u64 = 1 << 20;

fn machine(cpu_millis: u64, memory_mi: u64, pods: u32) -> Capacity {
    Capacity { cpu_millis, memory_bytes: memory_mi * MI, pods, ephemeral_storage_bytes: 1 << 40 }
}

fn pod(uid: u128, namespace: &str, priority: i32, cpu_millis: u64, memory_mi: u64) -> Waiting {
    Waiting {
        uid: Uid(uid),
        namespace: Arc::from(namespace),
        priority,
        preemption: Preemption::LowerPriority,
        seq: uid as u64,
        request: Demand { cpu_millis, memory_bytes: memory_mi * MI, ..Demand::default() },
        node_selector: BTreeMap::new(),
        tolerations: Vec::new(),
        held: Vec::new(),
    }
}

fn all_next(queue: &mut Queue) -> Vec<u128> {
    std::iter::from_fn(|| queue.pop()).map(|uid| uid.0).collect()
}

#[test]
fn the_oldest_first_as_far_as_there_is_room() {
    let mut queue = Queue::new(machine(1_000, 1_000, 10));
    for uid in [3, 1, 2, 4] {
        queue.push(pod(uid, "ml", 0, 400, 10));
    }
    assert_eq!(all_next(&mut queue), [1, 2]);
    queue.remove(Uid(1));
    assert_eq!(all_next(&mut queue), [3]);
    queue.remove(Uid(4));
    queue.remove(Uid(2));
    assert_eq!(all_next(&mut queue), [0u128; 0]);
    assert_eq!(queue.reason(Uid(3)), None);
}

#[test]
fn priority_goes_before_age_and_share() {
    let mut queue = Queue::new(machine(1_000, 1_000, 10));
    queue.started(pod(1, "busy", 0, 600, 10));
    queue.push(pod(2, "idle", 0, 200, 10));
    queue.push(pod(3, "busy", 5, 200, 10));
    queue.push(pod(4, "busy", -5, 200, 10));
    assert_eq!(all_next(&mut queue), [3, 2]);
}

#[test]
fn namespaces_share_the_machine() {
    let mut queue = Queue::new(machine(12_000, 100_000, 1_000));
    for uid in 0..100 {
        queue.push(pod(uid, "first", 0, 1_000, 10));
    }
    for uid in 100..200 {
        queue.push(pod(uid, "second", 0, 1_000, 10));
    }
    // The third's pods are half the size: it gets twice as many of them.
    for uid in 200..300 {
        queue.push(pod(uid, "third", 0, 500, 10));
    }
    let started = all_next(&mut queue);
    let count = |from: u128| started.iter().filter(|&&uid| uid >= from && uid < from + 100).count();
    assert_eq!((count(0), count(100), count(200)), (4, 4, 8));
    // Room that one gives back goes to whoever uses least then.
    for uid in started.iter().filter(|&&uid| uid < 100) {
        queue.remove(Uid(*uid));
    }
    let next = all_next(&mut queue);
    assert_eq!(next.iter().filter(|&&uid| uid < 100).count(), 4);
}

#[test]
fn small_pods_overtake_a_large_one_a_bounded_number_of_times() {
    let mut queue = Queue::new(machine(10_000, 100_000, 1_000));
    queue.started(pod(1, "a", 0, 5_000, 1));
    queue.push(pod(2, "a", 0, 8_000, 1));
    for uid in 10..200 {
        queue.push(pod(uid, "b", 0, 1_000, 1));
    }
    let mut running = std::collections::VecDeque::new();
    let (mut overtakes, mut told) = (0, false);
    // The small ones come and go, and there is never room for the large one by itself.
    loop {
        match queue.pop() {
            Some(Uid(2)) => break,
            Some(uid) => {
                running.push_back(uid);
                overtakes += 1;
            }
            None => queue.remove(running.pop_front().unwrap_or(Uid(1))),
        }
        if overtakes == OVERTAKES_MAX && !told {
            told = true;
            let kept = "0/1 nodes are available: room is kept for a pod that asks for more and that 32 others have overtaken.";
            queue.remove(running.pop_front().expect("one runs"));
            assert_eq!(queue.reason(Uid(150)).as_deref(), Some(kept));
        }
        assert!(overtakes <= OVERTAKES_MAX);
    }
    assert_eq!(overtakes, OVERTAKES_MAX);
    // Then the small ones go on.
    assert_eq!(queue.pop().map(|uid| uid.0 >= 10), Some(true));
}

#[test]
fn higher_priority_starts_while_room_is_kept() {
    let mut queue = Queue::new(machine(10_000, 100_000, 1_000));
    queue.started(pod(1, "a", 0, 5_000, 1));
    queue.push(pod(2, "a", 0, 8_000, 1));
    for uid in 10..100 {
        queue.push(pod(uid, "b", 0, 1, 1));
    }
    assert_eq!(all_next(&mut queue).len(), OVERTAKES_MAX as usize);
    queue.push(pod(500, "b", 1, 1_000, 1));
    queue.push(pod(501, "b", -1, 1_000, 1));
    assert_eq!(all_next(&mut queue), [500]);
    queue.remove(Uid(1));
    assert_eq!(queue.pop(), Some(Uid(2)));
}

#[test]
fn a_pod_of_higher_priority_gets_the_room_of_lower_ones() {
    let mut queue = Queue::new(machine(4_000, 100_000, 100));
    let none = |_: Uid| false;
    for uid in 1..=4 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    queue.push(pod(10, "ml", 0, 2_000, 1));
    assert_eq!(queue.preempt(none), None, "its like stay");
    queue.push(Waiting { preemption: Preemption::Never, ..pod(11, "ml", 9, 2_000, 1) });
    assert_eq!(queue.preempt(none), None, "it does not want to");
    queue.remove(Uid(11));
    queue.push(pod(12, "ml", 9, 2_000, 1));
    assert_eq!(queue.preempt(none), Some((Uid(12), vec![Uid(4), Uid(3)])));
    let named = |uid: Uid| uid == Uid(4) || uid == Uid(3);
    assert_eq!(queue.preempt(named), None, "they are told once");
    // The room of the first that ends goes to nobody else.
    queue.remove(Uid(4));
    queue.push(pod(13, "ml", 0, 500, 1));
    assert_eq!(queue.pop(), None);
    queue.remove(Uid(3));
    assert_eq!(all_next(&mut queue), [12]);
    // Who ends anyway is waited for, and nobody else goes.
    queue.push(pod(14, "ml", 9, 1_000, 1));
    assert_eq!(queue.preempt(|uid| uid == Uid(1)), Some((Uid(14), vec![])));
    // What cannot have room even so takes nobody with it.
    queue.remove(Uid(14));
    queue.push(pod(15, "ml", 9, 3_000, 1));
    assert_eq!(queue.preempt(none), None);
}

#[test]
fn who_cannot_have_room_made_keeps_nobody_else_from_it() {
    let mut queue = Queue::new(machine(5_000, 100_000, 100));
    let none = |_: Uid| false;
    queue.started(pod(1, "ml", 50, 1_000, 1));
    for uid in 2..=5 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    queue.push(Waiting { preemption: Preemption::Never, ..pod(10, "ml", 9, 2_000, 1) });
    // Not even the room of all lower ones is enough.
    queue.push(pod(11, "ml", 8, 4_500, 1));
    assert_eq!(queue.preempt(none), None);
    queue.push(pod(12, "ml", 8, 1_500, 1));
    assert_eq!(queue.preempt(none), Some((Uid(12), vec![Uid(5), Uid(4)])), "a younger one of its priority");
    queue.remove(Uid(5));
    assert_eq!(queue.pop(), None);
    queue.remove(Uid(4));
    assert_eq!(queue.pop(), Some(Uid(10)), "what becomes free is for the highest that it is enough for");
    assert_eq!(queue.preempt(none), Some((Uid(12), vec![Uid(3), Uid(2)])));
    queue.remove(Uid(3));
    queue.remove(Uid(2));
    assert_eq!(queue.pop(), Some(Uid(12)));
    assert_eq!(queue.pop(), None);
    assert_eq!(queue.preempt(none), None, "none of a lower priority is left");
}

#[test]
fn a_pod_that_ends_nobody_is_overtaken_a_bounded_number_of_times() {
    let mut queue = Queue::new(machine(50_000, 100_000, 100));
    for uid in 1..=50 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    queue.push(Waiting { preemption: Preemption::Never, ..pod(100, "ml", 9, 2_000, 1) });
    let mut next = 101;
    loop {
        queue.push(pod(next, "ml", 5, 1_000, 1));
        let Some((preemptor, victims)) = queue.preempt(|_| false) else { break };
        assert_eq!((preemptor, victims.len()), (Uid(next), 1));
        queue.remove(victims[0]);
        assert_eq!(queue.pop(), Some(Uid(next)));
        next += 1;
    }
    assert_eq!(next - 101, u128::from(OVERTAKES_MAX));
    // Room is kept for it now.
    queue.remove(Uid(1));
    assert_eq!(queue.pop(), None);
    queue.remove(Uid(2));
    assert_eq!(queue.pop(), Some(Uid(100)));
    assert_eq!(queue.preempt(|_| false).map(|(preemptor, _)| preemptor), Some(Uid(next)));
}

#[test]
fn room_is_made_for_many_at_once_and_counted_for_each() {
    let mut queue = Queue::new(machine(8_000, 100_000, 100));
    for uid in 1..=8 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    // Of an array, so alike; and one that is lower, and one that is too much beside them.
    for uid in 10..=12 {
        queue.push(pod(uid, "ml", 9, 2_000, 1));
    }
    queue.push(pod(13, "ml", 5, 2_000, 1));
    queue.push(pod(14, "ml", 5, 1_000, 1));
    let mut ending: BTreeSet<Uid> = BTreeSet::new();
    let mut named = Vec::new();
    while let Some((preemptor, victims)) = queue.preempt(|uid| ending.contains(&uid)) {
        named.push((preemptor.0, victims.iter().map(|uid| uid.0).collect::<Vec<_>>()));
        ending.extend(victims);
    }
    assert_eq!(named, [(10, vec![8, 7]), (11, vec![6, 5]), (12, vec![4, 3]), (13, vec![2, 1])]);
    // Nobody else has what becomes free, and whoever it is enough for starts.
    queue.push(pod(15, "ml", 0, 10, 1));
    let mut started = Vec::new();
    for uid in ending {
        queue.remove(uid);
        started.push(all_next(&mut queue));
    }
    let pairs: [&[u128]; 8] = [&[], &[10], &[], &[11], &[], &[12], &[], &[13]];
    assert_eq!(started, pairs);
    assert_eq!(queue.preempt(|_| false), None, "none of a lower priority is left");
}

#[test]
fn who_lost_room_to_a_higher_priority_names_others() {
    let mut queue = Queue::new(machine(6_000, 100_000, 100));
    for uid in 1..=6 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    queue.push(pod(10, "ml", 5, 2_000, 1));
    assert_eq!(queue.preempt(|_| false), Some((Uid(10), vec![Uid(6), Uid(5)])));
    queue.remove(Uid(6));
    queue.push(pod(11, "ml", 9, 1_000, 1));
    assert_eq!(all_next(&mut queue), [11]);
    let five = |uid| uid == Uid(5);
    assert_eq!(queue.preempt(five), Some((Uid(10), vec![Uid(4)])));
    assert_eq!(queue.preempt(|uid| five(uid) || uid == Uid(4)), None);
    queue.remove(Uid(5));
    queue.remove(Uid(4));
    assert_eq!(all_next(&mut queue), [10]);
}

#[test]
fn room_of_a_higher_priority_is_not_taken_by_one_that_would_end_for_it() {
    let mut queue = Queue::new(machine(4_000, 100_000, 100));
    queue.started(pod(1, "ml", 0, 2_000, 1));
    queue.started(pod(2, "ml", 0, 2_000, 1));
    queue.push(pod(10, "ml", 5, 2_000, 1));
    assert_eq!(queue.preempt(|_| false), Some((Uid(10), vec![Uid(2)])));
    queue.push(pod(11, "ml", 9, 4_000, 1));
    let is_ending = |uid| [Uid(1), Uid(2)].contains(&uid);
    assert_eq!(queue.preempt(|uid| uid == Uid(2)), Some((Uid(11), vec![Uid(1)])));
    assert_eq!(queue.preempt(is_ending), None);
    queue.remove(Uid(2));
    assert_eq!(all_next(&mut queue), [], "it is for 11");
    assert_eq!(queue.preempt(is_ending), None);
    queue.remove(Uid(1));
    assert_eq!(all_next(&mut queue), [11]);
    queue.remove(Uid(11));
    assert_eq!(all_next(&mut queue), [10]);
}

proptest! {
    /// However pods come and go, nobody of the same priority or above ends, nobody is told twice, and all start in the end.
    #[test]
    fn all_have_room_in_the_end(
        pods in proptest::collection::vec((0i32..4, 1u64..6, any::<bool>(), 0usize..4), 1..60),
    ) {
        let mut queue = Queue::new(machine(6_000, 100_000, 5));
        let mut priorities: BTreeMap<Uid, i32> = BTreeMap::new();
        let (mut running, mut ending) = (BTreeSet::new(), BTreeSet::new());
        let mut step = |queue: &mut Queue, priorities: &BTreeMap<Uid, i32>| {
            running.extend(std::iter::from_fn(|| queue.pop()));
            while let Some((preemptor, victims)) = queue.preempt(|uid| ending.contains(&uid)) {
                for victim in victims {
                    assert!(priorities[&victim] < priorities[&preemptor], "{victim:?} for {preemptor:?}");
                    assert!(ending.insert(victim), "{victim:?} was told before");
                }
            }
            let ended = ending.pop_first().or_else(|| running.first().copied());
            if let Some(ended) = ended {
                running.remove(&ended);
                queue.remove(ended);
            }
            running.extend(std::iter::from_fn(|| queue.pop()));
        };
        let count = pods.len();
        for (number, (priority, cpus, ends_others, steps)) in pods.into_iter().enumerate() {
            let mut new = pod(number as u128, "ml", priority, cpus * 1_000, 1);
            if !ends_others {
                new.preemption = Preemption::Never;
            }
            priorities.insert(new.uid, priority);
            queue.push(new);
            for _ in 0..steps {
                step(&mut queue, &priorities);
            }
        }
        for _ in 0..2 * count {
            step(&mut queue, &priorities);
        }
        prop_assert_eq!(queue.waiting().count(), 0);
    }
}

#[test]
fn room_is_kept_no_longer_for_whom_nobodys_end_would_help() {
    let mut queue = Queue::new(machine(3_000, 100_000, 100));
    let none = |_: Uid| false;
    for uid in 1..=3 {
        queue.started(pod(uid, "ml", 0, 1_000, 1));
    }
    queue.push(pod(10, "ml", 5, 3_000, 1));
    assert_eq!(queue.preempt(none), Some((Uid(10), vec![Uid(3), Uid(2), Uid(1)])));
    for uid in 1..=2 {
        queue.remove(Uid(uid));
    }
    // One of a higher priority takes a part of it.
    queue.push(pod(11, "ml", 9, 1_000, 1));
    assert_eq!(queue.pop(), Some(Uid(11)));
    queue.push(pod(12, "ml", 1, 500, 1));
    assert_eq!(queue.pop(), Some(Uid(12)));
    assert_eq!(queue.preempt(none), None);
}

#[test]
fn the_reason_says_what_is_missing() {
    let mut queue = Queue::new(machine(8_000, 24 << 10, 2));
    let check = |queue: &Queue, uid: u128, expect: &str| {
        assert_eq!(queue.reason(Uid(uid)), Some(format!("0/1 nodes are available: {expect}.")));
    };
    queue.push(pod(1, "ml", 0, 1_000, 64 << 10));
    check(&queue, 1, "1 Insufficient memory (asks 64Gi, the machine has 24Gi)");
    queue.push(pod(2, "ml", 0, 8_500, 25 << 10));
    check(
        &queue,
        2,
        "1 Insufficient cpu (asks 8500m, the machine has 8), 1 Insufficient memory (asks 25Gi, the machine has 24Gi)",
    );
    let mut gpu = pod(3, "ml", 0, 1, 1);
    gpu.request.devices.insert("nvidia.com/gpu".into(), 1);
    queue.push(gpu);
    check(&queue, 3, "1 Insufficient nvidia.com/gpu (the machine has none)");
    queue.push(pod(4, "ml", 0, 6_000, 1));
    check(&queue, 4, "pods of a higher priority, or of namespaces that use less, go first");
    queue.push(pod(5, "ml", 0, 6_000, 1));
    assert_eq!(all_next(&mut queue), [4]);
    check(&queue, 5, "1 Insufficient cpu (asks 6, 2 of 8 is free)");
    queue.started(pod(6, "ml", 0, 1, 1));
    queue.push(pod(7, "ml", 0, 1, 1));
    check(&queue, 7, "1 Too many pods (2 run)");
    assert_eq!(queue.reason(Uid(4)), None);
}

fn toys(names: &[&str]) -> Pools {
    Pools::from([("a.com/toy".into(), names.iter().map(|name| format!("a.com/toy={name}").into()).collect())])
}

fn asking(uid: u128, toys: u64) -> Waiting {
    let mut pod = pod(uid, "ml", 0, 1, 1);
    pod.request.devices.insert("a.com/toy".into(), toys);
    pod
}

fn held(queue: &Queue, uid: u128) -> Vec<&str> {
    queue.devices_of(Uid(uid)).iter().map(|name| name.rsplit('=').next().unwrap_or_default()).collect()
}

#[test]
fn each_device_is_with_one_pod() {
    let mut queue = Queue::new(machine(8_000, 1_000, 100));
    queue.push(asking(1, 1));
    let none = Some("0/1 nodes are available: 1 Insufficient a.com/toy (the machine has none).".to_owned());
    assert_eq!((queue.pop(), queue.reason(Uid(1))), (None, none.clone()));
    assert_eq!(queue.change_devices(&toys(&["0", "1", "2"])), [Uid(1)]);
    for uid in 2..5 {
        queue.push(asking(uid, 1));
    }
    queue.push(asking(5, 4));
    assert_eq!(all_next(&mut queue), [1, 2, 3]);
    assert_eq!([held(&queue, 1), held(&queue, 2), held(&queue, 3)], [["0"], ["1"], ["2"]]);
    let said = |queue: &Queue, uid: u128| queue.reason(Uid(uid)).unwrap_or_default();
    assert!(
        said(&queue, 4).contains("1 Insufficient a.com/toy (asks 1, 0 of 3 is free)"),
        "{}",
        said(&queue, 4)
    );
    assert!(said(&queue, 5).contains("1 Insufficient a.com/toy (asks 4, the machine has 3)"));
    queue.remove(Uid(2));
    assert_eq!(all_next(&mut queue), [4]);
    assert_eq!(held(&queue, 4), ["1"]);
    // One that vanishes while it is held is nobody's, and is not made up for by another.
    queue.change_devices(&toys(&["0", "2"]));
    queue.push(asking(6, 1));
    assert_eq!(all_next(&mut queue), [0u128; 0]);
    queue.remove(Uid(4));
    assert_eq!(all_next(&mut queue), [0u128; 0]);
    queue.remove(Uid(3));
    assert_eq!(all_next(&mut queue), [6]);
    assert_eq!(held(&queue, 6), ["2"]);
    // It comes back.
    queue.push(asking(7, 1));
    queue.change_devices(&toys(&["0", "1", "2"]));
    assert_eq!(all_next(&mut queue), [7]);
    // After a restart each has what its status says.
    let mut again = Queue::new(machine(8_000, 1_000, 100));
    again.change_devices(&toys(&["0", "1", "2"]));
    again.started(Waiting { held: vec!["a.com/toy=1".into()], ..asking(7, 1) });
    again.push(asking(8, 2));
    assert_eq!(all_next(&mut again), [8]);
    assert_eq!(held(&again, 8), ["0", "2"]);
    // The kinds are gone altogether.
    again.change_devices(&Pools::new());
    again.push(asking(9, 1));
    assert_eq!((again.pop(), again.reason(Uid(9))), (None, none));
    assert_eq!(held(&again, 8), ["0", "2"]);
}

#[test]
fn kinds_come_and_go() {
    let mut queue = Queue::new(machine(8_000, 1_000, 100));
    for round in 0..3 * KINDS_MAX as u128 {
        let kind: Arc<str> = format!("a.com/kind{round}").into();
        let name: Arc<str> = format!("{kind}=0").into();
        queue.change_devices(&Pools::from([(kind.clone(), vec![name.clone()])]));
        let mut pod = pod(round, "ml", 0, 1, 1);
        pod.request.devices.insert(kind, 1);
        queue.push(pod);
        assert_eq!(all_next(&mut queue), [round]);
        assert_eq!(queue.devices_of(Uid(round)), [name]);
    }
    // More at once than are counted: the last ones are as if they were not there.
    let many =
        (0..=KINDS_MAX).map(|i| (format!("b.com/kind{i}").into(), vec![format!("b.com/kind{i}=0").into()]));
    queue.change_devices(&many.collect());
    let asking = |uid: u128, kind: usize| {
        let mut pod = pod(uid, "ml", 0, 1, 1);
        pod.request.devices.insert(format!("b.com/kind{kind}").into(), 1);
        pod
    };
    queue.push(asking(100, KINDS_MAX - 1));
    queue.push(asking(101, KINDS_MAX));
    assert_eq!(all_next(&mut queue), [100]);
    assert!(queue.reason(Uid(101)).is_some_and(|why| why.contains("the machine has none")));
}

#[test]
fn a_higher_priority_is_given_devices_and_not_those_that_are_gone() {
    let mut queue = Queue::new(machine(8_000, 1_000, 100));
    queue.change_devices(&toys(&["0", "1"]));
    queue.push(asking(1, 1));
    queue.push(asking(2, 1));
    assert_eq!(all_next(&mut queue), [1, 2]);
    queue.change_devices(&toys(&["0"]));
    let mut urgent = asking(3, 1);
    urgent.priority = 5;
    queue.push(urgent);
    assert_eq!(queue.pop(), None);
    // The younger one would be the one to go, but holds nothing that is of use.
    assert_eq!(queue.preempt(|_| false), Some((Uid(3), vec![Uid(1)])));
}

#[test]
fn what_a_pod_asks_for() {
    let check = |spec: serde_json::Value, expect: (u64, u64, u64, Option<&str>)| {
        let spec = serde_json::from_value(spec).expect("a pod spec");
        let demand = Demand::of(&spec);
        let missing = demand.missing.as_deref().or(demand.devices.keys().next().map(|kind| &**kind));
        assert_eq!(
            (demand.cpu_millis, demand.memory_bytes / MI, demand.ephemeral_storage_bytes, missing),
            expect
        );
    };
    let asks = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": asks(cpu, "0")});
    check(json!({"containers": [{}]}), (10, 16, 0, None));
    check(
        json!({"containers": [{"resources": asks("500m", "1Gi")}, {"resources": asks("1", "1Mi")}]}),
        (1_500, 1_025, 0, None),
    );
    check(
        json!({"containers": [{"resources": {"limits": {"cpu": 2, "memory": "32Mi"}}}]}),
        (2_000, 32, 0, None),
    );
    check(
        json!({"containers": [{"resources": {"limits": {"cpu": 2}, "requests": {"cpu": "1"}}}]}),
        (1_000, 16, 0, None),
    );
    // An init container runs alone, beside the sidecars before it.
    check(
        json!({"initContainers": [{"resources": asks("3", "0")}, sidecar("1"), {"resources": asks("1", "0")}],
               "containers": [{"resources": asks("1", "64Mi")}]}),
        (3_000, 64, 0, None),
    );
    check(
        json!({"initContainers": [sidecar("1"), {"resources": asks("3", "0")}], "containers": [{"resources": asks("1", "0")}]}),
        (4_000, 0, 0, None),
    );
    check(
        json!({"containers": [{"resources": asks("1", "0")}], "overhead": {"cpu": "250m"}}),
        (1_250, 0, 0, None),
    );
    check(
        json!({"containers": [{"resources": {"requests": {"ephemeral-storage": "1k", "example.com/none": "0"}}}]}),
        (10, 16, 1_000, None),
    );
    check(
        json!({"containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]}),
        (10, 16, 0, Some("nvidia.com/gpu")),
    );
    check(json!({"containers": [{"resources": {"requests": {"cpu": "much"}}}]}), (10, 16, 0, Some("cpu")));
}

#[derive(Debug, Clone)]
enum Op {
    Push {
        namespace: u8,
        priority: i32,
        cpu: u64,
        memory: u64,
        toys: u64,
    },
    Next,
    /// These devices are there from now on, by their bits.
    Devices(u8),
    /// The nth pod, running or waiting.
    Remove(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let toys = prop_oneof![3 => Just(0u64), 1 => 1u64..4];
    let push =
        (0u8..4, -1i32..2, 0u64..13, 0u64..13, toys).prop_map(|(namespace, priority, cpu, memory, toys)| {
            Op::Push { namespace, priority, cpu, memory, toys }
        });
    proptest::collection::vec(
        prop_oneof![4 => push, 5 => Just(Op::Next), 2 => (0usize..40).prop_map(Op::Remove), 1 => (0u8..8).prop_map(Op::Devices)],
        0..300,
    )
}

const NAMESPACES: [&str; 4] = ["a", "b", "c", "d"];
const ROOM: u64 = 10;

/// Everything the queue should know, held plainly.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<Uid, Waiting>,
    running: BTreeMap<Uid, Waiting>,
    toys: BTreeSet<Arc<str>>,
}

impl Model {
    fn used(&self) -> (u64, u64, usize) {
        let cpu = self.running.values().map(|p| p.request.cpu_millis).sum();
        let memory = self.running.values().map(|p| p.request.memory_bytes).sum();
        (cpu, memory, self.running.len())
    }

    fn fits(&self, pod: &Waiting) -> bool {
        let (cpu, memory, pods) = self.used();
        let held = |name: &&Arc<str>| self.running.values().any(|p| p.held.contains(name));
        let free = self.toys.iter().filter(|name| !held(name)).count() as u64;
        let asked = pod.request.devices.values().sum::<u64>();
        cpu + pod.request.cpu_millis <= ROOM
            && memory + pod.request.memory_bytes <= ROOM
            && pods < 6
            && asked <= free
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn laws(ops in ops()) {
        let capacity = Capacity { cpu_millis: ROOM, memory_bytes: ROOM, pods: 6, ephemeral_storage_bytes: 1 };
        let mut queue = Queue::new(capacity);
        let mut model = Model::default();
        let mut overtaken: BTreeMap<Uid, u32> = BTreeMap::new();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::Devices(bits) => {
                    let there: Vec<String> = (0..3).filter(|i| bits & (1 << i) != 0).map(|i| i.to_string()).collect();
                    let pools = toys(&there.iter().map(String::as_str).collect::<Vec<_>>());
                    queue.change_devices(&pools);
                    model.toys = pools.into_values().flatten().collect();
                    overtaken.clear();
                }
                Op::Push { namespace, priority, cpu, memory, toys } => {
                    let mut new = pod(step as u128, NAMESPACES[usize::from(namespace)], priority, cpu, 0);
                    new.request.memory_bytes = memory;
                    if toys > 0 {
                        new.request.devices.insert("a.com/toy".into(), toys);
                    }
                    queue.push(new.clone());
                    model.waiting.insert(new.uid, new);
                }
                Op::Remove(nth) => {
                    let known: BTreeSet<Uid> = model.waiting.keys().chain(model.running.keys()).copied().collect();
                    if let Some(&uid) = known.iter().nth(nth) {
                        queue.remove(uid);
                        model.waiting.remove(&uid);
                        model.running.remove(&uid);
                    }
                }
                Op::Next => {
                    let fitting: Vec<Waiting> = model.waiting.values().filter(|p| model.fits(p)).cloned().collect();
                    match queue.pop() {
                        // Work conserving, but for the room that is kept for one that waited long.
                        None => for idle in &fitting {
                            let kept = overtaken.iter().any(|(uid, times)| {
                                *times >= OVERTAKES_MAX && model.waiting.get(uid).is_some_and(|p| p.priority >= idle.priority)
                            });
                            prop_assert!(kept, "{idle:?} could run");
                        },
                        Some(uid) => {
                            let mut started = model.waiting.remove(&uid).expect("it waited");
                            started.held = queue.devices_of(uid).to_vec();
                            // As many as it asked for, all of them there, none of them another's.
                            prop_assert_eq!(started.held.len() as u64, started.request.devices.values().sum::<u64>());
                            prop_assert!(started.held.iter().all(|name| model.toys.contains(name)));
                            prop_assert!(model.running.values().all(|p| p.held.iter().all(|name| !started.held.contains(name))));
                            // Never over capacity.
                            prop_assert!(fitting.iter().any(|p| p.uid == uid));
                            prop_assert!(fitting.iter().all(|p| p.priority <= started.priority), "priority");
                            let like = |p: &&Waiting| p.namespace == started.namespace && p.priority == started.priority
                                && p.request == started.request;
                            prop_assert!(model.waiting.values().filter(like).all(|p| p.seq > started.seq), "oldest first");
                            for p in model.waiting.values().filter(|p| p.priority >= started.priority && p.seq < started.seq) {
                                *overtaken.entry(p.uid).or_default() += 1;
                            }
                            model.running.insert(uid, started);
                        }
                    }
                }
            }
            for (uid, waiting) in &model.waiting {
                let reason = queue.reason(*uid);
                prop_assert!(reason.is_some(), "{waiting:?} has no reason");
            }
            prop_assert!(model.running.keys().all(|uid| queue.reason(*uid).is_none()));
        }
        // When all that ran has ended, everything that can ever run starts in turn.
        queue.change_devices(&toys(&["0", "1", "2"]));
        let mut left = model.waiting.len() + model.running.len();
        loop {
            while let Some(uid) = queue.pop() {
                let started = model.waiting.remove(&uid).expect("it waited");
                model.running.insert(uid, started);
            }
            let Some(&ends) = model.running.keys().next() else { break };
            queue.remove(ends);
            model.running.remove(&ends);
            left -= 1;
        }
        prop_assert_eq!(left, model.waiting.len());
        prop_assert!(model.waiting.values().all(|p| p.request.cpu_millis > ROOM || p.request.memory_bytes > ROOM));
    }
}
