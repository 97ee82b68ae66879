//! Makes room on the disk: images that pods brought and nobody uses go, those first that were used least lately, as kubelet's image
//! collection does it. What the administrator imported, built or pulled stays: nobody could bring it again.

use std::sync::Arc;

use watchbell_image::{Digest, Error, Reference, Store};

use super::InUse;

/// Whether images went, so that there is more room than before.
pub(crate) fn make_room(store: &Store, in_use: &Arc<InUse>) -> bool {
    match collect(store, in_use, || store.has_room()) {
        Ok(gone) => gone > 0,
        Err(error) => {
            tracing::warn!("cannot remove images that nobody uses: {error}");
            false
        }
    }
}

/// Removes images until `is_enough`, or until none is left that may go. Gives how many went.
pub(super) fn collect(
    store: &Store,
    in_use: &Arc<InUse>,
    is_enough: impl Fn() -> Result<bool, Error>,
) -> Result<usize, Error> {
    let mut gone = 0;
    for (image, name) in unused(store, in_use)? {
        if is_enough()? {
            break;
        }
        // Until it is known what runs, nothing goes.
        let Ok(removed) = in_use.removing(|keep| store.remove_pulled_for_pods(&image, keep)) else { break };
        let report = removed?;
        if !report.images.is_empty() {
            tracing::info!(image = %name.familiar(), bytes = report.bytes, "removed an image that nobody uses, to make room");
        }
        gone += report.images.len();
        if report.deferred {
            // Something is being pulled or unpacked: its files go later, and removing more now gives no more room.
            break;
        }
    }
    Ok(gone)
}

/// The images that may go, those first that were used least lately.
fn unused(store: &Store, in_use: &InUse) -> Result<Vec<(Digest, Reference)>, Error> {
    let of_pods = store.pulled_for_pods()?.into_iter();
    let mut found: Vec<(u64, (Digest, Reference))> =
        of_pods.filter_map(|image| Some((in_use.last_used(&image.0)?, image))).collect();
    found.sort_by_key(|(last_used, _)| *last_used);
    Ok(found.into_iter().map(|(_, image)| image).collect())
}
