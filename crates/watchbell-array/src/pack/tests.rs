use std::fs;

use super::*;

/// Digests of which so many begin alike.
fn digest(front: u8, rest: u8) -> Digest {
    let mut bytes = [front; 32];
    bytes[31] = rest;
    Digest::from_bytes(bytes)
}

/// A directory of objects with one pack.
fn packed(contents: &[(Digest, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::create(&Disk::default(), &dir.path().join(DIR), 0).unwrap();
    contents.iter().for_each(|(digest, bytes)| writer.add(*digest, bytes).unwrap());
    let path = writer.finish(&Disk::default()).unwrap().unwrap();
    (dir, path)
}

#[test]
fn each_object_is_found_and_no_other() {
    // More than the writer holds back, and more that begin alike than one.
    let content = |front: u8, rest: u8| vec![front ^ rest; 4096 + usize::from(rest)];
    let all: Vec<_> = (0..8)
        .flat_map(|front| (0..100).map(move |rest| (digest(front * 3, rest * 2), content(front, rest))))
        .collect();
    let (dir, _) = packed(&all);
    let index = Index::of(dir.path()).unwrap();
    assert!(index.broken.is_empty());
    for (digest, bytes) in &all {
        let place = index.get(*digest).unwrap().unwrap();
        let mut found = vec![0; place.length as usize];
        place.open().unwrap().read_exact_at(&mut found, place.offset).unwrap();
        assert!(found == *bytes);
    }
    for (front, rest) in [(0, 1), (0, 199), (1, 0), (21, 201), (255, 255)] {
        assert!(index.get(digest(front, rest)).unwrap().is_none());
    }
}

/// Adds packs of one object each, whose digests begin with these.
fn add_packs(dir: &Path, fronts: std::ops::RangeInclusive<u8>) {
    // Nobody waits for a sync.
    let disk = Disk::watched(|_| Ok(()));
    for front in fronts {
        let writer = Writer::create(&disk, &dir.join(DIR), u64::from(front)).unwrap();
        writer.add(digest(front, 0), &[front]).unwrap();
        writer.finish(&disk).unwrap().unwrap();
    }
}

fn held(index: &Index) -> usize {
    index.packs.values().filter(|pack| pack.file.is_some()).count()
}

/// Of one directory, and of all together.
#[test]
fn packs_beyond_those_held_open_are_found_too() {
    let (dir, _) = packed(&[(digest(0, 0), vec![0])]);
    let all = 0..=HELD_OPEN as u8;
    add_packs(dir.path(), 1..=HELD_OPEN as u8);
    let mut index = Index::of(dir.path()).unwrap();
    assert_eq!(held(&index), HELD_OPEN);
    assert!(all.clone().all(|front| index.get(digest(front, 0)).unwrap().is_some()));
    // What is gone is not found any more.
    let gone = index.get(digest(7, 0)).unwrap().unwrap().pack;
    fs::remove_file(gone).unwrap();
    assert!(index.get(digest(7, 0)).unwrap().is_none());
    index.refresh(&dir.path().join(DIR)).unwrap();
    assert!(all.clone().all(|front| index.get(digest(front, 0)).unwrap().is_some() == (front != 7)));

    let many: Vec<Index> = (0..=ALL_HELD_OPEN / HELD_OPEN).map(|_| Index::of(dir.path()).unwrap()).collect();
    assert!(many.iter().map(held).sum::<usize>() < ALL_HELD_OPEN);
    let last = many.last().unwrap();
    assert!(held(last) < HELD_OPEN && last.get(digest(9, 0)).unwrap().is_some());
    // Those that are not needed any more make room.
    drop(many);
    assert_eq!(held(&Index::of(dir.path()).unwrap()), HELD_OPEN);
    // One that is not held open and was swept away is not there; it stops nobody.
    let find = |index: &Index, front| index.get(digest(front, 0)).unwrap().map(|place| place.pack);
    let unheld = index.packs.values().find(|pack| pack.file.is_none());
    let path = unheld.map(|pack| pack.path.clone());
    if let Some(path) = path {
        let front = all.clone().find(|front| find(&index, *front).as_deref() == Some(&*path)).unwrap();
        fs::remove_file(path).unwrap();
        assert!(find(&index, front).is_none());
    }
}

/// The same pack once more, as a run that goes on after a crash makes it.
#[test]
fn a_pack_that_was_replaced_by_an_equal_one_is_found() {
    let (dir, path) = packed(&[(digest(1, 0), vec![1; 10])]);
    let mut index = Index::of(dir.path()).unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    index.refresh(&dir.path().join(DIR)).unwrap();
    assert!(index.get(digest(1, 0)).unwrap().is_some());
}

/// That a pack could not be read once is remembered of nobody: it is tried again.
#[test]
fn a_pack_that_cannot_be_read_now_is_tried_again() {
    let (dir, path) = packed(&[(digest(1, 0), vec![1; 10])]);
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    // Nobody can open that.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let mut index = Index::of(dir.path()).unwrap();
    assert!(index.broken.is_empty() && index.get(digest(1, 0)).unwrap().is_none());
    let error = index.is_read().unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("pack-"), "{error}");
    fs::rename(&aside, &path).unwrap();
    index.refresh(&dir.path().join(DIR)).unwrap();
    index.is_read().unwrap();
    assert!(index.get(digest(1, 0)).unwrap().is_some());
}

/// Whoever can write a pack can also make the digest of its index right.
#[test]
fn an_index_that_lies_is_refused() {
    let check = |problem: &str, change: &dyn Fn(&mut [u8])| {
        let (dir, path) = packed(&[(digest(1, 0), vec![1; 10]), (digest(2, 0), vec![2; 10])]);
        let mut bytes = fs::read(&path).unwrap();
        let behind = bytes.len() - TRAILER;
        let index = &mut bytes[behind - 2 * ENTRY..behind];
        change(index);
        let made = Digest::of(index);
        bytes[behind + 8..behind + 40].copy_from_slice(made.as_bytes());
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let index = Index::of(dir.path()).unwrap();
        assert_eq!(index.broken.values().collect::<Vec<_>>(), [problem]);
        assert!(index.get(digest(1, 0)).unwrap().is_none());
        assert_eq!(read(&path).unwrap().unwrap_err(), problem);
    };
    check("its index is out of order", &|index| index[..32].copy_from_slice(digest(3, 0).as_bytes()));
    check("its index is out of order", &|index| index.copy_within(..ENTRY, ENTRY));
    check("an object lies outside", &|index| index[32..40].copy_from_slice(&u64::MAX.to_le_bytes()));
    check("an object lies outside", &|index| index[40..ENTRY].copy_from_slice(&30u32.to_le_bytes()));
}

/// The index is read again where an object is looked for.
#[test]
fn an_index_that_is_changed_later_leads_nowhere() {
    let (dir, path) = packed(&[(digest(1, 0), vec![1; 10])]);
    let index = Index::of(dir.path()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let entry = bytes.len() - TRAILER - ENTRY;
    bytes[entry + 32..entry + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = index.get(digest(1, 0)).unwrap_err().to_string();
    assert!(error.contains("an object lies outside"), "{error}");
    fs::write(&path, "").unwrap();
    assert!(index.get(digest(1, 0)).is_err());
}

/// Where nobody put a file, none is asked for.
#[test]
fn files_are_looked_for_where_there_may_be_some() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::of(dir.path()).unwrap();
    fs::write(dir.path().join("aa"), "staged").unwrap();
    let has = |index: &Index, name| index.has_file(name).unwrap();
    assert!(!has(&index, "aa"));
    index.note_file();
    assert!(has(&index, "aa") && !has(&index, "bb"));
    // That it cannot be looked at does not say that it is not there.
    assert!(index.has_file(&"a".repeat(256)).is_err());
    assert!(has(&Index::of(dir.path()).unwrap(), "aa"));
    assert!(!has(&Index::of(&dir.path().join("nothing")).unwrap(), "aa"));
}
