//! Heads that were signed, and what is under a head.

use q_core::{Timestamp, hash::Sha256};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::TransactionId;

use super::ledger::{self, commit_id};
use crate::domain::{
    chain::Commit,
    transfer::{Phase, Transfer},
};

/// A row of `heads`: a statement that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadRow {
    /// Whose chain.
    pub writer: i64,
    /// The last commit it covers.
    pub number: i64,
    /// The last commit that the one before covers; 0 in the first.
    pub after: i64,
    /// The root over the heads between.
    pub heads_root: Sha256,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The signed statement.
    pub jws: String,
}

const COLUMNS: &str = "writer, number, after, heads_root, signed_at, jws";

fn head(row: &Row) -> Result<HeadRow, DbError> {
    Ok(HeadRow {
        writer: row.try_get(0)?,
        number: row.try_get(1)?,
        after: row.try_get(2)?,
        heads_root: row.try_get(3)?,
        signed_at: row.try_get(4)?,
        jws: row.try_get(5)?,
    })
}

/// Adds a signed head.
pub fn insert(tx: &mut Tx<'_>, head: &HeadRow) -> Result<(), DbError> {
    let row = params![head.writer, head.number, head.after, head.heads_root, head.signed_at, &head.jws];
    let sql = format!("INSERT INTO heads ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)");
    tx.execute(&sql, row)?;
    Ok(())
}

/// The newest signed head of a chain.
pub fn last(reader: &mut Reader<'_>, writer: i64) -> Result<Option<HeadRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM heads WHERE writer = $1 ORDER BY number DESC LIMIT 1");
    reader.query_opt(&sql, params![writer])?.as_ref().map(head).transpose()
}

/// The first signed head of a chain that covers a commit.
pub fn covering(reader: &mut Reader<'_>, writer: i64, number: i64) -> Result<Option<HeadRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM heads WHERE writer = $1 AND number >= $2 ORDER BY number LIMIT 1");
    reader.query_opt(&sql, params![writer, number])?.as_ref().map(head).transpose()
}

/// A signed head or why it cannot be read, with its chain and number.
pub type StoredHead = ((i64, i64), Result<HeadRow, DbError>);

/// The signed heads after a chain and number, in order, at most `count`; from the first on where there is none.
pub fn after(
    reader: &mut Reader<'_>,
    place: Option<(i64, i64)>,
    count: u32,
) -> Result<Vec<StoredHead>, DbError> {
    let (writer, number) = place.unwrap_or((i64::MIN, i64::MIN));
    let sql = format!(
        "SELECT {COLUMNS} FROM heads WHERE (writer, number) > ($1, $2) ORDER BY writer, number LIMIT $3"
    );
    let rows = reader.query(&sql, params![writer, number, count])?;
    rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), head(row)))).collect()
}

/// The stored heads of a chain's commits behind `after` up to `number`.
pub fn heads_between(
    reader: &mut Reader<'_>,
    writer: i64,
    after: i64,
    number: i64,
) -> Result<Vec<Sha256>, DbError> {
    let sql = "SELECT head FROM commits WHERE id > $1 AND id <= $2 ORDER BY id";
    let rows = reader.query(sql, params![commit_id(writer, after), commit_id(writer, number)])?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// A commit with the head before it, its own head and the instant.
pub fn commit(reader: &mut Reader<'_>, id: i64) -> Result<Option<(Commit, Sha256, Sha256)>, DbError> {
    let Some((found, row)) = ledger::commits_after(reader, id - 1, 1)?.pop() else { return Ok(None) };
    if found != id {
        return Ok(None);
    }
    let (commit, head) = row?;
    let before = match commit.number {
        ..=1 => crate::domain::chain::GENESIS,
        _ => match ledger::head_of(reader, id - 1)? {
            Some(before) => before,
            None => return Ok(None),
        },
    };
    Ok(Some((commit, before, head)))
}

/// The leaves of a commit, and the place of the first transfer of each transaction that it began, in their order.
pub struct Leaves {
    /// Hashes of the transfers by place, then of the transactions by their first transfer.
    pub hashes: Vec<Sha256>,
    /// The transfers.
    pub transfers: Vec<Transfer>,
    /// The transactions it began.
    pub begun: Vec<TransactionId>,
}

/// What is under the root of a commit.
pub fn leaves(reader: &mut Reader<'_>, commit: &Commit) -> Result<Leaves, DbError> {
    let end = commit.first_seq.saturating_add(commit.transfer_count);
    let (mut hashes, mut transfers, mut begun) = (Vec::new(), Vec::new(), Vec::<TransactionId>::new());
    for (_, row) in ledger::stored_transfers(reader, commit.first_seq, end)? {
        let (transfer, _, leaf) = row?;
        hashes.push(leaf);
        let is_beginning = matches!(transfer.phase, Phase::Posted | Phase::Held);
        if is_beginning && begun.last() != Some(&transfer.transaction) {
            begun.push(transfer.transaction);
        }
        transfers.push(transfer);
    }
    let stored = ledger::transactions(reader, &begun)?;
    let by_id: std::collections::HashMap<TransactionId, Sha256> =
        stored.into_iter().map(|(row, leaf)| (row.id, leaf)).collect();
    hashes.extend(begun.iter().filter_map(|id| by_id.get(id)));
    Ok(Leaves { hashes, transfers, begun })
}

/// An order with its stored digest, if it exists.
pub fn order(reader: &mut Reader<'_>, id: i64) -> Result<Option<ledger::OrderRow>, DbError> {
    let sql = "SELECT kind, signer, input, signatures FROM orders WHERE id = $1";
    let Some(row) = reader.query_opt(sql, params![id])? else { return Ok(None) };
    Ok(Some(ledger::OrderRow {
        id,
        kind: row.try_get(0)?,
        signer: row.try_get(1)?,
        input: row.try_get(2)?,
        signatures: row.try_get(3)?,
    }))
}
