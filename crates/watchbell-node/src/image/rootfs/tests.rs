use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::read_text;

/// Layers from a list of `layer path content`; content `->x` is a link, `!` a whiteout (as root), `dir` a directory,
/// `opaque` an opaque directory (as root).
fn layers(entries: &[(usize, &str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let count = entries.iter().map(|e| e.0).max().unwrap_or(0) + 1;
    let roots: Vec<PathBuf> = (0..count).map(|i| dir.path().join(i.to_string())).collect();
    for root in &roots {
        fs::create_dir_all(root).unwrap();
    }
    for (layer, path, content) in entries {
        let path = roots[*layer].join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match *content {
            "dir" => fs::create_dir_all(&path).unwrap(),
            "opaque" => {
                fs::create_dir_all(&path).unwrap();
                rustix::fs::setxattr(&path, c"trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            }
            "!" => rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap(),
            text => match text.strip_prefix("->") {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(&path, text).unwrap(),
            },
        }
    }
    (dir, roots)
}

fn check(entries: &[(usize, &str, &str)], expect: &str) {
    let (_dir, roots) = layers(entries);
    assert_eq!(read_text(&roots, "etc/passwd").unwrap(), expect, "{entries:?}");
}

#[test]
fn the_topmost_layer_counts() {
    check(&[], "");
    check(&[(0, "etc/passwd", "a")], "a");
    check(&[(0, "etc/passwd", "a"), (1, "etc/passwd", "b")], "b");
    check(&[(0, "etc/passwd", "a"), (1, "etc/other", "b")], "a");
    check(&[(0, "etc/passwd", "a"), (1, "etc", "a file")], "");
}

#[test]
fn links_are_followed_inside_the_image() {
    check(&[(0, "etc/passwd", "->/nix/passwd"), (1, "nix/passwd", "n")], "n");
    check(&[(0, "etc", "->usr/etc"), (1, "usr/etc/passwd", "u")], "u");
    check(&[(0, "etc/passwd", "->../../../../x/y"), (0, "x/y", "held at the root")], "held at the root");
    check(&[(0, "etc/passwd", "->passwd")], "");
    check(&[(0, "etc/passwd", "->/etc/hostname")], "");
    // No name leads to a file of the host.
    let (dir, roots) = layers(&[(0, "etc/x", "y")]);
    fs::write(dir.path().join("secret"), "host").unwrap();
    symlink("../../secret", roots[0].join("etc/passwd")).unwrap();
    assert_eq!(read_text(&roots, "etc/passwd").unwrap(), "");
    fs::remove_file(roots[0].join("etc/passwd")).unwrap();
    symlink(dir.path().join("secret"), roots[0].join("etc/passwd")).unwrap();
    assert_eq!(read_text(&roots, "etc/passwd").unwrap(), "");
}

#[test]
fn what_is_no_file_is_not_read() {
    check(&[(0, "etc/passwd", "dir")], "");
    let (_dir, roots) = layers(&[(0, "etc/x", "y")]);
    let pipe = roots[0].join("etc/passwd");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_eq!(read_text(&roots, "etc/passwd").unwrap(), "", "and does not block");
    let (_dir, roots) = layers(&[(0, "etc/passwd", &"x".repeat(3 << 20))]);
    assert_eq!(read_text(&roots, "etc/passwd").unwrap().len(), 1 << 20);
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn whiteouts_and_opaque_directories_hide() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: whiteouts need root");
        return;
    }
    check(&[(0, "etc/passwd", "a"), (1, "etc/passwd", "!")], "");
    check(&[(0, "etc/passwd", "a"), (1, "etc", "!")], "");
    check(&[(0, "etc/passwd", "a"), (1, "etc/passwd", "!"), (2, "etc/passwd", "c")], "c");
    check(&[(0, "etc/passwd", "a"), (1, "etc", "opaque")], "");
    check(&[(0, "etc/passwd", "a"), (1, "etc", "opaque"), (1, "etc/passwd", "b")], "b");
}
