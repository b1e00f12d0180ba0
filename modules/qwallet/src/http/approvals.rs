//! Approvals.

use q_http::ApiBuilder;
use qwallet_api::{DecideIntent, GetApprovals, IntentPage, ListApprovals, SetApprovals};

use crate::{error::Error, service::Service};

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetApprovals, _, _, _>(|service, context, request| async move {
        service.approvals(&context.caller, &request.squid_id).await
    })
    .on::<SetApprovals, _, _, _>(|service, context, request| async move {
        service.set_approvals(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<DecideIntent, _, _, _>(|service, context, request| async move {
        service.decide_intent(context.request_key.as_ref(), request).await
    })
    .on::<ListApprovals, _, _, _>(|service, context, request| async move {
        let page = service.waiting_for(&context.caller, request).await?;
        Ok::<_, Error>(IntentPage { items: page.items, next_cursor: page.next_cursor })
    })
}
