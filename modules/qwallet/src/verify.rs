//! Proves the books from the journal: every hash, every chain, every balance, every hold.
//!
//! Reads commit by commit and keeps only the running state of each account, so a large store needs little
//! memory. Nothing stops it: each finding names the row, the account and the commit, and the next row is
//! read.

mod asked;

use std::collections::{HashMap, HashSet};

use q_core::{Amount, SignedAmount, Timestamp, Total, hash::Sha256};
use q_db::{Db, DbError, Reader};
use q_runtime::Finding;
use q_seal::Sealer;
use qwallet_api::{TransactionId, WalletId};

use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        books::HoldEnd,
        chain::{self, Commit, GENESIS},
        currency::{Currency, CurrencyId},
        limits::{Spent, Window},
        transfer::{Phase, Purpose, Transfer},
        wallet_ref::WalletRef,
    },
    store::{
        self,
        ledger::{HoldRow, NO_ORDER, StoredCommit, TransactionRow},
        merged::{Merged, Placed},
    },
};

/// How many commits are read at once.
const COMMITS_PAGE: u32 = 1_000;

/// More transfers than any commit has: the executor's payments and one batch beside them, eight legs each.
const COMMIT_TRANSFERS_MAX: i64 = 131_072;

/// Checks the whole store; `sealer` opens what is sealed in it.
pub async fn verify(db: &Db, sealer: &Sealer) -> Result<Vec<Finding>, DbError> {
    let sealer = sealer.clone();
    db.read(move |reader| {
        let mut check = Check::default();
        check.orders(reader)?;
        check.counted(reader)?;
        check.commits(reader)?;
        check.counts(reader)?;
        check.accounts(reader)?;
        check.holds(reader)?;
        check.intents(reader, &sealer)?;
        check.imports(reader, &sealer)?;
        check.wallets(reader)?;
        check.history(reader)?;
        Ok(check.findings)
    })
    .await
}

/// An account as its transfers say it is.
#[derive(Debug, Clone, Copy, Default)]
struct Replayed {
    credits_posted: Total,
    debits_posted: Total,
    credits_pending: Total,
    debits_pending: Total,
    version: i64,
    /// The instant of the last commit that changed it.
    changed_at: Timestamp,
    spent: Spent,
}

/// What the rows of accounts say of limits, which the replay is compared with.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// From when on payments were counted.
    since: Timestamp,
    is_wallet: bool,
}

/// How a held transfer ended, so far.
struct Open {
    amount: Amount,
    held_at: Timestamp,
    transaction: TransactionId,
}

#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
    accounts: HashMap<AccountId, Replayed>,
    counted: HashMap<AccountId, Counted>,
    terms: HashMap<WalletId, Vec<u8>>,
    house: HashSet<(CurrencyId, AccountKind, i64)>,
    open: HashMap<i64, Open>,
    ended: HashMap<TransactionId, HoldEnd>,
    held: HashSet<TransactionId>,
    /// Held transactions whose intent was not seen yet.
    awaiting_intent: HashSet<TransactionId>,
    unread_intent: bool,
    heads: HashMap<i64, (i64, Sha256, Timestamp, i64)>,
    transfer_count: i64,
    transaction_count: i64,
}

impl Check {
    fn find(&mut self, code: &str, place: String, detail: String) {
        self.findings.push(Finding::new(code, place, detail));
    }

    /// Each order has the digest that transactions refer to.
    fn orders(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let findings = &mut self.findings;
        store::ledger::for_each_order(reader, |id, order| {
            let place = format!("orders {id}");
            match order {
                Err(error) => findings.push(Finding::new("order_unreadable", place, error.to_string())),
                Ok((order, digest)) if order.digest() != digest => {
                    let detail = "the order or its signature is not what was stored";
                    findings.push(Finding::new("order_changed", place, detail));
                }
                Ok(_) => {}
            }
            Ok(())
        })
    }

    /// From when on payments count against limits: those before an account had counters do not.
    fn counted(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let counted = &mut self.counted;
        store::ledger::for_each_account(reader, |account| {
            if let Ok((account, _)) = account {
                let is_wallet = account.kind == AccountKind::Wallet;
                counted.insert(account.id, Counted { since: account.spent.since, is_wallet });
            }
            Ok(())
        })
    }

