//! What a signature must satisfy: who made it, and what it claims.

use crate::attestation::PredicateType;
use crate::key::PublicKey;
use crate::pattern::Pattern;
use crate::trust_root::TrustRoot;

/// What is asked. A list of policies is several questions.
#[derive(Clone, Debug)]
pub struct Policy {
    pub signer: Signer,
    pub claim: Claim,
}

/// Whose signature counts.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The holder of a key. With a trust root the signature must be in one of its logs too; without one logs are not looked
    /// at.
    Key { key: PublicKey, logs: Option<TrustRoot> },
    /// An identity, as an issuer knows it, for which an authority of the trust root issued a certificate.
    Identity { identity: Pattern, issuer: Pattern, trust_root: TrustRoot },
}

/// What must have been signed about the image.
#[derive(Clone, Debug)]
pub enum Claim {
    /// That it is theirs: a signature. `repository` (`registry/path`), when it is said, must be where it was signed for;
    /// cosign 3 and bundles do not say that, so they do not count then.
    Signature { repository: Option<String> },
    /// A statement about it.
    Attestation(Conditions),
}

/// What a statement must say.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub predicate_type: PredicateType,
    /// Of provenance. A statement that is none does not satisfy it.
    pub builder_id: Option<Pattern>,
    pub build_type: Option<Pattern>,
    pub source_uri: Option<Pattern>,
}

impl Conditions {
    pub fn of(predicate_type: PredicateType) -> Conditions {
        Conditions { predicate_type, builder_id: None, build_type: None, source_uri: None }
    }
}

impl Claim {
    /// What is missing where nothing is attached.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Claim::Signature { .. } => "signature",
            Claim::Attestation(_) => "attestation",
        }
    }
}
