//! Wallets.

use q_core::{Did, Timestamp, hash::Sha256};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::WalletId;

/// A row of `wallets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletRow {
    /// Its id.
    pub id: WalletId,
    /// Its reference.
    pub reference: String,
    /// Whose it is.
    pub owner: Did,
    /// Its name, sealed.
    pub label: Option<Vec<u8>>,
    /// Whether it may neither give nor receive.
    pub is_frozen: bool,
    /// When it was opened.
    pub created_at: Timestamp,
}

impl WalletRow {
    /// The hash kept beside the row, so that `verify` notices damage. It covers the terms of the wallet's accounts, in
    /// the order of their numbers: money that is the wallet's by nothing but a column would be easy to give away.
    pub fn checksum(&self, account_terms: &[u8]) -> Sha256 {
        q_core::hash::sha256_of(&[
            b"q-wallet/2",
            &u64::try_from(account_terms.len()).unwrap_or(u64::MAX).to_be_bytes(),
            account_terms,
            &self.id.bytes(),
            self.reference.as_bytes(),
            b"\0",
            self.owner.as_str().as_bytes(),
            b"\0",
            &[u8::from(self.is_frozen), u8::from(self.label.is_some())],
            &self.created_at.micros().to_be_bytes(),
            self.label.as_deref().unwrap_or_default(),
        ])
    }
}

const COLUMNS: &str = "id, reference, owner, label, is_frozen, created_at";

fn wallet(row: &Row) -> Result<WalletRow, DbError> {
    Ok(WalletRow {
        id: WalletId::from_bytes(row.try_get(0)?),
        reference: row.try_get(1)?,
        owner: row.try_get(2)?,
        label: row.try_get(3)?,
        is_frozen: row.try_get(4)?,
        created_at: row.try_get(5)?,
    })
}

/// Adds a wallet; its accounts, with these terms, follow in the same commit.
pub fn insert(tx: &mut Tx<'_>, wallet: &WalletRow, account_terms: &[u8]) -> Result<(), DbError> {
    let row = params![
        wallet.id.bytes(),
        &wallet.reference,
        &wallet.owner,
        wallet.label.as_deref(),
        wallet.is_frozen,
        wallet.created_at,
        wallet.checksum(account_terms),
    ];
    tx.execute(
        &format!("INSERT INTO wallets ({COLUMNS}, checksum) VALUES ($1, $2, $3, $4, $5, $6, $7)"),
        row,
    )?;
    Ok(())
}

/// Renews the hash beside the wallet after accounts with these terms, in the order of their numbers, are its.
pub fn update_checksum(tx: &mut Tx<'_>, wallet: &WalletRow, account_terms: &[u8]) -> Result<(), DbError> {
    let row = params![wallet.checksum(account_terms), wallet.id.bytes()];
    tx.execute("UPDATE wallets SET checksum = $1 WHERE id = $2", row)?;
    Ok(())
}

/// The wallet with this id.
pub fn find(reader: &mut Reader<'_>, id: WalletId) -> Result<Option<WalletRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM wallets WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(wallet).transpose()
}

/// The wallet with this reference.
pub fn find_by_reference(reader: &mut Reader<'_>, reference: &str) -> Result<Option<WalletRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM wallets WHERE reference = $1");
    reader.query_opt(&sql, params![reference])?.as_ref().map(wallet).transpose()
}

/// The wallet of this owner.
pub fn find_by_owner(reader: &mut Reader<'_>, owner: &Did) -> Result<Option<WalletRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM wallets WHERE owner = $1");
    reader.query_opt(&sql, params![owner])?.as_ref().map(wallet).transpose()
}

/// The wallet that this account belongs to.
pub fn find_by_account(reader: &mut Reader<'_>, account: i64) -> Result<Option<WalletRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM wallets WHERE id = (SELECT wallet FROM accounts WHERE accounts.id = $1)"
    );
    reader.query_opt(&sql, params![account])?.as_ref().map(wallet).transpose()
}

/// Calls `each` with every wallet and its stored checksum.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(WalletId, Result<(WalletRow, Sha256), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS}, checksum FROM wallets ORDER BY id");
    reader.for_each(&sql, params![], |row| {
        let id = WalletId::from_bytes(row.try_get(0)?);
        each(id, wallet(&row).and_then(|wallet| Ok((wallet, row.try_get(6)?))))
    })
}
