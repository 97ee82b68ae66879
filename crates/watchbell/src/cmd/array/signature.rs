use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchbell_api::array::HeadSignature;
use watchbell_array::{Array, Digest, Signer};
use watchbell_audit::{Note, SignatureKind, SigningKey, VerifierKey};
use watchbell_node::HeadKey;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::output;

/// The name of a key that is not told another, and of each server's.
const KEY_NAME: &str = "watchbell-array";

/// Makes a key that signs heads, and prints the public one
///
/// The key's file belongs where the array does not lie; the public key is for `array verify --key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File to make, readable by its owner alone
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the key
    #[arg(long, value_name = "NAME", default_value = KEY_NAME)]
    name: String,
}

/// How a new head is signed.
#[derive(Debug, clap::Args)]
pub(super) struct Signature {
    /// Signs the new head with the key in this file, which `array keygen` makes
    #[arg(long, value_name = "FILE")]
    sign_key_file: Option<PathBuf>,
    /// Name of the key
    #[arg(long, value_name = "NAME", default_value = KEY_NAME, requires = "sign_key_file")]
    sign_key_name: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Failure::refused)?;
    let verifier =
        SigningKey::from_seed(&seed).verifier(&args.name, SignatureKind::Ed25519).map_err(Failure::usage)?;
    let failed = |e| Failure::Refused(format!("cannot make {}: {e}", args.file.display()));
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .and_then(|mut file| file.write_all(&*seed).and_then(|()| file.sync_all()))
        .map_err(failed)?;
    output::data(&verifier.to_string());
    Ok(())
}

impl Signature {
    /// The public part of the key that new heads are signed with.
    pub(super) fn verifier(&self) -> Result<Option<VerifierKey>, Failure> {
        let Some(path) = &self.sign_key_file else { return Ok(None) };
        let verifier = read_key(path)?.verifier(&self.sign_key_name, SignatureKind::Ed25519);
        verifier.map(Some).map_err(Failure::usage)
    }

    /// What signs each new head, when that was asked for.
    pub(super) fn signer(&self) -> Result<Option<Arc<Signer>>, Failure> {
        let Some(path) = &self.sign_key_file else { return Ok(None) };
        let key = read_key(path)?;
        let verifier = key.verifier(&self.sign_key_name, SignatureKind::Ed25519).map_err(Failure::usage)?;
        Ok(Some(signer(key, verifier)))
    }

    /// The array, of which each new head is signed so.
    pub(super) fn signing(&self, array: Array) -> Result<Array, Failure> {
        Ok(match self.signer()? {
            Some(signer) => array.signing(signer),
            None => array,
        })
    }
}

fn signer(key: SigningKey, verifier: VerifierKey) -> Arc<Signer> {
    Arc::new(move |text: &str| {
        let signatures = vec![key.sign(&verifier, text)];
        Ok(Note { text: text.to_owned(), signatures }.to_string())
    })
}

/// The public part of a server's key.
pub(super) fn verifier(key: &SigningKey) -> VerifierKey {
    key.verifier(KEY_NAME, SignatureKind::Ed25519).expect("the name is one of a key")
}

/// How a server signs what its Jobs publish.
pub(crate) fn head_key(key: SigningKey) -> HeadKey {
    let verifier = verifier(&key);
    let public = verifier.to_string().into();
    let own = verifier.clone();
    let check = move |array: &Array, snapshot: Digest| match check(array, snapshot, &own) {
        Ok(_) => HeadSignature::Server,
        Err(_) if matches!(array.signature(snapshot), Ok(None)) => HeadSignature::Unsigned,
        Err(problem) => HeadSignature::Other(problem.into()),
    };
    HeadKey { public, signer: signer(key, verifier), check: Arc::new(check) }
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let wrong = |problem: String| Failure::Usage(format!("cannot use the key {}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
    let of = file.metadata().map_err(|e| wrong(e.to_string()))?;
    if !of.is_file() || of.mode() & 0o077 != 0 || of.uid() != rustix::process::geteuid().as_raw() {
        return Err(wrong("it must be a file of the user that reads it, with mode 0600".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    file.take(64).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let seed = bytes.as_slice().try_into().map_err(|_| wrong("it has not 32 bytes".to_owned()))?;
    Ok(SigningKey::from_seed(seed))
}

/// Whether a snapshot is signed by a key, as the head of this array that it was; since when is given back.
pub(super) fn check(array: &Array, snapshot: Digest, key: &VerifierKey) -> Result<i64, String> {
    let note = array.signature(snapshot).map_err(|e| e.to_string())?.ok_or("it is not signed")?;
    let note = Note::parse(&note).map_err(|e| e.to_string())?;
    note.verify(key).map_err(|e| e.to_string())?;
    let second = note.text.lines().nth(3).and_then(|line| line.parse().ok()).unwrap_or_default();
    if note.text != array.statement(snapshot, second) {
        return Err("the signature is of another array or snapshot".to_owned());
    }
    Ok(second)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::Timestamp;
    use watchbell_array::{Disk, Kind, Run, import};

    use super::*;

    #[test]
    fn a_head_is_signed_by_its_key_for_its_array_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("files/0")).unwrap();
        std::fs::write(dir.path().join("files/0/x"), "x").unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, [7; 32]).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_key(&key).is_err());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let vkey = |seed| SigningKey::from_seed(&[seed; 32]).verifier("k", SignatureKind::Ed25519).unwrap();
        let signature =
            Signature { sign_key_file: Some(dir.path().join("key")), sign_key_name: "k".to_owned() };
        let make = |name: &str, signature: &Signature| {
            let array =
                Array::create_of(&dir.path().join(name), Disk::default(), Kind::Artifacts, None).unwrap();
            let array = signature.signing(array).unwrap();
            import(
                &array,
                &dir.path().join("files"),
                &Run::default(),
                None,
                "",
                Timestamp::UNIX_EPOCH,
                &mut |_, _| {},
            )
            .unwrap();
            array
        };
        let array = make("a", &signature);
        let check = |array: &Array, key| check(array, array.head().unwrap().unwrap(), &key);
        assert_eq!(check(&array, vkey(7)), Ok(0));
        assert_eq!(check(&array, vkey(8)).unwrap_err(), "it is not signed by k");
        let other = make("b", &Signature { sign_key_file: None, sign_key_name: "k".to_owned() });
        assert_eq!(check(&other, vkey(7)).unwrap_err(), "it is not signed");
        // The other's signature, carried over.
        let (from, to) = (array.head().unwrap().unwrap(), other.head().unwrap().unwrap());
        std::fs::create_dir(other.dir().join("refs/signatures")).unwrap();
        let note = array.signature(from).unwrap().unwrap();
        std::fs::write(other.dir().join("refs/signatures").join(to.to_string()), note).unwrap();
        assert_eq!(check(&other, vkey(7)).unwrap_err(), "the signature is of another array or snapshot");
    }
}
