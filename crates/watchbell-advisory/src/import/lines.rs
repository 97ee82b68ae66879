//! One OSV record a line.

use std::io::{self, BufRead, Read};

use super::{ImportError, Importer, container, osv};

pub(super) fn read(importer: &mut Importer, file: &str, source: &mut dyn BufRead) -> Result<(), ImportError> {
    let unreadable = |e: io::Error| ImportError::Unreadable { file: file.to_owned(), reason: e.to_string() };
    let max = importer.limits.record_bytes_max;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let mut bytes = source.take(max + 1).read_until(b'\n', &mut line).map_err(unreadable)? as u64;
        if bytes == 0 {
            break;
        }
        let record = format!("line {number}");
        if bytes > max {
            bytes += skip_line(source).map_err(unreadable)?;
            importer.bad(file, record, format!("it has {bytes} bytes, more than {max}"));
        } else if !line.trim_ascii().is_empty() {
            osv::read(importer, file, &record, &line)?;
        }
        container::count_bytes(importer, file, bytes)?;
    }
    Ok(())
}

/// Reads on to the end of the line without keeping it.
fn skip_line(source: &mut dyn BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = source.fill_buf()?;
        let (n, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        source.consume(n);
        skipped += n as u64;
        if is_end {
            return Ok(skipped);
        }
    }
}
