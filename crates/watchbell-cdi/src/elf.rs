//! The SONAME of a shared library. Only root's own files are looked at, and still nothing of them is believed: each offset
//! is checked, each count bounded.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::place;

const SEGMENTS_MAX: u64 = 128;
const DYNAMIC_MAX: u64 = 1024;
const NAME_MAX: usize = 256;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// `None`: it has none, or is no 64-bit little-endian ELF file, as everything is that runs here.
pub(crate) fn soname(path: &Path) -> io::Result<Option<String>> {
    let (place, stat) = place::open_source(path)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Ok(None);
    }
    of_file(&File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?)
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

fn of_file(file: &File) -> io::Result<Option<String>> {
    let mut head = [0u8; 64];
    if !read(file, &mut head, 0)? || &head[..6] != b"\x7fELF\x02\x01" {
        return Ok(None);
    }
    let (table, size, count) = (word(&head, 32), half(&head, 54), half(&head, 56));
    if size < 56 || count > SEGMENTS_MAX {
        return Ok(None);
    }
    let mut segments = Vec::new();
    for i in 0..count {
        let mut entry = [0u8; 56];
        let Some(at) = table.checked_add(i * size) else { return Ok(None) };
        if !read(file, &mut entry, at)? {
            return Ok(None);
        }
        let kind = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        segments.push(Segment {
            kind,
            offset: word(&entry, 8),
            address: word(&entry, 16),
            size: word(&entry, 32),
        });
    }
    let Some(dynamic) = segments.iter().find(|s| s.kind == PT_DYNAMIC) else { return Ok(None) };
    let (mut strings, mut name) = (None, None);
    for i in 0..(dynamic.size / 16).min(DYNAMIC_MAX) {
        let mut entry = [0u8; 16];
        let Some(at) = dynamic.offset.checked_add(i * 16) else { return Ok(None) };
        if !read(file, &mut entry, at)? {
            return Ok(None);
        }
        match word(&entry, 0) {
            DT_NULL => break,
            DT_STRTAB => strings = Some(word(&entry, 8)),
            DT_SONAME => name = Some(word(&entry, 8)),
            _ => {}
        }
    }
    let (Some(strings), Some(name)) = (strings, name) else { return Ok(None) };
    // An address in memory; in the file it lies where its segment does.
    let holds = |s: &&Segment| s.kind == PT_LOAD && strings >= s.address && strings - s.address < s.size;
    let Some(segment) = segments.iter().find(holds) else { return Ok(None) };
    let at = segment.offset.checked_add(strings - segment.address).and_then(|at| at.checked_add(name));
    let Some(at) = at else { return Ok(None) };
    let mut text = [0u8; NAME_MAX];
    let got = file.read_at(&mut text, at)?;
    let Some(end) = text[..got].iter().position(|byte| *byte == 0) else { return Ok(None) };
    let name = std::str::from_utf8(&text[..end]).ok();
    Ok(name.filter(|name| is_file_name(name)).map(str::to_owned))
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// `false`: the file ends before.
fn read(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::of_file;
    use std::io::Write;

    fn check(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        of_file(&file).unwrap()
    }

    #[test]
    fn a_real_library_says_its_name() {
        // What this test itself is linked with.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path =
            maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|p| p.contains("libc.so"));
        let bytes = std::fs::read(path.unwrap()).unwrap();
        assert_eq!(check(&bytes).as_deref(), Some("libc.so.6"));
        // Cut anywhere it has no name, and never a panic.
        for length in (0..bytes.len()).step_by(bytes.len() / 97) {
            check(&bytes[..length]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            bytes.extend(noise);
            check(&bytes);
        }
    }
}
