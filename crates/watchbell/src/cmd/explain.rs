use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::args::{Connect, Output, Scope};
use crate::client::{self, Client};
use crate::exit::Failure;
use crate::manifest::{self, Document, Recursive};
use crate::output::{self, Format};
use crate::target;

/// Tells what something is made of before it happens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    #[command(name = "cronjob")]
    CronJob(CronJob),
    Job(Job),
    Pod(Pod),
    Sandbox(Sandbox),
}

/// Prints what holds a CronJob: the policies of images that apply, since when and by which advisory they refuse it, and which
/// slot did not start of late
#[derive(Debug, clap::Args)]
struct CronJob {
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    scope: Scope,
}

/// Prints what each index of a Job gets of the data arrays that it uses: the elements along each dimension, and how many chunks
#[derive(Debug, clap::Args)]
struct Job {
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    scope: Scope,
}

/// Prints what admission makes of a pod: who gave it which field and why, the level it is judged by, and what to do where it
/// is refused
#[derive(Debug, clap::Args)]
struct Pod {
    /// A pod that is there
    #[arg(value_name = "POD", required_unless_present = "file", conflicts_with = "file")]
    pod: Option<String>,
    /// Manifests of Pods, Jobs or CronJobs that need not be there: they are judged as if they were created, and are not
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fields that the manifest says, too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    scope: Scope,
}

/// Prints the steps that start a pod's containers, what each closes, and which values apply
///
/// The plan is the one that is carried out, not a description of it. The numbers are those of docs/attacks.md.
#[derive(Debug, clap::Args)]
struct Sandbox {
    /// A pod, or one of its containers
    #[arg(value_name = "POD[/CONTAINER]", required_unless_present = "file", conflicts_with = "file")]
    pod: Option<String>,
    /// Manifests of Pods, Jobs or CronJobs that need not be there: they are judged as if they were created, and are not
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    scope: Scope,
}

impl Args {
    pub(crate) fn scope(&self) -> &Scope {
        match &self.what {
            What::CronJob(cron) => &cron.scope,
            What::Job(job) => &job.scope,
            What::Pod(pod) => &pod.scope,
            What::Sandbox(sandbox) => &sandbox.scope,
        }
    }
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    match &args.what {
        What::CronJob(args) => cronjob(args, &client),
        What::Job(args) => job(args, &client),
        What::Pod(args) => pod(args, &client),
        What::Sandbox(args) => sandbox(args, &client),
    }
}

fn job(args: &Job, client: &Client) -> Result<(), Failure> {
    let name = target::one_of(std::slice::from_ref(&args.name), Resource::Job)?;
    let told = client.get(&format!("{}/admission", client::path(Resource::Job, &client.namespace, &name)))?;
    match args.output.output {
        None | Some(Format::Wide) => output::raw(job_text(&told).as_bytes()),
        Some(format) => output::whole(&told, format)?,
    }
    match told["arrays"].as_array().into_iter().flatten().any(|array| array["problem"].is_string()) {
        true => Err(Failure::Found),
        false => Ok(()),
    }
}

