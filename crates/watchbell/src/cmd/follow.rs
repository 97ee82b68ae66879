use std::collections::HashSet;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use watchbell_api::Resource;
use watchbell_core::index_set::IndexSet;

use crate::args::{Connect, Scope};
use crate::client::{Client, ClientError, encode, path};
use crate::duration;
use crate::exit::Failure;
use crate::job::{Progress, State, ranges_added};
use crate::{output, target};

/// How long a server that went away is waited for: it may be restarting, and its tasks run on meanwhile.
const SERVER_PATIENCE: Duration = Duration::from_secs(60);

/// So often it is said again what a Job waits for of which no pod can be made.
const BETWEEN_WAITS: Duration = Duration::from_secs(30);

/// Lines do not come faster than this.
const BETWEEN_LINES: Duration = Duration::from_millis(500);

/// Follows a Job to its end, a range of indexes at a time; succeeds only if the Job completes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JOB, or cronjob/NAME for the newest Job of a CronJob
    #[arg(required = true, value_name = "JOB")]
    job: Vec<String>,
    /// Give up after so long; the Job runs on
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let named = target::one(&args.job, Resource::Job)?;
    if !matches!(named.resource, Resource::Job | Resource::CronJob) {
        let kind = named.resource.info().kind;
        return Err(Failure::Usage(format!("this follows Jobs; a {kind} cannot be followed")));
    }
    let client = connect.client()?;
    let name = match named.resource {
        Resource::CronJob => newest_job_of(&client, &named.name)?,
        _ => named.name,
    };
    follow(&client, &name, args.timeout, Unpullable::Waits)
}

/// What becomes of following a Job none of whose images can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpullable {
    /// The image may come yet.
    Waits,
    /// Who started the Job this moment hears of it at once.
    Ends,
}

/// The Job that a CronJob started last.
pub(crate) fn newest_job_of(client: &Client, cron_job: &str) -> Result<String, Failure> {
    let parent = client.get(&path(Resource::CronJob, &client.namespace, cron_job))?;
    let uid = &parent["metadata"]["uid"];
    let jobs = client.get(&path(Resource::Job, &client.namespace, ""))?;
    jobs["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|job| {
            job["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == *uid)
        })
        // RFC 3339 in UTC sorts as text; of one second, the name decides.
        .max_by_key(|job| {
            let text = |field: &str| job["metadata"][field].as_str().unwrap_or_default().to_owned();
            (text("creationTimestamp"), text("name"))
        })
        .and_then(|job| job["metadata"]["name"].as_str().map(str::to_owned))
        .ok_or_else(|| {
            Failure::Refused(format!(
                "cronjob {cron_job} in namespace {} has no Job; start one with `watchbell trigger {cron_job}`",
                client.namespace
            ))
        })
}

