//! Timestamps of an authority (RFC 3161): a CMS SignedData (RFC 5652) around what was stamped and when.
//!
//! ```text
//!   TimeStampResp { status, ContentInfo { SignedData {
//!       encapContentInfo: TSTInfo { messageImprint, genTime, … },
//!       signerInfos: [ { sid, digestAlgorithm, signedAttrs { contentType, messageDigest }, signature } ] } } }
//! ```

use jiff::Timestamp;
use jiff::civil::DateTime;
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::chain;
use crate::der::{self, Reader, Tag, Tlv};
use crate::key::{Hash, PublicKey};
use crate::refused::{Reason, TimestampFault};
use crate::trust_root::Authority;

const BYTES_MAX: usize = 64 << 10;
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";

/// A parsed response, of which nothing is verified yet.
struct Response<'a> {
    info: &'a [u8],
    imprint_hash: Hash,
    imprint: &'a [u8],
    at: Timestamp,
    signer: Signer<'a>,
}

struct Signer<'a> {
    /// Issuer (DER) and serial number (as encoded) of the authority's certificate.
    issuer: &'a [u8],
    serial: &'a [u8],
    hash: Hash,
    attributes: Tlv<'a>,
    signature: &'a [u8],
}

/// When `message` was stamped, by an authority of the trust root whose certificates were valid then.
pub(crate) fn verify(
    response: &[u8],
    message: &[u8],
    authorities: &[Authority],
) -> Result<Timestamp, Reason> {
    if response.len() > BYTES_MAX {
        return Err(Reason::malformed("timestamp", "it is larger than 64 KiB"));
    }
    let response = parse(response)?;
    let wrong = Reason::TimestampWrong;
    if response.imprint != response.imprint_hash.digest(message) {
        return Err(wrong(TimestampFault::OtherMessage));
    }
    let mut furthest = TimestampFault::AuthorityUnknown;
    for authority in authorities {
        match response.verify(authority) {
            Ok(()) => return Ok(response.at),
            Err(fault) => furthest = furthest.max(fault),
        }
    }
    Err(wrong(furthest))
}

impl Response<'_> {
    fn verify(&self, authority: &Authority) -> Result<(), TimestampFault> {
        let unknown = TimestampFault::AuthorityUnknown;
        let (leaf, issuers) = authority.chain.split_first().ok_or(unknown)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| unknown)?;
        if certificate.raw_serial() != self.signer.serial
            || certificate.issuer().as_raw() != self.signer.issuer
        {
            return Err(unknown);
        }
        let may_stamp = certificate.iter_extensions().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::ExtendedKeyUsage(usage) if usage.time_stamping)
        });
        let key = PublicKey::from_spki(certificate.public_key().raw).map_err(|_| unknown)?;
        // An authority's own certificate may be the only one in the file.
        let is_issued =
            if issuers.is_empty() { Ok(()) } else { chain::issued_by(leaf, issuers, self.at).map(|_| ()) };
        let validity = certificate.validity();
        let is_valid =
            (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&self.at.as_second());
        if !authority.validity.holds(self.at) || !is_valid {
            return Err(TimestampFault::OutsideAuthority);
        }
        match is_issued {
            Ok(()) if may_stamp => {}
            Err(Reason::OutsideCertificate { .. }) => return Err(TimestampFault::OutsideAuthority),
            _ => return Err(unknown),
        }
        // The attributes are signed as the SET that they are, whose tag the encoding replaces.
        let signed = der::write(0x31, self.signer.attributes.content);
        let is_signed = key.verifies_with(self.signer.hash, &signed, self.signer.signature) == Some(true);
        if !is_signed || !self.signer.is_about(self.info) {
            return Err(TimestampFault::SignatureWrong);
        }
        Ok(())
    }
}

impl Signer<'_> {
    /// Whether the attributes name this content, each of the two once.
    fn is_about(&self, info: &[u8]) -> bool {
        let (mut types, mut digests) = (0, 0);
        let mut attributes = der::inside(self.attributes);
        while let Some(attribute) = attributes.next() {
            let mut parts = der::inside(attribute);
            let (Some(oid), Some(values)) = (parts.expect(der::OID), parts.expect(der::SET)) else {
                return false;
            };
            match oid_text(oid).as_deref() {
                Some(CONTENT_TYPE) => {
                    let value = der::only(values.content, der::OID).and_then(oid_text);
                    if value.as_deref() != Some(TST_INFO) {
                        return false;
                    }
                    types += 1;
                }
                Some(MESSAGE_DIGEST) => {
                    let value = der::only(values.content, der::OCTET_STRING).map(|v| v.content);
                    if value != Some(&self.hash.digest(info)) {
                        return false;
                    }
                    digests += 1;
                }
                _ => {}
            }
        }
        attributes.is_at_end() && types == 1 && digests == 1
    }
}

fn parse(response: &[u8]) -> Result<Response<'_>, Reason> {
    let malformed = |what: &str| Reason::malformed("timestamp", format!("its {what} cannot be read"));
    let token = token(response).ok_or_else(|| malformed("response"))?;
    let mut content = der::inside(token);
    let is_signed_data = content.expect(der::OID).and_then(oid_text).as_deref() == Some(SIGNED_DATA);
    let signed = content.expect(Tag::Context(0)).filter(|_| is_signed_data);
    let signed =
        signed.and_then(|s| der::only(s.content, der::SEQUENCE)).ok_or_else(|| malformed("token"))?;
    let mut fields = der::inside(signed);
    let info = signed_info(&mut fields).ok_or_else(|| malformed("content"))?;
    let signer = signer(fields)?;
    let (imprint_hash, imprint, at) = stamp(info)?;
    Ok(Response { info, imprint_hash, imprint, at, signer })
}

