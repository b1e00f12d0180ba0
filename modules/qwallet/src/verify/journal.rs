//! The journal and its chains: every row has its hash, every commit its root, every head follows from the one before,
//! and all of it together changes accounts step by step.

use std::collections::{BTreeSet, HashMap, HashSet};

use q_core::{Amount, SignedAmount, Timestamp, Total, hash::Sha256};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::TransactionId;

use super::{Check, Counted, Replayed};
use crate::{
    domain::{
        account::AccountId,
        books,
        calendar::Window,
        chain::{self, Commit, GENESIS},
        limits::Spent,
        transfer::{Phase, Transfer},
    },
    store::{
        self,
        ledger::{NO_ORDER, StoredCommit, TransactionRow},
        merged::{Merged, Placed},
    },
};

/// How many commits are read at once.
const COMMITS_PAGE: u32 = 1_000;

/// More transfers than any commit has: the executor's payments and one batch beside them, forty legs each at most.
const COMMIT_TRANSFERS_MAX: i64 = 524_288;

impl Check {
    /// Each order has the digest that transactions refer to.
    pub(super) fn orders(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        for writer in store::ledger::writers(reader)? {
            let after = self.first_after(writer, |begin| begin.last_order);
            let findings = &mut self.findings;
            store::ledger::for_each_order(reader, after, |id, order| {
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
            })?;
        }
        Ok(())
    }

    /// From when on payments count against limits: those before an account had counters do not.
    pub(super) fn counted(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        if !self.is_whole() {
            // A day's counter is the sum of the day, which may have begun before.
            return Ok(());
        }
        let counted = &mut self.counted;
        store::ledger::for_each_account(reader, |account| {
            if let Ok((account, _)) = account {
                let row = Counted {
                    since: account.spent.since,
                    numbered_since: account.spent.counted_since,
                    side: account.side(),
                    periods: account.zone.as_ref().map(|_| account.spent.periods()),
                    is_lost: false,
                };
                counted.insert(account.id, row);
            }
            Ok(())
        })
    }

    /// Every chain by itself, and all of them together in an order in which accounts change step by step.
    pub(super) fn commits(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let writers = store::ledger::writers(reader)?;
        let after = writers
            .into_iter()
            .map(|writer| self.first_after(writer, |begin| store::ledger::commit_id(writer, begin.number)));
        let mut commits = Merged::after(after);
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
                    for room in &mut self.rooms {
                        room.commit(id, &commit, &head, &mut self.findings);
                    }
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
        if !self.is_whole() {
            let transfers: Vec<&Transfer> =
                rows.iter().filter_map(|(_, row)| Some(&row.as_ref().ok()?.0)).collect();
            self.recall(reader, &transfers, commit.at)?;
        }
        let mut leaves = Vec::with_capacity(rows.len());
        let mut begun: Vec<(TransactionId, i64)> = Vec::new();
        let mut ended: Vec<TransactionId> = Vec::new();
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
            if self.transfer(&transfer, (of, id), &leaf, commit.at) {
                ended.push(transfer.transaction);
            }
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
        self.ended(reader, &ended)
    }

    /// Says once that the transfers from `first` up to and without `end` are not there, however many they are.
    fn missing(&mut self, first: i64, end: i64, commit: i64) {
        if first < end {
            let last = end - 1;
            let which = if first == last { first.to_string() } else { format!("{first} to {last}") };
            self.find("transfer_missing", format!("transfers {which}"), format!("commit {commit}"));
        }
    }

    /// What transfers rely on that was committed before the journal is read: where their accounts were, and what they
    /// end.
    fn recall(
        &mut self,
        reader: &mut Reader<'_>,
        transfers: &[&Transfer],
        at: Timestamp,
    ) -> Result<(), DbError> {
        let mut ends = Vec::new();
        let mut begun: HashSet<i64> = HashSet::new();
        for transfer in transfers {
            let sides = [
                (transfer.leg.debit, transfer.debit_version),
                (transfer.leg.credit, transfer.credit_version),
            ];
            for (account, version) in sides {
                if self.accounts.contains_key(&account) {
                    continue;
                }
                let before = store::history::balance_after(reader, account, version - 1, at)?;
                let replayed = before.map(|balance| Replayed::after(version - 1, balance));
                self.accounts.entry(account).or_insert_with(|| replayed.unwrap_or_default());
            }
            begun.insert(transfer.seq);
            let is_known = |seq: &i64| begun.contains(seq) || self.open.contains_key(seq);
            ends.extend(transfer.pending_of.filter(|seq| !is_known(seq)));
        }
        let earlier = store::ledger::transfers_at(reader, &ends)?;
        let mut held = BTreeSet::new();
        for (transfer, _, at, _) in earlier.into_values() {
            self.take_hold(&transfer, at);
            held.insert(transfer.transaction);
        }
        for id in held {
            self.recall_captures(reader, id, &ends)?;
        }
        Ok(())
    }

