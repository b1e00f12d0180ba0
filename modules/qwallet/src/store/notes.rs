//! Notes beside transactions.

use q_core::{
    Did, Timestamp,
    hash::{self, Sha256},
};
use q_db::{DbError, Reader, Row, Tx, Value, params};
use qwallet_api::TransactionId;

use super::in_lists;

/// A row of `notes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
    /// Beside which transaction.
    pub transaction: TransactionId,
    /// Its number there, from 1.
    pub number: i64,
    /// Who wrote it.
    pub author: Did,
    /// When.
    pub at: Timestamp,
    /// Text and data, sealed.
    pub body: Vec<u8>,
}

impl NoteRow {
    /// The hash that covers it and those before it.
    pub fn digest(&self, before: &Sha256) -> Sha256 {
        let author = self.author.as_str().as_bytes();
        hash::sha256_of(&[
            b"q-note/1",
            before,
            &self.transaction.bytes(),
            &self.number.to_be_bytes(),
            &self.at.micros().to_be_bytes(),
            &u64::try_from(author.len()).unwrap_or(u64::MAX).to_be_bytes(),
            author,
            &self.body,
        ])
    }

    /// The row's name as what is sealed in it is bound to it.
    pub fn name(&self) -> String {
        format!("{} {}", self.transaction, self.number)
    }
}

const COLUMNS: &str = "transaction_id, number, author, at, body, digest";

fn note(row: &Row) -> Result<(NoteRow, Sha256), DbError> {
    let note = NoteRow {
        transaction: TransactionId::from_bytes(row.try_get(0)?),
        number: row.try_get(1)?,
        author: row
            .try_get::<String>(2)?
            .parse()
            .map_err(|_| DbError::BadRow { column: 2, expected: "a DID" })?,
        at: row.try_get(3)?,
        body: row.try_get(4)?,
    };
    Ok((note, row.try_get(5)?))
}

/// The number of the last note beside a transaction and its digest; 0 and zeros where there is none.
pub fn last(reader: &mut Reader<'_>, transaction: TransactionId) -> Result<(i64, Sha256), DbError> {
    let sql = "SELECT number, digest FROM notes WHERE transaction_id = $1 ORDER BY number DESC LIMIT 1";
    let row = reader.query_opt(sql, params![transaction.bytes()])?;
    row.map_or(Ok((0, [0; 32])), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
}

/// Adds a note.
pub fn insert(tx: &mut Tx<'_>, note: &NoteRow, digest: &Sha256) -> Result<(), DbError> {
    let row = params![note.transaction.bytes(), note.number, &note.author, note.at, &note.body, digest];
    tx.execute(&format!("INSERT INTO notes ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"), row)?;
    Ok(())
}

/// The notes beside these transactions, in order.
pub fn beside(reader: &mut Reader<'_>, ids: &[TransactionId]) -> Result<Vec<NoteRow>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT {COLUMNS} FROM notes WHERE transaction_id IN ({places}) ORDER BY transaction_id, number"
        );
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| note(row).map(|(note, _)| note)).collect()
}

/// Calls `each` with the transaction and number of every note, and the note with its stored digest or why it cannot be
/// read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut((TransactionId, i64), Result<(NoteRow, Sha256), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS} FROM notes ORDER BY transaction_id, number");
    reader.for_each(&sql, params![], |row| {
        each((TransactionId::from_bytes(row.try_get(0)?), row.try_get(1)?), note(&row))
    })
}

/// The transactions of notes that do not exist, at most a thousand.
pub fn of_nothing(reader: &mut Reader<'_>) -> Result<Vec<TransactionId>, DbError> {
    let sql = "SELECT DISTINCT notes.transaction_id FROM notes LEFT JOIN transactions \
               ON transactions.id = notes.transaction_id WHERE transactions.id IS NULL LIMIT 1000";
    let rows = reader.query(sql, params![])?;
    rows.iter().map(|row| Ok(TransactionId::from_bytes(row.try_get(0)?))).collect()
}
