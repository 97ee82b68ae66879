use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_core::index_set::IndexSet;

use crate::args::{Connect, Scope};
use crate::client::{Client, ClientError, encode, path};
use crate::exit::Failure;
use crate::log_follow::{self, Followed, SERVER_PATIENCE, lines};
use crate::{duration, output, target};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Prints what containers wrote: of a pod, or of every index of a Job
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// POD, pod/NAME, job/NAME, or cronjob/NAME for the newest Job of a CronJob
    #[arg(required = true, value_name = "POD|job/NAME")]
    what: Vec<String>,
    /// Go on printing as more is written, until the containers end
    #[arg(short, long)]
    follow: bool,
    /// Only these indexes of a Job: `3`, `0-7,12`
    #[arg(long, value_name = "RANGES")]
    index: Option<String>,
    /// Every attempt of an index; else only its newest
    #[arg(long)]
    all_attempts: bool,
    /// Only this container; else the pod's first
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Only the last lines of each log
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what was written in the last while: `90s`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Of the run before the container's last restart
    #[arg(short, long)]
    previous: bool,
    /// At most so many bytes of each log
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// Each line with the pod and container it came from
    #[arg(long)]
    prefix: bool,
    /// `json`: a JSON document a line, with namespace, pod, container, index and line
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<LogFormat>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Json,
}

/// One log to print.
#[derive(Debug, Clone)]
struct Source {
    pod: String,
    container: String,
    index: Option<u32>,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let named = target::one(&args.what, Resource::Pod)?;
    let wanted = match &args.index {
        None => None,
        Some(text) => Some(
            IndexSet::parse(text, u32::MAX).map_err(|e| Failure::Usage(format!("--index {text:?}: {e}")))?,
        ),
    };
    if named.resource == Resource::Pod && (wanted.is_some() || args.all_attempts) {
        return Err(Failure::Usage("--index and --all-attempts are for the logs of a Job".into()));
    }
    if !matches!(named.resource, Resource::Pod | Resource::Job | Resource::CronJob) {
        return Err(Failure::Usage(format!("a {} has no logs", named.resource.info().kind)));
    }
    let client = connect.client()?;
    let job = match named.resource {
        Resource::Pod => {
            let pod = client.get(&path(Resource::Pod, &client.namespace, &named.name))?;
            return print(&client, args, &source(args, &pod)?);
        }
        Resource::CronJob => super::follow::newest_job_of(&client, &named.name)?,
        _ => named.name,
    };
    if args.follow {
        follow_job(&client, args, &job, wanted.as_ref())
    } else {
        print_job(&client, args, &job, wanted.as_ref())
    }
}

/// The container of a pod whose log is asked for.
fn source(args: &Args, pod: &Value) -> Result<Source, Failure> {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let pod_name = name(&pod["metadata"]);
    let list = |field: &str| -> Vec<String> {
        pod["spec"][field].as_array().into_iter().flatten().map(name).collect()
    };
    let (containers, init) = (list("containers"), list("initContainers"));
    let container = match &args.container {
        Some(wanted) if containers.contains(wanted) || init.contains(wanted) => wanted.clone(),
        Some(wanted) => {
            return Err(Failure::Usage(format!(
                "pod {pod_name} has no container {wanted:?}; it has {}",
                [init, containers].concat().join(", ")
            )));
        }
        None => {
            let annotated =
                pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
            let first = annotated.map(str::to_owned).or_else(|| containers.first().cloned());
            first.ok_or_else(|| {
                Failure::Unreachable(format!("the server sent pod {pod_name} without containers"))
            })?
        }
    };
    Ok(Source { pod: pod_name, container, index: index(pod) })
}

fn index(pod: &Value) -> Option<u32> {
    let metadata = &pod["metadata"];
    metadata["annotations"][INDEX].as_str().or(metadata["labels"][INDEX].as_str())?.parse().ok()
}

