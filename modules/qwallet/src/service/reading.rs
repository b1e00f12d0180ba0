//! What happened: histories and single transactions.

use std::collections::{HashMap, VecDeque};

use q_core::{Caller, SignedAmount, Span, Timestamp};
use q_db::{DbError, Reader};
use qwallet_api::{Entry, EntryPage, ListTransactionsRequest, Transaction, TransactionId};

use super::{
    Service,
    answers::status,
    filters::{self, Candidate},
    issuance, payments,
};
use crate::{
    domain::{
        account::{Account, AccountId, sum_of},
        currency::Currency,
        payment::{self, Refusal},
        transfer::{Purpose, Transfer},
    },
    error::Error,
    store::{
        self,
        history::Mark,
        holds::HoldRow,
        ledger::{Journalled, TransactionRow},
    },
};

/// How many entries are read to fill one page when filters pass over some.
const SCANNED_ENTRIES_MAX: u32 = 2_000;

/// The smallest step of time.
const TICK: Span = Span::micros(1);

/// An account and its stripes.
const CURSOR_PLACES_MAX: usize = 1 + super::limits::STRIPES_MAX as usize;

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
        let cursor = request.cursor.as_deref().map(read_cursor).transpose()?;
        let filter = self.filter(&request, currency).await?;
        self.catch_up().await?;
        let limit = request.limit.rows();
        let scanned = if filter.is_open() { limit } else { SCANNED_ENTRIES_MAX };
        let wallet = entry.row.id;
        let (from, to) = (request.from, request.to);
        let (lists, found) = self
            .db
            .read(move |reader| {
                let accounts = store::ledger::accounts_of(reader, wallet)?;
                let accounts = accounts.iter().filter(|account| account.currency == currency.id);
                let mut lists = Vec::new();
                for (place, account) in accounts.enumerate() {
                    // A stripe that was added while somebody turned pages holds nothing older than the first page.
                    let start = Mark { at: Timestamp::default(), version: 1 };
                    let before = cursor.as_ref().map(|cursor| cursor.get(place).copied().unwrap_or(start));
                    lists.push(List::read(reader, account, before, (from, to), scanned)?);
                }
                let found = Found::read(reader, &lists)?;
                Ok::<_, DbError>((lists, found))
            })
            .await?;
        let (mut lists, Found { rows, transactions, holds }) = (lists, found);
        let own: Vec<AccountId> = lists.iter().map(|list| list.account).collect();
        let others: Vec<AccountId> =
            rows.values().flat_map(|(transfer, ..)| [transfer.leg.debit, transfer.leg.credit]).collect();
        let wallets = self.directory.of_accounts(&others).await?;
        let (mut items, mut seqs) = (Vec::new(), Vec::new());
        while items.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            let Some((list, total)) = newest(&mut lists, &rows) else { break };
            let Some((mark, seq)) = list.places.pop_front() else { break };
            list.before = mark;
            let (transfer, _, at, _) = rows.get(&seq).ok_or(Error::Inconsistent("a transfer"))?;
            let row = transactions.get(&transfer.transaction).ok_or(Error::Inconsistent("a transaction"))?;
            let other = other(transfer, &own);
            let wallet = wallets.get(&other).map(|entry| &**entry);
            let counterparty = self.directory.account_name(other, wallet);
            let candidate = Candidate {
                transfer,
                row,
                status: status(holds.get(&row.id)),
                at: *at,
                wallet: wallet.map(|entry| entry.row.id),
                counterparty: &counterparty,
            };
            if !filter.admits(&candidate) {
                continue;
            }
            let purpose =
                self.unseal("transactions", "purpose", &row.id.to_string(), row.purpose.as_deref())?;
            if filter.finds(&candidate, purpose.as_deref()) {
                let side = Side { account: list.account, version: mark.version, balance: total };
                items.push(entry_of(&candidate, &side, currency, purpose));
                seqs.push(seq);
            }
        }
        self.add_fees(&mut items, &seqs, &transactions, currency).await?;
        let has_more = lists
            .iter()
            .any(|list| list.before.version > list.floor + 1 && (!list.places.is_empty() || list.was_full));
        let next_cursor = has_more.then(|| {
            let place = |list: &List| format!("{}-{}", list.before.at.micros(), list.before.version);
            lists.iter().map(place).collect::<Vec<_>>().join(".")
        });
        self.add_notes(&mut items).await?;
        Ok(EntryPage { items, next_cursor })
    }

    /// Adds what the wallet pays on top to the entries by which it pays: what stands behind them, which of a part that was
    /// taken is that part's.
    async fn add_fees(
        &self,
        items: &mut [Entry],
        seqs: &[i64],
        transactions: &HashMap<TransactionId, TransactionRow>,
        currency: &Currency,
    ) -> Result<(), Error> {
        let pays =
            |entry: &Entry| entry.leg == Purpose::Principal.name() && entry.amount.as_str().starts_with('-');
        let places = items.iter().zip(seqs).filter(|(entry, _)| pays(entry)).filter_map(|(entry, seq)| {
            let row = transactions.get(&entry.transaction_id)?;
            Some(*seq..*seq + row.transfer_count)
        });
        let places: Vec<i64> = places.flatten().collect();
        if places.is_empty() {
            return Ok(());
        }
        let legs = self.db.read(move |reader| store::ledger::transfers_at(reader, &places)).await?;
        for (entry, seq) in items.iter_mut().zip(seqs).filter(|(entry, _)| pays(entry)) {
            entry.fees = filters::fees_behind(&legs, *seq).map(|amounts| payments::fees(currency, amounts));
        }
        Ok(())
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
        let backlogs = self.db.read(store::history::backlogs).await?;
        for _ in 0..store::history::merges(&backlogs) {
            match self.db.write_locked(store::history::merge).await {
                // What is not merged is read from the journal, so a store that takes no writes still tells everything.
                Err(DbError::WriteStopped(_)) => return Ok(()),
                merged => drop(merged?),
            }
        }
        Ok(())
    }
}

