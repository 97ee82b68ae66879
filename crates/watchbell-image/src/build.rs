//! Images made from files, without a Dockerfile: one static binary, or the tree of a root file system.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::digest::{Hasher, excerpt};
use crate::document::Manifest;
use crate::media_type::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::store::{IndexEntry, Ingest};
use crate::tar::{Entry, Kind, Writer};
use crate::{Descriptor, Digest, Error, History, Image, ImageConfig, Platform, Reference, Store};

/// What goes into an image and how it runs.
#[derive(Clone, Debug)]
pub struct BuildSpec {
    /// From the host's path to the image's. A file becomes that file; a directory's content goes below that path.
    pub copies: Vec<(PathBuf, PathBuf)>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// `uid`, `uid:gid` or a name; empty leaves it unsaid.
    pub user: String,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub platform: Platform,
    /// The time of the image and of every file in it, so that the same input gives the same digest.
    pub created: Timestamp,
    pub ownership: Ownership,
}

/// Whose the files in the image are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Root's, whoever has them on the host.
    #[default]
    Root,
    /// Whose they are on the host, by number: for the tree of a root file system.
    Preserve,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            copies: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
            labels: BTreeMap::new(),
            platform: Platform::host(),
            created: Timestamp::UNIX_EPOCH,
            ownership: Ownership::default(),
        }
    }
}

