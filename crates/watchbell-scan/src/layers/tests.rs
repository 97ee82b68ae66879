use std::sync::Mutex;

use watchbell_image::Limits;

use super::*;
use crate::testing::{Tar, gzip, image, image_of};

/// What is left, one line a file: path, layer, and the content or what it is.
fn check(layers: Vec<Tar>, expect: &[&str]) {
    let image = image(layers);
    for threads in [1, 8] {
        let contents: Mutex<Vec<(FileId, String)>> = Mutex::default();
        let interest = Interest {
            wants: &|_| Want::Whole,
            takes: &|facts, content| {
                let text = String::from_utf8_lossy(content.whole().unwrap()).into_owned();
                assert_eq!(content.size(), facts.size);
                contents.lock().unwrap().push((facts.id, text));
            },
        };
        let tree = read_layers(&image.content, &[interest], threads).unwrap();
        let contents = contents.into_inner().unwrap();
        let lines: Vec<String> = tree
            .iter()
            .map(|(path, node)| {
                let what = match &node.kind {
                    FileKind::File => contents.iter().find(|(id, _)| *id == node.id).unwrap().1.clone(),
                    FileKind::Symlink { target } => format!("→ {target}"),
                    kind => format!("{kind:?}"),
                };
                format!("{path} {} {what}", node.id.layer)
            })
            .collect();
        assert_eq!(lines, expect, "{threads} threads");
    }
}

fn tar() -> Tar {
    Tar::default()
}

#[test]
fn later_layers_hide_and_replace() {
    check(
        vec![
            tar().dir("a").file("a/x", "1").file("a/y", "1").file("b", "1").file("c/d/e", "1"),
            // A whiteout speaks of the layers below alone, wherever it stands.
            tar().file("a/y", "2").file("a/.wh.y", "").file(".wh.b", "").file("c", "a file now"),
        ],
        &["a 0 Directory", "a/x 0 1", "a/y 1 2", "c 1 a file now"],
    );
}

#[test]
fn an_opaque_directory_shows_its_own_layer_only() {
    check(
        vec![
            tar().file("a/x", "1").file("ab", "1").file("a/b/c", "1"),
            tar().dir("a").file("a/z", "2").file("a/.wh..wh..opq", "").file("a/.wh..wh.plnk/1", ""),
        ],
        &["a 1 Directory", "a/z 1 2", "ab 0 1"],
    );
    check(vec![tar().file("a", "1"), tar().file(".wh..wh..opq", "").file("b", "2")], &["b 1 2"]);
}

#[test]
fn paths_lead_through_links_of_lower_layers() {
    check(
        vec![
            tar().dir("usr").dir("usr/lib").symlink("lib", "usr/lib").symlink("abs", "/usr/./lib/../lib"),
            tar().file("lib/x", "2").file("abs/y", "2").file("lib/.wh.none", ""),
            tar().file("lib/.wh.x", ""),
        ],
        &[
            "abs 0 → /usr/./lib/../lib",
            "lib 0 → usr/lib",
            "usr 0 Directory",
            "usr/lib 0 Directory",
            "usr/lib/y 1 2",
        ],
    );
}

#[test]
fn a_hard_link_is_the_file() {
    check(
        vec![tar().file("a", "1").hard_link("b", "a").hard_link("c", "missing"), tar().file(".wh.a", "")],
        &["b 0 1"],
    );
}

#[test]
fn links_out_and_in_circles_lead_nowhere() {
    let image = image(vec![
        tar()
            .symlink("a", "b")
            .symlink("b", "a")
            .file("a/x", "1")
            .symlink("out", "../../etc/passwd")
            .file("etc/passwd", "2")
            .symlink("dir", "etc")
            .symlink("long", &"x/".repeat(40)),
    ]);
    let tree = read_layers(&image.content, &[], 1).unwrap();
    assert_eq!(tree.resolve("a"), None);
    assert_eq!(tree.resolve("a/x"), None);
    assert_eq!(tree.resolve("long"), None);
    // The root has no parent.
    assert_eq!(tree.resolve("out").unwrap().0, "etc/passwd");
    assert_eq!(tree.resolve("/dir/../etc//passwd").unwrap().0, "etc/passwd");
    assert_eq!(tree.get("dir").unwrap().kind, FileKind::Symlink { target: "etc".into() });
    assert_eq!(tree.below("etc").map(|(p, _)| p).collect::<Vec<_>>(), ["etc/passwd"]);
}

#[test]
fn every_file_of_every_layer_is_told_once() {
    let image = image(vec![
        tar().program("bin/su", 0o4755, "\x7fELF").file("secret", "key"),
        tar().file(".wh.secret", "").entry("fifo", b'6', 0o600, "", b"").file("empty", ""),
    ]);
    let told: Mutex<Vec<(FileId, String, u32, usize)>> = Mutex::default();
    let interest = Interest {
        wants: &|f| {
            told.lock().unwrap().push((f.id, f.path.to_owned(), f.mode, f.head.len()));
            Want::Nothing
        },
        takes: &|_, _| panic!("nothing was wanted"),
    };
    read_layers(&image.content, &[interest], 2).unwrap();
    let mut told = told.into_inner().unwrap();
    told.sort();
    let told: Vec<_> = told.iter().map(|(id, p, mode, head)| (id.layer, p.as_str(), *mode, *head)).collect();
    assert_eq!(
        told,
        [(0, "bin/su", 0o4755, 4), (0, "secret", 0o644, 3), (1, "fifo", 0o600, 0), (1, "empty", 0o644, 0)]
    );
}

