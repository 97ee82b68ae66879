use serde_json::json;
use watchbell_array::{Damage, verify};

use super::Which;
use super::signature::check;
use crate::args::Output;
use crate::exit::Failure;
use crate::output;

/// Reads all that is kept of an array and hashes it anew
///
/// Exit code 0 only when every snapshot, manifest and chunk is what it was; nothing is mended.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The key that signs heads, itself (NAME+HEX+BASE64) or a file that holds it: the head must be signed by it
    #[arg(long, value_name = "VKEY")]
    key: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let array = args.which.open()?;
    let mut found = verify(&array).map_err(|error| args.which.refused(error))?;
    if let Some(key) = &args.key {
        let damage = |problem| Damage { what: "refs/head".to_owned(), problem };
        found.damage.extend(check(&array, &crate::cmd::audit::key(key)?).err().map(damage));
    }
    if let Some(format) = args.output.output {
        let damage: Vec<_> =
            found.damage.iter().map(|d| json!({"what": d.what, "problem": d.problem})).collect();
        let object = json!({
            "verified": found.damage.is_empty(), "snapshots": found.snapshots, "objects": found.objects,
            "bytes": found.bytes, "damage": damage,
        });
        output::whole(&object, format)?;
    } else {
        for damage in &found.damage {
            output::data(&output::plain(&format!("DAMAGED {}: {}", damage.what, damage.problem)));
        }
        if found.damage.is_empty() {
            let (snapshots, objects, bytes) = (found.snapshots, found.objects, found.bytes);
            output::data(&format!("verified {snapshots} snapshots, {objects} objects, {bytes} bytes"));
        }
    }
    match found.damage.len() {
        0 => Ok(()),
        count => Err(args.which.refused(format!("damaged: {count} findings"))),
    }
}
