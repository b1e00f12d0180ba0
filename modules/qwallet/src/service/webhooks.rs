//! Webhooks: made, shown, changed, removed, given new keys.
//!
//! **Invariant:** a secret leaves in the answer that made it, and in no other.

use std::sync::Arc;

use q_core::{AuditEntry, Caller, Page, RequestKey, Span};
use q_db::{DbError, Tx};
use q_notify::{Secret, SigningKey, Uri};
use qwallet_api::{
    CreateWebhookRequest, Delivery, DeliveryId, ListDeliveriesRequest, UpdateWebhookRequest, Webhook,
    WebhookId, errors,
};

use super::{Service, directory::WalletEntry};
use crate::{
    domain::{
        payment::Refusal,
        webhooks::{Patterns, Progress, Scheme, Status},
    },
    error::Error,
    store::{
        self,
        webhooks::{DeliveryRow, WebhookRow},
    },
};

/// How many webhooks one wallet has at most.
const OF_WALLET_MAX: usize = 20;
/// How long both keys sign after a new one was made.
const BOTH_KEYS: Span = Span::seconds(86_400);
/// The longest address.
const URL_BYTES_MAX: usize = 2_000;

const NOT_FOUND: Refusal = Refusal::Record {
    code: &errors::WEBHOOK_NOT_FOUND,
    detail: "GET /webhooks lists the webhooks of the caller's wallet",
};
const DELIVERY_NOT_FOUND: Refusal = Refusal::Record {
    code: &errors::DELIVERY_NOT_FOUND,
    detail: "GET /webhooks/{webhookId}/deliveries lists what was sent within thirty days",
};
const TOO_MANY: Refusal =
    Refusal::Record { code: &errors::WEBHOOKS_MAX, detail: "a wallet has at most 20 webhooks; remove one" };

/// What deliveries of one webhook are signed with.
pub(super) enum Key {
    Shared(Secret),
    Paired(SigningKey),
}

impl Key {
    fn generate(scheme: Scheme, env: &q_core::Env) -> Self {
        match scheme {
            Scheme::Shared => Self::Shared(Secret::generate(env)),
            Scheme::Paired => Self::Paired(SigningKey::generate(env)),
        }
    }

    /// The text that is sealed.
    fn text(&self) -> String {
        match self {
            Self::Shared(secret) => secret.text().to_string(),
            Self::Paired(key) => key.text().to_string(),
        }
    }

    fn read(scheme: Scheme, text: &str) -> Option<Self> {
        match scheme {
            Scheme::Shared => text.parse().ok().map(Self::Shared),
            Scheme::Paired => text.parse().ok().map(Self::Paired),
        }
    }

    pub(super) fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        match self {
            Self::Shared(secret) => secret.sign(id, at, body),
            Self::Paired(key) => key.sign(id, at, body),
        }
    }
}

impl Service {
    /// Has what happens to a wallet of the caller sent to an address.
    pub async fn create_webhook(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: CreateWebhookRequest,
    ) -> Result<Webhook, Error> {
        let wallet = self.own_wallet(caller, request.wallet.as_deref()).await?;
        let scheme = request.scheme.as_deref().unwrap_or(Scheme::Shared.name());
        let scheme = Scheme::from_name(scheme).ok_or(Refusal::Malformed("scheme"))?;
        let event_types = Patterns::read(&request.event_types).ok_or(Refusal::Malformed("eventTypes"))?;
        self.check_url(&request.url)?;
        let id = WebhookId::new(&self.env);
        let signing = Key::generate(scheme, &self.env);
        let row = WebhookRow {
            id,
            wallet: wallet.row.id,
            reference: wallet.row.reference.clone(),
            url: self.seal("webhooks", "url", &id.to_string(), &request.url),
            event_types,
            scheme,
            secret: self.seal("webhooks", "secret", &id.to_string(), &signing.text()),
            old_secret: None,
            status: Status::Active,
            after_position: self.db.outbox_head().await?,
            created_at: self.env.now(),
        };
        let by = caller.did().cloned();
        let made = self.db.write_once(key, move |tx| {
            if store::webhooks::of_wallet(tx, row.wallet)?.len() >= OF_WALLET_MAX {
                return Err(Error::Refused(TOO_MANY));
            }
            store::webhooks::insert(tx, &row)?;
            audit(tx, "webhook.create", by.as_ref(), id)?;
            Ok(id)
        });
        let made = made.await?;
        let mut webhook = self.webhook(caller, made.value).await?;
        // A repetition does not show the secret again: whoever lost the answer has a new key made.
        if let (Key::Shared(secret), false) = (&signing, made.replayed) {
            webhook.secret = Some(secret.text().to_string());
        }
        Ok(webhook)
    }

    /// The webhooks of a wallet of the caller.
    pub async fn webhooks(&self, caller: &Caller, wallet: Option<&str>) -> Result<Vec<Webhook>, Error> {
        let id = self.own_wallet(caller, wallet).await?.row.id;
        let rows = self.db.read(move |reader| store::webhooks::of_wallet(reader, id)).await?;
        rows.iter().map(|row| self.webhook_of(row)).collect()
    }

