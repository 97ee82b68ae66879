//! `serve`: by which keys encrypted data arrays are opened, how much of them may be decrypted in memory, and what arrays may hold.

use std::path::PathBuf;

use watchbell_api::array::is_key_name;
use watchbell_array::KeySource;
use watchbell_node::{ArrayKey, NodeOptions};

use crate::bounds::Bytes;
use crate::cmd::array::words;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Encrypted data arrays")]
pub(crate) struct ArrayKeys {
    /// A key that the DataArrays of a namespace may name in spec.encryption.key, or those of all; several are parted by commas. The file
    /// holds 32 bytes or 64 hexadecimal digits and is root's alone (mode 0600)
    #[arg(long, value_name = "[NAMESPACE/]NAME=FILE", value_delimiter = ',')]
    array_key: Vec<String>,
    /// The same, printed by a command when it is first needed: a program by its whole path with its words, run without a shell as root
    #[arg(long, value_name = "[NAMESPACE/]NAME=COMMAND")]
    array_kms: Vec<String>,
    /// What all encrypted arrays that pods use may take in memory, decrypted; by default a quarter of the machine's
    #[arg(long, value_name = "SIZE")]
    array_memory: Option<Bytes>,
    /// How many chunks and files a Job may write to an array, and the array may have then; by default one for each 4 KiB of the machine's
    /// memory. The server takes about 1 KiB of memory for each while a Job publishes
    #[arg(long, value_name = "NUMBER", help_heading = "Data arrays")]
    array_chunks_max: Option<u64>,
}

impl ArrayKeys {
    /// A key that cannot be read is told now, and not when a Job needs it. A command is not run before.
    pub(crate) fn apply(&self, total_memory: u64, options: &mut NodeOptions) -> Result<(), Failure> {
        let mut keys: Vec<ArrayKey> = Vec::new();
        let files = self.array_key.iter().map(|text| ("--array-key", text));
        for (flag, text) in files.chain(self.array_kms.iter().map(|text| ("--array-kms", text))) {
            let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("{flag} {text:?}: {why}"));
            let (namespace, name, value) = split(text).map_err(|why| wrong(&why))?;
            let source = match flag {
                "--array-key" => KeySource::File(PathBuf::from(value)),
                _ => KeySource::Command(words(value)),
            };
            let program = match &source {
                KeySource::File(path) => Some(path.clone()),
                KeySource::Command(words) => words.first().map(PathBuf::from),
            };
            if !program.is_some_and(|path| path.is_absolute()) {
                return Err(wrong(&"it is not absolute"));
            }
            if let KeySource::File(_) = source {
                source.key().map_err(|error| wrong(&error))?;
            }
            if keys.iter().any(|known| known.name == name && known.namespace == namespace) {
                return Err(wrong(&"it is named twice"));
            }
            keys.push(ArrayKey { namespace, name, source });
        }
        options.array_keys = keys;
        options.array_memory_bytes = self.array_memory.map_or(total_memory / 4, |Bytes(bytes)| bytes);
        options.array_chunks_max = self.array_chunks_max.unwrap_or(total_memory / 4096);
        Ok(())
    }
}

/// Namespace, name and what follows the first `=`.
fn split(text: &str) -> Result<(Option<String>, String, &str), String> {
    let (key, value) = text.split_once('=').ok_or("it is not [NAMESPACE/]NAME=…")?;
    let (namespace, name) = match key.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, key),
    };
    if !is_key_name(name) || namespace.as_ref().is_some_and(|namespace| !is_key_name(namespace)) {
        return Err(format!(
            "{key:?} is no [NAMESPACE/]NAME of lower case letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok((namespace, name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use watchbell_api::node::Capacity;

    use super::*;

    #[test]
    fn keys_are_named_once_and_read_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, [7; 32]).unwrap();
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        let file = file.display();
        let applied = |array_key: &[String], array_kms: &[&str]| {
            let capacity = Capacity {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                pods: 1,
                ephemeral_storage_bytes: 1 << 30,
            };
            let mut options = NodeOptions::new("/data", "node", capacity);
            let array_kms = array_kms.iter().map(|text| (*text).to_owned()).collect();
            let given = ArrayKeys {
                array_key: array_key.to_vec(),
                array_kms,
                array_memory: None,
                array_chunks_max: None,
            };
            given.apply(1 << 30, &mut options).map_err(|failure| format!("{failure:?}")).map(|()| options)
        };
        let made =
            applied(&[format!("obs={file}"), format!("ml/obs={file}")], &["kms=/bin/kms get a=b"]).unwrap();
        let names: Vec<_> =
            made.array_keys.iter().map(|key| (key.namespace.as_deref(), &*key.name)).collect();
        assert_eq!(names, [(None, "obs"), (Some("ml"), "obs"), (None, "kms")]);
        let command = ["/bin/kms", "get", "a=b"].map(str::to_owned).to_vec();
        assert_eq!(made.array_keys[2].source, KeySource::Command(command));
        assert_eq!((made.array_memory_bytes, made.array_chunks_max), (256 << 20, 256 << 10));
        for (keys, kms, why) in [
            (vec![format!("obs={file}"), format!("obs={file}")], vec![], "it is named twice"),
            (vec![format!("obs={file}")], vec!["obs=/bin/kms"], "it is named twice"),
            (vec!["obs".to_owned()], vec![], "it is not [NAMESPACE/]NAME="),
            (vec![format!("a/b/c={file}")], vec![], "is no [NAMESPACE/]NAME"),
            (vec!["obs=key".to_owned()], vec![], "it is not absolute"),
            (vec![format!("obs={file}.none")], vec![], "it cannot be opened"),
            (vec![], vec!["obs=kms get"], "it is not absolute"),
            (vec![], vec!["obs="], "it is not absolute"),
        ] {
            let error = applied(&keys, &kms).map(drop).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        mode(0o640);
        assert!(applied(&[format!("obs={file}")], &[]).map(drop).unwrap_err().contains("mode 0600"));
    }
}