fn job_text(told: &Value) -> String {
    let word = |value: &Value| output::plain(value.as_str().unwrap_or_default());
    let (of, name) = (word(&told["metadata"]["namespace"]), word(&told["metadata"]["name"]));
    let arrays = told["arrays"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = format!("Job {of}/{name}\n");
    if arrays.is_empty() {
        text.push_str("  uses no data array\n");
    }
    arrays.iter().for_each(|array| array_text(&mut text, array));
    text
}

/// One use of an array: `  0  time [0, 3)  1 chunk`.
fn array_text(text: &mut String, array: &Value) {
    let word = |value: &Value| output::plain(value.as_str().unwrap_or_default());
    let _ = write!(
        text,
        "  array {}, mode {}, at {}",
        word(&array["name"]),
        word(&array["mode"]),
        word(&array["mount"])
    );
    if let Some(head) = array["head"].as_str() {
        let _ = write!(text, ", head {}", output::plain(head.get(..12).unwrap_or(head)));
    }
    text.push('\n');
    if array["problem"].is_string() {
        let _ = writeln!(text, "    no plan: {}", word(&array["problem"]));
    }
    let variables: Vec<String> = array["variables"].as_array().into_iter().flatten().map(word).collect();
    if !variables.is_empty() {
        let _ = writeln!(text, "    variables: {}", variables.join(", "));
    }
    let indices = array["indices"].as_array().map(Vec::as_slice).unwrap_or_default();
    for index in indices {
        let elements: Vec<String> = index["elements"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|range| format!("{} [{}, {})", word(&range["dimension"]), range["start"], range["stop"]))
            .collect();
        let chunks = if index["chunks"] == 1 { "chunk" } else { "chunks" };
        let _ =
            writeln!(text, "    {:>5}  {}  {} {chunks}", index["index"], elements.join(" "), index["chunks"]);
    }
    let more = array["completions"].as_u64().unwrap_or(0).saturating_sub(indices.len() as u64);
    if indices.len() > 1 && more > 0 {
        let _ = writeln!(text, "    and {more} more");
    }
}

fn cronjob(args: &CronJob, client: &Client) -> Result<(), Failure> {
    let name = target::one_of(std::slice::from_ref(&args.name), Resource::CronJob)?;
    let told =
        client.get(&format!("{}/admission", client::path(Resource::CronJob, &client.namespace, &name)))?;
    match args.output.output {
        None | Some(Format::Wide) => output::raw(cronjob_text(&told).as_bytes()),
        Some(format) => output::whole(&told, format)?,
    }
    match told["isHeld"] == true {
        true => Err(Failure::Found),
        false => Ok(()),
    }
}

fn cronjob_text(told: &Value) -> String {
    let word = |value: &Value| output::printable(value.as_str().unwrap_or_default());
    let list = |value: &Value| {
        let words: Vec<String> = value.as_array().into_iter().flatten().map(word).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    let mut text =
        format!("CronJob {}/{}\n", word(&told["metadata"]["namespace"]), word(&told["metadata"]["name"]));
    for image in told["images"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "  image      {} (container {})",
            word(&image["image"]),
            word(&image["container"])
        );
    }
    let _ = writeln!(text, "  policies   {}", list(&told["policies"]));
    let held = &told["held"];
    if held.is_object() {
        let _ = writeln!(text, "  held       since {}", word(&held["since"]));
        let _ = writeln!(text, "  by         {}", list(&held["advisories"]));
        let _ = writeln!(text, "  because    {}", word(&held["why"]));
    } else {
        text.push_str("  held       no\n");
    }
    let skip = &told["lastSkip"];
    if skip.is_object() {
        let _ = writeln!(text, "  last skip  slot {}: {}", word(&skip["slot"]), word(&skip["reason"]));
    }
    text
}

fn pod(args: &Pod, client: &Client) -> Result<(), Failure> {
    let list = match (&args.pod, &args.file) {
        (Some(pod), _) => {
            let name = target::one_of(std::slice::from_ref(pod), Resource::Pod)?;
            vec![client.get(&path(&client.namespace, &name, "admission"))?]
        }
        (None, Some(file)) => of_manifests(client, file, "admission")?,
        (None, None) => Vec::new(),
    };
    for told in &list {
        match args.output.output {
            None | Some(Format::Wide) => output::raw(admission_text(told, args.all).as_bytes()),
            Some(format) => output::whole(told, format)?,
        }
    }
    match list.iter().all(|told| told["isAdmitted"] == true) {
        true => Ok(()),
        false => Err(Failure::Found),
    }
}

/// Of each pod that the manifests of a file describe.
fn of_manifests(client: &Client, file: &PathBuf, subresource: &str) -> Result<Vec<Value>, Failure> {
    let documents = manifest::read_all(std::slice::from_ref(file), Recursive::No)?;
    let mut told = Vec::new();
    for document in documents {
        if let Some((path, pod)) = pod_of(client, document, subresource) {
            told.push(client.post(&path, &pod)?);
        }
    }
    if told.is_empty() {
        let why = format!("{}: nothing in it starts a container: no Pod, Job or CronJob", file.display());
        return Err(Failure::Usage(why));
    }
    Ok(told)
}

fn sandbox(args: &Sandbox, client: &Client) -> Result<(), Failure> {
    let plans = match (&args.pod, &args.file) {
        (Some(pod), _) => {
            let (pod, container) = match pod.split_once('/') {
                Some((pod, container)) => (pod, Some(container)),
                None => (pod.as_str(), None),
            };
            let name = target::one_of(&[pod.to_owned()], Resource::Pod)?;
            let mut plan = client.get(&path(&client.namespace, &name, "sandbox"))?;
            if let Some(container) = container {
                choose(&mut plan, container)?;
            }
            vec![plan]
        }
        (None, Some(file)) => of_manifests(client, file, "sandbox")?,
        (None, None) => Vec::new(),
    };
    for plan in &plans {
        match args.output.output {
            None | Some(Format::Wide) => output::raw(text(plan).as_bytes()),
            Some(format) => output::whole(plan, format)?,
        }
    }
    Ok(())
}

fn path(namespace: &str, name: &str, subresource: &str) -> String {
    format!("{}/{subresource}", client::path(Resource::Pod, namespace, name))
}

/// Leaves one container.
fn choose(plan: &mut Value, name: &str) -> Result<(), Failure> {
    let Some(containers) = plan["containers"].as_array_mut() else { return Ok(()) };
    let known: Vec<String> =
        containers.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect();
    containers.retain(|container| container["name"] == name);
    if containers.is_empty() {
        return Err(Failure::Refused(format!(
            "the pod has no container {name:?}; it has {}",
            known.join(", ")
        )));
    }
    Ok(())
}

/// A pod as a manifest would make it, and its path; `None` of what starts no container, such as the ConfigMap beside a Job.
fn pod_of(client: &Client, document: Document, subresource: &str) -> Option<(String, Value)> {
    let Document { resource, name, namespace, object, .. } = document;
    let template = match resource {
        Resource::Pod => &object,
        Resource::Job => &object["spec"]["template"],
        Resource::CronJob => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    let namespace = if namespace.is_empty() { client.namespace.clone() } else { namespace };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
        },
    });
    Some((path(&namespace, &name, subresource), pod))
}

