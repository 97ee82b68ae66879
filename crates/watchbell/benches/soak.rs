//! Many tasks in a row, and nothing of them left behind: no process, mount, control group, namespace, descriptor, thread,
//! log file, and no memory that grows. Prints what it saw, and fails when something stays.
//!
//! `cargo bench -p watchbell --bench soak` (root). Other sizes: `-- TASKS`. Jobs of a tenth run one after another; each is
//! deleted once it has ended, so that what is kept on purpose does not hide what is forgotten.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod stand;
mod traces;

use std::time::{Duration, Instant};

use stand::{JOBS, Stand};
use traces::Traces;

const AT_ONCE: usize = 32;
const JOBS_IN_ALL: usize = 10;
/// What watchers may ask for, and the journal's cache, are kept up to a bound: memory is compared once that is reached.
const WARM: usize = 5;
/// The spawner's own, by which it clones: it lives as long.
const CLONERS: usize = 1;

fn main() {
    let tasks = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(100_000usize);
    let each = (tasks / JOBS_IN_ALL).max(AT_ONCE);
    let mut stand = Stand::new();
    stand.build_true("true");
    stand.launch();
    let client = stand.client();
    println!("{JOBS_IN_ALL} Jobs of {each} tasks that do nothing, {AT_ONCE} at a time; after each:");
    let mut seen: Vec<Traces> = Vec::new();
    for number in 1..=JOBS_IN_ALL {
        let name = format!("soak-{number}");
        let wall = client.run_job(&name, each, AT_ONCE);
        client.delete(&format!("{JOBS}/{name}"));
        let traces = settled(&stand, &client);
        println!("{:>7} tasks, {:.0}/s: {traces}", number * each, each as f64 / wall.as_secs_f64());
        seen.push(traces);
    }
    let last = &seen[JOBS_IN_ALL - 1];
    let grown = last.grown_since(&seen[WARM - 1]);
    stand.stop();
    let left = traces::left_on_host(&stand, last);
    for fault in grown.iter().chain(&left) {
        println!("left behind: {fault}");
    }
    assert!(grown.is_empty() && left.is_empty(), "something stays behind");
    println!("nothing is left behind: {} tasks", JOBS_IN_ALL * each);
}

/// What is there once the pods are gone and two looks in a row see the same.
fn settled(stand: &Stand, client: &stand::Client) -> Traces {
    let begun = Instant::now();
    let mut before: Option<Traces> = None;
    loop {
        let pods =
            client.get("/api/v1/namespaces/default/pods?limit=1")["items"].as_array().map_or(0, Vec::len);
        let now = Traces::of(stand);
        if pods == 0 && now.processes <= CLONERS && before.as_ref().is_some_and(|b| b.same_things(&now)) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not come to rest: {pods} pods, {now}");
        before = Some(now);
        std::thread::sleep(Duration::from_millis(500));
    }
}