/// Follows the Job `name` until it ends.
pub(crate) fn follow(
    client: &Client,
    name: &str,
    timeout: Option<Duration>,
    unpullable: Unpullable,
) -> Result<(), Failure> {
    let mut follower = Follower::new(client, name, timeout, unpullable);
    let mut away_since: Option<Instant> = None;
    loop {
        match follower.round() {
            Ok(Some(outcome)) => return outcome,
            Ok(None) => away_since = None,
            Err(error) if error.is_passing() => {
                // Only a server that answered before may be restarting.
                if follower.uid.is_none() {
                    return Err(error.into());
                }
                let since = *away_since.get_or_insert_with(|| {
                    if !matches!(error, ClientError::Refused { .. }) {
                        follower.say("the server does not answer; waiting for it (tasks run on)");
                    }
                    Instant::now()
                });
                if since.elapsed() > SERVER_PATIENCE {
                    return Err(error.into());
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

struct Follower<'a> {
    client: &'a Client,
    name: &'a str,
    deadline: Option<Instant>,
    unpullable: Unpullable,
    bar: ProgressBar,
    uid: Option<String>,
    seen: Option<Progress>,
    /// What the last line told, and when: of a fast array a line tells several indexes.
    told: Option<Progress>,
    told_at: Instant,
    /// Warnings already shown, by their uid and count.
    warned: HashSet<String>,
    /// When it was last said what the Job waits for.
    waits_told_at: Option<Instant>,
}

type Outcome = Result<(), Failure>;

impl<'a> Follower<'a> {
    fn new(
        client: &'a Client,
        name: &'a str,
        timeout: Option<Duration>,
        unpullable: Unpullable,
    ) -> Follower<'a> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Follower {
            client,
            name,
            deadline: timeout.map(|t| Instant::now() + t),
            unpullable,
            bar,
            uid: None,
            seen: None,
            told: None,
            told_at: Instant::now(),
            warned: HashSet::new(),
            waits_told_at: None,
        }
    }

    /// A line above the bar, or a plain line where nobody looks at a terminal.
    fn say(&self, text: &str) {
        let text = output::plain(text);
        if self.bar.is_hidden() {
            output::note(&text);
        } else {
            self.bar.println(text);
        }
    }

    /// Reads the Job and its changes until the Job ends, or the watch does.
    fn round(&mut self) -> Result<Option<Outcome>, ClientError> {
        let place = path(Resource::Job, &self.client.namespace, self.name);
        let job = match self.client.get(&place) {
            Err(error) if error.is_not_found() && self.uid.is_some() => return Ok(Some(self.gone())),
            other => other?,
        };
        let version = job["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if let Some(outcome) = self.look(&job) {
            return Ok(Some(outcome));
        }
        // The server ends the watch now and then, so that a deadline and warnings are looked at.
        let url = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&fieldSelector={}&resourceVersion={version}",
            path(Resource::Job, &self.client.namespace, ""),
            self.patience(),
            encode(&format!("metadata.name={}", self.name)),
        );
        for event in self.client.watch(&url, "application/json")? {
            let event = event?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => {
                    if let Some(outcome) = self.look(&event["object"]) {
                        return Ok(Some(outcome));
                    }
                }
                Some("DELETED") => return Ok(Some(self.gone())),
                // Too old a version, or a server that ends: read anew.
                _ => break,
            }
        }
        if self.deadline.is_some_and(|at| Instant::now() >= at) {
            if self.seen.as_ref().is_some_and(|seen| seen.state == State::Running && seen.active == 0) {
                self.tell_wait();
            }
            let fraction = self.seen.as_ref().map(Progress::fraction).unwrap_or_default();
            return Ok(Some(Err(Failure::Refused(format!(
                "job {} has not ended yet ({fraction} succeeded); it runs on",
                self.name
            )))));
        }
        Ok(None)
    }

    fn patience(&self) -> u64 {
        const CALM: u64 = 5;
        let left =
            self.deadline.map_or(CALM, |at| at.saturating_duration_since(Instant::now()).as_secs() + 1);
        left.min(CALM)
    }

    fn gone(&self) -> Outcome {
        Err(Failure::Refused(format!("job {} was deleted before it ended", self.name)))
    }

    /// Shows what is new; the outcome, when there is one.
    fn look(&mut self, job: &Value) -> Option<Outcome> {
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        match &self.uid {
            None => self.uid = Some(uid.to_owned()),
            Some(known) if known != uid => return Some(self.gone()),
            Some(_) => {}
        }
        let now = match Progress::of(job) {
            Ok(progress) => progress,
            Err(failure) => return Some(Err(failure)),
        };
        self.show(&now);
        let is_troubled =
            now.failed > self.seen.as_ref().map_or(0, |p| p.failed) || (now.active > 0 && now.ready == 0);
        let is_stuck = self.unpullable == Unpullable::Ends && now.active > 0 && now.ready == 0;
        let outcome = match &now.state {
            State::Running if is_stuck => self.unpulled().map(Err),
            State::Running | State::Suspended => None,
            State::Complete => Some(Ok(())),
            State::Failed { reason, message } => Some(Err(Failure::Refused(format!(
                "job {} failed: {reason}: {message}; see `watchbell logs job/{} -n {}`",
                self.name, self.name, self.client.namespace
            )))),
        };
        if is_troubled || matches!(outcome, Some(Err(_))) {
            self.show_warnings();
        }
        if outcome.is_none() && now.state == State::Running && now.active == 0 {
            self.tell_wait();
        }
        if outcome.is_some() {
            self.bar.finish_and_clear();
            let lasted = lasted(job).map(|s| format!(" in {}", duration::short(s))).unwrap_or_default();
            let word = if now.state == State::Complete { "completed" } else { "failed" };
            let word = if now.state == State::Running { "cannot start" } else { word };
            output::note(&format!("job {} {word}{lasted}: {} succeeded", self.name, now.fraction()));
        }
        self.seen = Some(now);
        outcome
    }

    /// Why no pod of the Job can have its image, if that is so of all of them.
    fn unpulled(&self) -> Option<Failure> {
        let selector = encode(&format!("batch.kubernetes.io/job-name={}", self.name));
        let pods = path(Resource::Pod, &self.client.namespace, "");
        // What cannot be read now is read with the next look.
        let list = self.client.get(&format!("{pods}?labelSelector={selector}&limit=500")).ok()?;
        let mut first = None;
        for pod in list["items"].as_array()? {
            let why = image_trouble(pod)?;
            first.get_or_insert(why);
        }
        let (reason, message) = first?;
        Some(Failure::Refused(format!(
            "job {}: {reason}: {message}; it tries again until the image is there: end it with `watchbell delete job/{} -n {}`",
            self.name, self.name, self.client.namespace
        )))
    }

    fn show(&mut self, now: &Progress) {
        let is_over = matches!(now.state, State::Complete | State::Failed { .. });
        if is_over || self.told_at.elapsed() >= BETWEEN_LINES {
            self.tell(now);
        }
        if now.state == State::Suspended
            && self.seen.as_ref().is_none_or(|seen| seen.state != State::Suspended)
        {
            self.say(&format!("{} is suspended: it starts when spec.suspend becomes false", self.name));
        }
        if self.bar.is_hidden() {
            return;
        }
        if self.seen.is_none() {
            let template = match now.completions {
                Some(_) => "{elapsed:>5} [{bar:32}] {pos}/{len} {msg}",
                None => "{elapsed:>5} {spinner} {pos} {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.bar.set_length(now.completions.unwrap_or(0));
        self.bar.set_position(now.succeeded);
        let failed = if now.failed > 0 { format!(", {} failed pods", now.failed) } else { String::new() };
        self.bar.set_message(format!("succeeded, {} running{failed}", now.active));
    }

    /// A line about what is new since the last one.
    fn tell(&mut self, now: &Progress) {
        let nothing = IndexSet::new();
        let (done_before, failed_before, before) = match &self.told {
            Some(told) => (&told.completed_indexes, &told.failed_indexes, told.succeeded),
            None => (&nothing, &nothing, 0),
        };
        let done = ranges_added(done_before, &now.completed_indexes);
        let failed = ranges_added(failed_before, &now.failed_indexes);
        if done.is_empty() && failed.is_empty() && before >= now.succeeded {
            return;
        }
        if !done.is_empty() {
            self.say(&format!("{}: {} succeeded (indexes {done})", self.name, now.fraction()));
        } else if !now.is_indexed {
            self.say(&format!("{}: {} succeeded", self.name, now.fraction()));
        }
        if !failed.is_empty() {
            self.say(&format!("{}: indexes {failed} failed", self.name));
        }
        self.told = Some(now.clone());
        self.told_at = Instant::now();
    }

    /// Why the Job has no pod, when none can be made: at once, and from time to time. It may come to pods yet, so this ends nothing.
    fn tell_wait(&mut self) {
        if self.waits_told_at.is_some_and(|at| at.elapsed() < BETWEEN_WAITS) {
            return;
        }
        let url = format!(
            "{}?fieldSelector=involvedObject.uid%3D{}&limit=500",
            path(Resource::Event, &self.client.namespace, ""),
            encode(self.uid.as_deref().unwrap_or_default()),
        );
        // Only an extra: what cannot be read is seen with `describe`.
        let Ok(events) = self.client.get(&url) else { return };
        let events = events["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(why) = waits_for(events) {
            self.say(&format!(
                "{}: no pod can be made, and it is tried again: {why}; end it with `watchbell delete job/{} -n {}`",
                self.name, self.name, self.client.namespace
            ));
            self.waits_told_at = Some(Instant::now());
        }
    }

    /// Warnings about the Job's pods: why nothing runs, why an index failed.
    fn show_warnings(&mut self) {
        let url = format!(
            "{}?fieldSelector=type%3DWarning&limit=500",
            path(Resource::Event, &self.client.namespace, "")
        );
        // Only an extra: what cannot be read is seen with `describe`.
        let Ok(events) = self.client.get(&url) else { return };
        for event in events["items"].as_array().into_iter().flatten() {
            let about = event["involvedObject"]["name"].as_str().unwrap_or_default();
            let is_ours =
                about == self.name || about.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('-'));
            let (reason, message) =
                (event["reason"].as_str().unwrap_or(""), event["message"].as_str().unwrap_or(""));
            // Every index of an array may have the same trouble: it is told once.
            if is_ours && self.warned.insert(format!("{reason} {message}")) && self.warned.len() <= 10 {
                self.say(&format!("{about}: {reason}: {message}"));
            }
        }
    }
}

/// Why a Job's pods cannot be made, if that is the last that was told of it.
fn waits_for(events: &[Value]) -> Option<&str> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    // RFC 3339 in UTC sorts as text; of one second, the name decides.
    let newest =
        events.iter().max_by_key(|event| (text(event, "lastTimestamp"), text(&event["metadata"], "name")))?;
    (newest["reason"] == "FailedCreate").then(|| newest["message"].as_str().unwrap_or_default())
}

