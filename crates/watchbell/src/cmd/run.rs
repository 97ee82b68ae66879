use std::time::Duration;

use serde_json::{Map, Value, json};
use watchbell_api::Resource;
use watchbell_core::cron;

use super::follow::Unpullable;
use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::{duration, job};

/// Runs a command in an image: once, as an array, or on a schedule
///
/// It makes a Job, or with --schedule a CronJob. `--dry-run -o yaml` prints the manifest, to keep and apply.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image to run
    image: String,
    /// kubectl's habit, answered with a hint
    #[arg(long = "image", hide = true, value_parser = clap::builder::UnknownArgumentValueParser::suggest("IMAGE")
        .and_suggest("the image is the first word: watchbell run IMAGE -- WORDS; its name is given with --name"))]
    image_as_option: Option<String>,
    /// Arguments of the image's entrypoint, or the command when it has none
    #[arg(trailing_var_arg = true)]
    words: Vec<String>,
    /// Name; else made from the image's
    #[arg(long)]
    name: Option<String>,
    /// The words after the image replace its entrypoint
    #[arg(long)]
    command: bool,
    /// Cron expression: make a CronJob that starts the Job at these times
    #[arg(long, value_name = "EXPR")]
    schedule: Option<String>,
    /// IANA time zone of the schedule
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    time_zone: Option<String>,
    /// What a CronJob does when its last Job still runs: Allow, Forbid, or Replace
    #[arg(long, value_name = "POLICY", requires = "schedule", ignore_case = true)]
    concurrency_policy: Option<Concurrency>,
    /// A slot that could not start within so long is skipped
    #[arg(long, value_name = "DURATION", requires = "schedule", value_parser = duration::parse)]
    starting_deadline: Option<Duration>,
    /// Run so many indexes: each task finds its own in $JOB_COMPLETION_INDEX
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    array: Option<u32>,
    /// Tasks at the same time; else as many as the machine has room for, at most 100
    #[arg(long, value_name = "N")]
    parallelism: Option<u32>,
    /// Environment variable; without a value, this command's own is passed on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// CPUs that a task is given: `2`, `500m`
    #[arg(long, value_name = "QUANTITY")]
    cpu: Option<String>,
    /// Memory that a task may use: `512Mi`, `4Gi`
    #[arg(long, value_name = "QUANTITY")]
    memory: Option<String>,
    /// Working directory in the image
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Always, IfNotPresent, or Never
    #[arg(long, value_name = "WHEN", ignore_case = true)]
    pull: Option<Pull>,
    /// Failed tasks that are tried again, of the whole Job
    #[arg(long, value_name = "N", conflicts_with = "retries_per_index")]
    retries: Option<u32>,
    /// Failed tasks that are tried again, of each index
    #[arg(long, value_name = "N", requires = "array")]
    retries_per_index: Option<u32>,
    /// End the Job after so long
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    deadline: Option<Duration>,
    /// Delete the Job so long after it ended
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// Label of the Job and its pods
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Print the manifest instead of creating it
    #[arg(long)]
    dry_run: bool,
    /// Then follow the Job to its end
    #[arg(short, long, conflicts_with_all = ["schedule", "dry_run"])]
    follow: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Concurrency {
    Allow,
    Forbid,
    Replace,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Pull {
    Always,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    Never,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        // A CronJob is there to stay and is found by its name; of Jobs there may be many.
        None if args.schedule.is_some() => stem(&args.image)?,
        None => job::fresh_name(&stem(&args.image)?)?,
    };
    let mut object = manifest(args, &name, |variable| std::env::var(variable).ok())?;
    if args.dry_run {
        if let Some(namespace) = &connect.namespace {
            object["metadata"]["namespace"] = namespace.clone().into();
        }
        return output::object(&object, args.output.output.unwrap_or(Format::Yaml));
    }
    let client = connect.client()?;
    let resource = if args.schedule.is_some() { Resource::CronJob } else { Resource::Job };
    let url =
        format!("{}?fieldManager=watchbell&fieldValidation=Strict", path(resource, &client.namespace, ""));
    let made = client.post(&url, &object)?;
    output::done(&made, "created", args.output.output)?;
    if args.follow { super::follow::follow(&client, &name, None, Unpullable::Ends) } else { Ok(()) }
}

