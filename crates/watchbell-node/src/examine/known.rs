//! What is known of images: found out once, and kept as long as it is true.
//!
//! What is in an image and what is wrong with it are the same for everybody who has it. Whether it is signed, a registry says to
//! who asks: that is kept by namespace, repository and credentials. A signature that is kept beside the image counts for all
//! who name it by the same repository.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use watchbell_api::image::{Contents, Findings, ImageFacts, Naming, Signed, Unknown};
use watchbell_core::image_policy::Needs;
use watchbell_image::{Digest, Image, Reference, Secret};

use crate::recent::Recent;

/// So many images are remembered; what is forgotten is found out again, mostly from what lies on the disk.
const IMAGES_MAX: usize = 1_000;
const ASKERS_MAX: usize = 4_000;
/// So many sets of policies over one image are remembered; what is forgotten is verified again.
const NEEDS_MAX: usize = 256;
/// What could not be found out is asked again after so many seconds, for somebody may have signed or imported since; after
/// twice as many each further time.
const RETRY_SECONDS: u64 = 60;
const RETRY_SECONDS_MAX: u64 = 600;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Outline {
    /// Unix seconds.
    pub created_at: Option<i64>,
    pub layers: Arc<[Arc<str>]>,
    pub diff_ids: Arc<[Arc<str>]>,
    pub size: u64,
}

impl Outline {
    pub(crate) fn of(image: &Image) -> Outline {
        let created = image.config.created.as_deref();
        Outline {
            created_at: created
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
                .map(jiff::Timestamp::as_second),
            layers: image.layers.iter().map(|layer| layer.digest.as_str().into()).collect(),
            diff_ids: image.layers.iter().map(|layer| layer.diff_id.as_str().into()).collect(),
            size: image.size(),
        }
    }
}

/// Something that was looked for, and when.
#[derive(Debug, Clone)]
pub(crate) struct Looked<T> {
    pub found: T,
    /// Unix seconds.
    pub at: i64,
    /// How often it was looked for in vain before.
    pub tries: u32,
}

impl<T> Looked<T> {
    /// Whether it is not yet time to look again.
    fn is_fresh(&self, now: i64) -> bool {
        let wait = RETRY_SECONDS.saturating_mul(1 << self.tries.min(8)).min(RETRY_SECONDS_MAX);
        now.abs_diff(self.at) < wait
    }

    /// The same question, looked for once more.
    fn tries_after(before: Option<&Looked<T>>) -> u32 {
        before.map_or(0, |before| before.tries.saturating_add(1))
    }
}

/// The number of the database that was asked, and what it said.
type Matched = (u64, Result<Arc<Findings>, Unknown>);

/// What was found out of the content of one image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Examined {
    contents: Option<Looked<Result<Arc<Contents>, Unknown>>>,
    findings: Option<Looked<Matched>>,
}

/// Who asks whether an image is signed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asker {
    pub digest: Digest,
    pub repository: Arc<str>,
    pub who: Who,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Nobody was asked: it is kept beside the image.
    Kept,
    /// A pod of a namespace, with these credentials (a hash of them).
    Pod { namespace: Arc<str>, credentials: Option<Digest> },
}

impl Who {
    pub(crate) fn pod(namespace: &Arc<str>, credentials: Option<&Secret>) -> Who {
        Who::Pod {
            namespace: namespace.clone(),
            credentials: credentials.map(|secret| Digest::of(&secret.0)),
        }
    }
}

/// Whose view of an image it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    Of(&'a Who),
    /// Of some pod of the namespace.
    Namespace(&'a str),
}

/// Shared by whoever finds out and whoever decides.
#[derive(Debug)]
pub(crate) struct Known {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    images: Recent<Digest, Examined>,
    signers: Recent<Asker, Answers>,
    /// Of the database of advisories that is asked now; 0: there is none.
    generation: u64,
    /// When the oldest of its sources was as it is; Unix seconds.
    database_at: Option<i64>,
}

/// What one asker was told.
#[derive(Debug, Default)]
struct Answers {
    by_signer: BTreeMap<Arc<str>, Looked<Signed>>,
    /// What was attached when it was verified, and for what: neither the database nor the hour changes what comes of it.
    verified: Option<(Digest, HashSet<u64>)>,
}

