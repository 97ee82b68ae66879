use serde_json::json;
use watchbell_array::{Damage, verify};

use super::signature::check;
use super::{Which, when};
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
    let key = args.key.as_deref().map(crate::cmd::audit::key).transpose()?;
    let array = args.which.open()?;
    // Before all is read: that one is read, whatever is published meanwhile.
    let head = array.head().map_err(|error| args.which.refused(error))?;
    let mut found = verify(&array).map_err(|error| args.which.refused(error))?;
    let mut signed = None;
    if let Some(key) = &key {
        let checked = head.ok_or("there is no head yet".to_owned()).and_then(|head| check(&array, head, key));
        match checked {
            Ok(second) => signed = Some(when(second)),
            Err(problem) => found.damage.push(Damage { what: "refs/head".to_owned(), problem }),
        }
    }
    let head = head.map(|head| head.to_string());
    if let Some(format) = args.output.output {
        let damage: Vec<_> =
            found.damage.iter().map(|d| json!({"what": d.what, "problem": d.problem})).collect();
        let object = json!({
            "verified": found.damage.is_empty(), "snapshots": found.snapshots, "objects": found.objects,
            "bytes": found.bytes, "damage": damage, "head": head, "signedAt": signed,
        });
        output::whole(&object, format)?;
    } else {
        for damage in &found.damage {
            output::data(&output::plain(&format!("DAMAGED {}: {}", damage.what, damage.problem)));
        }
        if found.damage.is_empty() {
            let (snapshots, objects, bytes) = (found.snapshots, found.objects, found.bytes);
            output::data(&format!("verified {snapshots} snapshots, {objects} objects, {bytes} bytes"));
            if let (Some(head), Some(at)) = (&head, &signed) {
                output::data(&format!("head {head}, signed at {at}"));
            }
        }
    }
    match found.damage.len() {
        0 => Ok(()),
        count => Err(args.which.refused(format!("damaged: {count} findings"))),
    }
}
