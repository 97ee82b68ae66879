use serde_json::json;
use watchbell_array::difference;

use super::Which;
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Tells the keys in which two snapshots differ: + added, ~ changed, - removed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The older one: a tag, a digest or its beginning
    #[arg(value_name = "FROM")]
    from: String,
    /// The newer one
    #[arg(value_name = "TO", default_value = "head")]
    to: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open()?;
    let (_, _, from) = args.which.snapshot(&array, &args.from)?;
    let (_, _, to) = args.which.snapshot(&array, &args.to)?;
    let found = difference(&from, &to);
    if let Some(format) = args.output.output {
        let object = json!({"added": found.added, "changed": found.changed, "removed": found.removed});
        return output::whole(&object, format);
    }
    let marked = [('+', found.added), ('~', found.changed), ('-', found.removed)];
    let mut lines: Vec<(String, char)> =
        marked.into_iter().flat_map(|(mark, keys)| keys.into_iter().map(move |key| (key, mark))).collect();
    lines.sort();
    for (key, mark) in lines {
        output::data(&format!("{mark} {}", output::plain(&key)));
    }
    Ok(())
}