impl Default for Known {
    fn default() -> Known {
        let state = State {
            images: Recent::of(IMAGES_MAX),
            signers: Recent::of(ASKERS_MAX),
            generation: 0,
            database_at: None,
        };
        Known { state: Mutex::new(state) }
    }
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    pub(crate) fn set_database(&self, generation: u64, at: Option<i64>) {
        let mut state = self.state();
        (state.generation, state.database_at) = (generation, at);
    }

    /// Of what database there is, in Prometheus' text form. A time, as Prometheus asks, and no age.
    pub(crate) fn metrics(&self) -> String {
        let (generation, at) = {
            let state = self.state();
            (state.generation, state.database_at)
        };
        let name = "watchbell_advisory_database_loaded";
        let loaded = u8::from(generation != 0);
        let mut text = format!(
            "# HELP {name} Whether there is a database of advisories.\n# TYPE {name} gauge\n{name} {loaded}\n"
        );
        let name = "watchbell_advisory_database_timestamp_seconds";
        if let Some(at) = at {
            let help = "When the oldest source of the database of advisories was as it is, in Unix seconds.";
            // Writing to a string does not fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {at}\n");
        }
        text
    }

    pub(crate) fn learn_contents(&self, digest: &Digest, found: Result<Arc<Contents>, Unknown>, at: i64) {
        let mut state = self.state();
        let examined = state.images.get_or_insert_with(digest, Examined::default);
        let tries = Looked::tries_after(examined.contents.as_ref());
        examined.contents = Some(Looked { found, at, tries });
    }

    /// Why the contents could not be found out, while it is not time to try again.
    pub(crate) fn failure(&self, digest: &Digest, now: i64) -> Option<Unknown> {
        let mut state = self.state();
        let looked = state.images.get(digest)?.contents.as_ref()?;
        looked.found.as_ref().err().filter(|_| looked.is_fresh(now)).cloned()
    }

    /// Whether what is in an image is known, and what this database has against it.
    pub(crate) fn is_matched(&self, digest: &Digest, generation: u64) -> bool {
        let mut state = self.state();
        let Some(examined) = state.images.get(digest) else { return false };
        let is_read = examined.contents.as_ref().is_some_and(|looked| looked.found.is_ok());
        let findings = examined.findings.as_ref();
        is_read && findings.is_some_and(|looked| looked.found.0 == generation && looked.found.1.is_ok())
    }

    pub(crate) fn learn_findings(&self, digest: &Digest, found: Matched, at: i64) {
        let mut state = self.state();
        let examined = state.images.get_or_insert_with(digest, Examined::default);
        // Another database is another question.
        let before = examined.findings.as_ref().filter(|before| before.found.0 == found.0);
        let tries = Looked::tries_after(before);
        examined.findings = Some(Looked { found, at, tries });
    }

    /// What signers have said. Who has signed has signed, also where a registry cannot be asked any more.
    pub(crate) fn learn_signers(&self, asker: &Asker, said: Vec<Signed>, at: i64) {
        let mut state = self.state();
        let signers = &mut state.signers.get_or_insert_with(asker, Answers::default).by_signer;
        for mut found in said {
            let before = signers.get(&found.signer);
            let tries = Looked::tries_after(before);
            if let Some(before) = before.filter(|before| before.found.image.is_ok()) {
                found = both(before.found.clone(), found);
            }
            signers.insert(found.signer.clone(), Looked { found, at, tries });
        }
    }

    /// Whether what is attached now was verified for all that is needed.
    pub(crate) fn is_verified(&self, asker: &Asker, attached: &Digest, needs: &Needs) -> bool {
        let mut state = self.state();
        let verified = state.signers.get(asker).and_then(|answers| answers.verified.as_ref());
        verified.is_some_and(|(before, asked)| before == attached && asked.contains(&mark(needs)))
    }

    pub(crate) fn note_verified(&self, asker: &Asker, attached: &Digest, needs: &Needs) {
        let mut state = self.state();
        let verified = &mut state.signers.get_or_insert_with(asker, Answers::default).verified;
        let before = verified.take().filter(|(before, asked)| before == attached && asked.len() < NEEDS_MAX);
        let (_, asked) = verified.insert(before.unwrap_or_else(|| (attached.clone(), HashSet::new())));
        asked.insert(mark(needs));
    }

