use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use watchbell_array::{
    Array, Digest, Disk, Error, KeptSource, KeySource, Kind, Retention, export, sweep, verify,
};
use watchbell_zarr::{Extend, OnConflict, Split, grow, plan};

use crate::place::{Place, all, at, commit, contents, import_at, run, write};

fn key_file(place: &Place, name: &str, byte: u8) -> KeySource {
    let path = place.path(name);
    fs::write(&path, [byte; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    KeySource::File(path)
}

fn encrypted(place: &Place, name: &str) -> Array {
    let source = key_file(place, &format!("{name}.key"), 7);
    Array::create_of(&place.path(name), Disk::default(), Kind::Zarr, Some(source)).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = pending.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Neither contents nor names of chunks, nor a word of a document.
fn is_nowhere_in_the_clear(dir: &Path) {
    for path in files(dir) {
        let bytes = fs::read(&path).unwrap();
        // Long enough not to be there by chance.
        for text in [
            "old 0 0",
            "largelarge",
            "zarr_format",
            "chunk_shape",
            "t/c/18/",
            "zarr.json",
            "\x07\x07\x07\x07\x07\x07\x07",
        ] {
            let is_there = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!is_there, "{text:?} is in {}", path.display());
        }
    }
}

#[test]
fn nothing_of_an_encrypted_array_is_on_the_disk_in_the_clear() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    let plain = place.plain();
    import_at(&array, &plain, 1_000).unwrap();
    is_nowhere_in_the_clear(array.dir());
    let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
    let documents = array.documents(&array.manifest(head.manifest).unwrap()).unwrap();
    let (hierarchy, grown) = grow(&documents, &Extend { dimension: "time".to_owned(), by: 40 }).unwrap();
    let split = Split::Dimension { dimension: "time".to_owned(), into: 2 };
    let plan = plan(&hierarchy, &split, &[], Some(&grown), 2).unwrap();
    let draft = array.begin(&run("r1"), &grown.documents).unwrap();
    let large = "large".repeat(250_000);
    let many: Vec<_> = (8..18).flat_map(|time| [0, 1].map(|lat| format!("t/c/{time}/{lat}"))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), key.as_str())).collect();
    commit(&draft, &plan, 0, &place.upper("u0", &many)).unwrap();
    commit(&draft, &plan, 1, &place.upper("u1", &[("t/c/18/0", "new"), ("t/c/18/1", &large)])).unwrap();
    is_nowhere_in_the_clear(array.dir());
    drop(draft);
    let draft = array.draft("r1").unwrap();
    assert_eq!(draft.progress().unwrap().committed.len(), 2);
    assert!(matches!(draft.view(), Err(Error::Encrypted)));
    draft.publish(&all(2), OnConflict::Fail, None, "", at(9)).unwrap();
    draft.remove().unwrap();
    sweep(&array, Some(&Retention { last: 1, ..Retention::default() })).unwrap();
    is_nowhere_in_the_clear(array.dir());
    assert_eq!(verify(&array).unwrap().damage, []);
    let exported = place.exported(&array);
    assert_eq!((exported["t/c/18/1"] == large, exported["t/c/9/1"].as_str()), (true, "t/c/9/1"));
    // As a directory, in memory alone.
    let manifest = array.manifest(array.snapshot(array.head().unwrap().unwrap()).unwrap().manifest).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = array.decrypt_into(&manifest, |_| true, memory.path(), 1_000).unwrap_err().to_string();
    assert!(error.contains("would be decrypted into memory, and at most 1000 may be"), "{error}");
    array.decrypt_into(&manifest, |_| true, memory.path(), 1 << 30).unwrap();
    assert_eq!(contents(memory.path()), exported);
    fs::create_dir(place.path("disk")).unwrap();
    fs::set_permissions(place.path("disk"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let is_disk = rustix::fs::statfs(place.dir.path()).unwrap().f_type != 0x0102_1994;
    for (dir, is_refused) in [(place.path("disk"), is_disk), (memory.path().to_owned(), true)] {
        let refused =
            matches!(array.decrypt_into(&manifest, |_| true, &dir, 1 << 30), Err(Error::NotPrivate(_)));
        assert_eq!(refused, is_refused);
    }
}

#[test]
fn what_is_sealed_is_exported_for_its_owner_alone() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    import_at(&array, &place.plain(), 1_000).unwrap();
    let out = place.path("out");
    export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
    let mode = |name: &str| fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("t/c"), mode("t/c/0/0")), (0o700, 0o700, 0o600));
}

#[test]
fn equal_arrays_have_nothing_in_common() {
    let place = Place::new();
    let plain = place.plain();
    let stored = |name: &str| {
        let array = encrypted(&place, name);
        import_at(&array, &plain, 1_000).unwrap();
        let head = array.snapshot(array.head().unwrap().unwrap()).unwrap();
        let manifest = array.manifest(head.manifest).unwrap();
        let digests: BTreeSet<Digest> = manifest.entries.iter().map(|entry| entry.digest).collect();
        (array, digests)
    };
    // The same key even.
    let ((a, in_a), (_, in_b)) = (stored("a"), stored("b"));
    assert!(in_a.is_disjoint(&in_b) && !in_a.contains(&Digest::of(b"old 0 0")));
    // A second import of the same is still known to be the same.
    assert!(import_at(&a, &plain, 2_000).unwrap().publication.is_none());
}

