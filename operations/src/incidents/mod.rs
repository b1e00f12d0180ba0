//! What went wrong, who was told, and what was done about it.
//!
//! **Invariant:** a timeline only grows.

pub mod domain;
pub mod review;
pub(crate) mod service;
pub(crate) mod store;
mod watch;

use std::sync::Arc;

use q_contract::Text;
use q_db::{DbError, Reader};
use q_http::ApiBuilder;
use q_ops_api::incidents::{
    AddEntry, AddToOpen, ChangeIncident, GetIncident, ListIncidents, OpenIncident, ReviewIncident,
};
use q_runtime::{Finding, Job};

use crate::{Desk, asked::Asked};

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api.on::<OpenIncident, _, _, _>(|desk, context, request| async move {
        desk.open_incident(Asked::from(&context), request).await
    })
    .on::<ListIncidents, _, _, _>(|desk, _, request| async move { desk.list_incidents(request).await })
    .on::<GetIncident, _, _, _>(|desk, _, request| async move { desk.incident(request.id).await })
    .on::<AddToOpen, _, _, _>(|desk, context, request| async move {
        desk.add_to_open(&Asked::from(&context), request).await
    })
    .on::<AddEntry, _, _, _>(|desk, context, request| async move {
        desk.add_entry(&Asked::from(&context), request).await
    })
    .on::<ChangeIncident, _, _, _>(|desk, context, request| async move {
        desk.change_incident(Asked::from(&context), request).await
    })
    .on::<ReviewIncident, _, _, _>(|desk, _, request| async move { desk.review(request.id).await.map(Text) })
}

/// The regular work of this room.
pub(crate) fn jobs(desk: &Arc<Desk>) -> Vec<Job> {
    vec![watch::job(desk)]
}

/// Every timeline is as it was written.
pub(crate) fn verify(reader: &mut Reader<'_>) -> Result<Vec<Finding>, DbError> {
    let mut findings = Vec::new();
    for id in store::ids(reader)? {
        let mut before = String::new();
        for (place, (entry, link)) in (1..).zip(store::links(reader, id)?) {
            let is_next = entry.seq == place && domain::link(&before, &entry) == link;
            if !is_next {
                let place = format!("timeline of {id}, entry {}", entry.seq);
                let detail = "the entry is not what was written there, or one before it is missing";
                findings.push(Finding::new("timeline_changed", place, detail));
                break;
            }
            before = link;
        }
    }
    Ok(findings)
}
