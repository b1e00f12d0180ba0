//! What is looked at regularly, written down.
//!
//! **Invariant:** a report shows measured figures or says that there are none.

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
