use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::TRACE;
use watchbell_core::copies;

use super::follow::{Unpullable, follow};
use crate::args::{Connect, Scope};
use crate::client::{Client, encode, path};
use crate::exit::Failure;
use crate::{duration, job, output, target};

mod profile;
mod signals;

use profile::Trace;

/// A trace has at most so many bytes; the node keeps no more.
const TRACE_BYTES_MAX: u64 = 1 << 20;
/// It is read right after the copy's end.
const READ_WITHIN_SECONDS: u32 = 3600;

/// Runs a copy of a Job or a pod, notes its system calls, and writes a seccomp profile that allows these alone
///
/// The profile is in the OCI format: put it into DIR/seccomp of a server and name it by seccompProfile type Localhost, or give
/// it to another runtime. It knows what this run did and nothing more: run what matters, errors and all, and all indexes whose
/// work differs. What people do with exec is not part of it, and a traced run is slower. With the profile the default filter
/// stays in force too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JOB, cronjob/NAME for the Job that it would start, or pod/NAME: of a Job its index, of any other pod what it runs, once
    #[arg(required = true, value_name = "JOB")]
    job: Vec<String>,
    /// Where the profile goes; else to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these indexes: `0`, `0-7,12`
    #[arg(long, value_name = "RANGES")]
    index: Option<String>,
    /// Only what this container does; else all of the pod
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Leave the copy of the Job behind
    #[arg(long)]
    keep: bool,
    /// Give up after so long; the copy is deleted, as it is by Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let named = target::one(&args.job, Resource::Job)?;
    let client = connect.client()?;
    let object = || client.get(&path(named.resource, &client.namespace, &named.name));
    let name = job::fresh_name(&format!("{}-trace", named.name))?;
    let copy = match named.resource {
        Resource::Job => copies::again(&object()?, &name, args.index.as_deref()),
        Resource::CronJob => {
            let started = copies::triggered(&object()?, &name);
            copies::again(&started, &name, args.index.as_deref())
        }
        Resource::Pod => of_pod(&client, &object()?, &name, args)?,
        other => {
            let kind = other.info().kind;
            return Err(Failure::Usage(format!(
                "this traces Jobs, CronJobs and Pods; a {kind} cannot be run again"
            )));
        }
    };
    let url = format!(
        "{}?fieldManager=watchbell&fieldValidation=Strict",
        path(Resource::Job, &client.namespace, "")
    );
    let job_copy =
        JobCopy { client: connect.client()?, name: name.clone(), is_kept: args.keep, is_over: false };
    let job_copy = Arc::new(Mutex::new(job_copy));
    let made = {
        // A signal waits until it is known whether there is something to take back.
        let asking = lock(&job_copy);
        signals::hear(&job_copy, &name)?;
        match client.post(&url, &traced(copy, args.keep)) {
            // It may have been made all the same.
            Err(error) if error.is_passing() => {
                asking.take_back();
                return Err(error.into());
            }
            made => made?,
        }
    };
    output::note(&format!(
        "{} created: a copy of {} whose system calls are noted",
        output::name(&made),
        named.name
    ));
    let result = follow(&client, &name, args.timeout, Unpullable::Ends).map_err(|failure| match failure {
        Failure::Refused(why) => Failure::Refused(format!(
            "{why}; no profile was written: it would lack what the run did not come to"
        )),
        other => other,
    });
    let result = result.and_then(|()| traces(&client, args, &name));
    {
        let mut copy = lock(&job_copy);
        copy.take_back();
        copy.is_over = true;
    }
    let trace = result?;
    tell(&trace);
    let mut text = serde_json::to_string_pretty(&trace.profile())
        .map_err(|e| Failure::Refused(format!("cannot print the profile: {e}")))?;
    text.push('\n');
    match &args.output {
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|e| Failure::Refused(format!("cannot write {}: {e}", file.display())))?;
            output::note(&format!("the profile is in {}", file.display()));
        }
        None => output::data(text.trim_end()),
    }
    Ok(())
}

/// The copy of the Job, which belongs to nobody.
struct JobCopy {
    client: Client,
    name: String,
    is_kept: bool,
    /// It was taken back: a signal ends the program and nothing else.
    is_over: bool,
}

/// What becomes of the copy.
enum Becomes {
    Kept,
    Deleted,
    /// It was not possible to say.
    Unknown,
}

