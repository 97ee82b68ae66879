//! kill -9 of the server, of the server and the spawner, and the clean end: nothing is lost, doubled or left behind.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stand::{Stand, condition, has_group, is_left_out, job};

/// A small generator, so that a failing run can be repeated: set WATCHBELL_TEST_SEED.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let seed =
            std::env::var("WATCHBELL_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
                let mut bytes = [0u8; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            });
        eprintln!("WATCHBELL_TEST_SEED={seed}");
        Dice(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The audit journal, which nothing rewrites.
fn record(stand: &Stand) -> Vec<serde_json::Value> {
    let (mut store, _) = watchbell_store::Store::open(&stand.data()).unwrap();
    let mut entries = Vec::new();
    store
        .load_audit(0, &mut |row: watchbell_store::AuditRow| {
            entries.push(serde_json::from_slice::<serde_json::Value>(&row.body).unwrap());
            Ok::<(), watchbell_store::Error>(())
        })
        .unwrap();
    entries
}

#[test]
fn twenty_kills_of_the_server_lose_and_double_nothing() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut dice = Dice::new();
    let mut stand = Stand::with_busybox();
    let spec = "completionMode: Indexed\n  completions: 300\n  parallelism: 24\n  backoffLimit: 0";
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $JOB_COMPLETION_INDEX $i; done; sleep 0.3; echo end";
    stand.apply(&job("array", spec, script));
    stand.apply(&cron("often", "@every 1s"));
    for _ in 0..20 {
        // Any instant will do: while it starts, while it is ready, while tasks start and end.
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        stand.kill();
        stand.launch();
    }
    stand.wait_ready();
    let done = stand.finished("default", "array");
    assert!(condition(&done, "Complete"), "{done:#}\n{}", stand.server_log());
    assert!(has_group(&stand), "the control groups have another name than the one whose absence is checked");
    assert_eq!(done["status"]["succeeded"], 300);
    assert_eq!(done["status"]["completedIndexes"], "0-299");
    assert_eq!(done["status"]["failed"].as_u64().unwrap_or(0), 0, "{done:#}");
    let expected = |index: usize| {
        let lines: String = (1..=10).map(|n| format!("{index} {n}\n")).collect();
        format!("{lines}end\n")
    };
    for index in [0, 1, 57, 150, 298, 299] {
        let log = stand.watchbell(&["logs", "job/array", "--index", &index.to_string()]).ok();
        assert_eq!(log, expected(index));
    }
    stand.watchbell(&["delete", "cronjob", "often"]).ok();
    stand.stop();

    let mut succeeded: BTreeMap<u64, u32> = BTreeMap::new();
    let mut slots: BTreeMap<String, u32> = BTreeMap::new();
    for entry in record(&stand) {
        if entry["kind"] != "RunEvent" {
            continue;
        }
        let details = &entry["details"];
        if entry["objectRef"]["name"] == "array" && entry["action"] == "pods-ended" {
            // [index, attempt, how it ended, exit code]
            for ended in details["ended"].as_array().unwrap().iter().filter(|e| e[2] == "Succeeded") {
                *succeeded.entry(ended[0].as_u64().unwrap()).or_default() += 1;
            }
        }
        if entry["objectRef"]["name"] == "often" && entry["action"] == "started" {
            *slots.entry(details["slot"].to_string()).or_default() += 1;
        }
    }
    assert_eq!(succeeded.len(), 300, "{succeeded:?}");
    assert!(succeeded.values().all(|n| *n == 1), "{succeeded:?}");
    assert!(!slots.is_empty() && slots.values().all(|n| *n == 1), "{slots:?}");
    stand.end();
}

fn cron(name: &str, schedule: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n  schedule: '{schedule}'\n  \
         jobTemplate:\n    spec:\n      backoffLimit: 0\n      template:\n        spec:\n          restartPolicy: Never\n          \
         containers:\n          - {{name: main, image: 'busybox:bar', imagePullPolicy: Never, command: [/bin/busybox, 'true']}}\n"
    )
}

#[test]
fn tasks_run_on_while_the_server_is_away_and_their_true_end_is_known_after() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    // It waits for a file that comes while no server runs, and prints all the time.
    let script = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 9";
    stand.apply(&job("alone", "backoffLimit: 0", script));
    stand.until("it prints", |s| s.watchbell(&["logs", "job/alone"]).out.contains("line 2"));
    stand.kill();
    std::thread::sleep(Duration::from_secs(3));
    stand.launch();
    stand.wait_ready();
    let done = stand.finished("default", "alone");
    assert!(condition(&done, "Failed"));
    let pods = stand.get(&["pods"]);
    let end = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["exitCode"], 9, "{end:#}");
    let expected: String = (0..30).map(|n| format!("line {n}\n")).collect();
    assert_eq!(stand.watchbell(&["logs", "job/alone"]).ok(), expected);
    assert_eq!(pods["items"].as_array().unwrap().len(), 1);
    stand.end();
}

#[test]
fn when_the_spawner_dies_too_its_tasks_are_ended_and_tried_again() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    // No failure of its own is forgiven, and this one is none.
    let rule = "{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}";
    let spec = format!("backoffLimit: 0\n  podFailurePolicy: {{rules: [{rule}]}}");
    stand.apply(&job("again", &spec, "echo up; while true; do sleep 0.05; done"));
    stand.until("it runs", |s| s.watchbell(&["logs", "job/again"]).out.contains("up"));
    stand.kill();
    for pid in spawners(&stand) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    stand.launch();
    stand.wait_ready();
    stand.until("a second pod runs", |s| {
        let pods = s.get(&["pods"]);
        let phases: Vec<&str> = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["status"]["phase"].as_str().unwrap())
            .collect();
        phases.contains(&"Running") && phases.contains(&"Failed")
    });
    let pods = stand.get(&["pods"]);
    let lost = pods["items"].as_array().unwrap().iter().find(|p| p["status"]["phase"] == "Failed").unwrap();
    let end = &lost["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&137.into(), &"ContainerStatusUnknown".into()),
        "{end:#}"
    );
    let conditions = lost["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&target["status"], &target["reason"]),
        (&"True".into(), &"DeletionByPodGC".into()),
        "{lost:#}"
    );
    stand.watchbell(&["delete", "job", "again", "--grace-period", "0"]).ok();
    stand.until("it is gone", |s| s.get(&["pods"])["items"].as_array().unwrap().is_empty());
    stand.end();
}

/// The spawner and keeper of this stand.
fn spawners(stand: &Stand) -> Vec<i32> {
    let dir = stand.data().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Ok(text) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains(&dir) && text.contains("spawner") {
            found.push(pid);
        }
    }
    assert!(!found.is_empty(), "no spawner runs on {dir}");
    found
}
