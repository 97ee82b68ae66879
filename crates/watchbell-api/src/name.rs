//! Names: forms of RFC 1123 and 1035, and generated suffixes.

/// A name from `generateName`: the stem, shortened when needed, and five characters.
pub fn generate(stem: &str, random: [u8; 16]) -> String {
    let _ = (stem, random);
    unimplemented!("bodies follow")
}