/// The words on an image that was tried for and cannot be had, where a pod waits for one.
fn image_trouble(pod: &Value) -> Option<(&str, &str)> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|field| pod["status"][field].as_array());
    lists.into_iter().flatten().flatten().find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str()?;
        // `ErrImagePull` is the first try: the next may do.
        matches!(reason, "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName")
            .then(|| (reason, waiting["message"].as_str().unwrap_or_default()))
    })
}

/// Seconds from a Job's start to its end.
fn lasted(job: &Value) -> Option<u64> {
    let time = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    let started = time(&job["status"]["startTime"])?;
    let ended = time(&job["status"]["completionTime"]).or_else(|| {
        let conditions = job["status"]["conditions"].as_array()?;
        conditions.iter().filter(|c| c["type"] == "Failed").find_map(|c| time(&c["lastTransitionTime"]))
    })?;
    u64::try_from(ended.as_second() - started.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::waits_for;

    #[test]
    fn a_job_waits_for_what_was_told_last() {
        let event = |reason: &str, at: &str, name: &str| json!({"reason": reason, "message": format!("{reason} {name}"), "lastTimestamp": at, "metadata": {"name": name}});
        let check =
            |events: &[Value], expect: Option<&str>| assert_eq!(waits_for(events), expect, "{events:?}");
        let (early, late) = ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z");
        check(&[], None);
        check(&[event("FailedCreate", early, "a.1")], Some("FailedCreate a.1"));
        check(
            &[event("FailedCreate", late, "a.1"), event("SuccessfulCreate", early, "a.2")],
            Some("FailedCreate a.1"),
        );
        check(&[event("FailedCreate", early, "a.1"), event("SuccessfulCreate", late, "a.0")], None);
        check(&[event("FailedCreate", early, "a.1"), event("SuccessfulCreate", early, "a.2")], None);
    }
}
