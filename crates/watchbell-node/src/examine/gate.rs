//! Between an image that is here and the container that is made of it: what the policies say.
//!
//! A verdict is kept by (namespace, name and digest of the image), with the policies' versions, the database's number and the
//! second until which it holds: a start pays a look at a map. What is not known is no verdict, and no start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use watchbell_api::image::{ImageFacts, ImageJudged, ImageOutcome, JudgedReason, Unknown};
use watchbell_core::image_policy::{
    Action, Needs, Verdict, decide, is_examined, is_lasting, missing, unjudged,
};
use watchbell_core::world::Snapshot;
use watchbell_image::{Digest, Reference, Secret};

use super::known::{Known, View, Who};
use crate::image::Prepared;
use crate::recent::Recent;

/// More verdicts than that are made again.
const VERDICTS_MAX: usize = 10_000;

/// Gives the committed state.
pub type Snapshots = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// Whether people hear that an image starts which no policy judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unjudged {
    /// Once for each namespace and image.
    Told,
    #[cfg(test)]
    Silent,
}

pub(crate) struct Gate {
    snapshots: Snapshots,
    known: Arc<Known>,
    unjudged: Unjudged,
    kept: Mutex<Keeps>,
}

struct Keeps {
    verdicts: Recent<Key, Kept>,
    /// Namespaces and images whose unjudged start was told.
    told: Recent<(Arc<str>, Digest), ()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: Arc<str>,
    image: Arc<str>,
    digest: Digest,
}

#[derive(Clone)]
struct Kept {
    /// Of the policies and what they read.
    stamp: u64,
    generation: u64,
    verdict: Arc<Verdict>,
}

/// What was decided.
#[derive(Debug)]
pub(crate) struct Judged {
    pub judgement: Judgement,
    /// What it was decided by, where that was done anew: the server warns by it.
    pub facts: Option<Arc<ImageFacts>>,
}

impl From<Judgement> for Judged {
    fn from(judgement: Judgement) -> Judged {
        Judged { judgement, facts: None }
    }
}

/// What becomes of a container.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It may start; with what people are told.
    Starts(Option<Box<ImageJudged>>),
    Refused(Box<ImageJudged>),
    /// The answer to this comes first.
    Asks(Question),
}

/// What has to be found out of an image.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub namespace: Arc<str>,
    /// As the pod names it.
    pub image: Arc<str>,
    pub digest: Digest,
    pub needs: Needs,
    /// A Docker configuration for the registry that keeps its signatures.
    pub credentials: Option<Secret>,
}

impl Question {
    pub(super) fn who(&self) -> Who {
        Who::pod(&self.namespace, self.credentials.as_ref())
    }
}

