//! Arrays that are encrypted at rest: their chunks, documents, manifests and what their drafts have committed.
//!
//! ```text
//! sealed = magic │ 16 random bytes │ segments of 1 MiB, the last one shorter, each with a tag of 16 bytes
//! segment = XChaCha20-Poly1305, nonce: the random bytes, the segment's number, its top bit in the last
//! name of an object = BLAKE3, keyed
//! ```
//!
//! With each segment its role is authenticated: an object of a name, a manifest, a draft of a run, what an index of it committed, how
//! far an import is. What was sealed as the one is not opened as the other.
//!
//! Both keys are derived from a root and a salt of the array. The root lies beside it, sealed under the array's key: another key seals
//! it anew, and nothing else changes. (Of arrays from before, whose key was never changed, the root is the key.) So equal chunks of two arrays have nothing in common. A
//! segment cannot be moved, left out or added; that a content is the one of its name, its keyed hash says. In the clear stay what
//! snapshots say (when, by whom, how many keys and bytes, the message), sizes and numbers of objects, and tags. Nobody writes those
//! without the key either: a record is named by its keyed hash, and with each ref lies a code of what it says.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::error::Error;
use crate::store::Kind;

const MAGIC: &[u8; 8] = b"WBSEAL\x00\x01";
const RANDOM_BYTES: usize = 16;
const HEADER: usize = MAGIC.len() + RANDOM_BYTES;
const TAG: usize = 16;
const SEGMENT: usize = 1 << 20;
const LAST: u64 = 1 << 63;
/// What something sealed is.
#[derive(Clone, Copy)]
pub(crate) enum Role<'a> {
    Object,
    Manifest,
    Draft {
        run: &'a str,
    },
    Index {
        run: &'a str,
        index: u32,
    },
    /// What an import has copied, batch after batch.
    Progress {
        import: &'a str,
        batch: u32,
    },
    /// Of an array's name and kind.
    Check {
        identity: &'a str,
        kind: Kind,
    },
    /// What the keys of an array are derived from.
    Root {
        identity: &'a str,
    },
}

impl Role<'_> {
    /// No run's name has a space.
    fn name(self) -> String {
        match self {
            Self::Object => "object".to_owned(),
            Self::Manifest => "manifest".to_owned(),
            Self::Draft { run } => format!("draft {run}"),
            Self::Index { run, index } => format!("index {index} {run}"),
            Self::Progress { import, batch } => format!("progress {batch} {import}"),
            // No array's name has a space.
            Self::Check { identity, kind } => format!("check {kind:?} {identity}"),
            Self::Root { identity } => format!("root {identity}"),
        }
    }
}

const CHECK: &[u8] = b"watchbell-array";

/// The key of an array, wiped when it is dropped. It is printed nowhere.
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// Where a key comes from, as who opens the array says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file of the user that reads it, for him alone.
    File(PathBuf),
    /// A program with its arguments, run without a shell, that prints the key.
    Command(Vec<String>),
}

/// What is kept of that beside the array. A command is not: who can write the array's directory would choose what others run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KeptSource {
    File(PathBuf),
    Command,
    /// A key that a server knows by this name.
    Named(String),
}

impl KeySource {
    /// What is kept of it beside an array.
    pub fn kept(&self) -> KeptSource {
        match self {
            Self::File(path) => KeptSource::File(path.clone()),
            Self::Command(_) => KeptSource::Command,
        }
    }

    /// Gets the key: 32 bytes, or their 64 hexadecimal digits.
    pub fn key(&self) -> Result<Key, Error> {
        match self {
            Self::File(path) => {
                read_file(path).map_err(|problem| Error::Key(format!("{}: {problem}", path.display())))
            }
            Self::Command(argv) => {
                let program = argv.first().map(String::as_str).unwrap_or_default();
                run(argv, PATIENCE).map_err(|problem| Error::Key(format!("the command {program}: {problem}")))
            }
        }
    }
}

/// More is no key.
const MAX_KEY_BYTES: usize = 4096;

