//! The numbers are those of the attack list: 41 paths, 42 hard links, 43 symbolic links, 44 whiteouts, 45 bombs,
//! 46 sizes, 48 diffIDs, 49 media types, 53 devices, setuid and attributes.

mod controls;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use super::*;
use crate::testing::{
    Raw, RawTar, TestLayer, TestStore, dir, file, hard_link, names, raw, record, store, store_with, symlink,
};
use crate::{Compression, Limits, Store};

fn unpack(tar: Vec<u8>) -> (TestStore, PathBuf, UnpackRecord) {
    let t = store();
    let image = record(&t.store, "test", &[TestLayer::plain(tar)]);
    let layers = t.store.unpacked_layers(&image).unwrap_or_else(|e| panic!("{e}"));
    let record = t.store.unpack_records(&image).unwrap().remove(0).unwrap();
    let [root] = layers.try_into().unwrap();
    (t, root, record)
}

/// The archive is refused with `message`, nothing was written outside, nothing is left half done.
fn check_refused(tar: Vec<u8>, message: &str) {
    check_layer_refused(&store(), TestLayer::plain(tar), message);
}

fn check_layer_refused(t: &TestStore, layer: TestLayer, message: &str) {
    let image = record(&t.store, "test", &[layer]);
    let error = t.store.unpacked_layers(&image).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert!(error.contains("sha256:"), "the layer is not named: {error}");
    t.assert_nothing_unpacked();
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn is_whiteout(path: &Path) -> bool {
    let m = fs::symlink_metadata(path).unwrap();
    m.file_type().is_char_device() && m.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    root::is_opaque(&fs::File::open(path).unwrap().into()).unwrap()
}

#[test]
fn an_ordinary_layer_comes_out_as_it_is() {
    let (_t, root, record) = unpack(RawTar::of(&[
        Raw { mode: 0o1777, ..dir("tmp/") },
        Raw { uid: 65534, gid: 100, mode: 0o640, ..file("a", "content") },
        symlink("link", "/etc/passwd"),
        hard_link("b", "a"),
        raw("pipe", b'6'),
    ]));
    let m = fs::metadata(root.join("a")).unwrap();
    assert_eq!(
        (m.uid(), m.gid(), m.mode() & 0o7777, m.mtime(), m.nlink()),
        (65534, 100, 0o640, 1_000_000_000, 2)
    );
    assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new("/etc/passwd"));
    let m = fs::metadata(root.join("tmp")).unwrap();
    assert_eq!((m.mode() & 0o7777, m.mtime()), (0o1777, 1_000_000_000));
    assert!(fs::symlink_metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!((record.bytes, record.entries), (7, 5));
    assert_eq!(fs::metadata(root.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn attack_41_paths_that_go_up_are_refused_wherever_the_dots_stand() {
    for name in ["../evil", "a/../../evil", "a/..", "..", "/../evil", "./.././evil", "a/b/../../../../evil"] {
        check_refused(RawTar::of(&[dir("a"), file(name, "x")]), "goes up");
    }
    let mut tar = RawTar::default();
    tar.pax(&[("path", "../../evil")]).push(&file("innocent", "x"));
    check_refused(tar.end(), "goes up");
    let mut tar = RawTar::default();
    tar.push(&Raw { content: b"../../evil\0", ..raw("././@LongLink", b'L') }).push(&file("innocent", "x"));
    check_refused(tar.end(), "goes up");
}

#[test]
fn attack_41_absolute_paths_land_inside() {
    let (t, root, _) = unpack(RawTar::of(&[file("/etc/evil", "x"), file("//tmp//evil", "y")]));
    assert_eq!((read(&root, "etc/evil"), read(&root, "tmp/evil")), ("x".into(), "y".into()));
    assert_eq!(names(t.outside.path()), ["data"]);
    assert!(!Path::new("/etc/evil").exists());
}

#[test]
fn attack_41_nul_and_long_and_deep_paths_are_refused() {
    let mut tar = RawTar::default();
    tar.pax(&[("path", "a\0b")]).push(&file("x", ""));
    check_refused(tar.end(), "NUL");
    let mut tar = RawTar::default();
    tar.pax(&[("path", &"a/".repeat(300))]).push(&dir("x"));
    check_refused(tar.end(), "directories deep");
    let mut tar = RawTar::default();
    tar.pax(&[("path", &"a".repeat(5000))]).push(&dir("x"));
    check_refused(tar.end(), "5000 bytes");
    let mut tar = RawTar::default();
    tar.pax(&[("path", &"a".repeat(300))]).push(&file("x", ""));
    check_refused(tar.end(), "cannot");
}

#[test]
fn attack_42_hard_links_reach_files_of_the_layer_only() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let secret_name = secret.to_str().unwrap();
    for target in [secret_name, "/etc/passwd", "missing", "dir", "link/passwd"] {
        check_refused(
            RawTar::of(&[dir("dir"), symlink("link", "/etc"), hard_link("evil", target)]),
            "does not have as a file",
        );
    }
    check_refused(RawTar::of(&[hard_link("evil", "../../../etc/passwd")]), "goes up");
    check_refused(RawTar::of(&[hard_link("evil", "/")]), "root directory");
    check_refused(RawTar::of(&[file(".wh.a", ""), hard_link("evil", "a")]), "does not have as a file");
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
}

#[test]
fn attack_42_a_hard_link_to_a_link_does_not_follow_it() {
    let (_t, root, _) = unpack(RawTar::of(&[symlink("a", "/etc/passwd"), hard_link("b", "a")]));
    assert_eq!(fs::read_link(root.join("b")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn attack_42_a_hard_link_to_itself_keeps_the_file() {
    let (_t, root, _) = unpack(RawTar::of(&[file("a", "kept"), hard_link("a", "a"), hard_link("a", "./a")]));
    assert_eq!(read(&root, "a"), "kept");
}

#[test]
fn attack_43_writing_through_links_stays_inside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for link in [target, "../../../../../../../../../../../../tmp", "/"] {
        let (t, root, _) = unpack(RawTar::of(&[symlink("out", link), file("out/evil", "x")]));
        assert_eq!(names(t.outside.path()), ["data"]);
        assert!(names(outside.path()).is_empty());
        let inside = link.trim_start_matches("../").trim_matches('/');
        assert_eq!(read(&root.join(inside), "evil"), "x");
    }
    assert!(!Path::new("/tmp/evil").exists() && !Path::new("/evil").exists());
}

#[test]
fn attack_43_a_file_replaces_the_link_of_its_name() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "unchanged").unwrap();
    let (_t, root, _) =
        unpack(RawTar::of(&[symlink("evil", victim.to_str().unwrap()), file("evil", "overwritten")]));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "unchanged");
    assert_eq!(read(&root, "evil"), "overwritten");
}

#[test]
fn attack_43_a_directory_entry_over_a_link_replaces_the_link() {
    let outside = tempfile::tempdir().unwrap();
    let (_t, root, _) = unpack(RawTar::of(&[
        symlink("d", outside.path().to_str().unwrap()),
        Raw { mode: 0o777, uid: 4242, ..dir("d") },
        file("d/x", "inside"),
    ]));
    assert!(names(outside.path()).is_empty());
    assert_ne!(fs::metadata(outside.path()).unwrap().uid(), 4242);
    assert_eq!(read(&root, "d/x"), "inside");
}

#[test]
fn attack_43_loops_of_links_are_refused() {
    check_refused(
        RawTar::of(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "")]),
        "too many symbolic links",
    );
    check_refused(RawTar::of(&[symlink("a", "a/a"), file("a/x", "")]), "too many symbolic links");
}

