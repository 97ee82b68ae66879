//! What is known of images, by digest: found out once, and kept as long as it is true.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use watchbell_api::image::{Contents, Findings, ImageFacts, Naming, Signed, Unknown};
use watchbell_image::{Digest, Image, Reference};

/// So many images are remembered; what is forgotten is found out again, mostly from what lies on the disk.
const IMAGES_MAX: usize = 1_000;
/// What could not be found out is asked again after so many seconds: somebody may have signed or imported since.
const RETRY_SECONDS: i64 = 60;

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
}

/// The number of the database that was asked, and what it said.
type Matched = (u64, Result<Arc<Findings>, Unknown>);

/// What was found out of one image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Examined {
    pub contents: Option<Looked<Result<Arc<Contents>, Unknown>>>,
    pub findings: Option<Looked<Matched>>,
    pub signers: BTreeMap<Arc<str>, Looked<Signed>>,
}

/// Shared by whoever finds out and whoever decides.
#[derive(Debug, Default)]
pub(crate) struct Known {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: HashMap<Digest, Examined>,
    /// Of the database of advisories that is asked now; 0: there is none.
    generation: u64,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.state().generation = generation;
    }

    pub(crate) fn learn(&self, digest: &Digest, learn: impl FnOnce(&mut Examined)) {
        let mut state = self.state();
        if state.images.len() >= IMAGES_MAX && !state.images.contains_key(digest) {
            state.images.clear();
        }
        learn(state.images.entry(digest.clone()).or_default());
    }

    pub(crate) fn forget_all_but(&self, keep: impl Fn(&Digest) -> bool) {
        self.state().images.retain(|digest, _| keep(digest));
    }

    /// All that is known of an image under a name, at a second; what is out of date is not.
    pub(crate) fn facts(&self, name: &Reference, digest: &Digest, outline: &Outline, now: i64) -> ImageFacts {
        let state = self.state();
        let examined = state.images.get(digest).cloned().unwrap_or_default();
        let generation = state.generation;
        drop(state);
        let is_fresh = |at: i64, is_known: bool| is_known || now.abs_diff(at) < RETRY_SECONDS.unsigned_abs();
        let contents = examined.contents.filter(|looked| is_fresh(looked.at, looked.found.is_ok()));
        let findings = examined
            .findings
            .filter(|looked| looked.found.0 == generation && is_fresh(looked.at, looked.found.1.is_ok()));
        // All that are known: another namespace may ask for others.
        let signers =
            examined.signers.into_values().filter(|looked| is_fresh(looked.at, looked.found.image.is_ok()));
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
            signers: signers.map(|looked| looked.found).collect(),
        }
    }
}