#[test]
fn without_the_key_nothing_is_read_and_a_wrong_one_is_told() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    import_at(&array, &place.plain(), 1_000).unwrap();
    let locked = || Array::open(&place.path("array"), Disk::default()).unwrap();
    let head = locked().head().unwrap().unwrap();
    let manifest = locked().snapshot(head).unwrap().manifest;
    let error = locked().manifest(manifest).unwrap_err().to_string();
    assert_eq!(error, "the array is encrypted, and its key was not given");
    for refused in [
        sweep(&locked(), None).map(drop),
        export(&locked(), head, &place.path("out"), &mut |_, _| {}).map(drop),
        locked().begin(&run("r1"), &BTreeMap::new()).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Locked)));
    }
    let source = locked().key_source().unwrap().unwrap();
    assert_eq!(source, KeptSource::File(place.path("array.key")));
    let key = KeySource::File(place.path("array.key")).key().unwrap();
    locked().unlock(&key).unwrap().manifest(manifest).unwrap();
    let error = locked().unlock(&key_file(&place, "other", 8).key().unwrap()).err().unwrap().to_string();
    assert_eq!(error, "the key is not the array's");
}

#[test]
fn a_key_comes_from_a_private_file_or_a_command() {
    let place = Place::new();
    let KeySource::File(path) = key_file(&place, "key", 7) else { unreachable!() };
    let command = |argv: &[&str]| KeySource::Command(argv.iter().map(|word| (*word).to_owned()).collect());
    let array = encrypted(&place, "array");
    let opens = |source: &KeySource| {
        let locked = Array::open(array.dir(), Disk::default()).unwrap();
        locked
            .unlock(&source.key().map_err(|error| error.to_string())?)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    opens(&command(&["cat", path.to_str().unwrap()])).unwrap();
    opens(&command(&["printf", "%s\n", &"07".repeat(32)])).unwrap();
    let words = |source: KeySource| opens(&source).unwrap_err();
    assert!(words(command(&["false"])).contains("the command false: it failed: exit status: 1"));
    assert!(words(command(&["yes", "secret"])).starts_with("there is no key to be had: the command yes"));
    assert!(words(command(&["/nowhere"])).contains("it cannot be started"));
    let short = words(command(&["printf", "0123456789"]));
    assert!(short.ends_with("a key has 32 bytes, or 64 hexadecimal digits") && !short.contains("0123"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(words(KeySource::File(path.clone())).ends_with("with mode 0600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&path, place.path("link")).unwrap();
    assert!(words(KeySource::File(place.path("link"))).contains("it cannot be opened"));
}

/// Neither what a store says it is opened with, nor a store of something else than is asked for.
#[test]
fn a_directory_chooses_nothing_that_is_run_or_made() {
    let place = Place::new();
    let KeySource::File(key) = key_file(&place, "key", 7) else { unreachable!() };
    let command = KeySource::Command(vec!["cat".to_owned(), key.to_string_lossy().into_owned()]);
    let dir = place.path("array");
    let create = |kind, source: Option<&KeySource>| {
        Array::create_of(&dir, Disk::default(), kind, source.cloned()).map_err(|error| error.to_string())
    };
    let array = create(Kind::Zarr, Some(&command)).unwrap();
    assert_eq!(array.key_source().unwrap(), Some(KeptSource::Command));
    assert!(!fs::read_to_string(dir.join("encryption")).unwrap().contains("cat"));
    // Without its format it is not taken for nothing: what comes next would lie there in the clear.
    fs::remove_file(dir.join("format")).unwrap();
    for (kind, source) in [(Kind::Zarr, None), (Kind::Zarr, Some(&command)), (Kind::Artifacts, None)] {
        assert!(create(kind, source).err().unwrap().contains("no whole array"));
    }
    assert!(dir.join("encryption").exists());
    // A half-made one is made anew as the same alone.
    fs::write(dir.join("unfinished"), "Zarr, encrypted\n").unwrap();
    fs::write(dir.join("refs/head"), "nonsense").unwrap();
    assert!(create(Kind::Zarr, None).err().unwrap().contains("no whole array"));
    let again = create(Kind::Zarr, Some(&command)).unwrap();
    assert!(again.head().unwrap().is_none() && !dir.join("unfinished").exists());
    assert!(create(Kind::Zarr, Some(&command)).err().unwrap().contains("already"));
}

#[test]
fn a_damaged_byte_of_anything_sealed_is_found() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    let plain = place.plain();
    write(&plain, "t/c/7/1", "large".repeat(250_000).as_bytes());
    import_at(&array, &plain, 1_000).unwrap();
    let mut damaged = 0;
    for path in files(array.dir()).into_iter().filter(|path| !path.starts_with(array.dir().join("refs"))) {
        let whole = fs::read(&path).unwrap();
        let of = path.strip_prefix(array.dir()).unwrap().to_string_lossy().into_owned();
        if !of.starts_with("objects") && !of.starts_with("manifests") {
            continue;
        }
        for at in [8, whole.len() / 3, whole.len() - 50] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            let again = Array::open(array.dir(), Disk::default()).unwrap();
            let again = again.unlock(&key_file(&place, "key", 7).key().unwrap()).unwrap();
            assert!(!verify(&again).unwrap().damage.is_empty(), "{of} {at}");
            damaged += 1;
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(damaged, 9, "a pack, a large object and a manifest");
}
