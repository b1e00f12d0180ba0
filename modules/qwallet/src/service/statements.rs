//! Statements: read from the histories, checked, written in the format that was asked for.

use std::collections::HashMap;

use q_contract::Document;
use q_core::{Caller, SignedAmount, Span, Timestamp};
use q_db::{DbError, Reader};
use qwallet_api::{Statement as WireStatement, StatementEntry, StatementRequest, TransactionId, WalletId};

use super::{Service, issuance};
use crate::{
    domain::{
        account::{Account, AccountId, sum_of},
        currency::Currency,
        formats::{NotRepresentable, camt053, csv, journal, ofx},
        payment::{self, Refusal},
        statement::{Entry, Period, Statement},
        transfer::Transfer,
    },
    error::Error,
    store::{
        self,
        ledger::{Journalled, TransactionRow},
    },
};

/// The most entries of one statement: some tens of megabytes.
const ENTRIES_MAX: i64 = 100_000;

/// The smallest step of time: an instant before `to` is at most `to` less this.
const TICK: Span = Span::micros(1);

/// A form in which statements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Camt053,
    Ofx,
    Journal(journal::Dialect),
}

impl Format {
    fn find(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "csv" => Self::Csv,
            "camt053" => Self::Camt053,
            "ofx" => Self::Ofx,
            _ => Self::Journal(journal::Dialect::find(name)?),
        })
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Camt053 => "application/xml",
            Self::Ofx => "application/x-ofx",
            Self::Journal(_) => "text/plain; charset=utf-8",
        }
    }
}

impl Service {
    /// A statement of a wallet the caller may read.
    pub async fn statement(&self, caller: &Caller, request: StatementRequest) -> Result<Document, Error> {
        let wallet = self.readable(caller, &request.wallet_id).await?;
        let format = Format::find(request.format.as_deref().unwrap_or("json"));
        let format = format.ok_or(Refusal::Malformed("format"))?;
        let currency = match request.currency.as_deref() {
            Some(code) => issuance::currency(code)?,
            None => payment::default_currency(),
        };
        let now = self.env.now();
        let period = Period::asked(request.from, request.to, now).ok_or(Refusal::Malformed("from"))?;
        self.catch_up().await?;
        let id = wallet.row.id;
        let read = self.db.read(move |reader| Movements::read(reader, id, currency, period)).await??;
        let others: Vec<AccountId> = read.list.iter().map(|movement| movement.other).collect();
        let others = self.directory.of_accounts(&others).await?;
        let mut balance = read.opening;
        let mut entries = Vec::with_capacity(read.list.len());
        for movement in read.list {
            let (transfer, at) = (movement.transfer, movement.at);
            let row = read.transactions.get(&transfer.transaction);
            let row = row.ok_or(Error::Inconsistent("a transaction"))?;
            balance = sum_of([balance, movement.change].into_iter());
            let other = others.get(&movement.other).map(|entry| &**entry);
            entries.push(Entry {
                seq: transfer.seq,
                at,
                transaction: row.id,
                kind: row.kind.name(),
                leg: transfer.leg.purpose,
                change: movement.change,
                balance,
                counterparty: self.directory.account_name(movement.other, other),
                purpose: self.unseal(
                    "transactions",
                    "purpose",
                    &row.id.to_string(),
                    row.purpose.as_deref(),
                )?,
                client_ref: row.client_ref.clone(),
            });
        }
        let is_first = *currency == *payment::default_currency();
        let statement = Statement {
            number: period.number(wallet.row.created_at, now),
            wallet: wallet.row.reference.clone(),
            owner: wallet.row.owner.to_string(),
            currency,
            iso_alias: self.iso_alias.clone().filter(|_| is_first),
            period,
            made_at: now,
            opening: read.opening,
            closing: read.closing,
            entries,
        };
        if !statement.adds_up() {
            return Err(Error::Inconsistent("entries between two balances; `q verify qwallet` names them"));
        }
        let text = match format {
            Format::Json => json(&statement, &wallet.row.owner)?,
            Format::Csv => csv::statement(&statement),
            Format::Camt053 => camt053::statement(&statement)?,
            Format::Ofx => ofx::statement(&statement),
            Format::Journal(dialect) => journal::statement(&statement, dialect)?,
        };
        Ok(Document { media_type: format.media_type(), bytes: text.into_bytes() })
    }
}

/// What settled in one currency of a wallet in a period.
struct Movements {
    opening: SignedAmount,
    closing: SignedAmount,
    /// Oldest first.
    list: Vec<Movement>,
    transactions: HashMap<TransactionId, TransactionRow>,
}

struct Movement {
    transfer: Transfer,
    at: Timestamp,
    change: SignedAmount,
    other: AccountId,
}

