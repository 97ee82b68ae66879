//! `[sig-apps] CronJob`

mod api;
mod history;
mod schedule;

use serde_json::Value;

use crate::space::{Space, is_left_out};

/// The namespace of a test; `None` where containers cannot run.
fn space() -> Option<Space> {
    (!is_left_out()).then(|| Space::new("cronjob", "baseline"))
}

impl Space {
    /// Waits until at least so many Jobs are in the CronJob's status, and returns it.
    #[track_caller]
    fn wait_for_active(&self, name: &str, count: usize) -> Value {
        self.until(&format!("{name} has {count} active jobs"), || {
            let cron = self.get("cronjobs", name);
            let active = cron["status"]["active"].as_array().map_or(0, Vec::len);
            (active >= count).then_some(cron)
        })
    }

    #[track_caller]
    fn remove_cron(&self, name: &str) {
        self.delete("cronjobs", name, serde_json::json!({"propagationPolicy": "Background"}));
    }

    /// The Jobs that are not finished, and those that are.
    #[track_caller]
    fn jobs(&self) -> (Vec<Value>, Vec<Value>) {
        let finished =
            |job: &Value| ["Complete", "Failed"].iter().any(|kind| crate::stand::condition(job, kind));
        self.list("jobs", "").into_iter().partition(|job| !finished(job))
    }
}
