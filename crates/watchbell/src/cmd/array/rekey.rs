use watchbell_array::KeptSource;

use super::Which;
use super::create::Encryption;
use crate::exit::Failure;
use crate::output;

/// Lets another key open an encrypted array in the place of its own
///
/// One small file is sealed anew. Chunks stay as they are: who has the old key and kept that file can still read them. A server that uses
/// the array is given the new key, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    encryption: Encryption,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let which = &args.which;
    let Some(source) = args.encryption.source()? else {
        return Err(Failure::Usage(
            "name the new key: --encrypt-key-file FILE or --kms-command COMMAND".to_owned(),
        ));
    };
    let array = which.open()?;
    let Some(kept) = array.key_source().map_err(|error| which.refused(error))? else {
        return Err(which.refused("it is in the clear: export it, and import it into one that is encrypted"));
    };
    let new = source.key().map_err(|error| which.refused(error))?;
    // A server goes by the name that its DataArray says.
    let next = if let KeptSource::Named(_) = kept { kept.clone() } else { source.kept() };
    array.rekey(&which.key(kept)?, &new, next).map_err(|error| which.refused(error))?;
    output::note(&format!("array {} is opened by its new key alone", which.shown()));
    Ok(())
}