/// Builds an image of one layer, names it, and returns it. The same input gives the same digests, on any machine: the
/// layer is sorted, carries no time but `created`, and is stored uncompressed. Device nodes and sockets of a tree are
/// left out with a warning in the log.
pub fn build_scratch(store: &Store, spec: &BuildSpec, reference: &Reference) -> Result<Image, Error> {
    let refuse = |reason: String| Error::Build { reference: reference.familiar(), reason };
    if reference.digest().is_some() {
        return Err(refuse("a name by digest cannot be given; write name:tag".to_owned()));
    }
    if let Some(bad) = spec.env.iter().find(|e| !e.contains('=') || e.starts_with('=')) {
        return Err(refuse(format!("the variable \"{}\" is not NAME=value", excerpt(bad))));
    }
    let _in_use = store.in_use()?;
    let mut tree = Tree { files: BTreeMap::new(), links: HashMap::new(), spec };
    for (host, path) in &spec.copies {
        let place = components(path).map_err(&refuse)?;
        tree.add(host, place).map_err(&refuse)?;
    }
    let mtime = spec.created.as_second();
    let (layer, size) = tree.write_layer(store, mtime).map_err(|e| match e {
        LayerFault::Store(e) => e,
        LayerFault::Refused(reason) => refuse(reason),
    })?;

    let config = ImageConfig {
        user: spec.user.clone(),
        env: spec.env.clone(),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.cmd.clone(),
        working_dir: spec.working_dir.clone(),
        labels: spec.labels.clone(),
        architecture: spec.platform.architecture.clone(),
        os: spec.platform.os.clone(),
        variant: spec.platform.variant.clone(),
        created: Some(spec.created.to_string()),
        diff_ids: vec![layer.clone()],
        history: vec![History {
            created: Some(spec.created.to_string()),
            created_by: Some("watchbell image build".to_owned()),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let config_bytes = config.to_bytes();
    let config_digest = store.put_blob(&config_bytes)?;
    let manifest = Manifest {
        config: Descriptor::new(OCI_CONFIG, config_digest, config_bytes.len() as u64),
        layers: vec![Descriptor::new(OCI_LAYER, layer, size)],
    };
    let manifest_bytes = manifest.to_bytes();
    let digest = store.put_blob(&manifest_bytes)?;
    let mut descriptor = Descriptor::new(OCI_MANIFEST, digest.clone(), manifest_bytes.len() as u64);
    descriptor.platform = Some(spec.platform.clone());
    let image = Image::assemble(digest, None, &manifest, config, &reference.familiar())?;
    store.record(IndexEntry { descriptor, reference: Some(reference.clone()), chosen_from: None })?;
    Ok(image)
}

enum LayerFault {
    Store(Error),
    Refused(String),
}

/// The files of the layer by their path in it, so that they come sorted.
struct Tree<'a> {
    files: BTreeMap<Vec<Vec<u8>>, (PathBuf, fs::Metadata)>,
    /// The first path of every file with several names.
    links: HashMap<(u64, u64), Vec<Vec<u8>>>,
    spec: &'a BuildSpec,
}

impl Tree<'_> {
    fn add(&mut self, host: &Path, place: Vec<Vec<u8>>) -> Result<(), String> {
        // What the user names may be a symbolic link; inside a tree links are kept as links.
        let real = fs::canonicalize(host).map_err(|e| format!("cannot read {}: {e}", host.display()))?;
        let metadata =
            fs::symlink_metadata(&real).map_err(|e| format!("cannot read {}: {e}", real.display()))?;
        if place.is_empty() && !metadata.is_dir() {
            return Err(format!("{} is no directory and cannot become the image's root", host.display()));
        }
        self.add_below(real, metadata, place)
    }

    fn add_below(
        &mut self,
        host: PathBuf,
        metadata: fs::Metadata,
        place: Vec<Vec<u8>>,
    ) -> Result<(), String> {
        let mut pending = vec![(host, metadata, place)];
        while let Some((host, metadata, place)) = pending.pop() {
            if metadata.is_dir() {
                let children =
                    fs::read_dir(&host).map_err(|e| format!("cannot list {}: {e}", host.display()))?;
                for child in children {
                    let child = child.map_err(|e| format!("cannot list {}: {e}", host.display()))?;
                    let path = child.path();
                    let metadata =
                        child.metadata().map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                    let name = child.file_name();
                    if name.as_bytes().starts_with(b".wh.") {
                        return Err(format!("{} would be a whiteout in a layer; rename it", path.display()));
                    }
                    let mut place = place.clone();
                    place.push(name.as_bytes().to_owned());
                    pending.push((path, metadata, place));
                }
            } else if !metadata.is_file() && !metadata.is_symlink() {
                tracing::warn!("left out of the image: {} is a device, socket or pipe", host.display());
                continue;
            }
            let both_directories = |known: &(PathBuf, fs::Metadata)| known.1.is_dir() && metadata.is_dir();
            if let Some(known) = self.files.get(&place)
                && !both_directories(known)
            {
                return Err(format!(
                    "both {} and {} would become /{}",
                    known.0.display(),
                    host.display(),
                    String::from_utf8_lossy(&place.join(&b'/'))
                ));
            }
            self.files.insert(place, (host, metadata));
        }
        Ok(())
    }

    fn write_layer(mut self, store: &Store, mtime: i64) -> Result<(Digest, u64), LayerFault> {
        let mut ingest = Ingest::new(store).map_err(LayerFault::Store)?;
        let sink = HashingWriter {
            file: io::BufWriter::with_capacity(256 << 10, ingest.file()),
            hasher: Hasher::new(crate::Algorithm::Sha256),
            bytes: 0,
        };
        let mut writer = Writer::new(sink);
        let parents: BTreeSet<Vec<Vec<u8>>> = self
            .files
            .keys()
            .flat_map(|path| (1..path.len()).map(|n| path[..n].to_vec()))
            .filter(|parent| !self.files.contains_key(parent))
            .collect();
        let mut paths: Vec<Vec<Vec<u8>>> = self.files.keys().cloned().chain(parents).collect();
        paths.sort();
        for path in paths {
            let name = path.join(&b'/');
            let written = match self.files.remove(&path) {
                None => writer.append(&directory(name, mtime), &mut io::empty()).map_err(|e| e.to_string()),
                Some((host, metadata)) => self.append(&mut writer, &host, &metadata, path, mtime),
            };
            written.map_err(LayerFault::Refused)?;
        }
        let finished = writer.finish().and_then(|mut sink| {
            io::Write::flush(&mut sink.file)?;
            Ok((sink.hasher.finish(), sink.bytes))
        });
        let (digest, size) = finished.map_err(|e| LayerFault::Refused(e.to_string()))?;
        if !store.has_blob(&digest, size).map_err(LayerFault::Store)? {
            ingest.place(&store.blob_path(&digest)).map_err(LayerFault::Store)?;
        }
        Ok((digest, size))
    }

    fn append(
        &mut self,
        writer: &mut Writer<impl io::Write>,
        host: &Path,
        metadata: &fs::Metadata,
        path: Vec<Vec<u8>>,
        mtime: i64,
    ) -> Result<(), String> {
        let unreadable = |e: io::Error| format!("cannot read {}: {e}", host.display());
        let mut entry = directory(path.join(&b'/'), mtime);
        entry.mode = metadata.mode() & 0o7777;
        if self.spec.ownership == Ownership::Preserve {
            (entry.uid, entry.gid) = (u64::from(metadata.uid()), u64::from(metadata.gid()));
        }
        if metadata.is_dir() {
            if entry.path.is_empty() {
                entry.path = b".".to_vec();
            }
            entry.path.push(b'/');
            return writer.append(&entry, &mut io::empty()).map_err(|e| e.to_string());
        }
        if metadata.is_symlink() {
            let target = fs::read_link(host).map_err(unreadable)?;
            // The mode of a link means nothing and differs between systems.
            entry.mode = 0o777;
            entry.kind = Kind::Symlink { target: target.as_os_str().as_bytes().to_owned() };
            return writer.append(&entry, &mut io::empty()).map_err(|e| e.to_string());
        }
        if metadata.nlink() > 1 {
            let first = self.links.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.clone());
            if *first != path {
                entry.kind = Kind::HardLink { target: first.join(&b'/') };
                return writer.append(&entry, &mut io::empty()).map_err(|e| e.to_string());
            }
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(host)
            .map_err(unreadable)?;
        entry.kind = Kind::File;
        entry.size = metadata.len();
        let mut content = BoundedFile { file, left: entry.size };
        writer.append(&entry, &mut content).map_err(unreadable)
    }
}

fn directory(path: Vec<u8>, mtime: i64) -> Entry {
    Entry {
        path,
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime,
        size: 0,
        data_offset: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

/// A path in the image, which is absolute or taken as if it were.
fn components(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    use std::path::Component;
    let mut out = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if name.as_bytes().starts_with(b".wh.") => {
                return Err(format!(
                    "{} would be a whiteout in a layer; choose another name",
                    path.display()
                ));
            }
            Component::Normal(name) => out.push(name.as_bytes().to_owned()),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("{} goes up (..), out of the image", path.display()));
            }
        }
    }
    Ok(out)
}

/// A file that grows while it is read must not push the archive out of step; that it shrank, the writer sees.
struct BoundedFile {
    file: File,
    left: u64,
}

impl Read for BoundedFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read(&mut buf[..want])?;
        self.left -= n as u64;
        Ok(n)
    }
}

struct HashingWriter<W: io::Write> {
    file: io::BufWriter<W>,
    hasher: Hasher,
    bytes: u64,
}

impl<W: io::Write> io::Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
