//! Small grammars, and what a connection brings.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use watchbell_api::Resource;
use watchbell_api::quantity::Quantity;
use watchbell_api::selector::{Fields, Labels};
use watchbell_core::cron::Schedule;
use watchbell_core::index_set::IndexSet;
use watchbell_identity::jwt::{Expect, KeySet, verify};
use watchbell_image::Reference;
use watchbell_server::websocket::Socket;

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The zones whose clocks do the strangest things.
const ZONES: [&str; 4] = ["UTC", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"];

/// The next slot is later, and is the latest one at its own time.
pub fn cron(data: &[u8]) {
    let Some((first, rest)) = data.split_first_chunk::<4>() else { return };
    let Some(schedule) = text(rest).and_then(|spec| Schedule::parse(spec).ok()) else { return };
    // 1970 to 2106.
    let after =
        Timestamp::from_second(i64::from(u32::from_le_bytes(*first))).expect("a time of these centuries");
    for zone in ZONES {
        let zone = TimeZone::get(zone).expect("a zone of the bundled data");
        let Some(next) = schedule.next_after(&zone, after) else { continue };
        assert!(next > after, "{next} is not after {after}");
        if schedule.interval().is_none() {
            assert!(schedule.matches(&zone, next), "{next} is no slot");
            assert_eq!(schedule.prev_at_or_before(&zone, next), Some(next));
        }
    }
}

/// What is printed reads back as the same amount.
pub fn quantity(data: &[u8]) {
    if let Some(quantity) = text(data).and_then(|text| text.parse::<Quantity>().ok()) {
        let again: Quantity = quantity.to_string().parse().expect("printed quantities are quantities");
        assert_eq!(again.as_nanos(), quantity.as_nanos(), "{quantity}");
    }
}

pub fn selector(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(labels) = Labels::parse(text) {
        labels.matches(&BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    }
    for resource in [Resource::Pod, Resource::Job, Resource::Event] {
        let _ = Fields::parse(resource, text);
    }
}

/// What is printed reads back as the same.
pub fn index_set(data: &[u8]) {
    if let Some(set) = text(data).and_then(|text| IndexSet::parse(text, 100_000).ok()) {
        assert_eq!(IndexSet::parse(&set.to_string(), 100_000).expect("printed sets are sets"), set);
    }
}

/// What is printed reads back as the same.
pub fn reference(data: &[u8]) {
    if let Some(reference) = text(data).and_then(|text| Reference::parse(text).ok()) {
        let again = Reference::parse(&reference.to_string()).expect("printed references are references");
        assert_eq!(again, reference);
    }
}

/// A token and a key set, with a zero byte between them. Nothing that was not signed is believed: there is no key here whose
/// private half anybody has.
pub fn jwt(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Some(token) = parts.next().and_then(text) else { return };
    let keys = parts.next().and_then(|document| KeySet::from_jwks(document).ok()).unwrap_or_default();
    let expect = Expect { issuer: "i", audiences: &["a".to_owned()], now: 1_700_000_000, leeway_seconds: 60 };
    let _ = verify(token, &keys, &expect);
}

/// A connection brings anything, in any pieces.
pub fn websocket(data: &[u8]) {
    let Some((piece, rest)) = data.split_first() else { return };
    let mut socket = Socket::server();
    for bytes in rest.chunks(usize::from(*piece).max(1)) {
        socket.take(bytes);
        while let Ok(Some(_)) = socket.message() {}
    }
}
