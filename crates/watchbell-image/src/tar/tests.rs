//! The reader against GNU tar, Python's tarfile and our own writer; and against archives that lie.

use std::io::Read;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::testing::{Raw, RawTar, dir, file, hard_link, raw, symlink};

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut archive = Archive::new(bytes, 1 << 20);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        archive.read_to_end(&mut content).map_err(Error::Io)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn names(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().iter().map(|(e, _)| String::from_utf8_lossy(&e.path).into_owned()).collect()
}

fn check_refused(bytes: &[u8], message: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn ordinary_entries() {
    let bytes = RawTar::of(&[dir("d/"), file("d/a", "content"), symlink("l", "d/a"), hard_link("h", "d/a")]);
    let entries = read(&bytes).unwrap();
    let kinds: Vec<&Kind> = entries.iter().map(|(e, _)| &e.kind).collect();
    assert_eq!(
        kinds,
        [
            &Kind::Directory,
            &Kind::File,
            &Kind::Symlink { target: b"d/a".to_vec() },
            &Kind::HardLink { target: b"d/a".to_vec() }
        ]
    );
    assert_eq!(entries[1].1, b"content");
}

#[test]
fn a_pax_path_wins_over_the_header_and_holds_for_one_entry() {
    let mut tar = RawTar::default();
    tar.pax(&[("path", "long/name"), ("mtime", "12.5")]).push(&file("short", "x")).push(&file("next", "y"));
    let bytes = tar.end();
    assert_eq!(names(&bytes), ["long/name", "next"]);
    assert_eq!(read(&bytes).unwrap()[0].0.mtime, 12);
}

#[test]
fn what_lies_is_refused() {
    let ordinary = RawTar::of(&[file("a", "content")]);
    let mut wrong_sum = ordinary.clone();
    wrong_sum[0] ^= 1;
    check_refused(&wrong_sum, "checksum");
    // Cut in the content, and in the header.
    assert!(read(&ordinary[..512 + 3]).is_err());
    assert!(read(&ordinary[..100]).is_err());
    // A size beyond all bytes that follow.
    let huge = RawTar::of(&[Raw { stated_size: Some(0o77777777777), ..file("a", "x") }]);
    assert!(read(&huge).is_err());
    // An extended header larger than its bound is refused before it is read.
    let mut tar = RawTar::default();
    tar.push(&Raw { stated_size: Some(1 << 30), ..raw("pax", b'x') });
    check_refused(&tar.end(), "extended header");
}

#[test]
fn gnu_tar_and_the_reader_agree() {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    let deep = tree.join("a".repeat(90)).join("b".repeat(90)).join("c".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), b"deep").unwrap();
    std::fs::write(tree.join("ümläut"), b"utf-8").unwrap();
    std::os::unix::fs::symlink("x".repeat(150), tree.join("link")).unwrap();
    std::fs::hard_link(tree.join("ümläut"), tree.join("zweit")).unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        let archive = home.path().join(format!("{format}.tar"));
        let made = Command::new("tar")
            .args(["--format", format, "--sort=name", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&tree)
            .arg(".")
            .output()
            .unwrap();
        // Old formats cannot hold the long names and say so; what they hold must still agree.
        let old = matches!(format, "ustar" | "v7");
        assert!(made.status.success() || old, "{}", String::from_utf8_lossy(&made.stderr));
        // C.UTF-8 keeps names as they are in the listing.
        let listed = Command::new("tar").env("LC_ALL", "C.UTF-8").arg("-tf").arg(&archive).output().unwrap();
        let theirs: Vec<&str> = std::str::from_utf8(&listed.stdout).unwrap().lines().collect();
        assert_eq!(names(&std::fs::read(&archive).unwrap()), theirs, "format {format}");
        assert!(old || theirs.len() == 8, "{theirs:?}");
    }
}

#[test]
fn sparse_files_of_gnu_tar_come_out_whole() {
    let home = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(home.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 3 << 20).unwrap();
    for args in [
        ["--format=gnu", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=1.0"],
        ["--format=pax", "--sparse-version=0.1"],
    ] {
        let archive = home.path().join("archive.tar");
        let made = Command::new("tar")
            .args(args)
            .arg("-Scf")
            .arg(&archive)
            .arg("-C")
            .arg(home.path())
            .arg("sparse")
            .status()
            .unwrap();
        assert!(made.success());
        let entries = read(&std::fs::read(&archive).unwrap()).unwrap();
        let [(entry, content)] = &entries[..] else { panic!("{args:?}: {} entries", entries.len()) };
        assert_eq!((entry.path.as_slice(), entry.size), (&b"sparse"[..], (3 << 20) + 3), "{args:?}");
        let segments = entry.sparse.as_ref().unwrap_or_else(|| panic!("{args:?} is not sparse"));
        assert_eq!(segments.iter().map(|s| s.length).sum::<u64>(), content.len() as u64, "{args:?}");
        assert!(content.ends_with(b"end") || content.windows(3).any(|w| w == b"end"));
    }
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Fifo),
        "[a-z/]{1,200}".prop_map(|t| Kind::Symlink { target: t.into_bytes() }),
        "[a-z]{1,200}".prop_map(|t| Kind::HardLink { target: t.into_bytes() }),
    ];
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    ("[a-zä]{1,180}", kind, 0u32..0o10000, any::<u32>(), any::<u32>(), 0i64..1 << 40, content).prop_map(
        |(path, kind, mode, uid, gid, mtime, content)| {
            let content = if kind == Kind::File { content } else { Vec::new() };
            let mut path = path.into_bytes();
            if kind == Kind::Directory {
                path.push(b'/');
            }
            let entry = Entry {
                path,
                kind,
                mode,
                uid: u64::from(uid),
                gid: u64::from(gid),
                mtime,
                size: content.len() as u64,
                data_offset: 0,
                sparse: None,
                xattrs: Vec::new(),
            };
            (entry, content)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(entries in proptest::collection::vec(any_entry(), 0..8)) {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in &entries {
            writer.append(entry, &mut content.as_slice()).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut back = read(&bytes).unwrap();
        for (entry, _) in &mut back {
            entry.data_offset = 0;
        }
        prop_assert_eq!(back, entries);
    }

    #[test]
    fn no_bytes_make_it_panic_or_run_away(mut bytes in proptest::collection::vec(any::<u8>(), 512..2048), flag in any::<u8>()) {
        // A right checksum lets the rest of the header be looked at.
        bytes[156] = flag;
        let mut block = [0u8; 512];
        block.copy_from_slice(&bytes[..512]);
        let mut tar = RawTar::default();
        tar.push_block(block);
        tar.bytes.extend_from_slice(&bytes[512..]);
        let _ = read(&tar.bytes);
    }
}
