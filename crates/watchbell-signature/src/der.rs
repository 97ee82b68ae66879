//! One value of DER after another, for what x509-parser has no type for.

use x509_parser::asn1_rs::{Any, Class, FromDer as _};

/// A tag, its content, and all of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: Tag,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Universal(u32),
    Context(u32),
    Other,
}

pub(crate) const INTEGER: Tag = Tag::Universal(2);
pub(crate) const OCTET_STRING: Tag = Tag::Universal(4);
pub(crate) const OID: Tag = Tag::Universal(6);
pub(crate) const UTF8_STRING: Tag = Tag::Universal(12);
pub(crate) const SEQUENCE: Tag = Tag::Universal(16);
pub(crate) const SET: Tag = Tag::Universal(17);
pub(crate) const GENERALIZED_TIME: Tag = Tag::Universal(24);

/// Values behind one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn next(&mut self) -> Option<Tlv<'a>> {
        let (rest, any) = Any::from_der(self.rest).ok()?;
        let tag = match any.class() {
            Class::Universal => Tag::Universal(any.tag().0),
            Class::ContextSpecific => Tag::Context(any.tag().0),
            _ => Tag::Other,
        };
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Tlv { tag, content: any.data, whole })
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: Tag) -> Option<Tlv<'a>> {
        self.next().filter(|tlv| tlv.tag == tag)
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: Tag) -> Option<Tlv<'a>> {
        let mut ahead = *self;
        let found = ahead.expect(tag)?;
        *self = ahead;
        Some(found)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The one value that `bytes` are, with this tag.
pub(crate) fn only(bytes: &[u8], tag: Tag) -> Option<Tlv<'_>> {
    let mut reader = Reader::new(bytes);
    let tlv = reader.expect(tag)?;
    reader.is_at_end().then_some(tlv)
}

/// The values inside of a value.
pub(crate) fn inside(tlv: Tlv<'_>) -> Reader<'_> {
    Reader::new(tlv.content)
}

/// Writes a value with this tag byte.
pub(crate) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..0x80 => out.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
    }
    out.extend_from_slice(content);
    out
}
