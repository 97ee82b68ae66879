//! Data arrays: their objects and stores, who may use them, and how a run's drafts become snapshots.
//!
//! ```text
//!   DataArray ──▶ Command::KeepArray ──▶ store ──▶ Report::Array ──▶ Known ──▶ plans of Jobs; the object's status
//!     │ deleted: waits while a Job uses it ──▶ Command::RemoveArray ──▶ Report::Array without facts ──▶ object gone
//!
//!   Job: pods end ──▶ gate Job ──▶ Command::PublishArrays ──▶ Report::ArraysPublished ──▶ Complete or Failed
//!     │ removed, and no Job goes on with its run ──▶ Command::AbandonDrafts
//! ```

mod judged;
mod published;
mod stores;

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_zarr::{Mode, Use};

use super::Snapshot;
use super::facts::JobFacts;
use super::object::{NsName, Stored};
use crate::access::Deed;
use crate::access::default_roles::{ARRAY_READER, ARRAY_WRITER};
use crate::arrays::{Known, Uses};
use crate::request::User;

pub(super) use judged::{annotate_own, array_changes, keep_own_annotations};
pub(super) use published::{IndexCommit, Publications};
pub(super) use stores::Told;

/// The finalizer of a DataArray whose store is there.
pub(super) const STORE: &str = "watchbell.dev/array-store";

const GROUP: &str = "watchbell.dev";
const PLURAL: &str = "dataarrays";

/// The reason of a pod that may not use its arrays any more when there is room for it; the node's, where their plan cannot be.
pub(super) const ARRAY_REFUSED: &str = "ArrayRefused";

/// How long after a store could not be removed, or a gate not be made, it is tried again.
const AGAIN_SECONDS: i64 = 60;
/// Of what the node says, in a status.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// The verb that a use needs.
fn verb(mode: Mode) -> &'static str {
    if mode == Mode::Read { "use" } else { "write" }
}

impl Snapshot {
    /// What is known of an array's store.
    pub fn array(&self, namespace: &str, name: &str) -> Option<&Arc<Known>> {
        self.arrays.get(&NsName::new(namespace, name))
    }

    /// Why a service account may not use an array so, and the command that lets it.
    fn array_right(&self, namespace: &str, account: &str, one: &Use) -> Result<(), String> {
        let user = User::service_account(namespace, account);
        let deed = Deed::Resource {
            verb: verb(one.mode),
            group: GROUP,
            resource: PLURAL,
            subresource: "",
            namespace,
            name: &one.name,
        };
        if self.rbac().decide(&user, &deed).is_allowed() {
            return Ok(());
        }
        let role = if one.mode == Mode::Read { ARRAY_READER } else { ARRAY_WRITER };
        Err(format!(
            "service account {account:?} may not {} dataarray {:?} in namespace {namespace:?}; `kubectl create rolebinding \
             {account}-{role} -n {namespace} --clusterrole={role} --serviceaccount={namespace}:{account}` lets it use those of \
             the namespace",
            verb(one.mode),
            one.name
        ))
    }

    /// Each use of a Job's arrays with what its indices get; of one index alone with `only`. Of an array that the account may not use
    /// that alone is told.
    pub fn explain_arrays(
        &self,
        namespace: &str,
        account: &str,
        uses: &Uses,
        completions: u32,
        only: Option<u32>,
    ) -> Value {
        let of = |one: &Use| {
            let right = self.array_right(namespace, account, one);
            let known = self.array(namespace, &one.name).map(|known| &**known);
            Known::explain(right.map(|()| known), one, completions, only)
        };
        uses.list.iter().map(of).collect()
    }

    /// What a Job's indexes get of its arrays.
    pub fn explain_job(&self, job: &Stored) -> Value {
        let arrays = match job.facts().job() {
            Some(JobFacts { arrays: Some(arrays), spec, .. }) => {
                let completions = spec.completions.unwrap_or(1);
                self.explain_arrays(&job.namespace, &arrays.service_account, &arrays.uses, completions, None)
            }
            _ => json!([]),
        };
        json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "JobAdmission",
            "metadata": {"namespace": &*job.namespace, "name": &*job.name}, "arrays": arrays,
        })
    }
}

/// As many digits of a digest as people read.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// As much of what the node says as an object keeps.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)]
}