fn read_file(path: &Path) -> Result<Key, String> {
    let mut options = File::options();
    let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.read(true).custom_flags(nofollow.bits().cast_signed());
    let file = options.open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let of = file.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    if !of.is_file() || of.mode() & 0o077 != 0 || of.uid() != rustix::process::geteuid().as_raw() {
        return Err("it must be a file of the user that reads it, with mode 0600".to_owned());
    }
    take_key(file).and_then(|bytes| parse(&bytes))
}

fn take_key(from: impl Read) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_BYTES + 1));
    from.take(MAX_KEY_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("its key cannot be read: {error}"))?;
    Ok(bytes)
}

/// Of a command that prints a key.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a command gets of the environment, if it is there: where programs and its user's configuration are, which language it
/// speaks, and who is trusted. Nothing else of who asks, who may hold secrets of others. A command that needs more is `env A=B …`.
const KMS_ENVIRONMENT: [&str; 9] =
    ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];

fn run(argv: &[String], patience: Duration) -> Result<Key, String> {
    let deadline = Instant::now() + patience;
    let (program, args) = argv.split_first().ok_or("it is empty")?;
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(KMS_ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let group = rustix::process::Pid::from_child(&child);
    let Some(stdout) = child.stdout.take() else { return Err("it has no output".to_owned()) };
    let (send, receive) = mpsc::channel();
    // Both end with the program and those that it started, which is at the deadline at the latest.
    std::thread::spawn(move || send.send(take_key(stdout)));
    let (send_end, end) = mpsc::channel();
    std::thread::spawn(move || send_end.send(child.wait()));
    let printed = receive.recv_timeout(patience);
    let ended = end.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let (Ok(bytes), Ok(status)) = (printed, ended) else {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        return Err(format!("it printed no key and ended within {} s", patience.as_secs()));
    };
    let status = status.map_err(|error| format!("its end is not known: {error}"))?;
    let bytes = bytes?;
    if !status.success() {
        return Err(format!("it failed: {status}"));
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Key, String> {
    let wrong = || "a key has 32 bytes, or 64 hexadecimal digits".to_owned();
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() == 32 {
        key.copy_from_slice(bytes);
        return Ok(Key(key));
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if digits.len() != 64 {
        return Err(wrong());
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| (pair[at] as char).to_digit(16).ok_or_else(wrong);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(Key(key))
}

/// What lies beside an encrypted array.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    format: u32,
    /// Of no weight: whoever has a key tries it.
    pub(crate) source: KeptSource,
    /// `namespace/name`: in the place of another array it is not opened, though both have one key.
    pub(crate) identity: String,
    pub(crate) kind: Kind,
    salt: [u8; 32],
    /// What the array's own keys are derived from, sealed under the array's key. Not there: that key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Vec<u8>>,
    /// A known text, sealed with the identity and the kind: another root does not open it.
    check: Vec<u8>,
}

pub(crate) struct Cipher {
    data: XChaCha20Poly1305,
    names: Zeroizing<[u8; 32]>,
    records: Zeroizing<[u8; 32]>,
}

const HEADER_FORMAT: u32 = 4;
/// Without a root of its own.
const WITHOUT_ROOT: u32 = 3;

impl Header {
    pub(crate) fn new(
        key: &Key,
        source: KeptSource,
        identity: String,
        kind: Kind,
    ) -> Result<(Self, Cipher), Error> {
        let (mut salt, mut root) = ([0; 32], Key::new([0; 32]));
        fill(&mut salt)?;
        fill(&mut *root.0)?;
        let cipher = Cipher::new(&root, &salt);
        let check = cipher.seal(CHECK, Role::Check { identity: &identity, kind })?;
        let header = Self { format: HEADER_FORMAT, source, identity, kind, salt, root: None, check };
        Ok((header.under(key, &root)?, cipher))
    }

    /// The same array, opened by another key from now on.
    pub(crate) fn rekeyed(
        mut self,
        identity: &str,
        old: &Key,
        new: &Key,
        source: KeptSource,
    ) -> Result<Self, Error> {
        self.open(old, identity)?;
        let root = self.root(old)?;
        (self.format, self.source) = (HEADER_FORMAT, source);
        self.under(new, &root)
    }

    fn under(mut self, key: &Key, root: &Key) -> Result<Self, Error> {
        let role = Role::Root { identity: &self.identity };
        self.root = Some(Cipher::of_roots(key, &self.salt).seal(&*root.0, role)?);
        Ok(self)
    }

    fn root(&self, key: &Key) -> Result<Key, Error> {
        let Some(sealed) = &self.root else { return Ok(Key(key.0.clone())) };
        let opened = Cipher::of_roots(key, &self.salt).open(sealed, Role::Root { identity: &self.identity });
        let bytes = Zeroizing::new(opened.ok_or(Error::WrongKey)?);
        let root = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::WrongKey)?;
        Ok(Key::new(root))
    }

    pub(crate) fn open(&self, key: &Key, identity: &str) -> Result<Cipher, Error> {
        let format = if self.root.is_some() { HEADER_FORMAT } else { WITHOUT_ROOT };
        let cipher = Cipher::new(&self.root(key)?, &self.salt);
        match cipher.open(&self.check, Role::Check { identity: &self.identity, kind: self.kind }) {
            Some(text) if self.format == format && text == CHECK => {}
            _ => return Err(Error::WrongKey),
        }
        if self.identity != identity {
            return Err(Error::Elsewhere { is: self.identity.clone(), at: identity.to_owned() });
        }
        Ok(cipher)
    }
}

fn derived(key: &Key, salt: &[u8; 32], context: &str) -> Zeroizing<[u8; 32]> {
    let mut material = Zeroizing::new([0; 64]);
    material[..32].copy_from_slice(&*key.0);
    material[32..].copy_from_slice(salt);
    Zeroizing::new(blake3::derive_key(context, &*material))
}

impl Cipher {
    /// What seals roots alone.
    fn of_roots(key: &Key, salt: &[u8; 32]) -> Self {
        Self::new(&Key(derived(key, salt, "watchbell-array 2026 key of a root")), salt)
    }

    fn new(key: &Key, salt: &[u8; 32]) -> Self {
        let derived = |context| derived(key, salt, context);
        let data = derived("watchbell-array 2026 contents");
        Self {
            data: XChaCha20Poly1305::new((&*data).into()),
            names: derived("watchbell-array 2026 names of objects"),
            records: derived("watchbell-array 2026 records and refs"),
        }
    }

    /// The name of a snapshot's record.
    pub(crate) fn record(&self, bytes: &[u8]) -> Digest {
        self.code("snapshot", bytes)
    }

    /// That who wrote `bytes` has the key, and meant them as this.
    pub(crate) fn code(&self, what: &str, bytes: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.records);
        // No name of a ref has a line's end.
        hasher.update(what.as_bytes()).update(b"\n").update(bytes);
        Digest::from_hash(hasher.finalize())
    }

    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.names)
    }

    pub(crate) fn digest(&self, bytes: &[u8]) -> Digest {
        Digest::from_hash(blake3::keyed_hash(&self.names, bytes))
    }

    pub(crate) fn seal(&self, bytes: &[u8], role: Role<'_>) -> Result<Vec<u8>, Error> {
        let mut writer = self.writer(Vec::with_capacity(bytes.len() + HEADER + TAG), role)?;
        let failed = |error: io::Error| Error::Key(error.to_string());
        writer.write_all(bytes).map_err(failed)?;
        writer.finish().map_err(failed)
    }

    /// The content, if it is whole.
    pub(crate) fn open(&self, sealed: &[u8], role: Role<'_>) -> Option<Vec<u8>> {
        let mut content = Vec::with_capacity(sealed.len());
        Reader::new(self, sealed, sealed.len() as u64, role).ok()?.read_to_end(&mut content).ok()?;
        Some(content)
    }

    pub(crate) fn writer<W: Write>(&self, mut to: W, role: Role<'_>) -> Result<Writer<'_, W>, Error> {
        let mut random = [0; RANDOM_BYTES];
        fill(&mut random)?;
        let header = [&MAGIC[..], &random].concat();
        to.write_all(&header).map_err(|error| Error::Key(error.to_string()))?;
        Ok(Writer {
            cipher: self,
            to,
            role: role.name(),
            random,
            number: 0,
            plain: Zeroizing::new(Vec::new()),
        })
    }

    /// Reads an object that is sealed, of `length` bytes.
    pub(crate) fn reader<R: Read>(&self, from: R, length: u64) -> io::Result<Reader<&Self, R>> {
        Reader::new(self, from, length, Role::Object)
    }

    fn nonce(random: &[u8; RANDOM_BYTES], number: u64) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..RANDOM_BYTES].copy_from_slice(random);
        nonce[RANDOM_BYTES..].copy_from_slice(&number.to_le_bytes());
        XNonce::from(nonce)
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::Key(format!("the kernel gives no random bytes: {error}")))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or sealed by another key")
}

