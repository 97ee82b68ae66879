//! Removes what no kept snapshot, lease or draft needs: mark, then sweep.
//!
//! What is large is read before the lock is held: manifests, and what indices have committed, which do not change under their names.
//! With it held, what came since is read too, so that no publication and no commit counts on an object that is then removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::disk::REMOVED;
use crate::draft::{INDICES, boot_id};
use crate::error::Error;
use crate::import::IMPORT;
use crate::lease::Lease;
use crate::object::Objects;
use crate::pack;
use crate::retention::{Kept, Retention, kept};
use crate::store::{Array, Identity, SWEPT, hold, identity, names};
use crate::view::{UNPACKED, VIEWS};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub snapshots: u64,
    pub objects: u64,
    pub bytes: u64,
    pub views: u64,
    /// Imports that were interrupted, and drafts that were never finished.
    pub staged: u64,
}

/// Sweeps an array. `retention`: nothing keeps all snapshots, so that only what a crash or an abandoned run left goes.
pub fn sweep(array: &Array, retention: Option<&Retention>) -> Result<Swept, Error> {
    // Without its key nothing could be swept, and records would be dropped for nothing.
    array.cipher()?;
    // Who does not wait reads nothing in vain.
    if !array.waits {
        drop(array.lock()?);
    }
    let mut marked = Marked::default();
    // What changes meanwhile, or cannot be read, is looked at again with the lock held: only that counts.
    // (Leases are among it: without the lock a reader that has just come looks like one that is dead.)
    let seen = live(array, retention, &[]).and_then(|live| marked.see(array, &live.snapshots));
    if seen.is_err() {
        marked = Marked::default();
    }
    let _lock = array.lock()?;
    let mut swept = Swept::default();
    let leases = array.leases()?;
    let Live { snapshots, dead, known } = live(array, retention, &leases)?;
    if retention.is_some() {
        for dead in dead {
            // The record first: what it names may then be gone.
            let path = array.dir.join("snapshots").join(dead.to_string());
            if known.contains(&dead) {
                // It still says what came before it, so that the chain has no hole.
                array.disk.rename(&path, &path.with_extension(SWEPT))?;
            } else {
                array.disk.remove(&path)?;
            }
            swept.snapshots += 1;
        }
        array.disk.sync_dir(&array.dir.join("snapshots"))?;
    }
    if array.signatures().exists() {
        for name in names(&array.signatures())? {
            if !name.parse().is_ok_and(|digest| snapshots.contains(&digest)) {
                array.disk.remove(&array.signatures().join(name))?;
            }
        }
    }
    // A draft counts on what was in place when it was written.
    let manifests = marked.see(array, &snapshots)?;
    let objects = marked.objects;
    let dir = array.dir.join("manifests");
    for name in names(&dir)? {
        if !name.parse().is_ok_and(|digest| manifests.contains(&digest)) {
            array.disk.remove(&dir.join(name))?;
        }
    }
    let leased: BTreeSet<Digest> = leases
        .iter()
        .filter_map(|(_, lease)| array.snapshot(lease.snapshot).ok())
        .map(|snapshot| snapshot.manifest)
        .collect();
    swept.views += array.remove_of_other_boots(VIEWS)?;
    let dir = array.dir.join(VIEWS).join(boot_id());
    for name in if dir.exists() { names(&dir)? } else { Vec::new() } {
        if !name.parse().is_ok_and(|digest| leased.contains(&digest)) {
            array.disk.remove_dir(&dir.join(name))?;
            swept.views += 1;
        }
    }
    let dir = array.dir.join("drafts");
    let drafts = array.drafts()?;
    for name in names(&dir)? {
        let path = dir.join(&name);
        // Without a record nothing of a draft counts, and who begins one holds the lock that is held here. An import that
        // nobody is at begins anew.
        let is_draft = !name.starts_with(IMPORT) && drafts.contains(&name);
        if is_draft || (name.starts_with(IMPORT) && hold(&path).is_err_and(|error| error.is_held())) {
            continue;
        }
        swept.staged += u64::from(!name.starts_with(REMOVED));
        array.disk.remove_dir(&path)?;
    }
    sweep_unpacked(array)?;
    sweep_objects(array, &objects, &mut swept)?;
    sweep_packs(array, &objects, &mut swept)?;
    Ok(swept)
}

/// The snapshots of an array.
struct Live {
    /// That stay.
    snapshots: BTreeSet<Digest>,
    dead: BTreeSet<Digest>,
    /// That the head comes from.
    known: BTreeSet<Digest>,
}

