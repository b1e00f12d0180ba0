//! Work that nobody asks for: holds and intents that lapse, histories that lag, nonces that are over.

use super::{
    Service,
    commit::{Action, Outcome, Work},
};
use crate::{domain::books::HoldEnd, error::Error, store};

/// How many lapsed holds are taken on at once.
const LAPSED_HOLDS_MAX: u32 = 1_000;

/// From how many waiting transfers on the histories are merged although payments are waiting too.
const BACKLOG_TRANSFERS_MAX: i64 = 262_144;

impl Service {
    /// Frees what lapsed holds hold, and lets pending intents lapse. The executor's clock has the last word.
    pub async fn expire(&self) -> Result<(), Error> {
        let now = self.env.now();
        loop {
            let lapsed = self
                .db
                .read(move |reader| store::ledger::lapsed_holds(reader, now, LAPSED_HOLDS_MAX))
                .await?;
            let is_last = lapsed.len() < usize::try_from(LAPSED_HOLDS_MAX).unwrap_or(usize::MAX);
            let mut progressed = false;
            for hold in lapsed {
                let action =
                    Action::End { transaction: hold.transaction, intent: hold.intent, end: HoldEnd::Expired };
                let work = Work { request: None, nonce: None, expires_at: None, order: None, action };
                match self.executor.submit(work).await? {
                    Outcome::Done(_) => progressed = true,
                    // Settled or cancelled in the meantime.
                    Outcome::Refused(_) | Outcome::Replayed(_) => {}
                }
            }
            if is_last || !progressed {
                break;
            }
        }
        self.db
            .write(move |tx| {
                store::intents::expire(tx, tx.now())?;
                store::requests::forget_nonces(tx, tx.now())
            })
            .await?;
        Ok(())
    }

    /// Merges the journal into the histories while nobody waits for the writer, or when too much has gathered.
    pub async fn merge_histories(&self) -> Result<(), Error> {
        loop {
            let backlog = self.db.read(store::history::backlog).await?;
            let is_busy = self.executor.queue_depth() > 0;
            if backlog <= 0 || (is_busy && backlog < BACKLOG_TRANSFERS_MAX) {
                return Ok(());
            }
            self.db.write_locked(store::history::merge).await?;
        }
    }
}
