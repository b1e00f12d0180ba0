//! Uses of keys, audited in aggregate: one entry when a minute's first use of a kind happens, before it is
//! answered, and one with the count when the minute is over. No use goes unaudited, and none waits for a
//! commit of its own.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use q_core::{AuditEntry, Did, Env, Span, Timestamp, Verdict, hash::hex};
use q_db::{DbError, Tx};
use qlock_api::{KeyId, events::KeyUsed};
use serde_json::json;

use super::Service;
use crate::{
    Error,
    store::uses::{self, Use},
};

/// The length of a counting window.
const MINUTE: Span = Span::seconds(60);
/// After this long, a window of another process is taken for abandoned.
const ABANDONED_AFTER: Span = Span::seconds(600);

/// What is done with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Encrypt,
    Decrypt,
    Sign,
    DataKey,
    Unwrap,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::DataKey => "data_key",
            Self::Unwrap => "unwrap",
        }
    }
}

/// The counts of the running minutes.
pub(super) struct UseBook {
    /// Names this run of the program, so that a crash's leftovers are told from our own.
    process: String,
    counts: Mutex<HashMap<Use, u64>>,
}

impl UseBook {
    pub(super) fn new(env: &Env) -> Self {
        Self { process: hex(&env.random::<8>()), counts: Mutex::default() }
    }
}

impl Service {
    /// Notes one use that went well; `target` is the key, or what stands for recipients outside.
    pub(super) async fn note(
        &self,
        actor: &Did,
        target: impl ToString,
        done: Operation,
    ) -> Result<(), Error> {
        self.count(actor, target.to_string(), done, "done").await
    }

    /// Notes one refused use. `target` is the key the caller owns, if it was that far.
    pub(super) async fn note_refusal(
        &self,
        actor: &Did,
        target: Option<KeyId>,
        tried: Operation,
    ) -> Result<(), Error> {
        let target = target.map_or_else(|| "unknown".to_owned(), |key_id| key_id.to_string());
        self.count(actor, target, tried, "refused").await
    }

    async fn count(
        &self,
        actor: &Did,
        target: String,
        operation: Operation,
        outcome: &str,
    ) -> Result<(), Error> {
        let one = Use {
            target,
            operation: operation.name().into(),
            outcome: outcome.into(),
            actor: actor.clone(),
            minute: minute_of(self.env.now()),
        };
        if let Some(count) = self.uses.counts.lock().get_mut(&one) {
            *count += 1;
            return Ok(());
        }
        let (row, process) = (one.clone(), self.uses.process.clone());
        self.db
            .write(move |tx| {
                if uses::open(tx, &process, &row)? {
                    tx.audit(entry(&row, "key.use.opened", &json!({"minute": row.minute})))?;
                }
                Ok::<_, DbError>(())
            })
            .await
            .map_err(Error::AuditUnavailable)?;
        *self.uses.counts.lock().entry(one).or_insert(0) += 1;
        Ok(())
    }

    /// Ends the windows that are over: one audit entry with the count each, one event per key and minute.
    pub(crate) async fn close_minutes(&self) -> Result<(), Error> {
        self.close_before(minute_of(self.env.now())).await?;
        self.close_abandoned().await
    }

    async fn close_before(&self, before: Timestamp) -> Result<(), Error> {
        let over: Vec<(Use, u64)> = {
            let mut counts = self.uses.counts.lock();
            counts.extract_if(|one, _| one.minute < before).collect()
        };
        if over.is_empty() {
            return Ok(());
        }
        let (rows, process) = (over.clone(), self.uses.process.clone());
        let written = self.db.write(move |tx| close(tx, &process, &rows)).await;
        if written.is_err() {
            let mut counts = self.uses.counts.lock();
            for (one, count) in over {
                *counts.entry(one).or_insert(0) += count;
            }
        }
        Ok(written?)
    }

    /// Ends windows whose process died: how often is not known any more, that it was is.
    async fn close_abandoned(&self) -> Result<(), Error> {
        let (process, before) = (self.uses.process.clone(), self.env.now() - ABANDONED_AFTER);
        let abandoned = self.db.read(move |reader| uses::list_abandoned(reader, &process, before)).await?;
        if abandoned.is_empty() {
            return Ok(());
        }
        self.db
            .write(move |tx| {
                for (process, one) in &abandoned {
                    uses::close(tx, process, one)?;
                    let details = json!({"minute": one.minute, "countAtLeast": 1});
                    tx.audit(entry(one, "key.used", &details))?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        Ok(())
    }
}

fn close(tx: &mut Tx<'_>, process: &str, over: &[(Use, u64)]) -> Result<(), DbError> {
    let mut events = BTreeMap::<(String, Timestamp), BTreeMap<String, u64>>::new();
    for (one, count) in over {
        uses::close(tx, process, one)?;
        tx.audit(entry(one, "key.used", &json!({"minute": one.minute, "count": count})))?;
        let counts = events.entry((one.target.clone(), one.minute)).or_default();
        *counts.entry(format!("{}:{}", one.operation, one.outcome)).or_insert(0) += count;
    }
    for ((target, from), counts) in events {
        if let Ok(key_id) = target.parse() {
            tx.emit(&KeyUsed { key_id, from, counts })?;
        }
    }
    Ok(())
}

fn entry(one: &Use, action: &str, details: &serde_json::Value) -> AuditEntry {
    let mut details = details.clone();
    details["operation"] = one.operation.clone().into();
    let verdict = if one.outcome == "done" { Verdict::Allow } else { Verdict::Deny };
    AuditEntry::change(action, Some(&one.actor), &one.target)
        .family("data_access")
        .verdict(verdict)
        .details(details)
}

const fn minute_of(instant: Timestamp) -> Timestamp {
    let micros = instant.micros();
    Timestamp::from_micros(micros - micros.rem_euclid(MINUTE.as_micros()))
}
