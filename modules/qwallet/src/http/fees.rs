//! The fee schedule.

use q_http::ApiBuilder;
use qwallet_api::{GetFees, SetFees};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetFees, _, _, _>(|service, _, _| async move { service.fee_versions().await })
        .on::<SetFees, _, _, _>(|service, context, request| async move {
            service.set_fees(context.request_key.as_ref(), request).await
        })
}
