//! What the agent itself costs an array.

use super::*;

/// By the processor's time of this thread, so that who else is at work counts for nothing: it prints, and refuses only what would
/// be a mistake of another order.
#[test]
#[expect(clippy::print_stdout, reason = "a measurement is shown")]
fn ten_thousand_indexes_cost_little() {
    const COUNT: u128 = 10_000;
    let mut bench = Bench::new();
    let env = json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}}]);
    let spec = spec(json!({"containers": [{"name": "m", "image": "tool:1", "env": env}]}));
    bench.begin(index(0, &spec));
    bench.effects();
    bench.fetched(&image("tool", program()));
    bench.effects();
    let since = cpu_time();
    for uid in 1..=COUNT {
        bench.begin(index(uid, &spec));
        let starts = bench.agent.settle(bench.now).0.len();
        bench.runs(id(uid, 0, 0));
        bench.exits(id(uid, 0, 0), 0);
        let reports = bench.agent.settle(bench.now).0.len();
        bench.acknowledge(uid);
        let releases = bench.agent.settle(bench.now).0.len();
        // With what it was started, and how it ended.
        assert_eq!((starts, reports, releases), (1, 2, 2));
    }
    let each = (cpu_time() - since) / COUNT as u32;
    println!("{each:?} a pod");
    assert!(each < Duration::from_millis(3), "{each:?} a pod");
}