    /// What was taken of these held transfers of a transaction before the journal is read.
    fn recall_captures(
        &mut self,
        reader: &mut Reader<'_>,
        id: TransactionId,
        held: &[i64],
    ) -> Result<(), DbError> {
        for capture in store::captures::of_transaction(reader, id)? {
            let (writer, _) = store::ledger::commit_place(capture.commit);
            if capture.first_seq > self.first_after(writer, |begin| begin.next_seq - 1) {
                continue;
            }
            let end = capture.first_seq.saturating_add(capture.transfer_count.clamp(0, COMMIT_TRANSFERS_MAX));
            let parts = store::ledger::stored_transfers(reader, capture.first_seq, end)?;
            let parts = parts.into_iter().filter_map(|(_, part)| Some(part.ok()?.0));
            // Others were taken into account when they were met.
            let parts = parts.filter(|part| part.pending_of.is_some_and(|seq| held.contains(&seq)));
            self.take_earlier(&parts.collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Takes one transfer in; answers whether it ended the last of what its transaction held.
    fn transfer(
        &mut self,
        transfer: &Transfer,
        (of, commit): (i64, i64),
        leaf: &Sha256,
        at: Timestamp,
    ) -> bool {
        let place = format!(
            "transfers {} (accounts {} and {}, commit {commit})",
            transfer.seq, transfer.leg.debit.0, transfer.leg.credit.0
        );
        if chain::transfer_leaf(transfer) != *leaf {
            self.find("transfer_changed", place.clone(), "the row does not have its leaf hash".to_owned());
            // What it counted for is not known, and one damaged row is one finding.
            let giver = self.counted.get_mut(&transfer.leg.debit);
            let parent = giver.and_then(|giver| {
                giver.is_lost = true;
                giver.side.parent
            });
            if let Some(parent) = parent.and_then(|parent| self.counted.get_mut(&parent)) {
                parent.is_lost = true;
            }
        }
        if of != commit {
            self.find("transfer_elsewhere", place.clone(), format!("says it is of commit {of}"));
        }
        let open = transfer.pending_of.and_then(|held| self.open.get(&held));
        let held = open.map(|open| (open.held_at, open.is_whole()));
        let is_end = self.hold_of(transfer, at, &place);
        self.spending(transfer, at, held);
        let sides = [
            (transfer.leg.debit, true, transfer.debit_version, transfer.debit_balance),
            (transfer.leg.credit, false, transfer.credit_version, transfer.credit_balance),
        ];
        for (account, is_debit, version, balance) in sides {
            self.side(transfer, account, is_debit, (version, balance), &place);
            self.accounts.entry(account).or_default().changed_at = at;
        }
        for room in &mut self.rooms {
            room.transfer(transfer, at);
        }
        is_end
    }

    /// Replays what counts against the limits of the giver.
    fn spending(&mut self, transfer: &Transfer, at: Timestamp, held: Option<(Timestamp, bool)>) {
        let leg = &transfer.leg;
        let side = |id| self.counted.get(&id).map(|row| row.side);
        let (Some(giver), Some(receiver)) = (side(leg.debit), side(leg.credit)) else { return };
        let counted = books::counted(giver, receiver, leg.purpose);
        let accounts = counted.own.then_some(leg.debit).into_iter().chain(counted.parent);
        for account in accounts {
            let Some(row) = self.counted.get(&account) else { continue };
            if row.since == Timestamp::default() || at < row.since {
                continue;
            }
            let is_numbered = row.numbered_since != Timestamp::default() && at >= row.numbered_since;
            let spent = &mut self.accounts.entry(account).or_default().spent;
            if let Some(periods) = row.periods
                && *spent == Spent::default()
            {
                *spent = Spent::within(periods);
            }
            match (transfer.phase, held) {
                (Phase::Posted | Phase::Held, _) if row.periods.is_some() => {
                    spent.recount(leg.amount, at, is_numbered);
                }
                (Phase::Posted | Phase::Held, _) if is_numbered => {
                    spent.consume(leg.amount, Window::of(at));
                }
                (Phase::Posted | Phase::Held, _) => spent.consume_uncounted(leg.amount, Window::of(at)),
                (Phase::Voided, Some((held_at, true))) => spent.give_back(leg.amount, held_at),
                (Phase::Voided, Some((held_at, false))) => spent.give_back_rest(leg.amount, held_at),
                (Phase::Settled | Phase::Voided, _) => {}
            }
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
        let is_whole = self.is_whole();
        let replayed = self.accounts.entry(account).or_default();
        let (posted, pending) = if is_debit {
            (&mut replayed.debits_posted, &mut replayed.debits_pending)
        } else {
            (&mut replayed.credits_posted, &mut replayed.credits_pending)
        };
        let amount = transfer.leg.amount;
        // What was held before the journal is read is not in the sum.
        let mut free = |amount| !is_whole || subtract(pending, amount);
        let is_possible = match transfer.phase {
            Phase::Posted => add(posted, amount),
            Phase::Held => !is_whole || add(pending, amount),
            Phase::Settled => free(amount) && add(posted, amount),
            Phase::Voided => free(amount),
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
            for room in &mut self.rooms {
                room.transaction(&row);
            }
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
