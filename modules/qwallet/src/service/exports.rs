//! The whole books: as sums, as journals of other programs, as lines.

use std::collections::BTreeMap;

use q_core::{Amount, SignedAmount, Timestamp, Total, hash};
use q_db::{DbError, Reader};
use qwallet_api::{AsOf, TransactionId, TrialBalance, TrialBalanceRow};

use super::Service;
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind, sum_of},
        books_text::{self, Dialect},
        currency::{Currency, CurrencyId},
        transfer::Transfer,
        wallet_ref::WalletRef,
    },
    error::Error,
    store::{
        self,
        ledger::{Journalled, TransactionKind},
        merged::{Merged, Placed},
    },
};

/// How many transfers are read at once.
const PAGE_TRANSFERS: u32 = 4_096;

/// The accounts by number, with the names they have in journals.
struct Chart {
    accounts: BTreeMap<i64, (Account, &'static Currency, String)>,
}

#[derive(Default)]
struct Sums {
    debits: Total,
    credits: Total,
    debits_pending: Total,
    credits_pending: Total,
    issued: Total,
    withdrawn: Total,
}

impl Service {
    /// The two sides of the books, by currency.
    pub async fn trial_balance(&self) -> Result<TrialBalance, Error> {
        Ok(self.db.read(trial_balance).await?)
    }

