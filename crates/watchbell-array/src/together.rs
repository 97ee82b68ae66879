//! Several arrays get new heads at once.
//!
//! ```text
//!  all locks ─▶ all judged ─▶ objects, manifests, snapshots, signatures of all ─▶ refs/next of each ─▶ .publications/ID ─▶ refs/head of each
//!               └────────── refused or stopped here: no head has moved ──────────────────────────┘     └─ all have
//! ```
//!
//! `refs/next` says what the head is as soon as its publication is there. So one change of one name moves all heads, also for who reads
//! without a lock. What follows only tidies up: whoever locks an array next does it, when a crash kept its publisher from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use watchbell_zarr::OnConflict;

use crate::commit::in_order;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::draft::Draft;
use crate::error::Error;
use crate::publish::{Judged, Publication};
use crate::refs::{HEAD, Ref};
use crate::snapshot::hex;
use crate::store::{Array, names, read_bounded, valid_name};

/// One array of a publication.
pub struct Part<'a> {
    pub draft: &'a Draft,
    pub on_conflict: OnConflict,
    pub quota_bytes: Option<u64>,
}

/// Why nothing was published, or committed, and which part it is about.
#[derive(Debug)]
pub struct Refused {
    pub at: usize,
    pub error: Error,
}

impl Refused {
    pub(crate) fn of(at: usize) -> impl FnOnce(Error) -> Self {
        move |error| Self { at, error }
    }
}

/// What the head of an array is once the publication is there.
pub(crate) struct NextHead {
    /// Where the head is another, this is over.
    pub(crate) from: Digest,
    pub(crate) head: Ref,
    line: String,
}

/// The same as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    publication: String,
    #[serde(with = "hex")]
    from: Digest,
    /// What `refs/head` will say, with its code where the array is encrypted: nobody needs the key to carry it out.
    head: String,
}

/// A publication: the names of its arrays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    arrays: Vec<String>,
}

/// Beside the arrays of a namespace. No array's name begins with a dot.
const PUBLICATIONS: &str = ".publications";
const NEXT: &str = "refs/next";
const UNFINISHED: &str = ".next";
const MAX_BYTES: u64 = 1 << 16;

/// As [`Draft::publish`] of every part: all get a new head, or none does, also when a crash comes at any step. Done again it ends the
/// same way, and only once. In the order of the parts.
pub fn publish_together(
    parts: &[Part<'_>],
    indices: &BTreeSet<u32>,
    message: &str,
    now: jiff::Timestamp,
) -> Result<Vec<Publication>, Refused> {
    let dir = namespace_of(parts)?;
    let drafts: Vec<&Draft> = parts.iter().map(|part| part.draft).collect();
    let mut locks = Vec::with_capacity(parts.len());
    for at in in_order(&drafts) {
        locks.push(parts[at].draft.array.lock().map_err(Refused::of(at))?);
    }
    let mut judged = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        judged.push(part.draft.judge(indices, part.on_conflict, part.quota_bytes).map_err(Refused::of(at))?);
    }
    let (mut made, mut due) = (Vec::with_capacity(parts.len()), Vec::new());
    for (at, (part, judged)) in parts.iter().zip(judged).enumerate() {
        let one = match judged {
            Judged::Done(done) => Ok(done),
            Judged::Due(next) => {
                due.push(at);
                part.draft.prepare(&next, message, now)
            }
        };
        match one {
            Ok(one) => made.push(one),
            Err(error) => {
                take_back(parts, &made, &due);
                return Err(Refused { at, error });
            }
        }
    }
    let Some(first) = due.first().copied() else { return Ok(made) };
    if due.len() == 1 {
        parts[first].draft.array.move_head(made[first].digest).map_err(Refused::of(first))?;
        return Ok(made);
    }
    let path = match commit(parts, &made, &due, dir) {
        Ok(path) => path,
        Err((at, error, path)) => {
            // Where the record may be in place, the heads may have moved: whoever comes next finds out.
            if path.try_exists().is_ok_and(|is_there| !is_there) {
                take_back(parts, &made, &due);
            }
            return Err(Refused { at, error });
        }
    };
    for at in due {
        parts[at].draft.array.settle().map_err(Refused::of(at))?;
    }
    // Nothing needs it any more, and no `refs/next` names it: whether it is gone after a crash does not matter.
    parts[first].draft.array.disk.remove(&path).map_err(Refused::of(first))?;
    Ok(made)
}