impl JobCopy {
    /// Deletes it, unless it was asked for.
    fn take_back(&self) -> Becomes {
        let JobCopy { client, name, .. } = self;
        if self.is_kept {
            return Becomes::Kept;
        }
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        match client.delete(&path(Resource::Job, &client.namespace, name), &options) {
            Err(error) if !error.is_not_found() => {
                // What was found out counts more than what could not be tidied up.
                output::note(&format!("warning: job {name} was not deleted: {error}"));
                Becomes::Unknown
            }
            _ => Becomes::Deleted,
        }
    }
}

fn lock(copy: &Mutex<JobCopy>) -> MutexGuard<'_, JobCopy> {
    // Whatever panicked, it is whole.
    copy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a pod runs, once more: that index of its Job, or the pod alone.
fn of_pod(client: &Client, pod: &Value, name: &str, args: &Args) -> Result<Value, Failure> {
    if args.index.is_some() {
        return Err(Failure::Usage("a pod is one index: leave out --index, or name its Job".into()));
    }
    match copies::job_of(pod) {
        Some((job, index)) => {
            Ok(copies::again(&client.get(&path(Resource::Job, &client.namespace, job))?, name, index))
        }
        None => Ok(copies::of_pod(pod, name)),
    }
}

/// The Job with the mark that its pods are traced. It stays until it was read; what a killed `trace` leaves behind goes by itself.
fn traced(mut job: Value, is_kept: bool) -> Value {
    if let Some(spec) = job["spec"].as_object_mut() {
        spec.shift_remove("ttlSecondsAfterFinished");
        if !is_kept {
            spec.insert("ttlSecondsAfterFinished".into(), READ_WITHIN_SECONDS.into());
        }
    }
    let metadata = &mut job["spec"]["template"]["metadata"];
    if metadata.is_null() {
        *metadata = json!({});
    }
    if metadata["annotations"].is_null() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][TRACE] = "true".into();
    job
}

/// All that the pods of the Job did, together.
fn traces(client: &Client, args: &Args, job: &str) -> Result<Trace, Failure> {
    let selector = encode(&format!("batch.kubernetes.io/job-name={job}"));
    let pods =
        client.get(&format!("{}?labelSelector={selector}", path(Resource::Pod, &client.namespace, "")))?;
    let mut trace = Trace::default();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
        let containers = lists.into_iter().flatten().flatten().filter_map(|c| c["name"].as_str());
        for container in containers.filter(|c| args.container.as_deref().is_none_or(|wanted| wanted == *c)) {
            let url = format!(
                "{}/log?container={}&trace=true",
                path(Resource::Pod, &client.namespace, name),
                encode(container)
            );
            let mut text = String::new();
            client
                .stream(&url, "*/*")?
                .take(TRACE_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|e| Failure::Unreachable(format!("the trace of pod {name} broke off: {e}")))?;
            if !trace.add(&text).map_err(|e| Failure::Unreachable(format!("the trace of pod {name}: {e}")))? {
                output::note(&format!(
                    "warning: there is no trace of container {container} of pod {name}; what it did is not in the profile"
                ));
            }
        }
    }
    if trace.calls.is_empty() {
        return Err(Failure::Refused(format!(
            "nothing was traced of job {job}; is the server older than this program?"
        )));
    }
    Ok(trace)
}

/// Counts for a person.
fn tell(trace: &Trace) {
    let mut by_count: Vec<(&String, u64)> =
        trace.calls.iter().map(|(name, call)| (name, call.count)).collect();
    by_count.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    for (name, count) in by_count {
        let values = &trace.calls[name].values;
        let of = match values {
            Some(values) if !values.is_empty() => {
                let list: Vec<String> = values.iter().map(|(value, n)| format!("{value}: {n}")).collect();
                format!("  (first argument {})", list.join(", "))
            }
            _ => String::new(),
        };
        output::note(&format!("{count:>10}  {name}{of}"));
    }
    let total: u64 = trace.calls.values().map(|call| call.count).sum();
    output::note(&format!(
        "{} system calls, {total} times; the profile allows what this run did, and no more",
        trace.calls.len()
    ));
    if trace.is_incomplete {
        output::note(
            "warning: the run made more different calls than are noted, or calls without a name; they are not in the profile",
        );
    }
}

/// A call of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Call {
    count: u64,
    /// Of calls whose first argument is noted; `None` once it was too manifold.
    values: Option<BTreeMap<u32, u64>>,
}
