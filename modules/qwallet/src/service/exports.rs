//! The whole books: as sums, as accounts, as journals of other programs, as lines.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use q_core::{Amount, AmountText, Scale, SignedAmount, Timestamp, Total, hash};
use q_db::{DbError, Reader};
use qwallet_api::{
    AsOf, LedgerAccount, LedgerAccountPage, ListAccountsRequest, TransactionId, TrialBalance, TrialBalanceRow,
};
use ruint::aliases::U256;
use serde_json::{Value, json};

use super::Service;
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind, sum_of},
        currency::{Currency, CurrencyId},
        formats::journal::{self, Dialect, Journal, Posting},
        payment::Refusal,
        transfer::{Phase, Transfer},
        wallet_ref::WalletRef,
    },
    error::Error,
    store::{
        self,
        books::{CommitRows, Commits},
        ledger::TransactionKind,
    },
};

/// How many transfers are read at once.
const PAGE_TRANSFERS: u32 = 4_096;

/// The accounts by number, with the names they have in journals.
struct Chart {
    accounts: BTreeMap<i64, (Account, &'static Currency, String)>,
}

/// What all accounts of a currency have turned over: more than any one of them may, so it is counted in 256 bits.
#[derive(Debug, Default)]
struct Sums {
    debits: U256,
    credits: U256,
    debits_pending: U256,
    credits_pending: U256,
    issued: U256,
    withdrawn: U256,
}

impl Service {
    /// The two sides of the books, by currency, now or as they were at a past instant.
    ///
    /// A past one is the present one without what came since, so it takes as long as there is to take back.
    pub async fn trial_balance(&self, at: Option<Timestamp>) -> Result<TrialBalance, Error> {
        Ok(self.db.read(move |reader| trial_balance(reader, at)).await?)
    }

    /// The accounts of the books.
    pub async fn ledger_accounts(&self, request: ListAccountsRequest) -> Result<LedgerAccountPage, Error> {
        let after = request.cursor.as_deref().map(str::parse).transpose();
        let after = after.map_err(|_| Refusal::Malformed("cursor"))?.unwrap_or(0);
        if request.at.is_some() {
            self.catch_up().await?;
        }
        let limit = request.limit.rows();
        let page = self.db.read(move |reader| {
            let accounts = store::ledger::accounts_after(reader, after, limit)?;
            let mut items = Vec::with_capacity(accounts.len());
            for (account, wallet) in &accounts {
                items.push(ledger_account(reader, account, wallet.map(WalletRef::of), request.at)?);
            }
            let is_full = accounts.len() == usize::try_from(limit).unwrap_or(usize::MAX);
            let next_cursor =
                accounts.last().filter(|_| is_full).map(|(account, _)| account.id.0.to_string());
            Ok::<_, DbError>(LedgerAccountPage { items, next_cursor, as_of: as_of(reader, request.at)? })
        });
        Ok(page.await?)
    }