/// Bytes of the content of what is sealed in `length` bytes; nothing where that is no length of a seal.
pub(crate) fn content_length(length: u64) -> Option<u64> {
    let body = length.checked_sub(HEADER as u64)?;
    let whole = body / (SEGMENT + TAG) as u64;
    match body % (SEGMENT + TAG) as u64 {
        0 => Some(whole * SEGMENT as u64),
        rest => Some(whole * SEGMENT as u64 + rest.checked_sub(TAG as u64)?),
    }
}

/// Seals what is written to it; without `finish` it is not whole.
pub(crate) struct Writer<'a, W> {
    cipher: &'a Cipher,
    to: W,
    role: String,
    random: [u8; RANDOM_BYTES],
    number: u64,
    plain: Zeroizing<Vec<u8>>,
}

impl<W: Write> Writer<'_, W> {
    fn segment(&mut self, length: usize, last: u64) -> io::Result<()> {
        let nonce = Cipher::nonce(&self.random, self.number | last);
        let sealed = self
            .cipher
            .data
            .encrypt(&nonce, Payload { msg: &self.plain[..length], aad: self.role.as_bytes() });
        self.to.write_all(&sealed.map_err(|_| io::Error::other("it cannot be sealed"))?)?;
        self.plain.drain(..length);
        self.number += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.segment(self.plain.len(), LAST)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Writer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.extend_from_slice(bytes);
        // The last is sealed as that: what may be it stays.
        while self.plain.len() > SEGMENT {
            self.segment(SEGMENT, 0)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Opens what is read from it, segment by segment, and gives nothing of one that is not whole.
pub(crate) struct Reader<C, R> {
    cipher: C,
    from: R,
    role: String,
    left: u64,
    random: [u8; RANDOM_BYTES],
    number: u64,
    plain: Zeroizing<Vec<u8>>,
    at: usize,
}

impl<C: Deref<Target = Cipher>, R: Read> Reader<C, R> {
    pub(crate) fn new(cipher: C, mut from: R, length: u64, role: Role<'_>) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let (magic, random) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged());
        }
        let random = random.try_into().map_err(|_| damaged())?;
        let left = length.saturating_sub(HEADER as u64);
        Ok(Self {
            cipher,
            from,
            role: role.name(),
            left,
            random,
            number: 0,
            plain: Zeroizing::default(),
            at: 0,
        })
    }
}

impl<C: Deref<Target = Cipher>, R: Read> Read for Reader<C, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if self.left == 0 {
                // Without a last segment it was cut.
                return if self.number & LAST != 0 { Ok(0) } else { Err(damaged()) };
            }
            let length = self.left.min((SEGMENT + TAG) as u64);
            let mut sealed = vec![0; length as usize];
            self.from.read_exact(&mut sealed)?;
            self.left -= length;
            let last = if self.left == 0 { LAST } else { 0 };
            let nonce = Cipher::nonce(&self.random, self.number | last);
            let sealed = Payload { msg: &sealed, aad: self.role.as_bytes() };
            let plain = self.cipher.data.decrypt(&nonce, sealed).map_err(|_| damaged())?;
            self.plain = Zeroizing::new(plain);
            self.at = 0;
            self.number = (self.number + 1) | last;
        }
        let length = to.len().min(self.plain.len() - self.at);
        to[..length].copy_from_slice(&self.plain[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that closes its output and goes on, with a child of its own.
    #[test]
    fn a_command_ends_in_time_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            format!("mkfifo {0}/f; cat {0}/f & printf '%064d' 7; exec >&-; wait", dir.path().display());
        let argv = ["sh", "-c", &script].map(str::to_owned);
        let error = run(&argv, Duration::from_secs(1)).err().unwrap();
        assert_eq!(error, "it printed no key and ended within 1 s");
    }

    #[test]
    fn a_command_has_the_environment_that_is_stated_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("environment");
        // Cargo gives every test some variables of its own.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && std::env::var_os("PATH").is_some());
        let script = format!("cat /proc/$$/environ > {}; printf '%064d' 7", file.display());
        let argv = ["sh", "-c", &script].map(str::to_owned);
        run(&argv, PATIENCE).unwrap();
        let seen = std::fs::read_to_string(&file).unwrap();
        let names: Vec<&str> =
            seen.split_terminator('\0').filter_map(|one| Some(one.split_once('=')?.0)).collect();
        assert!(names.contains(&"PATH"), "{names:?}");
        assert!(names.iter().all(|name| KMS_ENVIRONMENT.contains(name)), "{names:?}");
    }

    /// Of an array from before: its key opens it until another does, and its contents stay as they are.
    #[test]
    fn another_key_opens_an_array_from_before() {
        let key = |byte| Key::new([byte; 32]);
        let (old, new, salt) = (key(1), key(2), [3; 32]);
        let cipher = Cipher::new(&old, &salt);
        let role = Role::Check { identity: "ml/obs", kind: Kind::Zarr };
        let before = Header {
            format: WITHOUT_ROOT,
            source: KeptSource::Command,
            identity: "ml/obs".to_owned(),
            kind: Kind::Zarr,
            salt,
            root: None,
            check: cipher.seal(CHECK, role).unwrap(),
        };
        let read =
            |header: &Header| serde_json::from_slice::<Header>(&serde_json::to_vec(header).unwrap()).unwrap();
        let before = read(&before);
        let name = cipher.digest(b"chunk");
        assert_eq!(before.open(&old, "ml/obs").unwrap().digest(b"chunk"), name);
        assert!(read(&before).rekeyed("ml/obs", &new, &new, KeptSource::Command).is_err());
        let after =
            read(&read(&before).rekeyed("ml/obs", &old, &new, KeptSource::Named("k".to_owned())).unwrap());
        assert_eq!(after.open(&new, "ml/obs").unwrap().digest(b"chunk"), name);
        assert!(matches!(after.open(&old, "ml/obs"), Err(Error::WrongKey)));
        assert!(matches!(after.open(&new, "ml/other"), Err(Error::Elsewhere { .. })));
        // And once more, back.
        let back = read(&after).rekeyed("ml/obs", &new, &old, KeptSource::Command).unwrap();
        assert_eq!(back.open(&old, "ml/obs").unwrap().digest(b"chunk"), name);
        assert!(back.open(&new, "ml/obs").is_err());
        // A root of another array is none, nor is one that was taken away.
        let (mut moved, mut bare) = (read(&after), read(&after));
        moved.identity = "ml/other".to_owned();
        bare.root = None;
        assert!(moved.open(&new, "ml/other").is_err() && bare.open(&new, "ml/obs").is_err());
    }

    #[test]
    fn what_is_sealed_is_opened_whole_or_not_at_all() {
        let cipher = |byte| Cipher::new(&Key(Zeroizing::new([byte; 32])), &[0; 32]);
        for length in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 7] {
            let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let sealed = cipher(1).seal(&content, Role::Manifest).unwrap();
            assert_eq!(content_length(sealed.len() as u64), Some(length as u64));
            assert!(cipher(1).open(&sealed, Role::Manifest).unwrap() == content);
            assert!(cipher(1).seal(&content, Role::Manifest).unwrap() != sealed);
            assert!(cipher(2).open(&sealed, Role::Manifest).is_none());
            for role in [
                Role::Object,
                Role::Check { identity: "a/b", kind: Kind::Zarr },
                Role::Draft { run: "" },
                Role::Index { run: "", index: 0 },
            ] {
                assert!(cipher(1).open(&sealed, role).is_none());
            }
            for at in [0, 9, HEADER, sealed.len() - 1] {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1;
                assert!(cipher(1).open(&damaged, Role::Manifest).is_none(), "{length} {at}");
            }
            for cut in [0, HEADER, sealed.len() - 1, (HEADER + SEGMENT + TAG).min(sealed.len() - 1)] {
                assert!(cipher(1).open(&sealed[..cut], Role::Manifest).is_none(), "{length} {cut}");
            }
        }
    }
}