    /// Every chain by itself, and all of them together in an order in which accounts change step by step.
    fn commits(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let writers = store::ledger::writers(reader)?;
        let mut commits = Merged::of(&writers);
        while let Some(Placed { place: id, row, .. }) = commits.next(reader, |reader, after| {
            let page = store::ledger::commits_after(reader, after, COMMITS_PAGE)?;
            let placed = |(place, row): (i64, StoredCommit)| Placed {
                place,
                at: row.as_ref().ok().map(|(commit, _)| commit.at),
                row,
            };
            Ok(page.into_iter().map(placed).collect())
        })? {
            match row {
                Ok((commit, head)) => {
                    self.chain(id, &commit, &head);
                    self.commit(reader, id, &commit)?;
                }
                Err(error) => {
                    self.find("commit_unreadable", format!("commits {id}"), error.to_string());
                }
            }
        }
        Ok(())
    }

    /// A commit follows the one before it: number, places, time, head.
    fn chain(&mut self, id: i64, commit: &Commit, head: &Sha256) {
        let place = format!("commits {id}");
        let start = (0, GENESIS, Timestamp::default(), store::ledger::commit_id(commit.writer, 0) + 1);
        let (number, before, at, next_seq) = *self.heads.get(&commit.writer).unwrap_or(&start);
        if commit.number != number + 1 {
            let detail = format!("number {} follows {number}", commit.number);
            self.find("commit_missing", place.clone(), detail);
        }
        if commit.first_seq != next_seq {
            let detail = format!("begins at transfer {}, expected {next_seq}", commit.first_seq);
            self.find("commit_gap", place.clone(), detail);
        }
        if commit.at < at {
            self.find("time_went_back", place.clone(), format!("{} after {at}", commit.at));
        }
        if commit.head(&before) != *head {
            let detail = "the head does not follow from the commit and the head before it".to_owned();
            self.find("head_mismatch", place, detail);
        }
        let next = (commit.number, *head, commit.at, end_of(commit));
        self.heads.insert(commit.writer, next);
    }

    /// The rows of a commit are those under its root, and change accounts as they say.
    fn commit(&mut self, reader: &mut Reader<'_>, id: i64, commit: &Commit) -> Result<(), DbError> {
        let end = end_of(commit);
        let rows = store::ledger::stored_transfers(reader, commit.first_seq, end)?;
        let mut leaves = Vec::with_capacity(rows.len());
        let mut begun: Vec<(TransactionId, i64)> = Vec::new();
        let mut expected = commit.first_seq;
        for (seq, row) in rows {
            self.missing(expected, seq, id);
            expected = seq + 1;
            self.transfer_count += 1;
            let (transfer, of, leaf) = match row {
                Ok(row) => row,
                Err(error) => {
                    self.find(
                        "transfer_unreadable",
                        format!("transfers {seq}"),
                        format!("commit {id}: {error}"),
                    );
                    continue;
                }
            };
            self.transfer(&transfer, (of, id), &leaf, commit.at);
            leaves.push(leaf);
            let is_beginning = matches!(transfer.phase, Phase::Posted | Phase::Held);
            if is_beginning && begun.last().is_none_or(|(last, _)| *last != transfer.transaction) {
                begun.push((transfer.transaction, seq));
            }
        }
        self.missing(expected, end, id);
        self.transactions(reader, id, &begun, &mut leaves)?;
        if chain::root(&leaves) != commit.root {
            let detail = "the rows are not those under the commit's root".to_owned();
            self.find("root_mismatch", format!("commits {id}"), detail);
        }
        Ok(())
    }

    /// Says once that the transfers from `first` up to and without `end` are not there, however many they are.
    fn missing(&mut self, first: i64, end: i64, commit: i64) {
        if first < end {
            let last = end - 1;
            let which = if first == last { first.to_string() } else { format!("{first} to {last}") };
            self.find("transfer_missing", format!("transfers {which}"), format!("commit {commit}"));
        }
    }

    fn transfer(&mut self, transfer: &Transfer, (of, commit): (i64, i64), leaf: &Sha256, at: Timestamp) {
        let place = format!(
            "transfers {} (accounts {} and {}, commit {commit})",
            transfer.seq, transfer.leg.debit.0, transfer.leg.credit.0
        );
        if chain::transfer_leaf(transfer) != *leaf {
            self.find("transfer_changed", place.clone(), "the row does not have its leaf hash".to_owned());
            // What it counted for is not known, and one damaged row is one finding.
            self.counted.remove(&transfer.leg.debit);
        }
        if of != commit {
            self.find("transfer_elsewhere", place.clone(), format!("says it is of commit {of}"));
        }
        let held_at = transfer.pending_of.and_then(|held| self.open.get(&held)).map(|open| open.held_at);
        self.hold_of(transfer, at, &place);
        self.spending(transfer, at, held_at);
        let sides = [
            (transfer.leg.debit, true, transfer.debit_version, transfer.debit_balance),
            (transfer.leg.credit, false, transfer.credit_version, transfer.credit_balance),
        ];
        for (account, is_debit, version, balance) in sides {
            self.side(transfer, account, is_debit, (version, balance), &place);
            self.accounts.entry(account).or_default().changed_at = at;
        }
    }

