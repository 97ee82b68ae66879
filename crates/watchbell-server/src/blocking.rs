//! Work that blocks, on threads of its own.

use watchbell_api::{ApiError, Reason};

/// What a client hears whose request came too late.
pub(crate) fn ending() -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, "the server is ending; ask again when it is back")
}

/// Does it there.
///
/// # Errors
/// The server ends, and the threads with it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ending())
}
