//! The trust root: which authorities, logs and timestamp authorities are believed, and when
//! (`application/vnd.dev.sigstore.trustedroot`, protobuf's JSON).

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use crate::key::{KeyError, PublicKey, hex};
use crate::proto::{self, Bytes};

const BYTES_MAX: usize = 1 << 20;
/// Of each kind.
const COUNT_MAX: usize = 64;
const CHAIN_MAX: usize = 8;
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// Who is believed. Cheap to copy.
#[derive(Clone, Debug)]
pub struct TrustRoot(Arc<Contents>);

#[derive(Debug)]
pub(crate) struct Contents {
    /// Who issues certificates to identities (Fulcio).
    pub(crate) authorities: Vec<Authority>,
    /// Transparency logs of signatures (Rekor).
    pub(crate) logs: Vec<Log>,
    /// Certificate transparency logs.
    pub(crate) certificate_logs: Vec<Log>,
    /// Who says what time it is (RFC 3161).
    pub(crate) timestamp_authorities: Vec<Authority>,
}

#[derive(Debug)]
pub(crate) struct Authority {
    /// DER; the root last.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) validity: Validity,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) id: Vec<u8>,
    /// Where a checkpoint names the key by something else than the id.
    pub(crate) checkpoint_id: Option<Vec<u8>>,
    /// A log whose key is of a kind that is not known is no reason to believe in none.
    pub(crate) key: Result<PublicKey, KeyError>,
    pub(crate) validity: Validity,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Validity {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Validity {
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at <= end)
    }
}

impl Log {
    /// The first bytes by which a signed note names the key.
    pub(crate) fn note_id(&self) -> Option<u32> {
        let id = self.checkpoint_id.as_ref().unwrap_or(&self.id);
        id.first_chunk().map(|first: &[u8; 4]| u32::from_be_bytes(*first))
    }
}

/// Why a file is no trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the trust root cannot be read: {0}; get trusted_root.json from `cosign trusted-root create` or your sigstore's TUF repository"
)]
pub struct TrustRootError(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustedRoot {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<LogInstance>,
    #[serde(default)]
    certificate_authorities: Vec<CertificateAuthority>,
    #[serde(default)]
    ctlogs: Vec<LogInstance>,
    #[serde(default)]
    timestamp_authorities: Vec<CertificateAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogInstance {
    public_key: Key,
    log_id: Option<LogId>,
    checkpoint_key_id: Option<LogId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    raw_bytes: Bytes,
    valid_for: Option<TimeRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: Bytes,
}

#[derive(Deserialize)]
struct TimeRange {
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateAuthority {
    cert_chain: Chain,
    valid_for: Option<TimeRange>,
}

#[derive(Deserialize)]
struct Chain {
    #[serde(default)]
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: Bytes,
}

impl TrustRoot {
    /// Reads `trusted_root.json`.
    ///
    /// # Errors
    /// [`TrustRootError`].
    pub fn parse(bytes: &[u8]) -> Result<TrustRoot, TrustRootError> {
        let root: TrustedRoot = proto::read(bytes, BYTES_MAX).map_err(TrustRootError)?;
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(TrustRootError(format!("its media type is \"{}\"", root.media_type.escape_debug())));
        }
        let counts = [
            root.tlogs.len(),
            root.certificate_authorities.len(),
            root.ctlogs.len(),
            root.timestamp_authorities.len(),
        ];
        if counts.iter().any(|count| *count > COUNT_MAX) {
            return Err(TrustRootError(format!("it names more than {COUNT_MAX} of a kind")));
        }
        let logs = |logs: Vec<LogInstance>| logs.into_iter().map(log).collect::<Result<_, _>>();
        let authorities =
            |all: Vec<CertificateAuthority>| all.into_iter().map(authority).collect::<Result<_, _>>();
        Ok(TrustRoot(Arc::new(Contents {
            authorities: authorities(root.certificate_authorities)?,
            logs: logs(root.tlogs)?,
            certificate_logs: logs(root.ctlogs)?,
            timestamp_authorities: authorities(root.timestamp_authorities)?,
        })))
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.0
    }
}

fn log(log: LogInstance) -> Result<Log, TrustRootError> {
    let spki = log.public_key.raw_bytes.0;
    let id = match log.log_id {
        Some(id) if !id.key_id.0.is_empty() => id.key_id.0,
        // RFC 6962: the hash of the key.
        _ => crate::key::Hash::Sha256.digest(&spki),
    };
    Ok(Log {
        id,
        checkpoint_id: log.checkpoint_key_id.map(|id| id.key_id.0).filter(|id| !id.is_empty()),
        key: PublicKey::from_spki(&spki),
        validity: validity(log.public_key.valid_for)?,
    })
}

fn authority(authority: CertificateAuthority) -> Result<Authority, TrustRootError> {
    let chain: Vec<Vec<u8>> = authority.cert_chain.certificates.into_iter().map(|c| c.raw_bytes.0).collect();
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(TrustRootError(format!(
            "an authority has {} certificates, from 1 to {CHAIN_MAX} are taken",
            chain.len()
        )));
    }
    Ok(Authority { chain, validity: validity(authority.valid_for)? })
}

fn validity(range: Option<TimeRange>) -> Result<Validity, TrustRootError> {
    let Some(range) = range else { return Ok(Validity::default()) };
    let parse = |text: Option<String>| {
        let parsed = text.map(|text| {
            text.parse().map_err(|_| TrustRootError(format!("\"{}\" is no time", text.escape_debug())))
        });
        parsed.transpose()
    };
    Ok(Validity { start: parse(range.start)?, end: parse(range.end)? })
}

impl Contents {
    /// The log with this id.
    pub(crate) fn log(&self, id: &[u8]) -> Result<&Log, crate::Reason> {
        self.logs
            .iter()
            .find(|log| log.id == id || log.checkpoint_id.as_deref() == Some(id))
            .ok_or_else(|| crate::Reason::LogUnknown(hex(&id[..id.len().min(32)])))
    }
}
