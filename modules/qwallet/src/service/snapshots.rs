//! Snapshots: what many held at a past instant, signed once, each entry with a proof of its own.
//!
//! **Invariant:** a snapshot is of an instant about which the books cannot change any more.

use std::collections::BTreeMap;

use q_core::{
    AuditEntry, Caller, Did, RequestKey, SignedAmount, Span,
    hash::{Sha256, hex},
};
use q_db::{DbError, Reader};
use qwallet_api::{
    CreateSnapshotRequest, GetSnapshotRequest, Snapshot, SnapshotEntry, SnapshotId, SnapshotStatement,
    errors::{SNAPSHOT_NOT_FOUND, SNAPSHOT_TOO_OLD},
    snapshots::{SNAPSHOT_HOLDERS_MAX, SNAPSHOT_TYP},
};

use super::{Service, issuance};
use crate::{
    domain::{
        account::{AccountId, sum_of},
        chain,
        currency::{Currency, CurrencyId},
        payment::Refusal,
        snapshot,
    },
    error::Error,
    store::{
        self,
        snapshots::{EntryRow, SnapshotRow},
    },
};

/// How long ago the instant of a snapshot is at least: commits under way, and hosts whose clocks differ, are over it.
const SETTLED_AFTER: Span = Span::seconds(10);

impl Service {
    /// Takes a snapshot; for operators, and for modules of this instance.
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: CreateSnapshotRequest,
    ) -> Result<Snapshot, Error> {
        if !self.may_take_snapshots(caller) {
            return Err(Error::NotForOthers);
        }
        let currency = issuance::currency(&request.currency)?;
        if request.as_of > self.env.now() - SETTLED_AFTER {
            return Err(Refusal::Malformed("asOf, which must be ten seconds ago").into());
        }
        let mut holders: Vec<String> = request.holders.iter().map(ToString::to_string).collect();
        holders.sort_unstable();
        let count = holders.len();
        holders.dedup();
        if count == 0 || count > SNAPSHOT_HOLDERS_MAX || holders.len() != count {
            return Err(Refusal::Malformed("holders").into());
        }
        self.catch_up().await?;
        let (as_of, of) = (request.as_of, currency.id);
        let read = self.db.read(move |reader| {
            let Some(first) = store::snapshots::first_commit(reader)? else { return Ok(None) };
            if as_of < first {
                return Ok(None);
            }
            balances(reader, &holders, of, as_of).map(Some)
        });
        let too_old = Refusal::Record {
            code: &SNAPSHOT_TOO_OLD,
            detail: "the books of this instance begin later than asOf",
        };
        let held: Vec<(String, SignedAmount)> = read.await?.ok_or(Error::Refused(too_old))?;
        let total = sum_of(held.iter().map(|(_, balance)| *balance)).display(currency.scale);
        let entries: Vec<EntryRow> = (0..)
            .zip(held)
            .map(|(place, (holder, balance))| EntryRow {
                place,
                holder,
                balance: balance.display(currency.scale),
            })
            .collect();
        let root = chain::root(&leaves(&entries)?);
        let (id, created_at) = (SnapshotId::new(&self.env), self.env.now());
        let statement = SnapshotStatement {
            v: 1,
            iss: self.instance.did.clone(),
            snapshot_id: id,
            currency: currency.code.to_owned(),
            as_of,
            count: u64::try_from(count).unwrap_or(u64::MAX),
            total: total.clone().into(),
            merkle_root: hex(&root),
            created_at,
        };
        let payload = serde_json::to_vec(&statement).map_err(DbError::from)?;
        let row = SnapshotRow {
            id,
            currency: currency.id,
            as_of,
            created_at,
            holder_count: i64::try_from(count).unwrap_or(i64::MAX),
            total,
            root,
            jws: self.signer.sign(SNAPSHOT_TYP, &payload),
        };
        let by = caller.did().cloned();
        let made = self.db.write_once(key, move |tx| {
            store::snapshots::insert(tx, &row, &entries)?;
            let facts = serde_json::json!({
                "currency": row.currency.0,
                "asOf": row.as_of,
                "holders": row.holder_count,
                "root": hex(&row.root),
            });
            tx.audit(AuditEntry::change("snapshot.create", by.as_ref(), id).details(facts))?;
            Ok::<_, Error>(id)
        });
        let id = made.await?.value;
        self.snapshot_of(id, &Shown::All { proofs: request.proofs }).await
    }

    /// A snapshot: all of it for who may take snapshots, a holder's own entry for the holder.
    pub async fn snapshot(&self, caller: &Caller, request: GetSnapshotRequest) -> Result<Snapshot, Error> {
        let not_found = Refusal::Record { code: &SNAPSHOT_NOT_FOUND, detail: "the snapshot does not exist" };
        let is_trusted = self.may_take_snapshots(caller);
        let shown = match (&request.holder, caller.did()) {
            (Some(holder), Some(did)) if is_trusted || holder == did => Shown::One(holder.clone()),
            (None, Some(did)) if !is_trusted => Shown::One(did.clone()),
            (None, _) if is_trusted => {
                let after = request.cursor.as_deref().map_or(Ok(0), str::parse);
                let after = after.map_err(|_| Refusal::Malformed("cursor"))?;
                Shown::Page { after, count: request.limit.rows() as usize }
            }
            _ => return Err(not_found.into()),
        };
        let snapshot = self.snapshot_of(request.snapshot_id, &shown).await?;
        // To a stranger it does not exist.
        if snapshot.entries.is_empty() && matches!(shown, Shown::One(_)) {
            return Err(not_found.into());
        }
        Ok(snapshot)
    }

    fn may_take_snapshots(&self, caller: &Caller) -> bool {
        caller.is_service() || self.is_operator(caller)
    }

    async fn snapshot_of(&self, id: SnapshotId, shown: &Shown) -> Result<Snapshot, Error> {
        let read = self.db.read(move |reader| {
            let Some(row) = store::snapshots::find(reader, id)? else { return Ok(None) };
            Ok::<_, DbError>(Some((row, store::snapshots::entries(reader, id)?)))
        });
        let not_found = Refusal::Record { code: &SNAPSHOT_NOT_FOUND, detail: "the snapshot does not exist" };
        let (row, entries) = read.await?.ok_or(Error::Refused(not_found))?;
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let leaves = leaves(&entries)?;
        let (range, has_proofs) = match shown {
            Shown::All { proofs } => (0..entries.len(), *proofs),
            Shown::Page { after, count } => {
                let from = (*after).min(entries.len());
                (from..from.saturating_add(*count).min(entries.len()), false)
            }
            Shown::One(holder) => {
                let place = entries.iter().position(|entry| entry.holder == holder.as_str());
                (place.map_or(0..0, |place| place..place + 1), true)
            }
        };
        let next = matches!(shown, Shown::Page { .. }) && range.end < entries.len();
        let next_cursor = next.then(|| range.end.to_string());
        let tree = has_proofs.then(|| chain::Paths::of(&leaves));
        let told = entries[range.clone()].iter().zip(range).map(|(entry, place)| {
            Ok(SnapshotEntry {
                holder: entry.holder.parse().map_err(|_| Error::Inconsistent("a holder"))?,
                balance: entry.balance.as_str().into(),
                index: u64::try_from(place).unwrap_or(u64::MAX),
                path: tree.as_ref().map(|tree| tree.path(place).iter().map(|hash| hex(hash)).collect()),
            })
        });
        Ok(Snapshot {
            snapshot_id: id,
            currency: currency.code.to_owned(),
            as_of: row.as_of,
            count: u64::try_from(row.holder_count).unwrap_or_default(),
            total: row.total.into(),
            merkle_root: hex(&row.root),
            jws: row.jws,
            created_at: row.created_at,
            entries: told.collect::<Result<_, Error>>()?,
            next_cursor,
        })
    }
}

