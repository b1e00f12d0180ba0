//! Webhooks: what happens to a wallet, told to an address of its owner's choice (Standard Webhooks 1.0).

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{PageLimit, Timestamp};

use crate::{
    errors::{
        DELIVERY_NOT_FOUND, INVALID_STATE, WALLET_NOT_FOUND, WEBHOOK_NOT_FOUND, WEBHOOK_URL_FORBIDDEN,
        WEBHOOKS_MAX,
    },
    wire::wire,
};

q_core::typed_id!(
    /// An address that is told.
    WebhookId,
    "webhook_"
);
q_core::typed_id!(
    /// One event on its way to one address.
    DeliveryId,
    "delivery_"
);

wire! {
    /// Wants a wallet's events sent to an address.
    pub struct CreateWebhookRequest {
        /// DID, `wallet_…` or wallet reference; the caller's own wallet when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
        /// Where to: https, at an address of the public Internet unless the operator allows others.
        pub url: String,
        /// Topics such as `q.qwallet.tx.settled.v1`, beginnings such as `q.qwallet.tx.*`, or `*`; 1 to 32.
        pub event_types: Vec<String>,
        /// `v1` (HMAC-SHA256 with a shared secret) or `v1a` (Ed25519; the receiver holds a public key); `v1` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub scheme: Option<String>,
    }

    /// An address that is told.
    pub struct Webhook {
        /// Its id.
        pub webhook_id: WebhookId,
        /// The wallet whose events it is told.
        pub wallet_ref: String,
        /// Where to.
        pub url: String,
        /// Which events.
        pub event_types: Vec<String>,
        /// `v1` or `v1a`.
        pub scheme: String,
        /// `ACTIVE`, `PAUSED` by its owner, or `DISABLED` because the receiver answered that it is gone.
        pub status: String,
        /// `whsec_…`: the secret of `v1`, shown when it is made and never again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub secret: Option<String>,
        /// `whpk_…`: the public key of `v1a`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub public_key: Option<String>,
        /// Until when deliveries also bear a signature by the key before this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub old_key_until: Option<Timestamp>,
        /// When it was made.
        pub created_at: Timestamp,
    }

    /// Asks for the webhooks of a wallet.
    pub struct ListWebhooksRequest {
        /// DID, `wallet_…` or wallet reference; the caller's own wallet when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
    }

    /// Webhooks.
    pub struct WebhookList {
        /// Them, oldest first.
        pub items: Vec<Webhook>,
    }

    /// Names a webhook.
    pub struct WebhookPath {
        /// `webhook_…`
        pub webhook_id: WebhookId,
    }

    /// Changes a webhook; what is absent stays.
    pub struct UpdateWebhookRequest {
        /// `webhook_…`
        pub webhook_id: WebhookId,
        /// Where to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub url: Option<String>,
        /// Which events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub event_types: Option<Vec<String>>,
        /// `ACTIVE` or `PAUSED`. What happens while it is paused is not told later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
    }

    /// Asks for a webhook's deliveries, newest first.
    pub struct ListDeliveriesRequest {
        /// `webhook_…`
        pub webhook_id: WebhookId,
        /// Only those with this status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// One event on its way to one address.
    pub struct Delivery {
        /// Its id.
        pub delivery_id: DeliveryId,
        /// The webhook.
        pub webhook_id: WebhookId,
        /// The event's id, which receivers see as `webhook-id`: the same at each attempt.
        pub event_id: String,
        /// The event's topic.
        pub event_type: String,
        /// `WAITING`, `DELIVERED`, or `FAILED` after the last attempt.
        pub status: String,
        /// How many attempts there were.
        pub attempts: u32,
        /// When the last one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub attempted_at: Option<Timestamp>,
        /// When the next one is due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_attempt_at: Option<Timestamp>,
        /// What the receiver answered last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub response_status: Option<u16>,
        /// Why the last attempt failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub error: Option<String>,
        /// When it was queued.
        pub created_at: Timestamp,
    }

    /// A page of deliveries.
    pub struct DeliveryPage {
        /// The deliveries, newest first.
        pub items: Vec<Delivery>,
        /// Where the next page begins; absent on the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    /// Names a delivery.
    pub struct DeliveryPath {
        /// `delivery_…`
        pub delivery_id: DeliveryId,
    }
}

json_types!(Webhook, WebhookList, Delivery, DeliveryPage);

endpoint! {
    /// Has what happens to the caller's wallet sent to an address, signed. The secret is shown in this answer alone.
    pub CreateWebhook = POST "/webhooks" (CreateWebhookRequest) -> Webhook;
    status 201;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, WALLET_NOT_FOUND, WEBHOOK_URL_FORBIDDEN, WEBHOOKS_MAX,
    ];
    example { "url": "https://shop.example.org/hooks/q", "eventTypes": ["q.qwallet.tx.*"] };
}
endpoint! {
    /// Lists the webhooks of the caller's wallet.
    pub ListWebhooks = GET "/webhooks" (ListWebhooksRequest) -> WebhookList;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
}
endpoint! {
    /// Shows a webhook of the caller.
    pub GetWebhook = GET "/webhooks/{webhookId}" (WebhookPath) -> Webhook;
    access Access::Identity("wallet:read");
    errors [WEBHOOK_NOT_FOUND];
}
endpoint! {
    /// Changes where a webhook goes, what it is told, or whether. One that was disabled is told again.
    pub UpdateWebhook = PATCH "/webhooks/{webhookId}" (UpdateWebhookRequest) -> Webhook;
    access Access::Identity("wallet:write");
    errors [codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, WEBHOOK_NOT_FOUND, WEBHOOK_URL_FORBIDDEN];
    example { "status": "PAUSED" };
}
endpoint! {
    /// Removes a webhook and everything that waits for it.
    pub DeleteWebhook = DELETE "/webhooks/{webhookId}" (WebhookPath) -> Webhook;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, WEBHOOK_NOT_FOUND];
}
endpoint! {
    /// Gives a webhook a new key. For a day deliveries are signed with both, so that receivers can change over.
    pub RotateWebhook = POST "/webhooks/{webhookId}/rotate" (WebhookPath) -> Webhook;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, WEBHOOK_NOT_FOUND];
}
endpoint! {
    /// Lists what was and is sent to a webhook, newest first; for thirty days.
    pub ListDeliveries = GET "/webhooks/{webhookId}/deliveries" (ListDeliveriesRequest) -> DeliveryPage;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST, WEBHOOK_NOT_FOUND];
}
endpoint! {
    /// Sends an event again, under the same id.
    pub Redeliver = POST "/deliveries/{deliveryId}/redeliver" (DeliveryPath) -> Delivery;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, DELIVERY_NOT_FOUND, INVALID_STATE];
}
