//! Refs: the head that readers see, tags, and the signatures of heads.
//!
//! A ref is one line, replaced by rename: the digest of a snapshot, and in an encrypted array a number and a code by its key of both
//! with the ref's name. The head's number grows with each move.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::Error;
use crate::store::{Array, identity_of, names, read_bounded, valid_name};

pub(crate) const HEAD: &str = "head";
/// How the names of tags begin, below `refs`.
const TAGS: &str = "tags/";

pub(crate) struct Ref {
    pub(crate) snapshot: Digest,
    count: u64,
}

impl Ref {
    fn says(&self) -> String {
        format!("{} {}", self.snapshot, self.count)
    }
}

impl Array {
    /// What readers see; nothing before the first import.
    pub fn head(&self) -> Result<Option<Digest>, Error> {
        Ok(self.current()?.map(|read| read.snapshot))
    }

    /// How often the head of an encrypted array moved; 0 of others.
    pub fn head_number(&self) -> Result<u64, Error> {
        Ok(self.current()?.map_or(0, |read| read.count))
    }

    /// The head, unless it is older than one that was seen.
    fn current(&self) -> Result<Option<Ref>, Error> {
        let mut read = self.read_head()?;
        // Without the key nobody can say whether a number is true.
        if !self.is_encrypted() || self.is_locked() {
            return Ok(read);
        }
        let count = |read: &Option<Ref>| read.as_ref().map_or(0, |read| read.count);
        let seen = self.seen.fetch_max(count(&read), Ordering::Relaxed);
        if seen > count(&read) {
            // It may have moved since it was read, and somebody else have seen that.
            read = self.read_head()?;
            if seen > count(&read) {
                return Err(Error::Older { count: count(&read), seen });
            }
        }
        Ok(read)
    }

    /// Heads of an encrypted array that are older than number `seen` are refused, and whoever shares that hears of newer ones.
    #[must_use]
    pub fn not_before(mut self, seen: Arc<AtomicU64>) -> Self {
        self.seen = seen;
        self
    }

    /// Makes the head that is there the one after `seen`: of an array that was put back on purpose.
    pub fn renumber(&self, seen: u64) -> Result<u64, Error> {
        let _lock = self.lock()?;
        self.settle()?;
        let Some(Ref { snapshot, count }) = self.read_ref(HEAD)? else { return Err(Error::NoSnapshot) };
        let count = count.max(seen).saturating_add(1);
        self.write_ref(HEAD, snapshot, count)?;
        Ok(count)
    }

    /// What `refs/head` says, or will say when a publication of several arrays is carried out.
    fn read_head(&self) -> Result<Option<Ref>, Error> {
        // In this order: who ends a publication moves the head before anything of it goes.
        let next = self.next_head()?;
        let head = self.read_ref(HEAD)?;
        Ok(match (next, head) {
            (Some(next), Some(head)) if head.snapshot == next.from => Some(next.head),
            (_, head) => head,
        })
    }

    pub(crate) fn read_ref(&self, name: &str) -> Result<Option<Ref>, Error> {
        let path = self.dir.join("refs").join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        self.parse_ref(name, &path, &text).map(Some)
    }

    /// The line of a ref; `path` is where it stands.
    pub(crate) fn parse_ref(&self, name: &str, path: &Path, text: &str) -> Result<Ref, Error> {
        let wrong = |problem: &str| Error::Format { path: path.to_owned(), problem: problem.to_owned() };
        let mut words = text.trim_end().split(' ');
        let snapshot = words.next().and_then(|word| word.parse().ok());
        let snapshot = snapshot.ok_or_else(|| wrong("it holds no snapshot's digest"))?;
        if !self.is_encrypted() {
            let read = Ref { snapshot, count: 0 };
            return words.next().map_or(Ok(read), |_| Err(wrong("it holds more than a snapshot's digest")));
        }
        let forged = || Error::Forged { what: format!("refs/{name}") };
        let count = words.next().and_then(|word| word.parse().ok()).ok_or_else(forged)?;
        let read = Ref { snapshot, count };
        let code: Digest = words.next().and_then(|word| word.parse().ok()).ok_or_else(forged)?;
        // In the time that a comparison takes nothing is to be learned: who asks has the disk, and the code before his eyes.
        if !self.is_locked() && self.code(name, &read.says())? != Some(code) {
            return Err(forged());
        }
        Ok(read)
    }

