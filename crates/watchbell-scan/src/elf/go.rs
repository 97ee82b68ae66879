//! What Go's linker writes into every program: the compiler's version, and the modules that it was built from.
//!
//! The form is that of the Go project's `debug/buildinfo`: 32 bytes of header at a multiple of 16, then (since Go 1.18) two
//! strings behind it, or (before) two pointers in it.

use object::endian::Endianness;

use super::{GoBuild, Image};

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
const HEADER_BYTES: usize = 32;
const ALIGN: usize = 16;
const POINTERS_BIG_ENDIAN: u8 = 1;
const INLINE: u8 = 2;
/// The text of the modules is guarded by this many bytes on both sides.
const GUARD_BYTES: usize = 16;
const VERSION_BYTES_MAX: usize = 1000;
/// A thousand modules take 100 KB.
const MODULES_BYTES_MAX: usize = 8 << 20;
/// Looked through for the header where no section says where it is.
const SEARCHED_BYTES: usize = 1 << 20;

pub(super) fn read(image: &Image<'_>, section: Option<&[u8]>) -> Option<GoBuild> {
    let data = match section {
        Some(section) => section,
        // Without sections it is at the start of the data.
        None => {
            let (start, ..) = image.loads.iter().find(|(.., is_writable)| *is_writable)?;
            let data = image.at(*start)?;
            &data[..data.len().min(SEARCHED_BYTES)]
        }
    };
    let at = (0..data.len()).step_by(ALIGN).find(|at| data[*at..].starts_with(MAGIC))?;
    let header = data.get(at..at + HEADER_BYTES)?;
    let (pointer_bytes, flags) = (header[14], header[15]);
    let (version, modules) = if flags & INLINE != 0 {
        let mut rest = &data[at + HEADER_BYTES..];
        (inline(&mut rest)?, inline(&mut rest)?)
    } else {
        let pointers = Pointers {
            bytes: match pointer_bytes {
                4 => 4,
                8 => 8,
                _ => return None,
            },
            is_little: flags & POINTERS_BIG_ENDIAN == 0,
        };
        if (pointers.bytes == 8) != image.is_64 || pointers.is_little != (image.endian == Endianness::Little)
        {
            return None;
        }
        let string = |index: usize| {
            let header_at = pointers.read(header.get(ALIGN + index * pointers.bytes..)?)?;
            let header = image.at(header_at)?;
            let (address, length) = (pointers.read(header)?, pointers.read(header.get(pointers.bytes..)?)?);
            let length = usize::try_from(length).ok().filter(|l| *l <= MODULES_BYTES_MAX)?;
            if length == 0 { Some(&[][..]) } else { image.at(address)?.get(..length) }
        };
        (string(0)?, string(1)?)
    };
    if version.is_empty() || version.len() > VERSION_BYTES_MAX || modules.len() > MODULES_BYTES_MAX {
        return None;
    }
    Some(GoBuild {
        version: std::str::from_utf8(version).ok()?.to_owned(),
        modules: String::from_utf8_lossy(unguarded(modules)).into_owned(),
    })
}

/// A string behind its length.
fn inline<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for (index, byte) in rest.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let string = rest.get(index + 1..)?.get(..length)?;
            *rest = &rest[index + 1 + length..];
            return Some(string);
        }
    }
    None
}

/// Without the guards; empty when they are not there.
fn unguarded(modules: &[u8]) -> &[u8] {
    let length = modules.len();
    if length > 2 * GUARD_BYTES && modules[length - GUARD_BYTES - 1] == b'\n' {
        &modules[GUARD_BYTES..length - GUARD_BYTES]
    } else {
        &[]
    }
}

struct Pointers {
    bytes: usize,
    is_little: bool,
}

impl Pointers {
    fn read(&self, from: &[u8]) -> Option<u64> {
        let bytes = from.get(..self.bytes)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.is_little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    }
}