    /// The whole books in another program's form.
    ///
    /// Built as one text in memory: 500 to 600 bytes a transfer as lines, about 200 as a journal, and up to twice that
    /// while it grows, so a million transfers take a gigabyte for a moment. Beside the text there are one page of
    /// rows and the chart of accounts, however long the books are.
    pub async fn export(&self, format: String) -> Result<String, Error> {
        let dialect = Dialect::find(&format);
        if dialect.is_none() && format != "ndjson" {
            return Err(Error::FormatUnknown(format));
        }
        let text = self.db.read(move |reader| match dialect {
            Some(dialect) => journal(reader, dialect),
            None => Ok(lines(reader)?),
        });
        text.await
    }
}

/// By how much the two sides of each currency differ, posted and pending together.
pub(super) fn differences(
    reader: &mut Reader<'_>,
) -> Result<Vec<(&'static Currency, SignedAmount)>, DbError> {
    let sums = sums(reader)?.into_iter().filter_map(|(id, sum)| {
        let posted = difference(sum.debits, sum.credits);
        let pending = difference(sum.debits_pending, sum.credits_pending);
        Some((Currency::by_id(id)?, sum_of([posted, pending].into_iter())))
    });
    Ok(sums.collect())
}

const LESS_THAN_CAME: DbError = DbError::BadRow { column: 0, expected: "as much as came since" };

fn sums(reader: &mut Reader<'_>) -> Result<BTreeMap<CurrencyId, Sums>, DbError> {
    let mut sums: BTreeMap<CurrencyId, Sums> = BTreeMap::new();
    store::ledger::for_each_account(reader, |account| {
        let (account, _) = account?;
        let sum = sums.entry(account.currency).or_default();
        // Fewer than 2^63 accounts, each below 2^128.
        sum.debits += U256::from(account.debits_posted.units());
        sum.credits += U256::from(account.credits_posted.units());
        sum.debits_pending += U256::from(account.debits_pending.units());
        sum.credits_pending += U256::from(account.credits_pending.units());
        if account.kind == AccountKind::Issuance {
            sum.issued += U256::from(account.debits_posted.units());
            sum.withdrawn += U256::from(account.credits_posted.units());
        }
        Ok(())
    })?;
    Ok(sums)
}

/// How much more one sum is than the other. More than fits is damage as well, told as the most there is.
fn difference(sum: U256, other: U256) -> SignedAmount {
    let (greater, less) = if sum >= other { (sum, other) } else { (other, sum) };
    let units = Total::from_units((greater - less).saturating_to());
    if sum >= other { units.less(Total::ZERO) } else { Total::ZERO.less(units) }
}

/// A sum as decimal text, which may have more digits than an amount.
fn text(sum: U256, scale: Scale) -> AmountText {
    let (whole, fraction) = sum.div_rem(U256::from(scale.units_per_whole()));
    // The rest of a division by units is below them, so it is an amount below one.
    let fraction = Amount::from_units(fraction.to()).display(scale);
    fraction
        .strip_prefix('0')
        .map_or_else(|| whole.to_string(), |rest| format!("{whole}{rest}"))
        .as_str()
        .into()
}

/// What came after an instant of interest, to be taken from the present sums, and what ended since, to be put back.
#[derive(Default)]
struct Since {
    came: Sums,
    ended: Sums,
}

impl Since {
    fn count(&mut self, transfer: &Transfer, [debit, credit]: [AccountKind; 2]) {
        let units = U256::from(transfer.leg.amount.units());
        if transfer.phase.is_final_movement() {
            self.came.debits += units;
            self.came.credits += units;
            if debit == AccountKind::Issuance {
                self.came.issued += units;
            }
            if credit == AccountKind::Issuance {
                self.came.withdrawn += units;
            }
        }
        let pending = match transfer.phase {
            Phase::Posted => return,
            Phase::Held => &mut self.came,
            Phase::Settled | Phase::Voided => &mut self.ended,
        };
        pending.debits_pending += units;
        pending.credits_pending += units;
    }