/// The ContentInfo of a response that was granted.
fn token(response: &[u8]) -> Option<Tlv<'_>> {
    let mut fields = der::inside(der::only(response, der::SEQUENCE)?);
    let status = der::inside(fields.expect(der::SEQUENCE)?).expect(der::INTEGER)?;
    // granted, grantedWithMods
    matches!(status.content, [0 | 1]).then_some(())?;
    let token = fields.expect(der::SEQUENCE)?;
    fields.is_at_end().then_some(token)
}

/// The encoded TSTInfo; leaves the reader behind it.
fn signed_info<'a>(fields: &mut Reader<'a>) -> Option<&'a [u8]> {
    fields.expect(der::INTEGER)?;
    fields.expect(der::SET)?;
    let mut encapsulated = der::inside(fields.expect(der::SEQUENCE)?);
    let content_type = encapsulated.expect(der::OID).and_then(oid_text)?;
    let content = encapsulated.expect(Tag::Context(0)).filter(|_| content_type == TST_INFO)?;
    Some(der::only(content.content, der::OCTET_STRING)?.content)
}

/// The one signer, after certificates and revocation lists that nobody asked for.
fn signer(mut fields: Reader<'_>) -> Result<Signer<'_>, Reason> {
    let malformed = || Reason::malformed("timestamp", "its signer cannot be read");
    fields.optional(Tag::Context(0));
    fields.optional(Tag::Context(1));
    let set = fields.expect(der::SET).filter(|_| fields.is_at_end()).ok_or_else(malformed)?;
    let info = der::only(set.content, der::SEQUENCE).ok_or_else(malformed)?;
    let mut parts = der::inside(info);
    let read = |parts: &mut Reader<'_>| parts.expect(der::INTEGER).map(|_| ());
    read(&mut parts).ok_or_else(malformed)?;
    let mut sid = der::inside(parts.expect(der::SEQUENCE).ok_or_else(malformed)?);
    let issuer = sid.expect(der::SEQUENCE).ok_or_else(malformed)?.whole;
    let serial = sid.expect(der::INTEGER).ok_or_else(malformed)?.content;
    let hash = hash(parts.expect(der::SEQUENCE).ok_or_else(malformed)?)?;
    let attributes = parts.expect(Tag::Context(0)).ok_or_else(malformed)?;
    parts.expect(der::SEQUENCE).ok_or_else(malformed)?;
    let signature = parts.expect(der::OCTET_STRING).ok_or_else(malformed)?.content;
    Ok(Signer { issuer, serial, hash, attributes, signature })
}

/// Hash and imprint of what was stamped, and the time.
fn stamp(info: &[u8]) -> Result<(Hash, &[u8], Timestamp), Reason> {
    let malformed = || Reason::malformed("timestamp", "what was stamped cannot be read");
    let mut fields = der::inside(der::only(info, der::SEQUENCE).ok_or_else(malformed)?);
    let version = fields.expect(der::INTEGER).ok_or_else(malformed)?;
    if version.content != [1] {
        return Err(malformed());
    }
    fields.expect(der::OID).ok_or_else(malformed)?;
    let mut imprint = der::inside(fields.expect(der::SEQUENCE).ok_or_else(malformed)?);
    let hash = hash(imprint.expect(der::SEQUENCE).ok_or_else(malformed)?)?;
    let digest = imprint.expect(der::OCTET_STRING).ok_or_else(malformed)?.content;
    fields.expect(der::INTEGER).ok_or_else(malformed)?;
    let time = fields.expect(der::GENERALIZED_TIME).ok_or_else(malformed)?;
    let at = std::str::from_utf8(time.content).ok().and_then(generalized_time).ok_or_else(malformed)?;
    Ok((hash, digest, at))
}

/// `YYYYMMDDhhmmss[.f…]Z`
fn generalized_time(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.len() != 14 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| whole[range].parse::<i8>().ok();
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    let time = DateTime::new(
        whole[..4].parse().ok()?,
        number(4..6)?,
        number(6..8)?,
        number(8..10)?,
        number(10..12)?,
        number(12..14)?,
        nanoseconds,
    )
    .ok()?;
    jiff::tz::Offset::UTC.to_timestamp(time).ok()
}

fn hash(algorithm: Tlv<'_>) -> Result<Hash, Reason> {
    let oid = der::inside(algorithm).expect(der::OID).and_then(oid_text);
    match oid.as_deref() {
        Some("2.16.840.1.101.3.4.2.1") => Ok(Hash::Sha256),
        Some("2.16.840.1.101.3.4.2.2") => Ok(Hash::Sha384),
        Some("2.16.840.1.101.3.4.2.3") => Ok(Hash::Sha512),
        other => Err(Reason::AlgorithmUnknown {
            what: "timestamp",
            algorithm: format!("hash function {}", other.unwrap_or("without a name")),
        }),
    }
}

fn oid_text(oid: Tlv<'_>) -> Option<String> {
    Oid::from_der(oid.whole).ok().map(|(_, oid)| oid.to_id_string())
}
