//! Refunds.

use q_http::ApiBuilder;
use qwallet_api::{CreateRefund, ListRefunds};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateRefund, _, _, _>(|service, context, request| async move {
        service.refund(context.request_key.as_ref(), request).await
    })
    .on::<ListRefunds, _, _, _>(|service, context, request| async move {
        service.refunds(&context.caller, request.transaction_id).await
    })
}
