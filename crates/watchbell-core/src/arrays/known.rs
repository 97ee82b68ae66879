//! What is known of one array, and the plans that follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use watchbell_api::array::ArrayFacts;
use watchbell_zarr::{Hierarchy, Mode, Plan, PlanError, Split, Upper, Use, grow, plan_within};

/// An array's facts, with its hierarchy read once.
#[derive(Debug, Clone)]
pub struct Known {
    pub facts: Arc<ArrayFacts>,
    /// None: there is no snapshot, or its documents are too many to be told.
    hierarchy: Option<Result<Arc<Hierarchy>, Box<str>>>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPlanned {
    #[error("the array has no snapshot yet: import one with `watchbell array import`")]
    NoSnapshot,
    /// The node alone can say.
    #[error("its documents, or the regions of the split, are too many to be looked at before the run begins")]
    TooLarge,
    /// It never will with these words and this snapshot.
    #[error("{0}")]
    Illegal(String),
}

/// Why what is written to an encrypted array does not lie on a disk first.
pub const SECRET_UPPER: &str = "the array is encrypted, and upper: disk would write what its tasks write to the disk in the clear; leave upper out, \
     or say upper: memory with a quota that memory has room for";

/// What plans may compare for one request: as long as they are made, nobody else's is written.
pub const COMPARISONS_MAX: u64 = 1 << 20;

/// Indices that an explanation lists; of more it says how many there are.
const SHOWN_MAX: u32 = 1_000;

/// Whether the uses of one Job can be planned, by their position, as long as the same is known of their arrays.
#[derive(Debug, Default)]
pub struct Verdicts(BTreeMap<usize, (Weak<Known>, Result<(), NotPlanned>)>);

impl Verdicts {
    /// What `plan` says, which is asked once.
    ///
    /// # Errors
    /// See [`NotPlanned`].
    pub fn of(
        &mut self,
        position: usize,
        known: &Arc<Known>,
        plan: impl FnOnce() -> Result<(), NotPlanned>,
    ) -> Result<(), NotPlanned> {
        let now = Arc::downgrade(known);
        match self.0.get(&position) {
            Some((of, verdict)) if of.ptr_eq(&now) => verdict.clone(),
            _ => {
                let verdict = plan();
                self.0.insert(position, (now, verdict.clone()));
                verdict
            }
        }
    }
}

impl Known {
    pub fn new(facts: Arc<ArrayFacts>) -> Known {
        let hierarchy = facts.documents.as_ref().filter(|_| facts.head.is_some()).map(|documents| {
            Hierarchy::of(documents).map(Arc::new).map_err(|error| error.to_string().into())
        });
        Known { facts, hierarchy }
    }

    /// The plan of a use; `None` where nothing is divided.
    ///
    /// # Errors
    /// See [`NotPlanned`].
    pub fn plan(
        &self,
        one: &Use,
        completions: u32,
        comparisons: &mut u64,
    ) -> Result<Option<Plan>, NotPlanned> {
        match self.divide(one, completions, comparisons)? {
            None => Ok(None),
            Some(Ok(plan)) => Ok(Some(plan)),
            Some(Err(PlanError::Comparisons { .. })) => Err(NotPlanned::TooLarge),
            Some(Err(error)) => Err(NotPlanned::Illegal(error.to_string())),
        }
    }

    /// How many indices a use makes; `None` where nothing is divided, or among as many as there are.
    ///
    /// # Errors
    /// See [`NotPlanned`].
    pub fn indices(&self, one: &Use, comparisons: &mut u64) -> Result<Option<u32>, NotPlanned> {
        if one.split == Some(Split::Artifacts) {
            return self.plan(one, 1, comparisons).map(|_| None);
        }
        // Nothing is divided among no index: the refusal says among how many it would be.
        match self.divide(one, 0, comparisons)? {
            None => Ok(None),
            // How many they are is known, whether or not two of them meet.
            Some(Err(PlanError::Comparisons { regions, .. })) => Ok(u32::try_from(regions).ok()),
            Some(Ok(plan)) => Ok(Some(plan.completions)),
            Some(Err(PlanError::Completions { planned, .. })) => {
                u32::try_from(planned).ok().filter(|n| *n <= i32::MAX as u32).map(Some).ok_or_else(|| {
                    NotPlanned::Illegal(format!(
                        "the split makes {planned} indices: more than a Job can have"
                    ))
                })
            }
            Some(Err(error)) => Err(NotPlanned::Illegal(error.to_string())),
        }
    }

    fn divide(
        &self,
        one: &Use,
        completions: u32,
        comparisons: &mut u64,
    ) -> Result<Option<Result<Plan, PlanError>>, NotPlanned> {
        if self.facts.head.is_none() {
            return Err(NotPlanned::NoSnapshot);
        }
        let Some(split) = &one.split else { return Ok(None) };
        if self.facts.encryption.is_some() && one.mode == Mode::Write && one.upper == Upper::Disk {
            return Err(NotPlanned::Illegal(SECRET_UPPER.to_owned()));
        }
        let illegal = |error: String| NotPlanned::Illegal(error);
        let hierarchy = match &self.hierarchy {
            None => return Err(NotPlanned::TooLarge),
            Some(Err(error)) => return Err(illegal(error.to_string())),
            Some(Ok(hierarchy)) => hierarchy,
        };
        Ok(Some(match (&one.extend, &self.facts.documents) {
            (Some(extend), Some(documents)) => {
                let (grown, growth) = grow(documents, extend).map_err(|error| illegal(error.to_string()))?;
                plan_within(&grown, split, &one.variables, Some(&growth), completions, comparisons)
            }
            _ => plan_within(hierarchy, split, &one.variables, None, completions, comparisons),
        }))
    }

    /// A use with what each index gets, for people. `known`: or why nothing of it is told. `only`: that index alone.
    pub fn explain(
        known: Result<Option<&Known>, String>,
        one: &Use,
        completions: u32,
        only: Option<u32>,
    ) -> Value {
        let mut told = json!({
            "name": one.name, "mount": one.mount,
            "mode": match (one.mode, &one.split) {
                (Mode::Read, _) => "read",
                (Mode::Write, Some(Split::Artifacts)) => "artifacts",
                (Mode::Write, _) => "write",
            },
        });
        let nothing =
            || "nothing is known of the array: there is none, or its store was not looked at yet".to_owned();
        let known = match known.and_then(|known| known.ok_or_else(nothing)) {
            Ok(known) => known,
            Err(why) => {
                told["problem"] = why.into();
                return told;
            }
        };
        if let Some(head) = &known.facts.head {
            told["head"] = (**head).into();
        }
        let plan = match known.plan(one, completions, &mut { COMPARISONS_MAX }) {
            Ok(None) => return told,
            Ok(Some(plan)) => plan,
            Err(why) => {
                told["problem"] = why.to_string().into();
                return told;
            }
        };
        told["variables"] = plan.variables().map(|path| Value::from(path.to_string())).collect();
        let indices: Vec<u32> = match only {
            Some(index) => vec![index],
            None => (0..plan.completions.min(SHOWN_MAX)).collect(),
        };
        let of = |index: u32| {
            let elements: Vec<Value> = plan
                .elements(index)
                .into_iter()
                .map(|range| json!({"dimension": range.dimension, "start": range.start, "stop": range.stop}))
                .collect();
            json!({"index": index, "elements": elements, "chunks": plan.count(index)})
        };
        told["indices"] = indices.into_iter().map(of).collect();
        told["completions"] = plan.completions.into();
        told
    }
}
