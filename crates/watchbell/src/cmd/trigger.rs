use serde_json::json;
use watchbell_api::Resource;

use super::follow::Unpullable;
use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::{output, target};

/// Starts a CronJob's Job now, beside its schedule
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CRONJOB or cronjob/NAME
    #[arg(required = true, value_name = "CRONJOB")]
    cron_job: Vec<String>,
    /// The new Job's name; else the CronJob's with five characters more
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Then follow it to its end
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let cron_job = target::one_of(&args.cron_job, Resource::CronJob)?;
    let client = connect.client()?;
    // The server makes the Job: whoever may trigger need not be one who may create.
    let url =
        format!("{}/trigger?fieldManager=watchbell", path(Resource::CronJob, &client.namespace, &cron_job));
    let wanted = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "Trigger", "jobName": args.name.as_deref().unwrap_or_default(),
    });
    let made = client.post(&url, &wanted)?;
    output::done(&made, "created", args.output.output)?;
    if !args.follow {
        return Ok(());
    }
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    super::follow::follow(&client, name, None, Unpullable::Ends)
}
