//! What the command line knows of Jobs: how far one has come, and what it names those that it makes.

use serde_json::Value;
use watchbell_core::controller::job::RERUN_INDEXES;
use watchbell_core::copies;
use watchbell_core::index_set::IndexSet;

use crate::exit::Failure;

/// How far a Job has come, read from its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// `None` for a work queue, whose size nobody knows.
    pub(crate) completions: Option<u64>,
    pub(crate) is_indexed: bool,
    pub(crate) active: u64,
    pub(crate) ready: u64,
    pub(crate) succeeded: u64,
    /// Failed pods; an index may have several.
    pub(crate) failed: u64,
    pub(crate) completed_indexes: IndexSet,
    pub(crate) failed_indexes: IndexSet,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Suspended,
    Complete,
    Failed { reason: String, message: String },
}

impl Progress {
    pub(crate) fn of(job: &Value) -> Result<Progress, Failure> {
        let (spec, status) = (&job["spec"], &job["status"]);
        let number = |field: &str| status[field].as_u64().unwrap_or(0);
        let set = |field: &str| {
            let text = status[field].as_str().unwrap_or_default();
            IndexSet::parse(text, u32::MAX)
                .map_err(|e| Failure::Unreachable(format!("the server sent status.{field} {text:?}: {e}")))
        };
        let (mut completions, mut succeeded) = (spec["completions"].as_u64(), number("succeeded"));
        let mut completed_indexes = set("completedIndexes")?;
        // The others count as completed from the beginning, and are not what this Job does.
        if let Some(wanted) = indexes_of(job) {
            completed_indexes = completed_indexes.intersection(&wanted);
            (completions, succeeded) = (Some(wanted.len()), completed_indexes.len());
        }
        Ok(Progress {
            completions,
            is_indexed: spec["completionMode"] == "Indexed",
            active: number("active"),
            ready: number("ready"),
            succeeded,
            failed: number("failed"),
            completed_indexes,
            failed_indexes: set("failedIndexes")?,
            state: state(spec, status),
        })
    }

    /// `12/36`
    pub(crate) fn fraction(&self) -> String {
        match self.completions {
            Some(total) => format!("{}/{total}", self.succeeded),
            None => self.succeeded.to_string(),
        }
    }
}

/// The indexes that are all that a Job runs, where it is a copy that runs some. One that names none only publishes.
fn indexes_of(job: &Value) -> Option<IndexSet> {
    let text = job["metadata"]["annotations"][RERUN_INDEXES].as_str()?;
    IndexSet::parse(text, u32::MAX).ok().filter(|wanted| !wanted.is_empty())
}

fn state(spec: &Value, status: &Value) -> State {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for condition in status["conditions"].as_array().into_iter().flatten().filter(|c| c["status"] == "True") {
        match condition["type"].as_str() {
            Some("Complete") => return State::Complete,
            Some("Failed") => {
                return State::Failed {
                    reason: text(&condition["reason"]),
                    message: text(&condition["message"]),
                };
            }
            _ => {}
        }
    }
    if spec["suspend"] == true { State::Suspended } else { State::Running }
}

/// What is in `new` and not in `old`, as Kubernetes writes ranges: `3,5-9`.
pub(crate) fn ranges_added(old: &IndexSet, new: &IndexSet) -> String {
    let mut added: Vec<String> = Vec::new();
    let mut add = |first: u32, last: u32| {
        added.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    };
    for (first, last) in new.ranges() {
        let mut at = u64::from(first);
        for (known_first, known_last) in old.ranges().filter(|range| range.1 >= first && range.0 <= last) {
            if u64::from(known_first) > at {
                add(at as u32, known_first - 1);
            }
            at = u64::from(known_last) + 1;
        }
        if at <= u64::from(last) {
            add(at as u32, last);
        }
    }
    added.join(",")
}

/// `stem-xxxxx`, at most 63 characters, so that pods of the Job can be named after it.
pub(crate) fn fresh_name(stem: &str) -> Result<String, Failure> {
    // As Kubernetes' generated names: no vowels, nothing that looks like something else.
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = [0u8; 5];
    getrandom::fill(&mut random).map_err(|e| Failure::Refused(format!("cannot draw random bytes: {e}")))?;
    let suffix: String =
        random.iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect();
    Ok(format!("{}{suffix}", copies::stem(stem)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watchbell_core::index_set::IndexSet;

    use super::{Progress, State, ranges_added};

    #[test]
    fn what_is_new_is_told_as_ranges() {
        let check = |old: &str, new: &str, expect: &str| {
            let set = |text: &str| IndexSet::parse(text, 1000).expect("a set");
            assert_eq!(ranges_added(&set(old), &set(new)), expect, "{old} -> {new}");
        };
        check("", "0-3", "0-3");
        check("0-3", "0-3", "");
        check("0-3,7", "0-9", "4-6,8-9");
        check("2-9", "0-20", "0-1,10-20");
        check("5", "0-9", "0-4,6-9");
    }

    #[test]
    fn a_job_tells_how_far_it_is() {
        let job = json!({"spec": {"completions": 4, "completionMode": "Indexed"}, "status": {
            "active": 1, "succeeded": 2, "failed": 1, "completedIndexes": "0,2", "failedIndexes": "3"}});
        let progress = Progress::of(&job).expect("readable");
        assert_eq!(
            (progress.fraction().as_str(), progress.active, &progress.state),
            ("2/4", 1, &State::Running)
        );
        // Of a copy that runs some of the indexes, these count.
        let job = json!({"metadata": {"annotations": {"watchbell.dev/indexes": "0,5-6"}},
            "spec": {"completions": 12, "completionMode": "Indexed"},
            "status": {"active": 1, "succeeded": 11, "completedIndexes": "0-4,6-11"}});
        let progress = Progress::of(&job).expect("readable");
        assert_eq!(progress.fraction(), "2/3");
        assert_eq!(ranges_added(&IndexSet::new(), &progress.completed_indexes), "0,6");
        let job = json!({"spec": {"suspend": true}, "status": {"conditions": [
            {"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "False"}]}});
        assert_eq!(Progress::of(&job).expect("readable").state, State::Suspended);
        let job = json!({"status": {"conditions": [
            {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too late"}]}});
        let failed = State::Failed { reason: "DeadlineExceeded".into(), message: "too late".into() };
        assert_eq!(Progress::of(&job).expect("readable").state, failed);
        assert!(Progress::of(&json!({"status": {"completedIndexes": "3-1"}})).is_err());
    }
}