/// `ghcr.io/org/My_Image:tag@…` to `my-image`.
fn stem(image: &str) -> Result<String, Failure> {
    let reference = watchbell_image::Reference::parse(image).map_err(Failure::usage)?;
    let last = reference.path().rsplit('/').next().unwrap_or_default();
    let name: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(46)
        .collect();
    let name = name.trim_matches('-');
    Ok(if name.is_empty() { "job".into() } else { name.to_owned() })
}

fn manifest(args: &Args, name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Value, Failure> {
    if let Some(expression) = &args.schedule {
        let schedule = cron::Schedule::parse(expression)
            .map_err(|e| Failure::Usage(format!("--schedule {expression:?}: {e}")))?;
        let zone = cron::time_zone(args.time_zone.as_deref())
            .map_err(|e| Failure::Usage(format!("--time-zone: {e}")))?;
        if schedule.next_after(&zone, jiff::Timestamp::now()).is_none() {
            return Err(Failure::Usage(format!("--schedule {expression:?} never fires")));
        }
    }
    watchbell_image::Reference::parse(&args.image).map_err(Failure::usage)?;
    let labels = labels(&args.label)?;
    let mut metadata = json!({"name": name});
    let mut template = json!({"spec": pod(args, variable)?});
    if !labels.is_empty() {
        metadata["labels"] = labels.clone().into();
        template["metadata"] = json!({"labels": labels});
    }
    let spec = job_spec(args, template);
    let Some(schedule) = &args.schedule else {
        return Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}));
    };
    let mut cron_job = json!({"schedule": schedule});
    if let Some(zone) = &args.time_zone {
        cron_job["timeZone"] = zone.clone().into();
    }
    if let Some(policy) = args.concurrency_policy {
        cron_job["concurrencyPolicy"] = match policy {
            Concurrency::Allow => "Allow",
            Concurrency::Forbid => "Forbid",
            Concurrency::Replace => "Replace",
        }
        .into();
    }
    if let Some(deadline) = args.starting_deadline {
        cron_job["startingDeadlineSeconds"] = deadline.as_secs().into();
    }
    let mut job_template = json!({"spec": spec});
    if !labels.is_empty() {
        job_template["metadata"] = json!({"labels": labels});
    }
    cron_job["jobTemplate"] = job_template;
    Ok(json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": cron_job}))
}

fn labels(words: &[String]) -> Result<Map<String, Value>, Failure> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.into())),
            _ => Err(Failure::Usage(format!("--label {word:?} is not KEY=VALUE"))),
        })
        .collect()
}

fn job_spec(args: &Args, template: Value) -> Value {
    let mut spec = json!({});
    if let Some(count) = args.array {
        spec["completionMode"] = "Indexed".into();
        spec["completions"] = count.into();
        spec["parallelism"] = args.parallelism.unwrap_or(count.min(100)).into();
    } else if let Some(parallelism) = args.parallelism {
        spec["parallelism"] = parallelism.into();
    }
    for (field, value) in [
        ("backoffLimit", args.retries.map(u64::from)),
        ("backoffLimitPerIndex", args.retries_per_index.map(u64::from)),
        ("activeDeadlineSeconds", args.deadline.map(|d| d.as_secs())),
        ("ttlSecondsAfterFinished", args.ttl.map(|d| d.as_secs())),
    ] {
        if let Some(value) = value {
            spec[field] = value.into();
        }
    }
    spec["template"] = template;
    spec
}