/// Which entries are told.
enum Shown {
    All { proofs: bool },
    Page { after: usize, count: usize },
    One(Did),
}

/// What each holder had, in order: the sum of the account and its stripes.
fn balances(
    reader: &mut Reader<'_>,
    holders: &[String],
    currency: CurrencyId,
    at: q_core::Timestamp,
) -> Result<Vec<(String, SignedAmount)>, DbError> {
    let mut held: BTreeMap<&str, SignedAmount> =
        holders.iter().map(|holder| (holder.as_str(), SignedAmount::ZERO)).collect();
    let past = store::history::Past::at(reader, at)?;
    for (owner, account) in store::snapshots::accounts_of_owners(reader, holders, currency)? {
        let balance = past.balance(reader, AccountId(account))?;
        if let Some(sum) = held.get_mut(owner.as_str()) {
            *sum = sum_of([*sum, balance].into_iter());
        }
    }
    Ok(held.into_iter().map(|(holder, balance)| (holder.to_owned(), balance)).collect())
}

fn leaves(entries: &[EntryRow]) -> Result<Vec<Sha256>, Error> {
    let leaf = |entry: &EntryRow| {
        let holder: Did = entry.holder.parse().map_err(|_| Error::Inconsistent("a holder"))?;
        Ok(snapshot::leaf(&holder, &entry.balance))
    };
    entries.iter().map(leaf).collect()
}
