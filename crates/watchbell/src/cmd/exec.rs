use serde_json::Value;
use watchbell_api::Resource;

use crate::args::{Connect, Scope};
use crate::client::{Client, encode, path};
use crate::exit::Failure;
use crate::session::{self, Streams};
use crate::{output, target};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Runs a command in a container that runs; ends with the command's own exit code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Pass standard input on to the command
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

/// The container that is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// POD, pod/NAME, or job/NAME for a running pod of a Job
    #[arg(required = true, value_name = "POD|job/NAME")]
    what: Vec<String>,
    /// The pod of this index of the Job
    #[arg(long, value_name = "INDEX")]
    index: Option<u32>,
    /// This container; else the pod's first
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    let base = args.which.path(&client, "exec")?;
    let streams = Streams::of(args.stdin, args.tty);
    let words: String = args.command.iter().map(|word| format!("&command={}", encode(word))).collect();
    session::hold(&client.door()?, &format!("{base}&{}{words}", streams.query()), streams)
}

impl Which {
    /// The path of a subresource of the pod, with the container in its query.
    pub(crate) fn path(&self, client: &Client, sub: &str) -> Result<String, Failure> {
        let pod = self.pod(client)?;
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let container = match &self.container {
            Some(container) => container.clone(),
            None => default_container(&pod)?,
        };
        let path = path(Resource::Pod, &client.namespace, name);
        Ok(format!("{path}/{sub}?container={}", encode(&container)))
    }

    fn pod(&self, client: &Client) -> Result<Value, Failure> {
        let named = target::one(&self.what, Resource::Pod)?;
        match named.resource {
            Resource::Pod if self.index.is_some() => {
                Err(Failure::Usage("--index is for the pods of a Job: name job/NAME".into()))
            }
            Resource::Pod => Ok(client.get(&path(Resource::Pod, &client.namespace, &named.name))?),
            Resource::Job => self.pod_of_job(client, &named.name),
            other => {
                Err(Failure::Usage(format!("a {} has no containers: name a pod or a Job", other.info().kind)))
            }
        }
    }

    /// The first running pod of a Job, or of one of its indexes.
    fn pod_of_job(&self, client: &Client, job: &str) -> Result<Value, Failure> {
        client.get(&path(Resource::Job, &client.namespace, job))?;
        let selector = encode(&format!("batch.kubernetes.io/job-name={job}"));
        let pods = path(Resource::Pod, &client.namespace, "");
        let running = encode("status.phase=Running");
        let list = client.get(&format!("{pods}?labelSelector={selector}&fieldSelector={running}"))?;
        let is_meant = |pod: &&Value| {
            let index = &pod["metadata"]["annotations"][INDEX];
            self.index.is_none_or(|wanted| index.as_str() == Some(wanted.to_string().as_str()))
        };
        list["items"].as_array().into_iter().flatten().find(is_meant).cloned().ok_or_else(|| {
            Failure::Refused(match self.index {
                Some(index) => format!("no pod of index {index} of job {job} is running"),
                None => format!("no pod of job {job} is running"),
            })
        })
    }
}

/// The container of a pod when none is named, as kubectl chooses it and says so.
fn default_container(pod: &Value) -> Result<String, Failure> {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = pod["spec"]["containers"].as_array().into_iter().flatten().map(name).collect();
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    match (annotated, names.as_slice()) {
        (Some(container), _) if names.iter().any(|n| n == container) => Ok(container.to_owned()),
        (_, [only]) => Ok(only.clone()),
        (_, [first, ..]) => {
            output::note(&format!("Defaulted container {first:?} out of: {}", names.join(", ")));
            Ok(first.clone())
        }
        (_, []) => Err(Failure::Unreachable(format!(
            "the server sent pod {} without containers",
            name(&pod["metadata"])
        ))),
    }
}
