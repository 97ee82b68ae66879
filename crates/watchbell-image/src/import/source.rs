//! Named contents of an archive or a folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::codec::{self, Ceiling, Decoder};
use crate::digest::{Hasher, excerpt};
use crate::store::verify;
use crate::tar::{self, Archive, Kind};
use crate::{Compression, Descriptor, Digest, Error, Limits, Platform, Store};

/// Links inside an archive that are followed before giving up.
const LINKS_MAX: usize = 8;

pub(crate) enum Source {
    Folder { path: PathBuf, dir: OwnedFd },
    Archive { file: File, members: HashMap<String, Member> },
}

pub(crate) enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// `docker save` of old wrote a layer once and linked to it.
    Link {
        target: String,
    },
}

/// An uncompressed archive in a file that can be read at any place. One that came compressed is kept in a nameless file
/// meanwhile.
pub(crate) struct Spool(File);

impl Spool {
    pub(crate) fn from_file(
        work_dir: &Path,
        limits: &Limits,
        file: File,
        origin: &str,
    ) -> Result<Self, Error> {
        let size = file.metadata().map_err(Error::io("read", origin))?.len();
        let mut buffered = BufReader::new(&file);
        let compression = codec::sniff(&mut buffered).map_err(Error::io("read", origin))?;
        (&file).seek(SeekFrom::Start(0)).map_err(Error::io("read", origin))?;
        if compression == Compression::None {
            return Ok(Self(file));
        }
        let decoder = Decoder::new(BufReader::new(file), compression);
        let ceiling = codec::ceiling(size, limits.archive_bytes_max, limits);
        copy_to_spool(work_dir, Ceiling::new(decoder, ceiling), origin)
    }

    pub(crate) fn from_stream(store: &Store, stream: impl Read, origin: &str) -> Result<Self, Error> {
        let ceiling = store.limits().archive_bytes_max;
        let work_dir = store.ingest_dir();
        let Self(file) = copy_to_spool(&work_dir, Ceiling::new(stream, ceiling), origin)?;
        Self::from_file(&work_dir, store.limits(), file, origin)
    }
}

fn copy_to_spool(dir: &Path, mut from: impl Read, origin: &str) -> Result<Spool, Error> {
    let mut file = tempfile::tempfile_in(dir).map_err(Error::io("create a file in", dir))?;
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Import { origin: origin.to_owned(), reason: e.to_string() }),
        };
        file.write_all(&buffer[..n]).map_err(Error::io("write a file in", dir))?;
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read a file in", dir))?;
    Ok(Spool(file))
}

