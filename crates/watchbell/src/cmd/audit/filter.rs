//! Which entries a search is about.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::exit::Failure;
use crate::{duration, target};

/// What entries are asked for; all that is given must fit.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Wanted {
    /// Who asked, or whom somebody acted as
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What it was about: cronjob/train, pod/ml/train-1-0
    #[arg(long, value_name = "KIND[/NAMESPACE]/NAME")]
    object: Option<String>,
    /// In which namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A CronJob's or Job's name: what was asked about it, what became of it, its Jobs (also those made of them by a rerun),
    /// and their pods
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    run: Option<String>,
    /// get, create, delete, …; of what happened to runs: started, skipped, pods-ended, …
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// Not before: a time (2026-01-02T03:04:05Z) or so long ago (2h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Not after
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// What was decided
    #[arg(long, value_name = "DECISION")]
    decision: Option<Decision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Decision {
    Allow,
    Forbid,
}

/// The same, read.
#[derive(Debug, Default)]
pub(super) struct Filter {
    user: Option<String>,
    object: Option<Object>,
    namespace: Option<String>,
    run: Option<Run>,
    verb: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    decision: Option<Decision>,
    /// Each must stand somewhere in an entry that fits: most entries are passed over without being parsed.
    words: Vec<String>,
}

#[derive(Debug)]
struct Object {
    plural: &'static str,
    namespace: Option<String>,
    name: String,
}

#[derive(Debug)]
struct Run {
    namespace: Option<String>,
    name: String,
    /// Namespaces and names of the Jobs that were made of it, as the entries that were seen say.
    jobs: BTreeSet<(String, String)>,
    /// Those of further Jobs whose names begin with the name of one of its own: their pods' do too.
    others: BTreeSet<(String, String)>,
}

impl Wanted {
    pub(super) fn read(&self, now: Timestamp) -> Result<Filter, Failure> {
        let mut filter = Filter {
            user: self.user.clone(),
            object: self.object.as_deref().map(object).transpose()?,
            namespace: self.namespace.clone(),
            run: self.run.as_deref().map(run).transpose()?,
            verb: self.verb.clone(),
            since: self.since.as_deref().map(|text| when(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| when(text, now)).transpose()?,
            decision: self.decision,
            words: Vec::new(),
        };
        let named = [
            filter.user.as_deref(),
            filter.object.as_ref().map(|object| object.name.as_str()),
            filter.namespace.as_deref(),
            filter.verb.as_deref(),
        ];
        let words =
            named.into_iter().flatten().filter(|word| is_written_as_it_is(word)).map(str::to_owned).collect();
        filter.words = words;
        if filter.run.is_some() {
            // Its Jobs are learned from entries that are not asked for.
            filter.words.clear();
        }
        Ok(filter)
    }
}

/// Whether JSON has it without escapes.
fn is_written_as_it_is(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_' | b'@'))
}

fn when(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = duration::parse(text).map_err(|_| {
        Failure::Usage(format!("{text:?} is no time; write 2026-01-02T03:04:05Z, or 90s, 2h, 7d ago"))
    })?;
    let ago = SignedDuration::try_from(ago).map_err(Failure::usage)?;
    now.checked_sub(ago).map_err(Failure::usage)
}

fn object(text: &str) -> Result<Object, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let (kind, namespace, name) = match parts[..] {
        [kind, name] => (kind, None, name),
        [kind, namespace, name] => (kind, Some(namespace.to_owned()), name),
        _ => {
            return Err(Failure::Usage(format!("--object {text:?} is not KIND/NAME or KIND/NAMESPACE/NAME")));
        }
    };
    let plural = target::resource(kind)?.info().plural;
    Ok(Object { plural, namespace, name: name.to_owned() })
}

fn run(text: &str) -> Result<Run, Failure> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') {
        return Err(Failure::Usage(format!("--run {text:?} is not NAME or NAMESPACE/NAME")));
    }
    Ok(Run { namespace, name: name.to_owned(), jobs: BTreeSet::new(), others: BTreeSet::new() })
}

