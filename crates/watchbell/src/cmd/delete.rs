use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::args::{Connect, Output, Scope};
use crate::client::{Client, encode, path};
use crate::exit::Failure;
use crate::manifest::{self, Recursive};
use crate::output::{self, Format};
use crate::target;

/// Deletes objects, and waits until they are gone
///
/// When some are refused, or not there, the others are still deleted, and the command fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME… or TYPE/NAME…; with --selector or --all just TYPE
    what: Vec<String>,
    /// The objects of these manifests (a file, a directory, or - for standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with = "what")]
    filename: Vec<PathBuf>,
    /// Those with these labels
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "filename")]
    selector: Option<String>,
    /// All of the type in the namespace
    #[arg(long, conflicts_with_all = ["filename", "selector"])]
    all: bool,
    /// What becomes of what the object owns: background, foreground, or orphan
    #[arg(long, value_name = "HOW", default_value = "background")]
    cascade: Cascade,
    /// Seconds that pods get to end by themselves
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
    /// Succeed also when the object is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Whether to wait until the objects are gone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = crate::duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Cascade {
    Background,
    Foreground,
    Orphan,
}

impl Cascade {
    fn policy(self) -> &'static str {
        match self {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        }
    }
}

/// One object to delete.
struct Doomed {
    resource: Resource,
    namespace: String,
    name: String,
}

impl Doomed {
    fn shown(&self) -> String {
        let info = self.resource.info();
        output::name(&json!({
            "apiVersion": info.api_version(), "kind": info.kind, "metadata": {"name": self.name},
        }))
    }
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let is_by_selector = args.all || args.selector.is_some();
    if args.what.is_empty() && args.filename.is_empty() {
        return Err(Failure::Usage("name what to delete: TYPE/NAME, or -f FILE".into()));
    }
    // Everything is read before anything is deleted.
    let named = if is_by_selector {
        let [word] = args.what.as_slice() else {
            return Err(Failure::Usage("--selector and --all take one TYPE and no names".into()));
        };
        target::resource(word)?;
        Vec::new()
    } else if args.filename.is_empty() {
        target::all(&args.what)?
    } else {
        Vec::new()
    };
    let documents = if args.filename.is_empty() {
        Vec::new()
    } else {
        manifest::read_all(&args.filename, Recursive::No)?
    };
    // The path of an object without a name is that of all of them.
    if let Some(nameless) = documents.iter().find(|document| document.name.is_empty()) {
        return Err(Failure::Usage(format!(
            "{}: metadata.name: Required value: an object with a generated name is deleted by the name it got",
            nameless.place
        )));
    }
    let client = connect.client()?;
    let here = client.namespace.clone();
    let mut doomed: Vec<Doomed> = named
        .into_iter()
        .map(|t| Doomed { resource: t.resource, namespace: here.clone(), name: t.name })
        .collect();
    // In reverse: what was made last goes first, and a namespace after what is in it.
    doomed.extend(documents.into_iter().rev().map(|d| Doomed {
        resource: d.resource,
        namespace: if d.namespace.is_empty() { here.clone() } else { d.namespace },
        name: d.name,
    }));
    if is_by_selector {
        doomed = matching(&client, target::resource(&args.what[0])?, args.selector.as_deref())?;
        if doomed.is_empty() {
            output::note("No resources found.");
        }
    }
    let mut waiting = Vec::new();
    let mut refused = Vec::new();
    for object in &doomed {
        match delete(&client, args, object) {
            Ok(Some(uid)) => waiting.push((object, uid)),
            Ok(None) => {}
            Err(Failure::Refused(message)) if doomed.len() > 1 => {
                output::note(&format!("error: {message}"));
                refused.push(object.shown());
            }
            // Without a server the rest would fail the same way.
            Err(failure) => return Err(failure),
        }
    }
    if args.wait {
        let deadline = Instant::now() + args.timeout;
        for (object, uid) in waiting {
            until_gone(&client, object, &uid, deadline)?;
        }
    }
    match refused.len() {
        0 => Ok(()),
        n => Err(Failure::Refused(format!(
            "{n} of {} objects were not deleted: {}",
            doomed.len(),
            refused.join(", ")
        ))),
    }
}

fn matching(client: &Client, resource: Resource, selector: Option<&str>) -> Result<Vec<Doomed>, Failure> {
    let mut url = format!("{}?limit=0", path(resource, &client.namespace, ""));
    if let Some(selector) = selector {
        url.push_str(&format!("&labelSelector={}", encode(selector)));
    }
    let list = client.get(&url)?;
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| Doomed {
            resource,
            namespace: client.namespace.clone(),
            name: item["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        })
        .collect())
}

/// The uid of what was deleted, when it may still be there.
fn delete(client: &Client, args: &Args, object: &Doomed) -> Result<Option<String>, Failure> {
    let place = path(object.resource, &object.namespace, &object.name);
    let mut options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": args.cascade.policy()});
    if let Some(seconds) = args.grace_period {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let answer = match client.delete(&place, &options) {
        Err(error) if error.is_not_found() && args.ignore_not_found => return Ok(None),
        other => other?,
    };
    match args.output.output {
        None => output::data(&format!("{} deleted", object.shown())),
        Some(Format::Name) => output::data(&object.shown()),
        Some(format) => output::object(&answer, format)?,
    }
    // A `Status` names the object in its details; an object that lives on (a grace period, finalizers) is answered itself.
    let uid = [&answer["metadata"]["uid"], &answer["details"]["uid"]].into_iter().find_map(Value::as_str);
    Ok(Some(uid.unwrap_or_default().to_owned()))
}

/// Looks until the object is gone, or another one has its name.
fn until_gone(client: &Client, object: &Doomed, uid: &str, deadline: Instant) -> Result<(), Failure> {
    let place = path(object.resource, &object.namespace, &object.name);
    let mut pause = Duration::from_millis(10);
    loop {
        match client.get(&place) {
            Err(error) if error.is_not_found() => return Ok(()),
            Ok(found) if !uid.is_empty() && found["metadata"]["uid"] != uid => return Ok(()),
            other => other?,
        };
        if Instant::now() >= deadline {
            return Err(Failure::Refused(format!(
                "{} {} is being deleted and is still there; see what holds it with `watchbell describe {}/{}`",
                object.resource.info().singular,
                object.name,
                object.resource.info().singular,
                object.name
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
