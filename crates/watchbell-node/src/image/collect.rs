//! Makes room on the disk: images that pods brought and nobody uses go, those first that were used least lately, as kubelet's image
//! collection does it. What the administrator imported, built or pulled stays: nobody could bring it again.

use std::sync::Arc;

use watchbell_image::{Error, Reference, Store};

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
    for name in unused(store, in_use)? {
        if is_enough()? {
            break;
        }
        // Until it is known what runs, nothing goes.
        let Ok(removed) = in_use.removing(|keep| store.remove(&name, keep)) else { break };
        let report = removed?;
        tracing::info!(image = %name.familiar(), bytes = report.bytes, "removed an image that nobody uses, to make room");
        gone += report.images.len();
        if report.deferred {
            // Something is being pulled or unpacked: its files go later, and removing more now gives no more room.
            break;
        }
    }
    Ok(gone)
}

/// The images that may go, each by one of its names with its digest.
fn unused(store: &Store, in_use: &InUse) -> Result<Vec<Reference>, Error> {
    let mut found: Vec<(u64, Reference)> = Vec::new();
    for image in store.list()? {
        let came = image.references.iter().map(|name| store.is_pulled_for_pods(name, &image.digest));
        let is_pods = came.collect::<Result<Vec<_>, _>>()?.into_iter().all(|it_is| it_is);
        let Some(name) = image.references.first().filter(|_| is_pods) else { continue };
        if let Some(last_used) = in_use.last_used(&image.digest) {
            found.push((last_used, name.with_digest(image.digest)));
        }
    }
    found.sort_by_key(|(last_used, _)| *last_used);
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
