//! The table of contents: which use case answers which endpoint.
//!
//! **Invariant:** decoding and identifying only; no decision is made here.

use std::sync::Arc;

use q_http::Api;
use qonsent_api::{
    Check, GetDelegation, GetDelegationToken, IssueGrant, ListChanges, ListDelegations, ListPermissions,
    RegisterDelegations, RevokeGrant,
};

use crate::{NAME, service::Service};

const ABOUT: &str = "Permissions as signed delegations: check, grant, revoke, and the order of all changes.";

/// The endpoints with what answers them.
pub(crate) fn api(service: Arc<Service>) -> Api {
    Api::build(NAME, ABOUT, service)
        .on::<Check, _, _, _>(|service, context, request| async move {
            service.check(&context.caller, request).await
        })
        .on::<IssueGrant, _, _, _>(|service, context, request| async move {
            service.grant(&context.caller, request, context.request_key.as_ref()).await
        })
        .on::<RevokeGrant, _, _, _>(|service, context, request| async move {
            service.revoke(context.did(), request, context.request_key.as_ref()).await
        })
        .on::<ListPermissions, _, _, _>(|service, context, request| async move {
            service.list_permissions(&context.caller, request).await
        })
        .on::<RegisterDelegations, _, _, _>(|service, context, request| async move {
            service.register(&context.caller, request, context.request_key.as_ref()).await
        })
        .on::<ListDelegations, _, _, _>(|service, context, request| async move {
            service.delegations(context.did(), request).await
        })
        .on::<GetDelegation, _, _, _>(
            |service, _, request| async move { service.delegation(request.cid).await },
        )
        .on::<GetDelegationToken, _, _, _>(|service, _, request| async move {
            service.delegation_token(request.cid).await
        })
        .on::<ListChanges, _, _, _>(|service, _, request| async move { service.changes(request).await })
        .done()
}
