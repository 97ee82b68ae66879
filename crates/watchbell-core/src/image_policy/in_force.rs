//! The policies that apply in a namespace, with the keys that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchbell_api::image::{ImageFacts, Unknown};

use super::decide::is_vouched_for;
use super::{Glob, KnownExploited, Minimality, Policy, Presence, SignedBy, TextSource, fingerprint};

/// A policy that applies.
#[derive(Debug, Clone)]
pub struct InForce {
    /// `ImagePolicy team/strict`, `ClusterImagePolicy everywhere`.
    pub name: Arc<str>,
    /// Of the policy, and of the ConfigMaps that it reads: what differs in one of them is another policy.
    pub versions: Vec<u64>,
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

/// Gives a text of a ConfigMap with the ConfigMap's version, by namespace, name and key.
type ConfigMapText<'a> = &'a dyn Fn(&str, &str, &str) -> Option<(u64, Arc<str>)>;

impl InForce {
    pub fn new(
        name: Arc<str>,
        namespace: &str,
        version: u64,
        policy: Arc<Policy>,
        config_map: ConfigMapText<'_>,
    ) -> InForce {
        let mut versions = vec![version];
        let mut read = |source: &TextSource| -> Result<Arc<str>, Box<str>> {
            let (of, name, key) = match source {
                TextSource::Inline(text) => return Ok(text.clone()),
                TextSource::ConfigMap { namespace: of, name, key } => (of, name, key),
            };
            let of = if of.is_empty() { namespace } else { of };
            let (version, text) = config_map(of, name, key).ok_or_else(|| {
                format!("ConfigMap {of}/{name} with the key {key} is not there; create it").into_boxed_str()
            })?;
            versions.push(version);
            Ok(text)
        };
        let signers = policy.signers.iter().map(|spec| {
            let rule = match &spec.by {
                SignedBy::Key(source) => read(source).map(|pem| SignerRule::Key { pem }),
                SignedBy::Identity { issuer, subject, trust_root } => read(trust_root).map(|trust_root| {
                    SignerRule::Identity { issuer: issuer.clone(), subject: Glob::new(subject), trust_root }
                }),
            };
            let id = match &rule {
                Ok(SignerRule::Key { pem }) => fingerprint(&["key", pem.trim()]),
                Ok(SignerRule::Identity { issuer, subject, trust_root }) => {
                    fingerprint(&["identity", issuer, subject.text(), trust_root])
                }
                Err(why) => fingerprint(&["none", why]),
            };
            Signer { name: spec.name.clone(), id, rule }
        });
        let signers = signers.collect();
        InForce { name, versions, policy, signers }
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
    let needs = needs(policies);
    let looked_in = !needs.contents || !matches!(facts.contents, Err(Unknown::NotYet));
    let matched = !needs.findings || !matches!(facts.findings, Err(Unknown::NotYet));
    looked_in && matched && policies.iter().all(|by| is_vouched_for(by, facts) || is_looked_for(by, facts))
}

/// Whether an answer that these policies would get is one that stays: nothing has to be looked for again by itself.
pub fn is_lasting(policies: &[InForce], facts: &ImageFacts) -> bool {
    let needs = needs(policies);
    (!needs.contents || facts.contents.is_ok())
        && (!needs.findings || facts.findings.is_ok())
        && policies.iter().all(|by| is_vouched_for(by, facts))
}

/// Whether everything that this policy's signers were asked for was looked for.
fn is_looked_for(by: &InForce, facts: &ImageFacts) -> bool {
    by.signers.iter().filter(|signer| signer.rule.is_ok()).all(|signer| {
        let signed = facts.signers.iter().find(|signed| signed.signer == signer.id);
        let kinds = by.policy.attestations.iter().map(|asked| &asked.predicate_type);
        signed.is_some_and(|signed| kinds.into_iter().all(|kind| signed.asked.contains(kind)))
    })
}
