//! What a batch did, as it grows and as it is handed over.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::node::Command;
use watchbell_api::{Resource, Uid};

use super::World;
use super::audit::AuditRecord;
use super::object::{Head, Status, Stored};
use super::row::{Row, RowKey, encode, row_key};

/// One change of one object. `new` is `None` when it is gone.
#[derive(Debug, Clone)]
pub struct Change {
    pub resource_version: u64,
    pub old: Option<Arc<Stored>>,
    pub new: Option<Arc<Stored>>,
}

impl Change {
    /// The object of the change, in its newest form.
    ///
    /// # Panics
    /// Never: a change has an old or a new form.
    pub fn object(&self) -> &Arc<Stored> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has an old or a new form")
    }
}

/// What a batch did: made durable as one, or not at all.
#[derive(Debug, Default)]
pub struct Stage {
    /// In the order of their resource versions; at most one for each object (by uid).
    pub changes: Vec<Change>,
    /// How objects that came and went within the batch did so. Nothing of them is recorded, but who made one was answered with
    /// its version, and may wait for its end.
    pub passed: Vec<Change>,
    /// The same changes as rows of the journal. Deletes come first, then rows: a name can be taken anew in one batch.
    pub rows: Vec<Row>,
    pub deletes: Vec<RowKey>,
    pub audit: Vec<AuditRecord>,
    /// To be carried out after the commit, in this order.
    pub commands: Vec<Command>,
}

impl Stage {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.passed.is_empty() && self.audit.is_empty() && self.commands.is_empty()
    }

    /// Takes what watchers are told, in the order of the versions.
    pub fn take_told(&mut self) -> Vec<Change> {
        let mut told = std::mem::take(&mut self.changes);
        if !self.passed.is_empty() {
            told.append(&mut self.passed);
            told.sort_by_key(|change| change.resource_version);
        }
        told
    }
}

/// The stage while it grows: a later change of the same object joins the earlier one, as nobody has seen it yet.
#[derive(Debug, Default)]
pub(super) struct Staging {
    changes: Vec<Change>,
    passed: Vec<Change>,
    by_uid: HashMap<Uid, usize>,
    pub audit: Vec<AuditRecord>,
    pub commands: Vec<Command>,
}

impl Staging {
    pub(super) fn change(
        &mut self,
        uid: Uid,
        resource_version: u64,
        old: Option<Arc<Stored>>,
        new: Option<Arc<Stored>>,
    ) {
        match self.by_uid.get(&uid) {
            Some(&place) => {
                let change = &mut self.changes[place];
                if change.old.is_none() && new.is_none() {
                    let came = std::mem::replace(change, Change { resource_version, old: None, new: None });
                    let went = Change { resource_version, old: came.new.clone(), new: None };
                    self.passed.extend([came, went]);
                    return;
                }
                change.resource_version = resource_version;
                change.new = new;
            }
            None => {
                self.by_uid.insert(uid, self.changes.len());
                self.changes.push(Change { resource_version, old, new });
            }
        }
    }
}

impl World {
    /// Takes what was staged since the last call. The caller makes it durable, then calls [`World::committed`] or
    /// [`World::rollback`]. Pods that ended are counted first, settled or not: a count is never in another transaction
    /// than the end. Nor is what quotas say.
    pub fn take_stage(&mut self, now: Timestamp) -> Stage {
        self.count_ended(now);
        self.audit_starts(now);
        self.tell_use();
        let mut staging = std::mem::take(&mut self.stage);
        // Of an object that came and went within the batch nothing is left to record.
        staging.changes.retain(|c| c.old.is_some() || c.new.is_some());
        staging.changes.sort_by_key(|c| c.resource_version);
        let (mut rows, mut deletes) = (Vec::with_capacity(staging.changes.len()), Vec::new());
        for change in &staging.changes {
            let old = change.old.as_deref();
            if let Some(new) = change.new.as_deref() {
                rows.push(encode(old, new, self.images_of(new)));
            }
            // Gone, or moved: a pod that outlives its Job leaves the Job's rows.
            if let Some(old) = old
                && change.new.as_ref().is_none_or(|new| row_key(new) != row_key(old))
            {
                deletes.push(row_key(old));
            }
        }
        Stage {
            changes: staging.changes,
            passed: staging.passed,
            rows,
            deletes,
            audit: staging.audit,
            commands: staging.commands,
        }
    }

    /// The list by which the row of an array pod names its images.
    fn images_of(&self, pod: &Stored) -> &[Arc<str>] {
        let Head::ArrayPod(array) = &pod.head else { return &[] };
        let job = self.jobs.get(&array.template.job_uid).and_then(|job| self.get_at(Resource::Job, &job.at));
        match job.map(|job| &job.status) {
            Some(Status::Job { images, .. }) => images,
            _ => &[],
        }
    }
}