fn url(client: &Client, args: &Args, source: &Source) -> String {
    let mut url = format!(
        "{}/log?container={}",
        path(Resource::Pod, &client.namespace, &source.pod),
        encode(&source.container)
    );
    for (flag, name) in
        [(args.follow, "follow"), (args.timestamps, "timestamps"), (args.previous, "previous")]
    {
        if flag {
            url.push_str(&format!("&{name}=true"));
        }
    }
    url.push_str(&from(args));
    if let Some(bytes) = args.limit_bytes {
        url.push_str(&format!("&limitBytes={bytes}"));
    }
    url
}

/// Where in the log to begin.
fn from(args: &Args) -> String {
    let mut text = String::new();
    if let Some(lines) = args.tail {
        text.push_str(&format!("&tailLines={lines}"));
    }
    if let Some(since) = args.since {
        // A rounded-down zero would mean everything.
        text.push_str(&format!("&sinceSeconds={}", since.as_secs().max(1)));
    }
    text
}

/// Prints a part of a log, for as long as anybody reads.
fn show(bytes: &[u8]) {
    output::raw(bytes);
    output::stop_if_lost();
}

/// Prints one log.
fn print(client: &Client, args: &Args, source: &Source) -> Result<(), Failure> {
    if args.follow {
        return read(client, args, source, &mut |line| {
            show(&line);
            Ok(())
        });
    }
    let mut stream = client.stream(&url(client, args, source), "*/*")?;
    let broke =
        |e: std::io::Error| Failure::Unreachable(format!("the log of pod {} broke off: {e}", source.pod));
    if args.prefix || args.output.is_some() {
        let mut each = |line: &[u8], ended: bool| {
            show(&dress(client, args, source, line, ended));
            Ok(())
        };
        return lines(stream, &mut each).map_err(broke);
    }
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        match stream.read(&mut buffer).map_err(broke)? {
            0 => return Ok(()),
            n => show(&buffer[..n]),
        }
    }
}

/// Follows one log; `each` gets the lines as they are printed.
fn read(
    client: &Client,
    args: &Args,
    source: &Source,
    each: &mut dyn FnMut(Vec<u8>) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut hand_on = |line: &[u8], ended: bool| each(dress(client, args, source, line, ended));
    if args.limit_bytes.is_some() || args.previous {
        // What ends early by itself cannot be told from what broke off.
        let stream = client.stream(&url(client, args, source), "*/*")?;
        let broke = |e| Failure::Unreachable(format!("the log of pod {} broke off: {e}", source.pod));
        return lines(stream, &mut hand_on).map_err(broke);
    }
    let followed = Followed {
        client,
        pod: &source.pod,
        container: &source.container,
        from: from(args),
        timestamps: args.timestamps,
    };
    log_follow::follow(&followed, &mut hand_on)
}

/// A line as it is printed.
fn dress(client: &Client, args: &Args, source: &Source, line: &[u8], ended: bool) -> Vec<u8> {
    if args.output == Some(LogFormat::Json) {
        let mut document = json!({
            "namespace": client.namespace, "pod": source.pod, "container": source.container, "index": source.index,
            "line": String::from_utf8_lossy(line),
        });
        if !ended {
            document["partial"] = true.into();
        }
        return format!("{document}\n").into_bytes();
    }
    let mut out = Vec::new();
    if args.prefix {
        out.extend_from_slice(format!("[pod/{}/{}] ", source.pod, source.container).as_bytes());
    }
    out.extend_from_slice(line);
    out.push(b'\n');
    out
}

/// The pods of a Job, by index and age.
fn pods_of(client: &Client, job: &str) -> Result<(Vec<Value>, String), ClientError> {
    let uid = client.get(&path(Resource::Job, &client.namespace, job))?["metadata"]["uid"].clone();
    let base = format!(
        "{}?limit=500&labelSelector={}",
        path(Resource::Pod, &client.namespace, ""),
        encode(&format!("{JOB_NAME}={job}"))
    );
    let mut pods: Vec<Value> = Vec::new();
    let mut url = base.clone();
    loop {
        let mut list = client.get(&url)?;
        if let Value::Array(items) = list["items"].take() {
            pods.extend(items.into_iter().filter(|pod| is_owned_by(pod, &uid)));
        }
        match list["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => url = format!("{base}&continue={}", encode(token)),
            _ => {
                pods.sort_by_key(|pod| {
                    let created =
                        pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
                    (index(pod), created, attempt(pod))
                });
                let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                return Ok((pods, version));
            }
        }
    }
}

