//! `/webhooks`, `/deliveries`.

use q_http::ApiBuilder;
use qwallet_api::{
    CreateWebhook, DeleteWebhook, DeliveryPage, GetWebhook, ListDeliveries, ListWebhooks, Redeliver,
    RotateWebhook, UpdateWebhook, WebhookList,
};

use crate::{error::Error, service::Service};

pub(super) fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateWebhook, _, _, _>(|service, context, request| async move {
        service.create_webhook(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<ListWebhooks, _, _, _>(|service, context, request| async move {
        let items = service.webhooks(&context.caller, request.wallet.as_deref()).await?;
        Ok::<_, Error>(WebhookList { items })
    })
    .on::<GetWebhook, _, _, _>(|service, context, request| async move {
        service.webhook(&context.caller, request.webhook_id).await
    })
    .on::<UpdateWebhook, _, _, _>(|service, context, request| async move {
        service.update_webhook(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<DeleteWebhook, _, _, _>(|service, context, request| async move {
        service.delete_webhook(&context.caller, context.request_key.as_ref(), request.webhook_id).await
    })
    .on::<RotateWebhook, _, _, _>(|service, context, request| async move {
        service.rotate_webhook(&context.caller, context.request_key.as_ref(), request.webhook_id).await
    })
    .on::<ListDeliveries, _, _, _>(|service, context, request| async move {
        let page = service.deliveries(&context.caller, request).await?;
        Ok::<_, Error>(DeliveryPage { items: page.items, next_cursor: page.next_cursor })
    })
    .on::<Redeliver, _, _, _>(|service, context, request| async move {
        service.redeliver(&context.caller, context.request_key.as_ref(), request.delivery_id).await
    })
}
