//! What operators set right in the books of rails: each has its transaction, its order under two signatures, its reason, and
//! what it is about says so.

use std::collections::BTreeSet;

use q_core::Did;
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{RAIL_CORRECTION_TYP, TransactionId};
use serde::Deserialize;

use super::{KeyAsked, Room, Scope, fees::proven};
use crate::{
    domain::rails::{CorrectionKind, DepositStatus, OutgoingStatus},
    service::rails::CORRECTION_ORDER,
    store::{
        self,
        ledger::{OrderRow, TransactionKind, TransactionRow},
        rail_corrections::CorrectionRow,
    },
};

/// The check of corrections.
#[derive(Default)]
pub(super) struct Corrections {
    /// The transactions that say they correct something.
    transactions: BTreeSet<TransactionId>,
    asked: Vec<KeyAsked>,
}

impl Room for Corrections {
    fn transaction(&mut self, row: &TransactionRow) {
        if row.kind == TransactionKind::Correction {
            self.transactions.insert(row.id);
        }
    }

    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut rows = Vec::new();
        store::rail_corrections::for_each(reader, |row| {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => {
                    let place = "rail_corrections".to_owned();
                    found.push(Finding::new("correction_unreadable", place, error.to_string()));
                }
            }
            Ok(())
        })?;
        for row in &rows {
            self.transactions.remove(&row.id);
            let place = format!("rail_corrections {}", row.id);
            if let Some(fault) = self.fault_of(reader, row, &place)? {
                found.push(Finding::new("correction_mismatch", place, fault));
            }
        }
        for id in &self.transactions {
            let detail = "it sets something right, and no row says what and why";
            found.push(Finding::new("correction_missing", format!("transactions {id}"), detail));
        }
        Ok(())
    }

    fn keys_asked(&mut self) -> Vec<KeyAsked> {
        std::mem::take(&mut self.asked)
    }
}

/// What a signed order says of itself.
#[derive(Deserialize)]
struct Said {
    action: String,
    rail: String,
    reason: String,
}

impl Corrections {
    fn fault_of(
        &mut self,
        reader: &mut Reader<'_>,
        row: &CorrectionRow,
        place: &str,
    ) -> Result<Option<&'static str>, DbError> {
        let transaction = store::ledger::find_transaction(reader, row.id)?;
        let Some(transaction) = transaction.filter(|found| found.kind == TransactionKind::Correction) else {
            return Ok(Some("its transaction does not exist"));
        };
        let first = transaction.first_seq;
        let leg = store::ledger::stored_transfers(reader, first, first + 1)?.pop();
        let amount = leg.and_then(|(_, transfer)| transfer.ok()).map(|(transfer, ..)| transfer.leg.amount);
        if amount != Some(row.amount) {
            return Ok(Some("another amount moved in the books"));
        }
        let order = store::ledger::find_order(reader, transaction.order)?;
        if !order.is_some_and(|order| self.is_signed(&order, row, place)) {
            return Ok(Some("two approvers did not sign an order that says this"));
        }
        let is_so = match (row.kind, row.about) {
            (CorrectionKind::BookWithdrawal, Some(id)) => store::rails::find_outgoing(reader, id)?
                .is_some_and(|outgoing| {
                    outgoing.status == OutgoingStatus::Settled
                        && outgoing.withdrawal.is_some_and(|part| Some(part.wallet) == row.wallet)
                }),
            (CorrectionKind::Assign, Some(id)) => {
                store::rails::find_deposit(reader, id)?.is_some_and(|deposit| {
                    deposit.status == DepositStatus::Credited && deposit.wallet == row.wallet
                })
            }
            (CorrectionKind::WriteOff, Some(id)) => {
                store::rails::find_deposit(reader, id)?.is_some_and(|deposit| {
                    deposit.status == DepositStatus::WrittenOff && deposit.wallet.is_none()
                })
            }
            (CorrectionKind::WriteOffLoss, None) => true,
            _ => false,
        };
        Ok((!is_so).then_some("what it is about says otherwise"))
    }

    /// Whether two different approvers signed what the row says. That the keys were theirs, their logs say.
    fn is_signed(&mut self, order: &OrderRow, row: &CorrectionRow, place: &str) -> bool {
        let said: Option<Said> = serde_json::from_str(&order.input).ok();
        let says_so = said.is_some_and(|said| {
            (said.action.as_str(), &said.rail, &said.reason) == (row.kind.name(), &row.rail, &row.reason)
        });
        let mut signers: BTreeSet<Did> = BTreeSet::new();
        for signature in order.signatures.split(' ') {
            let Some(by) = proven(signature, RAIL_CORRECTION_TYP, order.input.as_bytes()) else {
                return false;
            };
            signers.insert(by.signer.clone());
            let (whose, place) = (Some(by.signer), place.to_owned());
            self.asked.push(KeyAsked { kid: by.kid, whose, at: row.made_at, place });
        }
        let approvers: BTreeSet<Did> = row.approvers.iter().cloned().collect();
        order.kind == CORRECTION_ORDER && says_so && approvers.len() >= 2 && signers == approvers
    }
}