    /// Replays what counts against the limits of the giver.
    fn spending(&mut self, transfer: &Transfer, at: Timestamp, held_at: Option<Timestamp>) {
        let giver = transfer.leg.debit;
        let Some(counted) = self.counted.get(&giver) else { return };
        let is_counted = counted.since != Timestamp::default() && at >= counted.since;
        if !is_counted || !counted.is_wallet || transfer.leg.purpose != Purpose::Principal {
            return;
        }
        let spent = &mut self.accounts.entry(giver).or_default().spent;
        match (transfer.phase, held_at) {
            (Phase::Posted | Phase::Held, _) => spent.consume(transfer.leg.amount, Window::of(at), at),
            (Phase::Voided, Some(held_at)) => spent.give_back(transfer.leg.amount, held_at),
            (Phase::Settled | Phase::Voided, _) => {}
        }
    }

    /// Replays one side of a transfer.
    fn side(
        &mut self,
        transfer: &Transfer,
        account: AccountId,
        is_debit: bool,
        (version, balance): (i64, SignedAmount),
        place: &str,
    ) {
        let replayed = self.accounts.entry(account).or_default();
        let (posted, pending) = if is_debit {
            (&mut replayed.debits_posted, &mut replayed.debits_pending)
        } else {
            (&mut replayed.credits_posted, &mut replayed.credits_pending)
        };
        let amount = transfer.leg.amount;
        let is_possible = match transfer.phase {
            Phase::Posted => add(posted, amount),
            Phase::Held => add(pending, amount),
            Phase::Settled => subtract(pending, amount) && add(posted, amount),
            Phase::Voided => subtract(pending, amount),
        };
        replayed.version += 1;
        let found = (replayed.version, replayed.credits_posted.less(replayed.debits_posted));
        // Taken over, so that one damaged row is one finding and not one per later row.
        replayed.version = version;
        if !is_possible {
            self.find("sum_impossible", format!("{place}, account {}", account.0), format!("{amount:?}"));
        }
        if found.0 != version {
            let detail = format!("account {}: version {version}, expected {}", account.0, found.0);
            self.find("version_gap", place.to_owned(), detail);
        }
        if found.1 != balance {
            let detail =
                format!("account {}: balance {balance:?}, the transfers say {:?}", account.0, found.1);
            self.find("balance_mismatch", place.to_owned(), detail);
        }
    }

    /// What is held ends at most once, and as a whole.
    fn hold_of(&mut self, transfer: &Transfer, at: Timestamp, place: &str) {
        match (transfer.phase, transfer.pending_of) {
            (Phase::Posted, None) => {}
            (Phase::Held, None) => {
                let (amount, transaction) = (transfer.leg.amount, transfer.transaction);
                let open = Open { amount, held_at: at, transaction };
                self.open.insert(transfer.seq, open);
                self.held.insert(transfer.transaction);
            }
            (Phase::Settled | Phase::Voided, Some(held)) => match self.open.remove(&held) {
                Some(open)
                    if open.amount >= transfer.leg.amount && open.transaction == transfer.transaction =>
                {
                    let is_settled = transfer.phase == Phase::Settled;
                    let end = if is_settled { HoldEnd::Settled } else { HoldEnd::Voided };
                    self.ended.insert(transfer.transaction, end);
                }
                _ => self.find("hold_ended_twice", place.to_owned(), format!("ends transfer {held}")),
            },
            (_, pending_of) => {
                self.find(
                    "phase_impossible",
                    place.to_owned(),
                    format!("{:?} of {pending_of:?}", transfer.phase),
                );
            }
        }
    }

