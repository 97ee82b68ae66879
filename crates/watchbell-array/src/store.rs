use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cipher::{Cipher, Header, KeptSource, Key, Role};
use crate::digest::Digest;
use crate::disk::{Disk, REMOVED};
use crate::error::Error;
use crate::manifest::{self, Manifest, Run};
use crate::meter::Limits;
use crate::pack::{self, Index};
use crate::publish::publish;
use crate::snapshot::Snapshot;

/// The directory of one array.
#[derive(Clone)]
pub struct Array {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Disk,
    /// The lock's file when the array was opened: one that was deleted and made anew has another. It is held open, so that its
    /// inode is nobody else's.
    lock_file: Arc<File>,
    /// What the packs hold, of each directory that was asked for.
    packs: Arc<Mutex<HashMap<PathBuf, Arc<RwLock<Index>>>>>,
    kind: Kind,
    encryption: Encryption,
    /// The number of the newest head that was seen.
    pub(crate) seen: Arc<AtomicU64>,
    pub(crate) signer: Option<Arc<Signer>>,
    pub(crate) limits: Limits,
    pub(crate) waits: bool,
}

#[derive(Clone)]
enum Encryption {
    None,
    /// Without its key.
    Locked(Arc<Header>),
    Unlocked(Arc<Cipher>),
}

/// What an array is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    Zarr,
    /// Files of any kind, below a directory for each index.
    Artifacts,
}

/// Makes a signed note of a statement, or says why it cannot.
pub type Signer = dyn Fn(&str) -> Result<String, String> + Send + Sync;

/// A file, whatever it is called: its device and inode.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(of: &fs::Metadata) -> Identity {
    (of.dev(), of.ino())
}