    fn line(&self, name: &str, snapshot: Digest, count: u64) -> Result<String, Error> {
        let says = Ref { snapshot, count }.says();
        Ok(match self.code(name, &says)? {
            None => format!("{snapshot}\n"),
            Some(code) => format!("{says} {code}\n"),
        })
    }

    fn write_ref(&self, name: &str, snapshot: Digest, count: u64) -> Result<(), Error> {
        self.write_line(name, &self.line(name, snapshot, count)?)
    }

    pub(crate) fn write_line(&self, name: &str, line: &str) -> Result<(), Error> {
        self.disk.replace(&self.dir.join("refs").join(name), line.as_bytes())
    }

    /// Signs what is to be the head, when there is a signer: the signature is there before the head that it is of.
    pub(crate) fn sign_head(&self, to: Digest, now: jiff::Timestamp) -> Result<(), Error> {
        let Some(signer) = &self.signer else { return Ok(()) };
        let note = signer(&self.statement(to, now.as_second())).map_err(Error::Unsigned)?;
        let dir = self.signatures();
        if !dir.exists() {
            self.disk.make_dir(&dir)?;
            self.disk.sync_dir(&self.dir.join("refs"))?;
        }
        self.disk.replace(&dir.join(to.to_string()), note.as_bytes())
    }

    /// What `refs/head` is to say of the next head.
    pub(crate) fn next_line(&self, to: Digest) -> Result<String, Error> {
        self.line(HEAD, to, self.head_number()?.saturating_add(1))
    }

    /// With the lock held, and everything durable that the snapshot needs.
    pub(crate) fn move_head(&self, to: Digest) -> Result<(), Error> {
        let moved = self.settle().and_then(|()| self.write_line(HEAD, &self.next_line(to)?));
        moved.inspect_err(|_| {
            // Its name may be there and only not be on the disk.
            if self.head().is_ok_and(|head| head != Some(to)) {
                self.take_back(to);
            }
        })
    }

    pub(crate) fn signatures(&self) -> PathBuf {
        self.dir.join("refs/signatures")
    }

    /// What is signed of a head: which array (by the names of its directory and that above), which snapshot, and when it became it.
    pub fn statement(&self, snapshot: Digest, second: i64) -> String {
        format!("watchbell.dev/array-head\n{}\n{snapshot}\n{second}\n", identity_of(&self.dir))
    }

    /// The signed note of a snapshot's [`Array::statement`], as it was when that became the head; nothing of one that was not signed.
    pub fn signature(&self, snapshot: Digest) -> Result<Option<Vec<u8>>, Error> {
        match read_bounded(&self.signatures().join(snapshot.to_string()), 64 << 10) {
            Err(error) if error.is_not_found() => Ok(None),
            note => note.map(Some),
        }
    }

    pub fn tags(&self) -> Result<Vec<(String, Digest)>, Error> {
        let dir = self.dir.join("refs/tags");
        let mut tags = Vec::new();
        for name in names(&dir)? {
            // One that is being written.
            if name.ends_with(".next") {
                continue;
            }
            if let Some(digest) = self.read_ref(&format!("{TAGS}{name}"))? {
                tags.push((name, digest.snapshot));
            }
        }
        Ok(tags)
    }

    /// Gives a snapshot a name, which keeps it; a tag that is there is moved.
    pub fn tag(&self, name: &str, snapshot: Digest) -> Result<(), Error> {
        let _lock = self.lock()?;
        // A whole digest is nothing else's name.
        if name.ends_with(".next") || name.parse::<Digest>().is_ok() {
            return Err(Error::BadName(name.to_owned()));
        }
        self.snapshot(snapshot)?;
        self.write_ref(&format!("{TAGS}{}", valid_name(name)?), snapshot, 0)
    }

    pub fn remove_tag(&self, name: &str) -> Result<(), Error> {
        let _lock = self.lock()?;
        let path = self.dir.join("refs/tags").join(valid_name(name)?);
        if !path.exists() {
            return Err(Error::UnknownSnapshot(name.to_owned()));
        }
        self.disk.remove(&path)?;
        self.disk.sync_dir(&self.dir.join("refs/tags"))
    }
}
