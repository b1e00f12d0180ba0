//! Receipts.

use q_http::ApiBuilder;
use qwallet_api::GetReceipt;

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetReceipt, _, _, _>(|service, context, request| async move {
        service.receipt(&context.caller, request.transaction_id).await
    })
}
