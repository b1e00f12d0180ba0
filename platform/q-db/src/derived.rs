//! Events that nobody wrote down: computed, whenever somebody follows them, from rows that never change.
//!
//! Where a module keeps a journal, an event per entry would be a second write of the same facts. Such a module writes
//! one marker to its outbox for each commit of its journal, in that commit, and says how to compute the events it
//! stands for. A marker has a position like any event, so cursors, order and delivery after a crash are those of the
//! outbox; its events have ids that follow from the commit, so that a second delivery is recognised by the inbox.
//!
//! **Invariant:** the events of a marker are the same whenever they are computed.

use std::sync::Arc;

use q_core::Event;

use crate::{Db, DbError, OutboxRow, tx::Reader};

/// How many computed events one page holds at most, unless a single marker stands for more.
const EVENTS_MAX: usize = 4_096;

/// Computes the events that markers stand for.
pub trait Derive: Send + Sync {
    /// The topic of the markers.
    fn marker(&self) -> &'static str;

    /// The topics of the events they stand for.
    fn topics(&self) -> &'static [&'static str];

    /// The events `marker` stands for, in order, from rows that never change.
    fn derive(&self, reader: &mut Reader<'_>, marker: &Event) -> Result<Vec<Event>, DbError>;
}

impl OutboxRow {
    /// What is told at this position: the event, and what it stands for.
    pub fn told(&self) -> impl Iterator<Item = &Event> {
        std::iter::once(&self.event).chain(&self.derived)
    }
}

impl Db {
    /// Says how the events behind this store's markers are computed; the first word counts.
    pub fn derive_events(&self, derive: Arc<dyn Derive>) {
        let _ = self.0.shared.derive.set(derive);
    }

    /// At most `limit` events after `position`, markers with what they stand for. With `wanted`, only where a topic
    /// begins with one of these prefixes is it computed. May end before `limit` where markers stand for many.
    pub async fn events_after(
        &self,
        position: i64,
        limit: u32,
        wanted: Option<&[String]>,
    ) -> Result<Vec<OutboxRow>, DbError> {
        let mut rows = self.outbox_after(position, limit).await?;
        let Some(derive) = self.0.shared.derive.get().cloned() else { return Ok(rows) };
        let is_wanted = |topic: &&str| {
            wanted.is_none_or(|wanted| wanted.iter().any(|prefix| topic.starts_with(prefix.as_str())))
        };
        let is_marker = |row: &OutboxRow| row.event.topic == derive.marker();
        if !derive.topics().iter().any(is_wanted) || !rows.iter().any(is_marker) {
            return Ok(rows);
        }
        // Not in the snapshot of the rows: what they are computed from never changes, and was committed before them.
        self.read(move |reader| {
            let mut count = 0;
            for at in 0..rows.len() {
                if rows[at].event.topic != derive.marker() {
                    continue;
                }
                let derived = derive.derive(reader, &rows[at].event)?;
                count += derived.len();
                rows[at].derived = derived;
                if count >= EVENTS_MAX {
                    rows.truncate(at + 1);
                    break;
                }
            }
            Ok(rows)
        })
        .await
    }
}
