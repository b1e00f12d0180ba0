//! What a module lets through at present, kept in its own store: open, read-only, closed, isolated, writes stopped.
//!
//! Two things are kept apart, because they end for different reasons. The *order* is an operator's: normal, read-only,
//! maintenance, isolated. The *write stop* is the store's own protection: something was found wrong, so nothing may be
//! built on it until a verification passed. The order is enforced where requests come in (q-http); the write stop here,
//! so that jobs and reactions to events stop too. Their cursors stand still, and nothing is lost by waiting.
//!
//! A module that was stopped before still opens, with the few rows it writes to do so, and serves what is read.
//!
//! **Invariant:** while writes are stopped, no write of an opened module is committed, whoever asks.

use std::sync::{Arc, Weak};

use q_core::{AuditEntry, Did, Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Db, DbError, Row,
    db::Inner,
    params,
    tx::{Reader, Tx},
};

/// How often another process's order is looked for (PostgreSQL), and how soon a stop that could not be written down
/// is tried again.
const REFRESH: std::time::Duration = std::time::Duration::from_millis(500);

/// What a module lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeKind {
    /// Everything.
    #[default]
    Normal,
    /// Reads; writes of canaries only.
    ReadOnly,
    /// Nothing but health, metrics, signing in, and canaries.
    Maintenance,
    /// Operators and services only.
    Isolated,
    /// Reads only, because something was found wrong.
    WriteStopped,
}

impl ModeKind {
    /// Every kind, in the order of the lists they appear in.
    pub const ALL: [Self; 5] =
        [Self::Normal, Self::ReadOnly, Self::Maintenance, Self::Isolated, Self::WriteStopped];

    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ReadOnly => "read-only",
            Self::Maintenance => "maintenance",
            Self::Isolated => "isolated",
            Self::WriteStopped => "write-stopped",
        }
    }
}

impl std::fmt::Display for ModeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for ModeKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no mode is called {text}; there are {names}")
        })
    }
}

/// Why writes were stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// An integrity check, or the engine itself, found damage. Ends when a verification passes.
    Damage,
    /// A sync failed, so what is on disk is not known. The module verifies by itself and goes on.
    FailedSync,
    /// Somebody ordered it.
    Ordered,
}

impl StopCause {
    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::FailedSync => "failed-sync",
            Self::Ordered => "ordered",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "failed-sync" => Self::FailedSync,
            "ordered" => Self::Ordered,
            _ => Self::Damage,
        }
    }
}

/// Stopped writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteStop {
    /// What led to it.
    pub cause: StopCause,
    /// What was found.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// What somebody wants a module to let through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModeOrder {
    /// The mode; [`ModeKind::WriteStopped`] stops writes and leaves the rest as it is.
    #[serde(rename = "mode")]
    pub kind: ModeKind,
    /// Why, for those who are refused and for the record.
    #[serde(default)]
    pub reason: String,
    /// When it is expected to end. Told to those who are refused; nothing ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who may write in spite of read-only mode or maintenance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canaries: Vec<Did>,
    /// End a write stop without a verification that passed; whoever orders it answers for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrule: bool,
}

/// What a module lets through, since when, and by whose word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mode {
    /// What is ordered; see [`Mode::state`] for what holds.
    #[serde(rename = "mode")]
    pub kind: ModeKind,
    /// Why.
    pub reason: String,
    /// When it is expected to end.
    pub until: Option<Timestamp>,
    /// Who may write in spite of read-only mode or maintenance.
    pub canaries: Vec<Did>,
    /// Who ordered it: an identity or a service; empty when nobody ever did.
    pub by: String,
    /// Since when; `None` when nobody ever ordered anything.
    pub since: Option<Timestamp>,
    /// Whether writes are stopped, whatever is ordered.
    pub write_stop: Option<WriteStop>,
}

impl Mode {
    /// What holds: the order and the write stop taken together.
    pub const fn state(&self) -> ModeKind {
        match (self.kind, &self.write_stop) {
            (ModeKind::Normal | ModeKind::ReadOnly, Some(_)) => ModeKind::WriteStopped,
            (kind, _) => kind,
        }
    }

    /// Whether nobody is refused anything.
    pub const fn is_normal(&self) -> bool {
        matches!(self.kind, ModeKind::Normal) && self.write_stop.is_none()
    }

    /// Whether this identity may write in spite of read-only mode or maintenance.
    pub fn is_canary(&self, did: Option<&Did>) -> bool {
        did.is_some_and(|did| self.canaries.contains(did))
    }
}

impl Db {
    /// What the module lets through at present. Costs no read; another process's order on the same store is seen
    /// within a second.
    pub fn mode(&self) -> Arc<Mode> {
        self.0.shared.mode()
    }

