//! Who is told, and telling them.

use std::{
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use futures_util::future::join_all;
use q_core::{AuditEntry, Env, Span, hash};
use q_db::Tx;
use q_http::Context;
use q_notify::{Channel, Message};
use q_ops_api::status::{SubscribeRequest, Subscriber, SubscriberId, SubscriberKind, Subscribers};
use q_runtime::Job;
use q_seal::{DataKey, DataKeyId, Place, Sealer};

use super::notices::{self, Delivery, Kept};
use crate::{Desk, Error};

/// The pause between two rounds of deliveries.
const DELIVER_EVERY: Span = Span::seconds(3);
/// The most deliveries of one round.
const DELIVERIES_MAX: u32 = 32;
/// The longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 2_000;
/// The file with the key that seals addresses: beside the secrets of the instance and not in its data, and not with
/// the key service, because people must be told when that one is down.
const KEY_FILE: &str = "ops.seal";

/// Opens the key that seals addresses, or makes it.
pub(crate) fn open_sealer(keys: &Path, env: &Env) -> std::io::Result<Sealer> {
    let path = keys.join(KEY_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(keys)?;
            let fresh = env.random::<48>().to_vec();
            let draft = path.with_extension("draft");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(&fresh)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            fresh
        }
        Err(error) => return Err(error),
    };
    let damaged = || std::io::Error::new(ErrorKind::InvalidData, format!("{} is damaged", path.display()));
    let (id, key) = bytes.split_at_checked(16).ok_or_else(damaged)?;
    let (id, key) = (id.try_into().map_err(|_| damaged())?, key.try_into().map_err(|_| damaged())?);
    Ok(Sealer::new(DataKey::new(DataKeyId(id), key), Vec::new()))
}

/// Delivers what waits, again and again.
pub(crate) fn job(desk: &Arc<Desk>) -> Job {
    let desk = desk.clone();
    Job::every("tell-subscribers", DELIVER_EVERY, move || {
        let desk = desk.clone();
        async move { desk.deliver().await.map_err(|error| error.to_string()) }
    })
}

impl Desk {
    /// Adds somebody who is told.
    pub(crate) async fn subscribe(
        &self,
        context: &Context,
        request: SubscribeRequest,
    ) -> Result<Subscriber, Error> {
        let address = request.address.trim().to_owned();
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(Error::Subscriber("the address is too long".to_owned()));
        }
        let channel = channel(request.kind, &address)?;
        self.notifier
            .check(&channel)
            .map_err(|error| Error::Subscriber(without(&error.to_string(), &address)))?;
        let id = SubscriberId::new(&self.env);
        let kept = Kept {
            id,
            kind: request.kind,
            topic: request.topic,
            sealed: self.sealer.seal(place(&id.to_string()), address.as_bytes(), &self.env),
            hint: hint(&channel),
            created_at: self.env.now(),
        };
        let digest = format!("{:?} {address}", request.topic);
        let digest = hash::hex(&hash::sha256(digest.as_bytes()));
        let by = context.caller.did().cloned();
        let add = move |tx: &mut Tx<'_>| -> Result<Subscriber, Error> {
            if !notices::insert(tx, &kept, &digest)? {
                return Err(Error::SubscriberExists);
            }
            tx.audit(AuditEntry::change("subscriber.add", by.as_ref(), kept.id).family("operations"))?;
            Ok(shown(&kept, 0))
        };
        Ok(self.db.write_once(context.request_key.as_ref(), add).await?.value)
    }

    /// Who is told.
    pub(crate) async fn subscribers(&self) -> Result<Subscribers, Error> {
        let all = self.db.read(notices::subscribers).await?;
        let given_up = all.iter().filter(|(_, _, lost)| *lost > 0);
        Ok(Subscribers {
            given_up: given_up.map(|(kept, _, lost)| (kept.id.to_string(), *lost)).collect(),
            items: all.iter().map(|(kept, waiting, _)| shown(kept, *waiting)).collect(),
        })
    }

    /// Removes somebody.
    pub(crate) async fn unsubscribe(&self, context: &Context, id: SubscriberId) -> Result<(), Error> {
        let by = context.caller.did().cloned();
        self.db
            .write(move |tx| {
                if !notices::delete(tx, id)? {
                    return Err(Error::SubscriberNotFound);
                }
                tx.audit(AuditEntry::change("subscriber.remove", by.as_ref(), id).family("operations"))?;
                Ok(())
            })
            .await
    }

    /// One round of deliveries.
    pub(crate) async fn deliver(&self) -> Result<(), Error> {
        // Asked first without a write: there is nothing to say most of the time.
        if !self.db.read(notices::has_due(self.env.now())).await? {
            return Ok(());
        }
        let due = self.db.write(|tx| notices::take_due(tx, DELIVERIES_MAX)).await?;
        let attempts = due.into_iter().map(|delivery| self.attempt(delivery));
        join_all(attempts).await.into_iter().collect()
    }

    async fn attempt(&self, delivery: Delivery) -> Result<(), Error> {
        let (notice, to, attempts) = (delivery.notice, delivery.to.id, delivery.attempts);
        let outcome = self.tell(&delivery).await;
        // Who is told stays out of the log; the id finds it.
        match outcome {
            Ok(()) => self.db.write(move |tx| notices::said(tx, notice, to)).await?,
            Err(is_final) => {
                tracing::warn!(notice.id = %notice, subscriber.id = %to, attempts, "a subscriber could not be told");
                self.db.write(move |tx| notices::failed(tx, notice, to, attempts + 1, is_final)).await?;
            }
        }
        Ok(())
    }

    /// Tries once; the error says whether trying again is of no use.
    async fn tell(&self, delivery: &Delivery) -> Result<(), bool> {
        let row = delivery.to.id.to_string();
        let address = self.sealer.open_text(place(&row), &delivery.to.sealed).map_err(|_| true)?;
        let channel = channel(delivery.to.kind, &address).map_err(|_| true)?;
        let sent = self.notifier.send(&channel, &message(delivery, &self.instance.origin)).await;
        sent.map(|_| ()).map_err(|error| error.is_final)
    }
}

