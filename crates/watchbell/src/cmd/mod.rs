//! The commands, one a file: its arguments (whose comments are its help) and one function.

pub(crate) mod apply;
pub(crate) mod array;
pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod db;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod explain_schedule;
pub(crate) mod follow;
pub(crate) mod get;
pub(crate) mod helper;
pub(crate) mod image;
pub(crate) mod lint;
pub(crate) mod logs;
pub(crate) mod rerun;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod serve;
pub(crate) mod service_account;
pub(crate) mod suspend;
pub(crate) mod trace;
pub(crate) mod trigger;
pub(crate) mod user;
pub(crate) mod version;

use crate::args::{Cli, Command};
use crate::exit::Failure;

/// Carries out a command.
pub(crate) fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Run(args) => run::run(args, &cli.connect(Some(&args.scope))),
        Command::Apply(args) => apply::run(args, &cli.connect(Some(&args.scope))),
        Command::Get(args) => get::run(args, &cli.connect(Some(&args.scope))),
        Command::Describe(args) => describe::run(args, &cli.connect(Some(&args.scope))),
        Command::Logs(args) => logs::run(args, &cli.connect(Some(&args.scope))),
        Command::Exec(args) => exec::run(args, &cli.connect(Some(&args.scope))),
        Command::Attach(args) => attach::run(args, &cli.connect(Some(&args.scope))),
        Command::Trigger(args) => trigger::run(args, &cli.connect(Some(&args.scope))),
        Command::Suspend(args) => suspend::run(args, &cli.connect(Some(&args.scope))),
        Command::Resume(args) => resume::run(args, &cli.connect(Some(&args.scope))),
        Command::Follow(args) => follow::run(args, &cli.connect(Some(&args.scope))),
        Command::Rerun(args) => rerun::run(args, &cli.connect(Some(&args.scope))),
        Command::Trace(args) => trace::run(args, &cli.connect(Some(&args.scope))),
        Command::Delete(args) => delete::run(args, &cli.connect(Some(&args.scope))),
        Command::Image(args) => image::run(args, &cli.connect(None)),
        Command::Array(args) => array::run(args),
        Command::Explain(args) => explain::run(args, &cli.connect(Some(args.scope()))),
        Command::ExplainSchedule(args) => explain_schedule::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Scan(args) => scan::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Db(args) => db::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::User(args) => user::run(args, &cli.connect(None)),
        Command::ServiceAccount(args) => service_account::run(args, &cli.connect(None)),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Version(args) => version::run(args, &cli.connect(None)),
    }
}