fn admission_text(told: &Value, all: bool) -> String {
    let word = |value: &Value| output::plain(value.as_str().unwrap_or_default());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let namespace = &told["namespace"];
    let mut text = String::new();
    let verdict = if told["isAdmitted"] == true { "admitted" } else { "refused" };
    let (of, name) = (word(&told["metadata"]["namespace"]), word(&told["metadata"]["name"]));
    let _ = writeln!(text, "pod {of}/{name}: {verdict}");
    let _ = match namespace["enforce"].as_str() {
        Some("strict") => writeln!(
            text,
            "  namespace: no Pod Security level, so what is unsaid is strict; judged by {}",
            word(&namespace["judgedBy"])
        ),
        _ => writeln!(text, "  namespace: judged by {}, nothing is filled in", word(&namespace["judgedBy"])),
    };
    for refusal in list(&told["refusals"]) {
        let _ = writeln!(text, "  refused: {}", word(&refusal));
    }
    let judged = [
        ("refused", "violations", "judgedBy"),
        ("would warn", "wouldWarn", "warn"),
        ("would note", "wouldNote", "audit"),
    ];
    for (what, field, level) in judged {
        for violation in list(&told[field]) {
            let fields: Vec<String> = list(&violation["fields"]).iter().map(word).collect();
            let _ = writeln!(
                text,
                "  {what}, {}: {} ({})\n    at {}\n    because {}\n    way out: {}",
                word(&namespace[level]),
                word(&violation["reason"]),
                word(&violation["detail"]),
                fields.join(", "),
                word(&violation["why"]),
                word(&violation["wayOut"])
            );
        }
    }
    list(&told["arrays"]).iter().for_each(|array| array_text(&mut text, array));
    let fields = list(&told["fields"]);
    let is_told = |from: &str| all || !(from.contains("manifest") || from.starts_with("template of"));
    let mut givers: Vec<String> = Vec::new();
    for field in &fields {
        let from = word(&field["from"]);
        if is_told(&from) && !givers.contains(&from) {
            givers.push(from);
        }
    }
    for giver in givers {
        let given: Vec<&Value> = fields.iter().filter(|field| word(&field["from"]) == giver).collect();
        let why = given.first().map(|field| word(&field["why"])).unwrap_or_default();
        let _ = writeln!(text, "  from {giver}: {why}");
        for field in given {
            let _ = writeln!(
                text,
                "    {} = {}",
                word(&field["path"]),
                output::plain(&field["value"].to_string())
            );
        }
    }
    text
}

