//! Transactions as they are answered, from what is stored.

use std::collections::HashMap;

use q_core::{Amount, Timestamp, hash, hash::Sha256};
use q_db::{DbError, Reader};
use qwallet_api::{Delegated, Leg, Party, Transaction, TransactionId};

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
        invocation::Presented,
        transfer::{Purpose, Transfer},
    },
    error::Error,
    store::{
        self,
        holds::HoldRow,
        ledger::{TransactionKind, TransactionRow},
    },
};

/// Everything stored about one transaction.
pub(super) struct Stored {
    pub row: TransactionRow,
    hold: Option<HoldRow>,
    /// The transfers it began with, then those that ended its hold.
    pub transfers: Vec<(Transfer, Sha256)>,
    created_at: Timestamp,
    /// When its principal moved last, and the leaf hash of that.
    moved: Option<(Timestamp, Sha256)>,
    pub currency: CurrencyId,
}

impl Stored {
    /// When its money moved for good, if it did and none of it is held any more.
    pub fn settled_at(&self) -> Option<Timestamp> {
        self.settlement().map(|(at, _)| at)
    }

    fn settlement(&self) -> Option<(Timestamp, Sha256)> {
        match self.hold.as_ref().map(|hold| hold.end) {
            None | Some(Some(HoldEnd::Settled)) => self.moved,
            Some(None | Some(HoldEnd::Voided | HoldEnd::Expired)) => None,
        }
    }

    /// How much of what it is about was taken in parts, where it was.
    fn captured(&self) -> Option<Amount> {
        self.hold.as_ref().map(|hold| hold.captured).filter(|captured| !captured.is_zero())
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
        let (principal, _) = stored.transfers.first().ok_or(Error::Inconsistent("a transfer"))?;
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
        let settlement = stored.settlement();
        // Of what was taken in parts and is over, what counts is what was taken.
        let captured = stored.captured();
        let (amount, fee_amounts) = match (captured, settlement) {
            (Some(captured), Some(_)) => (captured, stored.settled_fees()),
            _ => (principal.leg.amount, fee_amounts),
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
        let delegated = if with_legs { self.ordered_for(row).await? } else { None };
        let refund = if with_legs { self.refund_behind(row).await? } else { None };
        let (refund_of, reason) = refund.unzip();
        let purpose = match reason.flatten() {
            Some(reason) => Some(reason),
            None => self.unseal("transactions", "purpose", &id, row.purpose.as_deref())?,
        };
        Ok(Transaction {
            transaction_id: row.id,
            r#type: row.kind.name().to_owned(),
            status: status(stored.hold.as_ref()).to_owned(),
            amount: currency.text(amount),
            captured: captured.map(|captured| currency.text(captured)),
            currency: currency.code.to_owned(),
            fees: fees(currency, fee_amounts),
            from: end(principal.leg.debit),
            to: end(principal.leg.credit),
            delegated,
            refund_of,
            purpose,
            client_ref: row.client_ref.clone(),
            intent_id: row.intent,
            created_at: stored.created_at,
            settled_at: settlement.map(|(at, _)| at),
            settlement_hash: settlement.map(|(_, leaf)| hash::hex(&leaf)),
            commit: ended_in.unwrap_or(row.commit),
            legs: legs.collect(),
            notes,
        })
    }

    /// Of which payment a refund gives back, and why.
    async fn refund_behind(
        &self,
        row: &TransactionRow,
    ) -> Result<Option<(TransactionId, Option<String>)>, Error> {
        if row.kind != TransactionKind::Refund {
            return Ok(None);
        }
        let id = row.id;
        let Some(refund) = self.db.read(move |reader| store::refunds::find(reader, id)).await? else {
            return Ok(None);
        };
        let reason = self.unseal("refunds", "reason", &id.to_string(), refund.reason.as_deref())?;
        Ok(Some((refund.payment, reason)))
    }

    /// Who ordered a payment in the place of its payer.
    async fn ordered_for(&self, row: &TransactionRow) -> Result<Option<Delegated>, Error> {
        let (id, is_payment) = (row.order, row.kind == TransactionKind::Payment);
        if id == 0 || !is_payment {
            return Ok(None);
        }
        let order = self.db.read(move |reader| store::ledger::find_order(reader, id)).await?;
        let order = order.filter(|order| Presented::is_meant(&order.signatures));
        let Some(order) = order else { return Ok(None) };
        let presented = Presented::read(&order.signatures, order.input.as_bytes());
        let presented = presented.map_err(|_| Error::Inconsistent("an order"))?;
        let delegations: Vec<String> = presented.delegations().map(|link| link.cid().to_string()).collect();
        let by = presented.invoker().clone();
        Ok((!delegations.is_empty()).then_some(Delegated { by, delegations }))
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
    let hold = store::holds::find(reader, id)?;
    let mut transfers = with_leaves(reader, row.first_seq, row.transfer_count)?;
    // The commit of each group of transfers, with the place of the first.
    let mut commits = vec![(0, row.commit)];
    if hold.as_ref().is_some_and(|hold| !hold.captured.is_zero()) {
        for capture in store::captures::of_transaction(reader, id)? {
            commits.push((transfers.len(), capture.commit));
            transfers.extend(with_leaves(reader, capture.first_seq, capture.transfer_count)?);
        }
    }
    if let Some(HoldRow { end_seq: Some(end_seq), end_commit: Some(end_commit), .. }) = &hold {
        // The last part that was taken may itself be the end.
        if !transfers.iter().any(|(transfer, _)| transfer.seq == *end_seq) {
            commits.push((transfers.len(), *end_commit));
            transfers.extend(with_leaves(reader, *end_seq, row.transfer_count)?);
        }
    }
    let ids: Vec<i64> = commits.iter().map(|(_, commit)| *commit).collect();
    let times = store::ledger::commit_times(reader, &ids)?;
    let time = |commit: i64| times.iter().find(|(id, _)| *id == commit).map(|(_, at)| *at);
    let is_principal = |place: usize| {
        let (of, is) = (transfers.first(), transfers.get(place));
        let is_moved = is.is_some_and(|(transfer, _)| transfer.phase.is_final_movement());
        is_moved && of.zip(is).is_some_and(|((of, _), (is, _))| of.leg.purpose == is.leg.purpose)
    };
    let moved = commits.iter().rev().find(|(place, _)| is_principal(*place));
    let moved = moved.and_then(|(place, commit)| Some((time(*commit)?, transfers.get(*place)?.1)));
    let account = transfers.first().map(|(transfer, _)| transfer.leg.debit);
    let currency = match account {
        Some(account) => store::ledger::currency_of(reader, account)?,
        None => CurrencyId(0),
    };
    let created_at = time(row.commit).unwrap_or_default();
    Ok(Some(Stored { row, hold, transfers, created_at, moved, currency }))
}

/// The transfers from a place on, with their leaf hashes.
pub(super) fn with_leaves(
    reader: &mut Reader<'_>,
    first: i64,
    count: i64,
) -> Result<Vec<(Transfer, Sha256)>, DbError> {
    let stored = store::ledger::stored_transfers(reader, first, first.saturating_add(count))?;
    stored.into_iter().map(|(_, whole)| whole.map(|(transfer, _, leaf)| (transfer, leaf))).collect()
}
