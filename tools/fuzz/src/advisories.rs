//! Publishers' files, versions, and the index.

use watchbell_advisory::{
    Builder, Database, Ecosystem, ImportLimits, Importer, IndexDirectory, Query, Score, compare, is_version,
};

const LIMITS: ImportLimits = ImportLimits {
    record_bytes_max: 1 << 16,
    document_bytes_max: 1 << 20,
    total_bytes_max: 1 << 22,
    files_max: 100,
    records_max: 1000,
};
const NOW: i64 = 1_750_000_000;

fn every_ecosystem() -> [Ecosystem; 9] {
    let release = || "12".to_owned();
    [
        Ecosystem::Debian { release: release() },
        Ecosystem::AlmaLinux { release: release() },
        Ecosystem::Alpine { release: release() },
        Ecosystem::PyPI,
        Ecosystem::Npm,
        Ecosystem::Go,
        Ecosystem::Maven,
        Ecosystem::RubyGems,
        Ecosystem::Packagist,
    ]
}

/// Three lines: their order is total in every ecosystem.
pub fn versions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (a, b, c) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    for ecosystem in every_ecosystem() {
        let order = |a, b| compare(&ecosystem, a, b);
        assert!(order(a, a).is_eq());
        assert_eq!(order(a, b), order(b, a).reverse(), "{ecosystem}: {a:?} {b:?}");
        if order(a, b).is_le() && order(b, c).is_le() {
            assert!(order(a, c).is_le(), "{ecosystem}: {a:?} {b:?} {c:?}");
        }
        let _ = is_version(&ecosystem, a);
    }
    if let Ok(score) = a.parse::<Score>() {
        assert!(score.tenths <= 100);
    }
}

/// A file of any format: whatever is taken of it can be indexed, and an index of that index is the same bytes.
pub fn import(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let file = ["a.json", "a.jsonl", "a.csv", "a.tar"][usize::from(*kind) % 4];
    let mut importer = Importer::new("fuzz", NOW, LIMITS);
    if importer.add_bytes(file, data, None).is_err() {
        return;
    }
    let Ok(imported) = importer.finish() else { return };
    let mut builder = Builder::new();
    builder.replace(imported.source, imported.contents);
    let index = builder.build();
    with_index(&index, |database| {
        database.verify().expect("it was just written");
        for (ecosystem, name) in database.packages().expect("it was just written") {
            let query = Query { ecosystem: &ecosystem, name: &name, version: "1.0" };
            database.assess(&query).expect("it was just written");
        }
        assert!(Builder::from_database(database).expect("it was just written").build() == index);
    });
}

/// An index that somebody made or changed: an answer or an error. As it is, and with its checksums made right, as whoever can
/// write it can make them: then what they cover is looked at.
pub fn index(data: &[u8]) {
    for bytes in [data.to_vec(), sealed(data)] {
        with_index(&bytes, |database| {
            let debian = Ecosystem::Debian { release: "12".to_owned() };
            for (ecosystem, name) in [(&debian, "tool"), (&Ecosystem::PyPI, "unpack-it")] {
                let _ = database.assess(&Query { ecosystem, name, version: "1.0" });
            }
            let _ = database.vulnerability("CVE-2030-0001");
            let _ = database.packages();
            let _ = Builder::from_database(database);
        });
    }
}

/// The bytes with a length and checksums of the header and the sections that are theirs.
fn sealed(data: &[u8]) -> Vec<u8> {
    /// Of the header, its length, where the file's length and the places of its sections stand, and how many those are.
    const HEADER: usize = 512;
    const LENGTH: usize = 16;
    const PLACES: usize = 64;
    const SECTIONS: usize = 12;
    let mut bytes = data.to_vec();
    if bytes.len() < HEADER {
        return bytes;
    }
    let length = bytes.len() as u64;
    bytes[LENGTH..LENGTH + 8].copy_from_slice(&length.to_le_bytes());
    for at in (PLACES..).step_by(20).take(SECTIONS) {
        let number = |at: usize| {
            let bytes: [u8; 8] = bytes[at..at + 8].try_into().expect("it has eight bytes");
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let end = number(at).zip(number(at + 8)).and_then(|(offset, length)| offset.checked_add(length));
        let section = number(at).zip(end).and_then(|(offset, end)| bytes.get(offset..end));
        if let Some(crc) = section.map(crc32fast::hash) {
            bytes[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn with_index(bytes: &[u8], ask: impl FnOnce(&Database)) {
    let dir = tempfile::Builder::new()
        .prefix("watchbell-fuzz-")
        .tempdir_in("/dev/shm")
        .expect("a private directory");
    IndexDirectory::lock(dir.path()).expect("nobody else has it").replace(bytes).expect("there is room");
    if let Ok(database) = Database::open(dir.path()) {
        ask(&database);
    }
}