    /// The transactions a commit begins, whose leaves stand behind those of the transfers.
    fn transactions(
        &mut self,
        reader: &mut Reader<'_>,
        commit: i64,
        begun: &[(TransactionId, i64)],
        leaves: &mut Vec<Sha256>,
    ) -> Result<(), DbError> {
        let ids: Vec<TransactionId> = begun.iter().map(|(id, _)| *id).collect();
        let mut rows: HashMap<TransactionId, (TransactionRow, Sha256)> =
            store::ledger::transactions(reader, &ids)?.into_iter().map(|pair| (pair.0.id, pair)).collect();
        let mut orders: Vec<i64> =
            rows.values().map(|(row, _)| row.order).filter(|order| *order != 0).collect();
        orders.sort_unstable();
        orders.dedup();
        let digests: HashMap<i64, Sha256> =
            store::ledger::order_digests(reader, &orders)?.into_iter().collect();
        for (id, first_seq) in begun {
            let place = format!("transactions {id}");
            let Some((row, leaf)) = rows.remove(id) else {
                self.find("transaction_missing", place, format!("commit {commit}"));
                continue;
            };
            self.transaction_count += 1;
            leaves.push(leaf);
            let digest = if row.order == 0 { Some(&NO_ORDER) } else { digests.get(&row.order) };
            match digest {
                None => self.find("order_missing", place.clone(), format!("orders {}", row.order)),
                Some(digest) if row.leaf(digest) != leaf => {
                    let detail = format!("commit {commit}: the row does not have its leaf hash");
                    self.find("transaction_changed", place.clone(), detail);
                }
                Some(_) => {}
            }
            if row.first_seq != *first_seq || row.commit != commit {
                let detail = format!("says transfer {} of commit {}", row.first_seq, row.commit);
                self.find("transaction_elsewhere", place, detail);
            }
        }
        Ok(())
    }

    /// Nothing stands in the tables that no commit accounts for.
    fn counts(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let transfers = store::ledger::transfer_count(reader)?;
        if transfers != self.transfer_count {
            let detail = format!("{transfers} rows, the commits account for {}", self.transfer_count);
            self.find("transfers_uncommitted", "transfers".to_owned(), detail);
        }
        let transactions = store::ledger::transaction_count(reader)?;
        if transactions != self.transaction_count {
            let detail = format!("{transactions} rows, the commits account for {}", self.transaction_count);
            self.find("transactions_uncommitted", "transactions".to_owned(), detail);
        }
        Ok(())
    }

    /// Each stored account is the replay of its transfers, no wallet is below its limit, and the sides balance.
    fn accounts(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut sums: HashMap<CurrencyId, (Replayed, bool)> = HashMap::new();
        let mut stored = Vec::new();
        store::ledger::for_each_account(reader, |account| {
            stored.push(account);
            Ok(())
        })?;
        for account in stored {
            let account = match account {
                Ok((account, wallet)) => {
                    self.owner(&account, wallet);
                    account
                }
                Err(error) => {
                    self.find("account_unreadable", "accounts".to_owned(), error.to_string());
                    continue;
                }
            };
            self.account(&account);
            let (sum, fits) = sums.entry(account.currency).or_insert((Replayed::default(), true));
            let amount = |total: Total| Amount::from_units(total.units());
            *fits &= add(&mut sum.credits_posted, amount(account.credits_posted))
                && add(&mut sum.debits_posted, amount(account.debits_posted))
                && add(&mut sum.credits_pending, amount(account.credits_pending))
                && add(&mut sum.debits_pending, amount(account.debits_pending));
        }
        let unknown: Vec<AccountId> = self.accounts.keys().copied().collect();
        for id in unknown {
            self.find("account_missing", format!("accounts {}", id.0), "transfers name it".to_owned());
        }
        for (currency, (sum, fits)) in sums {
            let code = Currency::by_id(currency).map_or("unknown", |currency| currency.code);
            let is_balanced =
                sum.credits_posted == sum.debits_posted && sum.credits_pending == sum.debits_pending;
            if !fits || !is_balanced {
                let detail = format!("{sum:?}");
                self.find("trial_balance", format!("currency {code}"), detail);
            }
        }
        Ok(())
    }

    /// An account is a wallet's, whose checksum covers it, or the only one of its kind.
    fn owner(&mut self, account: &Account, wallet: Option<WalletId>) {
        let is_sound = match wallet {
            Some(wallet) => {
                self.terms.entry(wallet).or_default().extend(account.terms());
                account.kind == AccountKind::Wallet
            }
            None => {
                account.kind != AccountKind::Wallet
                    && !account.is_frozen
                    && account.credit_limit.is_zero()
                    && (account.stripe == 0 || account.kind != AccountKind::Issuance)
                    && self.house.insert((account.currency, account.kind, account.stripe))
            }
        };
        if !is_sound {
            let detail = format!("{:?} of {wallet:?}, which cannot be", account.kind);
            self.find("account_misplaced", format!("accounts {}", account.id.0), detail);
        }
    }