    pub(crate) fn forget_all_but(&self, keep: impl Fn(&Digest) -> bool) {
        let mut state = self.state();
        state.images.retain(&keep);
        state.signers.retain(|asker| keep(&asker.digest));
    }

    /// All that is known of an image under a name, at a second; what is out of date is not.
    pub(crate) fn facts(
        &self,
        name: &Reference,
        digest: &Digest,
        outline: &Outline,
        view: View<'_>,
        now: i64,
    ) -> ImageFacts {
        let mut state = self.state();
        let examined = state.images.get(digest).cloned().unwrap_or_default();
        let generation = state.generation;
        let signers = signers(&mut state.signers, digest, &name.repository(), view, now);
        drop(state);
        let contents = examined.contents.filter(|looked| looked.found.is_ok() || looked.is_fresh(now));
        let findings = examined.findings.filter(|looked| {
            looked.found.0 == generation && (looked.found.1.is_ok() || looked.is_fresh(now))
        });
        ImageFacts {
            digest: digest.as_str().into(),
            repository: name.repository().into(),
            tag: name.tag().map(Into::into),
            naming: if name.digest().is_some() { Naming::Digest } else { Naming::Tag },
            created_at: outline.created_at,
            layers: outline.layers.clone(),
            diff_ids: outline.diff_ids.clone(),
            size: outline.size,
            contents: contents.map_or(Err(Unknown::NotYet), |looked| looked.found),
            findings: findings.map_or(Err(Unknown::NotYet), |looked| looked.found.1),
            signers,
        }
    }
}

/// Names the signers and the kinds of statements that are asked for.
fn mark(needs: &Needs) -> u64 {
    let mut hasher = DefaultHasher::new();
    needs.signers.keys().for_each(|id| id.hash(&mut hasher));
    needs.statements.hash(&mut hasher);
    hasher.finish()
}

/// What the signers have said, as far as it is known in this view.
fn signers(
    all: &mut Recent<Asker, Answers>,
    digest: &Digest,
    repository: &str,
    view: View<'_>,
    now: i64,
) -> Vec<Signed> {
    let asker = |who: &Who| Asker { digest: digest.clone(), repository: repository.into(), who: who.clone() };
    let mut looked: Vec<Looked<Signed>> = Vec::new();
    let mut take = |of: &Answers| looked.extend(of.by_signer.values().cloned());
    all.get(&asker(&Who::Kept)).into_iter().for_each(|of| take(of));
    match view {
        View::Of(who) => {
            all.get(&asker(who)).into_iter().for_each(|of| take(of));
        }
        View::Namespace(wanted) => {
            let of_namespace = all.iter().filter(|(asker, _)| {
                let is_there = matches!(&asker.who, Who::Pod { namespace, .. } if **namespace == *wanted);
                is_there && asker.digest == *digest && *asker.repository == *repository
            });
            of_namespace.for_each(|(_, of)| take(of));
        }
    }
    let mut found: BTreeMap<Arc<str>, Signed> = BTreeMap::new();
    for mut one in looked {
        if !one.is_fresh(now) {
            // A signature stays one; what was not there may be by now.
            if one.found.image.is_err() {
                continue;
            }
            one.found.asked.clear();
        }
        let next = match found.remove(&one.found.signer) {
            Some(before) => both(before, one.found),
            None => one.found,
        };
        found.insert(next.signer.clone(), next);
    }
    found.into_values().collect()
}

