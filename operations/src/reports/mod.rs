//! What is looked at regularly, written down.
//!
//! **Invariant:** a report shows measured figures or says that there are none.

mod access;
mod dependencies;
pub mod domain;
mod service;
mod store;
mod traffic;

use std::sync::Arc;

use q_http::ApiBuilder;
use q_ops_api::reports::{GetReport, ListReports, RunReport};
use q_runtime::Job;

use crate::Desk;

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api.on::<ListReports, _, _, _>(|desk, _, request| async move { desk.list_reports(request).await })
        .on::<GetReport, _, _, _>(|desk, _, request| async move { desk.report(request.id).await })
        .on::<RunReport, _, _, _>(|desk, context, request| async move {
            desk.run_report(&context, request.kind).await
        })
}

/// The regular work of this room.
pub(crate) fn jobs(desk: &Arc<Desk>) -> Vec<Job> {
    vec![service::job(desk)]
}