fn live(array: &Array, retention: Option<&Retention>, leases: &[(String, Lease)]) -> Result<Live, Error> {
    let all: BTreeSet<Digest> = array.snapshots()?.into_iter().collect();
    let Some(retention) = retention else {
        return Ok(Live { snapshots: all, dead: BTreeSet::new(), known: BTreeSet::new() });
    };
    let mut chain = Vec::new();
    array.log(|digest, snapshot| {
        chain.push(Kept { digest, created_at: snapshot.created_at });
        true
    })?;
    let mut live = kept(&chain, retention);
    live.extend(array.head()?);
    live.extend(array.tags()?.into_iter().map(|(_, digest)| digest));
    live.extend(leases.iter().map(|(_, lease)| lease.snapshot));
    for uid in array.drafts()? {
        live.insert(array.draft_base(&uid)?);
    }
    let known = chain.iter().map(|kept| kept.digest).collect();
    let (snapshots, dead) = all.into_iter().partition(|digest| live.contains(digest));
    Ok(Live { snapshots, dead, known })
}

/// What was found to be needed.
#[derive(Default)]
struct Marked {
    manifests: BTreeSet<Digest>,
    /// Records of drafts and of their indices. Another draft of the same run has others.
    records: BTreeMap<PathBuf, (Identity, Option<SystemTime>)>,
    objects: BTreeSet<Digest>,
}

impl Marked {
    /// Reads what it has not read yet of these snapshots and of the drafts that there are. The manifests of the snapshots.
    fn see(&mut self, array: &Array, snapshots: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, Error> {
        let mut manifests = BTreeSet::new();
        for digest in snapshots {
            manifests.insert(array.snapshot(*digest)?.manifest);
        }
        for digest in manifests.difference(&self.manifests) {
            self.objects.extend(array.manifest(*digest)?.entries.into_iter().map(|entry| entry.digest));
        }
        self.manifests.extend(&manifests);
        for uid in array.drafts()? {
            let (objects, records) = (&mut self.objects, &mut self.records);
            array.draft_objects(&uid, objects, |path| {
                let of = fs::metadata(path).map_err(Error::io("look at", path))?;
                let is = (identity(&of), of.modified().ok());
                Ok(records.insert(path.to_owned(), is) != Some(is))
            })?;
        }
        Ok(manifests)
    }
}

fn sweep_objects(array: &Array, live: &BTreeSet<Digest>, swept: &mut Swept) -> Result<(), Error> {
    let dir = array.dir.join("objects");
    for front in names(&dir)?.into_iter().filter(|front| front != pack::DIR) {
        let part = dir.join(&front);
        for name in names(&part)? {
            // A further copy of an object lives as long as the object; one that was never finished has a longer ending.
            let (digits, ending) = name.split_once('.').unwrap_or((&name, ""));
            let is_live = ending.bytes().all(|b| b.is_ascii_digit())
                && format!("{front}{digits}").parse().is_ok_and(|digest| live.contains(&digest));
            if is_live {
                continue;
            }
            let path = part.join(&name);
            swept.objects += 1;
            swept.bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            array.disk.remove(&path)?;
        }
    }
    Ok(())
}

/// Removes what another boot of the machine unpacked, which may be half on the disk, and what no view links to.
fn sweep_unpacked(array: &Array) -> Result<(), Error> {
    array.remove_of_other_boots(UNPACKED)?;
    remove_unlinked(array)
}

/// Removes what was unpacked and no view links to. A view that has just found it there is tried again.
pub(crate) fn remove_unlinked(array: &Array) -> Result<(), Error> {
    let dir = array.dir.join(UNPACKED).join(boot_id());
    if !dir.exists() {
        return Ok(());
    }
    for name in names(&dir)? {
        let path = dir.join(name);
        if fs::metadata(&path).is_ok_and(|of| of.nlink() == 1) {
            array.disk.remove(&path)?;
        }
    }
    Ok(())
}

/// A pack without anything that lives goes. One in which a quarter is dead is written anew without it, and so are small ones when
/// they are many, together.
fn sweep_packs(array: &Array, live: &BTreeSet<Digest>, swept: &mut Swept) -> Result<(), Error> {
    const SMALL_BYTES: u64 = 64 << 20;
    const MANY: usize = 64;
    let dir = array.objects_dir().join(pack::DIR);
    pack::remove_unfinished(&array.disk, &array.objects_dir())?;
    let (mut anew, mut small, mut is_changed) = (Vec::new(), Vec::new(), false);
    let aside = pack::set_aside(&dir)?.into_iter().map(|name| dir.join(name));
    let (mut damaged, mut unread) = (aside.collect::<Vec<_>>(), None);
    for name in pack::found(&dir)? {
        let path = dir.join(name);
        let entries = match pack::read(&path) {
            Ok(Ok(entries)) => entries,
            Ok(Err(_)) => {
                damaged.push(path);
                continue;
            }
            // It may be whole. What the others hold can go nevertheless.
            Err(error) => {
                unread = unread.or(Some(Error::io("read", &path)(error)));
                continue;
            }
        };
        let of = |(_, _, length): &(Digest, u64, u32)| u64::from(*length);
        let (kept, dead): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(d, ..)| live.contains(d));
        let (kept_bytes, dead_bytes) = (kept.iter().map(of).sum::<u64>(), dead.iter().map(of).sum::<u64>());
        if kept.is_empty() {
            array.disk.remove(&path)?;
            is_changed = true;
        } else if dead_bytes > kept_bytes / 3 {
            anew.push((path, kept));
        } else {
            if kept_bytes < SMALL_BYTES {
                small.push((path, kept));
            }
            continue;
        }
        swept.objects += dead.len() as u64;
        swept.bytes += dead_bytes;
    }
    // What is damaged is for `verify` to tell, until nothing is missing: then an import has mended it.
    if !damaged.is_empty() && unread.is_none() && is_all_there(array, live)? {
        damaged.iter().try_for_each(|path| array.disk.remove(path))?;
        is_changed = true;
    }
    if small.len() > MANY {
        anew.append(&mut small);
    }
    is_changed |= !anew.is_empty();
    for (number, packs) in groups(anew).into_iter().enumerate() {
        write_anew(array, &dir, &packs, number as u64)?;
    }
    if is_changed {
        array.disk.sync_dir(&dir)?;
        Objects { array, staging: None }.refresh()?;
    }
    unread.map_or(Ok(()), Err)
}

