//! Escrows and refunds: the house holds exactly what open escrows and waiting parts amount to, and what went back of a
//! payment is at most the payment.

use std::collections::HashMap;

use q_core::{Amount, Total};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{EscrowId, TransactionId};

use super::{Room, Scope};
use crate::{
    domain::{account::AccountKind, currency::CurrencyId, escrows},
    store,
};

/// What escrows say.
#[derive(Default)]
pub(super) struct Escrows;

impl Room for Escrows {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut parts: HashMap<EscrowId, (Vec<Amount>, Amount)> = HashMap::new();
        store::escrows::for_each_part(reader, |id, part| {
            match part {
                Err(error) => {
                    found.push(Finding::new(
                        "escrow_unreadable",
                        format!("escrow_parts {id}"),
                        error.to_string(),
                    ));
                }
                Ok(part) => {
                    let (amounts, waiting) = parts.entry(id).or_default();
                    amounts.push(part.amount);
                    if part.transaction.is_none() {
                        *waiting = waiting.checked_add(part.amount).unwrap_or(Amount::MAX);
                    }
                }
            }
            Ok(())
        })?;
        let mut held: HashMap<CurrencyId, Total> = HashMap::new();
        store::escrows::for_each(reader, |id, row| {
            let place = format!("escrows {id}");
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    found.push(Finding::new("escrow_unreadable", place, error.to_string()));
                    return Ok(());
                }
            };
            let (amounts, waiting) = parts.remove(&id).unwrap_or_default();
            if row.state.is_open() != amounts.is_empty() {
                let detail = format!("is {} and has {} parts", row.state.name(), amounts.len());
                found.push(Finding::new("escrow_state", place, detail));
            } else if !row.state.is_open() && !escrows::is_whole(amounts, row.amount) {
                found.push(Finding::new("escrow_sum", place, "its parts are not what was paid in"));
            }
            let still = if row.state.is_open() { row.amount } else { waiting };
            let sum = held.entry(row.currency).or_insert(Total::ZERO);
            *sum = sum.checked_add(still).unwrap_or(Total::MAX);
            Ok(())
        })?;
        for account in store::ledger::house_accounts(reader)? {
            if account.kind != AccountKind::Escrow {
                continue;
            }
            let expected = held.remove(&account.currency).unwrap_or(Total::ZERO);
            if account.posted() != expected.less(Total::ZERO) {
                let detail = format!("holds {:?}, escrows say {expected:?}", account.posted());
                found.push(Finding::new("escrow_account", format!("accounts {}", account.id.0), detail));
            }
        }
        Ok(())
    }
}

/// What refunds say.
#[derive(Default)]
pub(super) struct Refunds;

impl Room for Refunds {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        // What may still go back of the payment after the refund before.
        let mut left: Option<(TransactionId, Amount)> = None;
        store::refunds::for_each(reader, |id, booked| {
            let place = format!("refunds {id}");
            let booked = match booked {
                Ok(booked) => booked,
                Err(error) => {
                    found.push(Finding::new("refund_unreadable", place, error.to_string()));
                    return Ok(());
                }
            };
            let row = booked.row;
            if booked.moved != Some(row.amount) {
                let detail = format!("says {}, its transaction says {:?}", row.amount.units(), booked.moved);
                found.push(Finding::new("refund_mismatch", &place, detail));
            }
            let before = left.filter(|(of, _)| *of == row.payment).map(|(_, left)| left).or(booked.paid);
            if before.is_none() || row.amount.checked_add(row.remaining) != before {
                found.push(Finding::new(
                    "refund_sum",
                    place,
                    "it and what is left are not what was left before",
                ));
            }
            left = Some((row.payment, row.remaining));
            Ok(())
        })?;
        Ok(())
    }
}
