//! Requests that were carried out and nonces that were used: what makes a repetition recognisable.

use std::collections::{BTreeSet, HashSet};

use q_core::{RequestKey, Timestamp, hash};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};

use super::in_lists;

/// Micros in an hour.
const HOUR: i64 = 3_600_000_000;

/// How many hours one question names; two lengths, so that few statements are prepared. Orders of a few minutes
/// keep few hours, those of a day about 27.
const FEW_HOURS: usize = 4;
const HOURS_LISTED_MAX: usize = 32;

/// A request's key and content, as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// The hash of caller, operation and key.
    pub key: [u8; 16],
    /// The hash of the content.
    pub fingerprint: [u8; 32],
}

/// A nonce of an order, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// The hour in which the order expires.
    pub hour: i64,
    /// The hash of signer and nonce.
    pub nonce: [u8; 16],
}

fn short(parts: &[&[u8]]) -> [u8; 16] {
    *hash::sha256_of(parts).first_chunk().expect("a digest has 32 bytes")
}

impl Request {
    /// The request `key` of `caller`, who may be a signer whom somebody else's call serves; two callers' keys never meet.
    pub fn of(caller: &str, key: &RequestKey) -> Self {
        let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
        let hashed = short(&[
            b"q-request/1",
            &length(caller),
            caller.as_bytes(),
            &length(key.operation()),
            key.operation().as_bytes(),
            key.key.as_bytes(),
        ]);
        Self { key: hashed, fingerprint: key.fingerprint }
    }
}

impl Nonce {
    /// The hour of an instant.
    pub const fn hour_of(at: Timestamp) -> i64 {
        at.micros().div_euclid(HOUR)
    }

    /// The nonce `text` of `signer` in an order that expires at that instant.
    ///
    /// The hour only keeps neighbours together: a nonce is looked for in every hour that is kept.
    pub fn of(signer: &str, text: &str, expires_at: Timestamp) -> Self {
        Self {
            hour: Self::hour_of(expires_at),
            nonce: short(&[b"q-nonce/1", signer.as_bytes(), b"\0", text.as_bytes()]),
        }
    }
}

/// What is stored for these keys: key, fingerprint, answer.
pub fn find(reader: &mut Reader<'_>, keys: &[[u8; 16]]) -> Result<Vec<(Request, [u8; 16])>, DbError> {
    let keys: Vec<Value> = keys.iter().map(Value::from).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("SELECT key, fingerprint, answer FROM requests WHERE key IN ({places})");
        reader.query(&sql, keys)
    })?;
    let read =
        |row: &Row| Ok((Request { key: row.try_get(0)?, fingerprint: row.try_get(1)? }, row.try_get(2)?));
    rows.iter().map(read).collect()
}

/// The hours under which nonces are kept, in order. Few: an order expires at most a day ahead.
pub fn nonce_hours(reader: &mut Reader<'_>) -> Result<BTreeSet<i64>, DbError> {
    // One search per hour instead of a walk over all nonces, and one statement for all of them: a server is a
    // round trip away.
    let sql = "WITH RECURSIVE kept (hour) AS (SELECT MIN(hour) FROM nonces UNION ALL \
               SELECT (SELECT MIN(nonces.hour) FROM nonces WHERE nonces.hour > kept.hour) FROM kept \
               WHERE kept.hour IS NOT NULL) SELECT hour FROM kept WHERE hour IS NOT NULL";
    reader.query(sql, &[])?.iter().map(|row| row.try_get(0)).collect()
}

/// Which of these nonces were used, in an order of any of these hours: signing again with another expiry does
/// not make a nonce good again.
pub fn spent(
    reader: &mut Reader<'_>,
    nonces: &[Nonce],
    hours: &BTreeSet<i64>,
) -> Result<HashSet<[u8; 16]>, DbError> {
    let keys: Vec<Value> = nonces.iter().map(|nonce| nonce.nonce.into()).collect();
    let hours: Vec<i64> = hours.iter().copied().collect();
    let mut found = HashSet::new();
    for hours in hours.chunks(HOURS_LISTED_MAX) {
        let length = if hours.len() <= FEW_HOURS { FEW_HOURS } else { HOURS_LISTED_MAX };
        // Naming hours again changes nothing and keeps the text the same.
        let hours: Vec<Value> = hours.iter().cycle().take(length).map(|hour| (*hour).into()).collect();
        let rows = in_lists(&keys, |places, keys| {
            let of_hours: Vec<String> = (1..=length).map(|at| format!("${}", keys.len() + at)).collect();
            let of_hours = of_hours.join(", ");
            let sql = format!("SELECT nonce FROM nonces WHERE hour IN ({of_hours}) AND nonce IN ({places})");
            reader.query(&sql, &[keys, &hours].concat())
        })?;
        for row in rows {
            found.insert(row.try_get(0)?);
        }
    }
    Ok(found)
}

/// Keeps what came of requests.
pub fn insert(tx: &mut Tx<'_>, requests: &[(Request, [u8; 16])]) -> Result<(), DbError> {
    const COLUMNS: [Column; 3] =
        [Column::bytes("key"), Column::bytes("fingerprint"), Column::bytes("answer")];
    // In order, so that neighbouring keys share pages.
    let mut sorted: Vec<&(Request, [u8; 16])> = requests.iter().collect();
    sorted.sort_unstable_by_key(|(request, _)| request.key);
    let rows: Vec<[Value; 3]> = sorted
        .iter()
        .map(|(request, answer)| [request.key.into(), request.fingerprint.into(), answer.into()])
        .collect();
    tx.insert_many("requests", &COLUMNS, &rows)?;
    Ok(())
}

/// Keeps used nonces.
pub fn insert_nonces(tx: &mut Tx<'_>, nonces: &[Nonce]) -> Result<(), DbError> {
    const COLUMNS: [Column; 2] = [Column::integer("hour"), Column::bytes("nonce")];
    let mut sorted: Vec<&Nonce> = nonces.iter().collect();
    // In one order for every writer, whatever the hours: who waits for the same nonces never waits in a circle.
    sorted.sort_unstable_by_key(|nonce| nonce.nonce);
    let rows: Vec<[Value; 2]> = sorted.iter().map(|nonce| [nonce.hour.into(), nonce.nonce.into()]).collect();
    tx.insert_many("nonces", &COLUMNS, &rows)?;
    Ok(())
}

/// Forgets the nonces of orders that expired more than an hour before `now`: their time refuses them.
pub fn forget_nonces(tx: &mut Tx<'_>, now: Timestamp) -> Result<u64, DbError> {
    tx.execute("DELETE FROM nonces WHERE hour < $1", params![Nonce::hour_of(now) - 1])
}

/// A batch that was carried out: how many items, the refusals as JSON, the commit.
pub fn find_batch(reader: &mut Reader<'_>, id: [u8; 16]) -> Result<Option<(u32, String, i64)>, DbError> {
    let row =
        reader.query_opt("SELECT item_count, refusals, commit_id FROM batches WHERE id = $1", params![id])?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).transpose()
}

/// Keeps a batch.
pub fn insert_batch(
    tx: &mut Tx<'_>,
    id: [u8; 16],
    item_count: u32,
    refusals: &str,
    commit: i64,
) -> Result<(), DbError> {
    let row = params![id, item_count, refusals, commit];
    tx.execute("INSERT INTO batches (id, item_count, refusals, commit_id) VALUES ($1, $2, $3, $4)", row)?;
    Ok(())
}