impl Movements {
    fn read(
        reader: &mut Reader<'_>,
        wallet: WalletId,
        currency: &Currency,
        period: Period,
    ) -> Result<Result<Self, NotRepresentable>, DbError> {
        let mut accounts = store::ledger::accounts_of(reader, wallet)?;
        accounts.retain(|account| account.currency == currency.id);
        let own: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
        let (mut spans, mut opening, mut closing) = (Vec::new(), SignedAmount::ZERO, SignedAmount::ZERO);
        for account in &accounts {
            let span = VersionSpan::read(reader, account, period)?;
            opening = sum_of([opening, span.opening].into_iter());
            closing = sum_of([closing, span.closing].into_iter());
            spans.push(span);
        }
        let count: i64 = spans.iter().map(|span| span.through - span.after).sum();
        if count > ENTRIES_MAX {
            let what = format!("{count} entries are more than the {ENTRIES_MAX} of one statement");
            return Ok(Err(NotRepresentable::new(what, "ask for a shorter period")));
        }
        let mut movements = Vec::new();
        for span in &spans {
            span.for_each_page(reader, |_, page| {
                let found = page
                    .iter()
                    .filter_map(|(transfer, _, at, _)| movement(transfer, *at, span.account, &own));
                movements.extend(found);
                Ok(())
            })?;
        }
        movements.sort_by_key(|movement| (movement.at, movement.transfer.seq));
        let mut ids: Vec<TransactionId> =
            movements.iter().map(|movement| movement.transfer.transaction).collect();
        ids.sort_unstable();
        ids.dedup();
        let transactions = store::ledger::transactions(reader, &ids)?;
        let transactions = transactions.into_iter().map(|(row, _)| (row.id, row)).collect();
        Ok(Ok(Self { opening, closing, list: movements, transactions }))
    }
}

/// The transfers of one account in a period: those after one of its versions up to another.
pub(super) struct VersionSpan {
    pub account: AccountId,
    period: Period,
    after: i64,
    through: i64,
    opening: SignedAmount,
    closing: SignedAmount,
}

impl VersionSpan {
    pub fn read(reader: &mut Reader<'_>, account: &Account, period: Period) -> Result<Self, DbError> {
        let (after, opening) = store::history::version_at(reader, account, period.from - TICK)?;
        let (through, closing) = store::history::version_at(reader, account, period.to - TICK)?;
        Ok(Self { account: account.id, period, after, through: through.max(after), opening, closing })
    }

    /// Calls `each` with every transfer, oldest first, in pages.
    pub fn for_each_page(
        &self,
        reader: &mut Reader<'_>,
        each: impl FnMut(&mut Reader<'_>, &[&Journalled]) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        store::movements::for_each_page(reader, self.account, (self.period.from, self.period.to), each)
    }
}

/// What a transfer changes for the owner of the accounts `own`: nothing, where it only holds or frees, or where money
/// only changes pockets between an account and its stripes.
fn movement(transfer: &Transfer, at: Timestamp, account: AccountId, own: &[AccountId]) -> Option<Movement> {
    let is_debit = transfer.leg.debit == account;
    let other = if is_debit { transfer.leg.credit } else { transfer.leg.debit };
    let amount = transfer.leg.amount;
    let change = if is_debit { SignedAmount::minus(amount) } else { SignedAmount::plus(amount) };
    (transfer.phase.is_final_movement() && !own.contains(&other)).then_some(Movement {
        transfer: *transfer,
        at,
        change,
        other,
    })
}

fn json(statement: &Statement, owner: &q_core::Did) -> Result<String, Error> {
    let text = |amount: SignedAmount| amount.display(statement.currency.scale).into();
    let entries = statement.entries.iter().map(|entry| StatementEntry {
        transaction_id: entry.transaction,
        r#type: entry.kind.to_owned(),
        leg: entry.leg.name().to_owned(),
        amount: text(entry.change),
        balance_after: text(entry.balance),
        counterparty: entry.counterparty.clone(),
        purpose: entry.purpose.clone(),
        client_ref: entry.client_ref.clone(),
        at: entry.at,
    });
    let document = WireStatement {
        statement_id: statement.id(),
        statement_number: statement.number,
        wallet_ref: statement.wallet.clone(),
        owner: owner.clone(),
        currency: statement.currency.code.to_owned(),
        from: statement.period.from,
        to: statement.period.to,
        made_at: statement.made_at,
        opening: text(statement.opening),
        closing: text(statement.closing),
        entries: entries.collect(),
    };
    serde_json::to_string(&document).map_err(|_| Error::Inconsistent("a readable statement"))
}
