//! The frame around each line: read as a stream, so that no line is too long.

use jiff::Timestamp;

/// A time, a stream, a tag and their spaces take less.
const HEADER_BYTES_MAX: usize = 96;

/// Takes the frame off lines and selects among them.
pub(super) struct Lines {
    since_unix_nanos: Option<i64>,
    timestamps: bool,
    state: State,
    /// The next content begins a line of the container's.
    at_line_start: bool,
}

enum State {
    /// What came of a header so far.
    Header(Vec<u8>),
    Content {
        is_wanted: bool,
        is_partial: bool,
    },
}

/// A header that was read.
pub(super) struct Header<'a> {
    pub(super) time: &'a [u8],
    /// `P`: the line goes on in the next record.
    pub(super) is_partial: bool,
    pub(super) content_at: usize,
}

/// Reads the header at the beginning of a record.
pub(super) fn header(record: &[u8]) -> Option<Header<'_>> {
    let head = &record[..record.len().min(HEADER_BYTES_MAX)];
    let mut spaces = head.iter().enumerate().filter(|(_, b)| **b == b' ').map(|(i, _)| i);
    let (first, second, third) = (spaces.next()?, spaces.next()?, spaces.next()?);
    let is_stream = matches!(&head[first + 1..second], b"stdout" | b"stderr");
    let tag = &head[second + 1..third];
    (is_stream && !tag.is_empty() && head[0].is_ascii_digit()).then(|| Header {
        time: &head[..first],
        // Tags are separated by colons; the first says whether the line is whole.
        is_partial: tag[0] == b'P' && (tag.len() == 1 || tag[1] == b':'),
        content_at: third + 1,
    })
}

impl Lines {
    pub(super) fn new(since_unix_nanos: Option<i64>, timestamps: bool) -> Lines {
        Lines { since_unix_nanos, timestamps, state: State::Header(Vec::new()), at_line_start: true }
    }

    /// Another file begins: what the last one left unfinished stays so.
    pub(super) fn new_file(&mut self, output: &mut Vec<u8>) {
        if let State::Header(begun) = &mut self.state
            && !begun.is_empty()
        {
            let begun = std::mem::take(begun);
            self.content(&begun, true, output);
        }
        self.state = State::Header(Vec::new());
    }

    /// Reads bytes of the files; what a client gets is added to `output`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Header(begun) => {
                    let room = HEADER_BYTES_MAX.saturating_sub(begun.len()).max(1);
                    let end = bytes.iter().take(room).position(|b| *b == b'\n');
                    let taken = end.unwrap_or_else(|| bytes.len().min(room));
                    begun.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    let begun = match (header(begun), end) {
                        (None, None) if begun.len() < HEADER_BYTES_MAX => return,
                        _ => std::mem::take(begun),
                    };
                    self.begin(&begun, output);
                }
                State::Content { is_wanted, is_partial } => {
                    let (is_wanted, is_partial) = (*is_wanted, *is_partial);
                    let end = bytes.iter().position(|b| *b == b'\n');
                    let piece = &bytes[..end.unwrap_or(bytes.len())];
                    self.content(piece, is_wanted, output);
                    match end {
                        None => return,
                        Some(end) => {
                            bytes = &bytes[end + 1..];
                            if is_wanted && !is_partial {
                                output.push(b'\n');
                                self.at_line_start = true;
                            }
                            self.state = State::Header(Vec::new());
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, record: &[u8], output: &mut Vec<u8>) {
        // What has no header is shown as it is: a cut line, or a file from elsewhere.
        let (time, is_partial, content_at) = match header(record) {
            Some(h) => (h.time, h.is_partial, h.content_at),
            None => (&b""[..], false, 0),
        };
        let is_wanted = self.since_unix_nanos.is_none_or(|since| nanos(time).is_none_or(|at| at >= since));
        if is_wanted && self.timestamps && self.at_line_start && !time.is_empty() {
            output.extend_from_slice(time);
            output.push(b' ');
            self.at_line_start = false;
        }
        self.content(&record[content_at..], is_wanted, output);
        self.state = State::Content { is_wanted, is_partial };
    }

    fn content(&mut self, bytes: &[u8], is_wanted: bool, output: &mut Vec<u8>) {
        if is_wanted && !bytes.is_empty() {
            output.extend_from_slice(bytes);
            self.at_line_start = false;
        }
    }
}

fn nanos(time: &[u8]) -> Option<i64> {
    let at: Timestamp = str::from_utf8(time).ok()?.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}
