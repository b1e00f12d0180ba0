//! Escrows.

use q_http::ApiBuilder;
use qwallet_api::{
    CreateEscrow, DisputeEscrow, GetEscrow, ListEscrows, RefundEscrow, ReleaseEscrow, ResolveEscrow,
};

use super::explained;
use crate::service::{Service, explaining::Wanted};

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateEscrow, _, _, _>(|service, context, request| async move {
        let wanted = Wanted::of(&request.wallet, None, &request.currency, &request.amount);
        let opened = service.create_escrow(&context.caller, context.request_key.as_ref(), request).await;
        explained(&service, &context.caller, opened, &wanted).await
    })
    .on::<ListEscrows, _, _, _>(|service, context, request| async move {
        service.escrows(&context.caller, request).await
    })
    .on::<GetEscrow, _, _, _>(|service, context, request| async move {
        service.escrow(&context.caller, request.escrow_id).await
    })
    .on::<ReleaseEscrow, _, _, _>(|service, context, request| async move {
        service.release_escrow(&context.caller, context.request_key.as_ref(), request.escrow_id).await
    })
    .on::<RefundEscrow, _, _, _>(|service, context, request| async move {
        service.refund_escrow(&context.caller, context.request_key.as_ref(), request.escrow_id).await
    })
    .on::<DisputeEscrow, _, _, _>(|service, context, request| async move {
        service.dispute_escrow(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<ResolveEscrow, _, _, _>(|service, context, request| async move {
        service.resolve_escrow(&context.caller, context.request_key.as_ref(), request).await
    })
}
