use serde_json::json;
use watchbell_api::Resource;

use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::{output, target};

/// Lets a CronJob start nothing until it is resumed; what runs goes on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CRONJOB or cronjob/NAME
    #[arg(required = true, value_name = "CRONJOB")]
    cron_job: Vec<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

/// What becomes of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schedule {
    Suspended,
    Resumed,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    set(&args.cron_job, Schedule::Suspended, &args.output, connect)
}

/// Changes `spec.suspend` by the subresource that is for it: nothing else can be changed by that right.
pub(super) fn set(
    words: &[String],
    schedule: Schedule,
    output: &Output,
    connect: &Connect,
) -> Result<(), Failure> {
    let cron_job = target::one_of(words, Resource::CronJob)?;
    let client = connect.client()?;
    let url =
        format!("{}/suspend?fieldManager=watchbell", path(Resource::CronJob, &client.namespace, &cron_job));
    let patch = json!({"spec": {"suspend": schedule == Schedule::Suspended}});
    let changed = client.patch(&url, "application/merge-patch+json", &patch)?;
    let what = match schedule {
        Schedule::Suspended => "suspended",
        Schedule::Resumed => "resumed",
    };
    output::done(&changed, what, output.output)
}
