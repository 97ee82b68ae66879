//! The writer of archives made here: the same entries always give the same bytes.

use std::io::{self, Write};

use super::{BLOCK, Entry, Kind};

/// Writes ustar headers, with a PAX header before those whose values do not fit.
pub(crate) struct Writer<W> {
    sink: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Writes an entry's header and content; `content` must yield exactly `entry.size` bytes.
    pub(crate) fn append(&mut self, entry: &Entry, content: &mut dyn io::Read) -> io::Result<()> {
        let (type_flag, link) = match &entry.kind {
            Kind::File => (b'0', &[][..]),
            Kind::HardLink { target } => (b'1', &target[..]),
            Kind::Symlink { target } => (b'2', &target[..]),
            Kind::Directory => (b'5', &[][..]),
            Kind::Fifo => (b'6', &[][..]),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Other { .. } => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "devices are not archived"));
            }
        };
        let mut pax = Vec::new();
        let mut block = [0u8; BLOCK];
        put_text(&mut block[..100], &entry.path, "path", &mut pax);
        put_number(&mut block[100..108], u64::from(entry.mode), "mode", &mut pax)?;
        put_number(&mut block[108..116], entry.uid, "uid", &mut pax)?;
        put_number(&mut block[116..124], entry.gid, "gid", &mut pax)?;
        put_number(&mut block[124..136], entry.size, "size", &mut pax)?;
        put_number(&mut block[136..148], u64::try_from(entry.mtime).unwrap_or(0), "mtime", &mut pax)?;
        block[156] = type_flag;
        put_text(&mut block[157..257], link, "linkpath", &mut pax);
        if !pax.is_empty() {
            let mut extended = [0u8; BLOCK];
            extended[..14].copy_from_slice(b"././@PaxHeader");
            put_number(&mut extended[100..108], 0o644, "mode", &mut Vec::new())?;
            put_number(&mut extended[124..136], pax.len() as u64, "size", &mut Vec::new())?;
            extended[156] = b'x';
            self.put_header(&mut extended)?;
            self.sink.write_all(&pax)?;
            self.pad(pax.len() as u64)?;
        }
        self.put_header(&mut block)?;
        let written = io::copy(content, &mut self.sink)?;
        if written != entry.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the file changed while it was read: {written} bytes came where {} were expected",
                    entry.size
                ),
            ));
        }
        self.pad(entry.size)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0u8; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn put_header(&mut self, block: &mut [u8; BLOCK]) -> io::Result<()> {
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.sink.write_all(block)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.sink.write_all(&[0u8; BLOCK][..padding])
    }
}

fn put_text(field: &mut [u8], text: &[u8], key: &str, pax: &mut Vec<u8>) {
    if text.len() <= field.len() {
        field[..text.len()].copy_from_slice(text);
    } else {
        put_record(key, text, pax);
        let fits = field.len();
        field.copy_from_slice(&text[..fits]);
    }
}

fn put_number(field: &mut [u8], number: u64, key: &str, pax: &mut Vec<u8>) -> io::Result<()> {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    if text.len() <= digits {
        field[..digits].copy_from_slice(text.as_bytes());
        return Ok(());
    }
    if key == "mode" {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file mode has at most 12 bits"));
    }
    put_record(key, number.to_string().as_bytes(), pax);
    field[..digits].fill(b'0');
    Ok(())
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn put_record(key: &str, value: &[u8], pax: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(format!("{length} {key}=").as_bytes());
    pax.extend_from_slice(value);
    pax.push(b'\n');
}
