use hyper::body::Bytes;

use super::{Broken, Close, MESSAGE_BYTES_MAX, Message, Socket, accept, is_key};

/// Carries everything from one end to the other, `step` bytes at a time, and returns what arrived.
fn carry(from: &mut Socket, to: &mut Socket, step: usize) -> Result<Vec<Message>, Broken> {
    let mut got = Vec::new();
    while !from.output().is_empty() {
        let count = step.min(from.output().len());
        to.take(&from.output()[..count]);
        from.sent(count);
        while let Some(message) = to.message()? {
            got.push(message);
        }
    }
    Ok(got)
}

#[test]
fn messages_arrive_whole_however_they_are_cut() {
    for step in [1, 3, 7, 1 << 20] {
        let (mut client, mut server) = (Socket::client(), Socket::server());
        let long = Bytes::from(vec![7; 70_000]);
        client.send(Bytes::from_static(b"\x00abc"));
        client.send(long.clone());
        client.send_text("0YQ==".into());
        client.send(Bytes::new());
        let expect = vec![
            Message::Binary(Bytes::from_static(b"\x00abc")),
            Message::Binary(long.clone()),
            Message::Text("0YQ==".into()),
            Message::Binary(Bytes::new()),
        ];
        assert_eq!(carry(&mut client, &mut server, step).unwrap(), expect, "{step}");
        server.send(long.clone());
        assert_eq!(carry(&mut server, &mut client, step).unwrap(), [Message::Binary(long)]);
    }
}

#[test]
fn a_ping_is_answered_unasked() {
    let (mut client, mut server) = (Socket::client(), Socket::server());
    client.ping();
    assert_eq!(carry(&mut client, &mut server, 64).unwrap(), [Message::Alive]);
    assert!(!server.output().is_empty());
    assert_eq!(carry(&mut server, &mut client, 64).unwrap(), [Message::Alive]);
    assert!(client.output().is_empty());
}

#[test]
fn a_close_is_answered_and_is_the_last_word() {
    let (mut client, mut server) = (Socket::client(), Socket::server());
    server.close(Close::GoingAway, &"ü".repeat(100));
    server.send(Bytes::from_static(b"too late"));
    let got = carry(&mut server, &mut client, 64).unwrap();
    assert_eq!(got, [Message::Close("ü".repeat(61))]);
    assert!(!client.output().is_empty());
    assert_eq!(carry(&mut client, &mut server, 64), Ok(vec![Message::Close("ü".repeat(61))]));
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let check = |bytes: &[u8], is_expected: fn(&Broken) -> bool| {
        let mut server = Socket::server();
        server.take(bytes);
        let error = server.message().unwrap_err();
        assert!(is_expected(&error), "{bytes:?}: {error:?}");
    };
    let is_protocol: fn(&Broken) -> bool = |e| matches!(e, Broken::Protocol(_));
    // Unmasked, with a reserved bit, of a reserved kind, a control frame in pieces, a ping that is too long, no UTF-8.
    check(&[0x82, 0x01, 0x00], is_protocol);
    check(&[0xC2, 0x81, 0, 0, 0, 0, 0], is_protocol);
    check(&[0x83, 0x81, 0, 0, 0, 0, 0], is_protocol);
    check(&[0x09, 0x80, 0, 0, 0, 0], is_protocol);
    check(&[&[0x89, 0xFE, 0x00, 0x7E][..], &[0; 130]].concat(), is_protocol);
    check(&[0x81, 0x81, 0, 0, 0, 0, 0xFF], is_protocol);
    // A message that claims more than is taken is refused by its head alone.
    let mut head = vec![0x82, 0xFF];
    head.extend((MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
    head.extend([0; 4]);
    check(&head, |e| *e == Broken::TooLarge);
}

#[test]
fn keys_are_answered_as_the_standard_says() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for (key, expect) in [("dGhlIHNhbXBsZSBub25jZQ==", true), ("", false), ("YQ==", false), ("%", false)] {
        assert_eq!(is_key(key), expect, "{key:?}");
    }
}
