//! What came in and went out over rails is what the books say, and what the chain held when it was last asked.

use std::collections::HashMap;

use q_core::{Amount, SignedAmount, Timestamp, Total};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::Place;
use qwallet_api::TransactionId;

use super::{Room, Scope};
use crate::{
    domain::{
        account::AccountId,
        books::HoldEnd,
        rails::{CorrectionKind, DepositStatus, OutgoingStatus},
        transfer::{Purpose, Transfer},
    },
    store::{
        self,
        rails::{DepositRow, OutgoingRow},
    },
};

/// The check of rails.
#[derive(Default)]
pub(super) struct Rails {
    /// What was paid as a chain's fee, by the account that got it.
    fees: HashMap<AccountId, u128>,
    /// What came in and what went out for good, by rail.
    moved: HashMap<String, (u128, u128)>,
    /// What operators booked as gone, by the account it went from outside.
    corrected: HashMap<AccountId, u128>,
    /// The withdrawals that operators booked.
    booked: HashMap<TransactionId, Amount>,
    /// What is in the books and nobody's, by rail.
    nobodys: HashMap<String, u128>,
}

impl Room for Rails {
    fn transfer(&mut self, transfer: &Transfer, _: Timestamp) {
        let leg = &transfer.leg;
        if leg.purpose == Purpose::NetworkFee && transfer.phase.is_final_movement() {
            let sum = self.fees.entry(leg.credit).or_default();
            *sum = sum.saturating_add(leg.amount.units());
        }
        if leg.purpose == Purpose::Correction {
            let sum = self.corrected.entry(leg.credit).or_default();
            *sum = sum.saturating_add(leg.amount.units());
        }
    }

    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        // What cannot be read is told of where corrections are checked.
        store::rail_corrections::for_each(reader, |row| {
            let booked = row.ok().filter(|row| row.kind == CorrectionKind::BookWithdrawal);
            self.booked.extend(booked.and_then(|row| Some((row.about?, row.amount))));
            Ok(())
        })?;
        let mut deposits = Vec::new();
        store::rails::for_each_deposit(reader, |row| {
            deposits.push(row);
            Ok(())
        })?;
        for row in deposits {
            match row {
                Ok(row) => self.deposit(reader, &row, found)?,
                Err(error) => found.push(Finding::new("deposit_unreadable", "deposits", error.to_string())),
            }
        }
        let mut outgoing = Vec::new();
        store::rails::for_each_outgoing(reader, |row| {
            outgoing.push(row);
            Ok(())
        })?;
        for row in outgoing {
            match row {
                Ok(row) => self.outgoing(reader, &row, found)?,
                Err(error) => found.push(Finding::new("outgoing_unreadable", "outgoing", error.to_string())),
            }
        }
        for name in store::rails::names(reader)? {
            self.rail(reader, &name, scope, found)?;
        }
        Ok(())
    }
}

impl Rails {
    fn deposit(
        &mut self,
        reader: &mut Reader<'_>,
        row: &DepositRow,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let moved = self.moved.entry(row.rail.clone()).or_default();
        let amount = row.amount.map_or(0, Amount::units);
        let is_right = match (row.status, row.held) {
            (DepositStatus::Credited | DepositStatus::WrittenOff, Some(held)) => {
                moved.0 = moved.0.saturating_add(amount);
                if row.status == DepositStatus::Credited && row.wallet.is_none() {
                    let sum = self.nobodys.entry(row.rail.clone()).or_default();
                    *sum = sum.saturating_add(amount);
                }
                matches!(end_of(reader, held)?, Held::Never | Held::Ended(HoldEnd::Settled))
            }
            (DepositStatus::Pending, Some(held)) => matches!(end_of(reader, held)?, Held::Open),
            (DepositStatus::Removed, Some(held)) => {
                matches!(end_of(reader, held)?, Held::Ended(HoldEnd::Voided))
            }
            (DepositStatus::Pending | DepositStatus::Removed | DepositStatus::HeldBack, None) => true,
            (DepositStatus::Credited | DepositStatus::WrittenOff, None)
            | (DepositStatus::HeldBack, Some(_)) => false,
        };
        if !is_right {
            let detail = format!("it is {}, and the books say otherwise", row.status.name());
            found.push(Finding::new("deposit_mismatch", format!("deposits {}", row.id), detail));
        }
        Ok(())
    }

