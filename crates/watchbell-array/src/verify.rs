use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use crate::digest::Digest;
use crate::error::Error;
use crate::object::{self, Objects};
use crate::pack;
use crate::parallel::in_parallel;
use crate::store::Array;

/// What a check of everything that is kept found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub snapshots: u64,
    pub objects: u64,
    pub bytes: u64,
    pub damage: Vec<Damage>,
}

/// Something that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `snapshot DIGEST`, `manifest DIGEST` or a key with its object.
    pub what: String,
    pub problem: String,
}

/// Reads every snapshot, manifest and object that is kept and hashes it anew, the objects on several threads. Nothing is mended.
pub fn verify(array: &Array) -> Result<Verified, Error> {
    let mut found = Verified::default();
    let mut heads = array.snapshots()?;
    // A ref to what is not there is damage too.
    let tags = array.tags().map(|tags| tags.into_iter().map(|(_, digest)| digest).collect());
    for refs in [array.head().map(|head| head.into_iter().collect::<Vec<_>>()), tags] {
        match refs {
            Err(error @ (Error::Forged { .. } | Error::Format { .. } | Error::Older { .. })) => {
                found.damage.push(Damage { what: "refs".to_owned(), problem: error.to_string() });
            }
            refs => heads.extend(refs?),
        }
    }
    heads.sort();
    heads.dedup();
    let mut objects: BTreeMap<Digest, (u64, String)> = BTreeMap::new();
    for digest in heads {
        found.snapshots += 1;
        let manifest = array.snapshot(digest).and_then(|snapshot| array.manifest(snapshot.manifest));
        match manifest {
            Err(error) => {
                found.damage.push(Damage { what: format!("snapshot {digest}"), problem: error.to_string() });
            }
            Ok(manifest) => {
                if let Err(error) = array.hierarchy(&manifest) {
                    found
                        .damage
                        .push(Damage { what: format!("snapshot {digest}"), problem: error.to_string() });
                }
                for entry in manifest.entries {
                    objects.entry(entry.digest).or_insert((entry.size, entry.key));
                }
            }
        }
    }
    let objects: Vec<(Digest, (u64, String))> = objects.into_iter().collect();
    let paths = Objects { array, staging: None };
    // As the packs lie there now, whatever was found in them before.
    array.forget_packs(&array.objects_dir());
    let packs = array.packs(&array.objects_dir())?;
    for (path, problem) in packs.read().unwrap_or_else(PoisonError::into_inner).problems() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        found.damage.push(Damage { what: format!("pack {name}"), problem });
    }
    for name in pack::set_aside(&array.objects_dir().join(pack::DIR))? {
        let problem = "something of it could not be read when the rest was written anew; `watchbell array gc` removes it \
                       once nothing is missing";
        found.damage.push(Damage { what: format!("pack {name}"), problem: problem.to_owned() });
    }
    let check = |at: usize| {
        let (digest, (size, _)) = &objects[at];
        let hashed = match paths.open(*digest) {
            Ok((mut content, _)) => object::hash(array, &mut content, Path::new("it")),
            Err(Error::Damaged { problem, .. }) => return Ok(Some(problem)),
            Err(error) => Err(error),
        };
        Ok(match hashed {
            Ok((hash, length)) if hash == *digest && length == *size => None,
            Ok((hash, length)) if hash == *digest => {
                Some(format!("it has {length} bytes, and the manifest says {size}"))
            }
            Ok((hash, _)) => Some(format!("its content has the digest {hash}")),
            Err(error) => Some(error.to_string()),
        })
    };
    let problems = in_parallel(objects.len(), check)?;
    for ((digest, (size, key)), problem) in objects.into_iter().zip(problems) {
        found.objects += 1;
        found.bytes += size;
        if let Some(problem) = problem {
            found.damage.push(Damage { what: format!("{key}, object {digest}"), problem });
        }
    }
    Ok(found)
}
