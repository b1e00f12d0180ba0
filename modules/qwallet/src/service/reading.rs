//! What happened: histories and single transactions.

use q_core::Caller;
use q_db::DbError;
use qwallet_api::{Entry, EntryPage, ListTransactionsRequest, Transaction, TransactionId};

use super::{Service, directory::WalletEntry, issuance};
use crate::{
    domain::{
        account::AccountId,
        currency::Currency,
        payment::{self, Refusal},
        transfer::Transfer,
    },
    error::Error,
    store::{self, ledger::TransactionRow},
};

/// How many entries are read to fill one page when filters pass over some.
const SCANNED_ENTRIES_MAX: u32 = 2_000;

impl Service {
    /// What changed a wallet's account of one currency, newest first.
    pub async fn transactions(
        &self,
        caller: &Caller,
        request: ListTransactionsRequest,
    ) -> Result<EntryPage, Error> {
        let entry = self.readable(caller, &request.squid_id).await?;
        let currency = match request.currency.as_deref() {
            Some(code) => issuance::currency(code)?,
            None => payment::default_currency(),
        };
        let account = entry.accounts.account(currency.id).ok_or(Error::Inconsistent("an account"))?;
        let before = match request.cursor.as_deref() {
            Some(cursor) => cursor.parse().map_err(|_| Refusal::Malformed("cursor"))?,
            None => i64::MAX,
        };
        self.catch_up().await?;
        let limit = request.limit.rows();
        let is_filtered = request.from.is_some() || request.to.is_some();
        let scanned = if is_filtered { SCANNED_ENTRIES_MAX } else { limit };
        let read = self.db.read(move |reader| {
            let places = store::history::places_before(reader, account, before, scanned)?;
            let mut rows = Vec::with_capacity(places.len());
            for (version, seq) in places {
                let transfer = store::ledger::transfers_from(reader, seq, 1)?.pop();
                if let Some(transfer) = transfer {
                    rows.push((version, transfer));
                }
            }
            let mut ids: Vec<TransactionId> = rows.iter().map(|(_, transfer)| transfer.transaction).collect();
            ids.sort_unstable();
            ids.dedup();
            let transactions = store::ledger::transactions(reader, &ids)?;
            let mut commits: Vec<i64> = Vec::new();
            for (_, transfer) in &rows {
                commits.push(store::ledger::commit_of(reader, transfer.seq)?);
            }
            let times = store::ledger::commit_times(reader, &commits)?;
            Ok::<_, DbError>((rows, transactions, commits, times))
        });
        let (rows, transactions, commits, times) = read.await?;
        let was_full = rows.len() == usize::try_from(scanned).unwrap_or(usize::MAX);
        let others: Vec<AccountId> = rows.iter().map(|(_, transfer)| other(transfer, account)).collect();
        let wallets = self.directory.of_accounts(&others).await?;
        let mut items = Vec::new();
        let mut last = None;
        for ((version, transfer), commit) in rows.iter().zip(commits) {
            if items.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
            last = Some(*version);
            let at = times.iter().find(|(id, _)| *id == commit).map(|(_, at)| *at).unwrap_or_default();
            if request.from.is_some_and(|from| at < from) || request.to.is_some_and(|to| at >= to) {
                continue;
            }
            let row = transactions.iter().find(|(row, _)| row.id == transfer.transaction);
            let (row, _) = row.ok_or(Error::Inconsistent("a transaction"))?;
            let wallet = wallets.get(&other(transfer, account)).map(|entry| &**entry);
            items.push(self.entry(transfer, row, account, currency, wallet, at)?);
        }
        let has_more = was_full || items.len() < rows.len();
        let next_cursor = last.filter(|last| has_more && *last > 1).map(|last| last.to_string());
        Ok(EntryPage { items, next_cursor })
    }

    /// A transaction of a wallet the caller may read, with its transfers.
    pub async fn transaction_for(&self, caller: &Caller, id: TransactionId) -> Result<Transaction, Error> {
        let stored = self.stored_transaction(id).await?.ok_or(Error::TransactionNotFound)?;
        let ends: Vec<AccountId> = stored
            .transfers
            .iter()
            .flat_map(|(transfer, _)| [transfer.leg.debit, transfer.leg.credit])
            .collect();
        let wallets = self.directory.of_accounts(&ends).await?;
        if !wallets.values().any(|wallet| self.may_read(caller, wallet)) {
            return Err(Error::TransactionNotFound);
        }
        self.transaction_of(&stored, true).await
    }

    /// Merges the journal into the histories up to what was settled when the call began.
    pub async fn catch_up(&self) -> Result<(), Error> {
        let backlog = self.db.read(store::history::backlog).await?;
        let merges =
            backlog.max(0).unsigned_abs().div_ceil(store::history::MERGE_TRANSFERS_MAX.unsigned_abs());
        for _ in 0..merges {
            self.db.write_locked(store::history::merge).await?;
        }
        Ok(())
    }

    fn entry(
        &self,
        transfer: &Transfer,
        row: &TransactionRow,
        account: AccountId,
        currency: &Currency,
        counterparty: Option<&WalletEntry>,
        at: q_core::Timestamp,
    ) -> Result<Entry, Error> {
        let is_debit = transfer.leg.debit == account;
        let amount = transfer.leg.amount.display(currency.scale);
        let (balance, version) = if is_debit {
            (transfer.debit_balance, transfer.debit_version)
        } else {
            (transfer.credit_balance, transfer.credit_version)
        };
        let other = other(transfer, account);
        Ok(Entry {
            transaction_id: row.id,
            r#type: row.kind.name().to_owned(),
            leg: transfer.leg.purpose.name().to_owned(),
            phase: transfer.phase.name().to_owned(),
            amount: if is_debit { format!("-{amount}") } else { amount }.into(),
            currency: currency.code.to_owned(),
            balance_after: balance.display(currency.scale).into(),
            account_version: version,
            counterparty: self.directory.account_name(other, counterparty),
            purpose: self.unseal("transactions", "purpose", &row.id.to_string(), row.purpose.as_deref())?,
            at,
        })
    }
}

/// The other side of a transfer.
fn other(transfer: &Transfer, account: AccountId) -> AccountId {
    if transfer.leg.debit == account { transfer.leg.credit } else { transfer.leg.debit }
}
