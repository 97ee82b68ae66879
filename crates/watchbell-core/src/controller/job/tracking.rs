//! What the controller remembers of a Job and shows to nobody. Bounded by the pods in flight and the indexes that wait
//! to be tried again: what is settled leaves no trace here.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::backoff::{self, JobBackoff};
use crate::index_set::IndexSet;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub(super) struct Tracking {
    /// The controller has looked at the Job once.
    pub synced: bool,
    pub backoff: JobBackoff,
    /// Of the next pod of a Job without indexes.
    pub next_attempt: u32,
    pub indexes: IndexTracking,
    /// Pods, by index (`u32::MAX` without one) and attempt, whose fate is decided while they still end: deleted for
    /// room, or counted when they began to be deleted. Their end counts as nothing. (Kubernetes: the pods whose
    /// tracking finalizer is gone.)
    #[serde(with = "as_list")]
    pub decided: OrdSet<(u32, u32)>,
}

/// The tries of the indexes that are neither completed nor failed and had at least one pod that ended.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct IndexTracking {
    records: OrdMap<u32, IndexRecord>,
    /// When each index in back-off may start again; follows from the records.
    due: OrdSet<(i64, u32)>,
    /// The same indexes as a set.
    held_back: IndexSet,
    attempt_max: u32,
    /// `completions` at the last look, to see it shrink.
    completions: u32,
    retired: Option<Retired>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
struct IndexRecord {
    next_attempt: u32,
    failures: u32,
    ignored: u32,
    retry_at: Option<i64>,
}

/// The Job was scaled down once (elastic Indexed Job), or a client took settled indexes back: indexes from `from` on may have had
/// pods of any attempt below `attempt`. No attempt is ever used twice, as a pod's identity is derived from it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct Retired {
    from: u32,
    attempt: u32,
}

/// Whether a failure counts towards the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    Counted,
    Ignored,
}

/// What a new pod of an index is told about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    /// The least attempt that no ended pod had.
    pub attempt: u32,
    pub failures: u32,
    pub ignored: u32,
}

impl IndexTracking {
    /// Follows a change of `completions`; true when it shrank.
    pub(super) fn scale(&mut self, completions: u32) -> bool {
        let shrank = completions < self.completions;
        self.completions = completions;
        if shrank {
            self.retire(completions);
            let beyond: Vec<u32> = self.records.range(completions..).map(|(&index, _)| index).collect();
            for index in beyond {
                self.settle(index);
            }
        }
        shrank
    }

    /// Indexes from `from` on may be run anew whose pods are forgotten: none starts with an attempt that there was.
    pub(super) fn retire(&mut self, from: u32) {
        let from = self.retired.map_or(from, |retired| retired.from.min(from));
        self.retired = Some(Retired { from, attempt: self.attempt_max.saturating_add(1) });
    }

    pub(super) fn tries(&self, index: u32) -> Tries {
        let record = self.records.get(&index).copied().unwrap_or_default();
        let floor = self.retired.filter(|retired| index >= retired.from).map_or(0, |retired| retired.attempt);
        Tries { attempt: record.next_attempt.max(floor), failures: record.failures, ignored: record.ignored }
    }

    /// A pod of the index was created.
    pub(super) fn created(&mut self, attempt: u32) {
        self.attempt_max = self.attempt_max.max(attempt);
    }

    /// A pod of an index that is not settled ended.
    pub(super) fn ended(&mut self, index: u32, attempt: u32) {
        let record = self.records.entry(index).or_default();
        record.next_attempt = record.next_attempt.max(attempt.saturating_add(1));
    }

    /// A pod of the index failed, and the index is to be tried again after its back-off.
    pub(super) fn failed(&mut self, index: u32, counting: Counting, at: i64) {
        let record = self.records.entry(index).or_default();
        match counting {
            Counting::Counted => record.failures = record.failures.saturating_add(1),
            Counting::Ignored => record.ignored = record.ignored.saturating_add(1),
        }
        let delay = backoff::delay_seconds(record.failures.saturating_add(record.ignored));
        let before = record.retry_at.replace(at.saturating_add(delay));
        let retry_at = at.saturating_add(delay);
        if let Some(before) = before {
            self.due.remove(&(before, index));
        }
        self.due.insert((retry_at, index));
        self.held_back.insert(index);
    }

    /// The index completed, failed or is gone: forgets it.
    pub(super) fn settle(&mut self, index: u32) {
        if let Some(IndexRecord { retry_at: Some(at), .. }) = self.records.remove(&index) {
            self.due.remove(&(at, index));
            self.held_back.remove(index);
        }
    }

    /// Lets go the indexes whose back-off is over, and those that would wait longer than any back-off lasts (the
    /// clock was set back).
    pub(super) fn release_due(&mut self, now: i64) {
        while let Some(&(at, index)) = self.due.get_min()
            && at <= now
        {
            self.let_go(at, index);
        }
        while let Some(&(at, index)) = self.due.get_max()
            && at > now.saturating_add(backoff::LONGEST_SECONDS)
        {
            self.let_go(at, index);
        }
    }

    fn let_go(&mut self, at: i64, index: u32) {
        self.due.remove(&(at, index));
        self.held_back.remove(index);
        if let Some(record) = self.records.get_mut(&index) {
            record.retry_at = None;
        }
    }

    /// Indexes in back-off.
    pub(super) fn held_back(&self) -> &IndexSet {
        &self.held_back
    }

    /// When the first of them may start.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.get_min().map(|&(at, _)| at)
    }
}

/// The journal's form: what follows from the records is left out.
#[derive(Serialize, Deserialize)]
struct IndexTrackingRow {
    records: Vec<(u32, IndexRecord)>,
    attempt_max: u32,
    completions: u32,
    retired: Option<Retired>,
}

impl Serialize for IndexTracking {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        IndexTrackingRow {
            records: self.records.iter().map(|(&index, &record)| (index, record)).collect(),
            attempt_max: self.attempt_max,
            completions: self.completions,
            retired: self.retired,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for IndexTracking {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IndexTracking, D::Error> {
        let row = IndexTrackingRow::deserialize(deserializer)?;
        let held = || row.records.iter().filter_map(|&(index, record)| Some((record.retry_at?, index)));
        Ok(IndexTracking {
            due: held().collect(),
            held_back: held().map(|(_, index)| index).collect(),
            records: row.records.iter().copied().collect(),
            attempt_max: row.attempt_max,
            completions: row.completions,
            retired: row.retired,
        })
    }
}

/// An ordered set as a plain list.
mod as_list {
    use imbl::OrdSet;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        set: &OrdSet<(u32, u32)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(set.iter())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OrdSet<(u32, u32)>, D::Error> {
        Ok(Vec::<(u32, u32)>::deserialize(deserializer)?.into_iter().collect())
    }
}
