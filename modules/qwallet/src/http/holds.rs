//! Money that is held for a payee.

use q_http::ApiBuilder;
use qwallet_api::{CaptureIntent, ChangeHolds, VoidIntent};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CaptureIntent, _, _, _>(|service, context, request| async move {
        service.capture(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<VoidIntent, _, _, _>(|service, context, request| async move {
        service.void(&context.caller, context.request_key.as_ref(), request.intent_id).await
    })
    .on::<ChangeHolds, _, _, _>(|service, context, request| async move {
        service.change_holds(&context.caller, context.request_key.as_ref(), request).await
    })
}
