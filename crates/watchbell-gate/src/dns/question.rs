//! What a task asks, and what it is told.

use std::net::IpAddr;

use super::{
    FORMAT_ERROR, Family, HEADER, IN, KIND_A, KIND_AAAA, MESSAGE_MAX, NO_ERROR, NO_SUCH_NAME,
    NOT_IMPLEMENTED, OPCODE, RECURSION_AVAILABLE, RECURSION_DESIRED, RESPONSE, SERVER_FAILURE, WireName,
    u16_at,
};

/// For how long a task may keep an answer. The address of a name stays the same.
const SECONDS: u32 = 60;
/// Where the one question of a message begins, as a pointer.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];

/// What came to a stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Query(Query),
    /// This is to be sent back.
    Wrong(Vec<u8>),
    /// Nobody would know what to answer, or it is an answer itself.
    Nothing,
}

/// A question that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    id: u16,
    recursion_desired: bool,
    /// As it came, so that the answer has its very letters.
    question: Vec<u8>,
    /// In lower case and without the dot of the root; None with bytes that no host's name has.
    pub name: Option<String>,
    /// None: it asks for something else than addresses.
    pub family: Option<Family>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Address(IpAddr),
    /// The name is there, and has nothing of this kind.
    Empty,
    NoSuchName,
    /// Nobody could say.
    Failed,
}

/// Reads what a task sent.
pub fn read_query(message: &[u8]) -> Asked {
    let (Some(id), Some(flags)) = (u16_at(message, 0), u16_at(message, 2)) else { return Asked::Nothing };
    if flags & RESPONSE != 0 || message.len() < HEADER || message.len() > MESSAGE_MAX {
        return Asked::Nothing;
    }
    let wrong = |code| Asked::Wrong(head(id, flags & RECURSION_DESIRED, code, [0, 0]));
    if flags & OPCODE != 0 {
        return wrong(NOT_IMPLEMENTED);
    }
    // What may follow the question, as the options of EDNS do, is nothing that matters here.
    let read = || {
        let (name, end) = WireName::read(message, HEADER)?;
        let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
        Some((name, kind, class, message.get(HEADER..end + 4)?))
    };
    let Some((name, kind, class, question)) = read().filter(|_| u16_at(message, 4) == Some(1)) else {
        return wrong(FORMAT_ERROR);
    };
    if class != IN {
        return wrong(NOT_IMPLEMENTED);
    }
    Asked::Query(Query {
        id,
        recursion_desired: flags & RECURSION_DESIRED != 0,
        question: question.to_owned(),
        name: name.text(),
        family: Family::of_kind(kind),
    })
}

impl Query {
    pub fn reply(&self, reply: Reply) -> Vec<u8> {
        let (code, answers) = match reply {
            Reply::Address(_) => (NO_ERROR, 1),
            Reply::Empty => (NO_ERROR, 0),
            Reply::NoSuchName => (NO_SUCH_NAME, 0),
            Reply::Failed => (SERVER_FAILURE, 0),
        };
        let desired = if self.recursion_desired { RECURSION_DESIRED } else { 0 };
        let mut message = head(self.id, desired, code, [1, answers]);
        message.extend_from_slice(&self.question);
        if let Reply::Address(address) = reply {
            let (kind, bytes) = match address {
                IpAddr::V4(address) => (KIND_A, address.octets().to_vec()),
                IpAddr::V6(address) => (KIND_AAAA, address.octets().to_vec()),
            };
            message.extend(POINTER_TO_QUESTION);
            message.extend([kind, IN].map(u16::to_be_bytes).concat());
            message.extend(SECONDS.to_be_bytes());
            message.extend((bytes.len() as u16).to_be_bytes());
            message.extend(bytes);
        }
        message
    }
}

/// The head of an answer with so many questions and answers.
fn head(id: u16, desired: u16, code: u16, [questions, answers]: [u16; 2]) -> Vec<u8> {
    let flags = RESPONSE | RECURSION_AVAILABLE | desired | code;
    [id, flags, questions, answers, 0, 0].map(u16::to_be_bytes).concat()
}