#[test]
fn attack_43_links_swapped_between_entries_do_not_use_what_was_opened_before() {
    let outside = tempfile::tempdir().unwrap();
    let (_t, root, _) = unpack(RawTar::of(&[
        file("a/b/one", "1"),
        symlink("a", outside.path().to_str().unwrap()),
        file("a/b/two", "2"),
    ]));
    assert!(names(outside.path()).is_empty());
    assert!(!root.join("a/b/one").exists());
}

#[test]
fn attack_44_whiteouts_become_the_overlays() {
    let (_t, root, _) = unpack(RawTar::of(&[
        dir("d"),
        file("d/.wh..wh..opq", ""),
        file("d/new", "x"),
        file("e/.wh.gone", ""),
        // Removed and made anew: the directory must not show what was below.
        file("e/.wh.again", ""),
        dir("e/again"),
        // The other order, and a plain file.
        dir("f"),
        file(".wh.f", ""),
        file("g", "mine"),
        file(".wh.g", ""),
        // Something below a name that was removed.
        file(".wh.h", ""),
        file("h/deep/x", "y"),
    ]));
    assert!(is_opaque(&root.join("d")) && !is_opaque(&root.join("e")));
    assert!(is_whiteout(&root.join("e/gone")));
    assert!(is_opaque(&root.join("e/again")) && is_opaque(&root.join("f")) && is_opaque(&root.join("h")));
    assert_eq!((read(&root, "g"), read(&root, "h/deep/x")), ("mine".into(), "y".into()));
    let everything = names(&root);
    assert!(everything.iter().all(|n| !n.starts_with(".wh.")), "{everything:?}");
}

