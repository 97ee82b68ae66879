//! The question: does one of these signatures satisfy the policy?

use jiff::{SignedDuration, Timestamp};
use watchbell_image::Digest;

use crate::attestation::{COSIGN_SIGN, Predicate, Statement};
use crate::bundle::Proof;
use crate::certificate::Certificate;
use crate::dsse::excerpt;
use crate::entry_body::{self, Expected, SignerBytes};
use crate::log_entry::Logged;
use crate::material::{Content, Material, Signed};
use crate::policy::{Claim, Conditions, Policy, Signer};
use crate::refused::{Attempt, CertificateFault, ProofFault, Reason, Refused, TimestampFault};
use crate::simple_signing::{SimpleSigning, is_of_repository};
use crate::trust_root::{Contents, TrustRoot};
use crate::{chain, sct, timestamp};

/// How far the clocks of logs and authorities may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The image that is asked about: the digest of its manifest or index, and that document where it is at hand. A bundle may be
/// a signature of the document itself, which can then be verified.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub digest: &'a Digest,
    /// Must have that digest; else it is not used.
    pub document: Option<&'a [u8]>,
}

/// A signature that satisfies the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The artifact that it came in.
    pub origin: String,
    pub signer: VerifiedSigner,
    /// The latest instant that a log or an authority vouches for.
    pub signed_at: Option<Timestamp>,
    /// The id of the log, in hexadecimal, and the entry's index there.
    pub log: Option<(String, u64)>,
    pub claim: VerifiedClaim,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedSigner {
    /// The SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal.
    Key {
        fingerprint: String,
    },
    Identity {
        identity: String,
        issuer: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum VerifiedClaim {
    /// That the image is the signer's, and as what it was signed where that is said.
    Signature {
        reference: Option<String>,
    },
    Attestation(Statement),
}

/// Finds the first of `materials` that satisfies `policy` for the image.
///
/// # Errors
/// None does; each has its reason.
pub fn verify(
    materials: &[Material],
    subject: &Subject<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Verified, Refused> {
    let mut attempts = Vec::new();
    for material in materials {
        let judged = material.content.as_ref().map_err(Clone::clone);
        match judged.and_then(|signed| judge(signed, subject, policy, now)) {
            Ok((who, claim)) => {
                return Ok(Verified {
                    origin: material.origin.clone(),
                    signer: who.signer,
                    signed_at: who.signed_at,
                    log: who.log,
                    claim,
                });
            }
            Err(reason) => attempts.push(Attempt { origin: material.origin.clone(), reason }),
        }
    }
    if attempts.is_empty() {
        return Err(Refused::Nothing(policy.claim.noun()));
    }
    attempts.sort_by(|a, b| b.reason.cmp(&a.reason));
    Err(Refused::Attempts(attempts))
}

/// Who signed, and when.
struct Who {
    signer: VerifiedSigner,
    signed_at: Option<Timestamp>,
    log: Option<(String, u64)>,
}

/// A signature taken apart.
struct Parts<'a> {
    signature: &'a [u8],
    /// What it is over.
    signed: std::borrow::Cow<'a, [u8]>,
    envelope: Option<&'a crate::dsse::Envelope>,
}

fn judge(
    signed: &Signed,
    subject: &Subject<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<(Who, VerifiedClaim), Reason> {
    let parts = parts(&signed.content, subject)?;
    let who = match &policy.signer {
        Signer::Key { key, logs } => {
            if !key.verifies(&parts.signed, parts.signature) {
                return Err(Reason::SignatureWrong);
            }
            let log = match logs {
                Some(root) => Some(logged(&signed.proof, &parts, SignerBytes::Key(key.spki()), root)?),
                None => None,
            };
            Who {
                signer: VerifiedSigner::Key { fingerprint: key.fingerprint() },
                signed_at: log.as_ref().and_then(|log| log.promised_at),
                log: log.map(|log| (log.log, log.index)),
            }
        }
        Signer::Identity { identity, issuer, trust_root } => {
            let (who, found, found_issuer) = identified(&signed.proof, &parts, trust_root.contents(), now)?;
            if !identity.matches(&found) || !issuer.matches(&found_issuer) {
                let shown = (excerpt(&found), excerpt(&found_issuer));
                return Err(Reason::OtherIdentity { identity: shown.0, issuer: shown.1 });
            }
            who
        }
    };
    let claim = claimed(&signed.content, subject, &policy.claim)?;
    Ok((who, claim))
}

fn parts<'a>(content: &'a Content, subject: &Subject<'a>) -> Result<Parts<'a>, Reason> {
    Ok(match content {
        Content::SimpleSigning { payload, signature } => {
            Parts { signature, signed: payload.as_slice().into(), envelope: None }
        }
        Content::Manifest { signature, digest } => {
            let other = |found: &[u8]| {
                Reason::OtherDigest(format!("sha256:{}", crate::key::hex(&found[..found.len().min(64)])))
            };
            if let Some(found) = digest
                && (subject.digest.algorithm() != watchbell_image::Algorithm::Sha256
                    || found.len() != 32
                    || crate::key::hex(found) != subject.digest.hex())
            {
                return Err(other(found));
            }
            let document = subject.document.filter(|document| Digest::of(document) == *subject.digest);
            let document = document.ok_or_else(|| {
                Reason::OtherClaim("a signature of the manifest itself, which is not at hand".into())
            })?;
            Parts { signature, signed: document.into(), envelope: None }
        }
        Content::Envelope(envelope) => Parts {
            signature: envelope.signature()?,
            signed: envelope.encoding().into(),
            envelope: Some(envelope),
        },
    })
}

/// Every log entry holds and is about this signature; there is one at least. Returns the first.
fn logged(
    proof: &Proof,
    parts: &Parts<'_>,
    signer: SignerBytes<'_>,
    root: &TrustRoot,
) -> Result<Logged, Reason> {
    in_logs(proof, parts, signer, root.contents())?.into_iter().next().ok_or(Reason::NotInLog)
}

fn in_logs(
    proof: &Proof,
    parts: &Parts<'_>,
    signer: SignerBytes<'_>,
    root: &Contents,
) -> Result<Vec<Logged>, Reason> {
    let expected =
        Expected { signature: parts.signature, signed: &parts.signed, envelope: parts.envelope, signer };
    proof
        .entries
        .iter()
        .map(|entry| {
            let logged = entry.verify(root)?;
            entry_body::check(entry, &expected)?;
            Ok(logged)
        })
        .collect()
}

/// Who signed by the certificate, by the issuer's word: everything but whether that is who was asked for.
fn identified(
    proof: &Proof,
    parts: &Parts<'_>,
    root: &Contents,
    now: Timestamp,
) -> Result<(Who, String, String), Reason> {
    let certificate = Certificate::parse(proof.certificate.as_deref().ok_or(Reason::NoCertificate)?)?;
    if proof.entries.is_empty() {
        return Err(Reason::NotInLog);
    }
    // 1. When: by the log's promise, by a timestamp. A time that nobody signed counts for nothing.
    let entries = in_logs(proof, parts, SignerBytes::Certificate(&certificate.der), root)?;
    let mut times: Vec<Timestamp> = entries.iter().filter_map(|entry| entry.promised_at).collect();
    for (at, response) in proof.timestamps.iter().enumerate() {
        if proof.timestamps[..at].contains(response) {
            return Err(Reason::TimestampWrong(TimestampFault::Twice));
        }
        times.push(timestamp::verify(response, parts.signature, &root.timestamp_authorities)?);
    }
    let latest = times.iter().max().copied().ok_or(Reason::NoTime)?;
    if latest > now.saturating_add(SKEW).unwrap_or(Timestamp::MAX) {
        return Err(Reason::InFuture(latest.to_string()));
    }
    // Whoever makes a bundle may leave the promise out: the key of a log that is not in use any longer would count for ever.
    if entries.iter().any(|entry| times.iter().any(|at| !entry.validity.holds(*at))) {
        return Err(Reason::ProofWrong(ProofFault::LogTime));
    }
    // 2. The certificate: issued by an authority, valid at each of these times, seen by the public.
    if let Some(fault) = certificate.fault {
        return Err(Reason::CertificateUnfit(fault));
    }
    let mut issuer_key = Vec::new();
    for at in times {
        issuer_key = chain::issuer(&certificate.der, &root.authorities, at)?;
    }
    sct::verify(&certificate.der, &issuer_key, &root.certificate_logs)?;
    // 3. The signature.
    if !certificate.key.verifies(&parts.signed, parts.signature) {
        return Err(Reason::SignatureWrong);
    }
    // 4. One name, so that two readers cannot take different ones.
    let [identity] = certificate.identities.as_slice() else {
        return Err(Reason::IdentityAmbiguous(certificate.identities.len()));
    };
    let issuer = certificate.issuer.ok_or(Reason::CertificateUnfit(CertificateFault::WithoutIssuer))?;
    let who = Who {
        signer: VerifiedSigner::Identity { identity: identity.clone(), issuer: issuer.clone() },
        signed_at: Some(latest),
        log: entries.into_iter().next().map(|entry| (entry.log, entry.index)),
    };
    Ok((who, identity.clone(), issuer))
}

/// What was signed is what is asked for, about this image.
fn claimed(content: &Content, subject: &Subject<'_>, claim: &Claim) -> Result<VerifiedClaim, Reason> {
    let digest = subject.digest;
    match (content, claim) {
        (Content::SimpleSigning { payload, .. }, Claim::Signature { repository }) => {
            let signing = SimpleSigning::parse(payload)?;
            if signing.digest != digest.as_str() {
                return Err(Reason::OtherDigest(excerpt(&signing.digest)));
            }
            if let Some(repository) = repository
                && !is_of_repository(&signing.reference, repository)
            {
                return Err(Reason::OtherRepository(excerpt(&signing.reference)));
            }
            Ok(VerifiedClaim::Signature { reference: Some(signing.reference).filter(|r| !r.is_empty()) })
        }
        // The digest was compared when the document was taken.
        (Content::Manifest { .. }, Claim::Signature { repository: None }) => {
            Ok(VerifiedClaim::Signature { reference: None })
        }
        (Content::Envelope(envelope), claim) => {
            let statement = Statement::parse(envelope.statement()?)?;
            match claim {
                Claim::Signature { .. } if statement.predicate_type != COSIGN_SIGN => {
                    return Err(Reason::OtherClaim(excerpt(&statement.predicate_type)));
                }
                Claim::Attestation(conditions)
                    if !conditions.predicate_type.is(&statement.predicate_type) =>
                {
                    return Err(Reason::OtherClaim(excerpt(&statement.predicate_type)));
                }
                _ => {}
            }
            if !statement.is_about(digest) {
                let found = statement.subjects.iter().flat_map(|s| &s.digest).next();
                return Err(Reason::OtherDigest(found.map_or_else(
                    || "none".to_owned(),
                    |(algorithm, hex)| excerpt(&format!("{algorithm}:{hex}")),
                )));
            }
            match claim {
                Claim::Signature { repository: None } => Ok(VerifiedClaim::Signature { reference: None }),
                Claim::Signature { repository: Some(_) } => {
                    Err(Reason::OtherRepository("no repository in particular".into()))
                }
                Claim::Attestation(conditions) => {
                    check(conditions, &statement)?;
                    Ok(VerifiedClaim::Attestation(statement))
                }
            }
        }
        (Content::Manifest { .. }, Claim::Signature { repository: Some(_) }) => {
            Err(Reason::OtherRepository("no repository in particular".into()))
        }
        (Content::SimpleSigning { .. } | Content::Manifest { .. }, Claim::Attestation(_)) => {
            Err(Reason::OtherClaim("a signature without a statement".into()))
        }
    }
}

fn check(conditions: &Conditions, statement: &Statement) -> Result<(), Reason> {
    let provenance = match &statement.predicate {
        Predicate::Provenance(provenance) => Some(provenance),
        _ => None,
    };
    let asked = [
        ("builder", &conditions.builder_id, provenance.map(|p| p.builder_id.as_str())),
        ("build type", &conditions.build_type, provenance.map(|p| p.build_type.as_str())),
        ("source", &conditions.source_uri, provenance.and_then(|p| p.source_uri.as_deref())),
    ];
    for (what, pattern, found) in asked {
        if let Some(pattern) = pattern
            && !found.is_some_and(|found| pattern.matches(found))
        {
            return Err(Reason::Condition { what, found: found.map_or_else(|| "not said".into(), excerpt) });
        }
    }
    Ok(())
}
