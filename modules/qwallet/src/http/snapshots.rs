//! Snapshots of what many held.

use q_http::ApiBuilder;
use qwallet_api::{CreateSnapshot, GetSnapshot};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateSnapshot, _, _, _>(|service, context, request| async move {
        service.create_snapshot(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<GetSnapshot, _, _, _>(|service, context, request| async move {
        service.snapshot(&context.caller, request).await
    })
}