/// The rows behind the entries of lists.
struct Found {
    rows: HashMap<i64, Journalled>,
    transactions: HashMap<TransactionId, TransactionRow>,
    holds: HashMap<TransactionId, HoldRow>,
}

impl Found {
    fn read(reader: &mut Reader<'_>, lists: &[List]) -> Result<Self, DbError> {
        let seqs: Vec<i64> = lists.iter().flat_map(|list| list.places.iter().map(|(_, seq)| *seq)).collect();
        let rows = store::ledger::transfers_at(reader, &seqs)?;
        let mut ids: Vec<TransactionId> = rows.values().map(|(transfer, ..)| transfer.transaction).collect();
        ids.sort_unstable();
        ids.dedup();
        let transactions = store::ledger::transactions(reader, &ids)?;
        let transactions = transactions.into_iter().map(|(row, _)| (row.id, row)).collect();
        let holds = store::holds::list(reader, &ids)?.into_iter().map(|(id, hold)| Ok((id, hold?)));
        Ok(Self { rows, transactions, holds: holds.collect::<Result<_, DbError>>()? })
    }
}

fn entry_of(candidate: &Candidate<'_>, side: &Side, currency: &Currency, purpose: Option<String>) -> Entry {
    let (transfer, row) = (candidate.transfer, candidate.row);
    let amount = transfer.leg.amount.display(currency.scale);
    let is_debit = transfer.leg.debit == side.account;
    Entry {
        transaction_id: row.id,
        r#type: row.kind.name().to_owned(),
        leg: transfer.leg.purpose.name().to_owned(),
        phase: transfer.phase.name().to_owned(),
        status: candidate.status.to_owned(),
        amount: if is_debit { format!("-{amount}") } else { amount }.into(),
        currency: currency.code.to_owned(),
        balance_after: side.balance.display(currency.scale).into(),
        account_version: side.version,
        fees: None,
        counterparty: candidate.counterparty.to_owned(),
        client_ref: row.client_ref.clone(),
        purpose,
        at: candidate.at,
        notes: Vec::new(),
    }
}