/// The directory that all arrays lie in; nothing to publish lies nowhere.
fn namespace_of<'a>(parts: &'a [Part<'_>]) -> Result<&'a Path, Refused> {
    let mut dirs = BTreeSet::new();
    let mut found = Path::new("");
    for (at, part) in parts.iter().enumerate() {
        let dir = &part.draft.array.dir;
        let apart = || Refused { at, error: Error::Apart(dir.clone()) };
        let parent = dir.parent().ok_or_else(apart)?;
        if (at > 0 && parent != found) || !dirs.insert(dir) {
            return Err(apart());
        }
        found = parent;
    }
    Ok(found)
}

/// Says in each array what its head will be, and then that it is. The path is where the record is, or would be.
fn commit(
    parts: &[Part<'_>],
    made: &[Publication],
    due: &[usize],
    dir: &Path,
) -> Result<PathBuf, (usize, Error, PathBuf)> {
    let publication = format!("{:016x}{:016x}", crate::view::random(), crate::view::random());
    let dir = dir.join(PUBLICATIONS);
    let path = dir.join(&publication);
    let mut arrays = Vec::new();
    for at in due.iter().copied() {
        let (array, made) = (&parts[at].draft.array, &made[at]);
        // Else the head of before, which the disk had no room for, would be lost.
        array.settle().map_err(|error| (at, error, path.clone()))?;
        let publication = publication.clone();
        let said = made.snapshot.parent.ok_or(Error::NoSnapshot).and_then(|from| {
            let next = Kept { format: 1, publication, from, head: array.next_line(made.digest)? };
            array.disk.replace(&array.dir.join(NEXT), &encode(&next))
        });
        said.map_err(|error| (at, error, path.clone()))?;
        arrays.push(array.dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let at = due[0];
    let disk = &parts[at].draft.array.disk;
    let written = || {
        if !dir.exists() {
            disk.make_dir(&dir)?;
            disk.sync_dir(dir.parent().unwrap_or(&dir))?;
        }
        disk.replace(&path, &encode(&Record { format: 1, arrays }))
    };
    written().map_err(|error| (at, error, path.clone()))?;
    Ok(path)
}

/// No head has moved: what was made for them goes. (One that failed itself has left nothing.)
fn take_back(parts: &[Part<'_>], made: &[Publication], due: &[usize]) {
    for at in due.iter().copied().filter(|at| *at < made.len()) {
        let array = &parts[at].draft.array;
        let is_unsaid = match array.next_head() {
            // Of a publication before, which is not tidied up yet.
            Ok(Some(_)) => true,
            Ok(None) => array.disk.remove(&array.dir.join(NEXT)).is_ok(),
            Err(_) => false,
        };
        if is_unsaid {
            array.take_back(made[at].digest);
        }
    }
}

/// After a crash: carries out what publications of the arrays of a namespace began. Their heads are the new ones already, so nobody is
/// waited for: where an array is locked its publication stays, for whoever locks it next and for the next time.
pub fn finish_publications(namespace: &Path, disk: &Disk) -> Result<(), Error> {
    let dir = namespace.join(PUBLICATIONS);
    let found = match names(&dir) {
        Err(error) if error.is_not_found() => return Ok(()),
        found => found?,
    };
    // One that cannot be carried out keeps no other from it.
    let mut ended = Ok(());
    for name in found {
        ended = ended.and(finish_publication(namespace, &dir.join(&name), disk));
    }
    ended
}

fn finish_publication(namespace: &Path, path: &Path, disk: &Disk) -> Result<(), Error> {
    if !path.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
        let wrong = |problem: String| Error::Format { path: path.to_owned(), problem };
        let record: Record = serde_json::from_slice(&read_bounded(path, MAX_BYTES)?)
            .map_err(|error| wrong(error.to_string()))?;
        let mut is_busy = false;
        for array in &record.arrays {
            let array = match Array::open(&namespace.join(valid_name(array)?), disk.clone()) {
                // It was deleted since, with all that was in it.
                Err(Error::NoArray(_)) => continue,
                array => array?,
            };
            match array.try_lock()? {
                Some(_lock) => array.settle()?,
                None => is_busy = true,
            }
        }
        if is_busy {
            return Ok(());
        }
    }
    disk.remove(path)
}

impl Array {
    /// What the head is in place of what `refs/head` says, where that is `from`: the publication is there.
    pub(crate) fn next_head(&self) -> Result<Option<NextHead>, Error> {
        let path = self.dir.join(NEXT);
        let bytes = match read_bounded(&path, MAX_BYTES) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let wrong = |problem: String| Error::Format { path: path.clone(), problem };
        let next: Kept = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if next.format != 1 {
            return Err(wrong(format!("it is of format {}, and this program reads 1", next.format)));
        }
        let record = self.publications().join(valid_name(&next.publication)?);
        if !record.try_exists().map_err(Error::io("look at", &record))? {
            return Ok(None);
        }
        let head = self.parse_ref(HEAD, &path, &next.head)?;
        Ok(Some(NextHead { from: next.from, head, line: next.head }))
    }

    fn publications(&self) -> PathBuf {
        self.dir.parent().unwrap_or(&self.dir).join(PUBLICATIONS)
    }

    /// With the lock held: lets `refs/head` be what the head is, and ends what was begun.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.settled()?
    }

    /// The same. Within is what of it could not be written: the head has durably moved then all the same.
    pub(crate) fn settled(&self) -> Result<Result<(), Error>, Error> {
        let path = self.dir.join(NEXT);
        if !path.exists() {
            return Ok(Ok(()));
        }
        if let Some(next) = self.next_head()?
            && self.read_ref(HEAD)?.is_some_and(|head| head.snapshot == next.from)
        {
            // Its publisher may have been stopped before the record was on the disk, which moves the others' heads.
            self.disk.sync_dir(&self.publications())?;
            if let Err(error) = self.write_line(HEAD, &next.line) {
                return Ok(Err(error));
            }
        }
        Ok(self.disk.remove(&path))
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    // Into memory, with string keys alone: nothing that can fail.
    serde_json::to_vec(record).unwrap_or_default()
}
