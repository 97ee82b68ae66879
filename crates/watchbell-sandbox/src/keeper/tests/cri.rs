use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use proptest::{collection::vec, prop_assert, prop_assert_eq};

use crate::keeper::cri::{PIECE_MAX, Records, Stamp, Stream, StreamName};

#[test]
fn stamps_are_rfc_3339() {
    let check = |at: i64, expect: &str| assert_eq!(Stamp::new(at).text(), expect);
    check(0, "1970-01-01T00:00:00.000000000Z");
    check(-1, "1969-12-31T23:59:59.999999999Z");
    check(951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z");
    check(1_767_323_045_123_456_789, "2026-01-02T03:04:05.123456789Z");
    check(4_107_542_400_000_000_001, "2100-03-01T00:00:00.000000001Z");
    check(i64::MAX, "2262-04-11T23:47:16.854775807Z");
    check(i64::MIN, "1677-09-21T00:12:43.145224192Z");
}

const AT: &str = "1970-01-01T00:00:00.000000000Z";

/// Feeds pieces into stdout and returns what is written, without the stamp.
fn write(pieces: &[&[u8]]) -> (Vec<String>, u64) {
    let (mut stream, mut out, stamp) = (Stream::new(StreamName::Stdout), Records::default(), Stamp::new(0));
    let lines = pieces.iter().map(|piece| stream.feed(piece, &stamp, &mut out)).sum();
    stream.finish(&stamp, &mut out);
    let text = String::from_utf8_lossy(&out.bytes).into_owned();
    let prefix = format!("{AT} stdout ");
    let records = text.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line).to_owned());
    (records.collect(), lines)
}

#[test]
fn lines_become_records() {
    let check = |pieces: &[&str], expect: &[&str], lines: u64| {
        let bytes: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        assert_eq!(write(&bytes), (expect.iter().map(ToString::to_string).collect(), lines), "{pieces:?}");
    };
    check(&[], &[], 0);
    check(&["a\n"], &["F a"], 1);
    check(&["a\nb\n"], &["F a", "F b"], 2);
    check(&["a", "b", "\n"], &["F ab"], 1);
    check(&["\n\n"], &["F ", "F "], 2);
    // The last line of a task that does not end it is a line all the same.
    check(&["a\nrest"], &["F a", "F rest"], 1);

    let full = "x".repeat(PIECE_MAX);
    check(&[&full, "\n"], &[&format!("F {full}")], 1);
    check(&[&full, "y\n"], &[&format!("P {full}"), "F y"], 1);
    check(&[&full, &full, "\n"], &[&format!("P {full}"), &format!("F {full}")], 1);
    check(&[&format!("{full}y")], &[&format!("P {full}"), "F y"], 0);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_no_piece_is_too_long(
        pieces in vec(prop_oneof![
            vec(any::<u8>(), 0..40),
            (1_usize..50_000).prop_map(|n| vec![b'x'; n]),
            Just(b"\n".to_vec()),
        ], 0..12)
    ) {
        let (mut stream, mut out, stamp) =
            (Stream::new(StreamName::Stderr), Records::default(), Stamp::new(0));
        let mut lines = 0;
        for piece in &pieces {
            lines += stream.feed(piece, &stamp, &mut out);
        }
        stream.finish(&stamp, &mut out);
        let whole = pieces.concat();
        prop_assert_eq!(lines, whole.iter().filter(|byte| **byte == b'\n').count() as u64);

        let prefix = format!("{AT} stderr ");
        let (mut read, mut start, mut task_bytes) = (Vec::new(), 0, 0);
        for end in &out.ends {
            let record = &out.bytes[start..end.at];
            start = end.at;
            task_bytes += end.task_bytes as usize;
            let rest = record.strip_prefix(prefix.as_bytes()).unwrap_or_default();
            let (tag, text) = rest.split_at(2);
            let text = &text[..text.len() - 1];
            prop_assert!(text.len() <= PIECE_MAX);
            read.extend_from_slice(text);
            if tag == b"F " {
                read.push(b'\n');
            }
        }
        prop_assert_eq!(start, out.bytes.len());
        prop_assert_eq!(task_bytes, whole.len());
        if whole.last().is_some_and(|byte| *byte != b'\n') {
            read.pop();
        }
        prop_assert_eq!(read, whole);
    }
}
