//! Why a signature does not count.

use std::fmt;

use crate::KeyError;

/// What is wrong with one signature. The order of the variants is that of the checks, so that of several signatures the
/// greatest reason is the one that came furthest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    #[error("its {what} is malformed: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("it has no certificate, so nobody's identity is known; verify it with a key")]
    NoCertificate,
    #[error("its {what} uses {algorithm}, which is not known here")]
    AlgorithmUnknown { what: &'static str, algorithm: String },
    #[error("it is in no transparency log")]
    NotInLog,
    #[error("it is in a transparency log that the trust root does not name ({0})")]
    LogUnknown(String),
    #[error("the proof that it is in the log is wrong: {0}")]
    ProofWrong(ProofFault),
    #[error("its log entry is a {0}, which is not known here")]
    EntryUnknown(String),
    #[error("its timestamp is wrong: {0}")]
    TimestampWrong(TimestampFault),
    #[error("no log and no timestamp authority says when it was made")]
    NoTime,
    #[error("it was made at {0}, which is yet to come")]
    InFuture(String),
    #[error("its certificate is {0}")]
    CertificateUnfit(CertificateFault),
    #[error("no authority of the trust root issued its certificate: {0}")]
    CertificateUntrusted(String),
    #[error("its certificate was not valid when it was made ({at})")]
    OutsideCertificate { at: String },
    #[error("its certificate was not put in a certificate transparency log: it has no timestamp of one")]
    SctMissing,
    #[error("its certificate's timestamp of a certificate transparency log is wrong: {0}")]
    SctWrong(SctFault),
    #[error("its log entry is not about it: another {0}")]
    EntryMismatch(&'static str),
    #[error("the key or certificate did not sign it")]
    SignatureWrong,
    #[error("its certificate names {0} identities instead of one")]
    IdentityAmbiguous(usize),
    #[error("it was signed by {identity} as known to {issuer}")]
    OtherIdentity { identity: String, issuer: String },
    #[error("it is an envelope of {0}, not of application/vnd.in-toto+json")]
    PayloadType(String),
    #[error("it claims something else: {0}")]
    OtherClaim(String),
    #[error("it is a signature of another image: {0}")]
    OtherDigest(String),
    #[error("it was signed for {0}")]
    OtherRepository(String),
    #[error("its statement's {what} is {found}")]
    Condition { what: &'static str, found: String },
}

/// What is wrong with a proof of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofFault {
    /// The entry is not in the tree of that root.
    Inclusion,
    /// The checkpoint is of another tree.
    CheckpointOther,
    /// The log did not sign the checkpoint.
    CheckpointUnsigned,
    /// The log did not sign the promise.
    Promise,
    /// The log's key was not valid then.
    LogTime,
}

/// What is wrong with an RFC 3161 timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimestampFault {
    /// It is of something else.
    OtherMessage,
    /// No authority of the trust root signed it.
    AuthorityUnknown,
    SignatureWrong,
    /// The authority's certificate was not valid then.
    OutsideAuthority,
    /// The same timestamp twice.
    Twice,
}

/// What a certificate must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateFault {
    Authority,
    NotForSigning,
    NotForCode,
    WithoutIssuer,
    IssuersDiffer,
}

/// What is wrong with a signed certificate timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SctFault {
    LogUnknown,
    LogTime,
    SignatureWrong,
}

impl fmt::Display for ProofFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inclusion => "the hashes do not lead from the entry to the tree's root",
            Self::CheckpointOther => "the checkpoint is of another tree",
            Self::CheckpointUnsigned => "the log did not sign the checkpoint",
            Self::Promise => "the log did not sign the promise to include it",
            Self::LogTime => "the log's key was not in use then",
        })
    }
}

impl fmt::Display for TimestampFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherMessage => "it is of another signature",
            Self::AuthorityUnknown => "no authority of the trust root signed it",
            Self::SignatureWrong => "its authority did not sign it",
            Self::OutsideAuthority => "its authority's certificate was not valid then",
            Self::Twice => "it is there twice",
        })
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "an authority's, which signs certificates and nothing else",
            Self::NotForSigning => "not for digital signatures",
            Self::NotForCode => "not for signing code",
            Self::WithoutIssuer => "without the name of who vouched for the identity",
            Self::IssuersDiffer => "at odds with itself about who vouched for the identity",
        })
    }
}

impl fmt::Display for SctFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogUnknown => "the trust root does not name that log",
            Self::LogTime => "that log's key was not in use then",
            Self::SignatureWrong => "that log did not sign it",
        })
    }
}

impl From<KeyError> for Reason {
    fn from(error: KeyError) -> Reason {
        match error {
            KeyError::Unknown(algorithm) => Reason::AlgorithmUnknown { what: "key", algorithm },
            KeyError::RsaSize(bits) => {
                Reason::AlgorithmUnknown { what: "key", algorithm: format!("RSA of {bits} bits") }
            }
            other => Reason::Malformed { what: "key", reason: other.to_string() },
        }
    }
}

impl Reason {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Reason {
        Reason::Malformed { what, reason: reason.into() }
    }
}

/// One signature that did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it came from: the digest of the artifact.
    pub origin: String,
    pub reason: Reason,
}

/// Nothing that is attached to the image satisfies the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no {0} is attached to it")]
    Nothing(&'static str),
    /// What came furthest stands first.
    #[error("none of its {} counts: {}", .0.len(), summary(.0))]
    Attempts(Vec<Attempt>),
}

impl Refused {
    /// The reason of what came furthest.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Refused::Attempts(attempts) => attempts.first().map(|a| &a.reason),
            Refused::Nothing(_) => None,
        }
    }
}

fn summary(attempts: &[Attempt]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for attempt in attempts {
        let line = attempt.reason.to_string();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("; ")
}
