//! Names: forms of RFC 1123 and 1035, and generated suffixes.

/// What the name of a label, a volume or a variable's prefix may be at most; a generated name as a whole.
pub const LABEL_LENGTH_MAX: usize = 63;
/// A subdomain of RFC 1123.
pub const SUBDOMAIN_LENGTH_MAX: usize = 253;

/// How many characters are drawn for a generated name.
const SUFFIX_LENGTH: usize = 5;
/// Without vowels and what looks like them, so that no word comes out.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name from `generateName`: the stem, shortened when needed, and five characters.
pub fn generate(stem: &str, random: [u8; 16]) -> String {
    let mut end = stem.len().min(LABEL_LENGTH_MAX - SUFFIX_LENGTH);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    // 27^5 names out of 2^128 numbers: the unevenness is far below what anyone could measure.
    let mut number = u128::from_le_bytes(random);
    let mut name = String::from(&stem[..end]);
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(SUFFIX_ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    name
}

#[cfg(test)]
mod tests;