/// Pods of one index made in the same second are told apart by the failures before them.
fn attempt(pod: &Value) -> u64 {
    let failures = &pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"];
    failures.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn is_owned_by(pod: &Value, uid: &Value) -> bool {
    pod["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == *uid)
}

fn is_wanted(pod: &Value, wanted: Option<&IndexSet>) -> bool {
    wanted.is_none_or(|set| index(pod).is_some_and(|i| set.contains(i)))
}

/// The logs of a Job's pods, one after the other in the order of their indexes.
fn print_job(client: &Client, args: &Args, job: &str, wanted: Option<&IndexSet>) -> Result<(), Failure> {
    let (pods, _) = pods_of(client, job)?;
    let mut chosen: Vec<&Value> = pods.iter().filter(|pod| is_wanted(pod, wanted)).collect();
    if !args.all_attempts {
        let newest: BTreeMap<u32, &Value> =
            chosen.iter().filter_map(|pod| index(pod).map(|i| (i, *pod))).collect();
        chosen.retain(|pod| index(pod).is_none_or(|i| std::ptr::eq(newest[&i], *pod)));
    }
    let missing = wanted.map(|set| missing(set, &chosen)).unwrap_or_default();
    if chosen.is_empty() && missing.is_empty() {
        return Err(Failure::Refused(format!("job {job} has no pods of which there could be logs")));
    }
    let mut failures = Vec::new();
    if !missing.is_empty() {
        failures.push(format!("job {job} has no pod of index {missing}"));
    }
    for pod in chosen {
        // One pod that has not started yet hides no other's log.
        if let Err(failure) = source(args, pod).and_then(|source| print(client, args, &source)) {
            match failure {
                Failure::Refused(text) => failures.push(text),
                other => return Err(other),
            }
        }
    }
    match failures.first() {
        None => Ok(()),
        Some(only) if failures.len() == 1 => Err(Failure::Refused(only.clone())),
        Some(first) => {
            Err(Failure::Refused(format!("{} of the logs cannot be read: {first}", failures.len())))
        }
    }
}

/// Which of the wanted indexes have no pod, as ranges; the first of many.
fn missing(wanted: &IndexSet, pods: &[&Value]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut present = IndexSet::new();
    for index in pods.iter().filter_map(|pod| index(pod)) {
        present.insert(index);
    }
    let mut ranges: Vec<String> = Vec::new();
    for (first, last) in wanted.ranges() {
        let mut at = first;
        while ranges.len() <= SHOWN_MAX && at <= last {
            let Some(from) = present.first_missing(at).filter(|from| *from <= last) else { break };
            // Up to the next that is there.
            let until = present.ranges().map(|(start, _)| start).find(|start| *start > from);
            let to = until.map_or(last, |start| last.min(start - 1));
            ranges.push(if from == to { from.to_string() } else { format!("{from}-{to}") });
            let Some(next) = to.checked_add(1) else { break };
            at = next;
        }
    }
    if ranges.len() > SHOWN_MAX {
        ranges.truncate(SHOWN_MAX);
        ranges.push("…".into());
    }
    ranges.join(",")
}

/// What the readers of logs tell the printer.
enum Heard {
    Line(Vec<u8>),
    Failed(Failure),
}

/// The logs of a Job's pods as they are written, until the Job ends.
fn follow_job(client: &Client, args: &Args, job: &str, wanted: Option<&IndexSet>) -> Result<(), Failure> {
    let (sender, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Err(failure) = read_as_they_start(client, args, job, wanted, &sender) {
                // The printer ends with the last reader; that it is gone already means nobody reads.
                let _ = sender.send(Heard::Failed(failure));
            }
        });
        let mut failure = None;
        for message in heard {
            match message {
                Heard::Line(line) => show(&line),
                Heard::Failed(first) => failure = failure.or(Some(first)),
            }
        }
        failure.map_or(Ok(()), Err)
    })
}

