use std::path::PathBuf;

use super::*;
use crate::disk::Disk;

const CONTENTS: [&str; 3] = ["mended", "whole", "unread"];

/// An array with one pack of these contents.
fn packed() -> (tempfile::TempDir, Array, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let array = Array::create(&dir.path().join("array"), Disk::watched(|_| Ok(()))).unwrap();
    let add = |writer: &pack::Writer| {
        CONTENTS.iter().try_for_each(|text| writer.add(Digest::of(text.as_bytes()), text.as_bytes()))
    };
    let (made, ()) = pack::Writer::write(&array.disk, &array.packs_dir().unwrap(), 0, add).unwrap();
    (dir, array, made.unwrap())
}

fn is_found(array: &Array, text: &str) -> bool {
    Objects { array, staging: None }.locate(Digest::of(text.as_bytes())).unwrap().is_some()
}

/// A disk on which these contents cannot be read.
fn without(unread: &'static [&str]) -> impl Fn(&File, u64, u32) -> io::Result<Vec<u8>> {
    |file, offset, length| {
        let bytes = pack::bytes_at(file, offset, length)?;
        match unread.iter().any(|text| text.as_bytes() == bytes) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(bytes),
        }
    }
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let (_dir, array, pack) = packed();
    let mended = BTreeSet::from([Digest::of(b"mended")]);
    leave_out(&array, &mended, &without(&[])).unwrap();
    assert!(is_found(&array, "mended") && pack.exists(), "it is whole");
    leave_out(&array, &mended, &without(&["mended"])).unwrap();
    assert_eq!(CONTENTS.map(|text| is_found(&array, text)), [false, true, true]);
    assert!(!pack.exists());
}

/// Nothing is lost of what may be read again.
#[test]
fn a_pack_of_which_more_cannot_be_read_is_set_aside() {
    let (_dir, array, pack) = packed();
    let mended = BTreeSet::from([Digest::of(b"mended")]);
    leave_out(&array, &mended, &without(&["mended", "unread"])).unwrap();
    assert_eq!(CONTENTS.map(|text| is_found(&array, text)), [false, true, false]);
    assert!(!pack.exists() && pack::aside_name(&pack).exists());
}

/// What was begun and not finished is in nobody's way, and an error leaves nothing more.
#[test]
fn a_pack_that_was_begun_is_in_nobody_s_way() {
    let (_dir, array, pack) = packed();
    let mended = BTreeSet::from([Digest::of(b"mended")]);
    let left = pack.with_file_name("new-0");
    std::fs::write(&left, "half").unwrap();
    let full = Array::open(
        &array.dir,
        Disk::watched(|step| match step {
            crate::disk::Step::SyncFile(_) => Err(Error::Stopped),
            _ => Ok(()),
        }),
    );
    assert!(leave_out(&full.unwrap(), &mended, &without(&["mended"])).is_err());
    assert!(!left.exists() && pack.exists());
    std::fs::write(&left, "half").unwrap();
    leave_out(&array, &mended, &without(&["mended"])).unwrap();
    assert_eq!(CONTENTS.map(|text| is_found(&array, text)), [false, true, true]);
}