#[test]
fn attack_44_whiteouts_of_no_name_are_refused() {
    check_refused(RawTar::of(&[file(".wh..", "")]), "whiteout of no name");
    check_refused(RawTar::of(&[file("a/.wh...", "")]), "whiteout of no name");
    check_refused(RawTar::of(&[file(".wh.", "")]), "whiteout of no name");
    check_refused(RawTar::of(&[file(".wh.a/b", "")]), "below a whiteout");
}

#[test]
fn attack_44_whiteouts_through_links_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("victim"), "x").unwrap();
    let target = outside.path().to_str().unwrap();
    let (_t, _root, _) = unpack(RawTar::of(&[
        symlink("out", target),
        file("out/.wh.victim", ""),
        file("out/.wh..wh..opq", ""),
    ]));
    assert_eq!(names(outside.path()), ["victim"]);
}

#[test]
fn attack_44_duplicates_end_as_the_last_of_them() {
    let (_t, root, _) = unpack(RawTar::of(&[
        file("a", "first"),
        file("a", "second"),
        file("dir/x", "gone"),
        file("dir", "now a file"),
        file("x", "now a directory"),
        dir("x"),
        file("x/y", "z"),
        Raw { mode: 0o700, ..dir("x") },
    ]));
    assert_eq!(
        (read(&root, "a"), read(&root, "dir"), read(&root, "x/y")),
        ("second".into(), "now a file".into(), "z".into())
    );
    assert_eq!(fs::metadata(root.join("x")).unwrap().mode() & 0o777, 0o700);
    check_refused(RawTar::of(&[file("/", "x")]), "root directory");
    check_refused(RawTar::of(&[file("a", ""), file("a/b", "")]), "not a directory");
}

#[test]
fn attack_44_an_opaque_root_drops_the_layers_below() {
    let t = store();
    let lower = TestLayer::plain(RawTar::of(&[file("hidden", "x")]));
    let upper = TestLayer::plain(RawTar::of(&[file(".wh..wh..opq", ""), file("seen", "y")]));
    let image = record(&t.store, "test", &[lower, upper]);
    let [only] = t.store.unpacked_layers(&image).unwrap().try_into().unwrap();
    assert_eq!(names(&only), ["seen"]);
}

fn small_limits() -> Limits {
    Limits {
        image_unpacked_bytes_max: 1 << 20,
        layer_entries_max: 10,
        compression_ratio_max: 20,
        ratio_free_bytes: 64 << 10,
        ..Limits::default()
    }
}

