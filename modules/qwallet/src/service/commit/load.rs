//! Reading and locking what the works of a commit meet.
//!
//! **Invariant:** rows of one table are locked in the order of their keys, so that nobody waits in a circle.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use q_db::{
    DbError, Tx,
    uses::{self, Allotment},
};
use qwallet_api::{IntentId, TransactionId};

use super::{Action, CACHED_ACCOUNTS_MAX, Striped, Work};
use crate::{
    domain::{account::AccountId, books::Books, transfer::Leg},
    store::{self, intents::IntentStatus},
};

/// Locks the rows of records, in one order.
pub(super) fn lock_records(tx: &mut Tx<'_>, works: &[Work]) -> Result<(), DbError> {
    let records = works.iter().filter_map(|work| match &work.action {
        Action::Record(record) => Some((record.key(), record)),
        _ => None,
    });
    let records: BTreeMap<_, _> = records.collect();
    records.values().try_for_each(|record| record.lock(tx))
}

/// Locks what is counted, of all records together: two of them may share one, and each have another.
pub(super) fn lock_uses(tx: &mut Tx<'_>, works: &[Work]) -> Result<(), DbError> {
    let uses = works.iter().filter_map(|work| match &work.action {
        Action::Record(record) => Some(record.uses()),
        _ => None,
    });
    // One by one: whether one is used up says nothing of the next one's lock.
    let uses: BTreeSet<Allotment> = uses.flatten().copied().collect();
    uses.into_iter().try_for_each(|one| uses::are_left(tx, &[one]).map(drop))
}

/// Where the intents are that are to be signed or end, locked against other writers until the commit.
pub(super) fn lock_intents(
    tx: &mut Tx<'_>,
    works: &[Work],
) -> Result<HashMap<IntentId, IntentStatus>, DbError> {
    let ids: BTreeSet<IntentId> = works
        .iter()
        .flat_map(|work| match &work.action {
            Action::Sign { intent, .. } => vec![*intent],
            Action::End { intent, .. } => intent.iter().copied().collect(),
            Action::Holds(batch) => batch.changes.iter().flatten().map(|change| change.intent).collect(),
            Action::Record(record) => record.intents(),
            _ => Vec::new(),
        })
        .collect();
    let mut intents = HashMap::new();
    for id in ids {
        if let Some(status) = store::intents::lock_status(tx, id)? {
            intents.insert(id, status);
        }
    }
    Ok(intents)
}

pub(super) fn lock_holds(tx: &mut Tx<'_>, books: &mut Books, works: &[Work]) -> Result<(), DbError> {
    let ids: BTreeSet<TransactionId> = works
        .iter()
        .flat_map(|work| match &work.action {
            Action::End { transaction, .. } => vec![*transaction],
            Action::Holds(batch) => batch.changes.iter().flatten().map(|change| change.transaction).collect(),
            Action::Record(record) => record.holds(),
            _ => Vec::new(),
        })
        .collect();
    for (id, hold) in store::holds::lock(tx, &ids)? {
        books.load_hold(id, hold);
    }
    Ok(())
}

/// Loads every account the commands may touch, and those on whose limits the givers draw.
///
/// Rows that others write to as well are locked in one order, so a parent must be known before it is met. Where it was
/// not, the answer is no: `parents` knows it now.
pub(super) fn load_accounts(
    tx: &mut Tx<'_>,
    books: &mut Books,
    works: &[Work],
    stripes: &Striped,
    parents: Option<&mut HashMap<AccountId, AccountId>>,
) -> Result<bool, DbError> {
    let mut missing: Vec<AccountId> = Vec::new();
    let mut givers: Vec<AccountId> = Vec::new();
    let mut need = |books: &Books, leg: &Leg| {
        givers.push(leg.debit);
        missing.extend([leg.debit, leg.credit].into_iter().filter(|id| books.account(*id).is_none()));
        let stripes = stripes.of(leg.debit).iter();
        missing.extend(stripes.copied().filter(|id| books.account(*id).is_none()));
    };
    let mut alone: Vec<AccountId> = Vec::new();
    for work in works {
        match &work.action {
            Action::Pay(item) | Action::Sign { item, .. } => {
                item.legs.iter().for_each(|leg| need(books, leg));
            }
            Action::Batch(batch) => {
                let items = batch.items.iter().flatten();
                items.flat_map(|item| &item.legs).for_each(|leg| need(books, leg));
            }
            Action::Record(record) => {
                for account in record.accounts() {
                    alone.extend(stripes.of(account));
                    alone.push(account);
                }
                let holds = record.holds();
                for (_, leg) in
                    holds.iter().filter_map(|id| books.hold(*id)).flat_map(|hold| hold.legs.clone())
                {
                    need(books, &leg);
                }
            }
            Action::End { transaction, .. } => {
                let legs = books.hold(*transaction).map(|hold| hold.legs.clone()).unwrap_or_default();
                for (_, leg) in &legs {
                    need(books, leg);
                }
            }
            Action::Holds(batch) => {
                let changes = batch.changes.iter().flatten();
                let holds = changes.filter_map(|change| books.hold(change.transaction));
                let legs: Vec<Leg> = holds.flat_map(|hold| hold.legs.iter().map(|(_, leg)| *leg)).collect();
                for leg in &legs {
                    need(books, leg);
                }
            }
            Action::Sweep(account) => {
                alone.push(*account);
                alone.extend(stripes.of(*account));
            }
            Action::SetLimits(change) => {
                alone.push(change.account);
                alone.extend(change.zone.iter().flat_map(|(_, accounts)| accounts));
            }
        }
    }
    givers.extend(&alone);
    let known = givers.iter().filter_map(|giver| parents.as_ref()?.get(giver));
    missing.extend(alone.iter().chain(known).copied().filter(|id| books.account(*id).is_none()));
    missing.sort_unstable();
    missing.dedup();
    for account in store::ledger::lock_accounts(tx, &missing)? {
        books.load_account(account);
    }
    let drawing: Vec<(AccountId, AccountId)> = givers
        .iter()
        .filter_map(|giver| Some((*giver, books.account(*giver)?.parent?)))
        .filter(|(_, parent)| books.account(*parent).is_none())
        .collect();
    if drawing.is_empty() {
        return Ok(true);
    }
    if let Some(parents) = parents {
        if parents.len() >= CACHED_ACCOUNTS_MAX {
            parents.clear();
        }
        parents.extend(drawing);
        return Ok(false);
    }
    // The only writer waits for nobody.
    let mut missing: Vec<AccountId> = drawing.into_iter().map(|(_, parent)| parent).collect();
    missing.sort_unstable();
    missing.dedup();
    for account in store::ledger::lock_accounts(tx, &missing)? {
        books.load_account(account);
    }
    Ok(true)
}
