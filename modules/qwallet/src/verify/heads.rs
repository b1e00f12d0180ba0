//! Signed heads and snapshots: what the instance put its name to is what stands in the books.

use q_core::{Timestamp, hash::hex};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{HEAD_TYP, HeadStatement, SnapshotStatement, snapshots::SNAPSHOT_TYP};
use serde::de::DeserializeOwned;

use super::{KeysAsked, Room, Scope};
use crate::{
    domain::{chain, currency::Currency, receipt, snapshot},
    service::heads::Anchor,
    store::{self, heads::HeadRow, ledger::commit_id, snapshots::SnapshotRow},
};

/// How many signed heads are read at once.
const HEADS_PAGE: u32 = 1_000;

/// What signed heads say.
#[derive(Default)]
pub(super) struct Heads {
    asked: KeysAsked,
}

impl Room for Heads {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut last: Option<(i64, i64)> = None;
        loop {
            let page = store::heads::after(reader, last, HEADS_PAGE)?;
            let Some(end) = page.last().map(|(place, _)| *place) else { return Ok(()) };
            for ((writer, number), row) in page {
                let before = last.filter(|(of, _)| *of == writer).map_or(0, |(_, number)| number);
                last = Some((writer, number));
                let place = format!("heads {writer} {number}");
                match row {
                    Err(error) => found.push(Finding::new("head_unreadable", place, error.to_string())),
                    Ok(row) if row.after != before => {
                        let detail =
                            format!("begins after commit {}, the one before ends at {before}", row.after);
                        found.push(Finding::new("head_gap", place, detail));
                    }
                    Ok(row) if scope.since.is_some_and(|since| row.signed_at < since) => {}
                    Ok(row) => {
                        if let Err(detail) = self.head(reader, &row, &place)? {
                            found.push(Finding::new("signed_head_mismatch", place, detail));
                        }
                    }
                }
            }
            last = Some(end);
        }
    }

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

impl Heads {
    /// Whether a signed head is what its commits make it; otherwise what is wrong.
    fn head(
        &mut self,
        reader: &mut Reader<'_>,
        row: &HeadRow,
        place: &str,
    ) -> Result<Result<(), String>, DbError> {
        let signed = Signed { what: "the signed head", typ: HEAD_TYP, jws: &row.jws, place };
        let told = match signed.open::<HeadStatement>(&mut self.asked, |head| head.signed_at) {
            Ok(told) => told,
            Err(detail) => return Ok(Err(detail)),
        };
        let heads = store::heads::heads_between(reader, row.writer, row.after, row.number)?;
        let leaves: Vec<_> = heads.iter().map(|head| q_tlog::leaf_hash(head)).collect();
        let root = chain::root(&leaves);
        let is_row = (told.writer, told.after, told.number) == (row.writer, row.after, row.number)
            && told.heads_root == hex(&row.heads_root)
            && told.signed_at == row.signed_at;
        if !is_row {
            return Ok(Err("the row is not what was signed".to_owned()));
        }
        let Some(head) = heads.last() else {
            return Ok(Err(format!("commit {} of the chain is not there", row.number)));
        };
        if hex(head) != told.head || root != row.heads_root {
            return Ok(Err("the commits it covers are not those that were signed".to_owned()));
        }
        Ok(Ok(()))
    }
}

/// What snapshots say.
#[derive(Default)]
pub(super) struct Snapshots {
    asked: KeysAsked,
}

impl Room for Snapshots {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        for (id, row) in store::snapshots::all(reader)? {
            let place = format!("snapshots {id}");
            match row {
                Err(error) => found.push(Finding::new("snapshot_unreadable", place, error.to_string())),
                Ok(row) if scope.since.is_some_and(|since| row.created_at < since) => {}
                Ok(row) => {
                    if let Err(detail) = self.snapshot(reader, &row, &place)? {
                        found.push(Finding::new("snapshot_mismatch", place, detail));
                    }
                }
            }
        }
        Ok(())
    }

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

impl Snapshots {
    fn snapshot(
        &mut self,
        reader: &mut Reader<'_>,
        row: &SnapshotRow,
        place: &str,
    ) -> Result<Result<(), String>, DbError> {
        let signed = Signed { what: "the snapshot", typ: SNAPSHOT_TYP, jws: &row.jws, place };
        let told = match signed.open::<SnapshotStatement>(&mut self.asked, |told| told.created_at) {
            Ok(told) => told,
            Err(detail) => return Ok(Err(detail)),
        };
        let entries = store::snapshots::entries(reader, row.id)?;
        let leaves: Option<Vec<_>> = entries
            .iter()
            .map(|entry| Some(snapshot::leaf(&entry.holder.parse().ok()?, &entry.balance)))
            .collect();
        let Some(leaves) = leaves else { return Ok(Err("an entry's holder is no DID".to_owned())) };
        let code = Currency::by_id(row.currency).map(|currency| currency.code);
        let is_row = told.snapshot_id == row.id
            && Some(told.currency.as_str()) == code
            && told.as_of == row.as_of
            && told.created_at == row.created_at
            && i64::try_from(told.count) == Ok(row.holder_count)
            && told.total.as_str() == row.total
            && told.merkle_root == hex(&row.root);
        if !is_row {
            return Ok(Err("the row is not what was signed".to_owned()));
        }
        if chain::root(&leaves) != row.root || i64::try_from(leaves.len()) != Ok(row.holder_count) {
            return Ok(Err("the entries are not those under the root".to_owned()));
        }
        Ok(Ok(()))
    }
}

/// A statement that the instance put its name to.
struct Signed<'a> {
    what: &'static str,
    typ: &'static str,
    jws: &'a str,
    place: &'a str,
}

impl Signed<'_> {
    /// What was said, under the key that it names; somebody has to be asked about that key.
    fn open<T: DeserializeOwned>(
        &self,
        asked: &mut KeysAsked,
        at: impl Fn(&T) -> Timestamp,
    ) -> Result<T, String> {
        let told = receipt::open::<T>(self.what, self.typ, self.jws, &at, |kid, _| receipt::key_named(kid));
        let (told, kid) = told.map_err(|fault| fault.to_string())?;
        asked.ask(kid, None, at(&told), self.place);
        Ok(told)
    }
}

/// Compares the books with what the auditor was told last: a store that was put back lacks commits, and one whose past was
/// made anew has others.
pub(super) fn compare(
    reader: &mut Reader<'_>,
    anchor: &Anchor,
    found: &mut Vec<Finding>,
) -> Result<(), DbError> {
    for chain in &anchor.chains {
        let place = format!("chain of writer {}", chain.writer);
        match store::ledger::head_of(reader, commit_id(chain.writer, chain.number))? {
            None => {
                let end = store::ledger::chain_end(reader, chain.writer)?;
                let detail = format!(
                    "the store is older than the anchor: it ends at commit {} of {}, and qerberos was told of commit {} \
                     at {} ({})",
                    end.number, end.at, chain.number, anchor.at, anchor.event
                );
                found.push(Finding::new("older_than_anchor", place, detail));
            }
            Some(head) if hex(&head) != chain.head => {
                let detail = format!(
                    "commit {} has another head than the one that qerberos was told at {} ({})",
                    chain.number, anchor.at, anchor.event
                );
                found.push(Finding::new("anchor_mismatch", place, detail));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