    fn outgoing(
        &mut self,
        reader: &mut Reader<'_>,
        row: &OutgoingRow,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let place = || format!("outgoing {}", row.id);
        if let Some(amount) = self.booked.get(&row.id) {
            if row.withdrawal.as_ref().map(|part| part.amount) != Some(*amount) {
                let detail = "operators booked another amount";
                found.push(Finding::new("withdrawal_amount", place(), detail));
            }
            // Of one that the books had as still to be sent, the hold says how it ended.
            if matches!(end_of(reader, row.id)?, Held::Never) {
                return Ok(());
            }
        }
        // A number that was used elsewhere and accepted by an operator has no bytes here, and moves nothing. Those of what
        // was booked were forgotten.
        let is_kept = row.nonce.is_none()
            || row.units.0 == 0
            || self.booked.contains_key(&row.id)
            || !store::rails::sendings(reader, row.id)?.is_empty();
        if !is_kept {
            found.push(Finding::new("outgoing_unkept", place(), "it was signed, and its bytes are gone"));
        }
        let Some(part) = &row.withdrawal else { return Ok(()) };
        let is_right = match (row.status, end_of(reader, row.id)?) {
            (OutgoingStatus::Settled, Held::Ended(HoldEnd::Settled)) => {
                let moved = self.moved.entry(row.rail.clone()).or_default();
                moved.1 = moved.1.saturating_add(part.amount.units());
                true
            }
            (OutgoingStatus::Failed, Held::Ended(HoldEnd::Voided)) => true,
            (status, Held::Open) => !status.is_over(),
            _ => false,
        };
        if !is_right {
            let detail = format!("it is {}, and the books say otherwise", row.status.name());
            found.push(Finding::new("withdrawal_mismatch", place(), detail));
        }
        let held = store::ledger::find_transaction(reader, row.id)?;
        let first = match held {
            Some(held) => store::ledger::stored_transfers(reader, held.first_seq, held.first_seq + 1)?.pop(),
            None => None,
        };
        let amount = first.and_then(|(_, row)| row.ok()).map(|(transfer, ..)| transfer.leg.amount);
        if amount != Some(part.amount) {
            found.push(Finding::new("withdrawal_amount", place(), "another amount is held in the books"));
        }
        Ok(())
    }

    fn rail(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let place = || format!("rails {name}");
        for key in store::rails::keys(reader, name)? {
            let row = format!("{name} {}", key.generation);
            let at = Place { module: "qwallet", table: "rail_keys", column: "seed", row: &row };
            if let Err(error) = scope.sealer.open(at, &key.seed) {
                found.push(Finding::new("rail_key_sealed", format!("rail_keys {row}"), error.to_string()));
            }
        }
        let Some(row) = store::rails::find(reader, name)? else { return Ok(()) };
        if let Some(checked) = row.checked.filter(|checked| checked.chain < checked.books) {
            let detail = format!(
                "at block {} the chain held {} units and the books {}",
                checked.height, checked.chain.0, checked.books.0
            );
            found.push(Finding::new("rail_difference", place(), detail));
        }
        let nobodys = self.nobodys.get(name).copied().unwrap_or_default();
        let suspense = store::ledger::find_account(reader, row.accounts.suspense)?;
        let suspense = suspense.map(|account| account.posted());
        if suspense != Some(Total::from_units(nobodys).less(Total::from_units(0))) {
            let detail = format!("{suspense:?} is in suspense, and {nobodys} units came in for nobody");
            found.push(Finding::new("rail_suspense", place(), detail));
        }
        // What was paid before is not handed over when a verification begins after a commit.
        if scope.since.is_some() {
            return Ok(());
        }
        let Some(account) = store::ledger::find_account(reader, row.accounts.rail)? else {
            found.push(Finding::new("rail_account", place(), "its account does not exist"));
            return Ok(());
        };
        let (received, sent) = self.moved.get(name).copied().unwrap_or_default();
        let fees = self.fees.get(&row.accounts.rail).copied().unwrap_or_default();
        let total = Total::from_units;
        let corrected = self.corrected.get(&row.accounts.rail).copied().unwrap_or_default();
        let given = sent.saturating_add(fees).saturating_add(corrected);
        let expected: SignedAmount = total(given).less(total(received));
        if account.posted() != expected {
            let detail =
                format!("{:?} is not what came in less what went out, {expected:?}", account.posted());
            found.push(Finding::new("rail_mismatch", place(), detail));
        }
        Ok(())
    }
}

enum Held {
    Never,
    Open,
    Ended(HoldEnd),
}

fn end_of(reader: &mut Reader<'_>, id: TransactionId) -> Result<Held, DbError> {
    Ok(match store::holds::find(reader, id)? {
        None => Held::Never,
        Some(hold) => hold.end.map_or(Held::Open, Held::Ended),
    })
}
