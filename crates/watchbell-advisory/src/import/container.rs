//! Directories, archives and compressed files down to documents.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use watchbell_image::{EntryKind, TarArchive, decompressed};

use super::{ImportError, Importer, epss, lines, text};

/// Directories above one another.
const DEPTH_MAX: usize = 32;
/// Extended headers of one member of a tar archive, bytes.
const TAR_HEADER_BYTES_MAX: u64 = 1 << 20;
/// Of one licence's text, bytes; and of all of a source.
const LICENCE_BYTES_MAX: usize = 64 << 10;
const LICENCES_BYTES_MAX: usize = 128 << 10;
/// Where `ustar` stands in a tar archive, with its length.
const TAR_MAGIC_END: usize = 262;

pub(super) fn add(importer: &mut Importer, path: &Path) -> Result<(), ImportError> {
    let metadata = fs::metadata(path).map_err(io_error("look at", path))?;
    if metadata.is_dir() { directory(importer, path, 0) } else { file(importer, path) }
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    move |cause| ImportError::Io { step, path: path.to_owned(), cause }
}

/// In the order of names. Symbolic links within are not followed.
fn directory(importer: &mut Importer, path: &Path, depth: usize) -> Result<(), ImportError> {
    if depth > DEPTH_MAX {
        let reason = format!("it is more than {DEPTH_MAX} directories deep");
        return Err(ImportError::Limit { file: path.display().to_string(), reason });
    }
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(io_error("list", path))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(io_error("look at", &path))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && !name.starts_with('.') {
            directory(importer, &path, depth + 1)?;
        } else if kind.is_file() && is_wanted(&name) {
            file(importer, &path)?;
        }
    }
    Ok(())
}

fn file(importer: &mut Importer, path: &Path) -> Result<(), ImportError> {
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    if !metadata.is_file() {
        return Err(ImportError::Unreadable { file: name, reason: "it is no plain file".to_owned() });
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    importer.file_time = importer.file_time.max(modified.map(|age| age.as_secs() as i64));
    let mut head = [0; 4];
    let read = file.read(&mut head).map_err(io_error("read", path))?;
    io::Seek::rewind(&mut file).map_err(io_error("read", path))?;
    if matches!(&head[..read], b"PK\x03\x04" | b"PK\x05\x06") {
        return zip(importer, &name, file);
    }
    add_stream(importer, &name, &mut BufReader::with_capacity(1 << 16, file))
}

/// Whether a file among others is looked at: what lies beside records is no record.
fn is_wanted(name: &str) -> bool {
    is_licence(name)
        || plain_name(name).rsplit_once('.').is_some_and(|(_, ending)| DOCUMENTS.contains(&ending))
}

const DOCUMENTS: [&str; 4] = ["json", "jsonl", "ndjson", "csv"];

/// Without the endings of compression.
fn plain_name(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

fn is_licence(path: &str) -> bool {
    let name = path.rsplit(['/', ':']).next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    matches!(stem.to_ascii_uppercase().as_str(), "LICENSE" | "LICENCE" | "COPYING" | "NOTICE" | "NOTICES")
}

/// A file of any kind but zip, which is read from its end.
pub(super) fn add_stream(
    importer: &mut Importer,
    name: &str,
    source: &mut dyn BufRead,
) -> Result<(), ImportError> {
    let unreadable = |e: io::Error| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() };
    let mut plain = decompressed(source).map_err(unreadable)?;
    let mut head = Vec::new();
    plain.by_ref().take(TAR_MAGIC_END as u64).read_to_end(&mut head).map_err(unreadable)?;
    let is_tar = head.len() == TAR_MAGIC_END && head.ends_with(b"ustar");
    let mut whole = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(plain));
    if is_tar { tar(importer, name, &mut whole) } else { document(importer, name, &mut whole) }
}

fn tar(importer: &mut Importer, name: &str, source: &mut dyn BufRead) -> Result<(), ImportError> {
    let mut archive = TarArchive::new(source, TAR_HEADER_BYTES_MAX);
    let unreadable = |e: watchbell_image::TarError| ImportError::Unreadable {
        file: name.to_owned(),
        reason: e.to_string(),
    };
    while let Some(entry) = archive.next_entry().map_err(unreadable)? {
        count_file(importer, name)?;
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        if entry.kind == EntryKind::File && is_wanted(&path) {
            member(importer, &format!("{name}:{path}"), &mut archive)?;
        }
    }
    Ok(())
}

