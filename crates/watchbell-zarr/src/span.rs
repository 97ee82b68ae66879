//! Where values lie in a JSON text. A change of one leaves every other byte as it is: a number that is read and written again may be
//! another, however it is printed. The text has been read before, so it is whole; of one that is not, less is found.

use std::ops::Range;

/// The members of an object, in their order, with their names.
pub(crate) fn members(text: &str, of: Range<usize>) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut scan = Scan::within(text, &of);
    if !scan.take(b'{') {
        return found;
    }
    while scan.next() == Some(b'"') {
        let name = scan.value();
        scan.take(b':');
        let value = scan.value();
        if let Ok(name) = serde_json::from_str(&text[name]) {
            found.push((name, value));
        }
        scan.take(b',');
    }
    found
}

/// The member of a name; the last one where it is there twice, as everybody reads it.
pub(crate) fn member(text: &str, of: Range<usize>, name: &str) -> Option<Range<usize>> {
    members(text, of).into_iter().rfind(|(found, _)| found == name).map(|(_, value)| value)
}

/// What a list holds.
pub(crate) fn elements(text: &str, of: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut scan = Scan::within(text, &of);
    if !scan.take(b'[') {
        return found;
    }
    while !matches!(scan.next(), None | Some(b']')) {
        let value = scan.value();
        if value.is_empty() {
            break;
        }
        found.push(value);
        scan.take(b',');
    }
    found
}

/// The text with other words in these places, which do not overlap.
pub(crate) fn replaced(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    changes.sort_by_key(|(place, _)| place.start);
    let mut out = String::with_capacity(text.len() + 32 * changes.len());
    let mut at = 0;
    for (place, word) in changes {
        out.push_str(&text[at..place.start]);
        out.push_str(&word);
        at = place.end;
    }
    out.push_str(&text[at..]);
    out
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn within(text: &'a str, of: &Range<usize>) -> Self {
        Self { bytes: &text.as_bytes()[..of.end], at: of.start }
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.next() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    /// Passes over a value.
    fn value(&mut self) -> Range<usize> {
        let first = self.next();
        let start = self.at;
        match first {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => {
                let mut depth = 0usize;
                while let Some(byte) = self.bytes.get(self.at) {
                    match byte {
                        b'"' => {
                            self.string();
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            // A number, or a bare word, of Python's too.
            _ => {
                let is_in =
                    |byte: &u8| !matches!(byte, b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                while self.bytes.get(self.at).is_some_and(is_in) {
                    self.at += 1;
                }
            }
        }
        start..self.at
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.at = self.at.min(self.bytes.len());
    }
}
