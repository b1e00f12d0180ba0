//! Transactions as they are answered, from what is stored.

use std::collections::HashMap;

use q_core::{Amount, Timestamp, hash, hash::Sha256};
use q_db::{DbError, Reader};
use qwallet_api::{Leg, Party, Transaction, TransactionId};

use super::{
    Service,
    directory::WalletEntry,
    payments::{fees, party},
};
use crate::{
    domain::{
        books::HoldEnd,
        currency::{Currency, CurrencyId},
        fees::FeeAmounts,
        transfer::{Purpose, Transfer},
    },
    error::Error,
    store::{
        self,
        ledger::{HoldRow, TransactionRow},
    },
};

/// Everything stored about one transaction.
pub(super) struct Stored {
    pub row: TransactionRow,
    hold: Option<HoldRow>,
    /// The transfers it began with, then those that ended its hold.
    pub transfers: Vec<(Transfer, Sha256)>,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    pub currency: CurrencyId,
}

impl Stored {
    /// When its money moved for good, if it did.
    pub fn settled_at(&self) -> Option<Timestamp> {
        match self.hold.as_ref().map(|hold| hold.end) {
            None => Some(self.created_at),
            Some(Some(HoldEnd::Settled)) => self.ended_at,
            Some(None | Some(HoldEnd::Voided | HoldEnd::Expired)) => None,
        }
    }
}

impl Service {
    /// The transaction, if it exists; whether the caller may see it is for the caller of this to decide.
    pub(super) async fn transaction(
        &self,
        id: TransactionId,
        with_legs: bool,
    ) -> Result<Option<Transaction>, Error> {
        match self.stored_transaction(id).await? {
            Some(stored) => Ok(Some(self.transaction_of(&stored, with_legs).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn stored_transaction(&self, id: TransactionId) -> Result<Option<Stored>, Error> {
        Ok(self.db.read(move |reader| load(reader, id)).await?)
    }

    pub(super) async fn transaction_of(
        &self,
        stored: &Stored,
        with_legs: bool,
    ) -> Result<Transaction, Error> {
        let row = &stored.row;
        let currency = Currency::by_id(stored.currency).ok_or(Error::Inconsistent("a currency"))?;
        let accounts: Vec<_> = stored
            .transfers
            .iter()
            .flat_map(|(transfer, _)| [transfer.leg.debit, transfer.leg.credit])
            .collect();
        let wallets = self.directory.of_accounts(&accounts).await?;
        let (principal, first_leaf) = stored.transfers.first().ok_or(Error::Inconsistent("a transfer"))?;
        let end = |account| match wallets.get(&account).map(|entry| &**entry) {
            Some(entry) => party(entry),
            None => Party { wallet_ref: self.directory.account_name(account, None), owner: None },
        };
        let began = usize::try_from(row.transfer_count).unwrap_or(usize::MAX);
        let fee = |purpose| {
            let first = stored.transfers.iter().take(began);
            let fee = first.clone().find(|(transfer, _)| transfer.leg.purpose == purpose);
            fee.map_or(Amount::ZERO, |(transfer, _)| transfer.leg.amount)
        };
        let fee_amounts =
            FeeAmounts { platform: fee(Purpose::PlatformFee), network: fee(Purpose::NetworkFee) };
        let settlement = match stored.hold.as_ref().map(|hold| hold.end) {
            None => Some((stored.created_at, first_leaf)),
            Some(Some(HoldEnd::Settled)) => {
                stored.ended_at.zip(stored.transfers.get(began).map(|(_, leaf)| leaf))
            }
            Some(None | Some(HoldEnd::Voided | HoldEnd::Expired)) => None,
        };
        let id = row.id.to_string();
        let name = |account| {
            self.directory.account_name(account, wallets.get(&account).map(|entry| -> &WalletEntry { entry }))
        };
        let legs = stored.transfers.iter().filter(|_| with_legs).map(|(transfer, leaf)| Leg {
            seq: transfer.seq,
            leg: transfer.leg.purpose.name().to_owned(),
            phase: transfer.phase.name().to_owned(),
            debit: name(transfer.leg.debit),
            credit: name(transfer.leg.credit),
            amount: currency.text(transfer.leg.amount),
            leaf_hash: hash::hex(leaf),
        });
        let ended_in = stored.hold.as_ref().and_then(|hold| hold.end_commit);
        let notes = if with_legs { self.notes_beside(&[row.id]).await? } else { HashMap::new() };
        let notes = notes.into_values().flatten().collect();
        Ok(Transaction {
            transaction_id: row.id,
            r#type: row.kind.name().to_owned(),
            status: status(stored.hold.as_ref()).to_owned(),
            amount: currency.text(principal.leg.amount),
            currency: currency.code.to_owned(),
            fees: fees(currency, fee_amounts),
            from: end(principal.leg.debit),
            to: end(principal.leg.credit),
            purpose: self.unseal("transactions", "purpose", &id, row.purpose.as_deref())?,
            client_ref: row.client_ref.clone(),
            intent_id: row.intent,
            created_at: stored.created_at,
            settled_at: settlement.map(|(at, _)| at),
            settlement_hash: settlement.map(|(_, leaf)| hash::hex(leaf)),
            commit: ended_in.unwrap_or(row.commit),
            legs: legs.collect(),
            notes,
        })
    }
}

pub(super) const fn status(hold: Option<&HoldRow>) -> &'static str {
    match hold {
        None | Some(HoldRow { end: Some(HoldEnd::Settled), .. }) => "SETTLED",
        Some(HoldRow { end: None, .. }) => "SIGNED",
        Some(HoldRow { end: Some(HoldEnd::Voided), .. }) => "CANCELLED",
        Some(HoldRow { end: Some(HoldEnd::Expired), .. }) => "EXPIRED",
    }
}

fn load(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<Stored>, DbError> {
    let Some(row) = store::ledger::find_transaction(reader, id)? else { return Ok(None) };
    let hold = store::ledger::find_hold(reader, id)?;
    let mut transfers = with_leaves(reader, row.first_seq, row.transfer_count)?;
    let mut commits = vec![row.commit];
    if let Some(HoldRow { end_seq: Some(end_seq), end_commit: Some(end_commit), .. }) = &hold {
        transfers.extend(with_leaves(reader, *end_seq, row.transfer_count)?);
        commits.push(*end_commit);
    }
    let times = store::ledger::commit_times(reader, &commits)?;
    let time = |commit: i64| times.iter().find(|(id, _)| *id == commit).map(|(_, at)| *at);
    let account = transfers.first().map(|(transfer, _)| transfer.leg.debit);
    let currency = match account {
        Some(account) => store::ledger::currency_of(reader, account)?,
        None => CurrencyId(0),
    };
    Ok(Some(Stored {
        created_at: time(row.commit).unwrap_or_default(),
        ended_at: hold.as_ref().and_then(|hold| hold.end_commit).and_then(time),
        row,
        hold,
        transfers,
        currency,
    }))
}

fn with_leaves(reader: &mut Reader<'_>, first: i64, count: i64) -> Result<Vec<(Transfer, Sha256)>, DbError> {
    let stored = store::ledger::stored_transfers(reader, first, first.saturating_add(count))?;
    stored.into_iter().map(|(_, whole)| whole.map(|(transfer, _, leaf)| (transfer, leaf))).collect()
}