/// What is left to show of one account: the wallet's own, or a stripe of it.
struct List {
    account: AccountId,
    /// The last version that is not asked for, being too old.
    floor: i64,
    /// What the account held then.
    rest: SignedAmount,
    /// What everything left is before.
    before: Mark,
    /// Where in the account's history, and the place in the journal, newest first.
    places: VecDeque<(Mark, i64)>,
    /// Whether there may be more behind these.
    was_full: bool,
}

impl List {
    /// What is before `before` in the account's history, and between two instants.
    fn read(
        reader: &mut Reader<'_>,
        account: &Account,
        before: Option<Mark>,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        scanned: u32,
    ) -> Result<Self, DbError> {
        let before = before.unwrap_or(Mark::END).min(to.map_or(Mark::END, Mark::before));
        let (floor, rest) = match from {
            Some(from) => store::history::version_at(reader, account, from - TICK)?,
            None => (0, SignedAmount::ZERO),
        };
        let mut places = store::history::places_before(reader, account.id, before, scanned)?;
        let was_full = places.len() == usize::try_from(scanned).unwrap_or(usize::MAX)
            && places.last().is_some_and(|(mark, _)| mark.version > floor + 1);
        places.retain(|(mark, _)| mark.version > floor);
        Ok(Self { account: account.id, floor, rest, before, places: places.into(), was_full })
    }
}

/// The wallet's side of a transfer.
struct Side {
    account: AccountId,
    version: i64,
    /// What the wallet holds after it, in the account and its stripes.
    balance: SignedAmount,
}

/// The list whose next entry is the newest, and what the wallet holds after that entry; nothing when all is shown, or
/// when what is behind the end of a list could be newer.
///
/// What a wallet holds after an entry is the sum of what each of its accounts held after its own newest entry by then:
/// the balances at the heads of the lists.
fn newest<'a>(
    lists: &'a mut [List],
    rows: &HashMap<i64, Journalled>,
) -> Option<(&'a mut List, SignedAmount)> {
    let (mut found, mut balances) = (None, Vec::with_capacity(lists.len()));
    for (place, list) in lists.iter().enumerate() {
        let Some((_, seq)) = list.places.front() else {
            if list.was_full {
                return None;
            }
            balances.push(list.rest);
            continue;
        };
        let (transfer, _, at, _) = rows.get(seq)?;
        let is_debit = transfer.leg.debit == list.account;
        balances.push(if is_debit { transfer.debit_balance } else { transfer.credit_balance });
        if found.is_none_or(|(newest, _)| newest < (*at, *seq)) {
            found = Some(((*at, *seq), place));
        }
    }
    let (_, place) = found?;
    Some((&mut lists[place], sum_of(balances.into_iter())))
}

/// The other side of a transfer.
fn other(transfer: &Transfer, own: &[AccountId]) -> AccountId {
    if own.contains(&transfer.leg.debit) { transfer.leg.credit } else { transfer.leg.debit }
}

/// For each account of the wallet where in its history the next page begins: micros and version.
fn read_cursor(text: &str) -> Result<Vec<Mark>, Refusal> {
    let mark = |place: &str| {
        let (at, version) = place.split_once('-')?;
        Some(Mark { at: Timestamp::from_micros(at.parse().ok()?), version: version.parse().ok()? })
    };
    let marks: Option<Vec<Mark>> = text.split('.').map(mark).collect();
    marks.filter(|marks| marks.len() <= CURSOR_PLACES_MAX).ok_or(Refusal::Malformed("cursor"))
}