/// What a subscriber is told.
fn message(delivery: &Delivery, origin: &str) -> Message {
    let text = |name: &str| delivery.body[name].as_str().unwrap_or_default();
    let about = ["incident", "maintenance"].into_iter().map(text).find(|id| !id.is_empty());
    let lines = [
        delivery.subject.clone(),
        text("text").to_owned(),
        match (text("from"), text("to")) {
            ("", _) | (_, "") => String::new(),
            (from, to) => format!("From {from} to {to}."),
        },
        format!("More: {origin}/status{}", about.map(|id| format!("#{id}")).unwrap_or_default()),
    ];
    let text = lines.iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>().join("\n\n");
    Message {
        id: delivery.notice.to_string(),
        thread: about.map(str::to_owned),
        at: delivery.at,
        kind: format!("q.ops.{}.told", delivery.body["what"].as_str().unwrap_or("status")),
        subject: delivery.subject.clone(),
        text,
        data: delivery.body.clone(),
    }
}

fn channel(kind: SubscriberKind, address: &str) -> Result<Channel, Error> {
    let word = match kind {
        SubscriberKind::Webhook => "webhook",
        SubscriberKind::Email => "email",
    };
    format!("{word} {address}").parse::<Channel>().map_err(|error| Error::Subscriber(error.why.to_owned()))
}

/// What may be shown of an address: the host that is told, not whom.
fn hint(channel: &Channel) -> String {
    match channel {
        Channel::Webhook(uri) => uri.host().unwrap_or_default().to_owned(),
        Channel::Email(address) => {
            let first = address.user().chars().next().map(String::from).unwrap_or_default();
            format!("{first}…@{}", address.domain())
        }
        Channel::Command(_) => String::new(),
    }
}

/// A message without the address it may repeat.
fn without(message: &str, address: &str) -> String {
    message.replace(address, "this address")
}

fn place(row: &str) -> Place<'_> {
    Place { module: crate::NAME, table: "subscribers", column: "address", row }
}

fn shown(kept: &Kept, waiting: i64) -> Subscriber {
    Subscriber {
        id: kept.id,
        kind: kept.kind,
        topic: kept.topic,
        address_hint: kept.hint.clone(),
        created_at: kept.created_at,
        waiting,
    }
}
