//! Notes beside transactions.

use q_http::ApiBuilder;
use qwallet_api::AddNote;

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<AddNote, _, _, _>(|service, context, request| async move {
        service.add_note(&context.caller, context.request_key.as_ref(), request).await
    })
}
