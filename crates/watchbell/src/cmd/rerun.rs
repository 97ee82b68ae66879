use serde_json::Value;
use watchbell_api::Resource;
use watchbell_core::index_set::IndexSet;

use super::follow::Unpullable;
use crate::args::{Connect, Output, Scope};
use crate::client::path;
use crate::exit::Failure;
use crate::job::{self, Progress, State};
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
    let old = client.get(&path(Resource::Job, &client.namespace, &old_name))?;
    let indexes = if args.failed { unfinished(&old, &old_name)? } else { None };
    if !args.failed && !matches!(Progress::of(&old)?.state, State::Complete | State::Failed { .. }) {
        return Err(Failure::Refused(format!("job {old_name} has not ended; follow it, or delete it first")));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => job::fresh_name(&old_name)?,
    };
    let new = job::again(&old, &name, indexes.as_deref());
    if args.dry_run {
        return output::object(&new, args.output.output.unwrap_or(output::Format::Yaml));
    }
    let url = format!(
        "{}?fieldManager=watchbell&fieldValidation=Strict",
        path(Resource::Job, &client.namespace, "")
    );
    let made = client.post(&url, &new)?;
    output::done(&made, "created", args.output.output)?;
    if args.follow { super::follow::follow(&client, &name, None, Unpullable::Ends) } else { Ok(()) }
}

/// The indexes of an ended Job that did not succeed; `None` for a Job without indexes, which runs again whole.
fn unfinished(job: &Value, name: &str) -> Result<Option<String>, Failure> {
    let progress = Progress::of(job)?;
    match progress.state {
        State::Failed { .. } => {}
        State::Complete => {
            return Err(Failure::Refused(format!("job {name} completed: no index is left to run again")));
        }
        State::Running | State::Suspended => {
            return Err(Failure::Refused(format!("job {name} has not ended; follow it, or delete it first")));
        }
    }
    if !progress.is_indexed {
        return Ok(None);
    }
    let total = progress.completions.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let left: IndexSet = progress.completed_indexes.iter_missing(total).collect();
    if left.is_empty() {
        return Err(Failure::Refused(format!("every index of job {name} succeeded")));
    }
    Ok(Some(left.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::unfinished;

    #[test]
    fn only_what_did_not_succeed_runs_again() {
        let check = |condition: &str, completed: &str, expect: Result<Option<&str>, &str>| {
            let job = json!({"spec": {"completions": 10, "completionMode": "Indexed"}, "status": {
                "completedIndexes": completed, "conditions": [{"type": condition, "status": "True"}]}});
            let found = unfinished(&job, "a").map_err(|e| e.to_string());
            assert_eq!(found, expect.map(|o| o.map(str::to_owned)).map_err(str::to_owned));
        };
        check("Failed", "0-2,5", Ok(Some("3,4,6-9")));
        check("Failed", "", Ok(Some("0-9")));
        check("Complete", "0-9", Err("job a completed: no index is left to run again"));
        check("Suspended", "", Err("job a has not ended; follow it, or delete it first"));
        let whole = json!({"spec": {}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}});
        assert_eq!(unfinished(&whole, "a").map_err(|e| e.to_string()), Ok(None));
    }
}
