//! What pods take of the disk.

use super::*;
use crate::agent::{Disk, What};
use crate::measure::Use;

const MIB: u64 = 1 << 20;
const ROOM: Disk = Disk { free_bytes: 1 << 30, inodes: 1000, free_inodes: 500 };

fn limited(uid: u128) -> Assignment {
    let volumes = json!([
        {"name": "work", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "free", "emptyDir": {}},
        {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]);
    pod(uid, &spec(json!({"volumes": volumes})))
}

/// Runs it until it is looked at.
fn looked_at(assignment: Assignment) -> Bench {
    let uid = assignment.uid.0;
    let mut bench = Bench::new();
    bench.begin(assignment);
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(uid, 0, 0));
    bench.effects();
    bench.wait(9);
    bench.expect(&[]);
    bench.wait(1);
    bench
}

fn dir(name: &str, bytes: u64, inodes: u64) -> (Uid, What, Use) {
    (Uid(1), What::EmptyDir(name.into()), Use { bytes, inodes })
}

fn log(bytes: u64) -> (Uid, What, Use) {
    (Uid(1), What::Log(0), Use { bytes, inodes: 0 })
}

/// Tells the sizes and the disk; the message of the eviction, if there is one.
fn evicted(bench: &mut Bench, sizes: &[(Uid, What, Use)], disk: Disk) -> Option<String> {
    bench.effects();
    bench.tell(Input::Measured(Measured { sizes: sizes.to_vec(), disk: Some(disk) }));
    let (effects, _) = bench.agent.settle(bench.now);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Report(Report::Event { reason: "Evicted", message, warning: true, .. }) => Some(message),
        _ => None,
    })
}

#[test]
fn a_pod_that_takes_more_than_it_may_is_evicted() {
    let mut bench = looked_at(limited(1));
    bench.expect(&["measure EmptyDir(\"work\") of 1 (1048576) EmptyDir(\"free\") of 1 (1073741824)"]);
    // One look at a time.
    bench.wait(60);
    bench.expect(&[]);
    bench.tell(Input::Measured(Measured::default()));
    bench.effects();
    let gone = (Uid(7), What::EmptyDir("gone".into()), Use::MAX);
    bench.tell(Input::Measured(Measured { sizes: vec![dir("work", MIB + 1, 2), gone], disk: None }));
    let effects = bench.effects();
    assert!(effects.contains(&"event 1 Evicted!".to_owned()), "{effects:?}");
    assert!(effects.contains(&"signal 15 1/0/0".to_owned()), "{effects:?}");
    bench.wait(1);
    bench.expect(&["kill 1"]);
    bench.exits(id(1, 0, 0), 137);
    let (effects, _) = bench.agent.settle(bench.now);
    let status = effects.iter().find_map(|effect| match effect {
        Effect::Report(Report::Status { status, .. }) => Some(status),
        _ => None,
    });
    let status = status.unwrap_or_else(|| panic!("{effects:?}"));
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(
        status.message.as_deref(),
        Some("Usage of EmptyDir volume \"work\" exceeds the limit \"1Mi\". ")
    );
    assert_eq!(status.disruption.as_deref(), Some("TerminationByKubelet"));
    bench.acknowledge(1);
    bench.effects();
    bench.wait(60);
    bench.expect(&[]);
}

#[test]
fn what_has_no_limit_of_its_own_has_the_nodes() {
    let check = |sizes: &[(Uid, What, Use)], expect: Option<&str>| {
        let found = evicted(&mut looked_at(limited(1)), sizes, ROOM);
        assert_eq!(found.as_deref(), expect, "{sizes:?}");
    };
    check(&[dir("work", MIB, 65_536), dir("free", 1 << 30, 100)], None);
    check(
        &[dir("free", (1 << 30) + 1, 1)],
        Some(
            "Usage of EmptyDir volume \"free\" exceeds the limit \"1Gi\" of one without a sizeLimit (serve --empty-dir-size). ",
        ),
    );
    check(
        &[dir("work", 4096, 65_537)],
        Some("Usage of EmptyDir volume \"work\" exceeds the limit of 65536 files. "),
    );
}

#[test]
fn no_size_allows_any_number_of_files() {
    let volumes = json!([{"name": "work", "emptyDir": {"sizeLimit": "1Ti"}}]);
    let mut bench = looked_at(pod(1, &spec(json!({"volumes": volumes}))));
    assert_eq!(evicted(&mut bench, &[dir("work", 4096, 1 << 22)], ROOM), None);
    assert_eq!(
        evicted(&mut bench, &[dir("work", 4096, (1 << 22) + 1)], ROOM).as_deref(),
        Some("Usage of EmptyDir volume \"work\" exceeds the limit of 4194304 files. ")
    );
}

