//! Wallets.

use q_core::{Amount, Did, Timestamp, hash::Sha256};
use q_db::{DbError, Reader, Row, Tx, Value, params};
use qwallet_api::WalletId;

use super::in_lists;
use crate::domain::{
    account::{Account, AccountId},
    currency::CurrencyId,
    fees::FeeClass,
    profile::{Profile, Status},
};

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
    /// Whether it may give and receive.
    pub status: Status,
    /// What the kind of its owner means for it.
    pub profile: Profile,
    /// The wallet whose limits it draws on besides its own.
    pub parent: Option<WalletId>,
    /// The only wallets it may pay, where it keeps a list.
    pub allowed: Option<Vec<WalletId>>,
    /// The only addresses outside that money may leave to, where it keeps a list; each with its rail.
    pub allowed_addresses: Vec<String>,
    /// When it was opened.
    pub created_at: Timestamp,
}

impl WalletRow {
    /// The hash kept beside the row, so that `verify` notices damage. It covers the terms of the wallet's accounts, in
    /// the order of their numbers: money that is the wallet's by nothing but a column would be easy to give away.
    pub fn checksum(&self, account_terms: &[u8]) -> Sha256 {
        let rules = self.rules();
        // Wallets to which nothing was added keep the hash they were stored with before there was anything to add.
        let form: &[u8] = if rules.is_empty() { b"q-wallet/2" } else { b"q-wallet/3" };
        q_core::hash::sha256_of(&[
            form,
            &u64::try_from(rules.len()).unwrap_or(u64::MAX).to_be_bytes()
                [..if rules.is_empty() { 0 } else { 8 }],
            &rules,
            &u64::try_from(account_terms.len()).unwrap_or(u64::MAX).to_be_bytes(),
            account_terms,
            &self.id.bytes(),
            self.reference.as_bytes(),
            b"\0",
            self.owner.as_str().as_bytes(),
            b"\0",
            &[u8::from(self.status.is_stopped()), u8::from(self.label.is_some())],
            &self.created_at.micros().to_be_bytes(),
            self.label.as_deref().unwrap_or_default(),
        ])
    }

    /// What holds for it beyond what holds for everybody's wallet; nothing for most.
    fn rules(&self) -> Vec<u8> {
        let is_plain = matches!(self.status, Status::Active | Status::Frozen)
            && self.profile == Profile::Root
            && self.parent.is_none()
            && self.allowed.is_none();
        if is_plain {
            return Vec::new();
        }
        let mut rules: Vec<u8> = [self.status.code(), self.profile.code()].map(i64::to_be_bytes).concat();
        rules.extend(self.parent.map_or([0; 16], WalletId::bytes));
        rules.push(u8::from(self.allowed.is_some()));
        rules.extend(ids_to_bytes(self.allowed.as_deref().unwrap_or_default()));
        // Lists without addresses keep the hash they were stored with before there were any.
        if !self.allowed_addresses.is_empty() {
            rules.extend(self.allowed_addresses.len().to_be_bytes());
            rules.extend(self.allowed_addresses.join("\n").into_bytes());
        }
        rules
    }
}

const COLUMNS: &str =
    "id, reference, owner, label, status, profile, parent, allowed, created_at, allowed_addresses";

fn ids_to_bytes(ids: &[WalletId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.bytes()).collect()
}

fn ids_from_bytes(bytes: &[u8]) -> Option<Vec<WalletId>> {
    let (ids, rest) = bytes.as_chunks();
    rest.is_empty().then(|| ids.iter().copied().map(WalletId::from_bytes).collect())
}

/// Addresses as they are stored, one a line.
fn lines_of(addresses: &[String]) -> Option<String> {
    (!addresses.is_empty()).then(|| addresses.join("\n"))
}

const fn bad(column: usize, expected: &'static str) -> DbError {
    DbError::BadRow { column, expected }
}

fn wallet(row: &Row) -> Result<WalletRow, DbError> {
    Ok(WalletRow {
        id: WalletId::from_bytes(row.try_get(0)?),
        reference: row.try_get(1)?,
        owner: row.try_get(2)?,
        label: row.try_get(3)?,
        status: Status::from_code(row.try_get(4)?).ok_or(bad(4, "the status of a wallet"))?,
        profile: Profile::from_code(row.try_get(5)?).ok_or(bad(5, "the profile of a wallet"))?,
        parent: row.try_get::<Option<[u8; 16]>>(6)?.map(WalletId::from_bytes),
        allowed: allowed(row, 7)?,
        created_at: row.try_get(8)?,
        allowed_addresses: row
            .try_get::<Option<String>>(9)?
            .map_or_else(Vec::new, |lines| lines.lines().map(str::to_owned).collect()),
    })
}

/// A list of wallets in a column.
pub(super) fn allowed(row: &Row, column: usize) -> Result<Option<Vec<WalletId>>, DbError> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes.map(|bytes| ids_from_bytes(&bytes).ok_or(bad(column, "ids of wallets"))).transpose()
}