#[test]
fn attack_45_bombs_are_stopped_at_their_ratio() {
    let zeros = "\0".repeat(1 << 20);
    for layer in [TestLayer::gzip, TestLayer::zstd] {
        let limits = Limits { image_unpacked_bytes_max: 1 << 30, ..small_limits() };
        let tar = RawTar::of(&[file("zeros", &zeros)]);
        check_layer_refused(&store_with(limits), layer(&tar), "decompression bombs");
    }
}

#[test]
fn attack_45_a_bomb_behind_the_end_of_the_archive_is_stopped_too() {
    let mut tar = RawTar::of(&[file("a", "x")]);
    tar.resize(1 << 20, 0);
    check_layer_refused(&store_with(small_limits()), TestLayer::gzip(&tar), "decompression bombs");
}

#[test]
fn attack_45_concatenated_members_are_one_archive() {
    let tar = RawTar::of(&[file("a", "x"), file("b", "y")]);
    let (first, second) = tar.split_at(1024);
    let mut layer = TestLayer::gzip(&tar);
    layer.blob = [crate::testing::gzip(first), crate::testing::gzip(second)].concat();
    let t = store();
    let image = record(&t.store, "test", &[layer]);
    let [root] = t.store.unpacked_layers(&image).unwrap().try_into().unwrap();
    assert_eq!(names(&root), ["a", "b"]);
}

#[test]
fn attack_45_counts_and_totals_are_bounded() {
    let many: Vec<String> = (0..11).map(|n| format!("f{n}")).collect();
    let many: Vec<Raw<'_>> = many.iter().map(|n| file(n, "")).collect();
    check_layer_refused(
        &store_with(small_limits()),
        TestLayer::plain(RawTar::of(&many)),
        "more than 10 entries",
    );
    let big = "x".repeat(600 << 10);
    let t = store_with(small_limits());
    let layers =
        [TestLayer::plain(RawTar::of(&[file("a", &big)])), TestLayer::plain(RawTar::of(&[file("b", &big)]))];
    let image = record(&t.store, "test", &layers);
    let error = t.store.unpacked_layers(&image).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes together"), "{error}");
    // Unpacked already, through another image: still too much.
    let single = record(&t.store, "single", &layers[1..]);
    t.store.unpacked_layers(&single).unwrap();
    let error = t.store.unpacked_layers(&image).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes together"), "{error}");
}

#[test]
fn attack_46_sizes_that_lie_are_refused() {
    let liar = || TestLayer::plain(RawTar::of(&[Raw { stated_size: Some(1 << 30), ..file("a", "x") }]));
    check_layer_refused(&store_with(small_limits()), liar(), "more than");
    check_layer_refused(&store(), liar(), "the archive ends at byte 2048");
    for size in ["-1", "1e3", "99999999999999999999", "18446744073709551615", " 5", "0x10"] {
        let mut tar = RawTar::default();
        tar.pax(&[("size", size)]).push(&file("a", "x"));
        check_refused(tar.end(), "archive");
    }
    // The header says 5, the extended header 1,000: what follows is content, not a header of its own.
    let mut tar = RawTar::default();
    tar.pax(&[("size", "1024")]).push(&Raw { stated_size: Some(0), ..file("a", "") });
    tar.push(&file("hidden", "x"));
    let (_t, root, _) = unpack(tar.end());
    assert_eq!(names(&root), ["a"]);
    assert_eq!(fs::metadata(root.join("a")).unwrap().len(), 1024);
}

#[test]
fn attack_46_sparse_maps_that_lie_are_refused() {
    for (map, real, message) in [
        ("0,5,3,5", "100", "overlap"),
        ("0,10", "5", "beyond"),
        ("0,3", "100", "names 3 bytes"),
        ("0,10,18446744073709551615,10", "100", "overflow"),
        ("0,10,20", "100", "pairs"),
        ("a,b", "100", "pairs"),
    ] {
        let mut tar = RawTar::default();
        tar.pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", real)]).push(&file("a", "0123456789"));
        check_refused(tar.end(), message);
    }
    let mut tar = RawTar::default();
    tar.pax(&[("GNU.sparse.map", "0,10"), ("GNU.sparse.size", "9000000000000000000")])
        .push(&file("a", "0123456789"));
    check_refused(tar.end(), "more than");
}

