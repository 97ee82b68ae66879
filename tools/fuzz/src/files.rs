//! What root or a registry laid on the disk.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use watchbell_cdi::{Policy, QualifiedName, Registry};
use watchbell_image::{Limits, Silent, Store, import_stream};
use watchbell_sandbox::{Capabilities, ProfileFacts, SeccompBase, SeccompProfile};

/// A profile above the default filter allows nothing that the default does not.
pub fn profile(data: &[u8]) {
    for base in [SeccompBase::Default, SeccompBase::Floor] {
        let facts = ProfileFacts { base, capabilities: Capabilities::NONE, kernel: (6, 18) };
        if let Ok(profile) = SeccompProfile::from_json(data, &facts) {
            let _ = (profile.beyond_default(), profile.never_allowed());
        }
    }
}

/// One spec in a directory of root's; every device of it is handed out, or refused with a reason.
pub fn cdi(data: &[u8]) {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let dir = PLACE.get_or_init(|| scratch().join("cdi"));
    fs::create_dir_all(dir).expect("a directory of our own");
    fs::write(dir.join("vendor.json"), data).expect("a file of our own");
    let registry = Registry::load(std::slice::from_ref(dir), &Policy::default());
    for (kind, names) in registry.pools() {
        for name in names {
            if let Ok(name) = QualifiedName::parse(&format!("{kind}={name}")) {
                let _ = registry.hand_out(&[name]);
            }
        }
    }
}

/// An archive is imported and its layers unpacked. Nothing of it lies outside of the store.
pub fn image(data: &[u8]) {
    let place = tempfile::tempdir_in(scratch()).expect("a directory of our own");
    let inside = place.path().join("store");
    fs::create_dir(&inside).expect("a directory of our own");
    let limits =
        Limits { image_unpacked_bytes_max: 1 << 20, archive_bytes_max: 4 << 20, ..Limits::default() };
    let store = Store::open_with(&inside, limits).expect("an empty store opens");
    if let Ok(images) = import_stream(&store, data, None, &Silent) {
        for imported in images {
            let _ = store.unpacked_layers(&imported.image);
        }
    }
    let outside: Vec<_> =
        fs::read_dir(place.path()).expect("our own directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(outside, ["store"]);
}

/// In memory: a disk would be the slowest part.
fn scratch() -> PathBuf {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    // libFuzzer leaves by `_exit`: what it left is taken away by tools/fuzz/run.
    PLACE
        .get_or_init(|| {
            tempfile::Builder::new().prefix("watchbell-fuzz-").tempdir_in("/dev/shm").expect("memory")
        })
        .path()
        .into()
}
