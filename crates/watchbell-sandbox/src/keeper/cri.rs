//! The CRI log format: `2026-01-02T03:04:05.123456789Z stdout F text`. `P` marks a piece of a line that goes on.

use std::io::Write;

use crate::UnixNanos;

/// The longest piece of a line, as container runtimes have it.
pub(crate) const PIECE_MAX: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamName {
    Stdout,
    Stderr,
}

/// Whole records, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<RecordEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordEnd {
    /// Where the record ends in [`Records::bytes`].
    pub(crate) at: usize,
    /// How many bytes of the task it holds, the newline included.
    pub(crate) task_bytes: u32,
}

impl Records {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// One stream of a task, cut into lines.
#[derive(Debug)]
pub(crate) struct Stream {
    name: StreamName,
    /// The line so far; never above [`PIECE_MAX`], however long the line is.
    line: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(name: StreamName) -> Self {
        Self { name, line: Vec::new() }
    }

    /// Takes what was read and appends the records that are complete. Returns the number of lines that ended.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], stamp: &Stamp, out: &mut Records) -> u64 {
        let mut lines = 0;
        while !bytes.is_empty() {
            let room = PIECE_MAX - self.line.len();
            // One byte beyond the room: a line that fits exactly is whole.
            let window = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.record(&bytes[..end], b'F', 1, stamp, out);
                bytes = &bytes[end + 1..];
                lines += 1;
            } else if window.len() > room {
                self.record(&bytes[..room], b'P', 0, stamp, out);
                bytes = &bytes[room..];
            } else {
                self.line.extend_from_slice(bytes);
                break;
            }
        }
        lines
    }

    /// The stream ended: what stands without a newline is a line too.
    pub(crate) fn finish(&mut self, stamp: &Stamp, out: &mut Records) {
        if !self.line.is_empty() {
            self.record(&[], b'F', 0, stamp, out);
        }
        self.line = Vec::new();
    }

    fn record(&mut self, rest: &[u8], tag: u8, newline: u32, stamp: &Stamp, out: &mut Records) {
        out.bytes.extend_from_slice(&stamp.0);
        out.bytes.extend_from_slice(match self.name {
            StreamName::Stdout => b" stdout ",
            StreamName::Stderr => b" stderr ",
        });
        out.bytes.extend_from_slice(&[tag, b' ']);
        out.bytes.extend_from_slice(&self.line);
        out.bytes.extend_from_slice(rest);
        out.bytes.push(b'\n');
        let task_bytes = (self.line.len() + rest.len()) as u32 + newline;
        out.ends.push(RecordEnd { at: out.bytes.len(), task_bytes });
        self.line.clear();
    }
}

/// A time as RFC 3339 in UTC, with nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp([u8; 30]);

impl Stamp {
    pub(crate) fn new(at: UnixNanos) -> Self {
        let seconds = at.div_euclid(1_000_000_000);
        let nanos = at.rem_euclid(1_000_000_000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let mut text = [b'0'; 30];
        // An i64 of nanoseconds ends in 2262, so the year has four digits.
        let _ = write!(
            &mut text[..],
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
        );
        Self(text)
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Year, month and day of a day counted from 1970-01-01. Years are taken to begin in March, so that the leap day is the
/// last of its year; 146,097 days are a whole cycle of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_of_0 = days + 719_468;
    let cycle = since_march_of_0.div_euclid(146_097);
    let day_of_cycle = since_march_of_0.rem_euclid(146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}
