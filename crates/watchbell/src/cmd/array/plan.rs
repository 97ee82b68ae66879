use serde_json::{Value, json};
use watchbell_zarr::{Extend, Plan, Use, grow, plan, uses};

use super::Which;
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Shows how a Job's indices would share an array's chunks, without running anything
///
/// What is refused here would be refused when the Job is applied.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The split as in the annotation watchbell.dev/array: perChunk, perShard, {dim: time, into: 8} or {explicit: [...]}
    #[arg(long, value_name = "SPLIT")]
    split: String,
    /// Array to be written, such as /temperature (may be given several times); all that the split divides without it
    #[arg(long, value_name = "PATH")]
    variable: Vec<String>,
    /// Growth before the run: DIMENSION=ELEMENTS
    #[arg(long, value_name = "DIM=BY")]
    extend: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let rule = rule(args)?;
    let array = args.which.open()?;
    let (_, _, manifest) = args.which.snapshot(&array, "head")?;
    let refused = |error: &dyn std::fmt::Display| args.which.refused(error);
    let documents = array.documents(&manifest).map_err(|error| refused(&error))?;
    let (hierarchy, grown) = match &rule.extend {
        None => (array.hierarchy(&manifest).map_err(|error| refused(&error))?, None),
        Some(extend) => {
            let (hierarchy, grown) = grow(&documents, extend).map_err(|error| refused(&error))?;
            (hierarchy, Some(grown))
        }
    };
    let split = rule.split.as_ref().ok_or_else(|| Failure::Usage("--split is empty".to_owned()))?;
    // As many indices as the split makes: asked for with one too few, the refusal says how many.
    let planned = match plan(&hierarchy, split, &rule.variables, grown.as_ref(), 0) {
        Err(watchbell_zarr::PlanError::Completions { planned, .. }) => {
            u32::try_from(planned).unwrap_or(u32::MAX)
        }
        Err(error) => return Err(refused(&error)),
        Ok(_) => 0,
    };
    let made =
        plan(&hierarchy, split, &rule.variables, grown.as_ref(), planned).map_err(|error| refused(&error))?;
    print(args, &made)
}

fn print(args: &Args, made: &Plan) -> Result<(), Failure> {
    if let Some(format) = args.output.output {
        let index = |index: u32| {
            let elements: serde_json::Map<String, Value> = made
                .elements(index)
                .into_iter()
                .map(|range| (range.dimension, json!([range.start, range.stop])))
                .collect();
            json!({"index": index, "chunks": made.count(index), "elements": elements})
        };
        let indices: Vec<Value> = (0..made.completions).map(index).collect();
        let variables: Vec<String> = made.variables().map(ToString::to_string).collect();
        let object = json!({"completions": made.completions, "variables": variables, "indices": indices});
        return output::whole(&object, format);
    }
    let variables: Vec<String> = made.variables().map(ToString::to_string).collect();
    output::data(&format!(
        "completions {}, writing {}",
        made.completions,
        output::plain(&variables.join(", "))
    ));
    let mut rows = vec![["INDEX", "CHUNKS", "ELEMENTS"].map(str::to_owned).to_vec()];
    for index in 0..made.completions {
        let elements: Vec<String> = made
            .elements(index)
            .into_iter()
            .map(|range| format!("{} [{}, {})", range.dimension, range.start, range.stop))
            .collect();
        rows.push(vec![index.to_string(), made.count(index).to_string(), elements.join(", ")]);
    }
    output::columns_of(&rows, &[]);
    Ok(())
}

/// The rule that the arguments make, read as the annotation is.
fn rule(args: &Args) -> Result<Use, Failure> {
    let split = match args.split.as_str() {
        text if text.starts_with(['{', '[']) => {
            let documents = watchbell_api::decode::yaml(text.as_bytes()).map_err(Failure::usage)?;
            documents.into_iter().next().unwrap_or(Value::Null)
        }
        word => Value::String(word.to_owned()),
    };
    let mut rule = json!({"name": args.which.name, "mount": "/data", "mode": "write", "split": split});
    if !args.variable.is_empty() {
        rule["variables"] = json!(args.variable);
    }
    let mut rule = uses(&rule).map_err(Failure::usage)?.remove(0);
    if let Some(text) = &args.extend {
        let parts = text.split_once('=').and_then(|(dimension, by)| Some((dimension, by.parse().ok()?)));
        let Some((dimension, by)) = parts.filter(|(dimension, by)| !dimension.is_empty() && *by > 0) else {
            return Err(Failure::Usage(format!("--extend {text:?} is not DIMENSION=ELEMENTS")));
        };
        rule.extend = Some(Extend { dimension: dimension.to_owned(), by });
    }
    Ok(rule)
}
