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
