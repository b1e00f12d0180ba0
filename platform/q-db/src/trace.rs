//! The trace id of the request at hand, written beside the events and audit rows it causes.

use std::future::Future;

tokio::task_local! {
    static TRACE: String;
}

/// Runs `future`; the events and audit rows it writes carry `trace`.
pub async fn scope<F: Future>(trace: String, future: F) -> F::Output {
    TRACE.scope(trace, future).await
}

/// The trace id of the surrounding [`scope`], if there is one.
pub fn current() -> Option<String> {
    TRACE.try_with(Clone::clone).ok()
}
