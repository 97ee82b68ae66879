use serde_json::{Map, Value};
use watchbell_api::Resource;

use crate::args::{Connect, Scope};
use crate::client::{Client, encode, path};
use crate::exit::{Failure, Refused};
use crate::job::{Progress, State};
use crate::{duration, output, target};

/// Shows an object in detail, with what happened to it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME…, TYPE/NAME…, or TYPE for all of the namespace
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    let mut objects: Vec<(Resource, Value)> = Vec::new();
    let mut refused = Refused::default();
    if let [word] = args.what.as_slice()
        && !word.contains('/')
    {
        let resource = target::resource(word)?;
        let mut list = client.get(&path(resource, &client.namespace, ""))?;
        if let Value::Array(items) = list["items"].take() {
            objects.extend(items.into_iter().map(|item| (resource, item)));
        }
        if objects.is_empty() {
            output::note(&format!("No resources found in namespace {}.", client.namespace));
        }
    } else {
        for target in target::all(&args.what)? {
            let asked = client.get(&path(target.resource, &client.namespace, &target.name));
            objects
                .extend(refused.but(asked.map_err(Failure::from))?.map(|object| (target.resource, object)));
        }
    }
    let now = jiff::Timestamp::now();
    for (i, (resource, object)) in objects.iter().enumerate() {
        if i > 0 {
            output::data("\n");
        }
        let events = events(&client, object)?;
        output::raw(page(*resource, object, &events, now).as_bytes());
        if output::is_lost() {
            break;
        }
    }
    refused.outcome()
}

fn events(client: &Client, object: &Value) -> Result<Vec<Value>, Failure> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let url = format!(
        "{}?limit=500&fieldSelector={}",
        path(Resource::Event, namespace, ""),
        encode(&format!("involvedObject.uid={uid}"))
    );
    let mut list = client.get(&url)?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

/// A page of `Key:  value` lines.
struct Page {
    text: String,
}

/// Keys of the head of a page are padded to this.
const KEY_WIDTH: usize = 31;

impl Page {
    fn line(&mut self, key: &str, value: &str) {
        let key = format!("{key}:");
        self.text.push_str(&format!("{key:KEY_WIDTH$}{}\n", output::plain(value)));
    }

    fn line_if(&mut self, key: &str, value: &Value) {
        let text = scalar(value);
        if !text.is_empty() {
            self.line(key, &text);
        }
    }

    /// A map, one entry a line.
    fn map(&mut self, key: &str, value: &Value) {
        let empty = Map::new();
        let map = value.as_object().unwrap_or(&empty);
        let mut entries = map.iter().map(|(k, v)| format!("{k}={}", scalar(v)));
        self.line(key, &entries.next().unwrap_or_else(|| "<none>".into()));
        for entry in entries {
            self.text.push_str(&format!("{:KEY_WIDTH$}{}\n", "", output::plain(&entry)));
        }
    }

