//! The 512-byte header block.

use super::BLOCK;

/// One header block with its checksum verified.
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK],
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    /// `ustar\0`: POSIX, with or without extended headers.
    Posix,
    /// `ustar\0` with `tar\0` at the end: a shorter prefix field.
    Star,
    /// `ustar  \0`: the prefix field holds other things.
    Gnu,
}

impl<'a> Header<'a> {
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, String> {
        let stated = octal(&block[148..156]).ok_or("its checksum field is not a number")?;
        let sum = |signed: bool| -> i64 {
            block
                .iter()
                .enumerate()
                .map(|(i, b)| if (148..156).contains(&i) { b' ' } else { *b })
                .map(|b| if signed { i64::from(b.cast_signed()) } else { i64::from(b) })
                .sum()
        };
        // Some old writers added the bytes as signed numbers.
        if ![sum(false), sum(true)].contains(&(stated.cast_signed())) {
            return Err("its checksum is wrong".to_owned());
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Posix,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        Ok(Self { block, format })
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.format {
            Format::Posix => text(&self.block[345..500]),
            Format::Star => text(&self.block[345..476]),
            Format::Gnu | Format::V7 => b"",
        };
        if prefix.is_empty() { name.to_owned() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn mode(&self) -> Result<u64, String> {
        number(&self.block[100..108], "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, String> {
        number(&self.block[108..116], "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, String> {
        number(&self.block[116..124], "gid")
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        number(&self.block[124..136], "size")
    }

    /// Seconds; times before 1970 are legal and read as 1970.
    pub(super) fn mtime(&self) -> Result<i64, String> {
        let field = &self.block[136..148];
        if field[0] == 0xff {
            return Ok(0);
        }
        number(field, "mtime").map(|n| i64::try_from(n).unwrap_or(i64::MAX))
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_owned()
    }

    pub(super) fn device(&self) -> Result<(u64, u64), String> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        Ok((number(&self.block[329..337], "device major")?, number(&self.block[337..345], "device minor")?))
    }

    /// The four (offset, length) pairs and the "more follow" flag and the logical size of GNU's own sparse format.
    pub(super) fn gnu_sparse(&self) -> Option<(&'a [u8], bool, &'a [u8])> {
        (self.format == Format::Gnu)
            .then(|| (&self.block[386..482], self.block[482] != 0, &self.block[483..495]))
    }
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A numeric field: octal digits, or a big-endian binary number marked by its highest bit.
pub(super) fn number(field: &[u8], what: &str) -> Result<u64, String> {
    match field[0] {
        first if first & 0x80 == 0 => {
            octal(field).ok_or_else(|| format!("its {what} is not an octal number"))
        }
        0x80 => {
            let (high, low) = field[1..].split_at(field.len() - 1 - 8.min(field.len() - 1));
            if high.iter().any(|b| *b != 0) {
                return Err(format!("its {what} is larger than 64 bits"));
            }
            Ok(low.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)))
        }
        0xff => Err(format!("its {what} is negative")),
        _ => Err(format!("its {what} is larger than 64 bits")),
    }
}

/// Octal digits, with the spaces and NULs around them that writers pad with; empty is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let is_padding = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_padding(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}
