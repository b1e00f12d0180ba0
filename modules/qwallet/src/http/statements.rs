//! Statements and figures.

use q_http::ApiBuilder;
use qwallet_api::{GetStatement, GetStats};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetStatement, _, _, _>(|service, context, request| async move {
        service.statement(&context.caller, request).await
    })
    .on::<GetStats, _, _, _>(|service, context, request| async move {
        service.stats(&context.caller, request).await
    })
}