    /// The whole books in another program's form.
    ///
    /// Built as one text in memory: 500 to 600 bytes a transfer as lines, about 200 as a journal, and up to twice that
    /// while it grows, so a million transfers take a gigabyte for a moment. Beside the text there are one page of
    /// rows and the chart of accounts, however long the books are.
    pub async fn export(&self, format: String) -> Result<String, Error> {
        let dialect = match format.as_str() {
            "hledger" => Some(Dialect::Hledger),
            "ledger" => Some(Dialect::Ledger),
            "ndjson" => None,
            _ => return Err(Error::FormatUnknown(format)),
        };
        let text = self.db.read(move |reader| match dialect {
            Some(dialect) => journal(reader, dialect),
            None => lines(reader),
        });
        Ok(text.await?)
    }
}

/// By how much the two sides of each currency differ, posted and pending together.
pub(super) fn differences(
    reader: &mut Reader<'_>,
) -> Result<Vec<(&'static Currency, SignedAmount)>, DbError> {
    let sums = sums(reader)?.into_iter().filter_map(|(id, sum)| {
        let posted = sum.debits.less(sum.credits);
        let pending = sum.debits_pending.less(sum.credits_pending);
        Some((Currency::by_id(id)?, sum_of([posted, pending].into_iter())))
    });
    Ok(sums.collect())
}

fn sums(reader: &mut Reader<'_>) -> Result<BTreeMap<CurrencyId, Sums>, DbError> {
    const OVERFLOW: DbError = DbError::BadRow { column: 0, expected: "sums that fit" };
    let mut sums: BTreeMap<CurrencyId, Sums> = BTreeMap::new();
    store::ledger::for_each_account(reader, |account| {
        let (account, _) = account?;
        let sum = sums.entry(account.currency).or_default();
        let add = |into: &mut Total, total: Total| {
            *into = into.checked_add(Amount::from_units(total.units())).ok_or(OVERFLOW)?;
            Ok::<_, DbError>(())
        };
        add(&mut sum.debits, account.debits_posted)?;
        add(&mut sum.credits, account.credits_posted)?;
        add(&mut sum.debits_pending, account.debits_pending)?;
        add(&mut sum.credits_pending, account.credits_pending)?;
        if account.kind == AccountKind::Issuance {
            add(&mut sum.issued, account.debits_posted)?;
            add(&mut sum.withdrawn, account.credits_posted)?;
        }
        Ok(())
    })?;
    Ok(sums)
}

fn trial_balance(reader: &mut Reader<'_>) -> Result<TrialBalance, DbError> {
    let items = sums(reader)?.into_iter().filter_map(|(id, sum)| {
        let currency = Currency::by_id(id)?;
        let text = |total: Total| currency.text(Amount::from_units(total.units()));
        Some(TrialBalanceRow {
            currency: currency.code.to_owned(),
            debits: text(sum.debits),
            credits: text(sum.credits),
            debits_pending: text(sum.debits_pending),
            credits_pending: text(sum.credits_pending),
            difference: sum.debits.less(sum.credits).display(currency.scale).into(),
            in_circulation: sum.issued.less(sum.withdrawn).display(currency.scale).into(),
        })
    });
    let items = items.collect();
    let (commit, time) = store::ledger::last_commit(reader)?;
    Ok(TrialBalance { items, as_of: AsOf { commit, time } })
}

fn chart(reader: &mut Reader<'_>) -> Result<Chart, DbError> {
    let mut accounts = BTreeMap::new();
    store::ledger::for_each_account(reader, |account| {
        let (account, wallet) = account?;
        let unknown = DbError::BadRow { column: 1, expected: "a currency" };
        let currency = Currency::by_id(account.currency).ok_or(unknown)?;
        let name = books_text::account_name(account.kind, wallet.map(WalletRef::of), account.stripe);
        accounts.insert(account.id.0, (account, currency, name));
        Ok(())
    })?;
    Ok(Chart { accounts })
}

impl Chart {
    fn get(&self, id: AccountId) -> Result<&(Account, &'static Currency, String), DbError> {
        self.accounts.get(&id.0).ok_or(DbError::BadRow { column: 2, expected: "a known account" })
    }
}

/// The journal of `dialect`: every settled movement, then an assertion of every balance.
fn journal(reader: &mut Reader<'_>, dialect: Dialect) -> Result<String, DbError> {
    let chart = chart(reader)?;
    let mut out = String::from("; the books of a Q wallet: every settled movement, exact to the last unit\n");
    let mut names: Vec<&str> = chart.accounts.values().map(|(_, _, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    books_text::write_header(&mut out, dialect, names.into_iter());
    let (_, last_at) = store::ledger::last_commit(reader)?;
    let mut group: Vec<(Transfer, Timestamp)> = Vec::new();
    each_transfer(reader, |reader, (transfer, _, at, _)| {
        let is_next = group.first().is_some_and(|(first, _)| first.transaction != transfer.transaction);
        if is_next {
            write_group(reader, &mut out, &chart, &group)?;
            group.clear();
        }
        if transfer.phase.is_final_movement() {
            group.push((*transfer, *at));
        }
        Ok(())
    })?;
    write_group(reader, &mut out, &chart, &group)?;
    let balances =
        chart.accounts.values().map(|(account, currency, name)| (account, *currency, name.as_str()));
    books_text::write_assertions(&mut out, last_at, balances);
    Ok(out)
}

fn write_group(
    reader: &mut Reader<'_>,
    out: &mut String,
    chart: &Chart,
    group: &[(Transfer, Timestamp)],
) -> Result<(), DbError> {
    let Some((first, at)) = group.first() else { return Ok(()) };
    let kind = kind_of(reader, first.transaction)?;
    let mut legs = Vec::with_capacity(group.len());
    for (transfer, _) in group {
        let (_, currency, debit) = chart.get(transfer.leg.debit)?;
        let (_, _, credit) = chart.get(transfer.leg.credit)?;
        legs.push((transfer, *currency, debit.as_str(), credit.as_str()));
    }
    books_text::write_transaction(out, *at, first.transaction, kind, legs.into_iter());
    Ok(())
}

fn kind_of(reader: &mut Reader<'_>, id: TransactionId) -> Result<&'static str, DbError> {
    Ok(store::ledger::find_transaction(reader, id)?
        .map_or("transaction", |row| TransactionKind::name(row.kind)))
}

/// One JSON object per transfer, in order: enough to replay the books and recompute every head.
fn lines(reader: &mut Reader<'_>) -> Result<String, DbError> {
    let chart = chart(reader)?;
    let mut out = String::new();
    each_transfer(reader, |_, (transfer, commit, at, leaf)| {
        let (_, currency, debit) = chart.get(transfer.leg.debit)?;
        let (_, _, credit) = chart.get(transfer.leg.credit)?;
        let line = serde_json::json!({
            "seq": transfer.seq,
            "transactionId": transfer.transaction,
            "leg": transfer.leg.purpose.name(),
            "phase": transfer.phase.name(),
            "pendingOf": transfer.pending_of,
            "debit": debit,
            "debitAccount": transfer.leg.debit.0,
            "debitVersion": transfer.debit_version,
            "debitBalance": transfer.debit_balance.display(currency.scale),
            "credit": credit,
            "creditAccount": transfer.leg.credit.0,
            "creditVersion": transfer.credit_version,
            "creditBalance": transfer.credit_balance.display(currency.scale),
            "amount": transfer.leg.amount.display(currency.scale),
            "currency": currency.code,
            "commit": commit,
            "at": at,
            "leafHash": hash::hex(leaf),
        });
        out.push_str(&line.to_string());
        out.push('\n');
        Ok(())
    })?;
    Ok(out)
}

/// Calls `each` with every transfer, in pages: those of several writers in an order in which the versions of every
/// account follow one another.
fn each_transfer(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&mut Reader<'_>, &Journalled) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let writers = store::ledger::writers(reader)?;
    let mut transfers = Merged::of(&writers);
    while let Some(next) = transfers.next(reader, |reader, after| {
        let page = store::ledger::transfers_after(reader, after, PAGE_TRANSFERS)?;
        let placed = |row: Journalled| Placed { place: row.0.seq, at: Some(row.2), row };
        Ok(page.into_iter().map(placed).collect())
    })? {
        each(reader, &next.row)?;
    }
    Ok(())
}
