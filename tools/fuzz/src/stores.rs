//! What a store of a data array and a bucket say.

use std::collections::HashSet;
use std::fs;

use watchbell_array::{Digest, foreign};

const TRAILER: usize = 48;
const MAGIC: &[u8; 8] = b"WBPACK\x00\x01";

/// A page of a list: what is taken is all that it names, and it says whether it is the last.
pub fn s3_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((listed, next)) = foreign::bucket_page(text) else { return };
    assert!(listed.len() <= text.matches("<Contents>").count(), "{text}");
    assert!(next.is_none_or(|token| !token.is_empty()), "{text}");
}

/// A page of a list of parts: each is one that was named, and a list that is whole has no next page.
pub fn s3_parts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((parts, next)) = foreign::bucket_parts(text) else { return };
    assert!(parts.len() <= text.matches("<Part>").count(), "{text}");
    assert!(next.is_none() || text.contains("<IsTruncated>"), "{text}");
}

/// A manifest, a snapshot, a pack, what an index has committed, or what lies beside an encrypted array, as the first byte says. What is taken of one can be written and read again; a manifest's
/// keys are apart and have a writer, and what a pack holds lies in it.
pub fn array_store(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => manifest(data),
        1 => snapshot(data),
        2 => pack(data),
        3 => index_record(data),
        // Nobody who has not the key makes one that it opens, but of one that somebody who has it made.
        _ => drop(foreign::encryption(data, KEY, "ml/obs")),
    }
}

/// Of the seed.
pub const KEY: [u8; 32] = [7; 32];

/// Whoever can write a record can also make its digest right.
fn index_record(data: &[u8]) {
    const HEADER: usize = 40;
    let mut bytes = data.to_vec();
    if bytes.len() >= HEADER {
        let digest = Digest::of(&bytes[HEADER..]);
        bytes[8..HEADER].copy_from_slice(digest.as_bytes());
    }
    let Ok((committed, encoded)) = foreign::index_record(&bytes) else { return };
    let (again, _) = foreign::index_record(&encoded).expect("it was just written");
    assert_eq!(again, committed);
    let named = committed.written.len() + committed.removed.len();
    assert!(named <= bytes.len(), "{named} keys in {} bytes", bytes.len());
}

fn manifest(data: &[u8]) {
    let Ok(manifest) = foreign::manifest(data) else { return };
    let again = foreign::manifest(&manifest.encode()).expect("it was just written");
    assert_eq!(again, manifest);
    let _ = manifest.bytes();
    let mut keys = HashSet::new();
    for entry in &manifest.entries {
        assert!(keys.insert(entry.key.as_str()), "{} stands twice", entry.key);
        assert_eq!(manifest.get(&entry.key), Some(entry));
        let _ = manifest.writer(entry);
    }
}

fn snapshot(data: &[u8]) {
    let Ok(snapshot) = foreign::snapshot(data) else { return };
    assert_eq!(foreign::snapshot(&snapshot.encode()).expect("it was just written"), snapshot);
}

/// Whoever can write a pack can also make the digest of its index right: that is done here, so that the index is looked at.
fn pack(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Some(behind) = bytes.len().checked_sub(TRAILER) {
        let length = u64::from_le_bytes(bytes[behind..behind + 8].try_into().expect("it has eight bytes"));
        let begin = usize::try_from(length).ok().and_then(|length| behind.checked_sub(length));
        let digest = begin.map(|begin| Digest::of(&bytes[begin..behind]));
        if let Some(digest) = digest {
            bytes[behind + 8..behind + 40].copy_from_slice(digest.as_bytes());
        }
        bytes[behind + 40..].copy_from_slice(MAGIC);
    }
    let dir = tempfile::Builder::new()
        .prefix("watchbell-fuzz-")
        .tempdir_in("/dev/shm")
        .expect("a private directory");
    let path = dir.path().join("pack");
    fs::write(&path, &bytes).expect("there is room");
    let Ok(held) = foreign::pack_index(&path) else { return };
    for (at, (digest, offset, length)) in held.iter().enumerate() {
        assert!(offset + u64::from(*length) <= (bytes.len() - TRAILER) as u64, "{digest} lies outside");
        assert!(at == 0 || held[at - 1].0 < *digest, "{digest} is out of order");
    }
}
