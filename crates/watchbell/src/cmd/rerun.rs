use serde_json::json;
use watchbell_api::Resource;

use super::follow::Unpullable;
use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::{output, target};

/// Runs a finished Job again, whole or only the indexes that did not succeed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JOB or job/NAME
    #[arg(required = true, value_name = "JOB")]
    job: Vec<String>,
    /// Only the indexes that did not succeed
    #[arg(long)]
    failed: bool,
    /// The new Job's name; else the old one's with five characters more
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the new Job instead of creating it
    #[arg(long)]
    dry_run: bool,
    /// Then follow it to its end
    #[arg(short, long, conflicts_with = "dry_run")]
    follow: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let old_name = target::one_of(&args.job, Resource::Job)?;
    let client = connect.client()?;
    let dry_run = if args.dry_run { "&dryRun=All" } else { "" };
    let url = format!(
        "{}/rerun?fieldManager=watchbell{dry_run}",
        path(Resource::Job, &client.namespace, &old_name)
    );
    let wanted = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "Rerun", "jobName": args.name.as_deref().unwrap_or_default(),
        "indexes": if args.failed { "Failed" } else { "All" },
    });
    let made = client.post(&url, &wanted)?;
    if args.dry_run {
        return output::object(&made, args.output.output.unwrap_or(output::Format::Yaml));
    }
    output::done(&made, "created", args.output.output)?;
    if !args.follow {
        return Ok(());
    }
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    super::follow::follow(&client, name, None, Unpullable::Ends)
}
