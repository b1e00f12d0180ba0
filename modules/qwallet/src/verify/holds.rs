//! Holds: what is held ends once, as a whole, and never with more than was held; the rows say what the journal says.

use q_core::{Amount, Timestamp};
use q_db::{DbError, Reader};
use qwallet_api::TransactionId;

use super::Check;
use crate::{
    domain::{
        books::{HoldEnd, share},
        transfer::{Phase, Transfer},
    },
    store::{self, holds::HoldRow},
};

/// A held transfer of which something is left.
#[derive(Clone, Copy)]
pub(super) struct OpenHold {
    left: Amount,
    whole: Amount,
    /// What moved of it.
    moved: Amount,
    /// Whether it is what its transaction is about, and not a fee of it.
    is_first: bool,
    pub held_at: Timestamp,
    transaction: TransactionId,
}

/// The held transfers of one transaction.
#[derive(Default, Clone, Copy)]
pub(super) struct HeldGroup {
    open_count: usize,
    is_settled: bool,
    /// How much of the first was held, and how much of that moved.
    whole: Amount,
    moved: Amount,
}

impl HeldGroup {
    /// How it ended, as far as the journal says.
    const fn end(&self) -> Option<HoldEnd> {
        match (self.open_count, self.is_settled) {
            (0, true) => Some(HoldEnd::Settled),
            (0, false) => Some(HoldEnd::Voided),
            _ => None,
        }
    }
}

impl OpenHold {
    /// Whether nothing was taken of it.
    pub fn is_whole(&self) -> bool {
        self.left == self.whole
    }
}

impl Check {
    /// Notes that a transfer holds.
    pub(super) fn take_hold(&mut self, transfer: &Transfer, at: Timestamp) {
        let (left, transaction) = (transfer.leg.amount, transfer.transaction);
        if transfer.phase == Phase::Held {
            let group = self.held.entry(transaction).or_default();
            group.open_count += 1;
            let is_first = !transfer.leg.purpose.is_fee();
            if is_first {
                group.whole = left;
            }
            let open =
                OpenHold { left, whole: left, moved: Amount::ZERO, is_first, held_at: at, transaction };
            self.open.insert(transfer.seq, open);
        }
    }

    /// What was taken of a hold before the journal is read: `parts` are the transfers of it.
    pub(super) fn take_earlier(&mut self, parts: &[Transfer]) {
        for part in parts.iter().filter(|part| part.phase == Phase::Settled) {
            if let Some(held) = part.pending_of {
                self.end_of_hold(held, part, true);
            }
        }
    }

    /// What is held ends at most once. Answers whether this was the last of its transaction.
    pub(super) fn hold_of(&mut self, transfer: &Transfer, at: Timestamp, place: &str) -> bool {
        match (transfer.phase, transfer.pending_of) {
            (Phase::Posted, None) => false,
            (Phase::Held, None) => {
                self.take_hold(transfer, at);
                false
            }
            (Phase::Settled | Phase::Voided, Some(held)) => {
                let is_settled = transfer.phase == Phase::Settled;
                let open = self.open.get(&held).filter(|open| !open.is_first).copied();
                let group = self.held.get(&transfer.transaction).copied();
                let ended = self.end_of_hold(held, transfer, is_settled);
                if ended.is_none() {
                    self.find("hold_ended_twice", place.to_owned(), format!("ends transfer {held}"));
                } else if let (Some(mut fee), Some(group)) = (open, group) {
                    if is_settled {
                        fee.moved = fee.moved.checked_add(transfer.leg.amount).unwrap_or(Amount::MAX);
                    }
                    self.share_of(&fee, &group, place);
                }
                ended.unwrap_or(false)
            }
            (_, pending_of) => {
                let detail = format!("{:?} of {pending_of:?}", transfer.phase);
                self.find("phase_impossible", place.to_owned(), detail);
                false
            }
        }
    }

    /// A fee moves with what it is for: of each part the same share, rounded down over all parts together.
    fn share_of(&mut self, fee: &OpenHold, group: &HeldGroup, place: &str) {
        // A hold whose first transfer is damaged or gone is named as that.
        if !group.whole.is_zero() && group.moved <= group.whole {
            let share = share(fee.whole, group.moved, group.whole);
            if fee.moved != share {
                let detail = format!(
                    "{} of the {} units of a fee moved, its share by then is {}",
                    fee.moved.units(),
                    fee.whole.units(),
                    share.units()
                );
                self.find("capture_fees", place.to_owned(), detail);
            }
        }
    }