#[test]
fn names_that_are_no_text_stay_different() {
    assert_eq!(text(b"a\xffb"), "a\u{fffd}ffb");
    assert_ne!(text(b"a\xff"), text(b"a\xfe"));
    assert_eq!(text("é".as_bytes()), "é");
    // A name that looks as if it had been escaped.
    assert_ne!(text("a\u{fffd}ff".as_bytes()), text(b"a\xff"));
    assert_eq!(text("\u{fffd}".as_bytes()), "\u{fffd}ef\u{fffd}bf\u{fffd}bd");
}

#[test]
fn damaged_layers_are_errors_that_name_them() {
    let whole = tar().file("a", "x".repeat(100_000)).bytes();
    let refused = |stored: Vec<u8>, limits: &Limits, expect: &str| {
        let image = image_of(std::slice::from_ref(&whole), vec![stored], limits).unwrap();
        for threads in [1, 8] {
            let interest = Interest { wants: &|_| Want::Whole, takes: &|_, _| () };
            let error = read_layers(&image.content, &[interest], threads).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    };
    let limits = Limits::default();
    refused(whole[..50_000].to_vec(), &limits, "does not match its digest");
    let mut changed = whole.clone();
    changed[1000] = b'y';
    refused(changed.clone(), &limits, "does not match its digest");
    refused(gzip(&changed), &limits, "the unpacked content is");
    let compressed = gzip(&whole);
    refused(compressed[..compressed.len() - 4].to_vec(), &limits, "cannot read its content");
    refused([gzip(&whole), b"behind".to_vec()].concat(), &limits, "cannot read its content");
    let small = Limits { ratio_free_bytes: 10, compression_ratio_max: 2, ..Limits::default() };
    refused(gzip(&whole), &small, "decompression bombs");
    let few = Limits { layer_entries_max: 0, ..Limits::default() };
    refused(whole.clone(), &few, "more than 0 entries");
    let little = Limits { image_unpacked_bytes_max: 99_999, ..Limits::default() };
    refused(whole.clone(), &little, "more than 99999 bytes together");
}

#[test]
fn a_directory_reads_like_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::create_dir(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=x").unwrap();
    std::fs::hard_link(root.join("etc/os-release"), root.join("same")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("out")).unwrap();
    let heads: Mutex<Vec<String>> = Mutex::default();
    let interest = Interest {
        wants: &|_| Want::Whole,
        takes: &|f, c| {
            heads.lock().unwrap().push(format!("{} {}", f.path, String::from_utf8_lossy(c.whole().unwrap())));
        },
    };
    let tree = read_directory(root, &[interest]).unwrap().tree;
    assert_eq!(*heads.lock().unwrap(), ["etc/os-release ID=x"]);
    assert_eq!(tree.get("same").unwrap().id, tree.get("etc/os-release").unwrap().id);
    // A link out of the directory leads to what lies there within it: nothing.
    assert_eq!(tree.resolve("out"), None);
    let error = read_directory(&root.join("none"), &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot open "), "{error}");
}

#[test]
fn what_cannot_be_read_of_a_directory_is_told_and_the_rest_is_read() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("requirements.txt"), "six==1.16.0\n").unwrap();
    // A path that is longer than the kernel takes: nobody may list it, root neither.
    let name = "d".repeat(250);
    let mut here: rustix::fd::OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
    for _ in 0..20 {
        mkdirat(&here, name.as_str(), Mode::RWXU).unwrap();
        here = openat(&here, name.as_str(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let inventory = crate::catalog_directory(dir.path()).unwrap();
    assert_eq!(inventory.packages.len(), 1);
    let gap = &inventory.gaps[0];
    assert_eq!(inventory.gaps.len(), 1);
    assert!(gap.location.path.starts_with("ddd") && gap.reason.starts_with("cannot look at it: "), "{gap:?}");
    assert_eq!(crate::examine::examine_directory(dir.path()).unwrap().inventory.gaps.len(), 1);
}

#[test]
fn the_names_of_all_layers_have_one_bound() {
    let layer = || (0..100).fold(tar(), |t, n| t.file(&format!("{n:090}"), ""));
    let image = image(vec![layer(), layer()]);
    // A name of 90 bytes and what an entry costs beside it, 200 times.
    let all = 200 * (90 + 160);
    for threads in [1, 8] {
        let read = |bytes| pass::read_within(&image.content, &[], threads, bytes);
        assert_eq!(read(all).unwrap().len(), 100);
        let error = read(all - 1).unwrap_err().to_string();
        assert!(error.starts_with("the list of its files exceeds a limit"), "{error}");
    }
}
