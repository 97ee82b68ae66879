use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use watchbell_array::{
    Array, Digest, Disk, Error, KeptSource, KeySource, Kind, Retention, Step, export, sweep, verify,
};
use watchbell_zarr::{Extend, OnConflict, Split, grow, plan};

use crate::place::{Place, all, at, commit, contents, files, import_at, key_file, run, write};

fn encrypted(place: &Place, name: &str) -> Array {
    let source = key_file(place, &format!("{name}.key"), 7);
    made(&place.path(name), Kind::Zarr, Some(&source)).unwrap()
}

fn made(dir: &Path, kind: Kind, source: Option<&KeySource>) -> Result<Array, Error> {
    let key = source.map(KeySource::key).transpose()?;
    let encryption = source.map(KeySource::kept).zip(key.as_ref());
    Array::create_of(dir, Disk::default(), kind, encryption)
}

/// Another program's.
fn opened(array: &Array, place: &Place) -> Array {
    let key = key_file(place, "again.key", 7).key().unwrap();
    Array::open(array.dir(), Disk::default()).unwrap().unlock(&key).unwrap()
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
    let decrypted = array.decrypted(&manifest, |_| true);
    let open = |path: &Path| fs::File::open(path).unwrap();
    decrypted.write(open(memory.path()).as_fd(), "view").unwrap();
    assert_eq!(contents(&memory.path().join("view")), exported);
    let bytes: u64 = exported.values().map(|content| (content.len() as u64).div_ceil(4096) * 4096).sum();
    assert_eq!(decrypted.memory_bytes(), 4096 + bytes);
    let inodes = walk(&memory.path().join("view"));
    assert_eq!(decrypted.inodes(), inodes);
    // Only into a directory that is nobody else's, and on no disk; nothing in it is taken for its own.
    fs::create_dir(place.path("disk")).unwrap();
    fs::set_permissions(place.path("disk"), fs::Permissions::from_mode(0o700)).unwrap();
    let is_disk = rustix::fs::statfs(place.dir.path()).unwrap().f_type != 0x0102_1994;
    let refused = |dir: &Path, name: &str| decrypted.write(open(dir).as_fd(), name);
    assert!(matches!(refused(memory.path(), "view"), Err(Error::Io { .. })));
    std::os::unix::fs::symlink(place.path("disk"), memory.path().join("link")).unwrap();
    assert!(matches!(refused(memory.path(), "link"), Err(Error::Io { .. })));
    assert_eq!(matches!(refused(&place.path("disk"), "v"), Err(Error::NotPrivate(_))), is_disk);
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(refused(memory.path(), "v"), Err(Error::NotPrivate(_))));
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(memory.path(), Some(1), None).unwrap();
        assert!(matches!(refused(memory.path(), "v"), Err(Error::NotPrivate(_))));
    }
    assert!(!memory.path().join("v").exists());
}

/// Files and directories.
fn walk(dir: &Path) -> u64 {
    let of = |path: PathBuf| if path.is_dir() { walk(&path) } else { 1 };
    fs::read_dir(dir).unwrap().map(|entry| of(entry.unwrap().path())).sum::<u64>() + 1
}

#[test]
fn who_has_no_key_moves_no_ref_and_writes_no_record() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    let plain = place.plain();
    import_at(&array, &plain, 1_000).unwrap();
    let first = array.head().unwrap().unwrap();
    array.tag("good", first).unwrap();
    array.lease("run-1", first).unwrap();
    let old_head = fs::read(array.dir().join("refs/head")).unwrap();
    write(&plain, "t/c/0/0", b"newer");
    let second = import_at(&array, &plain, 2_000).unwrap().publication.unwrap().digest;
    array.tag("bad", second).unwrap();
    array.lease("run-2", second).unwrap();
    assert_eq!(array.head_number().unwrap(), 2);
    let path = |name: &str| array.dir().join(name);
    let changed = |name: &str, bytes: &[u8], refused: &dyn Fn(&Array) -> Option<Error>| {
        let before = fs::read(path(name)).unwrap();
        fs::write(path(name), bytes).unwrap();
        let error = refused(&opened(&array, &place));
        assert!(matches!(&error, Some(Error::Forged { what }) if what == name), "{name}: {error:?}");
        let damage = verify(&opened(&array, &place)).unwrap().damage;
        assert_eq!(damage.is_empty(), name.starts_with("leases"), "{name}");
        fs::write(path(name), before).unwrap();
    };
    let head = |array: &Array| array.head().err();
    let code = |name: &str| {
        let text = fs::read_to_string(path(name)).unwrap();
        text.trim_end().rsplit_once(' ').unwrap().1.to_owned()
    };
    // A digest alone, as a store in the clear has it; with the code of another; a tag in its place.
    changed("refs/head", format!("{first}\n").as_bytes(), &head);
    changed("refs/head", format!("{first} 3 {}\n", code("refs/head")).as_bytes(), &head);
    changed("refs/head", &fs::read(path("refs/tags/good")).unwrap(), &head);
    let tags = |array: &Array| array.tags().err();
    changed("refs/tags/good", &fs::read(path("refs/tags/bad")).unwrap(), &tags);
    let leased = |array: &Array| array.leased("run-1").err();
    changed("leases/run-1", &fs::read(path("leases/run-2")).unwrap(), &leased);
    // A record that he writes has no name of his making.
    let record = fs::read_to_string(path(&format!("snapshots/{second}"))).unwrap();
    let forged = record.replace("\"message\":\"", "\"message\":\"forged ");
    assert_ne!(forged, record);
    let named = Digest::of(forged.as_bytes());
    fs::write(path(&format!("snapshots/{named}")), &forged).unwrap();
    assert!(matches!(opened(&array, &place).snapshot(named), Err(Error::Damaged { .. })));
    fs::remove_file(path(&format!("snapshots/{named}"))).unwrap();
    fs::write(path(&format!("snapshots/{second}")), &forged).unwrap();
    assert!(matches!(opened(&array, &place).snapshot(second), Err(Error::Damaged { .. })));
    fs::write(path(&format!("snapshots/{second}")), &record).unwrap();
    assert_eq!(verify(&opened(&array, &place)).unwrap().damage, []);
    // An older head that was one is seen by who has seen a newer one, and by nobody else.
    fs::write(path("refs/head"), old_head).unwrap();
    assert!(matches!(array.head(), Err(Error::Older { count: 1, seen: 2 })));
    assert_eq!(opened(&array, &place).head().unwrap(), Some(first));
    let seen = Arc::new(AtomicU64::new(2));
    assert!(matches!(opened(&array, &place).not_before(seen).head(), Err(Error::Older { .. })));
    // Who meant it says so.
    assert_eq!(opened(&array, &place).renumber(2).unwrap(), 3);
    assert_eq!(array.head().unwrap(), Some(first));
    fs::remove_file(path("refs/head")).unwrap();
    assert!(matches!(array.head(), Err(Error::Older { count: 0, seen: 3 })));
}