    /// Takes what a transfer ends off what was held; answers whether nothing of the transaction is left, and nothing
    /// where so much was not held.
    fn end_of_hold(&mut self, held: i64, transfer: &Transfer, is_settled: bool) -> Option<bool> {
        let open = self.open.get_mut(&held).filter(|open| open.transaction == transfer.transaction)?;
        let left = open.left.units().checked_sub(transfer.leg.amount.units())?;
        open.left = Amount::from_units(left);
        if is_settled {
            open.moved = open.moved.checked_add(transfer.leg.amount).unwrap_or(Amount::MAX);
        }
        let group = self.held.get_mut(&transfer.transaction)?;
        group.is_settled |= is_settled;
        if is_settled && open.is_first {
            group.moved = group.moved.checked_add(transfer.leg.amount).unwrap_or(Amount::MAX);
        }
        if left > 0 {
            return Some(false);
        }
        self.open.remove(&held);
        group.open_count = group.open_count.saturating_sub(1);
        Some(group.open_count == 0)
    }

    /// Compares the rows of holds that ended in a commit, and forgets them.
    pub(super) fn ended(&mut self, reader: &mut Reader<'_>, ids: &[TransactionId]) -> Result<(), DbError> {
        for row in store::holds::list(reader, ids)? {
            match row {
                (id, Ok(row)) => self.hold_row(id, &row),
                // Named when all rows are read.
                (id, Err(_)) => drop(self.held.remove(&id)),
            }
            self.ended_count += 1;
        }
        for id in ids.iter().filter(|id| self.held.remove(*id).is_some()).collect::<Vec<_>>() {
            self.find("hold_missing", format!("holds {id}"), "the journal held money for it".to_owned());
        }
        Ok(())
    }

    /// The rows of holds say what the journal says.
    pub(super) fn holds(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let fees: Vec<(i64, OpenHold)> =
            self.open.iter().filter(|(_, open)| !open.is_first).map(|(seq, open)| (*seq, *open)).collect();
        for (seq, fee) in fees {
            if let Some(group) = self.held.get(&fee.transaction).copied() {
                self.share_of(&fee, &group, &format!("transfers {seq}"));
            }
        }
        let open: Vec<TransactionId> = self.held.keys().copied().collect();
        for (id, row) in store::holds::list(reader, &open)? {
            match row {
                Ok(row) => self.hold_row(id, &row),
                Err(_) => drop(self.held.remove(&id)),
            }
            self.ended_count += 1;
        }
        for id in std::mem::take(&mut self.held).into_keys() {
            self.find("hold_missing", format!("holds {id}"), "the journal holds money for it".to_owned());
        }
        let findings = &mut self.findings;
        let mut row_count = 0;
        store::holds::for_each(reader, |id, hold| {
            row_count += 1;
            if let Err(error) = hold {
                let place = format!("holds {id}");
                findings.push(q_runtime::Finding::new("hold_unreadable", place, error.to_string()));
            }
            Ok(())
        })?;
        if self.is_whole() && row_count != self.ended_count {
            for id in store::holds::of_nothing(reader)? {
                let detail = "no transfer holds anything for it".to_owned();
                self.find("hold_unknown", format!("holds {id}"), detail);
            }
        }
        Ok(())
    }

    fn hold_row(&mut self, id: TransactionId, row: &HoldRow) {
        let Some(group) = self.held.remove(&id) else { return };
        let in_journal = group.end();
        let is_equal = matches!(
            (row.end, in_journal),
            (None, None)
                | (Some(HoldEnd::Settled), Some(HoldEnd::Settled))
                | (Some(HoldEnd::Voided | HoldEnd::Expired), Some(HoldEnd::Voided))
        );
        if !is_equal {
            let detail = format!("says {:?}, the journal says {in_journal:?}", row.end);
            self.find("hold_mismatch", format!("holds {id}"), detail);
        }
        // What is taken as a whole is not counted in parts.
        if !row.captured.is_zero() && row.captured != group.moved {
            let (told, moved) = (row.captured.units(), group.moved.units());
            let detail = format!("says that {told} was taken, the journal says {moved}");
            self.find("hold_captured", format!("holds {id}"), detail);
        }
    }
}
