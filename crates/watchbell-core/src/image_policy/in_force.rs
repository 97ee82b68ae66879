//! The policies that apply in a namespace, with the keys that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchbell_api::image::{ImageFacts, Unknown};

use super::decide::{is_signed, is_stated, is_vouched_for, signers_of};
use super::{
    Attestation, Glob, KnownExploited, Minimality, Policy, Presence, SignedBy, Text, TextSource, fingerprint,
};

/// A policy that applies.
#[derive(Debug, Clone)]
pub struct InForce {
    /// `ImagePolicy team/strict`, `ClusterImagePolicy everywhere`.
    pub name: Arc<str>,
    pub policy: Arc<Policy>,
    /// In the order of the policy's.
    pub signers: Vec<Signer>,
}

/// A signer with what is needed to verify what he signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Signer {
    pub name: Arc<str>,
    /// What he is known by in [`watchbell_api::image::Signed`].
    pub id: Arc<str>,
    /// Or why there is nothing to verify by.
    pub rule: Result<SignerRule, Box<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SignerRule {
    /// A public key in PEM.
    Key { pem: Arc<str> },
    /// A certificate's identity, and the trust root (JSON) that it must lead to.
    Identity { issuer: Arc<str>, subject: Glob, trust_root: Arc<str> },
}

/// Gives a text of a ConfigMap, by namespace, name and key.
type ConfigMapText<'a> = &'a dyn Fn(&str, &str, &str) -> Option<Text>;

impl InForce {
    pub fn new(
        name: Arc<str>,
        namespace: &str,
        policy: Arc<Policy>,
        config_map: ConfigMapText<'_>,
    ) -> InForce {
        let read = |source: &TextSource| -> Result<Text, Box<str>> {
            let (of, name, key) = match source {
                TextSource::Inline(text) => return Ok(text.clone()),
                TextSource::ConfigMap { namespace: of, name, key } => (of, name, key),
            };
            let of = if of.is_empty() { namespace } else { of };
            config_map(of, name, key).ok_or_else(|| {
                format!("ConfigMap {of}/{name} with the key {key} is not there; create it").into()
            })
        };
        let signers = policy.signers.iter().map(|spec| {
            let found = match &spec.by {
                SignedBy::Key(source) => read(source)
                    .map(|Text { text: pem, hash }| (fingerprint(&[b"key", &hash]), SignerRule::Key { pem })),
                SignedBy::Identity { issuer, subject, trust_root } => read(trust_root).map(|root| {
                    let id =
                        fingerprint(&[b"identity", issuer.as_bytes(), subject.text().as_bytes(), &root.hash]);
                    let (issuer, subject, trust_root) = (issuer.clone(), subject.clone(), root.text);
                    (id, SignerRule::Identity { issuer, subject, trust_root })
                }),
            };
            let name = spec.name.clone();
            match found {
                Ok((id, rule)) => Signer { name, id, rule: Ok(rule) },
                Err(why) => Signer { name, id: fingerprint(&[b"none", why.as_bytes()]), rule: Err(why) },
            }
        });
        let signers = signers.collect();
        InForce { name, policy, signers }
    }
}

/// What has to be found out of an image before policies can be decided.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Needs {
    /// What is in it.
    pub contents: bool,
    /// What is known to be wrong with that.
    pub findings: bool,
    /// Whose signatures are to be verified, by what they are known by.
    pub signers: BTreeMap<Arc<str>, SignerRule>,
    /// The types of the statements that they are asked for.
    pub statements: BTreeSet<Box<str>>,
}

/// What the policies need.
pub fn needs(policies: &[InForce]) -> Needs {
    let mut needs = Needs::default();
    for in_force in policies {
        let policy = &in_force.policy;
        let asks_findings = policy.vulnerabilities.limit.is_some()
            || policy.vulnerabilities.known_exploited == KnownExploited::Refused
            || policy.vulnerabilities.database_hours.is_some();
        let Minimality { shells, setuid, packages_max, .. } = &policy.minimality;
        let asks_contents = asks_findings
            || *shells == Presence::Refused
            || *setuid == Presence::Refused
            || packages_max.is_some();
        needs.contents |= asks_contents;
        needs.findings |= asks_findings;
        needs.statements.extend(policy.attestations.iter().map(|asked| asked.predicate_type.clone()));
        for signer in &in_force.signers {
            if let Ok(rule) = &signer.rule {
                needs.signers.insert(signer.id.clone(), rule.clone());
            }
        }
    }
    needs
}

/// Whether somebody has looked for all that the policies need, found or not. What a signer has not said is of no interest where
/// what others said is enough.
pub fn is_examined(policies: &[InForce], facts: &ImageFacts) -> bool {
    missing(policies, facts) == Needs::default()
}

/// What of the needs nobody has looked for yet. Who has signed does not depend on the database of advisories: another one is
/// no reason to ask for signatures again.
pub fn missing(policies: &[InForce], facts: &ImageFacts) -> Needs {
    let mut missing = needs(policies);
    let is_not_looked_at = |unknown: Option<&Unknown>| unknown == Some(&Unknown::NotYet);
    missing.contents &= is_not_looked_at(facts.contents.as_ref().err());
    missing.findings &= is_not_looked_at(facts.findings.as_ref().err());
    // Signers are asked for everything at once: what they are known to have said is replaced by their answer.
    if policies.iter().all(|by| is_settled(by, facts)) {
        missing.signers.clear();
        missing.statements.clear();
    }
    missing
}

/// Whether an answer that these policies would get is one that stays: nothing has to be looked for again by itself.
pub fn is_lasting(policies: &[InForce], facts: &ImageFacts) -> bool {
    let needs = needs(policies);
    (!needs.contents || facts.contents.is_ok())
        && (!needs.findings || facts.findings.is_ok())
        && policies.iter().all(|by| is_vouched_for(by, facts))
}

/// Whether everything that this policy asks of its signers is there, or was looked for with each of those who could give it.
fn is_settled(by: &InForce, facts: &ImageFacts) -> bool {
    let said_by = |signer: &Signer| facts.signers.iter().find(|signed| signed.signer == signer.id);
    let mut usable = by.signers.iter().filter(|signer| signer.rule.is_ok());
    let signature = is_signed(by, facts) || usable.all(|signer| said_by(signer).is_some());
    let is_statement_settled = |asked: &Attestation| {
        let mut usable = signers_of(by, asked);
        is_stated(by, facts, asked)
            || usable
                .all(|signer| said_by(signer).is_some_and(|said| said.asked.contains(&asked.predicate_type)))
    };
    signature && by.policy.attestations.iter().all(is_statement_settled)
}
