//! Announced pauses: when, of what, and what comes after.
//!
//! **Invariant:** a window enters and leaves by comparing what is wanted with what is.

use std::sync::Arc;

use q_http::ApiBuilder;
use q_runtime::Job;

use crate::Desk;

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api
}

/// The regular work of this room.
pub(crate) fn jobs(_desk: &Arc<Desk>) -> Vec<Job> {
    Vec::new()
}