/// Starts a reader for every pod of the Job once its container has started.
fn read_as_they_start(
    client: &Client,
    args: &Args,
    job: &str,
    wanted: Option<&IndexSet>,
    sender: &Sender<Heard>,
) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let mut started: HashSet<String> = HashSet::new();
        let mut start = |pod: &Value| -> Result<(), Failure> {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let source = source(args, pod)?;
            if !is_wanted(pod, wanted) || !has_started(pod, &source.container) || !started.insert(uid) {
                return Ok(());
            }
            let sender = sender.clone();
            scope.spawn(move || {
                let mut each = |line: Vec<u8>| sender.send(Heard::Line(line)).map_err(std::io::Error::other);
                let read = self::read(client, args, &source, &mut each);
                if let Err(failure) = read {
                    // As above: without a printer there is nobody to tell.
                    let _ = sender.send(Heard::Failed(failure));
                }
            });
            Ok(())
        };
        let mut away_since: Option<Instant> = None;
        loop {
            match round(client, job, &mut start) {
                Ok(Round::Over) => return Ok(()),
                Ok(Round::GoOn) => away_since = None,
                Err(failure @ Failure::Unreachable(_)) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > SERVER_PATIENCE {
                        return Err(failure);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(failure) => return Err(failure),
            }
        }
    })
}

/// What passes is waited for, as a server that is away.
fn awaited(error: ClientError) -> Failure {
    if error.is_passing() { Failure::Unreachable(error.to_string()) } else { error.into() }
}

enum Round {
    GoOn,
    Over,
}

/// Starts readers for the pods there are, and for those that come in the next seconds.
fn round(
    client: &Client,
    job: &str,
    start: &mut dyn FnMut(&Value) -> Result<(), Failure>,
) -> Result<Round, Failure> {
    // The Job first: a Job that has ended makes no pod after the list that follows.
    let is_over = has_ended(client, job).map_err(awaited)?;
    let (pods, version) = pods_of(client, job).map_err(awaited)?;
    for pod in &pods {
        start(pod)?;
    }
    if is_over {
        return Ok(Round::Over);
    }
    let url = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=2&labelSelector={}&resourceVersion={version}",
        path(Resource::Pod, &client.namespace, ""),
        encode(&format!("{JOB_NAME}={job}"))
    );
    for event in client.watch(&url, "application/json").map_err(awaited)? {
        let event = event.map_err(awaited)?;
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => start(&event["object"])?,
            Some("BOOKMARK" | "DELETED") => {}
            _ => break,
        }
    }
    Ok(Round::GoOn)
}

fn has_ended(client: &Client, job: &str) -> Result<bool, ClientError> {
    let object = client.get(&path(Resource::Job, &client.namespace, job))?;
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(conditions.iter().any(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True"))
}

/// Whether there is a log to read.
fn has_started(pod: &Value, container: &str) -> bool {
    let statuses = ["containerStatuses", "initContainerStatuses"];
    statuses.iter().flat_map(|field| pod["status"][field].as_array().into_iter().flatten()).any(|status| {
        status["name"] == container
            && (status["state"]["running"].is_object() || status["state"]["terminated"].is_object())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watchbell_core::index_set::IndexSet;

    use super::missing;

    #[test]
    fn indexes_without_a_pod_are_named() {
        let check = |wanted: &str, present: &[u32], expect: &str| {
            let wanted = IndexSet::parse(wanted, u32::MAX).unwrap();
            let pods: Vec<_> = present
                .iter()
                .map(|i| json!({"metadata": {"annotations": {super::INDEX: i.to_string()}}}))
                .collect();
            assert_eq!(missing(&wanted, &pods.iter().collect::<Vec<_>>()), expect);
        };
        check("99", &[], "99");
        check("0-7,12", &[0, 1, 5, 12], "2-4,6-7");
        check("0-3", &[0, 1, 2, 3, 4], "");
        check("3", &[0, 1], "3");
        check("0-100000", &[], "0-100000");
    }
}
