use super::{split, weather};
use crate::{Entry, EntryKind, Judge, Verdict, plan};

const FILE: EntryKind = EntryKind::File { size: 100, links: 1, mode: 0o644 };
const DIRECTORY: EntryKind = EntryKind::Directory { is_opaque: false };

fn judge(key: &[u8], kind: EntryKind) -> Result<Verdict, String> {
    let plan = plan(&weather(), &split(r#"{"dim": "time", "into": 3}"#), &[], None, 3).unwrap();
    let judge = Judge { plan: &plan, index: 1, max_chunk_bytes: 1000 };
    judge.judge(Entry { key, kind }).map_err(|violation| violation.to_string())
}

#[test]
fn what_is_owned_is_kept() {
    let cases: [(&str, EntryKind, Verdict); 10] = [
        ("temperature", DIRECTORY, Verdict::Enter),
        ("temperature/c", DIRECTORY, Verdict::Enter),
        ("temperature/c/1", DIRECTORY, Verdict::Enter),
        ("temperature/c/1/0", DIRECTORY, Verdict::Enter),
        ("temperature/c/1/0/0", FILE, Verdict::Keep),
        ("wind/c/5/0/0", FILE, Verdict::Keep),
        ("time/c/2", EntryKind::Whiteout, Verdict::Remove),
        ("temperature/c/1/0/0.6f1d2c.partial", FILE, Verdict::Drop),
        ("temperature/c/1/0/0.__lock", FILE, Verdict::Drop),
        ("temperature/c/1/0/0.6f1d2c.partial", EntryKind::Whiteout, Verdict::Drop),
    ];
    for (key, kind, verdict) in cases {
        assert_eq!(judge(key.as_bytes(), kind), Ok(verdict), "{key}");
    }
}

/// A writer may leave a group on the way to an array without a document.
#[test]
fn a_group_without_a_document_is_entered() {
    let hierarchy = super::hierarchy(&[("a/b", &["x"], &[4], &[1]), ("a-c", &["x"], &[4], &[1])]);
    let plan = plan(&hierarchy, &split(r#"{"dim": "x", "into": 2}"#), &[], None, 2).unwrap();
    let judge = |key: &str, kind| {
        let judge = Judge { plan: &plan, index: 0, max_chunk_bytes: 1000 };
        judge.judge(Entry { key: key.as_bytes(), kind }).map_err(|violation| violation.to_string())
    };
    for (key, kind, verdict) in [
        ("a", DIRECTORY, Verdict::Enter),
        ("a/b", DIRECTORY, Verdict::Enter),
        ("a/b/c", DIRECTORY, Verdict::Enter),
        ("a/b/c/0", FILE, Verdict::Keep),
    ] {
        assert_eq!(judge(key, kind), Ok(verdict), "{key}");
    }
    assert_eq!(judge("a", EntryKind::Whiteout).unwrap_err(), "removed the directory a");
    for key in ["a/", "a/c", "a/b/d", "b"] {
        assert!(judge(key, DIRECTORY).is_err(), "{key}");
    }
}

#[test]
fn what_is_not_is_a_violation_that_names_it() {
    let file = |size, links, mode| EntryKind::File { size, links, mode };
    let cases: [(&[u8], EntryKind, &str); 24] = [
        (
            b"temperature/c/0/0/0",
            FILE,
            "wrote temperature/c/0/0/0, which belongs to index 0, and not to index 1",
        ),
        (b"temperature/c/4/0/0", EntryKind::Whiteout, "which belongs to index 2"),
        (b"lat/c/0", FILE, "which no index of this Job may write"),
        (b"zarr.json", FILE, "metadata are not written by a task"),
        (b"temperature/zarr.json", FILE, "metadata are not written by a task"),
        (b"temperature/zarr.json", EntryKind::Whiteout, "metadata are not written by a task"),
        (b".zattrs", FILE, "metadata are not written by a task"),
        (b"temperature/c/01/0/0", FILE, "a number with leading zeros"),
        (b"temperature/c/5/0/0", FILE, "a chunk past the array's edge"),
        (b"temperature/c/99999999999999999999/0/0", FILE, "a number too large"),
        (b"temperature/c/1/0", FILE, "no chunk of this hierarchy"),
        (b"temperature/c/1/0/0/0", FILE, "no chunk of this hierarchy"),
        (b"temperature/c/1/0/+0", FILE, "no chunk of this hierarchy"),
        (b"notes.txt", FILE, "wrote notes.txt, which is no chunk"),
        (b"rain", DIRECTORY, "wrote rain, which is no chunk"),
        (b"temperature/c/1/0/0/x", DIRECTORY, "no chunk of this hierarchy"),
        (b"temperature", EntryKind::Directory { is_opaque: true }, "replaced the directory temperature"),
        (b"temperature/c", EntryKind::Whiteout, "removed the directory temperature/c"),
        (b"temperature/c/1/0/0", EntryKind::Symlink, "left a symbolic link at temperature/c/1/0/0"),
        (b"temperature/c/1/0/0", EntryKind::Fifo, "left a named pipe"),
        (b"temperature/c/1/0/0", file(1, 2, 0o644), "has 2 links"),
        (b"temperature/c/1/0/0", file(1, 1, 0o4755), "has the bits setuid"),
        (
            b"temperature/c/1/0/0",
            file(1 << 40, 1, 0o644),
            "has 1099511627776 bytes, and a chunk may have 1000",
        ),
        (b"\x1b[2J\xff\n", FILE, "wrote \\x1b[2J\\xff\\n, which is no chunk"),
    ];
    for (key, kind, message) in cases {
        let error = judge(key, kind).unwrap_err();
        assert!(error.contains(message), "{error} / {message}");
    }
}

#[test]
fn of_artifacts_an_index_owns_its_directory() {
    let document = crate::ARTIFACTS_DOCUMENT.as_bytes();
    let hierarchy = crate::Hierarchy::read([("zarr.json", document)]).unwrap();
    let plan = plan(&hierarchy, &crate::Split::Artifacts, &[], None, 12).unwrap();
    let judge = |key: &str, kind| {
        Judge { plan: &plan, index: 1, max_chunk_bytes: 1000 }
            .judge(Entry { key: key.as_bytes(), kind })
            .map_err(|violation| violation.to_string())
    };
    let opaque = EntryKind::Directory { is_opaque: true };
    for (key, kind, verdict) in [
        ("1", DIRECTORY, Verdict::Enter),
        ("1/model.tmp", FILE, Verdict::Keep),
        ("1/a/.hidden/zarr.json", FILE, Verdict::Keep),
        ("1/a", opaque, Verdict::Replace),
        ("1/a", EntryKind::Whiteout, Verdict::Remove),
    ] {
        assert_eq!(judge(key, kind), Ok(verdict), "{key}");
    }
    let (long, deep) = (format!("1/{}", "x".repeat(256)), format!("1{}", "/d".repeat(32)));
    for (key, kind, message) in [
        ("2/x", FILE, "which belongs to index 2, and not to index 1"),
        ("11", DIRECTORY, "which belongs to index 11"),
        ("12", DIRECTORY, "index 1 writes below the directory 1 alone"),
        ("01", DIRECTORY, "index 1 writes below"),
        ("1", FILE, "index 1 writes below"),
        ("x", FILE, "index 1 writes below"),
        ("zarr.json", FILE, "index 1 writes below"),
        ("1/a", EntryKind::Symlink, "left a symbolic link at 1/a"),
        ("1/a", EntryKind::File { size: 1, links: 2, mode: 0o644 }, "has 2 links"),
        ("1/a\nb", FILE, "its name has a control character"),
        (&long, FILE, "its name has a part that is no file's"),
        (&deep, DIRECTORY, "more than 32 directories deep"),
    ] {
        let error = judge(key, kind).unwrap_err();
        assert!(error.contains(message), "{error} / {message}");
    }
    assert_eq!((plan.owner("3/x"), plan.parents(3, 0)), (crate::Owner::Index(3), Some(vec!["3".to_owned()])));
    let wrong = crate::plan(&hierarchy, &crate::Split::PerChunk, &[], None, 1).unwrap_err().to_string();
    assert_eq!(wrong, "the array is a store of artifacts: use mode artifacts");
    let wrong = crate::plan(&weather(), &crate::Split::Artifacts, &[], None, 1).unwrap_err().to_string();
    assert!(wrong.starts_with("the array is no store of artifacts"));
}
