//! Who signed an image: what is attached to it is kept beside it, and asked of its registry where that does not suffice.
//! Everything attached is a stranger's: bounded in time, bytes, number, and in how often it is read.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_api::image::{Signed, Statement, Unknown};
use watchbell_core::image_policy::{Needs, SignerRule};
use watchbell_image::{
    Artifact, Attached, Attachment, Digest, Error, Image, Limits, PullOptions, Reference, Store,
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
const MATERIALS_MAX: usize = 512;
/// What is not larger comes first: signatures have some kilobytes.
const SMALL_BYTES: u64 = 64 << 10;
/// Every signer and every kind of statement that is asked for reads them again.
const VERIFIED_BYTES_MAX: u64 = 256 << 20;
/// Images that an image may have been chosen from.
const INDEXES_MAX: usize = 8;

/// Names what is kept beside an image.
pub(super) fn attached_mark(store: &Store, name: &Reference, subjects: &[Digest]) -> Result<Digest, Error> {
    let mut marks = String::new();
    for subject in subjects {
        let mark = store.attached_mark(name, subject)?;
        marks.push_str(&format!("{subject} {}\n", mark.as_ref().map_or("", Digest::as_str)));
    }
    Ok(Digest::of(marks.as_bytes()))
}

/// What signatures that are kept beside an image prove, and whether all could be read. That one is missing proves nothing:
/// nobody was asked.
pub(super) fn kept(
    store: &Store,
    name: &Reference,
    subjects: &[Digest],
    needs: &Needs,
    now: Timestamp,
) -> (Vec<Signed>, Result<(), Error>) {
    let mut outcome = Ok(());
    let mut attached = Vec::new();
    for subject in subjects {
        match store.attached(name, subject, ATTACHED_BYTES_MAX) {
            Ok(kept) => attached.push(Evidence::of(subject.clone(), kept.unwrap_or_default())),
            Err(error) => outcome = Err(error),
        }
    }
    let mut said = judge(&attached, needs, now, "").said;
    said.retain(|signed| signed.image.is_ok());
    said.iter_mut().for_each(|signed| {
        signed.asked.clear();
        signed.gap = None;
    });
    (said, outcome)
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
    let subjects = subjects(store, name, image);
    let mut fetched: HashMap<Digest, Attached> = HashMap::new();
    let trouble = fetch_all(&subjects, left, |subject, left| {
        let options = PullOptions {
            total_timeout: Some(left),
            stall_timeout: options.stall_timeout.min(left),
            ..options.clone()
        };
        fetched.insert(subject.clone(), fetch(store, name, subject, &options)?);
        Ok(())
    });
    let attached: Vec<Evidence> = subjects
        .into_iter()
        .map(|subject| {
            let found = fetched.remove(&subject);
            Evidence::with(subject.clone(), found, read_kept(store, name, &subject))
        })
        .collect();
    let judged = judge(&attached, needs, now, &trouble);
    for evidence in attached.into_iter().filter(|evidence| evidence.is_fetched) {
        if let Err(error) = keep(store, name, evidence, &judged.proving) {
            tracing::warn!(image = %image.digest, "what is attached to an image cannot be kept: {error}");
        }
    }
    judged.said
}

/// What is attached to an image, or to an index that it was chosen from.
struct Evidence {
    subject: Digest,
    artifacts: Vec<Artifact>,
    gap: Option<String>,
    is_fetched: bool,
}

impl Evidence {
    fn of(subject: Digest, attached: Attached) -> Evidence {
        let gap = attached.gap();
        Evidence { subject, artifacts: attached.into_iter().collect(), gap, is_fetched: false }
    }

    /// What was fetched, and what was kept before besides.
    fn with(subject: Digest, fetched: Option<Attached>, kept: Attached) -> Evidence {
        let is_fetched = fetched.is_some();
        let mut evidence = Evidence { is_fetched, ..Evidence::of(subject, fetched.unwrap_or_default()) };
        let known: HashSet<Digest> =
            evidence.artifacts.iter().map(|artifact| artifact.digest.clone()).collect();
        evidence.artifacts.extend(kept.into_iter().filter(|artifact| !known.contains(&artifact.digest)));
        evidence
    }

    /// The signatures and statements: of each tag all, of others in turn, for anybody may attach one with very many. The number
    /// of those that are left out.
    fn materials(&self, lot: &RandomState, mut bytes_left: u64) -> (Vec<Material>, usize) {
        let mut order: Vec<&Artifact> = self.artifacts.iter().collect();
        order.sort_by_cached_key(|artifact| {
            let is_tag = artifact.attachment != Attachment::Referrer;
            (!is_tag, bytes_of(artifact) > SMALL_BYTES, lot.hash_one(&artifact.digest))
        });
        let (mut found, mut turns, mut more) = (Vec::new(), Vec::new(), 0);
        for artifact in order {
            let bytes = bytes_of(artifact);
            if bytes > bytes_left {
                more += 1;
                continue;
            }
            bytes_left -= bytes;
            let mut of = Material::of(artifact).into_iter();
            if artifact.attachment != Attachment::Referrer {
                found.extend(of.by_ref().take(MATERIALS_MAX / 4));
            }
            turns.push(of);
        }
        while found.len() < MATERIALS_MAX && !turns.is_empty() {
            turns.retain_mut(|of| match of.next() {
                Some(material) if found.len() < MATERIALS_MAX => {
                    found.push(material);
                    true
                }
                Some(_) => {
                    more += 1;
                    true
                }
                None => false,
            });
        }
        more += turns.into_iter().map(Iterator::count).sum::<usize>();
        (found, more)
    }
}

fn bytes_of(artifact: &Artifact) -> u64 {
    artifact.blobs.iter().map(|blob| blob.bytes.len() as u64).sum()
}

/// What proved something comes first. Where there is more than can be looked at, nothing else is kept: it would take the room
/// of what comes later.
fn keep(store: &Store, name: &Reference, evidence: Evidence, proving: &HashSet<String>) -> Result<(), Error> {
    let is_proving = |artifact: &Artifact| proving.contains(artifact.digest.as_str());
    let (mut first, rest): (Vec<Artifact>, Vec<Artifact>) =
        evidence.artifacts.into_iter().partition(is_proving);
    if evidence.gap.is_none() {
        first.extend(rest);
    }
    // One after another, because each adds to what is there.
    static KEEPING: Mutex<()> = Mutex::new(());
    let _alone = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    store.keep_attached(name, &evidence.subject, &first)
}

/// Fetches what is attached to each of them within one time for all, which `left` tells the rest of: each may take its share of
/// that, so that junk on one does not keep another's signature from being read. Gives what went wrong last.
fn fetch_all(
    subjects: &[Digest],
    left: impl Fn() -> Duration,
    mut fetch: impl FnMut(&Digest, Duration) -> Result<(), String>,
) -> String {
    let mut trouble = String::new();
    for (waiting, subject) in (1..=subjects.len()).rev().zip(subjects) {
        let left = left() / u32::try_from(waiting).unwrap_or(u32::MAX);
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

/// A signature may be of the image, or of an index that it was chosen from in this repository.
pub(super) fn subjects(store: &Store, name: &Reference, image: &Image) -> Vec<Digest> {
    let indexes = store.indexes_of(name, &image.digest).unwrap_or_else(|error| {
        tracing::warn!(image = %image.digest, "cannot find out which indexes an image was chosen from: {error}");
        image.index_digest.iter().cloned().collect()
    });
    std::iter::once(image.digest.clone()).chain(indexes.into_iter().take(INDEXES_MAX)).collect()
}

fn read_kept(store: &Store, name: &Reference, subject: &Digest) -> Attached {
    let kept = store.attached(name, subject, ATTACHED_BYTES_MAX).unwrap_or_else(|error| {
        tracing::warn!(image = %subject, "cannot read what is attached to an image: {error}");
        None
    });
    kept.unwrap_or_default()
}

fn fetch(
    store: &Store,
    name: &Reference,
    subject: &Digest,
    options: &PullOptions,
) -> Result<Attached, String> {
    let limits = Limits {
        // A large bill of materials must not keep the signature beside it from being read.
        attachment_bytes_max: ARTIFACT_BYTES_MAX,
        attachments_bytes_max: ATTACHED_BYTES_MAX,
        ..store.limits().clone()
    };
    attached_remote(name, subject, options, &limits, &is_signature)
        .map_err(|error| format!("its registry cannot be asked for signatures: {error}"))
}

/// What all signers said, and what of that which is attached proved it.
struct Verdicts {
    said: Vec<Signed>,
    proving: HashSet<String>,
}

fn judge(attached: &[Evidence], needs: &Needs, now: Timestamp, trouble: &str) -> Verdicts {
    let readings = (needs.signers.len() * (1 + needs.statements.len())).max(1) as u64;
    let lot = RandomState::new();
    let (mut more, mut gap) = (0, None);
    let materials: Vec<(Digest, Vec<Material>)> = attached
        .iter()
        .map(|evidence| {
            let bytes = VERIFIED_BYTES_MAX / readings / attached.len() as u64;
            let (materials, left_out) = evidence.materials(&lot, bytes);
            more += left_out;
            gap = gap.take().or_else(|| evidence.gap.clone());
            (evidence.subject.clone(), materials)
        })
        .collect();
    if more > 0 {
        let (signers, kinds) = (needs.signers.len(), needs.statements.len());
        gap.get_or_insert_with(|| {
            format!("{more} of what is attached to it are more than can be verified for {signers} signers and {kinds} kinds of statements")
        });
    }
    let mut proving = HashSet::new();
    let one = |(id, rule): (&Arc<str>, &SignerRule)| Signed {
        gap: gap.as_deref().map(Into::into),
        ..one(id, rule, &materials, needs, now, trouble, &mut proving)
    };
    let said = needs.signers.iter().map(one).collect();
    Verdicts { said, proving }
}

/// What one signer has signed.
fn one(
    id: &Arc<str>,
    rule: &SignerRule,
    materials: &[(Digest, Vec<Material>)],
    needs: &Needs,
    now: Timestamp,
    trouble: &str,
    proving: &mut HashSet<String>,
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
            Ok(verified) => {
                is_signed = true;
                proving.insert(verified.origin);
            }
            Err(why) => whys.push(why.to_string()),
        }
        for kind in &needs.statements {
            let conditions = Conditions::of(PredicateType::parse(kind));
            for material in materials {
                let claim = Claim::Attestation(conditions.clone());
                if let Ok(verified) = ask(claim, std::slice::from_ref(material))
                    && let VerifiedClaim::Attestation(statement) = verified.claim
                {
                    proving.insert(verified.origin);
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
    let asked = needs.statements.iter().cloned().collect();
    Signed { signer: id.clone(), image, statements, asked, gap: None }
}

/// A signer of whom nothing can be verified, with the reason.
pub(super) fn unknown(id: &Arc<str>, needs: &Needs, why: &str) -> Signed {
    Signed {
        signer: id.clone(),
        image: Err(Unknown::Because(why.into())),
        statements: Vec::new(),
        asked: needs.statements.iter().cloned().collect(),
        gap: None,
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
                clock.set(clock.get().saturating_sub(if given.len() == 1 { left } else { clock.get() }));
                Err("it did not answer".to_owned())
            },
        );
        assert_eq!(
            given,
            [20, 20],
            "each has its share, and the third is not asked for: the second took all"
        );
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