    /// The sums as they were: what ended since is put back first, for it may have come since too.
    fn taken_from(&self, now: &Sums) -> Result<Sums, DbError> {
        let then = |of: fn(&Sums) -> U256| {
            (of(now) + of(&self.ended)).checked_sub(of(&self.came)).ok_or(LESS_THAN_CAME)
        };
        Ok(Sums {
            debits: then(|sums| sums.debits)?,
            credits: then(|sums| sums.credits)?,
            debits_pending: then(|sums| sums.debits_pending)?,
            credits_pending: then(|sums| sums.credits_pending)?,
            issued: then(|sums| sums.issued)?,
            withdrawn: then(|sums| sums.withdrawn)?,
        })
    }
}

fn trial_balance(reader: &mut Reader<'_>, at: Option<Timestamp>) -> Result<TrialBalance, DbError> {
    let mut sums = sums(reader)?;
    if let Some(at) = at {
        for (currency, since) in since(reader, at)? {
            let sum = sums.entry(currency).or_default();
            *sum = since.taken_from(sum)?;
        }
    }
    let items = sums.into_iter().filter_map(|(id, sum)| {
        let currency = Currency::by_id(id)?;
        let text = |sum| text(sum, currency.scale);
        Some(TrialBalanceRow {
            currency: currency.code.to_owned(),
            debits: text(sum.debits),
            credits: text(sum.credits),
            debits_pending: text(sum.debits_pending),
            credits_pending: text(sum.credits_pending),
            difference: difference(sum.debits, sum.credits).display(currency.scale).into(),
            in_circulation: difference(sum.issued, sum.withdrawn).display(currency.scale).into(),
        })
    });
    let items = items.collect();
    Ok(TrialBalance { items, as_of: as_of(reader, at)? })
}

/// What every transfer of a commit after `at` changed.
fn since(reader: &mut Reader<'_>, at: Timestamp) -> Result<BTreeMap<CurrencyId, Since>, DbError> {
    let mut found: BTreeMap<CurrencyId, Since> = BTreeMap::new();
    let mut accounts: BTreeMap<i64, (CurrencyId, AccountKind)> = BTreeMap::new();
    store::ledger::for_each_account(reader, |account| {
        let (account, _) = account?;
        accounts.insert(account.id.0, (account.currency, account.kind));
        Ok(())
    })?;
    let known = |id: AccountId| {
        accounts.get(&id.0).copied().ok_or(DbError::BadRow { column: 2, expected: "a known account" })
    };
    for writer in store::ledger::writers(reader)? {
        let mut after = store::ledger::chain_end_at(reader, writer, at)?.next_seq - 1;
        loop {
            let page = store::ledger::transfers_after(reader, after, PAGE_TRANSFERS)?;
            let Some((last, ..)) = page.last() else { break };
            after = last.seq;
            for (transfer, ..) in &page {
                let (currency, debit) = known(transfer.leg.debit)?;
                let (_, credit) = known(transfer.leg.credit)?;
                found.entry(currency).or_default().count(transfer, [debit, credit]);
            }
        }
    }
    Ok(found)
}

fn as_of(reader: &mut Reader<'_>, at: Option<Timestamp>) -> Result<AsOf, DbError> {
    let (commit, time) = match at {
        Some(at) => store::ledger::last_commit_at(reader, at)?,
        None => store::ledger::last_commit(reader)?,
    };
    Ok(AsOf { commit, time })
}

fn ledger_account(
    reader: &mut Reader<'_>,
    account: &Account,
    wallet: Option<WalletRef>,
    at: Option<Timestamp>,
) -> Result<LedgerAccount, DbError> {
    let currency = currency_of(account)?;
    let (version, balance) = match at {
        Some(at) => store::history::version_at(reader, account, at)?,
        None => (account.version, account.posted()),
    };
    let present = |total: Total| at.is_none().then(|| currency.text(Amount::from_units(total.units())));
    Ok(LedgerAccount {
        account: account.id.0,
        name: journal::account_name(account, wallet),
        kind: account.kind.name().to_owned(),
        currency: currency.code.to_owned(),
        stripe: account.stripe,
        balance: balance.display(currency.scale).into(),
        version,
        debits: present(account.debits_posted),
        credits: present(account.credits_posted),
        debits_pending: present(account.debits_pending),
        credits_pending: present(account.credits_pending),
    })
}

fn currency_of(account: &Account) -> Result<&'static Currency, DbError> {
    Currency::by_id(account.currency).ok_or(DbError::BadRow { column: 1, expected: "a currency" })
}

impl Chart {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DbError> {
        let mut accounts = BTreeMap::new();
        store::ledger::for_each_account(reader, |account| {
            let (account, wallet) = account?;
            let currency = currency_of(&account)?;
            let name = journal::account_name(&account, wallet.map(WalletRef::of));
            accounts.insert(account.id.0, (account, currency, name));
            Ok(())
        })?;
        Ok(Self { accounts })
    }

    fn get(&self, id: AccountId) -> Result<&(Account, &'static Currency, String), DbError> {
        self.accounts.get(&id.0).ok_or(DbError::BadRow { column: 2, expected: "a known account" })
    }

