use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
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

/// Damage, and what it is about: with that it goes, when a sweep has removed it meanwhile.
struct Suspect {
    about: About,
    damage: Damage,
}

enum About {
    Object(Digest, u64),
    Pack(PathBuf),
}

/// What is to be found whole.
#[derive(Default)]
struct Named {
    snapshots: BTreeSet<Digest>,
    /// With their sizes and a key of each.
    objects: BTreeMap<Digest, (u64, String)>,
}

/// Reads every snapshot, manifest and object that is kept and hashes it anew, the objects on several threads. Nothing is mended. What
/// is not as it should be is looked at again while no sweep is at work: what one has removed is no damage.
pub fn verify(array: &Array) -> Result<Verified, Error> {
    let mut suspects = Vec::new();
    let (named, of_records) = named(array)?;
    let objects: Vec<(&Digest, &(u64, String))> = named.objects.iter().collect();
    let paths = Objects { array, staging: None };
    // As the packs lie there now, whatever was found in them before.
    array.forget_packs(&array.objects_dir());
    let packs = array.packs(&array.objects_dir())?;
    for (path, problem) in packs.read().unwrap_or_else(PoisonError::into_inner).problems() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let damage = Damage { what: format!("pack {name}"), problem };
        suspects.push(Suspect { about: About::Pack(path.to_owned()), damage });
    }
    let aside = array.objects_dir().join(pack::DIR);
    for name in pack::set_aside(&aside)? {
        let problem = "something of it could not be read when the rest was written anew; `watchbell array gc` removes it \
                       once nothing is missing";
        let damage = Damage { what: format!("pack {name}"), problem: problem.to_owned() };
        suspects.push(Suspect { about: About::Pack(aside.join(name)), damage });
    }
    let problems = in_parallel(objects.len(), |at| Ok(problem_of(paths, *objects[at].0, objects[at].1.0)))?;
    let bytes = objects.iter().map(|(_, (size, _))| size).sum();
    for ((digest, (size, key)), problem) in objects.iter().zip(problems) {
        if let Some(problem) = problem {
            let damage = Damage { what: format!("{key}, object {digest}"), problem };
            suspects.push(Suspect { about: About::Object(**digest, *size), damage });
        }
    }
    let (snapshots, count) = (named.snapshots.len() as u64, objects.len() as u64);
    let is_whole = suspects.is_empty() && of_records.is_empty();
    let damage = if is_whole { Vec::new() } else { confirmed(array, suspects)? };
    Ok(Verified { snapshots, objects: count, bytes, damage })
}

/// All snapshots that are kept, and the objects that their manifests name; and what of the refs, snapshots and manifests is not as it
/// should be.
fn named(array: &Array) -> Result<(Named, Vec<Damage>), Error> {
    let (mut named, mut damage) = (Named::default(), Vec::new());
    named.snapshots.extend(array.snapshots()?);
    // A ref to what is not there is damage too.
    let tags = array.tags().map(|tags| tags.into_iter().map(|(_, digest)| digest).collect());
    for refs in [array.head().map(|head| head.into_iter().collect::<Vec<_>>()), tags] {
        match refs {
            Err(error @ (Error::Forged { .. } | Error::Format { .. } | Error::Older { .. })) => {
                damage.push(Damage { what: "refs".to_owned(), problem: error.to_string() });
            }
            refs => named.snapshots.extend(refs?),
        }
    }
    for digest in &named.snapshots {
        let mut is_damaged = |error: Error| {
            damage.push(Damage { what: format!("snapshot {digest}"), problem: error.to_string() });
        };
        match array.snapshot(*digest).and_then(|snapshot| array.manifest(snapshot.manifest)) {
            Err(error) => is_damaged(error),
            Ok(manifest) => {
                if let Err(error) = array.hierarchy(&manifest) {
                    is_damaged(error);
                }
                for entry in manifest.entries {
                    named.objects.entry(entry.digest).or_insert((entry.size, entry.key));
                }
            }
        }
    }
    Ok((named, damage))
}

/// What of it is damage still, with every sweep kept away.
fn confirmed(array: &Array, suspects: Vec<Suspect>) -> Result<Vec<Damage>, Error> {
    let _kept = array.lock_shared()?;
    let paths = Objects { array, staging: None };
    paths.refresh()?;
    let (now, mut damage) = named(array)?;
    for Suspect { about, damage: found } in suspects {
        let is_damage = match &about {
            About::Object(digest, size) => {
                now.objects.contains_key(digest) && problem_of(paths, *digest, *size).is_some()
            }
            // Also one that cannot even be looked at.
            About::Pack(path) => {
                !fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            }
        };
        if is_damage {
            damage.push(found);
        }
    }
    Ok(damage)
}

fn problem_of(objects: Objects<'_>, digest: Digest, size: u64) -> Option<String> {
    let hashed = match objects.open(digest) {
        Ok((mut content, _)) => object::hash(objects.array, &mut content, Path::new("it")),
        Err(Error::Damaged { problem, .. }) => return Some(problem),
        Err(error) => Err(error),
    };
    match hashed {
        Ok((hash, length)) if hash == digest && length == size => None,
        Ok((hash, length)) if hash == digest => {
            Some(format!("it has {length} bytes, and the manifest says {size}"))
        }
        Ok((hash, _)) => Some(format!("its content has the digest {hash}")),
        Err(error) => Some(error.to_string()),
    }
}
