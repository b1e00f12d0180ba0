//! What operators set right in the books of rails: each has its transaction, its order under two signatures, its reason, and
//! what it is about says so.

use std::collections::BTreeSet;

use q_core::{AmountText, Did};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{RAIL_CORRECTION_TYP, TransactionId};
use qwallet_rails::sepa::Account;
use serde::Deserialize;

use super::{KeysAsked, Room, Scope, fees::proven};
use crate::{
    domain::{
        currency::Currency,
        rails::{CorrectionKind, DepositStatus, OutgoingStatus},
    },
    service::rails::CORRECTION_ORDER,
    store::{
        self,
        ledger::{OrderRow, TransactionKind, TransactionRow},
        rail_corrections::CorrectionRow,
        rails::OutgoingRow,
        wallets::WalletRow,
    },
};

/// The check of corrections.
#[derive(Default)]
pub(super) struct Corrections {
    /// The transactions that say they correct something.
    transactions: BTreeSet<TransactionId>,
    asked: KeysAsked,
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

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

/// What a signed order says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    action: String,
    #[serde(default)]
    amount: Option<AmountText>,
    #[serde(default)]
    deposit_id: Option<TransactionId>,
    rail: String,
    reason: String,
    #[serde(default)]
    recipient: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    wallet: Option<String>,
}

/// What a correction is about, as it is stored now.
#[derive(Default)]
struct About {
    currency: Option<&'static Currency>,
    wallet: Option<WalletRow>,
    outgoing: Option<OutgoingRow>,
}

impl About {
    fn of(reader: &mut Reader<'_>, row: &CorrectionRow) -> Result<Self, DbError> {
        let rail = store::rails::find(reader, &row.rail)?;
        let wallet = match row.wallet {
            Some(wallet) => store::wallets::find(reader, wallet)?,
            None => None,
        };
        let outgoing = match (row.kind, row.about) {
            (CorrectionKind::BookWithdrawal, Some(id)) => store::rails::find_outgoing(reader, id)?,
            _ => None,
        };
        Ok(Self { currency: rail.and_then(|rail| Currency::by_id(rail.currency)), wallet, outgoing })
    }
}

impl Said {
    /// Whether the order says all that the row says, and of what the row is about.
    fn says(&self, row: &CorrectionRow, about: &About) -> bool {
        let is_whole = (self.action.as_str(), &self.rail, &self.reason)
            == (row.kind.name(), &row.rail, &row.reason)
            && self.is_wallet(row, about);
        let deposit = matches!(row.kind, CorrectionKind::Assign | CorrectionKind::WriteOff);
        let is_about = if deposit {
            self.amount.is_none() && self.deposit_id == row.about
        } else {
            let said = self.amount.as_ref().zip(about.currency);
            let said = said.and_then(|(amount, currency)| amount.parse(currency.scale).ok());
            self.deposit_id.is_none() && said == Some(row.amount)
        };
        is_whole && is_about && self.is_outgoing(row, about)
    }

    fn is_wallet(&self, row: &CorrectionRow, about: &About) -> bool {
        match (&self.wallet, row.wallet, &about.wallet) {
            (None, None, _) => true,
            (Some(name), Some(id), Some(wallet)) => {
                *name == id.to_string() || *name == wallet.reference || name.as_str() == wallet.owner.as_str()
            }
            _ => false,
        }
    }

    fn is_outgoing(&self, row: &CorrectionRow, about: &About) -> bool {
        if row.kind != CorrectionKind::BookWithdrawal {
            return self.recipient.is_none() && self.reference.is_none();
        }
        let (Some(recipient), Some(reference), Some(outgoing)) =
            (&self.recipient, &self.reference, &about.outgoing)
        else {
            return false;
        };
        // An account has more than one way of being written.
        let account = Account::read(recipient).map(|account| account.text());
        let is_recipient = outgoing.recipient.eq_ignore_ascii_case(recipient)
            || account.is_ok_and(|account| account == outgoing.recipient);
        is_recipient && outgoing.hash.as_ref().is_some_and(|hash| hash.eq_ignore_ascii_case(reference))
    }
}

impl Corrections {
    fn fault_of(
        &mut self,
        reader: &mut Reader<'_>,
        row: &CorrectionRow,
        place: &str,
    ) -> Result<Option<&'static str>, DbError> {
        let about = About::of(reader, row)?;
        let transaction = store::ledger::find_transaction(reader, row.id)?;
        let orders = match transaction.filter(|found| found.kind == TransactionKind::Correction) {
            Some(transaction) => {
                let first = transaction.first_seq;
                let leg = store::ledger::stored_transfers(reader, first, first + 1)?.pop();
                let leg = leg.and_then(|(_, transfer)| transfer.ok()).map(|(transfer, ..)| transfer.leg);
                if leg.map(|leg| leg.amount) != Some(row.amount) {
                    return Ok(Some("another amount moved in the books"));
                }
                store::ledger::find_order(reader, transaction.order)?.into_iter().collect()
            }
            // What the books had as still to be sent has its own transaction, which ended; how is seen with the rails.
            None if about.outgoing.as_ref().is_some_and(|outgoing| outgoing.id != row.id) => {
                store::ledger::orders_of_kind(reader, CORRECTION_ORDER)?
            }
            None => return Ok(Some("its transaction does not exist")),
        };
        let mut is_signed = false;
        for order in &orders {
            is_signed = is_signed || self.is_signed(order, row, &about, place);
        }
        if !is_signed {
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
    fn is_signed(&mut self, order: &OrderRow, row: &CorrectionRow, about: &About, place: &str) -> bool {
        let said: Option<Said> = serde_json::from_str(&order.input).ok();
        if order.kind != CORRECTION_ORDER || !said.is_some_and(|said| said.says(row, about)) {
            return false;
        }
        let mut signers: BTreeSet<Did> = BTreeSet::new();
        for signature in order.signatures.split(' ') {
            let Some(by) = proven(signature, RAIL_CORRECTION_TYP, order.input.as_bytes()) else {
                return false;
            };
            self.asked.ask(by.kid, Some(&by.signer), row.made_at, place);
            signers.insert(by.signer);
        }
        let approvers: BTreeSet<Did> = row.approvers.iter().cloned().collect();
        approvers.len() >= 2 && signers == approvers
    }
}