    /// Says what the module lets through from now on, in the name of `by` (an identity or a service).
    ///
    /// Ends a write stop only if the order overrules it; else a passed verification does ([`Db::resume_writes`]).
    pub async fn set_mode(&self, order: &ModeOrder, by: &str) -> Result<Arc<Mode>, DbError> {
        let (order, by) = (order.clone(), by.to_owned());
        if order.kind == ModeKind::WriteStopped {
            let stop = WriteStop { cause: StopCause::Ordered, reason: order.reason, since: self.now() };
            return self.change_mode(by, move |mode| mode.write_stop = Some(stop.clone())).await;
        }
        self.change_mode(by.clone(), move |mode| {
            let write_stop = mode.write_stop.take().filter(|_| !order.overrule);
            *mode = Mode {
                kind: order.kind,
                reason: order.reason.clone(),
                until: order.until,
                canaries: order.canaries.clone(),
                by: by.clone(),
                since: None,
                write_stop,
            };
        })
        .await
    }

    /// Stops writes at once: in memory first, since the store itself may be what fails, and in the store as soon as
    /// it takes it.
    pub fn stop_writes(&self, cause: StopCause, reason: &str) {
        self.0.shared.stop_writes(cause, reason);
    }

    /// Ends a write stop in the name of `by`; `then` is the order that holds from now on, or the one before.
    ///
    /// For whoever has seen a verification pass.
    pub async fn resume_writes(&self, then: Option<ModeOrder>, by: &str) -> Result<Arc<Mode>, DbError> {
        let name = by.to_owned();
        self.change_mode(name.clone(), move |mode| {
            mode.write_stop = None;
            if let Some(then) = &then {
                mode.kind = then.kind;
                mode.reason.clone_from(&then.reason);
                mode.until = then.until;
                mode.canaries.clone_from(&then.canaries);
                (mode.by, mode.since) = (name.clone(), None);
            }
        })
        .await
    }

    /// How long between `from` and `to` the module did not take everybody's writes.
    pub async fn paused_between(&self, from: Timestamp, to: Timestamp) -> Result<Span, DbError> {
        self.read(move |reader| reader.paused_between(from, to)).await
    }

    /// Says that the module has opened: from now on a write stop that was found in its store holds.
    pub fn opened(&self) {
        self.0.shared.opened();
    }

    /// Wakes whenever what the module lets through changes.
    pub fn mode_changes(&self) -> tokio::sync::watch::Receiver<Arc<Mode>> {
        self.0.shared.mode_changes()
    }

    async fn change_mode(
        &self,
        by: String,
        change: impl Fn(&mut Mode) + Send + 'static,
    ) -> Result<Arc<Mode>, DbError> {
        let _one_after_the_other = self.0.mode_changing.lock().await;
        self.change_alone(by, change).await
    }

    async fn change_alone(
        &self,
        by: String,
        change: impl Fn(&mut Mode) + Send + 'static,
    ) -> Result<Arc<Mode>, DbError> {
        let seen = self.mode();
        let in_memory = seen.clone();
        let mode = self
            .write_always(move |tx| {
                let mut before = load(tx)?;
                // A stop that the store has not taken yet began when it began.
                before.write_stop = before.write_stop.or_else(|| in_memory.write_stop.clone());
                let mut after = before.clone();
                change(&mut after);
                keep(tx, &before, &mut after, &by)?;
                Ok::<_, DbError>(after)
            })
            .await?;
        Ok(self.0.shared.set_mode(&seen, mode))
    }

    /// Reads what the store says. A stop that is not in the store yet stays.
    pub(crate) async fn refresh_mode(&self) -> Result<(), DbError> {
        let seen = self.mode();
        let mode = self.read(load).await?;
        self.0.shared.refresh_mode(&seen, mode);
        Ok(())
    }

    /// Writes down a stop that is only in memory.
    async fn keep_stop(&self) -> Result<(), DbError> {
        // Looked at when nobody else changes it: a stop that just ended is not written down again.
        let _one_after_the_other = self.0.mode_changing.lock().await;
        let Some(stop) = self.0.shared.unsaved_stop() else { return Ok(()) };
        self.change_alone(self.module().to_owned(), move |mode| mode.write_stop = Some(stop.clone())).await?;
        Ok(())
    }

    /// Starts keeping memory and store in step.
    pub(crate) fn keep_mode(&self) {
        let (weak, changes, is_shared) =
            (Arc::downgrade(&self.0), self.0.shared.mode_changes(), self.is_postgres());
        tokio::spawn(async move { in_step(weak, changes, is_shared).await });
    }
}

