//! `q wallet webhook`: what happens to a wallet, told to addresses of its owner's choice.

use clap::{Args, Subcommand};
use q_core::PageLimit;
use qwallet_api::{
    CreateWebhook, CreateWebhookRequest, DeleteWebhook, Delivery, DeliveryPath, ListDeliveries,
    ListDeliveriesRequest, ListWebhooks, ListWebhooksRequest, Redeliver, RotateWebhook, UpdateWebhook,
    UpdateWebhookRequest, Webhook, WebhookId, WebhookPath,
};

use crate::{
    cli::{AsArgs, one_of},
    output::{self, usage},
    session::Session,
};

/// `q wallet webhook`.
#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    pub verb: WebhookVerb,
}

#[derive(Debug, Subcommand)]
pub enum WebhookVerb {
    /// Have events sent to an address, signed as Standard Webhooks 1.0 says; the secret is shown once.
    Add {
        /// Where to, over https.
        url: String,
        /// Topics such as q.qwallet.tx.settled.v1, beginnings such as 'q.qwallet.tx.*', or '*'; divided by commas.
        #[arg(long, value_delimiter = ',', default_value = "q.qwallet.tx.*")]
        events: Vec<String>,
        /// v1 (a shared secret) or v1a (the receiver holds a public key).
        #[arg(long, default_value = "v1")]
        scheme: String,
        /// Whose wallet.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the addresses that are told.
    List {
        /// Whose wallet.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Make a new key; for a day deliveries are signed with both.
    Rotate(Named),
    /// Tell it nothing until it is resumed; what happens meanwhile is not told later.
    Pause(Named),
    /// Tell it again, also after it was disabled because its receiver answered that it is gone.
    Resume(Named),
    /// Show what was and is sent, newest first.
    Deliveries {
        /// webhook_…
        webhook: String,
        /// Only these.
        #[arg(long, ignore_case = true, value_parser = one_of(["WAITING", "DELIVERED", "FAILED"]))]
        status: Option<String>,
        /// Whose wallet.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Send an event again.
    Redeliver {
        /// delivery_…
        delivery: String,
        /// Whose wallet.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Remove an address and what waits for it.
    Remove(Named),
}

/// One webhook.
#[derive(Debug, Args)]
pub struct Named {
    /// webhook_…
    pub webhook: String,
    /// Whose wallet.
    #[command(flatten)]
    pub acting: AsArgs,
}

impl WebhookVerb {
    pub fn acting(&self) -> &AsArgs {
        match self {
            Self::Add { acting, .. }
            | Self::List { acting }
            | Self::Deliveries { acting, .. }
            | Self::Redeliver { acting, .. } => acting,
            Self::Rotate(named) | Self::Pause(named) | Self::Resume(named) | Self::Remove(named) => {
                &named.acting
            }
        }
    }
}

pub async fn run(session: &Session, args: &WebhookArgs) -> anyhow::Result<()> {
    let client = session.client("qwallet")?;
    let keyed = || client.clone().with_key(session.fresh_key());
    let as_json = args.verb.acting().json;
    match &args.verb {
        WebhookVerb::Add { url, events, scheme, .. } => {
            let request = CreateWebhookRequest {
                wallet: None,
                url: url.clone(),
                event_types: events.clone(),
                scheme: Some(scheme.clone()),
            };
            let made = keyed()
                .call::<CreateWebhook>(&request)
                .await
                .map_err(|error| super::hint_to_open(session, error))?;
            output::show(as_json, &made, show);
        }
        WebhookVerb::List { .. } => {
            let request = ListWebhooksRequest { wallet: None };
            let list = client
                .call::<ListWebhooks>(&request)
                .await
                .map_err(|error| super::hint_to_open(session, error))?;
            output::show(as_json, &list, |list| {
                list.items.iter().for_each(show);
                if list.items.is_empty() {
                    output::line("nobody is told; `q wallet webhook add URL` changes that");
                }
            });
        }
        WebhookVerb::Rotate(named) => {
            let rotated = keyed().call::<RotateWebhook>(&path(named)?).await?;
            output::show(as_json, &rotated, show);
        }
        WebhookVerb::Pause(named) => {
            let paused = keyed().call::<UpdateWebhook>(&status(named, "PAUSED")?).await?;
            output::show(as_json, &paused, show);
        }
        WebhookVerb::Resume(named) => {
            let resumed = keyed().call::<UpdateWebhook>(&status(named, "ACTIVE")?).await?;
            output::show(as_json, &resumed, show);
        }
        WebhookVerb::Remove(named) => {
            let removed = keyed().call::<DeleteWebhook>(&path(named)?).await?;
            output::show(as_json, &removed, show);
        }
        WebhookVerb::Deliveries { webhook, status, .. } => {
            let request = ListDeliveriesRequest {
                webhook_id: id(webhook)?,
                status: status.clone(),
                cursor: None,
                limit: PageLimit::default(),
            };
            let page = client.call::<ListDeliveries>(&request).await?;
            output::show(as_json, &page, |page| {
                page.items.iter().for_each(show_delivery);
                if let Some(cursor) = &page.next_cursor {
                    let path = format!("/webhooks/{webhook}/deliveries?limit=200&cursor={cursor}");
                    output::progress(format!("older ones: q call qwallet GET '{path}' --as NAME"));
                }
            });
        }
        WebhookVerb::Redeliver { delivery, .. } => {
            let delivery_id = delivery.parse().map_err(|error| {
                usage(format!(
                    "{delivery:?} is not a delivery's id: {error}; `q wallet webhook deliveries` lists them"
                ))
            })?;
            let queued = keyed().call::<Redeliver>(&DeliveryPath { delivery_id }).await?;
            output::show(as_json, &queued, show_delivery);
        }
    }
    Ok(())
}

fn id(text: &str) -> anyhow::Result<WebhookId> {
    text.parse().map_err(|error| {
        usage(format!("{text:?} is not a webhook's id: {error}; `q wallet webhook list` shows them"))
    })
}

fn path(named: &Named) -> anyhow::Result<WebhookPath> {
    Ok(WebhookPath { webhook_id: id(&named.webhook)? })
}

fn status(named: &Named, status: &str) -> anyhow::Result<UpdateWebhookRequest> {
    let webhook_id = id(&named.webhook)?;
    Ok(UpdateWebhookRequest { webhook_id, url: None, event_types: None, status: Some(status.to_owned()) })
}

fn show(webhook: &Webhook) {
    output::line(format!("{}  {:<8}  {}", webhook.webhook_id, webhook.status, webhook.url));
    output::line(format!("  told of {}", webhook.event_types.join(", ")));
    if let Some(key) = &webhook.public_key {
        output::line(format!("  verify with {key} (v1a)"));
    }
    if let Some(secret) = &webhook.secret {
        output::line(format!("  verify with {secret} (v1); it is not shown again"));
    }
    if let Some(until) = webhook.old_key_until {
        output::line(format!("  also signed with the key before, until {until}"));
    }
}

fn show_delivery(delivery: &Delivery) {
    let answered = delivery.response_status.map(|status| format!("  {status}")).unwrap_or_default();
    output::line(format!(
        "{}  {:<9}  {}  {}  attempts {}{answered}",
        delivery.delivery_id, delivery.status, delivery.created_at, delivery.event_type, delivery.attempts
    ));
    if let Some(error) = &delivery.error {
        output::line(format!("  {error}"));
    }
    if let Some(next) = delivery.next_attempt_at.filter(|_| delivery.attempts > 0) {
        output::line(format!("  again at {next}"));
    }
}