    fn title(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Any value, as an indented tree.
    fn tree(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    self.branch(key, value, indent);
                }
            }
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Object(_) | Value::Array(_) => {
                            self.text.push_str(&format!("{:indent$}-\n", ""));
                            self.tree(item, indent + 2);
                        }
                        other => {
                            self.text.push_str(&format!(
                                "{:indent$}- {}\n",
                                "",
                                output::plain(&scalar(other))
                            ));
                        }
                    }
                }
            }
            other => self.text.push_str(&format!("{:indent$}{}\n", "", output::plain(&scalar(other)))),
        }
    }

    fn branch(&mut self, key: &str, value: &Value, indent: usize) {
        let key = output::plain(key);
        match value {
            Value::Object(map) if map.is_empty() => {
                self.text.push_str(&format!("{:indent$}{key}: {{}}\n", ""));
            }
            Value::Array(items) if items.is_empty() => {
                self.text.push_str(&format!("{:indent$}{key}: []\n", ""));
            }
            Value::Object(_) | Value::Array(_) => {
                self.text.push_str(&format!("{:indent$}{key}:\n", ""));
                self.tree(value, indent + 2);
            }
            Value::String(text) if text.contains('\n') => {
                self.text.push_str(&format!("{:indent$}{key}:\n", ""));
                for line in text.lines() {
                    self.text.push_str(&format!("{:1$}{2}\n", "", indent + 2, output::plain(line)));
                }
            }
            other => self.text.push_str(&format!("{:indent$}{key}: {}\n", "", output::plain(&scalar(other)))),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn page(resource: Resource, object: &Value, events: &[Value], now: jiff::Timestamp) -> String {
    let mut page = Page { text: String::new() };
    let metadata = &object["metadata"];
    page.line("Name", &scalar(&metadata["name"]));
    page.line_if("Namespace", &metadata["namespace"]);
    page.map("Labels", &metadata["labels"]);
    let mut annotations = metadata["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.shift_remove(crate::patch::LAST_APPLIED);
    }
    page.map("Annotations", &annotations);
    if let Some(owner) =
        metadata["ownerReferences"].as_array().into_iter().flatten().find(|o| o["controller"] == true)
    {
        page.line("Controlled By", &format!("{}/{}", scalar(&owner["kind"]), scalar(&owner["name"])));
    }
    page.line_if("Created", &metadata["creationTimestamp"]);
    page.line_if("Being Deleted Since", &metadata["deletionTimestamp"]);
    match resource {
        Resource::Job => job(&mut page, object),
        Resource::CronJob => cron_job(&mut page, object),
        Resource::Pod => pod(&mut page, object),
        Resource::Secret => secret(&mut page, object),
        _ => {
            for (key, value) in object.as_object().into_iter().flatten() {
                if !["apiVersion", "kind", "metadata"].contains(&key.as_str()) {
                    page.branch(key, value, 0);
                }
            }
        }
    }
    show_events(&mut page, events, now);
    page.text
}

fn job(page: &mut Page, object: &Value) {
    let (spec, status) = (&object["spec"], &object["status"]);
    page.line_if("Completion Mode", &spec["completionMode"]);
    page.line_if("Parallelism", &spec["parallelism"]);
    page.line_if("Completions", &spec["completions"]);
    for (key, field) in [
        ("Backoff Limit", "backoffLimit"),
        ("Backoff Limit Per Index", "backoffLimitPerIndex"),
        ("Max Failed Indexes", "maxFailedIndexes"),
        ("Suspend", "suspend"),
        ("TTL Seconds After Finished", "ttlSecondsAfterFinished"),
        ("Active Deadline Seconds", "activeDeadlineSeconds"),
    ] {
        page.line_if(key, &spec[field]);
    }
    page.line_if("Started", &status["startTime"]);
    page.line_if("Completed", &status["completionTime"]);
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    page.line(
        "Pods",
        &format!(
            "{} active ({} ready), {} succeeded, {} failed",
            number("active"),
            number("ready"),
            number("succeeded"),
            number("failed")
        ),
    );
    page.line_if("Completed Indexes", &status["completedIndexes"]);
    page.line_if("Failed Indexes", &status["failedIndexes"]);
    if let Ok(progress) = Progress::of(object) {
        let state = match progress.state {
            State::Running => "Running".to_owned(),
            State::Suspended => "Suspended".to_owned(),
            State::Complete => "Complete".to_owned(),
            State::Failed { reason, message } => format!("Failed: {reason}: {message}"),
        };
        page.line("State", &state);
    }
    for policy in ["podFailurePolicy", "successPolicy"] {
        if !spec[policy].is_null() {
            page.branch(policy, &spec[policy], 0);
        }
    }
    template(page, &spec["template"]);
    conditions(page, status);
}

fn cron_job(page: &mut Page, object: &Value) {
    let (spec, status) = (&object["spec"], &object["status"]);
    page.line_if("Schedule", &spec["schedule"]);
    page.line_if("Time Zone", &spec["timeZone"]);
    page.line_if("Concurrency Policy", &spec["concurrencyPolicy"]);
    page.line_if("Suspend", &spec["suspend"]);
    page.line_if("Starting Deadline Seconds", &spec["startingDeadlineSeconds"]);
    page.line_if("Successful Job History Limit", &spec["successfulJobsHistoryLimit"]);
    page.line_if("Failed Job History Limit", &spec["failedJobsHistoryLimit"]);
    let never = |value: &Value| if value.is_null() { "<never>".to_owned() } else { scalar(value) };
    page.line("Last Schedule", &never(&status["lastScheduleTime"]));
    page.line("Last Success", &never(&status["lastSuccessfulTime"]));
    let active: Vec<String> =
        status["active"].as_array().into_iter().flatten().map(|job| scalar(&job["name"])).collect();
    page.line(
        "Active Jobs",
        if active.is_empty() { "<none>".to_owned() } else { active.join(", ") }.as_str(),
    );
    let job = &spec["jobTemplate"]["spec"];
    page.line_if("Completions", &job["completions"]);
    page.line_if("Parallelism", &job["parallelism"]);
    template(page, &job["template"]);
}

fn template(page: &mut Page, template: &Value) {
    page.title("Pod Template:");
    for field in ["labels", "annotations"] {
        if !template["metadata"][field].is_null() {
            page.branch(field, &template["metadata"][field], 2);
        }
    }
    page.tree(&template["spec"], 2);
}

fn pod(page: &mut Page, object: &Value) {
    let (spec, status) = (&object["spec"], &object["status"]);
    page.line_if("Node", &spec["nodeName"]);
    page.line_if("Started", &status["startTime"]);
    page.line_if("Status", &status["phase"]);
    page.line_if("Reason", &status["reason"]);
    page.line_if("Message", &status["message"]);
    for (title, list, statuses) in [
        ("Init Containers:", "initContainers", "initContainerStatuses"),
        ("Containers:", "containers", "containerStatuses"),
    ] {
        let Some(containers) = spec[list].as_array().filter(|c| !c.is_empty()) else { continue };
        page.title(title);
        for container in containers {
            page.title(&format!("  {}:", output::plain(&scalar(&container["name"]))));
            let told =
                status[statuses].as_array().into_iter().flatten().find(|s| s["name"] == container["name"]);
            if let Some(told) = told {
                for (key, field) in [
                    ("Container ID", "containerID"),
                    ("Image ID", "imageID"),
                    ("Ready", "ready"),
                    ("Restart Count", "restartCount"),
                    ("State", "state"),
                    ("Last State", "lastState"),
                ] {
                    if !told[field].is_null() && told[field].as_object().is_none_or(|m| !m.is_empty()) {
                        page.branch(key, &told[field], 4);
                    }
                }
            }
            let mut rest = container.clone();
            if let Some(fields) = rest.as_object_mut() {
                fields.shift_remove("name");
            }
            page.tree(&rest, 4);
        }
    }
    if !spec["volumes"].is_null() {
        page.branch("Volumes", &spec["volumes"], 0);
    }
    conditions(page, status);
}

/// Never the values.
fn secret(page: &mut Page, object: &Value) {
    page.line_if("Type", &object["type"]);
    page.title("Data:");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let encoded = value.as_str().unwrap_or_default();
        let bytes = encoded.trim_end_matches('=').len() * 3 / 4;
        page.title(&format!("  {}: {bytes} bytes", output::plain(key)));
    }
}

fn conditions(page: &mut Page, status: &Value) {
    let list = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return;
    }
    page.title("Conditions:");
    for condition in list {
        let mut line = format!("  {}={}", scalar(&condition["type"]), scalar(&condition["status"]));
        for field in ["reason", "message"] {
            let text = scalar(&condition[field]);
            if !text.is_empty() {
                line.push_str(&format!("  {text}"));
            }
        }
        page.title(&output::plain(&line));
    }
}

fn show_events(page: &mut Page, events: &[Value], now: jiff::Timestamp) {
    if events.is_empty() {
        page.line("Events", "<none>");
        return;
    }
    page.title("Events:");
    let last_seen = |event: &Value| {
        ["lastTimestamp", "eventTime", "firstTimestamp"]
            .iter()
            .find_map(|field| event[*field].as_str().map(str::to_owned))
    };
    let mut sorted: Vec<&Value> = events.iter().collect();
    sorted.sort_by_key(|event| last_seen(event));
    for event in sorted {
        let age = last_seen(event)
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map(|at| duration::short(u64::try_from(now.as_second() - at.as_second()).unwrap_or(0)));
        let count =
            event["count"].as_u64().filter(|n| *n > 1).map(|n| format!(" (x{n})")).unwrap_or_default();
        page.title(&output::plain(&format!(
            "  {:8} {:20} {:>6}{count}  {}",
            scalar(&event["type"]),
            scalar(&event["reason"]),
            age.unwrap_or_default(),
            scalar(&event["message"])
        )));
    }
}
