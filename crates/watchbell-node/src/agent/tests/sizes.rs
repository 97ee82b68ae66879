//! `sizeLimit` of an emptyDir on disk.

use super::*;

fn limited(uid: u128) -> Assignment {
    let volumes = json!([
        {"name": "work", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "free", "emptyDir": {}},
        {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]);
    pod(uid, &spec(json!({"volumes": volumes})))
}

#[test]
fn a_pod_that_takes_more_than_it_may_is_evicted() {
    let mut bench = Bench::new();
    bench.begin(limited(1));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    bench.runs(id(1, 0, 0));
    bench.effects();
    bench.wait(9);
    bench.expect(&[]);
    bench.wait(1);
    bench.expect(&["measure work of 1 (1048576)"]);
    // One look at a time.
    bench.wait(60);
    bench.expect(&[]);
    bench.tell(Input::Measured(vec![]));
    bench.expect(&["measure work of 1 (1048576)"]);
    bench.tell(Input::Measured(vec![(Uid(1), "work".into()), (Uid(7), "gone".into())]));
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
