//! Who signed an image: what is attached to it is kept beside it, and asked of its registry where that does not suffice.

use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::image::{Signed, Statement, Unknown};
use watchbell_core::image_policy::{Needs, SignerRule};
use watchbell_image::{Artifact, Digest, Image, PullOptions, Reference, Store, attached_remote};
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, Predicate, PredicateType, PublicKey, Signer, Subject,
    TrustRoot, VerifiedClaim, is_signature,
};

use super::Asks;

/// Verifies what the signers that are needed have said of an image.
pub(super) fn verify(
    store: &Store,
    name: &str,
    image: &Image,
    needs: &Needs,
    options: &PullOptions,
    asks: Asks,
    now: Timestamp,
) -> Vec<Signed> {
    // A signature may be of the image, or of the index that it was chosen from.
    let subjects: Vec<&Digest> = std::iter::once(&image.digest).chain(&image.index_digest).collect();
    let mut trouble = String::new();
    let kept: Vec<(&Digest, Option<Vec<Artifact>>)> = subjects
        .iter()
        .map(|subject| {
            let kept = store.attached(subject).unwrap_or_else(|error| {
                tracing::warn!(image = %subject, "cannot read what is attached to an image: {error}");
                None
            });
            (*subject, kept)
        })
        .collect();
    let has_looked = kept.iter().any(|(_, artifacts)| artifacts.is_some());
    let kept =
        kept.into_iter().map(|(subject, artifacts)| (subject, artifacts.unwrap_or_default())).collect();
    let first = judge(kept, needs, now, "");
    let is_enough = first.iter().all(|signed| signed.image.is_ok());
    if is_enough || (asks == Asks::Nobody && has_looked) {
        return first;
    }
    if asks == Asks::Nobody {
        // Nobody has asked the registry yet, so nothing is known.
        return Vec::new();
    }
    let mut fetched = Vec::new();
    for subject in subjects {
        match fetch(store, name, subject, options) {
            Ok(artifacts) => fetched.push((subject, artifacts)),
            Err(why) => trouble = why,
        }
    }
    let second = judge(fetched, needs, now, &trouble);
    // Where the registry cannot be asked, what was kept still counts.
    let better =
        |(first, second): (Signed, Signed)| if second.image.is_ok() { second } else { pick(first, second) };
    first.into_iter().zip(second).map(better).collect()
}

/// Of two answers about the same signer, neither of which is a yes or the first of which is.
fn pick(first: Signed, second: Signed) -> Signed {
    if first.image.is_ok() { first } else { second }
}

fn fetch(
    store: &Store,
    name: &str,
    subject: &Digest,
    options: &PullOptions,
) -> Result<Vec<Artifact>, String> {
    let reference = Reference::parse(name).map_err(|error| error.to_string())?;
    let artifacts = attached_remote(&reference, subject, options, store.limits(), &is_signature)
        .map_err(|error| format!("its registry cannot be asked for signatures: {error}"))?;
    if let Err(error) = store.keep_attached(subject, &artifacts) {
        tracing::warn!(image = %subject, "cannot keep what is attached to an image: {error}");
    }
    Ok(artifacts)
}

fn judge(
    attached: Vec<(&Digest, Vec<Artifact>)>,
    needs: &Needs,
    now: Timestamp,
    trouble: &str,
) -> Vec<Signed> {
    let materials: Vec<(&Digest, Vec<Material>)> = attached
        .into_iter()
        .map(|(subject, artifacts)| (subject, artifacts.iter().flat_map(Material::of).collect()))
        .collect();
    needs.signers.iter().map(|(id, rule)| one(id, rule, &materials, needs, now, trouble)).collect()
}

/// What one signer has signed.
fn one(
    id: &Arc<str>,
    rule: &SignerRule,
    materials: &[(&Digest, Vec<Material>)],
    needs: &Needs,
    now: Timestamp,
    trouble: &str,
) -> Signed {
    let signer = match signer(rule) {
        Ok(signer) => signer,
        Err(why) => return unknown(id, needs, &why),
    };
    let mut whys: Vec<String> = Vec::new();
    let mut is_signed = false;
    let mut statements = Vec::new();
    for (digest, materials) in materials {
        let subject = Subject { digest, document: None };
        let ask = |claim: Claim, of: &[Material]| {
            watchbell_signature::verify(of, &subject, &Policy { signer: signer.clone(), claim }, now)
        };
        match ask(Claim::Signature { repository: None }, materials) {
            Ok(_) => is_signed = true,
            Err(why) => whys.push(why.to_string()),
        }
        for kind in &needs.statements {
            let conditions = Conditions::of(PredicateType::parse(kind));
            for material in materials {
                let claim = Claim::Attestation(conditions.clone());
                if let Ok(verified) = ask(claim, std::slice::from_ref(material))
                    && let VerifiedClaim::Attestation(statement) = verified.claim
                {
                    statements.push(stated(kind, &statement.predicate));
                }
            }
        }
    }
    let image = match is_signed {
        true => Ok(()),
        false if !trouble.is_empty() => Err(Unknown::Because(trouble.into())),
        false => Err(Unknown::Because(whys.first().cloned().unwrap_or_default().into())),
    };
    Signed { signer: id.clone(), image, statements, asked: needs.statements.iter().cloned().collect() }
}

/// A signer of whom nothing can be verified, with the reason.
pub(super) fn unknown(id: &Arc<str>, needs: &Needs, why: &str) -> Signed {
    Signed {
        signer: id.clone(),
        image: Err(Unknown::Because(why.into())),
        statements: Vec::new(),
        asked: needs.statements.iter().cloned().collect(),
    }
}

fn signer(rule: &SignerRule) -> Result<Signer, String> {
    match rule {
        SignerRule::Key { pem } => PublicKey::from_pem(pem.as_bytes())
            .map(|key| Signer::Key { key, logs: None })
            .map_err(|error| format!("its public key cannot be used: {error}")),
        SignerRule::Identity { issuer, subject, trust_root } => Ok(Signer::Identity {
            identity: Pattern::regex(&subject.to_regex()).map_err(|error| error.to_string())?,
            issuer: Pattern::Exact(issuer.to_string()),
            trust_root: TrustRoot::parse(trust_root.as_bytes())
                .map_err(|error| format!("its trust root cannot be used: {error}"))?,
        }),
    }
}

/// A statement as policies look at it, under the name by which it was asked for.
fn stated(kind: &str, predicate: &Predicate) -> Statement {
    let mut statement = Statement { predicate_type: kind.into(), ..Statement::default() };
    if let Predicate::Provenance(provenance) = predicate {
        statement.builder = Some(provenance.builder_id.as_str().into());
        // A dependency is no source: who builds another's code with one file of the team's would pass for the team.
        statement.sources = provenance.source_uri.iter().map(|source| source.as_str().into()).collect();
    }
    statement
}

#[cfg(test)]
mod tests {
    use watchbell_signature::Provenance;

    use super::*;

    #[test]
    fn what_a_build_depends_on_is_not_its_source() {
        let of = |source: Option<&str>| {
            let provenance = Provenance {
                builder_id: "https://ci/1".into(),
                source_uri: source.map(Into::into),
                dependencies: vec!["https://git/team/library".into()],
                ..Provenance::default()
            };
            stated("slsaprovenance", &Predicate::Provenance(provenance)).sources
        };
        assert_eq!(of(Some("https://git/stranger/app")), ["https://git/stranger/app".into()]);
        assert_eq!(of(None), []);
    }
}
