//! `watchbell array …`: on the arrays of a data directory, beside a running server and without one.

mod blame;
mod bucket;
mod create;
mod delete;
mod diff;
mod export;
mod gc;
mod import;
mod key;
mod list;
mod log;
mod plan;
mod quota;
mod rekey;
mod rollback;
mod show;
mod signature;
mod tag;
mod verify;

use std::path::PathBuf;

use jiff::Timestamp;
use watchbell_array::{Array, Digest, Disk, Error, KeptSource, Key, KeySource, Manifest, Run, Snapshot};

use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output;

pub(crate) use signature::head_key;

/// Data arrays: Zarr hierarchies with snapshots, in watchbell's own store
///
/// They lie in DIR/arrays. To work on one needs the right to write the data directory; no server is asked, and one that runs is
/// not disturbed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Create(create::Args),
    Import(import::Args),
    Export(export::Args),
    /// Writes a snapshot as a plain directory: `export` of the one that is named
    Checkout(export::CheckoutArgs),
    #[command(alias = "list")]
    Ls(list::Args),
    Log(log::Args),
    Diff(diff::Args),
    Show(show::Args),
    Rollback(rollback::Args),
    Tag(tag::Args),
    Blame(blame::Args),
    Plan(plan::Args),
    Verify(verify::Args),
    Keygen(signature::Args),
    Key(key::Args),
    Gc(gc::Args),
    Quota(quota::Args),
    Rekey(rekey::Args),
    Delete(delete::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Keys of arrays and of buckets.
    watchbell_sandbox::forbid_dumps().map_err(|e| {
        Failure::Refused(format!("cannot keep core files, which may hold keys, from being made: {e}"))
    })?;
    match &args.verb {
        Verb::Create(args) => create::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Checkout(args) => export::checkout(args),
        Verb::Ls(args) => list::run(args),
        Verb::Log(args) => log::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Rollback(args) => rollback::run(args),
        Verb::Tag(args) => tag::run(args),
        Verb::Blame(args) => blame::run(args),
        Verb::Plan(args) => plan::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Keygen(args) => signature::run(args),
        Verb::Key(args) => key::run(args),
        Verb::Gc(args) => gc::run(args),
        Verb::Quota(args) => quota::run(args),
        Verb::Rekey(args) => rekey::run(args),
        Verb::Delete(args) => delete::run(args),
    }
}

/// What prints the key of an array that was made with `--kms-command`, or by a server.
const KMS_COMMAND: &str = "WATCHBELL_ARRAY_KMS_COMMAND";
/// The file of the key of an array that was made by a server.
const KEY_FILE: &str = "WATCHBELL_ARRAY_KEY_FILE";

/// A command that is run without a shell.
pub(crate) fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

/// Where arrays lie, and in which namespace.
#[derive(Debug, clap::Args)]
struct Place {
    /// Namespace of the array
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    data_dir: DataDir,
}

/// One array.
#[derive(Debug, clap::Args)]
struct Which {
    /// Name of the array
    #[arg(value_name = "ARRAY")]
    name: String,
    #[command(flatten)]
    place: Place,
    /// Refuses an array in the clear: who can write the data directory may have put it in the place of one that was encrypted
    #[arg(long)]
    require_encrypted: bool,
}

impl Place {
    fn arrays(&self) -> PathBuf {
        self.data_dir.data_dir.join("arrays")
    }
}

impl Which {
    /// Its directory; the names are what Kubernetes takes for a namespace and an object.
    fn dir(&self) -> Result<PathBuf, Failure> {
        check("namespace", &self.place.namespace, 63)?;
        check("name", &self.name, 253)?;
        Ok(self.place.arrays().join(&self.place.namespace).join(&self.name))
    }

    fn open(&self) -> Result<Array, Failure> {
        self.unlocked(self.locked()?)
    }

    /// Without its key, for what needs none.
    fn locked(&self) -> Result<Array, Failure> {
        let array = Array::open(&self.dir()?, Disk::default()).map_err(|error| match error {
            watchbell_array::Error::NoArray(_) => Failure::Refused(format!(
                "there is no array {}; `watchbell array create` makes one, `watchbell array ls` lists them",
                self.shown()
            )),
            error => self.refused(error),
        })?;
        self.as_required(array)
    }

    fn as_required(&self, array: Array) -> Result<Array, Failure> {
        match self.require_encrypted && !array.is_encrypted() {
            true => Err(self.refused(Error::InTheClear(None))),
            false => Ok(array),
        }
    }

    /// With its key where that can be had. Without it nothing says who wrote the records and refs.
    fn open_for_records(&self) -> Result<Array, Failure> {
        let array = self.locked()?;
        let Some(kept) = array.key_source().map_err(|error| self.refused(error))? else { return Ok(array) };
        match self.key(kept) {
            Ok(key) => array.unlock(&key).map_err(|error| self.refused(error)),
            Err(why) => {
                output::note(&format!("read without its key, so that nothing says who wrote this: {why}"));
                Ok(array)
            }
        }
    }

    /// With its key, when it is encrypted.
    fn unlocked(&self, array: Array) -> Result<Array, Failure> {
        let Some(kept) = array.key_source().map_err(|error| self.refused(error))? else { return Ok(array) };
        array.unlock(&self.key(kept)?).map_err(|error| self.refused(error))
    }

    fn key(&self, kept: KeptSource) -> Result<Key, Failure> {
        let file = std::env::var_os(KEY_FILE).map(|path| KeySource::File(path.into()));
        let command = || std::env::var(KMS_COMMAND).ok().map(|command| KeySource::Command(words(&command)));
        let source = match kept {
            KeptSource::File(path) => KeySource::File(path),
            KeptSource::Command => command().ok_or_else(|| {
                self.refused(format!(
                    "its key is printed by a command: name it in {KMS_COMMAND}, as `create --kms-command` was told"
                ))
            })?,
            KeptSource::Named(name) => file.or_else(command).ok_or_else(|| {
                self.refused(format!(
                    "its key is the one that a server knows as {name:?}: name the key's file in {KEY_FILE}, or the command that \
                     prints it in {KMS_COMMAND}"
                ))
            })?,
        };
        source.key().map_err(|error| self.refused(error))
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.place.namespace, self.name)
    }

    fn refused(&self, error: impl std::fmt::Display) -> Failure {
        Failure::Refused(format!("array {}: {error}", self.shown()))
    }

    /// The snapshot that a person names, with its content.
    fn snapshot(&self, array: &Array, name: &str) -> Result<(Digest, Snapshot, Manifest), Failure> {
        let digest = array.resolve(name).map_err(|error| self.refused(error))?;
        let snapshot = array.snapshot(digest).map_err(|error| self.refused(error))?;
        let manifest = array.manifest(snapshot.manifest).map_err(|error| self.refused(error))?;
        Ok((digest, snapshot, manifest))
    }
}

/// RFC 1123: labels of lower case, digits and `-`, with dots between them where the name may be long.
fn check(what: &str, name: &str, max: usize) -> Result<(), Failure> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= max && (name.split('.').all(is_label) && (max > 63 || !name.contains('.'))) {
        return Ok(());
    }
    Err(Failure::Usage(format!("{what} {name:?} is no RFC 1123 name of at most {max} characters")))
}

/// Who works on the command line, for the record.
fn by_hand(what: &str, now: Timestamp) -> Run {
    let uid = rustix::process::getuid().as_raw();
    Run {
        name: what.to_owned(),
        uid: String::new(),
        image: String::new(),
        user: format!("local:uid-{uid}"),
        started_at: now.as_second(),
    }
}

/// An instant for people.
fn when(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string())
}
