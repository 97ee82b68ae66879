use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 7);

fn question(name: &[u8], kind: u16, class: u16) -> Vec<u8> {
    let mut message = [0x1234, RECURSION_DESIRED, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    message.extend_from_slice(name);
    message.extend([kind, class].map(u16::to_be_bytes).concat());
    message
}

fn query(message: &[u8]) -> Query {
    match read_query(message) {
        Asked::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

/// An answer to [`write_question`]: records of owner, kind, seconds and data.
fn answer(id: u16, name: &str, family: Family, code: u16, records: &[(&[u8], u16, u32, &[u8])]) -> Vec<u8> {
    let asked = write_question(id, name, family).unwrap();
    // Without the options.
    let mut message = asked[..asked.len() - 11].to_vec();
    let flags = RESPONSE | RECURSION_AVAILABLE | code;
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    message[10..12].copy_from_slice(&[0, 0]);
    for (owner, kind, seconds, data) in records {
        message.extend_from_slice(owner);
        message.extend([*kind, IN].map(u16::to_be_bytes).concat());
        message.extend(seconds.to_be_bytes());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

/// The name of the question.
const SAME: &[u8] = &[0xc0, 12];

#[test]
fn questions_are_read_and_answered_in_their_own_letters() {
    let asked = question(b"\x04dAtA\x07example\x03org\0", KIND_A, IN);
    let query = query(&asked);
    assert_eq!((query.name.as_deref(), query.family), (Some("data.example.org"), Some(Family::V4)));
    let reply = query.reply(Reply::Address(ADDRESS.into()));
    assert_eq!(&reply[..HEADER], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(reply[HEADER..asked.len()], asked[HEADER..]);
    assert_eq!(reply[asked.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 1, 7]);
    // What is said to tasks is what resolvers are believed.
    let read = read_answer(&reply, 0x1234, "data.example.org", Family::V4);
    assert_eq!(read, Ok(Answer::Addresses { addresses: vec![ADDRESS.into()], seconds: 60 }));
    for (reply, code) in [(Reply::Empty, 0), (Reply::NoSuchName, 3), (Reply::Failed, 2)] {
        let reply = query.reply(reply);
        assert_eq!((reply[3] & 0x0f, reply.len()), (code, asked.len()));
    }
}

#[test]
fn other_kinds_and_names_are_told_apart() {
    let kinds = [(KIND_AAAA, Some(Family::V6)), (15, None), (255, None), (65, None)];
    for (kind, family) in kinds {
        assert_eq!(query(&question(b"\x01a\0", kind, IN)).family, family);
    }
    // A dot within a label must not make another name of it.
    for name in [&b"\x05a.org\0"[..], b"\x02a\0\0", b"\x02\xc3\xa9\0", b"\0", b"\x01*\x01a\0", b"\x03a b\0"] {
        assert_eq!(query(&question(name, KIND_A, IN)).name, None, "{name:?}");
    }
    assert_eq!(query(&question(b"\x05_http\x03a-b\0", KIND_A, IN)).name.as_deref(), Some("_http.a-b"));
}

#[test]
fn what_is_no_question_is_not_answered_as_one() {
    let good = question(b"\x01a\0", KIND_A, IN);
    let code = |message: &[u8]| match read_query(message) {
        Asked::Wrong(reply) => (reply.len() == HEADER).then(|| u16::from(reply[3]) & CODE),
        _ => None,
    };
    let changed = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    assert_eq!(code(&changed(2, 0x28)), Some(NOT_IMPLEMENTED), "an update");
    assert_eq!(code(&question(b"\x01a\0", KIND_A, 3)), Some(NOT_IMPLEMENTED), "CHAOS");
    assert_eq!(code(&changed(5, 2)), Some(FORMAT_ERROR), "two questions");
    assert_eq!(code(&good[..good.len() - 1]), Some(FORMAT_ERROR));
    assert_eq!(code(&question(b"\xc0\x0c", KIND_A, IN)), Some(FORMAT_ERROR), "a loop");
    assert_eq!(code(&question(b"\xc0\x20", KIND_A, IN)), Some(FORMAT_ERROR), "forward");
    assert_eq!(code(&question(b"\x40a\0", KIND_A, IN)), Some(FORMAT_ERROR), "a reserved length");
    assert_eq!(read_query(&changed(2, 0x81)), Asked::Nothing, "an answer");
    assert_eq!(read_query(&good[..11]), Asked::Nothing);
    assert_eq!(read_query(&[]), Asked::Nothing);
    assert_eq!(read_query(&[0; MESSAGE_MAX + 1]), Asked::Nothing);
    let long = [&[63; 64][..]; 4].concat();
    assert_eq!(code(&question(&[&long[..], b"\0"].concat(), KIND_A, IN)), Some(FORMAT_ERROR), "256 bytes");
}

#[test]
fn answers_are_followed_by_their_aliases() {
    let name = "a.example.org";
    let read = |records: &[(&[u8], u16, u32, &[u8])]| {
        read_answer(&answer(7, name, Family::V4, 0, records), 7, name, Family::V4)
    };
    let found = |addresses: &[[u8; 4]], seconds| {
        let addresses = addresses.iter().map(|address| IpAddr::from(*address)).collect();
        Ok(Answer::Addresses { addresses, seconds })
    };
    let cdn = &b"\x03cdn\x03net\0"[..];
    assert_eq!(
        read(&[(SAME, 1, 100, &[1, 2, 3, 4]), (SAME, 1, 50, &[1, 2, 3, 5])]),
        found(&[[1, 2, 3, 4], [1, 2, 3, 5]], 50)
    );
    // In any order, and with the shortest life of the chain.
    assert_eq!(
        read(&[(b"\x03CDN\x03net\0", 1, 100, &[1, 1, 1, 1]), (SAME, 5, 30, cdn)]),
        found(&[[1, 1, 1, 1]], 30)
    );
    // What was not asked for says nothing: neither other owners nor other families.
    assert_eq!(read(&[(cdn, 1, 100, &[6, 6, 6, 6])]), Ok(Answer::Empty));
    assert_eq!(read(&[(SAME, 28, 100, &[6; 16])]), Ok(Answer::Empty));
    assert_eq!(read(&[(SAME, 5, 30, cdn), (SAME, 1, 9, &[6, 6, 6, 6])]), Ok(Answer::Empty));
    // A ring of aliases ends.
    assert_eq!(read(&[(SAME, 5, 30, cdn), (cdn, 5, 30, SAME)]), Ok(Answer::Empty));
    // Neither for ever nor never.
    assert_eq!(read(&[(SAME, 1, u32::MAX, &[1, 2, 3, 4])]), found(&[[1, 2, 3, 4]], 300));
    assert_eq!(read(&[(SAME, 1, 0, &[1, 2, 3, 4])]), found(&[[1, 2, 3, 4]], 5));
    let many: Vec<[u8; 4]> = (0..60).map(|i| [9, 9, 9, i]).collect();
    let records: Vec<_> = many.iter().map(|data| (SAME, 1, 60, &data[..])).collect();
    assert_eq!(read(&records), found(&many[..16], 60));
}

#[test]
fn addresses_of_version_6_are_read_as_well() {
    let address = Ipv6Addr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let message = answer(7, "a", Family::V6, 0, &[(SAME, 28, 60, &address.octets())]);
    let addresses = Answer::Addresses { addresses: vec![address.into()], seconds: 60 };
    assert_eq!(read_answer(&message, 7, "a", Family::V6), Ok(addresses));
}

#[test]
fn what_another_could_have_sent_is_not_ours() {
    let good = answer(7, "a.org", Family::V4, 0, &[(SAME, 1, 60, &[1, 2, 3, 4])]);
    let read = |message: &[u8], id| read_answer(message, id, "a.org", Family::V4);
    assert!(read(&good, 7).is_ok());
    assert_eq!(read(&good, 8), Err(Unread::NotOurs), "another id");
    assert_eq!(read_answer(&good, 7, "b.org", Family::V4), Err(Unread::NotOurs));
    assert_eq!(read_answer(&good, 7, "a.org", Family::V6), Err(Unread::NotOurs));
    let question = write_question(7, "a.org", Family::V4).unwrap();
    assert_eq!(read(&question, 7), Err(Unread::NotOurs), "our own question");
    assert_eq!(read(&answer(7, "a.org", Family::V4, 3, &[]), 7), Ok(Answer::NoSuchName));
    assert_eq!(read(&answer(7, "a.org", Family::V4, 2, &[]), 7), Err(Unread::Failed));
    assert_eq!(read(&answer(7, "a.org", Family::V4, 5, &[]), 7), Err(Unread::Failed));
    // Cut off anywhere: no answer that was not said.
    for end in 0..good.len() {
        assert!(read(&good[..end], 7).is_err(), "{end}");
    }
    let short = answer(7, "a.org", Family::V4, 0, &[(SAME, 1, 60, &[1, 2, 3])]);
    assert_eq!(read(&short, 7), Err(Unread::Failed), "an address of three bytes");
}

#[test]
fn what_was_cut_off_is_not_taken_for_nothing() {
    let read = |records: &[(&[u8], u16, u32, &[u8])]| {
        let message = answer(7, "a.org", Family::V4, TRUNCATED, records);
        read_answer(&message, 7, "a.org", Family::V4)
    };
    let cdn = &b"\x03cdn\x03net\0"[..];
    assert_eq!(read(&[]), Err(Unread::Failed));
    assert_eq!(read(&[(SAME, 5, 30, cdn)]), Err(Unread::Failed), "an alias alone");
    let addresses = Answer::Addresses { addresses: vec![[1, 2, 3, 4].into()], seconds: 60 };
    assert_eq!(read(&[(SAME, 1, 60, &[1, 2, 3, 4])]), Ok(addresses), "some of them are enough");
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let (label, long) = ("a".repeat(64), format!("{}.aaa", vec!["a".repeat(63); 4].join(".")));
    for name in ["", ".", "a..b", "a.", label.as_str(), long.as_str()] {
        assert_eq!(write_question(1, name, Family::V4), None, "{name}");
    }
}

proptest! {
    #[test]
    fn a_question_of_ours_reads_back(id: u16, name in "([a-z0-9_-]{1,20}\\.){0,5}[a-z]{1,20}", six: bool) {
        let family = if six { Family::V6 } else { Family::V4 };
        let query = query(&write_question(id, &name, family).unwrap());
        prop_assert_eq!(query.name.as_deref(), Some(name.as_str()));
        prop_assert_eq!(query.family, Some(family));
        prop_assert_eq!(read_answer(&query.reply(Reply::NoSuchName), id, &name, family), Ok(Answer::NoSuchName));
        prop_assert_eq!(read_answer(&query.reply(Reply::Empty), id, &name, family), Ok(Answer::Empty));
        prop_assert_eq!(read_answer(&query.reply(Reply::Failed), id, &name, family), Err(Unread::Failed));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_query(&bytes);
        let _ = read_answer(&bytes, 0, "a.org", Family::V4);
    }
}