#[test]
fn a_limit_of_ephemeral_storage_counts_logs_and_directories() {
    let small = || {
        let main = json!([{
            "name": "main", "image": "tool", "resources": {"limits": {"ephemeral-storage": "2Mi"}},
        }]);
        let volumes = json!([{"name": "work", "emptyDir": {}}]);
        pod(1, &spec(json!({"containers": main, "volumes": volumes})))
    };
    let mut bench = looked_at(small());
    let effects = bench.effects();
    assert!(effects[0].contains("EmptyDir(\"work\")") && effects[0].contains("Log(0)"), "{effects:?}");
    let mut check = |sizes: &[(Uid, What, Use)], expect: Option<&str>| {
        let found = evicted(&mut bench, sizes, ROOM);
        assert_eq!(found.as_deref(), expect, "{sizes:?}");
    };
    check(&[dir("work", MIB, 1), log(MIB)], None);
    check(
        &[dir("work", MIB, 1), log(MIB), log(1)],
        Some("Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
    );
    // It is on its way out.
    check(&[dir("work", 9 * MIB, 1)], None);
}

#[test]
fn who_holds_most_goes_when_the_disk_is_full() {
    let short = Disk { free_bytes: MIB - 1, ..ROOM };
    let sizes = [dir("work", 4096, 1), dir("free", 3 * MIB, 1)];
    let message = evicted(&mut looked_at(limited(1)), &sizes, short).unwrap();
    assert_eq!(
        message,
        "The node was low on resource: ephemeral-storage. Threshold quantity: 1Mi, available: 1048575. The pod was using \
         3076Ki, the most of all. "
    );
    let few = Disk { free_inodes: 49, ..ROOM };
    let message = evicted(&mut looked_at(limited(1)), &sizes, few).unwrap();
    assert_eq!(
        message,
        "The node was low on resource: inodes. Threshold quantity: 50, available: 49. The pod was using 2, the most of all. "
    );
    // Its end would give nothing back: a claim outlives it.
    for disk in [short, few] {
        let claim = (Uid(1), What::Claim("data".into()), Use { bytes: 9 * MIB, inodes: 9 });
        assert_eq!(evicted(&mut looked_at(limited(1)), &[claim, dir("work", 0, 0)], disk), None);
    }
    // Nor anything that counts: who prints a line is not evicted for what a claim holds.
    let shorter = Disk { free_bytes: MIB - 8192, ..ROOM };
    for disk in [shorter, few] {
        let claim = (Uid(1), What::Claim("data".into()), Use { bytes: 9 * MIB, inodes: 9 });
        let logs = (Uid(1), What::Logs, Use { bytes: 4096, inodes: 1 });
        let messages = (Uid(1), What::Messages, Use { bytes: 0, inodes: 1 });
        assert_eq!(evicted(&mut looked_at(limited(1)), &[claim, logs, messages], disk), None);
    }
    // File systems that count no inodes.
    let none = Disk { inodes: 0, free_inodes: 0, ..ROOM };
    assert_eq!(evicted(&mut looked_at(limited(1)), &sizes, none), None);
}

/// Every pod has logs, and what they hold is looked at while the disk is short.
#[test]
fn a_pod_that_holds_nothing_but_logs_is_seen() {
    let mut bench = looked_at(pod(1, &spec(json!({}))));
    let (effects, _) = bench.agent.settle(bench.now);
    assert!(matches!(&effects[..], [Effect::Measure(watched)] if watched.is_empty()), "{effects:?}");
    let short = Disk { free_bytes: MIB - 1, ..ROOM };
    let logs = (Uid(1), What::Logs, Use { bytes: 2 * MIB, inodes: 2 });
    // That is among all of them.
    let again = (Uid(1), What::Log(0), Use { bytes: MIB, inodes: 0 });
    let message = evicted(&mut bench, &[again, logs], short).unwrap();
    assert!(message.ends_with("The pod was using 2Mi, the most of all. "), "{message}");
}

/// Its logs stay until it has ended and that is known.
#[test]
fn where_a_pod_logs_is_known_as_long_as_it_is_here() {
    let mut bench = Bench::new();
    let place = crate::place::LogPlace::of(&Assignment { log: LOG, ..index(1, &spec(json!({}))) });
    bench.begin(index(1, &spec(json!({}))));
    let here = bench.agent.site.here.clone();
    assert_eq!((here.pod_at(&place), here.is_complete()), (Some(Uid(1)), false));
    bench.tell(Input::Command(Command::Synced));
    assert!(here.is_complete());
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    bench.exits(id(1, 0, 0), 0);
    bench.effects();
    assert_eq!(here.pod_at(&place), Some(Uid(1)));
    assert_eq!(bench.wake_at, Some(bench.now.mono + Duration::from_secs(10)), "to look at the disk");
    bench.acknowledge(1);
    assert_eq!(here.pod_at(&place), None);
    bench.effects();
    assert_eq!(bench.agent.look_at(), None, "nobody is waked for who is gone");
}

#[test]
fn a_termination_message_is_no_place_to_hoard() {
    let talker = || {
        let main =
            json!([{"name": "main", "image": "tool", "terminationMessagePath": "/dev/termination-log"}]);
        pod(1, &spec(json!({"containers": main})))
    };
    let mut bench = looked_at(talker());
    bench.expect(&["measure Messages of 1 (16777216)"]);
    let messages = |bytes| [(Uid(1), What::Messages, Use { bytes, inodes: 2 })];
    assert_eq!(evicted(&mut bench, &messages(16 * MIB), ROOM), None);
    assert_eq!(
        evicted(&mut bench, &messages(16 * MIB + 1), ROOM).as_deref(),
        Some("Usage of the files at terminationMessagePath exceeds the limit \"16Mi\". ")
    );
}
