use super::suspend::{Schedule, set};
use crate::args::{Connect, Output, Scope};
use crate::exit::Failure;

/// Lets a suspended CronJob start its Jobs again
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

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    set(&args.cron_job, Schedule::Resumed, &args.output, connect)
}
