//! CronJobs in real time: the shortest schedule there is.

use crate::stand::{Stand, condition, is_left_out};

fn cron(name: &str, schedule: &str, more: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n  schedule: '{schedule}'\n  {more}\n  \
         jobTemplate:\n    spec:\n      backoffLimit: 0\n      template:\n        spec:\n          restartPolicy: Never\n          \
         containers:\n          - {{name: main, image: 'busybox:bar', imagePullPolicy: Never, command: [/bin/busybox, sh, -c, '{command}']}}\n"
    )
}

#[test]
fn a_slot_starts_one_job_and_history_is_kept_short() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let mut stand = Stand::with_busybox();
    stand.apply(&cron("tick", "@every 1s", "successfulJobsHistoryLimit: 2", "true"));
    stand.until("four slots have passed", |s| {
        let events = s.get(&["events"]);
        let created = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["reason"] == "SuccessfulCreate" && e["involvedObject"]["name"] == "tick");
        created.map(|e| e["count"].as_u64().unwrap_or(1)).sum::<u64>() >= 4
    });
    let cron = stand.get(&["cronjob", "tick"]);
    assert!(cron["status"]["lastScheduleTime"].is_string(), "{cron:#}");
    stand.watchbell(&["delete", "cronjob", "tick"]).ok();
    stand.until("its jobs go too", |s| s.get(&["jobs"])["items"].as_array().unwrap().is_empty());
    stand.end();
}

#[test]
fn a_job_is_started_by_hand_and_followed_to_its_end() {
    if is_left_out(&["busybox"]) {
        return;
    }
    let stand = Stand::with_busybox();
    stand.apply(&cron("never", "0 0 30 2 *", "suspend: true", "echo by hand"));
    let out = stand.watchbell(&["trigger", "cronjob/never", "--follow"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let jobs = stand.get(&["jobs"]);
    let job = &jobs["items"][0];
    assert_eq!(job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"], "manual");
    assert!(condition(job, "Complete"));
    // A Job that fails is no success of the command.
    stand.apply(&cron("fails", "0 0 * * *", "suspend: true", "exit 1"));
    assert_eq!(stand.watchbell(&["trigger", "cronjob/fails", "--follow"]).code, Some(1));
    stand.end();
}