    /// A webhook of the caller.
    pub async fn webhook(&self, caller: &Caller, id: WebhookId) -> Result<Webhook, Error> {
        self.webhook_of(&self.own_webhook(caller, id).await?)
    }

    /// Changes where a webhook goes, what it is told, or whether.
    pub async fn update_webhook(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: UpdateWebhookRequest,
    ) -> Result<Webhook, Error> {
        let id = request.webhook_id;
        self.own_webhook(caller, id).await?;
        if let Some(url) = &request.url {
            self.check_url(url)?;
        }
        let url = request.url.map(|url| self.seal("webhooks", "url", &id.to_string(), &url));
        let event_types = request
            .event_types
            .map(|patterns| Patterns::read(&patterns).ok_or(Refusal::Malformed("eventTypes")))
            .transpose()?;
        let status = match request.status.as_deref() {
            None => None,
            Some("ACTIVE") => Some(Status::Active),
            Some("PAUSED") => Some(Status::Paused),
            Some(_) => return Err(Refusal::Malformed("status").into()),
        };
        let (by, head) = (caller.did().cloned(), self.db.outbox_head().await?);
        let changed = self.db.write_once(key, move |tx| {
            let mut row = store::webhooks::find(tx, id)?.ok_or(NOT_FOUND)?;
            if let Some(url) = &url {
                row.url.clone_from(url);
            }
            if let Some(event_types) = &event_types {
                row.event_types.clone_from(event_types);
            }
            if let Some(status) = status {
                if row.status != Status::Active && status == Status::Active {
                    // What happened while nobody was to be told stays untold.
                    row.after_position = head;
                }
                row.status = status;
            }
            store::webhooks::update(tx, &row)?;
            audit(tx, "webhook.update", by.as_ref(), id)?;
            Ok::<_, Error>(id)
        });
        let id = changed.await?.value;
        self.webhook(caller, id).await
    }

    /// Removes a webhook and everything that waits for it.
    pub async fn delete_webhook(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: WebhookId,
    ) -> Result<Webhook, Error> {
        let by = caller.did().cloned();
        let shown = match self.own_webhook(caller, id).await {
            Ok(row) => Some(Webhook { status: "REMOVED".to_owned(), ..self.webhook_of(&row)? }),
            // Removed already, perhaps by this very request.
            Err(Error::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let answer = self.db.write_once(key, move |tx| {
            let shown = shown.clone().ok_or(NOT_FOUND)?;
            store::webhooks::delete(tx, id)?;
            audit(tx, "webhook.delete", by.as_ref(), id)?;
            Ok::<_, Error>(shown)
        });
        Ok(answer.await?.value)
    }

    /// Gives a webhook a new key; the one before signs beside it for a day.
    pub async fn rotate_webhook(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: WebhookId,
    ) -> Result<Webhook, Error> {
        let row = self.own_webhook(caller, id).await?;
        let signing = Key::generate(row.scheme, &self.env);
        let sealed = self.seal("webhooks", "secret", &id.to_string(), &signing.text());
        let old = self.webhook_key(&row, &row.secret)?.text();
        let old = self.seal("webhooks", "old_secret", &id.to_string(), &old);
        let by = caller.did().cloned();
        let rotated = self.db.write_once(key, move |tx| {
            let mut now = store::webhooks::find(tx, id)?.ok_or(NOT_FOUND)?;
            now.old_secret = Some((old.clone(), tx.now() + BOTH_KEYS));
            now.secret.clone_from(&sealed);
            store::webhooks::update(tx, &now)?;
            audit(tx, "webhook.rotate", by.as_ref(), id)?;
            Ok::<_, Error>(id)
        });
        let rotated = rotated.await?;
        let mut webhook = self.webhook(caller, rotated.value).await?;
        if let (Key::Shared(secret), false) = (&signing, rotated.replayed) {
            webhook.secret = Some(secret.text().to_string());
        }
        Ok(webhook)
    }

    /// What was and is sent to a webhook of the caller, newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        request: ListDeliveriesRequest,
    ) -> Result<Page<Delivery>, Error> {
        let id = self.own_webhook(caller, request.webhook_id).await?.id;
        let progress = request
            .status
            .map(|name| Progress::from_name(&name).ok_or(Refusal::Malformed("status")))
            .transpose()?;
        let before = match request.cursor {
            Some(cursor) => cursor.parse().map_err(|_| Refusal::Malformed("cursor"))?,
            None => DeliveryId::from_bytes([0xff; 16]),
        };
        let count = request.limit.rows();
        let rows = self
            .db
            .read(move |reader| store::webhooks::deliveries(reader, id, progress, before, count))
            .await?;
        let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
        let next_cursor = rows.last().filter(|_| is_full).map(|row| row.id.to_string());
        Ok(Page { items: rows.iter().map(delivery_of).collect(), next_cursor })
    }

    /// Sends an event of a webhook of the caller again.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: DeliveryId,
    ) -> Result<Delivery, Error> {
        let row = self.db.read(move |reader| store::webhooks::find_delivery(reader, id)).await?;
        let row = row.ok_or(DELIVERY_NOT_FOUND)?;
        let webhook = self.own_webhook(caller, row.webhook).await.map_err(|error| match error {
            Error::Refused(_) => Error::Refused(DELIVERY_NOT_FOUND),
            error => error,
        })?;
        if webhook.status != Status::Active {
            return Err(Refusal::InvalidState(webhook.status.name()).into());
        }
        let by = caller.did().cloned();
        let queued = self.db.write_once(key, move |tx| {
            let now = tx.now();
            store::webhooks::requeue(tx, id, now)?;
            audit(tx, "webhook.redeliver", by.as_ref(), id)?;
            Ok::<_, Error>(id)
        });
        let id = queued.await?.value;
        let row = self.db.read(move |reader| store::webhooks::find_delivery(reader, id)).await?;
        Ok(delivery_of(&row.ok_or(DELIVERY_NOT_FOUND)?))
    }

