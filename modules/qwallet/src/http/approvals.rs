//! Approvals.

use q_contract::Readable;
use q_http::{ApiBuilder, page};
use qwallet_api::{DecideIntent, GetApprovals, IntentPage, ListApprovals, ReadAsked, SetApprovals};

use super::approval_page;
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
    .on::<ReadAsked, _, _, _>(|service, context, request| async move {
        let answer = service.asked_intent(request).await?;
        let page = page::is_wanted(&context.headers).then(|| approval_page::page(&answer));
        Ok::<_, Error>(Readable { answer, page })
    })
}