/// Says that a directory is an array's, and of which format. An older program refuses a newer one.
const FORMAT_FILE: &str = "format";
const FORMAT: &str = "watchbell-array 2\n";
/// An array of before becomes one of now when its first pack is placed.
const WITHOUT_PACKS: &str = "watchbell-array 1\n";
/// Of an array that is encrypted.
const ENCRYPTED: &str = "watchbell-array 4\n";
/// Of one whose records and refs nobody could tell from forged ones.
const UNAUTHENTICATED: &str = "watchbell-array 3\n";
const ENCRYPTION_FILE: &str = "encryption";
/// There in an array of artifacts.
const ARTIFACTS_FILE: &str = "artifacts";
/// There until an array is whole: what it is to be.
const PLAN_FILE: &str = "unfinished";
const QUOTA_FILE: &str = "quota";
/// There in an array whose quota an object of a server says.
const OBJECT_FILE: &str = "object";
/// The ending of the record of a snapshot whose content was swept.
pub(crate) const SWEPT: &str = "swept";
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Of a tag, and what a caller makes the directories of namespaces and arrays from.
pub fn valid_name(name: &str) -> Result<&str, Error> {
    let is_fine = (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if is_fine { Ok(name) } else { Err(Error::BadName(name.to_owned())) }
}

impl Array {
    /// Makes an empty array in a directory that is not there yet; its parent is.
    pub fn create(dir: &Path, disk: Disk) -> Result<Self, Error> {
        Self::create_of(dir, disk, Kind::Zarr, None)
    }

    /// The same, of a kind. An array of artifacts has an empty snapshot from the beginning, on which a run can work.
    /// `encryption` is its key when it is to be encrypted, and what is kept beside it of where that comes from.
    pub fn create_of(
        dir: &Path,
        disk: Disk,
        kind: Kind,
        encryption: Option<(KeptSource, &Key)>,
    ) -> Result<Self, Error> {
        let plan = format!("{kind:?}, {}\n", if encryption.is_some() { "encrypted" } else { "in the clear" });
        let _held = begin(dir, &disk, &plan)?;
        let sealed = |(source, key)| Header::new(key, source, identity_of(dir), kind);
        let encryption = encryption.map(sealed).transpose()?;
        let mut array = Self::with(dir, disk, kind)?;
        for part in [
            "objects",
            "objects/packs",
            "unpacked",
            "manifests",
            "snapshots",
            "refs",
            "refs/tags",
            "views",
            "published",
            "drafts",
            "leases",
        ] {
            array.disk.make_dir(&array.dir.join(part))?;
        }
        // All of them now, so that no object's directory is ever newer than the object.
        let objects = array.dir.join("objects");
        for front in 0..=u8::MAX {
            array.disk.make_dir(&objects.join(format!("{front:02x}")))?;
        }
        array.disk.sync_dir(&objects)?;
        let format = match encryption {
            None => FORMAT,
            Some((header, cipher)) => {
                array.write_header(&header)?;
                array.encryption = Encryption::Unlocked(Arc::new(cipher));
                ENCRYPTED
            }
        };
        if kind == Kind::Artifacts {
            array.disk.write_synced(&array.dir.join(ARTIFACTS_FILE), b"")?;
            let by = Run { name: "create".to_owned(), ..Run::default() };
            let empty = Manifest::default();
            let now = jiff::Timestamp::UNIX_EPOCH;
            publish(&array, None, empty, &array.dir.join("drafts"), &by, None, "empty", now)?;
        }
        // Last: a directory without it is one that was never finished, and is made again.
        array.disk.sync_dir(&array.dir.join("refs"))?;
        array.disk.replace(&array.dir.join(FORMAT_FILE), format.as_bytes())?;
        array.disk.remove(&array.dir.join(PLAN_FILE))?;
        if let Some(parent) = dir.parent() {
            array.disk.sync_dir(parent)?;
        }
        Ok(array)
    }

    fn with(dir: &Path, disk: Disk, kind: Kind) -> Result<Self, Error> {
        let lock_file = open_lock(dir)?;
        let encryption = Encryption::None;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            lock_file,
            packs: Arc::default(),
            kind,
            encryption,
            seen: Arc::default(),
            signer: None,
            limits: Limits::default(),
            waits: true,
        })
    }

    /// Where the key of an encrypted array comes from.
    pub fn key_source(&self) -> Result<Option<KeptSource>, Error> {
        match &self.encryption {
            Encryption::None => Ok(None),
            Encryption::Locked(header) => Ok(Some(header.source.clone())),
            Encryption::Unlocked(_) => Ok(Some(read_header(&self.dir)?.source)),
        }
    }

    /// This array with its key: without it only its log, refs and leases can be read.
    pub fn unlock(mut self, key: &Key) -> Result<Self, Error> {
        if let Encryption::Locked(header) = &self.encryption {
            self.encryption = Encryption::Unlocked(Arc::new(header.open(key, &identity_of(&self.dir))?));
        }
        Ok(self)
    }

    /// Lets another key open an encrypted array in the place of its own, once this returns. What is in it stays as it is sealed.
    pub fn rekey(&self, old: &Key, new: &Key, source: KeptSource) -> Result<(), Error> {
        let _lock = self.lock()?;
        let header = read_header(&self.dir)?.rekeyed(&identity_of(&self.dir), old, new, source)?;
        self.write_header(&header)
    }

    fn write_header(&self, header: &Header) -> Result<(), Error> {
        let path = self.dir.join(ENCRYPTION_FILE);
        let text = serde_json::to_vec(header)
            .map_err(|error| Error::Format { path: path.clone(), problem: error.to_string() })?;
        self.disk.replace(&path, &text)
    }

    pub fn is_encrypted(&self) -> bool {
        !matches!(self.encryption, Encryption::None)
    }

    /// What seals and opens an encrypted array's contents; nothing where they are in the clear.
    pub(crate) fn cipher(&self) -> Result<Option<&Cipher>, Error> {
        match &self.encryption {
            Encryption::None => Ok(None),
            Encryption::Locked(_) => Err(Error::Locked),
            Encryption::Unlocked(cipher) => Ok(Some(cipher)),
        }
    }

    /// The same, for who reads on when the array is gone.
    pub(crate) fn shared_cipher(&self) -> Result<Option<Arc<Cipher>>, Error> {
        match &self.encryption {
            Encryption::None => Ok(None),
            Encryption::Locked(_) => Err(Error::Locked),
            Encryption::Unlocked(cipher) => Ok(Some(cipher.clone())),
        }
    }

    /// The name of a content.
    pub(crate) fn digest(&self, bytes: &[u8]) -> Result<Digest, Error> {
        Ok(self.cipher()?.map_or_else(|| Digest::of(bytes), |cipher| cipher.digest(bytes)))
    }

    pub(crate) fn hasher(&self) -> Result<blake3::Hasher, Error> {
        Ok(self.cipher()?.map_or_else(blake3::Hasher::new, Cipher::hasher))
    }

    /// The name of a snapshot's record; nothing where the key is missing.
    fn record_name(&self, bytes: &[u8]) -> Option<Digest> {
        match &self.encryption {
            Encryption::None => Some(Digest::of(bytes)),
            Encryption::Locked(_) => None,
            Encryption::Unlocked(cipher) => Some(cipher.record(bytes)),
        }
    }

    /// What a ref or a lease of an encrypted array carries: that who wrote it has the key. Nothing of others.
    pub(crate) fn code(&self, what: &str, says: &str) -> Result<Option<Digest>, Error> {
        Ok(self.cipher()?.map(|cipher| cipher.code(what, says.as_bytes())))
    }

    /// Whether it is encrypted and its key is there.
    pub fn is_unlocked(&self) -> bool {
        matches!(self.encryption, Encryption::Unlocked(_))
    }

    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.encryption, Encryption::Locked(_))
    }

    /// A content as it is kept.
    pub(crate) fn sealed<'a>(&self, bytes: &'a [u8], role: Role<'_>) -> Result<Cow<'a, [u8]>, Error> {
        self.cipher()?.map_or(Ok(Cow::Borrowed(bytes)), |cipher| cipher.seal(bytes, role).map(Cow::Owned))
    }

    /// The same back; nothing of what is damaged.
    pub(crate) fn opened(&self, bytes: Vec<u8>, role: Role<'_>) -> Result<Option<Vec<u8>>, Error> {
        Ok(match self.cipher()? {
            None => Some(bytes),
            Some(cipher) => cipher.open(&bytes, role),
        })
    }

    /// A small file of ours, of which the content is sealed.
    pub(crate) fn read_sealed(&self, path: &Path, max: u64, role: Role<'_>) -> Result<Vec<u8>, Error> {
        let bytes = read_bounded(path, max)?;
        self.opened(bytes, role)?.ok_or_else(|| Error::Format {
            path: path.to_owned(),
            problem: "it is damaged, or sealed by another key".to_owned(),
        })
    }

    /// This array, within limits of the caller's.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// This array, for who waits for nobody: what another has locked is [`Error::Busy`].
    pub fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// This array, of which every new head is signed.
    #[must_use]
    pub fn signing(mut self, signer: Arc<Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    pub fn open(dir: &Path, disk: Disk) -> Result<Self, Error> {
        let path = dir.join(FORMAT_FILE);
        match fs::read_to_string(&path) {
            Ok(text) if text == FORMAT || text == WITHOUT_PACKS => Self::with(dir, disk, kind_of(dir)),
            Ok(text) if text == ENCRYPTED => {
                let header = read_header(dir)?;
                let mut array = Self::with(dir, disk, header.kind)?;
                array.encryption = Encryption::Locked(Arc::new(header));
                Ok(array)
            }
            Ok(text) if text == UNAUTHENTICATED => Err(Error::Format {
                path: dir.to_owned(),
                problem: "its snapshots are not authenticated, as those of encrypted arrays are since; export it with the \
                          program that made it, and import it into a new one"
                    .to_owned(),
            }),
            Ok(text) => {
                let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
                let problem =
                    format!("{FORMAT_FILE} says {shown:?}, and this program handles {:?}", FORMAT.trim());
                Err(Error::Format { path: dir.to_owned(), problem })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoArray(dir.to_owned())),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Bytes that its objects may have; nothing without a bound.
    pub fn quota_bytes(&self) -> Result<Option<u64>, Error> {
        let path = self.dir.join(QUOTA_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => text
                .trim_end()
                .parse()
                .map(Some)
                .map_err(|_| Error::Format { path, problem: "it holds no number of bytes".to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Whether an object of a server says what the quota is: another would be taken back.
    pub fn has_object(&self) -> bool {
        self.dir.join(OBJECT_FILE).exists()
    }

    /// By the server that has the object. Both end together.
    pub fn note_object(&self) -> Result<(), Error> {
        if self.has_object() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.disk.replace(&self.dir.join(OBJECT_FILE), b"")
    }

    pub fn set_quota(&self, bytes: Option<u64>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let path = self.dir.join(QUOTA_FILE);
        match bytes {
            Some(bytes) => self.disk.replace(&path, format!("{bytes}\n").as_bytes()),
            None => {
                self.disk.remove(&path)?;
                self.disk.sync_dir(&self.dir)
            }
        }
    }

    /// Removes the array with all its snapshots. Refused while a run or a reader holds a lease, and while a program holds a draft
    /// or imports.
    pub fn delete(self) -> Result<(), Error> {
        let _lock = self.lock()?;
        if let Some((name, _)) = self.leases()?.into_iter().next() {
            return Err(Error::InUse(name));
        }
        let drafts = self.dir.join("drafts");
        for name in names(&drafts)? {
            if !name.starts_with(REMOVED) && hold(&drafts.join(&name)).is_err_and(|error| error.is_held()) {
                return Err(Error::InUse(name));
            }
        }
        self.remove()
    }

    /// Removes an array that nobody has used yet; whether it did. One that has a head, in which something is staged or that a server
    /// has an object for stays.
    pub fn delete_unused(self) -> Result<bool, Error> {
        let _lock = self.lock()?;
        let staged = names(&self.dir.join("drafts"))?.iter().any(|name| !name.starts_with(REMOVED));
        if staged || self.has_object() || self.head()?.is_some() {
            return Ok(false);
        }
        self.remove()?;
        Ok(true)
    }

    fn remove(&self) -> Result<(), Error> {
        self.disk.remove_dir(&self.dir)?;
        self.dir.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent))
    }

    /// Where packs are placed, made when it is not there.
    pub(crate) fn packs_dir(&self) -> Result<PathBuf, Error> {
        let dir = self.dir.join("objects").join(pack::DIR);
        let path = self.dir.join(FORMAT_FILE);
        if fs::read(&path).is_ok_and(|text| text == WITHOUT_PACKS.as_bytes()) {
            self.disk.make_dir(&dir)?;
            self.disk.sync_dir(&self.dir.join("objects"))?;
            self.disk.replace(&path, FORMAT.as_bytes())?;
        }
        Ok(dir)
    }

    /// What the packs below a directory of objects hold, as it was when this was first asked or last refreshed.
    pub(crate) fn packs(&self, objects: &Path) -> Result<Arc<RwLock<Index>>, Error> {
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = packs.get(objects) {
            return Ok(index.clone());
        }
        let index = Arc::new(RwLock::new(Index::of(objects)?));
        packs.insert(objects.to_owned(), index.clone());
        Ok(index)
    }

    pub(crate) fn forget_packs(&self, objects: &Path) {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner).remove(objects);
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps others from changing refs and objects until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let lock = self.take_lock(match self.waits {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::NonBlockingLockExclusive,
        })?;
        match self.settled()? {
            // The head is what it will be. On a full disk what makes room goes on without; who moves the head insists on it.
            Err(Error::Io { .. }) => Ok(lock),
            settled => settled.map(|()| lock),
        }
    }

    /// The same, without looking at what was begun; nothing while somebody else has it.
    pub(crate) fn try_lock(&self) -> Result<Option<File>, Error> {
        match self.take_lock(FlockOperation::NonBlockingLockExclusive) {
            Err(Error::Busy(_)) => Ok(None),
            lock => lock.map(Some),
        }
    }

    /// Keeps a sweep and publications away while others may do the same.
    pub(crate) fn lock_shared(&self) -> Result<File, Error> {
        self.take_lock(match self.waits {
            true => FlockOperation::LockShared,
            false => FlockOperation::NonBlockingLockShared,
        })
    }

    fn take_lock(&self, how: FlockOperation) -> Result<File, Error> {
        let path = self.dir.join(LOCK_FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Replaced(self.dir.clone()));
            }
            file => file.map_err(Error::io("open", &path))?,
        };
        match flock(&file, how) {
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy(self.dir.clone())),
            locked => locked.map_err(Error::errno("lock", &path))?,
        }
        // While it was waited for, the array may have been deleted, and another made in its place.
        let of = |file: &File| file.metadata().map(|of| identity(&of)).map_err(Error::io("look at", &path));
        let named = fs::metadata(&path).map(|of| identity(&of)).ok();
        if of(&file)? != of(&self.lock_file)? || named != Some(of(&file)?) {
            return Err(Error::Replaced(self.dir.clone()));
        }
        Ok(file)
    }

    /// All snapshots that are kept.
    pub fn snapshots(&self) -> Result<Vec<Digest>, Error> {
        Ok(names(&self.dir.join("snapshots"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub fn snapshot(&self, digest: Digest) -> Result<Snapshot, Error> {
        self.record(digest, &self.dir.join("snapshots").join(digest.to_string()))
    }

    fn record(&self, digest: Digest, path: &Path) -> Result<Snapshot, Error> {
        match read_bounded(path, MAX_RECORD_BYTES) {
            Err(error) if error.is_not_found() => Err(Error::UnknownSnapshot(digest.to_string())),
            bytes => {
                let bytes = bytes?;
                Snapshot::decode(digest, &bytes, self.record_name(&bytes))
            }
        }
    }

    pub(crate) fn manifest_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("manifests").join(digest.to_string())
    }

    pub fn manifest(&self, digest: Digest) -> Result<Manifest, Error> {
        let path = self.manifest_path(digest);
        let damaged =
            |problem: &str| Error::Damaged { what: "manifest", digest, problem: problem.to_owned() };
        let bytes = self.opened(read_bounded(&path, manifest::MAX_BYTES)?, Role::Manifest)?;
        let bytes = bytes.ok_or_else(|| damaged("it is not whole"))?;
        if self.digest(&bytes)? != digest {
            return Err(damaged("its content has another digest"));
        }
        Manifest::read(digest, &bytes)
    }

    /// The snapshot that a person names: `head`, a tag, a digest or at least four digits of its beginning.
    pub fn resolve(&self, name: &str) -> Result<Digest, Error> {
        if name == "head" {
            return self.head()?.ok_or(Error::NoSnapshot);
        }
        if let Ok(digest) = name.parse() {
            self.snapshot(digest)?;
            return Ok(digest);
        }
        if let Some((_, digest)) = self.tags()?.into_iter().find(|(tag, _)| tag == name) {
            return Ok(digest);
        }
        if name.len() < 4 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::UnknownSnapshot(name.to_owned()));
        }
        let mut found = self.snapshots()?.into_iter().filter(|digest| digest.to_string().starts_with(name));
        match (found.next(), found.next()) {
            (Some(digest), None) => Ok(digest),
            (Some(_), Some(_)) => Err(Error::AmbiguousSnapshot(name.to_owned())),
            (None, _) => Err(Error::UnknownSnapshot(name.to_owned())),
        }
    }

    /// The snapshots from the head back that are kept; `visit` says whether to go on. Those that were swept are passed over.
    pub fn log(&self, mut visit: impl FnMut(Digest, &Snapshot) -> bool) -> Result<(), Error> {
        self.history(|digest, snapshot, was_swept| was_swept || visit(digest, snapshot))
    }

    /// The same with those whose content was swept: their records tell what there was.
    pub(crate) fn history(
        &self,
        mut visit: impl FnMut(Digest, &Snapshot, bool) -> bool,
    ) -> Result<(), Error> {
        let mut next = self.head()?;
        while let Some(digest) = next {
            let (snapshot, was_swept) = match self.snapshot(digest) {
                Err(Error::UnknownSnapshot(_)) => {
                    let path = self.dir.join("snapshots").join(digest.to_string());
                    (self.record(digest, &path.with_extension(SWEPT))?, true)
                }
                found => (found?, false),
            };
            if !visit(digest, &snapshot, was_swept) {
                return Ok(());
            }
            next = snapshot.parent;
        }
        Ok(())
    }

    /// Stores a manifest and a snapshot of it, both durable with their names.
    pub(crate) fn put_snapshot(&self, snapshot: &Snapshot, manifest: &[u8]) -> Result<Digest, Error> {
        let path = self.manifest_path(snapshot.manifest);
        let sealed = bounded(self.sealed(manifest, Role::Manifest)?, manifest::MAX_BYTES)?;
        // One that is there takes no more room.
        if !path.exists() {
            self.check_manifest_room(sealed.len() as u64)?;
        }
        self.disk.replace(&path, &sealed)?;
        let bytes = snapshot.encode();
        let digest = self.record_name(&bytes).ok_or(Error::Locked)?;
        let placed = self.disk.replace(&self.dir.join("snapshots").join(digest.to_string()), &bytes);
        placed.inspect_err(|_| self.take_back(digest))?;
        Ok(digest)
    }

    /// What was made for a head that did not move goes, so that a publication that is tried again and again leaves nothing: without a
    /// retention each snapshot is kept. What cannot be removed is in nobody's way.
    pub(crate) fn take_back(&self, made: Digest) {
        let name = made.to_string();
        let removed = self.disk.remove(&self.signatures().join(&name));
        drop(removed.and_then(|()| self.disk.remove(&self.dir.join("snapshots").join(&name))));
    }
}

const LOCK_FILE: &str = "lock";

/// Makes an array's directory, held for this program, and writes down what it is to be. What a crash left of the same is made anew;
/// over anything else nothing is made: it may be an array that was sealed, and what is imported next would lie there in the clear.
fn begin(dir: &Path, disk: &Disk, plan: &str) -> Result<File, Error> {
    let path = dir.join(PLAN_FILE);
    let held = || {
        disk.make_dir(dir)?;
        disk.write_synced(&dir.join(LOCK_FILE), b"")?;
        hold(dir)
    };
    let is_ours = |name: &String| name == LOCK_FILE || name.strip_prefix(PLAN_FILE) == Some(".next");
    if dir.join(FORMAT_FILE).exists() {
        return Err(Error::Exists(dir.to_owned()));
    }
    // Nothing is put into a directory of somebody else's.
    if dir.exists() && !path.exists() && !names(dir)?.iter().all(is_ours) {
        return Err(Error::Leftover(dir.to_owned()));
    }
    let mut file = held()?;
    if dir.join(FORMAT_FILE).exists() {
        return Err(Error::Exists(dir.to_owned()));
    }
    if path.exists() {
        if read_bounded(&path, MAX_RECORD_BYTES)? != plan.as_bytes() {
            return Err(Error::Leftover(dir.to_owned()));
        }
        disk.remove_dir(dir)?;
        file = held()?;
    }
    disk.replace(&path, plan.as_bytes())?;
    Ok(file)
}

/// `namespace/name`: the names of an array's directory and of that above.
pub(crate) fn identity_of(dir: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    format!("{}/{}", name(dir.parent()), name(Some(dir)))
}

fn kind_of(dir: &Path) -> Kind {
    if dir.join(ARTIFACTS_FILE).exists() { Kind::Artifacts } else { Kind::Zarr }
}

fn read_header(dir: &Path) -> Result<Header, Error> {
    let path = dir.join(ENCRYPTION_FILE);
    let text = read_bounded(&path, 1 << 16)?;
    serde_json::from_slice(&text).map_err(|error| Error::Format { path, problem: error.to_string() })
}

fn open_lock(dir: &Path) -> Result<Arc<File>, Error> {
    let path = dir.join(LOCK_FILE);
    File::open(&path).map(Arc::new).map_err(Error::io("open", &path))
}

/// Holds a draft's or an import's directory for this program, until the file is dropped.
pub(crate) fn hold(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let held = || Error::Held(dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(held()),
        locked => locked.map_err(Error::errno("lock", &path))?,
    }
    // Who held it before may have removed the directory: then this is the lock of nothing.
    let opened = file.metadata().map_err(Error::io("look at", &path))?;
    match fs::metadata(&path) {
        Ok(named) if identity(&named) == identity(&opened) => Ok(file),
        _ => Err(held()),
    }
}

/// The names in a directory, sorted, without those that are no UTF-8: ours all are.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// What would never be read again is not written.
pub(crate) fn bounded<T: AsRef<[u8]>>(bytes: T, max: u64) -> Result<T, Error> {
    match bytes.as_ref().len() as u64 {
        length if length > max => Err(Error::TooLong { bytes: length, max }),
        _ => Ok(bytes),
    }
}

pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map_err(Error::io("look at", path))?.len();
    if size > max {
        let problem = format!("{size} bytes, and at most {max} are read");
        return Err(Error::Format { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(Error::io("read", path))
}