#[test]
fn no_array_takes_the_place_of_another() {
    let place = Place::new();
    let (a, b) = (encrypted(&place, "a"), encrypted(&place, "b"));
    import_at(&b, &place.plain(), 1_000).unwrap();
    let key = key_file(&place, "key", 7).key().unwrap();
    fs::rename(a.dir(), place.path("kept")).unwrap();
    fs::rename(b.dir(), a.dir()).unwrap();
    let unlocked = || Array::open(a.dir(), Disk::default()).unwrap().unlock(&key).map(drop);
    let error = unlocked().unwrap_err();
    assert!(
        matches!(&error, Error::Elsewhere { is, at } if is.ends_with("/b") && at.ends_with("/a")),
        "{error}"
    );
    // Nor says somebody that it is what it is not.
    let header = fs::read_to_string(a.dir().join("encryption")).unwrap();
    let name = |name: &str| format!("{}/{name}", place.dir.path().file_name().unwrap().to_string_lossy());
    for (from, to) in [(name("b"), name("a")), ("\"Zarr\"".to_owned(), "\"Artifacts\"".to_owned())] {
        assert!(header.contains(&from), "{header}");
        fs::write(a.dir().join("encryption"), header.replace(&from, &to)).unwrap();
        assert!(matches!(unlocked(), Err(Error::WrongKey)));
    }
    // One of before is not read as if its refs could be trusted.
    fs::write(a.dir().join("format"), "watchbell-array 3\n").unwrap();
    let error = Array::open(a.dir(), Disk::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("are not authenticated"), "{error}");
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
    // Also what was there: some of it of the content that it is to have.
    for (name, open) in [("", 0o755), ("t/c", 0o777), ("t/c/0/0", 0o644), ("t/c/1/0", 0o666)] {
        fs::set_permissions(out.join(name), fs::Permissions::from_mode(open)).unwrap();
    }
    write(&out, "t/c/1/0", b"other");
    let exported = export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap();
    assert_eq!(exported.written, 1);
    let modes = [mode(""), mode("t/c"), mode("t/c/0/0"), mode("t/c/1/0")];
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
    // A directory with anything else in it stays as it is.
    write(&out, "mine", b"mine");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o755)).unwrap();
    export(&array, array.head().unwrap().unwrap(), &out, &mut |_, _| {}).unwrap_err();
    assert_eq!(mode(""), 0o755);
}

/// How far it is lies there sealed.
#[test]
fn an_interrupted_import_into_an_encrypted_array_goes_on() {
    let place = Place::new();
    let array = encrypted(&place, "array");
    let plain = place.plain();
    write(&plain, "t/c/7/1", "largelarge".repeat(200_000).as_bytes());
    // When all is copied, and nothing is in its place.
    let interrupted = || {
        let disk = Disk::watched(|step| match step {
            Step::Rename(_, to) if !to.to_string_lossy().contains("/drafts/") => Err(Error::Stopped),
            _ => Ok(()),
        });
        let key = key_file(&place, "again.key", 7).key().unwrap();
        let array = Array::open(array.dir(), disk).unwrap().unlock(&key).unwrap();
        assert!(matches!(import_at(&array, &plain, 1_000), Err(Error::Stopped)));
    };
    interrupted();
    is_nowhere_in_the_clear(array.dir());
    let drafts = array.dir().join("drafts");
    let import = fs::read_dir(&drafts).unwrap().next().unwrap().unwrap().path();
    let progress = import.join("progress");
    let whole = fs::read(&progress).unwrap();
    // What a crash cut short counts for nothing, and is not in the way of what comes next.
    fs::write(&progress, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
    write(&plain, "t/c/6/0", b"one more");
    let imported = import_at(&array, &plain, 2_000).unwrap();
    assert_eq!((imported.keys, imported.copied), (16, 1));
    assert_eq!(place.exported(&array), contents(&plain));
    assert_eq!(verify(&array).unwrap().damage, []);
    // Nor does what is damaged, or somebody else's.
    write(&plain, "t/c/6/0", b"another");
    interrupted();
    let mut other = fs::read(&progress).unwrap();
    other[40] ^= 1;
    fs::write(&progress, &other).unwrap();
    let imported = import_at(&array, &plain, 3_000).unwrap();
    assert_eq!((imported.keys, imported.copied), (16, 16));
    assert_eq!(place.exported(&array), contents(&plain));
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
    let create =
        |kind, source: Option<&KeySource>| made(&dir, kind, source).map_err(|error| error.to_string());
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