impl Filter {
    /// Whether an entry may fit, before it is parsed.
    pub(super) fn may_fit(&self, body: &[u8]) -> bool {
        if self.words.is_empty() && self.run.is_none() {
            return true;
        }
        let is_of_run = |text: &str| self.run.as_ref().is_none_or(|run| run.may_fit(text));
        std::str::from_utf8(body)
            .is_ok_and(|text| self.words.iter().all(|word| text.contains(word.as_str())) && is_of_run(text))
    }

    /// Entries come in the order of the log, the oldest first.
    pub(super) fn fits(&mut self, entry: &Value) -> bool {
        if let Some(run) = &mut self.run {
            run.learn(entry);
        }
        let reference = &entry["objectRef"];
        let is = |value: &Value, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| value == wanted.as_str())
        };
        ["user", "impersonatedUser"].iter().any(|who| is(&entry[who]["username"], &self.user))
            && is(&reference["namespace"], &self.namespace)
            && self.object.as_ref().is_none_or(|object| {
                reference["resource"] == object.plural
                    && reference["name"] == object.name.as_str()
                    && is(&reference["namespace"], &object.namespace)
            })
            && self.run.as_ref().is_none_or(|run| run.fits(entry))
            && (is(&entry["verb"], &self.verb) || is(&entry["action"], &self.verb))
            && self.is_in_time(entry)
            && self.decision.is_none_or(|decision| self::decision(entry) == Some(decision))
    }

    fn is_in_time(&self, entry: &Value) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let at = entry["stageTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        at.is_some_and(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
        })
    }
}

/// Where the name of a pod is cut.
const POD_NAME_MAX: usize = 63;
/// What is left of a Job's name before an index of ten digits, a suffix and their dashes; it may have ended in a dash or two.
const STEM_MIN: usize = POD_NAME_MAX - 1 - 10 - 1 - 5 - 2;

impl Run {
    fn may_fit(&self, text: &str) -> bool {
        // A pod's name has room for so much of its Job's at least.
        let is_told = |name: &str| text.contains(name.get(..STEM_MIN).unwrap_or(name));
        is_told(&self.name) || self.jobs.iter().any(|(_, job)| !job.contains(&self.name) && is_told(job))
    }

    fn is_in_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    }

    fn is_its_job(&self, namespace: &str, name: &str) -> bool {
        name == self.name || self.jobs.contains(&(namespace.to_owned(), name.to_owned()))
    }

    fn has_job_that_begins(&self, namespace: &str, stem: &str) -> bool {
        let in_namespace = self.jobs.iter().filter(|(own, _)| own == namespace).map(|(_, job)| job);
        in_namespace.chain([&self.name]).any(|job| job.starts_with(stem))
    }

    /// Which Job a slot, a trigger or a rerun made.
    fn learn(&mut self, entry: &Value) {
        let reference = &entry["objectRef"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (resource, namespace, name) =
            (word(&reference["resource"]), word(&reference["namespace"]), word(&reference["name"]));
        if !matches!(&*resource, "jobs" | "cronjobs") || !self.is_in_namespace(&namespace) {
            return;
        }
        let made = [&entry["details"]["job"], &entry["annotations"]["watchbell.dev/job"]]
            .into_iter()
            .find_map(Value::as_str)
            .map(str::to_owned);
        match made {
            Some(job) if self.is_its_job(&namespace, &name) => drop(self.jobs.insert((namespace, job))),
            Some(job) => drop(self.others.insert((namespace, job))),
            None if resource == "jobs" && !self.is_its_job(&namespace, &name) => {
                self.others.insert((namespace, name));
            }
            None => {}
        }
    }

    fn fits(&self, entry: &Value) -> bool {
        let reference = &entry["objectRef"];
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&reference["namespace"]), text(&reference["name"]));
        let is_its = match reference["resource"].as_str() {
            Some("jobs" | "cronjobs") => {
                self.is_its_job(&namespace, &name) || entry["details"]["job"] == self.name.as_str()
            }
            Some("pods") => self.is_its_pod(&namespace, &name),
            _ => false,
        };
        self.is_in_namespace(&namespace) && is_its
    }

    /// The pods of a Job are called after it: `JOB-SUFFIX`, or `JOB-INDEX-SUFFIX`. `a-7-x` may be one of `a` or of `a-7`: where there
    /// is a Job of the longer name, it is that one's.
    fn is_its_pod(&self, namespace: &str, pod: &str) -> bool {
        let Some((stem, _)) = pod.rsplit_once('-') else { return false };
        // No room for the whole name; what it is cut at may have been a dash, which is left out.
        let is_cut = pod.len() >= POD_NAME_MAX - 1;
        let without_index = stem
            .rsplit_once('-')
            .filter(|(_, index)| index.bytes().all(|b| b.is_ascii_digit()))
            .map(|(job, _)| job);
        for job in [Some(stem), without_index].into_iter().flatten() {
            if self.is_its_job(namespace, job) || (is_cut && self.has_job_that_begins(namespace, job)) {
                return true;
            }
            if self.others.contains(&(namespace.to_owned(), job.to_owned())) {
                return false;
            }
        }
        false
    }
}