#[test]
fn sparse_files_of_all_forms_come_out_whole() {
    let expect = [&b"abc"[..], &[0; 97], b"de", &[0; 98]].concat();
    let mut tar = RawTar::default();
    tar.pax(&[("GNU.sparse.map", "0,3,100,2"), ("GNU.sparse.size", "200"), ("GNU.sparse.name", "v01")])
        .push(&file("x", "abcde"));
    tar.pax(&[
        ("GNU.sparse.size", "200"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "3"),
        ("GNU.sparse.offset", "100"),
        ("GNU.sparse.numbytes", "2"),
    ])
    .push(&file("v00", "abcde"));
    let mut content = b"2\n0\n3\n100\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abcde");
    tar.pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "v10"),
        ("GNU.sparse.realsize", "200"),
    ])
    .push(&Raw { content: &content, ..raw("x", b'0') });
    let mut block = [0u8; 512];
    block[..3].copy_from_slice(b"gnu");
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(b"00000000005");
    block[156] = b'S';
    block[257..265].copy_from_slice(b"ustar  \0");
    for (i, number) in [0, 3, 100, 2].iter().enumerate() {
        block[386 + 12 * i..397 + 12 * i].copy_from_slice(format!("{number:011o}").as_bytes());
    }
    block[483..494].copy_from_slice(format!("{:011o}", 200).as_bytes());
    tar.push_block(block).push_content(b"abcde");
    let (_t, root, _) = unpack(tar.end());
    for name in ["v00", "v01", "v10", "gnu"] {
        assert_eq!(fs::read(root.join(name)).unwrap(), expect, "{name}");
    }
}

#[test]
fn attack_48_another_content_than_the_configuration_says_is_refused() {
    let mut layer = TestLayer::gzip(&RawTar::of(&[file("a", "x")]));
    layer.diff_id = Digest::of(b"something else");
    check_layer_refused(&store(), layer, "the image is inconsistent");
}

