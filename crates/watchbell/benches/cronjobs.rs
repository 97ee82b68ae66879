//! 100,000 CronJobs: memory and CPU at rest; 10,000 of them due in the same minute: how late each Job starts.
//!
//! `cargo bench -p watchbell --bench cronjobs` (root). Fewer: `-- COUNT DUE`.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod stand;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stand::{Client, Stand, cpu_ms, memory_kib};

const NAMESPACE: &str = "/apis/batch/v1/namespaces/default";
const THREADS: usize = 4;

fn cron(name: &str, schedule: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "true:1", "imagePullPolicy": "Never"}],
        }}}}},
    })
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(100_000);
    let due = numbers.get(1).copied().unwrap_or(10_000).min(count);
    let mut stand = Stand::new();
    stand.build_true("true");
    stand.launch();
    let client = stand.client();
    println!("empty server: {} KiB", memory_kib(stand.pid(), "VmRSS"));

    // Those that are not due now are due on another day.
    let begun = Instant::now();
    let config = stand.data().join("admin.kubeconfig");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let config = &config;
            scope.spawn(move || {
                let client = Client::connect(config).unwrap();
                for n in (due + thread..count).step_by(THREADS) {
                    let schedule = format!("{} {} {} {} *", n % 60, n / 60 % 24, n % 28 + 1, far_month());
                    client.post(&format!("{NAMESPACE}/cronjobs"), &cron(&format!("far-{n}"), &schedule));
                }
            });
        }
    });
    let rest = count - due;
    println!(
        "{rest} CronJobs created in {:.1} s: {:.0} a second",
        begun.elapsed().as_secs_f64(),
        rest as f64 / begun.elapsed().as_secs_f64()
    );

    let at_rest = |stand: &Stand, what: &str| {
        let window = Duration::from_secs(20);
        let before = cpu_ms(stand.pid());
        std::thread::sleep(window);
        let used = cpu_ms(stand.pid()) - before;
        println!(
            "{what}: {} KiB resident, {:.2} % of one core at rest",
            memory_kib(stand.pid(), "VmRSS"),
            used as f64 / window.as_millis() as f64 * 100.0
        );
    };
    at_rest(&stand, &format!("{rest} CronJobs"));

    // The others fire together, in the first minute that leaves time to create them.
    let now = jiff::Timestamp::now().as_second();
    let slot = (now + 90) / 60 * 60 + 60;
    let schedule = format!("{} {} * * *", slot / 60 % 60, slot / 3600 % 24);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (config, schedule) = (&config, &schedule);
            scope.spawn(move || {
                let client = Client::connect(config).unwrap();
                for n in (thread..due).step_by(THREADS) {
                    client.post(&format!("{NAMESPACE}/cronjobs"), &cron(&format!("due-{n}"), schedule));
                }
            });
        }
    });
    assert!(jiff::Timestamp::now().as_second() < slot, "the minute came before all CronJobs were there");
    let begun = Instant::now();
    let wait = slot - jiff::Timestamp::now().as_second();
    std::thread::sleep(Duration::from_secs(wait.unsigned_abs()));
    let mut done = 0;
    while done < due {
        assert!(begun.elapsed() < Duration::from_secs(1800), "only {done} of {due} Jobs completed");
        std::thread::sleep(Duration::from_secs(2));
        let jobs = client.get(&format!("{NAMESPACE}/jobs"));
        done = jobs["items"].as_array().unwrap().iter().filter(|j| j["status"]["succeeded"] == 1).count();
    }
    let all = jiff::Timestamp::now().as_second() - slot;
    println!("{due} Jobs of one minute: all containers had ended {all} s after the minute");
    at_rest(&stand, &format!("{count} CronJobs, {due} finished Jobs"));
    stand.stop();

    // When each Job was started, by the audit journal.
    let (mut store, _) = watchbell_store::Store::open(&stand.data()).unwrap();
    let mut late_ms: Vec<f64> = Vec::new();
    let mut started: BTreeMap<String, u32> = BTreeMap::new();
    store
        .load_audit(0, &mut |row| {
            let entry: Value = serde_json::from_slice(&row.body).unwrap();
            if entry["kind"] == "RunEvent" && entry["action"] == "started" {
                *started.entry(entry["objectRef"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
                late_ms.push((row.at_unix_nanos as f64 / 1e9 - slot as f64) * 1000.0);
            }
            Ok::<(), watchbell_store::Error>(())
        })
        .unwrap();
    assert_eq!(started.len(), due, "not every CronJob started");
    assert!(started.values().all(|n| *n == 1), "a CronJob started twice");
    late_ms.sort_by(f64::total_cmp);
    let at = |part: f64| late_ms[((late_ms.len() - 1) as f64 * part) as usize];
    println!(
        "lateness of the Job's creation: p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, max {:.0} ms; each of {due} started once",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// A month that does not begin during the bench.
fn far_month() -> i8 {
    let now = jiff::Timestamp::now().as_second();
    // Half a year ahead, near enough.
    ((now / 2_629_746 + 6) % 12) as i8 + 1
}
