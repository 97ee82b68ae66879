//! Which entries a search is about.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::exit::Failure;
use crate::{duration, target};

/// What entries are asked for; all that is given must fit.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Wanted {
    /// Who asked
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What it was about: cronjob/train, pod/ml/train-1-0
    #[arg(long, value_name = "KIND[/NAMESPACE]/NAME")]
    object: Option<String>,
    /// In which namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A CronJob's or Job's name: what was asked about it, what became of it, and its pods
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
            filter.run.as_ref().map(|run| run.name.as_str()),
            filter.verb.as_deref(),
        ];
        let words =
            named.into_iter().flatten().filter(|word| is_written_as_it_is(word)).map(str::to_owned).collect();
        filter.words = words;
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
    Ok(Run { namespace, name: name.to_owned() })
}

impl Filter {
    /// Whether an entry may fit, before it is parsed.
    pub(super) fn may_fit(&self, body: &[u8]) -> bool {
        if self.words.is_empty() {
            return true;
        }
        std::str::from_utf8(body).is_ok_and(|text| self.words.iter().all(|word| text.contains(word.as_str())))
    }

    pub(super) fn fits(&self, entry: &Value) -> bool {
        let reference = &entry["objectRef"];
        let is = |value: &Value, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| value == wanted.as_str())
        };
        is(&entry["user"]["username"], &self.user)
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

impl Run {
    fn fits(&self, entry: &Value) -> bool {
        let reference = &entry["objectRef"];
        let in_namespace =
            self.namespace.as_ref().is_none_or(|namespace| reference["namespace"] == namespace.as_str());
        let name = reference["name"].as_str().unwrap_or_default();
        let is_its = match reference["resource"].as_str() {
            Some("jobs" | "cronjobs") => name == self.name || entry["details"]["job"] == self.name.as_str(),
            // The pods of a Job are called after it.
            Some("pods") => name.strip_prefix(self.name.as_str()).is_some_and(|rest| rest.starts_with('-')),
            _ => false,
        };
        in_namespace && is_its
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
        let filter = args.read("2026-01-02T06:00:00Z".parse().unwrap()).unwrap();
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
