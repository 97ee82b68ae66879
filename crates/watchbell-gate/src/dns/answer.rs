//! What the gate asks a resolver, and what that says.

use std::net::IpAddr;

use super::{
    CODE, Family, HEADER, IN, KIND_CNAME, KIND_OPT, MESSAGE_MAX, NO_ERROR, NO_SUCH_NAME, OPCODE,
    RECURSION_DESIRED, RESPONSE, TRUNCATED, WireName, u16_at, u32_at,
};

/// Records of an answer that are looked at.
const RECORDS_MAX: u16 = 128;
/// Names that lead to other names, one after another.
const ALIASES_MAX: usize = 8;
/// Addresses of a name that are kept.
const ADDRESSES_MAX: usize = 16;
/// Bounds of how long an answer is believed, whatever it says itself.
const SECONDS_MIN: u32 = 5;
const SECONDS_MAX: u32 = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Addresses {
        addresses: Vec<IpAddr>,
        seconds: u32,
    },
    /// The name is there, without addresses of this family.
    Empty,
    NoSuchName,
}

/// Why a message is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is no answer to this question: another may still come.
    NotOurs,
    /// The resolver does not know, says nothing that can be read, or had no room for what it knows.
    Failed,
}

/// The question for addresses of a name; None of what is no name.
pub fn write_question(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let name = WireName::of(name)?;
    let mut message = [id, RECURSION_DESIRED, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
    message.extend(name.0);
    message.extend([family.kind(), IN].map(u16::to_be_bytes).concat());
    // EDNS (RFC 6891): how large an answer may be.
    message.push(0);
    message.extend([KIND_OPT, MESSAGE_MAX as u16, 0, 0, 0].map(u16::to_be_bytes).concat());
    Some(message)
}

struct Record {
    owner: WireName,
    seconds: u32,
    is: Is,
}

enum Is {
    Alias(WireName),
    Address(IpAddr),
    Else,
}

/// Reads what a resolver said to [`write_question`] with these arguments.
pub fn read_answer(message: &[u8], id: u16, name: &str, family: Family) -> Result<Answer, Unread> {
    let asked = WireName::of(name).ok_or(Unread::Failed)?;
    let flags = u16_at(message, 2).ok_or(Unread::NotOurs)?;
    let (found, end) = WireName::read(message, HEADER).ok_or(Unread::NotOurs)?;
    let head = [u16_at(message, 0), u16_at(message, 4), u16_at(message, end), u16_at(message, end + 2)];
    let is_ours = head == [Some(id), Some(1), Some(family.kind()), Some(IN)]
        && flags & (RESPONSE | OPCODE) == RESPONSE
        && found == asked;
    if !is_ours {
        return Err(Unread::NotOurs);
    }
    match flags & CODE {
        NO_ERROR => {}
        NO_SUCH_NAME => return Ok(Answer::NoSuchName),
        _ => return Err(Unread::Failed),
    }
    let count = u16_at(message, 6).ok_or(Unread::Failed)?;
    let records = read_records(message, end + 4, count, family).ok_or(Unread::Failed)?;
    match follow(asked, &records) {
        // What was cut off may be the addresses (RFC 2181, section 9).
        Answer::Empty if flags & TRUNCATED != 0 => Err(Unread::Failed),
        answer => Ok(answer),
    }
}

/// All records, or None when one cannot be read: then nothing is believed.
fn read_records(message: &[u8], mut at: usize, count: u16, family: Family) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..count.min(RECORDS_MAX) {
        let (owner, end) = WireName::read(message, at)?;
        let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
        let (seconds, length) = (u32_at(message, end + 4)?, usize::from(u16_at(message, end + 8)?));
        let place = end + 10;
        let data = message.get(place..place + length)?;
        let is = match kind {
            _ if class != IN => Is::Else,
            KIND_CNAME => Is::Alias(WireName::read(message, place)?.0),
            kind if kind == family.kind() => Is::Address(match family {
                Family::V4 => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                Family::V6 => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            }),
            _ => Is::Else,
        };
        records.push(Record { owner, seconds, is });
        at = place + length;
    }
    Some(records)
}

/// From the name that was asked for, by its aliases, to addresses. Records of other names say nothing.
fn follow(asked: WireName, records: &[Record]) -> Answer {
    let (mut name, mut seconds) = (asked, SECONDS_MAX);
    for _ in 0..ALIASES_MAX {
        let alias = records.iter().find_map(|record| match &record.is {
            Is::Alias(target) if record.owner == name => Some((target, record.seconds)),
            _ => None,
        });
        let Some((target, for_seconds)) = alias else { break };
        (name, seconds) = (target.clone(), seconds.min(for_seconds));
    }
    let mut addresses = Vec::new();
    for record in records.iter().filter(|record| record.owner == name) {
        if let Is::Address(address) = record.is
            && addresses.len() < ADDRESSES_MAX
            && !addresses.contains(&address)
        {
            addresses.push(address);
            seconds = seconds.min(record.seconds);
        }
    }
    if addresses.is_empty() {
        return Answer::Empty;
    }
    Answer::Addresses { addresses, seconds: seconds.max(SECONDS_MIN) }
}
