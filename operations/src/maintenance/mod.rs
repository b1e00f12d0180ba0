//! Announced pauses: when, of what, and what comes after.
//!
//! **Invariant:** a window enters and leaves by comparing what is wanted with what is.

mod approval;
pub mod domain;
mod keeper;
mod service;
pub(crate) mod store;

use std::sync::Arc;

use q_http::ApiBuilder;
use q_ops_api::maintenance::{
    CancelMaintenance, CompleteMaintenance, EmergencyMaintenance, ExtendMaintenance, GetMaintenance,
    ListMaintenance, ScheduleMaintenance, StartMaintenance,
};
use q_runtime::Job;

pub use approval::Unapproved;

use crate::Desk;

/// The modules whose alerts are muted, because they are paused on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muted(store::Held);

impl Muted {
    /// Whether alerts of `module` are muted.
    pub fn is_muted(&self, module: &str) -> bool {
        self.0.holds(module)
    }
}

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api.on::<ScheduleMaintenance, _, _, _>(|desk, context, request| async move {
        desk.schedule(&context, request).await
    })
    .on::<EmergencyMaintenance, _, _, _>(|desk, context, request| async move {
        desk.emergency(&context, request).await
    })
    .on::<ListMaintenance, _, _, _>(|desk, _, request| async move { desk.list_windows(request).await })
    .on::<GetMaintenance, _, _, _>(|desk, _, request| async move { desk.window(request.id).await })
    .on::<CancelMaintenance, _, _, _>(|desk, context, request| async move {
        desk.cancel(&context, request.id).await
    })
    .on::<ExtendMaintenance, _, _, _>(
        |desk, context, request| async move { desk.extend(&context, request).await },
    )
    .on::<StartMaintenance, _, _, _>(|desk, context, request| async move {
        desk.start(&context, request.id).await
    })
    .on::<CompleteMaintenance, _, _, _>(|desk, context, request| async move {
        desk.complete(&context, request.id).await
    })
}

/// The regular work of this room.
pub(crate) fn jobs(desk: &Arc<Desk>) -> Vec<Job> {
    vec![keeper::job(desk)]
}