/// Two answers about one signer: what he said in either he said.
fn both(mut one: Signed, other: Signed) -> Signed {
    one.gap = other.gap;
    if other.image.is_ok() || one.image.is_err() {
        one.image = other.image;
    }
    for statement in other.statements {
        if !one.statements.contains(&statement) {
            one.statements.push(statement);
        }
    }
    for kind in other.asked {
        if !one.asked.contains(&kind) {
            one.asked.push(kind);
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use watchbell_api::image::Statement;

    use super::*;

    fn said(image: Result<(), &str>, statements: &[&str], asked: &[&str]) -> Vec<Signed> {
        let statement = |kind: &&str| Statement { predicate_type: (*kind).into(), ..Statement::default() };
        vec![Signed {
            signer: "s".into(),
            image: image.map_err(|why| Unknown::Because(why.into())),
            statements: statements.iter().map(statement).collect(),
            asked: asked.iter().map(|kind| (*kind).into()).collect(),
            gap: None,
        }]
    }

    struct Stand {
        known: Known,
        name: Reference,
        digest: Digest,
    }

    impl Stand {
        fn new() -> Stand {
            Stand {
                known: Known::default(),
                name: Reference::parse("ghcr.io/team/app:1").unwrap(),
                digest: Digest::of(b"image"),
            }
        }

        fn pod(&self, namespace: &str, credentials: Option<&str>) -> Who {
            let secret = credentials.map(|text| Secret(text.as_bytes().to_vec()));
            Who::pod(&namespace.into(), secret.as_ref())
        }

        fn learn(&self, who: &Who, said: Vec<Signed>, at: i64) {
            let repository = self.name.repository().into();
            let asker = Asker { digest: self.digest.clone(), repository, who: who.clone() };
            self.known.learn_signers(&asker, said, at);
        }

        /// `signed`, `not`, or nothing, with the number of statements and of kinds that were asked for.
        fn seen(&self, view: View<'_>, now: i64) -> Option<(bool, usize, usize)> {
            let facts = self.known.facts(&self.name, &self.digest, &Outline::default(), view, now);
            let signed = facts.signers.first()?;
            Some((signed.image.is_ok(), signed.statements.len(), signed.asked.len()))
        }
    }

    #[test]
    fn what_a_registry_says_to_one_it_does_not_say_to_another() {
        let stand = Stand::new();
        let (a, b) = (stand.pod("a", None), stand.pod("b", None));
        let with_password = stand.pod("a", Some("password"));
        stand.learn(&a, said(Err("401"), &[], &["x"]), 0);
        assert_eq!(stand.seen(View::Of(&a), 1), Some((false, 0, 1)));
        assert_eq!(stand.seen(View::Of(&b), 1), None);
        assert_eq!(stand.seen(View::Of(&with_password), 1), None);
        stand.learn(&with_password, said(Ok(()), &["x"], &["x"]), 1);
        assert_eq!(stand.seen(View::Of(&with_password), 2), Some((true, 1, 1)));
        assert_eq!(stand.seen(View::Of(&a), 2), Some((false, 0, 1)));
        assert_eq!(stand.seen(View::Namespace("a"), 2), Some((true, 1, 1)));
        assert_eq!(stand.seen(View::Namespace("b"), 2), None);
        // What is kept beside the image counts for all who name it so.
        stand.learn(&Who::Kept, said(Ok(()), &["x"], &[]), 2);
        assert_eq!(stand.seen(View::Of(&b), 3), Some((true, 1, 0)));
        assert_eq!(stand.seen(View::Of(&a), 3), Some((true, 1, 1)));
        let other = Stand { name: Reference::parse("ghcr.io/other/app:1").unwrap(), ..stand };
        assert_eq!(other.seen(View::Of(&b), 3), None, "another repository was not asked");
    }

    #[test]
    fn what_was_not_there_is_looked_for_less_and_less_often() {
        let stand = Stand::new();
        let pod = stand.pod("a", None);
        let mut at = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            stand.learn(&pod, said(Err("not signed"), &[], &[]), at);
            let wait = (1..).find(|wait| stand.seen(View::Of(&pod), at + wait).is_none()).unwrap();
            waits.push(wait);
            at += wait;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        // An attestation that is attached later, too; who has signed has signed.
        stand.learn(&pod, said(Ok(()), &[], &["x"]), at);
        assert_eq!(stand.seen(View::Of(&pod), at + 599), Some((true, 0, 1)));
        assert_eq!(stand.seen(View::Of(&pod), at + 600), Some((true, 0, 0)), "asked for again");
        stand.learn(&pod, said(Err("the registry is down"), &[], &["x"]), at + 600);
        assert_eq!(stand.seen(View::Of(&pod), at + 601), Some((true, 0, 1)));
    }
}
