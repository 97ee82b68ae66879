use watchbell_api::Resource;

use super::follow::Unpullable;
use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::{job, output, target};

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
    let parent = client.get(&path(Resource::CronJob, &client.namespace, &cron_job))?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => job::fresh_name(&format!("{cron_job}-manual"))?,
    };
    let url = format!(
        "{}?fieldManager=watchbell&fieldValidation=Strict",
        path(Resource::Job, &client.namespace, "")
    );
    let made = client.post(&url, &job::from_cron_job(&parent, &name))?;
    output::done(&made, "created", args.output.output)?;
    if args.follow { super::follow::follow(&client, &name, None, Unpullable::Ends) } else { Ok(()) }
}
