//! Payout files that were read.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{BatchId, ImportId, WalletId};

/// A row of `imports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// Its id.
    pub id: ImportId,
    /// The paying wallet.
    pub wallet: WalletId,
    /// Its owner.
    pub payer: Did,
    /// The file's own id.
    pub message_id: String,
    /// The report, sealed.
    pub report: Vec<u8>,
    /// The payments, sealed.
    pub items: Vec<u8>,
    /// The batch, once executed.
    pub batch: Option<BatchId>,
    /// When it was read.
    pub created_at: Timestamp,
    /// Until when it may be executed.
    pub expires_at: Timestamp,
}

const COLUMNS: &str = "id, wallet, payer, message_id, report, items, batch, created_at, expires_at";

/// Adds an import.
pub fn insert(tx: &mut Tx<'_>, import: &ImportRow) -> Result<(), DbError> {
    let row = params![
        import.id.bytes(),
        import.wallet.bytes(),
        &import.payer,
        &import.message_id,
        &import.report,
        &import.items,
        import.batch.map(BatchId::bytes),
        import.created_at,
        import.expires_at,
    ];
    let sql = format!("INSERT INTO imports ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    tx.execute(&sql, row)?;
    Ok(())
}

/// The import, if it exists.
pub fn find(reader: &mut Reader<'_>, id: ImportId) -> Result<Option<ImportRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM imports WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(import).transpose()
}

fn import(row: &Row) -> Result<ImportRow, DbError> {
    Ok(ImportRow {
        id: ImportId::from_bytes(row.try_get(0)?),
        wallet: WalletId::from_bytes(row.try_get(1)?),
        payer: row.try_get(2)?,
        message_id: row.try_get(3)?,
        report: row.try_get(4)?,
        items: row.try_get(5)?,
        batch: row.try_get::<Option<[u8; 16]>>(6)?.map(BatchId::from_bytes),
        created_at: row.try_get(7)?,
        expires_at: row.try_get(8)?,
    })
}

/// Calls `each` with every import and whether the batch it names exists.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(ImportId, Result<(ImportRow, bool), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let columns: Vec<String> = COLUMNS.split(", ").map(|column| format!("imports.{column}")).collect();
    let sql = format!(
        "SELECT {}, batches.commit_id FROM imports LEFT JOIN batches ON batches.id = imports.batch \
         ORDER BY imports.id",
        columns.join(", ")
    );
    reader.for_each(&sql, params![], |row| {
        let has_batch = row.try_get::<Option<i64>>(9).map(|commit| commit.is_some());
        let read = import(&row).and_then(|import| Ok((import, has_batch?)));
        each(ImportId::from_bytes(row.try_get(0)?), read)
    })
}

/// Whether the wallet has a file of this id that was executed or still may be.
pub fn is_known(
    reader: &mut Reader<'_>,
    wallet: WalletId,
    message_id: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM imports WHERE wallet = $1 AND message_id = $2 \
               AND (batch IS NOT NULL OR expires_at > $3) LIMIT 1";
    Ok(reader.query_opt(sql, params![wallet.bytes(), message_id, now])?.is_some())
}

/// Notes that an import was executed, if it was not before; answers whether it was noted.
pub fn execute(tx: &mut Tx<'_>, id: ImportId, batch: BatchId) -> Result<bool, DbError> {
    let row = params![batch.bytes(), id.bytes()];
    Ok(tx.execute("UPDATE imports SET batch = $1 WHERE id = $2 AND batch IS NULL", row)? == 1)
}
