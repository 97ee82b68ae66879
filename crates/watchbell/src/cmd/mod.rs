//! The commands, one a file: its arguments (whose comments are its help) and one function.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod explain_schedule;
pub(crate) mod follow;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod rerun;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod trigger;
pub(crate) mod version;

use crate::args::{Cli, Command};
use crate::exit::Failure;

/// Carries out a command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let connect = &cli.connect;
    match cli.command {
        Command::Run(args) => run::run(&args, connect),
        Command::Apply(args) => apply::run(&args, connect),
        Command::Get(args) => get::run(&args, connect),
        Command::Describe(args) => describe::run(&args, connect),
        Command::Logs(args) => logs::run(&args, connect),
        Command::Trigger(args) => trigger::run(&args, connect),
        Command::Follow(args) => follow::run(&args, connect),
        Command::Rerun(args) => rerun::run(&args, connect),
        Command::Delete(args) => delete::run(&args, connect),
        Command::ExplainSchedule(args) => explain_schedule::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Version(args) => version::run(&args, connect),
    }
}
