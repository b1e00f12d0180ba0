//! Requests for money.

use q_contract::{Readable, Text};
use q_http::{ApiBuilder, page};
use qwallet_api::{CancelRequest, CreateRequest, DrawRequest, GetRequest, ListRequests, ReadRequest};

use super::request_page;
use crate::{error::Error, service::Service};

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateRequest, _, _, _>(|service, context, request| async move {
        service.request_money(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<ListRequests, _, _, _>(|service, context, request| async move {
        service.money_requests(&context.caller, request).await
    })
    .on::<GetRequest, _, _, _>(|service, context, request| async move {
        service.money_request(&context.caller, request.request_id).await
    })
    .on::<CancelRequest, _, _, _>(|service, context, request| async move {
        service.cancel_request(&context.caller, context.request_key.as_ref(), request.request_id).await
    })
    .on::<DrawRequest, _, _, _>(|service, _, request| async move {
        service.draw_request(request.request_id).await.map(Text)
    })
    .on::<ReadRequest, _, _, _>(|service, context, request| async move {
        let answer = service.public_request(request.request_id).await?;
        let page = page::is_wanted(&context.headers).then(|| request_page::page(&answer)).transpose()?;
        Ok::<_, Error>(Readable { answer, page })
    })
}