fn text(plan: &Value) -> String {
    let word = |value: &Value| output::plain(value.as_str().unwrap_or_default());
    let mut text = String::new();
    for container in plan["containers"].as_array().into_iter().flatten() {
        let kind = if container["isInit"] == true { "init container" } else { "container" };
        let (namespace, pod) = (word(&plan["metadata"]["namespace"]), word(&plan["metadata"]["name"]));
        let _ = writeln!(
            text,
            "pod {namespace}/{pod}, {kind} {}, image {}",
            word(&container["name"]),
            word(&container["image"])
        );
        if let Some(problem) = container["problem"].as_str() {
            let _ = writeln!(text, "  cannot be told: {}\n", output::plain(problem));
            continue;
        }
        for (name, value) in values(&container["values"]) {
            let _ = writeln!(text, "  {name:<16} {}", output::plain(&value));
        }
        text.push('\n');
        for (number, step) in container["steps"].as_array().into_iter().flatten().enumerate() {
            let _ = writeln!(text, "{:>3}  {}", number + 1, word(&step["step"]));
            let _ = write!(text, "     closes: {}", word(&step["closes"]));
            let attacks: Vec<String> =
                step["attacks"].as_array().into_iter().flatten().map(ToString::to_string).collect();
            if !attacks.is_empty() {
                let _ = write!(text, " [{}]", attacks.join(", "));
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// The values as a person reads them.
fn values(values: &Value) -> Vec<(&'static str, String)> {
    let number = |value: &Value| value.as_u64().map(|n| n.to_string());
    let list = |value: &Value| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        words.join(", ")
    };
    let ids = &values["hostIds"];
    let host = match number(&ids["first"]) {
        Some(first) => format!(
            "{} of its own, in one of {} ranges from {first} on, leased at the start",
            ids["rangeLength"], ids["ranges"]
        ),
        None => "the host's".to_owned(),
    };
    let limits = &values["limits"];
    let cpu = match number(&limits["cpuQuotaUs"]) {
        Some(quota) => format!("{quota} of each {} µs", limits["cpuPeriodUs"]),
        None => "what is free".to_owned(),
    };
    let unlimited = |value: &Value| number(value).unwrap_or_else(|| "as its pod's".to_owned());
    let profile = if values["hasSeccompProfile"] == true { ", and a profile above it" } else { "" };
    let mut lines = vec![
        ("user", format!("{}, group {}", values["runAsUser"], values["runAsGroup"])),
        ("host ids", host),
        ("capabilities", values["capabilities"].as_str().unwrap_or_default().to_owned()),
        ("no new privs", values["noNewPrivileges"].to_string()),
        ("seccomp", format!("{}{profile}", values["seccomp"].as_str().unwrap_or_default())),
        ("procMount", values["procMount"].as_str().unwrap_or_default().to_owned()),
        (
            "root",
            match number(&values["writableBytes"]) {
                Some(bytes) => format!("writable, {bytes} bytes in memory"),
                None => "read-only".to_owned(),
            },
        ),
        ("memory", format!("{} bytes, swap off", unlimited(&limits["memoryBytes"]))),
        ("processor", format!("{cpu}; weight {}", unlimited(&limits["cpuWeight"]))),
        ("processes", unlimited(&limits["pids"])),
        ("oom_score_adj", values["oomScoreAdj"].to_string()),
    ];
    if values["privileged"] == true {
        lines.push(("privileged", "every capability, no filter, nothing covered".to_owned()));
    }
    if let Some(bytes) = number(&values["tmpBytes"]) {
        lines.push(("/tmp", format!("{bytes} bytes in memory")));
    }
    for (name, field) in [("host namespaces", "hostNamespaces"), ("devices", "devices")] {
        let words = list(&values[field]);
        if !words.is_empty() {
            lines.push((name, words));
        }
    }
    if let Some(runtime) = values["runtime"].as_str() {
        lines.push(("runtime", format!("{runtime} starts it; the steps are this program's own")));
    }
    for mount in values["mounts"].as_array().into_iter().flatten() {
        let mode = if mount["readOnly"] == true { "read-only" } else { "writable" };
        let (target, source) = (mount["target"].as_str(), mount["source"].as_str());
        lines.push((
            "mount",
            format!("{}: {}, {mode}", target.unwrap_or_default(), source.unwrap_or_default()),
        ));
    }
    lines
}
