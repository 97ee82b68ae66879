//! Messages of DNS, which tasks and resolvers send to the gate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use watchbell_gate::dns::{Answer, Asked, Family, Reply, read_answer, read_query};

/// What the gate says to a task is what it would believe of a resolver, and is hardly longer than the question. What a resolver
/// says stays within its bounds, and in the family that was asked for.
pub fn dns(data: &[u8]) {
    let Some(id) = data.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)) else { return };
    match read_query(data) {
        Asked::Query(query) => {
            let address = match query.family {
                Some(Family::V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                Some(Family::V4) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            let reply = query.reply(Reply::Address(address));
            assert!(reply.len() <= data.len() + 28, "{} bytes of {}", reply.len(), data.len());
            if let (Some(name), Some(family)) = (&query.name, query.family) {
                let addresses = Answer::Addresses { addresses: vec![address], seconds: 60 };
                assert_eq!(read_answer(&reply, id, name, family), Ok(addresses), "{name}");
                let none = read_answer(&query.reply(Reply::NoSuchName), id, name, family);
                assert_eq!(none, Ok(Answer::NoSuchName), "{name}");
            }
        }
        Asked::Wrong(reply) => assert!(reply.len() <= data.len()),
        Asked::Nothing => {}
    }
    for family in [Family::V4, Family::V6] {
        if let Ok(Answer::Addresses { addresses, seconds }) = read_answer(data, id, "a.example.org", family) {
            assert!((1..=16).contains(&addresses.len()) && (5..=300).contains(&seconds));
            assert!(addresses.iter().all(|address| address.is_ipv6() == (family == Family::V6)));
        }
    }
}