    /// Every name once.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.accounts.values().map(|(_, _, name)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The journal of `dialect`: every settled movement, then an assertion of every balance.
fn journal(reader: &mut Reader<'_>, dialect: Dialect) -> Result<String, Error> {
    let chart = Chart::read(reader)?;
    let about = "the books of a Q wallet: every settled movement, exact to the last unit";
    let since = store::books::first_at(reader)?;
    let mut journal = Journal::begin(dialect, about, since, chart.names().into_iter());
    let mut commits = Commits::begin(reader)?;
    let mut last_at = since;
    while let Some(rows) = commits.next(reader)? {
        write_commit(&mut journal, &chart, &rows)?;
        last_at = last_at.max(rows.commit.at);
    }
    let accounts = chart.accounts.values();
    let accounts = accounts.map(|(account, currency, name)| (account, *currency, name.as_str()));
    journal.assert_balances(last_at, journal::by_name(accounts).into_iter())?;
    Ok(journal.finish())
}

/// The settled movements of a commit, one entry a transaction.
fn write_commit(journal: &mut Journal, chart: &Chart, rows: &CommitRows) -> Result<(), Error> {
    let settled: Vec<&Transfer> = rows
        .transfers
        .iter()
        .map(|(transfer, _)| transfer)
        .filter(|transfer| transfer.phase.is_final_movement())
        .collect();
    for group in settled.chunk_by(|one, next| one.transaction == next.transaction) {
        let id: TransactionId = group[0].transaction;
        let kind = rows.kinds.get(&id).map_or("transaction", |kind| TransactionKind::name(*kind));
        let mut postings = Vec::with_capacity(group.len() * 2);
        for transfer in group {
            let (_, currency, debit) = chart.get(transfer.leg.debit)?;
            let (_, _, credit) = chart.get(transfer.leg.credit)?;
            let amount = transfer.leg.amount;
            let sides = [(debit, SignedAmount::plus(amount)), (credit, SignedAmount::minus(amount))];
            postings.extend(sides.map(|(account, change)| Posting {
                account,
                change,
                balance: None,
                currency,
            }));
        }
        journal.entry(rows.commit.at, &id.to_string(), kind, postings.into_iter())?;
    }
    Ok(())
}

/// One JSON object a line: the accounts, then commit by commit its transfers, the transactions it begins, and itself with
/// its head. Enough to replay every balance, and to compute every head without us.
fn lines(reader: &mut Reader<'_>) -> Result<String, DbError> {
    let chart = Chart::read(reader)?;
    let mut out = String::new();
    let mut line = |line: Value| {
        out.push_str(&line.to_string());
        out.push('\n');
    };
    for (account, currency, name) in chart.accounts.values() {
        line(json!({
            "record": "account",
            "account": account.id.0,
            "name": name,
            "kind": account.kind.name(),
            "currency": currency.code,
            "scale": currency.scale.decimals(),
        }));
    }
    let mut commits = Commits::begin(reader)?;
    while let Some(rows) = commits.next(reader)? {
        for (transfer, leaf) in &rows.transfers {
            line(transfer_line(&chart, &rows, transfer, leaf)?);
        }
        for one in &rows.transactions {
            line(json!({
                "record": "transaction",
                "transactionId": one.row.id,
                "type": one.row.kind.name(),
                "typeCode": one.row.kind.code(),
                "firstSeq": one.row.first_seq,
                "transferCount": one.row.transfer_count,
                "orderDigest": hash::hex(&one.order_digest),
                "intentId": one.row.intent,
                "clientRef": one.row.client_ref,
                "sealedPurpose": one.row.purpose.as_deref().map(|sealed| BASE64.encode(sealed)),
                "leafHash": hash::hex(&one.leaf),
            }));
        }
        line(json!({
            "record": "commit",
            "commit": rows.id,
            "writer": rows.commit.writer,
            "number": rows.commit.number,
            "firstSeq": rows.commit.first_seq,
            "transferCount": rows.commit.transfer_count,
            "transactionCount": rows.commit.transaction_count,
            "at": rows.commit.at,
            "atMicros": rows.commit.at.micros(),
            "root": hash::hex(&rows.commit.root),
            "head": hash::hex(&rows.head),
        }));
    }
    Ok(out)
}

fn transfer_line(
    chart: &Chart,
    rows: &CommitRows,
    transfer: &Transfer,
    leaf: &hash::Sha256,
) -> Result<Value, DbError> {
    let (_, currency, debit) = chart.get(transfer.leg.debit)?;
    let (_, _, credit) = chart.get(transfer.leg.credit)?;
    Ok(json!({
        "record": "transfer",
        "seq": transfer.seq,
        "transactionId": transfer.transaction,
        "leg": transfer.leg.purpose.name(),
        "legCode": transfer.leg.purpose.code(),
        "phase": transfer.phase.name(),
        "phaseCode": transfer.phase.code(),
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
        "commit": rows.id,
        "at": rows.commit.at,
        "leafHash": hash::hex(leaf),
    }))
}
