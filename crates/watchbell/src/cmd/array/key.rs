use watchbell_store::Store;

use super::signature::verifier;
use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

/// Prints the public key by which the server of a data directory signs heads
///
/// It signs what Jobs publish and what is rolled back through it. The key is for `array verify --key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data_dir: DataDir,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.data_dir.data_dir;
    let key = Store::array_key_in(dir).map_err(Failure::refused)?.ok_or_else(|| {
        Failure::Refused(format!(
            "{} has no arrays.key: the first start of its server makes it",
            dir.display()
        ))
    })?;
    output::data(&verifier(&key).to_string());
    Ok(())
}
