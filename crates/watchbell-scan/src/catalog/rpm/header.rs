//! A header blob: an index of tags, then their data (rpm's `docs/manual/format_header.md`).
//!
//! ```text
//!  entries: u32  data bytes: u32  { tag  type  offset  count }×entries  data     all big-endian
//! ```

use super::super::item::{Item, PATHS_MAX, PathSet, WORD_BYTES_MAX};
use crate::{Evidence, PackageKind, SourcePackage};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE_RPM: u32 = 1044;
const DIRECTORY_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NAMES: u32 = 1118;

const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const TRANSLATED: u32 = 9;

/// A path, as Linux bounds it.
const PATH_BYTES_MAX: usize = 4096;

/// The package, or `None` for what is a key and not a package.
pub(super) fn package(blob: &[u8]) -> Result<Option<Item>, &'static str> {
    let header = Header::parse(blob)?;
    let text = |tag| header.string(tag).map(|s| String::from_utf8_lossy(s).into_owned());
    let name = text(NAME).ok_or("it has no name")?;
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let (version, release) = (text(VERSION).ok_or("it has no version")?, text(RELEASE).unwrap_or_default());
    let epoch = header.integers(EPOCH).next().filter(|epoch| *epoch > 0);
    let full = |version: &str, release: &str| {
        let epoch = epoch.map(|e| format!("{e}:")).unwrap_or_default();
        if release.is_empty() { format!("{epoch}{version}") } else { format!("{epoch}{version}-{release}") }
    };
    let item = Item::new(PackageKind::Rpm, &name, &full(&version, &release), Evidence::Installed);
    let mut item = item.ok_or("its name or version is none")?.licensed(&text(LICENCE).unwrap_or_default());
    item.architecture = text(ARCHITECTURE);
    // Whoever builds a package for himself states none.
    item.vendor = Some(text(VENDOR).filter(|vendor| vendor.len() <= WORD_BYTES_MAX).unwrap_or_default());
    item.source = text(SOURCE_RPM).as_deref().and_then(|file| {
        let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
        let (rest, release) = stem.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some(SourcePackage { name: name.to_owned(), version: full(version, release) })
    });
    item.files = header.files();
    Ok(Some(item))
}

struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self, &'static str> {
        let (Some(entries), Some(data)) = (number(blob, 0), number(blob, 4)) else {
            return Err("it is shorter than a header");
        };
        let index_bytes = (entries as usize).checked_mul(16).ok_or("its index overflows")?;
        let rest = &blob[8..];
        let entries = rest.get(..index_bytes).ok_or("its index is longer than it is")?;
        let data = rest[index_bytes..].get(..data as usize).ok_or("its data are longer than they are")?;
        Ok(Self { entries, data })
    }

    /// Type, count, and the data from its offset on.
    fn find(&self, tag: u32) -> Option<(u32, usize, &'a [u8])> {
        let entry = self.entries.chunks_exact(16).find(|e| number(e, 0) == Some(tag))?;
        let data = self.data.get(number(entry, 8)? as usize..)?;
        Some((number(entry, 4)?, number(entry, 12)? as usize, data))
    }

    fn string(&self, tag: u32) -> Option<&'a [u8]> {
        let (kind, _, data) = self.find(tag)?;
        [STRING, STRING_ARRAY, TRANSLATED].contains(&kind).then(|| strings(data).next()).flatten()
    }

    fn integers(&self, tag: u32) -> impl Iterator<Item = u32> + use<'a> {
        let (count, data) = match self.find(tag) {
            Some((INT32, count, data)) => (count, data),
            _ => (0, &[][..]),
        };
        data.chunks_exact(4).take(count).filter_map(|n| number(n, 0))
    }

    fn files(&self) -> PathSet {
        let list = |tag| match self.find(tag) {
            Some((STRING_ARRAY, count, data)) => (count.min(PATHS_MAX), data),
            _ => (0, &[][..]),
        };
        let (count, data) = list(DIRECTORY_NAMES);
        let directories: Vec<&[u8]> = strings(data).take(count).collect();
        let (count, data) = list(BASE_NAMES);
        let mut files = PathSet::default();
        for (base, directory) in strings(data).take(count).zip(self.integers(DIRECTORY_INDEXES)) {
            if files.is_full() {
                break;
            }
            let Some(directory) = directories.get(directory as usize) else { continue };
            if directory.len() + base.len() <= PATH_BYTES_MAX {
                files.insert(&String::from_utf8_lossy(&[directory, base].concat()));
            }
        }
        files
    }
}

/// The strings of an array, each ended by a NUL; what has none is no string.
fn strings(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let end = rest.iter().position(|b| *b == 0)?;
        let string = &rest[..end];
        rest = &rest[end + 1..];
        Some(string)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