impl Source {
    pub(crate) fn folder(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let dir =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()))?;
        Ok(Self::Folder { path: path.to_owned(), dir })
    }

    pub(crate) fn archive(Spool(file): Spool, limits: &Limits, origin: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Import { origin: origin.to_owned(), reason };
        let reader = file.try_clone().map_err(Error::io("read", origin))?;
        let mut archive =
            Archive::new(BufReader::with_capacity(64 << 10, reader), limits.entry_header_bytes_max);
        let mut members = HashMap::new();
        let not_tar = |e: tar::Error| refuse(format!("it is no tar archive that can be read: {e}"));
        while let Some(entry) = archive.next_entry().map_err(not_tar)? {
            if members.len() >= limits.archive_entries_max {
                return Err(refuse(format!("it has more than {} entries", limits.archive_entries_max)));
            }
            let Some(name) = std::str::from_utf8(&entry.path).ok().and_then(|n| normalized("", n)) else {
                return Err(refuse(format!(
                    "its entry \"{}\" has no name that an image archive uses",
                    excerpt(&String::from_utf8_lossy(&entry.path))
                )));
            };
            let link = |target: &[u8], base: &str| {
                std::str::from_utf8(target)
                    .ok()
                    .and_then(|t| normalized(base, t))
                    .ok_or_else(|| refuse(format!("its entry \"{name}\" links out of the archive")))
            };
            let member = match &entry.kind {
                Kind::File if entry.sparse.is_none() => {
                    Member::File { offset: entry.data_offset, size: entry.size }
                }
                Kind::Directory => continue,
                Kind::Symlink { target } => {
                    let base = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                    Member::Link { target: link(target, base)? }
                }
                Kind::HardLink { target } => Member::Link { target: link(target, "")? },
                _ => return Err(refuse(format!("its entry \"{name}\" is neither a file nor a link"))),
            };
            if members.insert(name.clone(), member).is_some() {
                // Two readers could take different ones.
                return Err(refuse(format!("it holds \"{name}\" twice")));
            }
        }
        Ok(Self::Archive { file, members })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self.open(name), Ok(Some(_)))
    }

    /// The content under `name` and its size, or `None` when there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<(Take<Content<'_>>, u64)>, Error> {
        match self {
            Self::Folder { path, dir } => {
                let at = path.join(name);
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
                    Ok(file) => File::from(file),
                    Err(rustix::io::Errno::NOENT) => return Ok(None),
                    Err(e) => return Err(Error::io("open", &at)(e.into())),
                };
                let metadata = file.metadata().map_err(Error::io("look at", &at))?;
                if !metadata.is_file() {
                    return Err(Error::Import {
                        origin: at.display().to_string(),
                        reason: "it is not a regular file".to_owned(),
                    });
                }
                let size = metadata.len();
                Ok(Some((Content::File(file).take(size), size)))
            }
            Self::Archive { file, members } => {
                let mut name = name;
                for _ in 0..LINKS_MAX {
                    match members.get(name) {
                        None => return Ok(None),
                        Some(Member::File { offset, size }) => {
                            return Ok(Some((Content::Part { file, offset: *offset }.take(*size), *size)));
                        }
                        Some(Member::Link { target }) => name = target,
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Source {
    /// A small file.
    pub(crate) fn document(&self, name: &str, limits: &Limits, origin: &str) -> Result<Vec<u8>, Error> {
        let refuse = |reason: String| Error::Import { origin: origin.to_owned(), reason };
        let (content, size) =
            self.open(name)?.ok_or_else(|| refuse(format!("it lacks \"{}\"", excerpt(name))))?;
        let max = limits.document_bytes_max;
        if size > max {
            return Err(Error::Limit {
                origin: origin.to_owned(),
                object: format!("\"{}\"", excerpt(name)),
                reason: format!("{size} bytes, at most {max} are read"),
            });
        }
        let mut bytes = Vec::new();
        content
            .take(max)
            .read_to_end(&mut bytes)
            .map_err(|e| refuse(format!("cannot read its \"{}\": {e}", excerpt(name))))?;
        Ok(bytes)
    }

    /// A manifest, index or configuration of an OCI layout, verified.
    pub(crate) fn blob_document(
        &self,
        descriptor: &Descriptor,
        limits: &Limits,
        origin: &str,
    ) -> Result<Vec<u8>, Error> {
        let name = blob_name(&descriptor.digest);
        if !self.has(&name) {
            return Err(lacks(&descriptor.digest, origin));
        }
        let bytes = self.document(&name, limits, origin)?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&bytes);
        let size = bytes.len() as u64;
        verify(origin, "a document", &descriptor.digest, descriptor.size, &hasher.finish(), size)?;
        Ok(bytes)
    }
}

/// Where an OCI layout has a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// A blob that is not in the layout.
pub(super) fn lacks(digest: &Digest, origin: &str) -> Error {
    Error::Import {
        origin: origin.to_owned(),
        reason: format!(
            "it lacks blob {digest}; was it saved for another platform than {}?",
            Platform::host()
        ),
    }
}

pub(crate) enum Content<'a> {
    File(File),
    Part { file: &'a File, offset: u64 },
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buf),
            Self::Part { file, offset } => {
                let n = file.read_at(buf, *offset)?;
                *offset += n as u64;
                Ok(n)
            }
        }
    }
}

/// `path` below `base` with `.`, `..` and doubled slashes resolved; `None` when it leads out or names nothing.
fn normalized(base: &str, path: &str) -> Option<String> {
    let mut components: Vec<&str> = base.split('/').filter(|c| !c.is_empty()).collect();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop()?;
            }
            _ => components.push(component),
        }
    }
    (!path.contains('\0')).then(|| components.join("/"))
}