/// What the server decided, if the entry is of a request that it answered.
fn decision(entry: &Value) -> Option<Decision> {
    match entry["annotations"]["authorization.k8s.io/decision"].as_str() {
        Some("allow") => return Some(Decision::Allow),
        Some(_) => return Some(Decision::Forbid),
        None => {}
    }
    match entry["responseStatus"]["code"].as_u64()? {
        401 | 403 => Some(Decision::Forbid),
        _ => Some(Decision::Allow),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(args: &Wanted, fitting: &[usize]) {
        let entries = [
            json!({"kind": "Event", "verb": "create", "user": {"username": "ada"}, "stageTimestamp": "2026-01-02T03:00:00Z",
                "objectRef": {"resource": "cronjobs", "namespace": "ml", "name": "train"}, "responseStatus": {"code": 201}}),
            json!({"kind": "Event", "verb": "delete", "user": {"username": "bob"}, "stageTimestamp": "2026-01-02T03:00:00.5Z",
                "objectRef": {"resource": "pods", "namespace": "ml", "name": "train-7-x"}, "responseStatus": {"code": 403}}),
            json!({"kind": "RunEvent", "action": "started", "stageTimestamp": "2026-01-02T04:00:00Z",
                "objectRef": {"resource": "cronjobs", "namespace": "ml", "name": "train"}, "details": {"job": "train-7"}}),
            json!({"kind": "RunEvent", "action": "completed", "stageTimestamp": "2026-01-02T05:00:00Z",
                "objectRef": {"resource": "jobs", "namespace": "other", "name": "train-7"}, "details": {}}),
        ];
        let mut filter = args.read("2026-01-02T06:00:00Z".parse().unwrap()).unwrap();
        let found: Vec<usize> = (0..entries.len())
            .filter(|i| filter.may_fit(entries[*i].to_string().as_bytes()) && filter.fits(&entries[*i]))
            .collect();
        assert_eq!(found, fitting, "{args:?}");
    }

    #[test]
    fn an_entry_fits_all_that_is_asked() {
        let some = |text: &str| Some(text.to_owned());
        check(&Wanted::default(), &[0, 1, 2, 3]);
        check(&Wanted { user: some("ada"), ..Wanted::default() }, &[0]);
        check(&Wanted { user: some("nobody"), ..Wanted::default() }, &[]);
        check(&Wanted { namespace: some("ml"), ..Wanted::default() }, &[0, 1, 2]);
        check(&Wanted { object: some("cronjob/train"), ..Wanted::default() }, &[0, 2]);
        check(&Wanted { object: some("po/ml/train-7-x"), ..Wanted::default() }, &[1]);
        check(&Wanted { object: some("po/other/train-7-x"), ..Wanted::default() }, &[]);
        check(&Wanted { run: some("train-7"), ..Wanted::default() }, &[1, 2, 3]);
        check(&Wanted { run: some("ml/train-7"), ..Wanted::default() }, &[1, 2]);
        check(&Wanted { verb: some("started"), ..Wanted::default() }, &[2]);
        check(&Wanted { verb: some("create"), ..Wanted::default() }, &[0]);
        check(&Wanted { since: some("2026-01-02T03:00:00.25Z"), ..Wanted::default() }, &[1, 2, 3]);
        check(&Wanted { since: some("2h"), until: some("3600"), ..Wanted::default() }, &[2, 3]);
        check(&Wanted { decision: Some(Decision::Forbid), ..Wanted::default() }, &[1]);
        check(&Wanted { decision: Some(Decision::Allow), ..Wanted::default() }, &[0]);
    }

    #[test]
    fn a_run_has_its_jobs_and_their_pods_and_no_others() {
        let about = |kind: &str, resource: &str, name: &str, more: Value| {
            let mut entry =
                json!({"kind": kind, "objectRef": {"resource": resource, "namespace": "ml", "name": name}});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let run = |resource: &str, name: &str, action: &str| {
            about("RunEvent", resource, name, json!({"action": action, "details": {}}))
        };
        let asked = |resource: &str, name: &str| about("Event", resource, name, json!({"verb": "get"}));
        let made = |resource: &str, name: &str, job: &str| {
            about(
                "Event",
                resource,
                name,
                json!({"verb": "create", "annotations": {"watchbell.dev/job": job}}),
            )
        };
        let entries = [
            (
                true,
                about(
                    "RunEvent",
                    "cronjobs",
                    "nightly",
                    json!({"action": "started", "details": {"job": "nightly-29384720"}}),
                ),
            ),
            (true, run("jobs", "nightly-29384720", "admitted")),
            (true, run("jobs", "nightly-29384720", "pods-ended")),
            (true, asked("pods", "nightly-29384720-x7k2p")),
            (true, asked("pods", "nightly-29384720-3-x7k2p")),
            (false, asked("jobs", "nightly-x")),
            (false, asked("pods", "nightly-x-x7k2p")),
            (false, asked("pods", "nightly-x-0-x7k2p")),
            (false, about("Event", "jobs", "nightly-7", json!({"verb": "create"}))),
            (false, asked("pods", "nightly-7-x7k2p")),
            (true, made("cronjobs", "nightly", "hotfix")),
            (true, run("jobs", "hotfix", "failed")),
            (true, made("jobs", "hotfix", "hotfix-rerun-q")),
            (true, run("jobs", "hotfix-rerun-q", "completed")),
            (true, asked("pods", "hotfix-rerun-q-x7k2p")),
            (false, run("jobs", "weekly-29384720", "completed")),
            (false, asked("secrets", "nightly")),
            (true, made("cronjobs", "nightly", &format!("{}-z", "long".repeat(14)))),
            (true, asked("pods", &format!("{}-0-x7k2p", "long".repeat(14)[..55].to_owned()))),
        ];
        for (verb, wanted) in [(None, None), (Some("completed".to_owned()), Some("completed"))] {
            let args = Wanted { run: Some("ml/nightly".into()), verb, ..Wanted::default() };
            let mut filter = args.read(Timestamp::UNIX_EPOCH).unwrap();
            for (is_its, entry) in &entries {
                let fits = filter.may_fit(entry.to_string().as_bytes()) && filter.fits(entry);
                let expect = *is_its && wanted.is_none_or(|wanted| entry["action"] == wanted);
                assert_eq!(fits, expect, "{entry}");
            }
        }
    }

    #[test]
    fn who_acted_as_another_is_found_under_both_names() {
        let entry =
            json!({"kind": "Event", "user": {"username": "ada"}, "impersonatedUser": {"username": "bob"}});
        for (user, fits) in [("ada", true), ("bob", true), ("eve", false)] {
            let args = Wanted { user: Some(user.into()), ..Wanted::default() };
            let mut filter = args.read(Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(filter.may_fit(entry.to_string().as_bytes()) && filter.fits(&entry), fits, "{user}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_mistake_of_the_command_line() {
        for args in [
            Wanted { object: Some("train".into()), ..Wanted::default() },
            Wanted { object: Some("nothing/train".into()), ..Wanted::default() },
            Wanted { run: Some("a/b/c".into()), ..Wanted::default() },
            Wanted { since: Some("yesterday".into()), ..Wanted::default() },
        ] {
            assert!(matches!(args.read(Timestamp::UNIX_EPOCH), Err(Failure::Usage(_))), "{args:?}");
        }
    }
}