fn pod(args: &Args, variable: impl Fn(&str) -> Option<String>) -> Result<Value, Failure> {
    let mut container = json!({"name": "task", "image": args.image});
    if let Some(pull) = args.pull {
        container["imagePullPolicy"] = match pull {
            Pull::Always => "Always",
            Pull::IfNotPresent => "IfNotPresent",
            Pull::Never => "Never",
        }
        .into();
    }
    if args.command && args.words.is_empty() {
        return Err(Failure::Usage("--command takes the command after the image".into()));
    }
    if !args.words.is_empty() {
        container[if args.command { "command" } else { "args" }] = json!(args.words);
    }
    if let Some(dir) = &args.workdir {
        container["workingDir"] = dir.clone().into();
    }
    let mut env = Vec::new();
    for word in &args.env {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = variable(word).ok_or_else(|| {
                    Failure::Usage(format!("--env {word}: this command has no such variable"))
                })?;
                (word.as_str(), value)
            }
        };
        if name.is_empty() {
            return Err(Failure::Usage(format!("--env {word:?} has no name")));
        }
        // `$(…)` would be expanded by Kubernetes' rules; what was typed is meant.
        env.push(json!({"name": name, "value": value.replace("$(", "$$(")}));
    }
    if !env.is_empty() {
        container["env"] = env.into();
    }
    let mut resources = Map::new();
    for (name, text) in [("cpu", &args.cpu), ("memory", &args.memory)] {
        if let Some(text) = text {
            text.parse::<watchbell_api::quantity::Quantity>()
                .map_err(|e| Failure::Usage(format!("--{name} {text:?}: {e}")))?;
            resources.insert(name.into(), text.clone().into());
        }
    }
    if !resources.is_empty() {
        // Requests that are left out are the limits.
        container["resources"] = json!({"limits": resources});
    }
    Ok(json!({"restartPolicy": "Never", "containers": [container]}))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::{manifest, stem};
    use crate::args::{Cli, Command};

    fn check(line: &str, expect: Result<Value, &str>) {
        let words = format!("watchbell run {line}");
        let cli = Cli::try_parse_from(words.split(' ')).expect("the line parses");
        let Command::Run(args) = cli.command else { panic!("not run") };
        let found =
            manifest(&args, "x", |name| (name == "HOME").then(|| "/root".into())).map_err(|e| e.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn a_line_becomes_a_manifest() {
        check(
            "busybox -- true",
            Ok(
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "task", "image": "busybox", "args": ["true"]}]}}}}),
            ),
        );
        check(
            "i:1 --array 5 --memory 64Mi -e A=$(b) -e HOME --retries-per-index 2 --command --pull never -- a b",
            Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {
            "completionMode": "Indexed", "completions": 5, "parallelism": 5, "backoffLimitPerIndex": 2,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{
                "name": "task", "image": "i:1", "imagePullPolicy": "Never", "command": ["a", "b"],
                "env": [{"name": "A", "value": "$$(b)"}, {"name": "HOME", "value": "/root"}],
                "resources": {"limits": {"memory": "64Mi"}},
            }]}}}})),
        );
        check(
            "busybox --array 1 sh -c --flag x",
            Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {
                    "completionMode": "Indexed", "completions": 1, "parallelism": 1, "template": {"spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "task", "image": "busybox", "args": ["sh", "-c", "--flag", "x"]}]}}}})),
        );
        check(
            "i --schedule @daily --time-zone Europe/Berlin --concurrency-policy forbid --deadline 1h -l a=b",
            Ok(
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {
                "schedule": "@daily", "timeZone": "Europe/Berlin", "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"activeDeadlineSeconds": 3600, "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "task", "image": "i"}]},
                    "metadata": {"labels": {"a": "b"}}}}, "metadata": {"labels": {"a": "b"}}}}}),
            ),
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("i -e NOPE", Err("--env NOPE: this command has no such variable"));
        check("i -e =x", Err("--env \"=x\" has no name"));
        check("i -l x", Err("--label \"x\" is not KEY=VALUE"));
        check("i --command", Err("--command takes the command after the image"));
        check(
            "i --schedule @never",
            Err(
                "--schedule \"@never\": unrecognized descriptor: \"@never\"; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION",
            ),
        );
    }

    #[test]
    fn names_come_from_images() {
        let check =
            |image: &str, expect: &str| assert_eq!(stem(image).map_err(|e| e.to_string()), Ok(expect.into()));
        check("busybox", "busybox");
        check("registry.example:5000/ml/my_train.er:v2", "my-train-er");
    }
}
