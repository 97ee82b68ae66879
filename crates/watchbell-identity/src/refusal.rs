//! Why somebody is not who he says: for the log, the audit journal and a metric. A client hears only that it is unknown.

use std::fmt;

use watchbell_core::service_account::Ended;

use crate::jwt::JwtError;

/// Why a request belongs to nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Neither a certificate nor a token.
    Nothing,
    /// The client certificate is not of our authority, or its time is over.
    Certificate(String),
    /// The client certificate has no common name.
    Nameless,
    /// The client certificate was revoked.
    Revoked,
    /// The other end of the local socket is another user of this machine.
    LocalUser(u32),
    /// The header `Authorization` or the token in it has no form that is known here.
    Malformed,
    /// Signed, and from where too many did not hold: its signature was not looked at.
    NotLookedAt,
    /// A user's token of which there is no record: it was never made, or taken back long ago.
    UnknownToken,
    /// A user's token that was taken back, with its secret.
    RevokedToken,
    /// A record is there, and the secret is another one.
    WrongToken,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
    /// A token of an issuer that is not known here.
    Issuer,
    /// The service account, or what its token is bound to, is no more.
    Ended(Ended),
    /// For another audience.
    Audience,
    /// The signature is not one of the issuer's keys.
    Signature(String),
    /// The issuer's keys cannot be had.
    KeysMissing(String),
    /// What the claims lack.
    Claims(String),
    /// The name or a group is one of the system's own.
    Reserved,
}

impl Refusal {
    /// One of a fixed set of words, for a metric's label and an audit entry.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::Nothing => "no-credentials",
            Refusal::Certificate(_) => "foreign-certificate",
            Refusal::Nameless => "nameless-certificate",
            Refusal::Revoked => "revoked-certificate",
            Refusal::LocalUser(_) => "local-user",
            Refusal::Malformed => "malformed-token",
            Refusal::NotLookedAt => "not-looked-at",
            Refusal::UnknownToken => "unknown-token",
            Refusal::RevokedToken => "revoked-token",
            Refusal::WrongToken => "wrong-token",
            Refusal::Expired => "expired-token",
            Refusal::Early => "early-token",
            Refusal::Issuer => "wrong-issuer",
            Refusal::Ended(_) => "ended-token",
            Refusal::Audience => "wrong-audience",
            Refusal::Signature(_) => "wrong-signature",
            Refusal::KeysMissing(_) => "issuer-unreachable",
            Refusal::Claims(_) => "wrong-claims",
            Refusal::Reserved => "reserved-name",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Nothing => f.write_str("neither a client certificate nor a token"),
            Refusal::Certificate(cause) => write!(f, "the client certificate is not valid here: {cause}"),
            Refusal::Nameless => f.write_str("the client certificate has no common name"),
            Refusal::Revoked => f.write_str("the client certificate was revoked"),
            Refusal::LocalUser(uid) => {
                write!(
                    f,
                    "the user {uid} of this machine is neither root nor the owner of the data directory"
                )
            }
            Refusal::Malformed => f.write_str("what stands in Authorization is no token that is known here"),
            Refusal::NotLookedAt => {
                f.write_str("too many requests without an identity came from this address: its signature was not looked at")
            }
            Refusal::UnknownToken => f.write_str("there is no such token"),
            Refusal::RevokedToken => f.write_str("the token was revoked"),
            Refusal::WrongToken => f.write_str("the token has the name of one, and another secret"),
            Refusal::Expired => f.write_str("the token's time is over"),
            Refusal::Early => f.write_str("the token's time has not come"),
            Refusal::Issuer => f.write_str("the token is of an issuer that is not known here"),
            Refusal::Ended(cause) => write!(f, "the token counts no longer: {cause}"),
            Refusal::Audience => f.write_str("the token is for another audience"),
            Refusal::Signature(cause) => write!(f, "the token's signature does not hold: {cause}"),
            Refusal::KeysMissing(cause) => write!(f, "the issuer's keys cannot be had: {cause}"),
            Refusal::Claims(cause) => f.write_str(cause),
            Refusal::Reserved => f.write_str("the token gives a name or group that is the system's own"),
        }
    }
}

impl From<JwtError> for Refusal {
    fn from(error: JwtError) -> Refusal {
        match error {
            JwtError::TooLong | JwtError::NotCompact | JwtError::Header(_) => Refusal::Malformed,
            JwtError::UnknownKey | JwtError::OtherAlgorithm | JwtError::Signature => {
                Refusal::Signature(error.to_string())
            }
            JwtError::Payload(_) => Refusal::Claims(error.to_string()),
            JwtError::Expired(_) => Refusal::Expired,
            JwtError::NotYet(_) => Refusal::Early,
            JwtError::OtherIssuer => Refusal::Issuer,
            JwtError::OtherAudience => Refusal::Audience,
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Refusal {
        Refusal::Ended(ended)
    }
}
