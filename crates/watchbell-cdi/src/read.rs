//! Reads the specs of a directory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use serde::Deserialize;
use watchbell_api::decode;

use crate::edits::Spec;
use crate::{check, place};

/// Where specs lie unless root says otherwise. What was generated at runtime wins over what was configured.
pub const DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Files of one directory.
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a directory or file was when it was read: another stamp, another content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, [i64; 5])>);

/// A spec, or why it is none.
pub(crate) struct SpecFile {
    pub(crate) path: PathBuf,
    pub(crate) spec: Result<Spec, String>,
}

/// The specs of a directory in the order of their names. A directory that is not there has none.
pub(crate) fn directory(dir: &Path) -> Result<Vec<SpecFile>, String> {
    let Some((opened, names)) = list(dir).map_err(|e| e.to_string())? else { return Ok(Vec::new()) };
    if names.len() > FILES_MAX {
        return Err(format!("it has more than {FILES_MAX} specs"));
    }
    let read = |name: &OsString| {
        let path = dir.join(name);
        let spec = file(&path, &opened, name);
        SpecFile { path, spec }
    };
    Ok(names.iter().map(read).collect())
}

/// Says whether anything changed, without reading it.
pub(crate) fn stamp(dirs: &[PathBuf]) -> Stamp {
    let mut seen = Vec::new();
    for dir in dirs {
        // What cannot be read is found out when it is read; here it only has to look like itself.
        let Ok(Some((opened, names))) = list(dir) else {
            seen.push((dir.clone(), [0; 5]));
            continue;
        };
        for name in names {
            let path = dir.join(&name);
            let facts =
                place::open_root_owned(&path).map(|(_, stat)| stat).or_else(|_| place::look(&opened, &name));
            let facts = facts.map_or([-1; 5], |stat| {
                [
                    stat.st_ino as i64,
                    stat.st_size,
                    stat.st_mtime,
                    stat.st_mtime_nsec as i64,
                    stat.st_ctime_nsec as i64,
                ]
            });
            seen.push((path, facts));
        }
    }
    Stamp(seen)
}

fn list(dir: &Path) -> io::Result<Option<(OwnedFd, Vec<OsString>)>> {
    let (place, stat) = match place::open_root_owned(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    place::refuse_writable(dir, &stat, 0)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(&place, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") || name.ends_with(".yaml") {
            names.push(OsString::from(name));
        }
    }
    names.sort();
    Ok(Some((opened, names)))
}

fn file(path: &Path, dir: &OwnedFd, name: &OsString) -> Result<Spec, String> {
    let text = |e: io::Error| e.to_string();
    let look = place::look(dir, name).map_err(text)?;
    // A link is followed if only root can have put it there, and what it leads to.
    let is_link = FileType::from_raw_mode(look.st_mode) == FileType::Symlink;
    let (place, stat) = place::open_root_owned(path).map_err(text)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("it is {}no regular file", if is_link { "a link to " } else { "" }));
    }
    place::refuse_writable(path, &stat, 0).map_err(text)?;
    if stat.st_size as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    let opened = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(text)?;
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    parse(&bytes)
}

/// Reads a spec, YAML or JSON, which is YAML too.
pub(crate) fn parse(bytes: &[u8]) -> Result<Spec, String> {
    let mut documents = decode::yaml(bytes).map_err(|e| e.to_string())?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return Err("it does not hold exactly one document".to_owned());
    };
    // `containerEdits:` without anything below is null in YAML and nothing in the reference library.
    let spec = Spec::deserialize(without_nulls(document)).map_err(|e| e.to_string())?;
    check::spec(&spec)?;
    Ok(spec)
}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