/// Adds a wallet; its accounts, with these terms, follow in the same commit.
pub fn insert(tx: &mut Tx<'_>, wallet: &WalletRow, account_terms: &[u8]) -> Result<(), DbError> {
    let row = params![
        wallet.id.bytes(),
        &wallet.reference,
        &wallet.owner,
        wallet.label.as_deref(),
        wallet.status.code(),
        wallet.profile.code(),
        wallet.parent.map(WalletId::bytes),
        wallet.allowed.as_deref().map(ids_to_bytes),
        wallet.created_at,
        lines_of(&wallet.allowed_addresses),
        wallet.status.is_stopped(),
        wallet.checksum(account_terms),
    ];
    let sql = format!(
        "INSERT INTO wallets ({COLUMNS}, is_frozen, checksum) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    );
    tx.execute(&sql, row)?;
    Ok(())
}

/// Locks a wallet's row against other writers until the commit.
pub fn lock(tx: &mut Tx<'_>, id: WalletId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM wallets WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

/// Writes what may change of a wallet, and whether its accounts are stopped; its accounts' other terms are as they are.
pub fn update(tx: &mut Tx<'_>, wallet: &WalletRow) -> Result<(), DbError> {
    let is_stopped = wallet.status.is_stopped();
    tx.execute(
        "UPDATE accounts SET is_frozen = $1 WHERE wallet = $2",
        params![is_stopped, wallet.id.bytes()],
    )?;
    let accounts = super::ledger::accounts_of(tx, wallet.id)?;
    let terms: Vec<u8> = accounts.iter().flat_map(Account::terms).collect();
    let row = params![
        wallet.label.as_deref(),
        wallet.status.code(),
        is_stopped,
        wallet.allowed.as_deref().map(ids_to_bytes),
        lines_of(&wallet.allowed_addresses),
        wallet.checksum(&terms),
        wallet.id.bytes(),
    ];
    let sql = "UPDATE wallets SET label = $1, status = $2, is_frozen = $3, allowed = $4, allowed_addresses = $5, \
               checksum = $6 WHERE id = $7";
    tx.execute(sql, row)?;
    Ok(())
}

/// Renews the hash beside the wallet after accounts with these terms, in the order of their numbers, are its.
pub fn update_checksum(tx: &mut Tx<'_>, wallet: &WalletRow, account_terms: &[u8]) -> Result<(), DbError> {
    let row = params![wallet.checksum(account_terms), wallet.id.bytes()];
    tx.execute("UPDATE wallets SET checksum = $1 WHERE id = $2", row)?;
    Ok(())
}

/// Changes how far below zero an account may go.
pub fn set_credit_limit(tx: &mut Tx<'_>, id: AccountId, limit: Amount) -> Result<(), DbError> {
    let row = params![limit.to_bytes(), id.0];
    tx.execute("UPDATE accounts SET credit_limit = $1 WHERE id = $2", row)?;
    Ok(())
}

/// Which of these accounts may neither give nor receive now.
pub fn frozen_among(reader: &mut Reader<'_>, ids: &[AccountId]) -> Result<Vec<AccountId>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| Value::Integer(id.0)).collect();
    let rows = in_lists(&keys, |places, keys| {
        reader.query(&format!("SELECT id, is_frozen FROM accounts WHERE id IN ({places})"), keys)
    })?;
    let frozen = rows.iter().map(|row| Ok((AccountId(row.try_get(0)?), row.try_get::<bool>(1)?)));
    let frozen: Vec<(AccountId, bool)> = frozen.collect::<Result<_, DbError>>()?;
    Ok(frozen.into_iter().filter_map(|(id, is_frozen)| is_frozen.then_some(id)).collect())
}

/// Whose these accounts are; nothing of the house's.
pub fn of_accounts(
    reader: &mut Reader<'_>,
    ids: &[AccountId],
) -> Result<Vec<(AccountId, WalletId)>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| Value::Integer(id.0)).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("SELECT id, wallet FROM accounts WHERE id IN ({places}) AND wallet IS NOT NULL");
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| Ok((AccountId(row.try_get(0)?), WalletId::from_bytes(row.try_get(1)?)))).collect()
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
        each(id, wallet(&row).and_then(|wallet| Ok((wallet, row.try_get(10)?))))
    })
}

/// Whose an account is, as far as the price of a payment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The wallet.
    pub wallet: WalletId,
    /// The wallet whose limits it draws on besides its own.
    pub parent: Option<WalletId>,
    /// What the kind of its owner means for it.
    pub profile: Profile,
    /// What the account counts.
    pub currency: CurrencyId,
}

impl Party {
    /// A wallet's account of a currency.
    pub const fn of(wallet: &WalletRow, currency: CurrencyId) -> Self {
        Self { wallet: wallet.id, parent: wallet.parent, profile: wallet.profile, currency }
    }

    /// The class of a payment to `taker`.
    pub fn class_of(&self, taker: &Self) -> FeeClass {
        FeeClass::to(
            taker.profile,
            self.parent.unwrap_or(self.wallet) == taker.parent.unwrap_or(taker.wallet),
        )
    }
}

/// Calls `each` with every account of a wallet. Those of a wallet that cannot be read are left out.
pub fn for_each_party(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(AccountId, Party),
) -> Result<(), DbError> {
    let sql = "SELECT accounts.id, accounts.currency, wallets.id, wallets.parent, wallets.profile FROM accounts \
               JOIN wallets ON wallets.id = accounts.wallet";
    reader.for_each(sql, params![], |row| {
        let read = || {
            let party = Party {
                wallet: WalletId::from_bytes(row.try_get(2)?),
                parent: row.try_get::<Option<[u8; 16]>>(3)?.map(WalletId::from_bytes),
                profile: Profile::from_code(row.try_get(4)?).ok_or(bad(4, "the profile of a wallet"))?,
                currency: CurrencyId(row.try_get(1)?),
            };
            Ok::<_, DbError>((AccountId(row.try_get(0)?), party))
        };
        if let Ok((account, party)) = read() {
            each(account, party);
        }
        Ok(())
    })
}
