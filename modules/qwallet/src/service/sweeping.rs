//! Work that nobody asks for: holds and intents that lapse, histories that lag, nonces that are over.

use q_core::Span;

use super::{
    Service,
    commit::{Action, Outcome, Work},
    recent,
};
use crate::{domain::books::HoldEnd, error::Error, store};

/// How many lapsed holds, or intents, are taken on at once.
const LAPSED_MAX: u32 = 1_000;

/// From how many waiting transfers on the histories are merged although payments are waiting too.
const BACKLOG_TRANSFERS_MAX: i64 = 262_144;

impl Service {
    /// Frees what lapsed holds hold, and lets pending intents lapse. The executor's clock has the last word. While the
    /// module is paused, and after a jump of the clock, nothing lapses.
    pub async fn expire(&self) -> Result<(), Error> {
        if self.clock_jump().is_some() || !self.db.mode().is_normal() {
            return Ok(());
        }
        let now = self.env.now();
        loop {
            let lapsed = self.db.read(move |reader| store::holds::lapsed(reader, now, LAPSED_MAX)).await?;
            let is_last = lapsed.len() < usize::try_from(LAPSED_MAX).unwrap_or(usize::MAX);
            let mut progressed = false;
            for hold in lapsed {
                let (transaction, intent) = (hold.transaction, hold.intent);
                let action = Action::End { transaction, intent, payer: None, end: HoldEnd::Expired };
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
        while self.db.write_locked(|tx| store::intents::expire(tx, tx.now(), LAPSED_MAX)).await?
            == u64::from(LAPSED_MAX)
        {}
        // Not by a clock of this process that is ahead: another replica may still take the orders.
        self.db
            .write_locked(|tx| {
                let now = tx.common_now()?;
                store::requests::forget_nonces(tx, now)
            })
            .await?;
        Ok(())
    }

    /// By how much the clock jumped ahead, if so far that nothing lapses because of it.
    pub fn clock_jump(&self) -> Option<Span> {
        let ahead = self.clock.lock().observe(self.env.now(), self.env.clock.steady());
        self.executor.metrics().set_clock_ahead(ahead.map_or(0, Span::as_seconds));
        ahead
    }

    /// Moves what stripes received into the accounts they belong to, and learns which there are.
    pub async fn sweep_stripes(&self) -> Result<(), Error> {
        self.executor.learn_stripes(&self.db).await?;
        for account in self.executor.striped_accounts() {
            let action = Action::Sweep(account);
            let work = Work { request: None, nonce: None, expires_at: None, order: None, action };
            self.executor.submit(work).await?;
        }
        Ok(())
    }

    /// Asks the store for the figures that no commit knows by itself.
    pub async fn measure(&self) -> Result<(), Error> {
        let holds = self.db.read(store::holds::open_count).await?;
        let metrics = self.executor.metrics();
        metrics.set_holds_open(holds);
        metrics.set_queue_depth(self.executor.queue_depth());
        let books = self.db.read(super::exports::differences).await?;
        for (currency, difference) in books {
            #[expect(clippy::cast_precision_loss, reason = "anything but zero is an alarm")]
            let units = difference.magnitude().units() as f64;
            metrics.set_difference(currency.code, if difference.is_negative() { -units } else { units });
        }
        Ok(())
    }

    /// Sorts the keys and nonces of what was carried out into their tables while nobody waits for the writer, or when
    /// too much has gathered.
    pub async fn sort_requests(&self) -> Result<(), Error> {
        loop {
            let backlog = self.executor.recents().backlog();
            let is_busy = self.executor.queue_depth() > 0;
            if backlog == 0 || (is_busy && backlog < recent::BACKLOG_MAX) {
                return Ok(());
            }
            if !self.executor.recents().sort(&self.db).await? {
                return Ok(());
            }
        }
    }

    /// Merges the journal into the histories while nobody waits for the writer, or when too much has gathered. What
    /// settles meanwhile waits for the next run: while other replicas write there is always something.
    pub async fn merge_histories(&self) -> Result<(), Error> {
        let backlogs = self.db.read(store::history::backlogs).await?;
        let mut left: i64 = backlogs.iter().sum();
        for _ in 0..store::history::merges(&backlogs) {
            if self.executor.queue_depth() > 0 && left < BACKLOG_TRANSFERS_MAX {
                return Ok(());
            }
            self.db.write_locked(store::history::merge).await?;
            left -= store::history::MERGE_TRANSFERS_MAX;
        }
        Ok(())
    }
}