    /// The key sealed in `sealed`, the present one or the one before.
    pub(super) fn webhook_key(&self, row: &WebhookRow, sealed: &[u8]) -> Result<Key, Error> {
        let is_old = row.old_secret.as_ref().is_some_and(|(old, _)| old == sealed);
        let column = if is_old { "old_secret" } else { "secret" };
        let text = self.unseal("webhooks", column, &row.id.to_string(), Some(sealed))?;
        let key = text.and_then(|text| Key::read(row.scheme, &text));
        key.ok_or(Error::Inconsistent("the key of a webhook"))
    }

    /// Where a webhook goes.
    pub(super) fn webhook_url(&self, row: &WebhookRow) -> Result<String, Error> {
        let url = self.unseal("webhooks", "url", &row.id.to_string(), Some(&row.url))?;
        url.ok_or(Error::Inconsistent("the address of a webhook"))
    }

    fn webhook_of(&self, row: &WebhookRow) -> Result<Webhook, Error> {
        let public_key = match self.webhook_key(row, &row.secret)? {
            Key::Shared(_) => None,
            Key::Paired(key) => Some(key.public_text()),
        };
        let now = self.env.now();
        Ok(Webhook {
            webhook_id: row.id,
            wallet_ref: row.reference.clone(),
            url: self.webhook_url(row)?,
            event_types: row.event_types.list().to_vec(),
            scheme: row.scheme.name().to_owned(),
            status: row.status.name().to_owned(),
            secret: None,
            public_key,
            old_key_until: row.old_secret.as_ref().map(|(_, until)| *until).filter(|until| *until > now),
            created_at: row.created_at,
        })
    }

    /// A webhook of a wallet the caller may manage; to everybody else it does not exist.
    async fn own_webhook(&self, caller: &Caller, id: WebhookId) -> Result<WebhookRow, Error> {
        let row = self.db.read(move |reader| store::webhooks::find(reader, id)).await?;
        let row = row.ok_or(NOT_FOUND)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let is_theirs = wallet.is_some_and(|wallet| self.may(caller, &wallet, "webhooks"));
        if is_theirs { Ok(row) } else { Err(NOT_FOUND.into()) }
    }

    pub(super) async fn own_wallet(
        &self,
        caller: &Caller,
        name: Option<&str>,
    ) -> Result<Arc<WalletEntry>, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        let entry = self.directory.find(name.unwrap_or(did.as_str())).await?;
        let entry = entry.filter(|entry| self.may(caller, entry, "webhooks"));
        entry.ok_or(Error::Refused(Refusal::WalletNotFound))
    }

    fn check_url(&self, url: &str) -> Result<(), Error> {
        let parsed: Option<Uri> = url.parse().ok().filter(|_| url.len() <= URL_BYTES_MAX);
        let parsed = parsed.ok_or(Refusal::Malformed("url"))?;
        self.hooks.poster.reach().check(&parsed).map_err(|error| Error::WebhookUrl(error.0))
    }
}

fn delivery_of(row: &DeliveryRow) -> Delivery {
    Delivery {
        delivery_id: row.id,
        webhook_id: row.webhook,
        event_id: row.event_id.clone(),
        event_type: row.event_type.clone(),
        status: row.progress.name().to_owned(),
        attempts: row.attempts,
        attempted_at: row.attempted_at,
        next_attempt_at: (row.progress == Progress::Waiting).then_some(row.next_at),
        response_status: row.response_status,
        error: row.error.clone(),
        created_at: row.created_at,
    }
}

fn audit(
    tx: &mut Tx<'_>,
    action: &'static str,
    by: Option<&q_core::Did>,
    what: impl std::fmt::Display,
) -> Result<(), DbError> {
    tx.audit(AuditEntry::change(action, by, what)).map(drop)
}
