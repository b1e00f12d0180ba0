//! What everybody may see, and who is told when it changes.
//!
//! **Invariant:** no internals and no personal data leave this room.

pub mod calendar;
pub mod feed;
pub(crate) mod looks;
pub(crate) mod notices;
pub mod page;
pub(crate) mod service;
pub(crate) mod subscribers;
pub mod text;

use std::sync::Arc;

use q_contract::Text;
use q_http::ApiBuilder;
use q_ops_api::status::{
    GetStatus, GetStatusCalendar, GetStatusFeed, GetStatusPage, ListSubscribers, Subscribe, Unsubscribe,
};
use q_runtime::Job;

pub(crate) use service::Board;

use crate::{Desk, Error};

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api.on::<GetStatusPage, _, _, _>(|desk, _, _| async move {
        Ok::<_, Error>(Text(page::page(&*desk.public_status().await?, &desk.instance.origin)))
    })
    .on::<GetStatus, _, _, _>(
        |desk, _, _| async move { Ok::<_, Error>((*desk.public_status().await?).clone()) },
    )
    .on::<GetStatusFeed, _, _, _>(|desk, _, _| async move {
        Ok::<_, Error>(Text(feed::feed(&*desk.public_status().await?, &desk.instance.origin)))
    })
    .on::<GetStatusCalendar, _, _, _>(|desk, _, _| async move {
        Ok::<_, Error>(Text(calendar::calendar(&*desk.public_status().await?, &desk.instance.origin)))
    })
    .on::<Subscribe, _, _, _>(|desk, context, request| async move { desk.subscribe(&context, request).await })
    .on::<ListSubscribers, _, _, _>(|desk, _, _| async move { desk.subscribers().await })
    .on::<Unsubscribe, _, _, _>(|desk, context, request| async move {
        desk.unsubscribe(&context, request.id).await
    })
}

/// The regular work of this room.
pub(crate) fn jobs(desk: &Arc<Desk>) -> Vec<Job> {
    vec![subscribers::job(desk)]
}
