//! The trail as a witness: it remembers how far each module had come, and so recognises an older copy of its store.

use std::collections::BTreeMap;

use q_db::{Db, DbError};

use super::Trail;
use crate::{error::Error, store};

/// An older copy of a module's store than the one the trail has heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The module.
    pub module: String,
    /// The number of its newest audit row.
    pub head: u64,
    /// The number of its newest audit row in the trail.
    pub trail: u64,
}

impl std::fmt::Display for RolledBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { module, head, trail } = self;
        if head < trail {
            return write!(
                f,
                "the store of {module} is older than the audit trail: it ends at audit row {head}, the trail has {trail}"
            );
        }
        write!(
            f,
            "the store of {module} went on from an older copy: its audit row {trail} is not the one the audit trail has"
        )
    }
}

impl Trail {
    /// Whether `store`, which ended at audit row `head` when it was opened, is an older copy, or has gone on from one.
    ///
    /// The trail hears of a row after its commit: it may be behind a store, and never ahead of one.
    pub async fn rolled_back(&self, store: &Db, head: i64) -> Result<Option<RolledBack>, DbError> {
        let module = store.module().to_owned();
        let head = u64::try_from(head).unwrap_or_default();
        let Some(trail) = self.newest_of(&module).await? else { return Ok(None) };
        if head < trail {
            return Ok(Some(RolledBack { module, head, trail }));
        }
        let before = i64::try_from(trail - 1).unwrap_or(i64::MAX);
        let Some(row) = store.audit_after(before, 1).await?.pop() else {
            return Ok(Some(RolledBack { module, head: trail - 1, trail }));
        };
        let known = self.db.read(move |reader| store::events::find(reader, row.id)).await?;
        let is_same = known.is_some_and(|event| event.producer == module && event.seq == trail);
        Ok((!is_same).then_some(RolledBack { module, head, trail }))
    }

    /// Producers whose stores turned out older than the log while it runs, and where they end.
    pub fn rolled_back_producers(&self) -> BTreeMap<String, u64> {
        self.rolled_back.lock().clone()
    }

    /// Those that were not told yet to stop writing.
    pub(crate) fn rolled_back_to_tell(&self) -> BTreeMap<String, u64> {
        let mut producers = self.rolled_back_producers();
        producers.retain(|producer, _| !self.told.lock().contains(producer));
        producers
    }

    /// Notes that `producer` was told.
    pub(crate) fn told(&self, producer: &str) {
        self.told.lock().insert(producer.to_owned());
    }

    /// The number of the newest event of `producer`.
    async fn newest_of(&self, producer: &str) -> Result<Option<u64>, DbError> {
        let producer = producer.to_owned();
        let found = self.db.read(move |reader| store::producers::find(reader, &producer)).await?;
        Ok(found.and_then(|found| found.head.next_seq.checked_sub(1)).filter(|newest| *newest > 0))
    }

    /// Remembers a producer that is found to have fewer events than the log has of it.
    pub(super) async fn told_of_head(&self, producer: &str, head: i64) -> Result<(), Error> {
        let head = u64::try_from(head).unwrap_or_default();
        if self.newest_of(producer).await?.is_some_and(|newest| head < newest) {
            self.rolled_back.lock().insert(producer.to_owned(), head);
        }
        Ok(())
    }
}