    fn account(&mut self, account: &Account) {
        let place = format!("accounts {}", account.id.0);
        let replayed = self.accounts.remove(&account.id).unwrap_or_default();
        let is_equal = replayed.credits_posted == account.credits_posted
            && replayed.debits_posted == account.debits_posted
            && replayed.credits_pending == account.credits_pending
            && replayed.debits_pending == account.debits_pending
            && replayed.version == account.version;
        if !is_equal {
            self.find(
                "account_mismatch",
                place.clone(),
                format!("{account:?}, its transfers say {replayed:?}"),
            );
        }
        if account.changed.at < replayed.changed_at {
            let detail =
                format!("says {}, its last transfer is of {}", account.changed.at, replayed.changed_at);
            self.find("changed_earlier", place.clone(), detail);
        }
        if self.counted.contains_key(&account.id) && account.spent != replayed.spent {
            let detail = format!("{:?}, its transfers say {:?}", account.spent, replayed.spent);
            self.find("spent_mismatch", place.clone(), detail);
        }
        let floor = SignedAmount::minus(account.credit_limit);
        let is_below = account.posted().to_bytes() < floor.to_bytes();
        if !account.kind.is_unlimited() && is_below {
            self.find("below_limit", place, format!("{:?}", account.posted()));
        }
    }

    /// The rows of holds say what the journal says.
    fn holds(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut rows: Vec<HoldRow> = Vec::new();
        let findings = &mut self.findings;
        let held = &mut self.held;
        store::ledger::for_each_hold(reader, |id, hold| {
            match hold {
                Ok(hold) => rows.push(hold),
                Err(error) => {
                    held.remove(&id);
                    findings.push(Finding::new("hold_unreadable", format!("holds {id}"), error.to_string()));
                }
            }
            Ok(())
        })?;
        for hold in rows {
            if hold.intent.is_some() {
                self.awaiting_intent.insert(hold.transaction);
            }
            let place = format!("holds {}", hold.transaction);
            if !self.held.remove(&hold.transaction) {
                self.find("hold_unknown", place.clone(), "no transfer holds anything for it".to_owned());
            }
            let in_journal = self.ended.get(&hold.transaction).copied();
            let is_equal = matches!(
                (hold.end, in_journal),
                (None, None)
                    | (Some(HoldEnd::Settled), Some(HoldEnd::Settled))
                    | (Some(HoldEnd::Voided | HoldEnd::Expired), Some(HoldEnd::Voided))
            );
            if !is_equal {
                let detail = format!("says {:?}, the journal says {in_journal:?}", hold.end);
                self.find("hold_mismatch", place, detail);
            }
        }
        let missing: Vec<TransactionId> = self.held.iter().copied().collect();
        for id in missing {
            self.find("hold_missing", format!("holds {id}"), "the journal holds money for it".to_owned());
        }
        Ok(())
    }

    /// Wallets are as they were stored, and have the reference of their id.
    fn wallets(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let (findings, terms) = (&mut self.findings, &mut self.terms);
        store::wallets::for_each(reader, |id, row| {
            let terms = terms.remove(&id).unwrap_or_default();
            let place = format!("wallets {id}");
            match row {
                Err(error) => findings.push(Finding::new("wallet_unreadable", place, error.to_string())),
                Ok((row, checksum)) => {
                    if row.checksum(&terms) != checksum {
                        let detail = "the wallet or the terms of its accounts are not what was stored";
                        findings.push(Finding::new("wallet_changed", place.clone(), detail));
                    }
                    if row.reference != WalletRef::of(id).as_str() {
                        findings.push(Finding::new("reference_mismatch", place, row.reference));
                    }
                }
            }
            Ok(())
        })?;
        let ownerless: Vec<WalletId> = self.terms.keys().copied().collect();
        for id in ownerless {
            self.find("wallet_missing", format!("wallets {id}"), "accounts name it".to_owned());
        }
        Ok(())
    }

    /// The merged histories name the transfers they should.
    fn history(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        for (account, version, seq) in store::history::mismatches(reader)? {
            let place = format!("history of account {account}, version {version}");
            self.find("history_mismatch", place, format!("names transfer {seq}"));
        }
        Ok(())
    }
}

/// The place after a commit's last transfer. A count that no commit has is damage, and is not believed: it would
/// have the whole journal read at once.
fn end_of(commit: &Commit) -> i64 {
    commit.first_seq.saturating_add(commit.transfer_count.clamp(0, COMMIT_TRANSFERS_MAX))
}

fn add(total: &mut Total, amount: Amount) -> bool {
    total.checked_add(amount).map(|sum| *total = sum).is_some()
}

fn subtract(total: &mut Total, amount: Amount) -> bool {
    total.checked_sub(amount).map(|sum| *total = sum).is_some()
}
