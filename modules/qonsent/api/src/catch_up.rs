//! Reading the changes that events did not bring.

use q_contract::{CallError, Client};
use q_core::PageLimit;
use q_pdp::{Change, NotYet, Projector};

use crate::{ListChanges, ListChangesRequest};

/// The largest page, so that catching up takes few calls.
const PAGE_ROWS: u32 = 200;

/// The projection could not catch up.
#[derive(Debug, thiserror::Error)]
pub enum NotCaughtUp {
    /// qonsent did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The keys of an issuer cannot be had now.
    #[error(transparent)]
    Keys(#[from] NotYet),
    /// qonsent told of a change that this program cannot read.
    #[error("change {0} of the permissions cannot be read; is this program older than qonsent?")]
    Unreadable(u64),
}

/// Reads every change after the projection's epoch and compares with qonsent's head.
///
/// What a module in another process does every five seconds: it is the heartbeat that keeps it allowing things,
/// and it closes any gap. Costs one small call when nothing changed.
pub async fn catch_up(qonsent: &Client, projector: &Projector) -> Result<(), NotCaughtUp> {
    loop {
        let after = projector.pdp().epoch();
        let limit = PageLimit::try_from(PAGE_ROWS).unwrap_or_default();
        let page = qonsent.call::<ListChanges>(&ListChangesRequest { after, limit }).await?;
        for record in &page.changes {
            let change = Change::read(&record.topic, &record.payload.to_string());
            projector.take_in(change.ok_or(NotCaughtUp::Unreadable(record.epoch))?).await?;
        }
        let is_last = page.changes.last().is_none_or(|last| last.epoch >= page.head.epoch);
        if is_last || projector.pdp().epoch() == after {
            projector.pdp().observe(&page.head);
            return Ok(());
        }
    }
}