/// Whether all that lives is in place or staged, by what is on the disk now: not by an index of before, which still has open what is
/// damaged since.
fn is_all_there(array: &Array, live: &BTreeSet<Digest>) -> Result<bool, Error> {
    let staged = array.drafts()?.into_iter().map(|uid| array.dir.join("drafts").join(uid).join("objects"));
    let staged: Vec<PathBuf> = staged.collect();
    let mut missing = live.clone();
    for dir in staged.iter().chain([&array.objects_dir()]).map(|dir| dir.join(pack::DIR)) {
        for path in pack::found(&dir)?.into_iter().map(|name| dir.join(name)) {
            for (digest, ..) in pack::read(&path).map_err(Error::io("read", &path))?.unwrap_or_default() {
                missing.remove(&digest);
            }
        }
    }
    for digest in missing {
        let mut is_found = is_there(&array.object_path(digest))?;
        for dir in &staged {
            is_found = is_found || is_there(&dir.join(digest.to_string()))?;
        }
        if !is_found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_there(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(Error::io("look at", path))
}

/// Packs, with what of each lives.
type Packs = Vec<(PathBuf, Vec<(Digest, u64, u32)>)>;

/// So many together that the new packs are not small.
fn groups(packs: Packs) -> Vec<Packs> {
    const BYTES: u64 = 256 << 20;
    let (mut groups, mut bytes) = (Vec::<Packs>::new(), BYTES);
    for pack in packs {
        if bytes >= BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += pack.1.iter().map(|(_, _, length)| u64::from(*length)).sum::<u64>();
        if let Some(group) = groups.last_mut() {
            group.push(pack);
        }
    }
    groups
}

/// One pack of what several hold, which go when it is durable. An object that is damaged stays where it is, with its pack.
fn write_anew(array: &Array, dir: &Path, packs: &Packs, number: u64) -> Result<(), Error> {
    let (made, gone) = pack::Writer::write(&array.disk, dir, number, |writer| copy(array, packs, writer))?;
    for path in gone.into_iter().filter(|path| made.as_ref() != Some(*path)) {
        array.disk.remove(path)?;
    }
    Ok(())
}

/// Copies what is whole into a pack. Those of which all is.
fn copy<'a>(array: &Array, packs: &'a Packs, writer: &pack::Writer) -> Result<Vec<&'a PathBuf>, Error> {
    let mut gone = Vec::new();
    for (path, kept) in packs {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut is_whole = true;
        for (digest, offset, length) in kept {
            let Ok(bytes) = pack::bytes_at(&file, *offset, *length) else {
                is_whole = false;
                continue;
            };
            if array.is_object(*digest, bytes.clone())? {
                writer.add(*digest, &bytes)?;
            } else {
                is_whole = false;
            }
        }
        if is_whole {
            gone.push(path);
        }
    }
    Ok(gone)
}

/// Bytes of the files in a directory; one that is just removed has none.
fn file_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| entry.metadata().map_or(0, |of| if of.is_file() { of.len() } else { 0 });
    entries.flatten().map(of).sum()
}

impl Array {
    /// Bytes of all objects, manifests and records, those of drafts and imports too: what a quota bounds.
    pub fn used_bytes(&self) -> Result<u64, Error> {
        let drafts = self.dir.join("drafts");
        let mut bytes = self.object_bytes()?;
        for part in ["manifests", "snapshots"] {
            bytes += file_bytes(&self.dir.join(part));
        }
        for name in names(&drafts)? {
            let draft = drafts.join(name);
            let staging = draft.join("objects");
            for dir in [staging.join(pack::DIR), staging, draft.join(INDICES), draft] {
                bytes += file_bytes(&dir);
            }
        }
        Ok(bytes)
    }

    /// Bytes of all objects in place.
    pub fn object_bytes(&self) -> Result<u64, Error> {
        let dir = self.dir.join("objects");
        let mut bytes = 0;
        for front in names(&dir)? {
            let part = dir.join(front);
            for name in names(&part)? {
                bytes += fs::metadata(part.join(name)).map_or(0, |metadata| metadata.len());
            }
        }
        Ok(bytes)
    }
}
