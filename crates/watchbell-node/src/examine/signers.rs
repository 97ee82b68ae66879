//! Who signed an image: what is attached to it is kept beside it, and asked of its registry where that does not suffice.
//! Everything attached is a stranger's: bounded in time, bytes, number, and in how often it is read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_api::image::{Signed, Statement, Unknown};
use watchbell_core::image_policy::{Needs, SignerRule};
use watchbell_image::{
    Artifact, ArtifactManifest, Attachment, Digest, Image, Limits, PullOptions, Reference, Store,
    attached_remote,
};
use watchbell_signature::{
    Claim, Conditions, Material, Pattern, Policy, Predicate, PredicateType, PublicKey, Signer, Subject,
    TrustRoot, VerifiedClaim, is_signature,
};

/// All that a registry is asked for one image.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Of one artifact: signatures have some kilobytes, attested bills of materials some megabytes.
const ARTIFACT_BYTES_MAX: u64 = 8 << 20;
/// Of all that is attached to an image.
const ATTACHED_BYTES_MAX: u64 = 32 << 20;
/// Signatures and statements of one image.
const MATERIALS_MAX: usize = 256;
/// Every signer and every kind of statement that is asked for reads them again.
const VERIFIED_BYTES_MAX: u64 = 256 << 20;
/// Images that an image may have been chosen from.
const INDEXES_MAX: usize = 8;

/// What signatures that are kept beside an image prove. That one is missing proves nothing: nobody was asked.
pub(super) fn kept(
    store: &Store,
    name: &Reference,
    image: &Image,
    needs: &Needs,
    now: Timestamp,
) -> Vec<Signed> {
    let attached = subjects(store, image).into_iter().map(|subject| {
        let kept = read_kept(store, name, &subject);
        (subject, kept)
    });
    let mut said = judge(attached.collect(), needs, now, "");
    said.retain(|signed| signed.image.is_ok());
    said.iter_mut().for_each(|signed| signed.asked.clear());
    said
}

/// What the image's registry has, with what was kept before.
pub(super) fn asked(
    store: &Store,
    name: &Reference,
    image: &Image,
    needs: &Needs,
    options: &PullOptions,
    now: Timestamp,
) -> Vec<Signed> {
    let deadline = Instant::now() + REGISTRY_TIMEOUT;
    let left = || deadline.saturating_duration_since(Instant::now());
    let subjects = subjects(store, image);
    let trouble = fetch_all(&subjects, left, |subject, left| {
        let options = PullOptions {
            total_timeout: Some(left),
            stall_timeout: options.stall_timeout.min(left),
            ..options.clone()
        };
        fetch(store, name, subject, &options)
    });
    let attached = subjects.into_iter().map(|subject| {
        let kept = read_kept(store, name, &subject);
        (subject, kept)
    });
    judge(attached.collect(), needs, now, &trouble)
}

/// Fetches what is attached to each of them within one time for all, which `left` tells the rest of. Gives what went wrong last.
fn fetch_all(
    subjects: &[Digest],
    left: impl Fn() -> Duration,
    mut fetch: impl FnMut(&Digest, Duration) -> Result<(), String>,
) -> String {
    let mut trouble = String::new();
    for subject in subjects {
        let left = left();
        if left.is_zero() {
            let seconds = REGISTRY_TIMEOUT.as_secs();
            trouble = format!("its registry did not tell all that is attached to it in {seconds} seconds");
            break;
        }
        if let Err(why) = fetch(subject, left) {
            trouble = why;
        }
    }
    trouble
}

/// A signature may be of the image, or of an index that it was chosen from.
fn subjects(store: &Store, image: &Image) -> Vec<Digest> {
    let indexes = store.indexes_of(&image.digest).unwrap_or_else(|error| {
        tracing::warn!(image = %image.digest, "cannot find out which indexes an image was chosen from: {error}");
        image.index_digest.iter().cloned().collect()
    });
    std::iter::once(image.digest.clone()).chain(indexes.into_iter().take(INDEXES_MAX)).collect()
}

fn read_kept(store: &Store, name: &Reference, subject: &Digest) -> Vec<Artifact> {
    let kept = store.attached(name, subject, ATTACHED_BYTES_MAX).unwrap_or_else(|error| {
        tracing::warn!(image = %subject, "cannot read what is attached to an image: {error}");
        None
    });
    kept.unwrap_or_default()
}

fn fetch(store: &Store, name: &Reference, subject: &Digest, options: &PullOptions) -> Result<(), String> {
    let limits = Limits { attachments_bytes_max: ATTACHED_BYTES_MAX, ..store.limits().clone() };
    let artifacts = attached_remote(name, subject, options, &limits, &is_wanted)
        .map_err(|error| format!("its registry cannot be asked for signatures: {error}"))?;
    // One after another, because each adds to what is there.
    static KEEPING: Mutex<()> = Mutex::new(());
    let _alone = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    store
        .keep_attached(name, subject, &artifacts)
        .map_err(|error| format!("what is attached to it cannot be kept: {error}"))
}

/// A large bill of materials must not keep the signature beside it from being read.
fn is_wanted(attachment: Attachment, manifest: &ArtifactManifest) -> bool {
    let bytes = manifest.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    bytes <= ARTIFACT_BYTES_MAX && is_signature(attachment, manifest)
}

fn judge(
    attached: Vec<(Digest, Vec<Artifact>)>,
    needs: &Needs,
    now: Timestamp,
    trouble: &str,
) -> Vec<Signed> {
    let blobs = attached.iter().flat_map(|(_, artifacts)| artifacts).flat_map(|artifact| &artifact.blobs);
    let bytes: u64 = blobs.map(|blob| blob.bytes.len() as u64).sum();
    let readings = needs.signers.len().saturating_mul(1 + needs.statements.len()) as u64;
    if bytes.saturating_mul(readings) > VERIFIED_BYTES_MAX {
        let why = format!(
            "{bytes} bytes are attached to it, more than can be verified for {} signers and {} kinds of statements",
            needs.signers.len(),
            needs.statements.len()
        );
        return needs.signers.keys().map(|id| unknown(id, needs, &why)).collect();
    }
    let materials: Vec<(Digest, Vec<Material>)> = attached
        .into_iter()
        .map(|(subject, artifacts)| {
            (subject, artifacts.iter().flat_map(Material::of).take(MATERIALS_MAX).collect())
        })
        .collect();
    needs.signers.iter().map(|(id, rule)| one(id, rule, &materials, needs, now, trouble)).collect()
}

/// What one signer has signed.
fn one(
    id: &Arc<str>,
    rule: &SignerRule,
    materials: &[(Digest, Vec<Material>)],
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
    fn one_time_is_for_everything_that_a_registry_is_asked() {
        let subjects = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        let clock = std::cell::Cell::new(Duration::from_secs(60));
        let mut given = Vec::new();
        let trouble = fetch_all(
            &subjects,
            || clock.get(),
            |_, left| {
                given.push(left.as_secs());
                clock.set(left.saturating_sub(Duration::from_secs(40)));
                Err("it did not answer".to_owned())
            },
        );
        assert_eq!(given, [60, 20], "and the third is not asked for");
        assert_eq!(trouble, "its registry did not tell all that is attached to it in 60 seconds");
    }

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
