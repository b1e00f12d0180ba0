//! Quotes.

use q_http::ApiBuilder;
use qwallet_api::GetQuote;

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetQuote, _, _, _>(|service, context, request| async move {
        service.quote(&context.caller, request).await
    })
}
