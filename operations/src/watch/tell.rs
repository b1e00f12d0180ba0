//! Telling what was decided to tell, and doing what level 1 does.
//!
//! What is to be told is written in the commit that decided it, and marked when the other side has taken it. A process
//! that dies between the two is followed by a second attempt under the same id, which receivers recognise; marking it
//! before sending would instead lose the page of a process that dies in between, and a page nobody hears of is worse
//! than one heard twice.

use std::time::Duration;

use futures_util::future::join_all;
use q_core::Span;
use q_notify::{Channel, SendError, pause};
use q_ops_api::incidents::EntryKind;
use serde::Deserialize;
use serde_json::json;

use super::{
    config::RECOVER,
    round::AUTOMATIC,
    store::{self, Due},
};
use crate::{Desk, Error, incidents::service::note_in};

/// How many are sent at the same time.
const BATCH: u32 = 16;
/// How long an attempt may take before another process tries too: longer than the longest attempt.
const HIDDEN: Span = Span::seconds(120);
/// How long a module may take to recover.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Answer {
    recovered: Vec<Recovered>,
}

#[derive(Deserialize)]
struct Recovered {
    what: String,
}

impl Desk {
    /// Sends what is due.
    pub(super) async fn tell_all(&self) -> Result<(), Error> {
        loop {
            let due = self.db.write(|tx| store::claim(tx, BATCH, HIDDEN)).await.map_err(Error::Db)?;
            if due.is_empty() {
                return Ok(());
            }
            let told = join_all(due.iter().map(|due| self.tell_one(due))).await;
            for outcome in told {
                outcome?;
            }
        }
    }

    async fn tell_one(&self, due: &Due) -> Result<(), Error> {
        let outcome = if due.channel == RECOVER { self.recover(due).await } else { self.send(due).await };
        let (due, now) = (due.clone(), self.env.now());
        let keep = move |tx: &mut q_db::Tx<'_>| -> Result<(), Error> {
            match &outcome {
                Ok(said) => {
                    store::attempted(tx, &due.id, said, true, None)?;
                    let (kind, text) = if due.channel == RECOVER {
                        ("recovery", said.clone())
                    } else {
                        ("told", format!("{} by {}: {said}", due.order.rung, due.channel))
                    };
                    store::add_entry(tx, due.page, kind, AUTOMATIC, &text)?;
                    // What level 1 did belongs to the incident it was done in.
                    if due.channel == RECOVER {
                        note_in(tx, EntryKind::Recovery, &text, json!({"page": due.page}))?;
                    }
                }
                Err(error) => {
                    let pause = if error.is_final { None } else { pause(due.attempt) };
                    let next_at = pause.map(|pause| now + pause);
                    store::attempted(tx, &due.id, &error.why, false, next_at)?;
                    // The first failure and the last are said; those between are counted.
                    if due.attempt == 1 || next_at.is_none() {
                        let next =
                            next_at.map_or_else(|| "given up".to_owned(), |at| format!("tried again {at}"));
                        let text = format!("{} by {}: {}; {next}", due.order.rung, due.channel, error.why);
                        store::add_entry(tx, due.page, "failed", AUTOMATIC, &text)?;
                    }
                }
            }
            Ok(())
        };
        self.db.write(keep).await
    }

    async fn send(&self, due: &Due) -> Result<String, SendError> {
        let channel: Channel = due
            .channel
            .parse()
            .map_err(|error: q_notify::NotAChannel| SendError { why: error.to_string(), is_final: true })?;
        self.notifier.send(&channel, &due.message()).await
    }

    /// Has each module do what it can, and says what it did. What level 1 could not do is no failure to be repeated:
    /// level 2 reads it.
    async fn recover(&self, due: &Due) -> Result<String, SendError> {
        let modules = due.order.recover.iter();
        let said = join_all(
            modules.map(|(module, actions)| self.recover_module(module, actions, &due.order.message.subject)),
        );
        Ok(said.await.join("; "))
    }

    async fn recover_module(&self, module: &str, actions: &[String], reason: &str) -> String {
        let body = json!({"actions": actions, "reason": reason}).to_string();
        let clients = self.peers.clients(module);
        let clients = if clients.is_empty() { vec![self.peers.client(module)] } else { clients };
        let mut said = Vec::new();
        for client in clients {
            let client = client.within(RECOVER_TIMEOUT);
            let answer = client.send("POST", "/recover", body.clone().into(), "application/json").await;
            said.push(match answer {
                Ok(answer) if answer.status().is_success() => {
                    match serde_json::from_slice::<Answer>(answer.body()) {
                        Ok(answer) => {
                            answer.recovered.into_iter().map(|one| one.what).collect::<Vec<_>>().join(", ")
                        }
                        Err(error) => format!("answered what cannot be read: {error}"),
                    }
                }
                Ok(answer) => format!("answered {}, nothing was done", answer.status()),
                Err(error) => format!("could not be asked to recover: {error}"),
            });
        }
        format!("{module}: {}", said.join(" | "))
    }
}
