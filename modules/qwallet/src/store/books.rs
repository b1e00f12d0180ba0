//! The whole journal, commit by commit.

use std::collections::{HashMap, VecDeque};

use q_core::{Timestamp, hash::Sha256};
use q_db::{DbError, Reader, params};
use qwallet_api::TransactionId;

use super::{
    ledger::{self, NO_ORDER, TransactionRow},
    merged::{Merged, Placed},
};
use crate::domain::{chain::Commit, transfer::Transfer};

/// How many commits and how many transfers are read at once, unless one commit has more.
const PAGE_COMMITS: u32 = 512;
const PAGE_TRANSFERS: i64 = 8_192;

/// A commit with its rows.
pub struct CommitRows {
    /// Its number in the store.
    pub id: i64,
    /// It.
    pub commit: Commit,
    /// The head after it, as stored.
    pub head: Sha256,
    /// Its transfers with their leaf hashes.
    pub transfers: Vec<(Transfer, Sha256)>,
    /// The transactions it begins, in the order of their transfers.
    pub transactions: Vec<TransactionRows>,
    /// The kinds of all its transactions, also of those begun before.
    pub kinds: HashMap<TransactionId, ledger::TransactionKind>,
}

/// A transaction as it is hashed.
pub struct TransactionRows {
    /// The row.
    pub row: TransactionRow,
    /// The digest of the order behind it.
    pub order_digest: Sha256,
    /// Its leaf hash, as stored.
    pub leaf: Sha256,
}

/// The commits there were when the reading began, of several writers in an order in which the versions of every account
/// follow one another. What is in memory is a page, however long the journal is; rows of a journal never change, so the
/// pages need not be of one snapshot.
pub struct Commits {
    merged: Merged<CommitRows>,
    /// The last commit of each writer, by the end of the writer's span.
    last: HashMap<i64, i64>,
}

impl Commits {
    /// Those there are now.
    pub fn begin(reader: &mut Reader<'_>) -> Result<Self, DbError> {
        let ends = ledger::chain_ends(reader)?;
        let writers: Vec<i64> = ends.iter().map(|(writer, _)| *writer).collect();
        let last = ends.iter().map(|(writer, end)| {
            let id = ledger::commit_id(*writer, end.number);
            (ledger::end_of_span(id - 1), id)
        });
        Ok(Self { merged: Merged::of(&writers), last: last.collect() })
    }

    /// The next one.
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<CommitRows>, DbError> {
        let last = &self.last;
        let next = self.merged.next(reader, |reader, after| {
            page(reader, after, last.get(&ledger::end_of_span(after)).copied().unwrap_or(0))
        });
        Ok(next?.map(|placed| placed.row))
    }
}

/// The instant of the first commit.
pub fn first_at(reader: &mut Reader<'_>) -> Result<Timestamp, DbError> {
    let row = reader.query_one("SELECT MIN(at) FROM commits", params![])?;
    Ok(row.try_get::<Option<Timestamp>>(0)?.unwrap_or_default())
}

/// One writer's next commits up to `last`, with their rows.
fn page(reader: &mut Reader<'_>, after: i64, last: i64) -> Result<Vec<Placed<CommitRows>>, DbError> {
    let (mut commits, mut count) = (VecDeque::new(), 0);
    for (id, stored) in ledger::commits_after(reader, after, PAGE_COMMITS)? {
        let (commit, head) = stored?;
        if id > last {
            break;
        }
        count += commit.transfer_count;
        if count > PAGE_TRANSFERS && !commits.is_empty() {
            break;
        }
        commits.push_back((id, commit, head));
    }
    let (Some((_, first, _)), Some((_, end, _))) = (commits.front(), commits.back()) else {
        return Ok(Vec::new());
    };
    let (first_seq, end) = (first.first_seq, end.first_seq + end.transfer_count);
    let mut transfers = VecDeque::new();
    for (_, whole) in ledger::stored_transfers(reader, first_seq, end)? {
        transfers.push_back(whole?);
    }
    let mut ids: Vec<TransactionId> = transfers.iter().map(|(transfer, ..)| transfer.transaction).collect();
    ids.sort_unstable();
    ids.dedup();
    let known: HashMap<TransactionId, (TransactionRow, Sha256)> =
        ledger::transactions(reader, &ids)?.into_iter().map(|pair| (pair.0.id, pair)).collect();
    let mut orders: Vec<i64> = known.values().map(|(row, _)| row.order).filter(|order| *order != 0).collect();
    orders.sort_unstable();
    orders.dedup();
    let digests: HashMap<i64, Sha256> = ledger::order_digests(reader, &orders)?.into_iter().collect();
    let mut page = Vec::with_capacity(commits.len());
    for (id, commit, head) in commits {
        let (mut own, mut transactions, mut kinds) = (Vec::new(), Vec::new(), HashMap::new());
        while transfers.front().is_some_and(|(_, of, _)| *of == id) {
            let Some((transfer, _, leaf)) = transfers.pop_front() else { break };
            if let Some((row, row_leaf)) = known.get(&transfer.transaction) {
                let is_new = kinds.insert(row.id, row.kind).is_none();
                if is_new && row.commit == id {
                    let digest = if row.order == 0 { Some(&NO_ORDER) } else { digests.get(&row.order) };
                    let order_digest = *digest.ok_or(DbError::BadRow { column: 0, expected: "an order" })?;
                    transactions.push(TransactionRows { row: row.clone(), order_digest, leaf: *row_leaf });
                }
            }
            own.push((transfer, leaf));
        }
        let row = CommitRows { id, commit, head, transfers: own, transactions, kinds };
        page.push(Placed { place: id, at: Some(commit.at), row });
    }
    Ok(page)
}