impl Gate {
    pub(crate) fn new(snapshots: Snapshots, known: Arc<Known>, unjudged: Unjudged) -> Gate {
        let kept = Keeps { verdicts: Recent::of(VERDICTS_MAX), told: Recent::of(VERDICTS_MAX) };
        Gate { snapshots, known, unjudged, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Keeps> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges the image of a container at a second. `credentials` are read only where something has to be asked.
    pub(crate) fn judge(
        &self,
        namespace: &Arc<str>,
        container: &str,
        image: &Arc<str>,
        prepared: &Prepared,
        now: i64,
        credentials: impl FnOnce() -> Option<Secret>,
    ) -> Judged {
        let snapshot = (self.snapshots)();
        let Some(stamp) = snapshot.image_policies_stamp(namespace) else {
            return Judgement::Starts(self.tell_unjudged(namespace, container, image, prepared, now)).into();
        };
        let key = Key { namespace: namespace.clone(), image: image.clone(), digest: prepared.digest.clone() };
        let generation = self.known.generation();
        let kept = self.kept().verdicts.get(&key).map(|kept| kept.clone());
        let holds = |kept: &Kept| {
            kept.stamp == stamp
                && kept.generation == generation
                && kept.verdict.valid_until.is_none_or(|until| now < until)
        };
        let mut anew = None;
        let verdict = match kept.filter(holds) {
            Some(kept) => kept.verdict,
            None => {
                let policies = snapshot.image_policies(namespace);
                let credentials = credentials();
                let who = Who::pod(namespace, credentials.as_ref());
                let facts = self.facts(image, prepared, View::Of(&who), now);
                if !is_examined(&policies, &facts) {
                    // Its id is a name that was parsed before.
                    let is_name = Reference::parse(image).is_ok();
                    let question = Question {
                        namespace: namespace.clone(),
                        image: if is_name { image.clone() } else { prepared.image_id.clone() },
                        digest: prepared.digest.clone(),
                        needs: missing(&policies, &facts),
                        credentials,
                    };
                    return Judgement::Asks(question).into();
                }
                let at = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
                let verdict = Arc::new(decide(&policies, &facts, at));
                // What could not be found out is asked again, so nothing is kept of it.
                if is_lasting(&policies, &facts) {
                    let kept = Kept { stamp, generation, verdict: verdict.clone() };
                    self.kept().verdicts.insert(key, kept);
                }
                anew = Some(Arc::new(facts));
                verdict
            }
        };
        let told = told(&verdict, container, image, prepared);
        let judgement = match (verdict.is_refused(), told) {
            (true, Some(told)) => Judgement::Refused(Box::new(told)),
            (_, told) => Judgement::Starts(told.map(Box::new)),
        };
        Judged { judgement, facts: anew }
    }

    fn facts(&self, image: &str, prepared: &Prepared, view: View<'_>, now: i64) -> ImageFacts {
        // Its id is a name that was parsed before; the name that the pod wrote says how it is named.
        let name = Reference::parse(image).or_else(|_| Reference::parse(&prepared.image_id));
        match name {
            Ok(name) => self.known.facts(&name, &prepared.digest, &prepared.outline, view, now),
            Err(error) => unreachable!("an image that was found has a name: {error}"),
        }
    }

    fn tell_unjudged(
        &self,
        namespace: &Arc<str>,
        container: &str,
        image: &Arc<str>,
        prepared: &Prepared,
        now: i64,
    ) -> Option<Box<ImageJudged>> {
        match self.unjudged {
            Unjudged::Told => {}
            #[cfg(test)]
            Unjudged::Silent => return None,
        }
        let start = (namespace.clone(), prepared.digest.clone());
        let mut keeps = self.kept();
        if keeps.told.get(&start).is_some() {
            return None;
        }
        keeps.told.insert(start, ());
        drop(keeps);
        let mut facts = self.facts(image, prepared, View::Namespace(namespace), now);
        if self.known.generation() == 0 {
            facts.findings = Err(Unknown::Because("there is no database of advisories".into()));
        }
        let reasons = unjudged(&facts);
        let reason = |message: String| JudgedReason {
            policy: "".into(),
            rule: "".into(),
            advisory: None,
            message: message.into(),
        };
        (!reasons.is_empty()).then(|| {
            Box::new(ImageJudged {
                container: container.into(),
                image: image.clone(),
                digest: prepared.digest.as_str().into(),
                outcome: ImageOutcome::Unjudged,
                reasons: reasons.into_iter().map(reason).collect(),
            })
        })
    }
}

/// What is told of a verdict: nothing where the image passes.
fn told(verdict: &Verdict, container: &str, image: &Arc<str>, prepared: &Prepared) -> Option<ImageJudged> {
    let worst = verdict.reasons.iter().map(|reason| reason.action).max()?;
    let reasons = verdict.reasons.iter().filter(|reason| reason.action == worst);
    Some(ImageJudged {
        container: container.into(),
        image: image.clone(),
        digest: prepared.digest.as_str().into(),
        outcome: match worst {
            Action::Deny => ImageOutcome::Refused,
            Action::Warn => ImageOutcome::Warned,
            Action::Audit => ImageOutcome::Noted,
        },
        reasons: reasons
            .map(|reason| JudgedReason {
                policy: reason.policy.clone(),
                rule: reason.rule.name().into(),
                advisory: reason.advisory.clone(),
                message: reason.to_string().into(),
            })
            .collect(),
    })
}