#[test]
fn attack_47_a_blob_that_changed_on_the_disk_is_told_apart() {
    let t = store();
    let image = record(&t.store, "test", &[TestLayer::plain(RawTar::of(&[file("a", "x")]))]);
    let path = t.store.blob_path(&image.layers[0].digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[512] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = t.store.unpacked_layers(&image).unwrap_err();
    assert!(matches!(error, Error::CorruptBlob { .. }), "{error}");
    t.assert_nothing_unpacked();
}

#[test]
fn attack_49_a_layer_labelled_with_another_compression_is_refused() {
    let mut layer = TestLayer::zstd(&RawTar::of(&[file("a", "x")]));
    layer.compression = Compression::Gzip;
    check_layer_refused(&store(), layer, "mislabelled");
}

#[test]
fn attack_53_devices_are_left_out_and_noted() {
    let (_t, root, record) = unpack(RawTar::of(&[
        dir("dev"),
        raw("dev/null", b'3'),
        raw("dev/sda", b'4'),
        // As an overlay would read a whiteout: hides a file from the container but not from a scanner.
        raw("forged", b'3'),
    ]));
    assert_eq!(names(&root), ["dev"]);
    assert!(names(&root.join("dev")).is_empty());
    assert_eq!(record.special.iter().filter(|s| matches!(s, SpecialFile::Device { .. })).count(), 3);
}

#[test]
fn attack_53_setuid_capabilities_and_attributes_do_not_reach_the_disk() {
    let mut tar = RawTar::default();
    tar.push(&Raw { mode: 0o6755, ..file("su", "x") });
    tar.push(&Raw { mode: 0o2755, ..dir("mail") });
    tar.pax(&[
        ("SCHILY.xattr.security.capability", "\u{1}\u{0}\u{0}\u{2}cap"),
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
    ])
    .push(&file("ping", "x"));
    tar.pax(&[("SCHILY.xattr.trusted.overlay.opaque", "y")]).push(&dir("forged"));
    let (_t, root, record) = unpack(tar.end());
    assert_eq!(fs::metadata(root.join("su")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(root.join("mail")).unwrap().mode() & 0o7777, 0o2755);
    assert!(!is_opaque(&root.join("forged")));
    let mut buf = [0u8; 4096];
    let n = rustix::fs::listxattr(root.join("ping"), &mut buf[..]).unwrap();
    assert_eq!(n, 0, "attributes are left: {:?}", String::from_utf8_lossy(&buf[..n]));
    assert_eq!(record.special.len(), 4, "{:?}", record.special);
    assert!(record.special.contains(&SpecialFile::Setuid { path: "su".into(), mode: 0o6755 }));
    assert!(record.special.contains(&SpecialFile::Capabilities { path: "ping".into() }));
}

#[test]
fn ids_that_linux_cannot_hold_are_refused() {
    for id in ["4294967295", "4294967296", "18446744073709551615"] {
        let mut tar = RawTar::default();
        tar.pax(&[("uid", id)]).push(&file("a", "x"));
        check_refused(tar.end(), "not an id of Linux");
    }
}

#[test]
fn unknown_types_and_broken_headers_are_refused() {
    check_refused(RawTar::of(&[raw("a", b'Z')]), "type 'Z' is unknown");
    let mut broken = RawTar::of(&[file("a", "x")]);
    broken[0] = b'b';
    check_refused(broken, "checksum");
    check_refused(RawTar::of(&[symlink("a", "")]), "link target");
    let mut tar = RawTar::default();
    tar.push(&file("a", "x"));
    tar.bytes.extend_from_slice(&[0; 512]);
    tar.push(&file("b", "y"));
    check_refused(tar.end(), "lone zero block");
    let mut tar = RawTar::default();
    tar.pax(&[("comment", &"x".repeat(2 << 20))]).push(&file("a", "x"));
    check_refused(tar.end(), "extended headers");
}

#[test]
fn parents_left_out_are_copied_up_from_the_layers_below() {
    let t = store();
    let base = TestLayer::plain(RawTar::of(&[
        Raw { mode: 0o1777, ..dir("tmp") },
        Raw { mode: 0o750, uid: 7, gid: 8, ..dir("usr/lib") },
        symlink("lib", "usr/lib"),
        Raw { mode: 0o711, ..dir("gone") },
    ]));
    let tar = RawTar::of(&[file("tmp/x", "1"), file("lib/y", "2"), file("gone/z", "3")]);
    let middle = TestLayer::plain(RawTar::of(&[file(".wh.gone", "")]));
    let image = record(&t.store, "stacked", &[base, middle, TestLayer::plain(tar.clone())]);
    let layers = t.store.unpacked_layers(&image).unwrap();
    let top = &layers[2];
    let m = |p: &str| fs::metadata(top.join(p)).unwrap();
    assert_eq!(m("tmp").mode() & 0o7777, 0o1777);
    assert_eq!((m("usr/lib").mode() & 0o7777, m("usr/lib").uid(), m("usr/lib").gid()), (0o750, 7, 8));
    assert_eq!(fs::read_link(top.join("lib")).unwrap(), Path::new("usr/lib"));
    assert_eq!(read(top, "usr/lib/y"), "2");
    assert_eq!(m("gone").mode() & 0o7777, 0o755, "what the middle layer removed does not count");
    // The same layer alone depends on nothing below: another directory.
    let alone = record(&t.store, "alone", &[TestLayer::plain(tar)]);
    let [root] = t.store.unpacked_layers(&alone).unwrap().try_into().unwrap();
    assert_ne!(&root, top);
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(t.store.unpacked_layers(&image).unwrap(), layers);
}

#[test]
fn layers_are_shared_and_repeated_ones_given_once() {
    let t = store();
    let (a, b) = (RawTar::of(&[file("a", "x")]), RawTar::of(&[file("b", "y")]));
    let layer = |tar: &Vec<u8>| TestLayer::gzip(tar);
    let one = record(&t.store, "one", &[layer(&a), layer(&b)]);
    let two = record(&t.store, "two", &[layer(&a), layer(&b), layer(&a)]);
    let of_one = t.store.unpacked_layers(&one).unwrap();
    let of_two = t.store.unpacked_layers(&two).unwrap();
    assert_eq!(of_two, [of_one[1].clone(), of_one[0].clone()]);
    assert_eq!(names(&t.data().join("layers/sha256")).len(), 2);
}

#[test]
fn many_at_once_unpack_once() {
    let t = store();
    let image = record(&t.store, "test", &[TestLayer::gzip(&RawTar::of(&[file("a", &"x".repeat(1 << 20))]))]);
    let inode = |p: &PathBuf| fs::metadata(p).unwrap().ino();
    let inodes: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                // Its own store, as another process would have.
                let store = Store::open(&t.data()).unwrap().unpacking_by(crate::Unpacker::Thread);
                let image = image.clone();
                scope.spawn(move || inode(&store.unpacked_layers(&image).unwrap()[0]))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(inodes.iter().all(|i| *i == inodes[0]), "{inodes:?}");
}

#[test]
fn what_a_killed_unpack_left_is_taken_away() {
    let t = store();
    let image = record(&t.store, "test", &[TestLayer::plain(RawTar::of(&[file("a", "x")]))]);
    let partial = t.data().join("layers/work").join(image.layers[0].digest.hex()).with_extension("partial");
    fs::create_dir_all(partial.join("root/half")).unwrap();
    let [root] = t.store.unpacked_layers(&image).unwrap().try_into().unwrap();
    assert_eq!(names(&root), ["a"]);
    assert!(!partial.exists());
}

#[test]
fn the_kernel_sees_the_stack_as_the_images_author_meant() {
    let t = store();
    let base = TestLayer::plain(RawTar::of(&[
        file("d/old", "1"),
        file("d/kept", "2"),
        file("o/below", "3"),
        file("again/below", "4"),
    ]));
    let top = TestLayer::zstd(&RawTar::of(&[
        file("d/.wh.old", ""),
        dir("o"),
        file("o/.wh..wh..opq", ""),
        file("o/above", "5"),
        file(".wh.again", ""),
        dir("again"),
    ]));
    let image = record(&t.store, "test", &[base, top]);
    let layers = t.store.unpacked_layers(&image).unwrap();
    let lowers: Vec<&str> = layers.iter().rev().map(|p| p.to_str().unwrap()).collect();
    let merged = t.outside.path().join("merged");
    fs::create_dir(&merged).unwrap();
    let options = std::ffi::CString::new(format!("lowerdir={}", lowers.join(":"))).unwrap();
    rustix::mount::mount(
        "overlay",
        &merged,
        "overlay",
        rustix::mount::MountFlags::RDONLY,
        Some(options.as_c_str()),
    )
    .unwrap();
    let seen =
        [names(&merged), names(&merged.join("d")), names(&merged.join("o")), names(&merged.join("again"))];
    rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(seen[0], ["again", "d", "o"]);
    assert_eq!(seen[1], ["kept"]);
    assert_eq!(seen[2], ["above"]);
    assert!(seen[3].is_empty());
}

/// The word of a process that a layer may have taken over holds for that layer alone, whatever content it says it has.
#[test]
fn a_layer_is_known_by_what_was_received() {
    let t = store();
    let tar = RawTar::of(&[file("a", "x")]);
    let plain = record(&t.store, "plain", &[TestLayer::plain(tar.clone())]);
    let gzip = record(&t.store, "gzip", &[TestLayer::gzip(&tar)]);
    assert_eq!(plain.layers[0].diff_id, gzip.layers[0].diff_id);
    let [one] = t.store.unpacked_layers(&plain).unwrap().try_into().unwrap();
    let [other] = t.store.unpacked_layers(&gzip).unwrap().try_into().unwrap();
    assert!(
        one != other && one.parent().unwrap().ends_with(plain.layers[0].digest.hex()),
        "{one:?} {other:?}"
    );
}
