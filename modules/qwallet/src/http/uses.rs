//! How often permissions were used.

use q_http::ApiBuilder;
use qwallet_api::GetUses;

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetUses, _, _, _>(|service, _, request| async move { service.uses(request.cid).await })
}
