use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use watchbell_array::{Array, Disk, KeySource, Kind};

use super::{Which, words};
use crate::datadir;
use crate::exit::Failure;
use crate::output;

/// Makes an empty array, for an import to fill
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Makes a store of artifacts: files of any kind, below a directory for each index (mode artifacts)
    #[arg(long)]
    artifacts: bool,
    #[command(flatten)]
    encryption: Encryption,
}

/// Where the key of an encrypted array comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Encryption {
    /// Encrypts the array with the key in this file: 32 bytes or 64 hexadecimal digits, its owner's alone (mode 0600)
    #[arg(long, value_name = "FILE", conflicts_with = "kms_command")]
    encrypt_key_file: Option<PathBuf>,
    /// Encrypts the array with the key that this command prints: its words, run without a shell. It is
    /// not kept: WATCHBELL_ARRAY_KMS_COMMAND names it to whoever opens the array
    #[arg(long, value_name = "COMMAND")]
    kms_command: Option<String>,
}

impl Encryption {
    pub(super) fn source(&self) -> Result<Option<KeySource>, Failure> {
        if let Some(path) = &self.encrypt_key_file {
            return std::path::absolute(path).map(|path| Some(KeySource::File(path))).map_err(Failure::usage);
        }
        Ok(self.kms_command.as_deref().map(words).map(KeySource::Command))
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let kind = if args.artifacts { Kind::Artifacts } else { Kind::Zarr };
    make(&args.which, kind, args.encryption.source()?)?;
    output::note(&format!("array {} created", args.which.shown()));
    Ok(())
}

pub(super) fn make(which: &Which, kind: Kind, encryption: Option<KeySource>) -> Result<Array, Failure> {
    if which.require_encrypted && encryption.is_none() {
        return Err(
            which.refused("it would be made in the clear: `array create` says with which key it is not")
        );
    }
    datadir::require(&which.place.data_dir.data_dir)?;
    let dir = which.dir()?;
    if let Some(parent) = dir.parent() {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(parent);
        made.map_err(|e| Failure::Refused(format!("cannot make the directory {}: {e}", parent.display())))?;
    }
    let key = encryption.as_ref().map(KeySource::key).transpose().map_err(|error| which.refused(error))?;
    let encryption = encryption.as_ref().map(KeySource::kept).zip(key.as_ref());
    Array::create_of(&dir, Disk::default(), kind, encryption).map_err(|error| which.refused(error))
}