fn zip(importer: &mut Importer, name: &str, file: File) -> Result<(), ImportError> {
    let unreadable =
        |e: zip::result::ZipError| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() };
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    for at in 0..archive.len() {
        count_file(importer, name)?;
        let mut entry = match archive.by_index(at) {
            Ok(entry) => entry,
            Err(e) => {
                importer.bad(name, format!("member {at}"), e);
                continue;
            }
        };
        let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if entry.is_file() && is_wanted(&path) {
            member(importer, &format!("{name}:{path}"), &mut entry)?;
        }
    }
    Ok(())
}

fn count_file(importer: &mut Importer, name: &str) -> Result<(), ImportError> {
    importer.files += 1;
    if importer.files > importer.limits.files_max {
        let reason = format!("it has more than {} files", importer.limits.files_max);
        return Err(ImportError::Limit { file: name.to_owned(), reason });
    }
    Ok(())
}

/// A member of an archive: a document, perhaps compressed, and no archive itself.
fn member(importer: &mut Importer, name: &str, source: &mut dyn Read) -> Result<(), ImportError> {
    let unreadable = |e: io::Error| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() };
    let plain = decompressed(BufReader::with_capacity(1 << 16, source)).map_err(unreadable)?;
    document(importer, name, &mut BufReader::with_capacity(1 << 16, plain))
}

fn document(importer: &mut Importer, name: &str, source: &mut dyn BufRead) -> Result<(), ImportError> {
    let unreadable = |e: io::Error| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() };
    let first = source.fill_buf().map_err(unreadable)?;
    if is_licence(name) {
        return licence(importer, name, source);
    }
    let is_csv = first.starts_with(b"#model_version") || first.starts_with(b"cve,");
    let ending = plain_name(name).rsplit_once('.').map_or("", |(_, ending)| ending);
    if is_csv {
        epss::read(importer, name, source)
    } else if matches!(ending, "jsonl" | "ndjson") {
        lines::read(importer, name, source)
    } else {
        let bytes = whole(importer, name, source)?;
        // Records one behind the other under another name.
        let mut several = serde_json::Deserializer::from_slice(&bytes).into_iter::<serde::de::IgnoredAny>();
        let is_several = matches!((several.next(), several.next()), (Some(Ok(_)), Some(_)));
        if is_several { lines::read(importer, name, &mut &*bytes) } else { importer.json(name, &bytes) }
    }
}

/// The rest of `source`, within the bounds of a document.
fn whole(importer: &mut Importer, name: &str, source: &mut dyn BufRead) -> Result<Vec<u8>, ImportError> {
    let max = importer.limits.document_bytes_max;
    let mut bytes = Vec::new();
    source
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() })?;
    if bytes.len() as u64 > max {
        let reason = format!("it has more than {max} bytes");
        return Err(ImportError::Limit { file: name.to_owned(), reason });
    }
    count_bytes(importer, name, bytes.len() as u64)?;
    Ok(bytes)
}

pub(super) fn count_bytes(importer: &mut Importer, name: &str, bytes: u64) -> Result<(), ImportError> {
    importer.bytes = importer.bytes.saturating_add(bytes);
    if importer.bytes > importer.limits.total_bytes_max {
        let reason = format!("all together has more than {} bytes", importer.limits.total_bytes_max);
        return Err(ImportError::Limit { file: name.to_owned(), reason });
    }
    Ok(())
}

/// Kept for whoever must name it; a longer one is cut.
fn licence(importer: &mut Importer, name: &str, source: &mut dyn BufRead) -> Result<(), ImportError> {
    let mut bytes = Vec::new();
    source
        .take(LICENCE_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| ImportError::Unreadable { file: name.to_owned(), reason: e.to_string() })?;
    let licence = text::prose(&String::from_utf8_lossy(&bytes));
    let kept = &mut importer.contents.licence;
    if !kept.contains(&licence) && kept.len() + licence.len() < LICENCES_BYTES_MAX {
        if !kept.is_empty() {
            kept.push_str("\n\n");
        }
        kept.push_str(&licence);
    }
    Ok(())
}