async fn in_step(inner: Weak<Inner>, mut changes: tokio::sync::watch::Receiver<Arc<Mode>>, is_shared: bool) {
    loop {
        let Some(db) = inner.upgrade().map(Db) else { return };
        let kept = match db.keep_stop().await {
            Ok(()) if is_shared => db.refresh_mode().await,
            kept => kept,
        };
        if matches!(kept, Err(DbError::Closed)) {
            return;
        }
        let is_waiting = is_shared || kept.is_err();
        drop(db);
        let changed = if is_waiting {
            tokio::time::timeout(REFRESH, changes.changed()).await.unwrap_or(Ok(()))
        } else {
            changes.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

impl Reader<'_> {
    /// How long between `from` and `to` the module did not take everybody's writes: what deadlines in between are
    /// extended by.
    pub fn paused_between(&mut self, from: Timestamp, to: Timestamp) -> Result<Span, DbError> {
        let rows = self.query(
            "SELECT began_at, ended_at FROM q_pauses \
             WHERE began_at < $2 AND (ended_at IS NULL OR ended_at > $1)",
            params![from, to],
        )?;
        let mut micros = 0;
        for row in &rows {
            let (began, ended): (Timestamp, Option<Timestamp>) = (row.try_get(0)?, row.try_get(1)?);
            micros += ended.unwrap_or(to).min(to).since(began.max(from)).as_micros();
        }
        Ok(Timestamp::from_micros(micros).since(Timestamp::from_micros(0)))
    }
}

fn load(reader: &mut Reader<'_>) -> Result<Mode, DbError> {
    let mut mode = Mode::default();
    let rows = reader.query("SELECT slot, kind, reason, until, canaries, set_by, since FROM q_modes", &[])?;
    for row in &rows {
        if row.try_get::<String>(0)? == "write-stop" {
            mode.write_stop = Some(write_stop(row)?);
            continue;
        }
        // A kind that only a newer program knows is not taken for openness.
        mode.kind = row.try_get::<String>(1)?.parse().unwrap_or(ModeKind::Isolated);
        mode.reason = row.try_get(2)?;
        mode.until = row.try_get(3)?;
        mode.canaries = serde_json::from_str(&row.try_get::<String>(4)?)?;
        mode.by = row.try_get(5)?;
        mode.since = Some(row.try_get(6)?);
    }
    Ok(mode)
}

fn write_stop(row: &Row) -> Result<WriteStop, DbError> {
    Ok(WriteStop {
        cause: StopCause::parse(&row.try_get::<String>(1)?),
        reason: row.try_get(2)?,
        since: row.try_get(6)?,
    })
}

fn keep(tx: &mut Tx<'_>, before: &Mode, after: &mut Mode, by: &str) -> Result<(), DbError> {
    let now = tx.now();
    let since = *after.since.get_or_insert(now);
    tx.execute("DELETE FROM q_modes", &[])?;
    let insert = "INSERT INTO q_modes (slot, kind, reason, until, canaries, set_by, since) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let canaries = serde_json::to_string(&after.canaries)?;
    let (kind, reason) = (after.kind.name(), after.reason.as_str());
    tx.execute(insert, params!["order", kind, reason, after.until, canaries, after.by.as_str(), since])?;
    if let Some(stop) = &after.write_stop {
        let none = None::<Timestamp>;
        tx.execute(
            insert,
            params!["write-stop", stop.cause.name(), stop.reason.as_str(), none, "[]", by, stop.since],
        )?;
    }
    pause(tx, before, after)?;
    let details =
        json!({"mode": after.kind, "reason": after.reason, "writeStop": after.write_stop, "by": by});
    tx.audit(AuditEntry::change("MODE_SET", by.parse::<Did>().ok().as_ref(), tx.module()).details(details))?;
    Ok(())
}

/// Begins or ends the pause that the change from `before` to `after` means.
fn pause(tx: &mut Tx<'_>, before: &Mode, after: &Mode) -> Result<(), DbError> {
    let now = tx.now();
    let is_open = tx.query_opt("SELECT 1 FROM q_pauses WHERE ended_at IS NULL", &[])?.is_some();
    let is_paused = !before.is_normal() || !after.is_normal();
    if is_paused && !is_open {
        // A stop held before the store could note it.
        let began = before.write_stop.as_ref().or(after.write_stop.as_ref()).map_or(now, |stop| stop.since);
        let why = after.write_stop.as_ref().map_or(after.reason.as_str(), |stop| stop.reason.as_str());
        tx.execute(
            "INSERT INTO q_pauses (began_at, ended_at, kind, reason) VALUES ($1, NULL, $2, $3) \
             ON CONFLICT (began_at) DO UPDATE SET ended_at = NULL",
            params![began.min(now), after.state().name(), why],
        )?;
    }
    if after.is_normal() {
        tx.execute("UPDATE q_pauses SET ended_at = $1 WHERE ended_at IS NULL", params![now])?;
    }
    Ok(())
}
