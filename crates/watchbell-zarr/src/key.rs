use crate::metadata::ArrayMetadata;

/// How an array's chunks are named, behind the array's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    /// `c/1/23/45`; of no dimensions: `c`.
    Default { separator: char },
    /// `1.23.45`; of no dimensions: `0`.
    V2 { separator: char },
}

/// A place in an array's grid, one number a dimension.
pub type ChunkKey = Vec<u64>;

/// What a key below an array's path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The canonical name of a chunk of the grid.
    Chunk(ChunkKey),
    /// The name of a chunk, written so, that a library would not look for: `c/01`, or one past the edge.
    NotCanonical(&'static str),
    /// Nothing that an array has.
    Foreign,
}

impl KeyEncoding {
    /// The name of a chunk, behind its array's path.
    pub fn encode(self, chunk: &[u64]) -> String {
        let join = |separator: char| {
            let numbers: Vec<String> = chunk.iter().map(u64::to_string).collect();
            numbers.join(separator.encode_utf8(&mut [0; 4]))
        };
        match self {
            Self::Default { .. } if chunk.is_empty() => "c".to_owned(),
            Self::Default { separator } => format!("c{separator}{}", join(separator)),
            Self::V2 { .. } if chunk.is_empty() => "0".to_owned(),
            Self::V2 { separator } => join(separator),
        }
    }
}

impl KeyEncoding {
    /// The directory of the chunks of an array of so many dimensions whose numbers begin with `front`; nothing where there is none.
    pub(crate) fn directory(self, front: &[u64], dimensions: usize) -> Option<String> {
        if front.len() >= dimensions {
            return None;
        }
        let numbers = || front.iter().map(u64::to_string).collect::<Vec<_>>().join("/");
        match self {
            Self::Default { separator: '/' } if front.is_empty() => Some("c".to_owned()),
            Self::Default { separator: '/' } => Some(format!("c/{}", numbers())),
            Self::V2 { separator: '/' } if !front.is_empty() => Some(numbers()),
            Self::Default { .. } | Self::V2 { .. } => None,
        }
    }
}

impl ArrayMetadata {
    /// What `key` (behind this array's path) names. `encode` and this are each other's inverse on the grid, and two keys never
    /// name one chunk.
    pub fn parse(&self, key: &str) -> Parsed {
        let (numbers, separator) = match self.encoding {
            KeyEncoding::Default { separator } => {
                let Some(rest) = key.strip_prefix('c') else { return Parsed::Foreign };
                match (rest.strip_prefix(separator), self.shape.is_empty()) {
                    (None, true) if rest.is_empty() => return Parsed::Chunk(Vec::new()),
                    (Some(rest), false) => (rest, separator),
                    _ => return Parsed::Foreign,
                }
            }
            KeyEncoding::V2 { separator } => match (self.shape.is_empty(), key) {
                (true, "0") => return Parsed::Chunk(Vec::new()),
                (true, _) => return Parsed::Foreign,
                (false, _) => (key, separator),
            },
        };
        let mut chunk = ChunkKey::with_capacity(self.shape.len());
        for part in numbers.split(separator) {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) || chunk.len() == self.shape.len()
            {
                return Parsed::Foreign;
            }
            if part.len() > 1 && part.starts_with('0') {
                return Parsed::NotCanonical("a number with leading zeros");
            }
            match part.parse() {
                Ok(number) => chunk.push(number),
                Err(_) => return Parsed::NotCanonical("a number too large"),
            }
        }
        if chunk.len() != self.shape.len() {
            return Parsed::Foreign;
        }
        let is_inside = chunk
            .iter()
            .zip(self.shape.iter().zip(&self.chunk_shape))
            .all(|(at, (length, size))| at.checked_mul(*size).is_some_and(|first| first < *length));
        if is_inside { Parsed::Chunk(chunk) } else { Parsed::NotCanonical("a chunk past the array's edge") }
    }
}
