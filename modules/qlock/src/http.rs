//! The table of contents: which use case answers which endpoint.
//!
//! **Invariant:** decoding and identifying only; no decision is made here.

use std::sync::Arc;

use q_http::Api;
use qlock_api::{
    CreateDataKeys, CreateKey, Decrypt, Encrypt, GetAlgorithms, GetJwks, GetKey, ListKeys, Random, RotateKey,
    Sign, UnwrapDataKey, Verify,
};

use crate::{
    Error, NAME,
    service::{self, Service},
};

const ABOUT: &str = "Keys that never leave: sealing, signing, data keys.";

/// The endpoints with what answers them.
pub(crate) fn api(service: Arc<Service>) -> Api {
    Api::build(NAME, ABOUT, service)
        .on::<CreateKey, _, _, _>(|service, context, request| async move {
            service.create_key(context.did(), request, context.request_key.as_ref()).await
        })
        .on::<ListKeys, _, _, _>(|service, context, request| async move {
            service.list_keys(context.did(), request).await
        })
        .on::<GetKey, _, _, _>(|service, context, request| async move {
            service.get_key(context.did(), request.key_id).await
        })
        .on::<RotateKey, _, _, _>(|service, context, request| async move {
            service.rotate_key(context.did(), request.key_id, context.request_key.as_ref()).await
        })
        .on::<Encrypt, _, _, _>(|service, context, request| async move {
            service.encrypt(context.did(), request).await
        })
        .on::<Decrypt, _, _, _>(|service, context, request| async move {
            service.decrypt(context.did(), request).await
        })
        .on::<CreateDataKeys, _, _, _>(|service, context, request| async move {
            service.create_data_keys(context.did(), request).await
        })
        .on::<UnwrapDataKey, _, _, _>(|service, context, request| async move {
            service.unwrap_data_key(context.did(), request).await
        })
        .on::<Sign, _, _, _>(
            |service, context, request| async move { service.sign(context.did(), request).await },
        )
        .on::<Verify, _, _, _>(|service, _, request| async move { service.verify_signature(request).await })
        .on::<Random, _, _, _>(|service, _, request| async move { service.random(&request) })
        .on::<GetAlgorithms, _, _, _>(|_, _, _| async move { Ok::<_, Error>(service::algorithms()) })
        .on::<GetJwks, _, _, _>(|service, _, request| async move { service.jwks(request.key_id).await })
        .done()
}
