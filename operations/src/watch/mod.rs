//! Objectives, alerts and who is told.
//!
//! **Invariant:** alerts are decided by q-slo alone; this room scrapes, keeps and tells.

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
