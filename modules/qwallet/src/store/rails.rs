//! Rails, their keys and addresses, what came in and what goes out.

use q_core::{Amount, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{TransactionId, WalletId};
use qwallet_rails::{Arrival, Block, ChainAmount, What};

use crate::domain::{
    account::AccountId,
    currency::CurrencyId,
    fees::FeeAmounts,
    rails::{DepositStatus, Known, OutgoingStatus},
};

/// The most withdrawals one look takes on.
pub const OPEN_MAX: i64 = 256;

/// The most rows of a list.
const LIST_MAX: i64 = 200;

/// A row of `rails`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RailRow {
    /// Its currency.
    pub currency: CurrencyId,
    /// Its accounts.
    pub accounts: RailAccounts,
    /// The last block whose deposits are final here.
    pub scanned: Option<Block>,
    /// Why it is paused.
    pub paused: Option<String>,
    /// The last comparison with the chain.
    pub checked: Option<Checked>,
}

/// The accounts of a rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RailAccounts {
    /// What the house owns there.
    pub rail: AccountId,
    /// What came in and is no wallet's.
    pub suspense: AccountId,
    /// What the house paid to the chain.
    pub costs: AccountId,
}

/// A comparison of the books with the chain, in the chain's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The block.
    pub height: u64,
    /// When.
    pub at: Timestamp,
    /// What the chain holds.
    pub chain: ChainAmount,
    /// What it should hold.
    pub books: ChainAmount,
}

/// A row of `rail_keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its number, from 1.
    pub generation: u32,
    /// The seed, sealed.
    pub seed: Vec<u8>,
    /// The house's address under it.
    pub house: String,
}

/// A row of `rail_addresses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRow {
    /// The address.
    pub address: String,
    /// The key it is derived from.
    pub generation: u32,
    /// Its number under that key; 0 is the house's.
    pub place: u32,
    /// Whose deposits it takes.
    pub wallet: Option<WalletId>,
}

/// A row of `deposits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositRow {
    /// Its id.
    pub id: TransactionId,
    /// The rail.
    pub rail: String,
    /// Whose it is; none for the house.
    pub wallet: Option<WalletId>,
    /// What the chain says.
    pub arrival: Arrival,
    /// How much in the currency, where that can be written.
    pub amount: Option<Amount>,
    /// Where it is.
    pub status: DepositStatus,
    /// The transaction that shows it as coming, or that credited it.
    pub held: Option<TransactionId>,
    /// When it was first seen.
    pub seen_at: Timestamp,
}

/// A row of `outgoing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRow {
    /// Its id; of a withdrawal, the transaction that holds the money.
    pub id: TransactionId,
    /// The rail.
    pub rail: String,
    /// The address it leaves.
    pub source: AddressRow,
    /// The address it goes to.
    pub recipient: String,
    /// What is moved.
    pub what: What,
    /// How much, in the chain's units.
    pub units: ChainAmount,
    /// The most it may cost, in what the chain's fees are paid in.
    pub fee_max: Option<ChainAmount>,
    /// Its number among those of its source, once signed.
    pub nonce: Option<u64>,
    /// Where it is.
    pub status: OutgoingStatus,
    /// Its transaction on the chain: the last one signed, or the one in a block.
    pub hash: Option<String>,
    /// The block it is in.
    pub height: Option<u64>,
    /// What it cost.
    pub fee: Option<ChainAmount>,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// Whose money it is; none for the house's own moves.
    pub withdrawal: Option<WithdrawalPart>,
    /// When it was asked for.
    pub made_at: Timestamp,
    /// When its status changed.
    pub changed_at: Timestamp,
}

/// What a withdrawal is in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalPart {
    /// The paying wallet.
    pub wallet: WalletId,
    /// How much the recipient gets.
    pub amount: Amount,
    /// What was held for fees.
    pub fees: FeeAmounts,
    /// The payer's reference.
    pub client_ref: String,
}

/// A row of `sendings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingRow {
    /// Its name on the chain.
    pub hash: String,
    /// The bytes.
    pub raw: Vec<u8>,
    /// When they were signed.
    pub made_at: Timestamp,
}

fn signed(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX)
}

fn height(row: &Row, at: usize) -> Result<u64, DbError> {
    u64::try_from(row.try_get::<i64>(at)?).map_err(|_| DbError::BadRow { column: at, expected: "a height" })
}

fn optional_height(row: &Row, at: usize) -> Result<Option<u64>, DbError> {
    row.try_get::<Option<i64>>(at)?.map(|_| height(row, at)).transpose()
}

fn units(row: &Row, at: usize) -> Result<Option<ChainAmount>, DbError> {
    Ok(row.try_get::<Option<[u8; 16]>>(at)?.map(|bytes| ChainAmount(u128::from_be_bytes(bytes))))
}

fn amount(row: &Row, at: usize) -> Result<Option<Amount>, DbError> {
    Ok(row.try_get::<Option<[u8; 16]>>(at)?.map(Amount::from_bytes))
}

fn wallet(row: &Row, at: usize) -> Result<Option<WalletId>, DbError> {
    Ok(row.try_get::<Option<[u8; 16]>>(at)?.map(WalletId::from_bytes))
}

/// The rail, if it was ever set up.
pub fn find(reader: &mut Reader<'_>, rail: &str) -> Result<Option<RailRow>, DbError> {
    let sql = "SELECT currency, account, suspense, costs, scanned_height, scanned_block, paused, checked_height, \
               checked_at, chain_units, book_units FROM rails WHERE name = $1";
    let Some(row) = reader.query_opt(sql, params![rail])? else { return Ok(None) };
    let scanned = optional_height(&row, 4)?.zip(row.try_get::<Option<String>>(5)?);
    let checked = (optional_height(&row, 7)?, row.try_get(8)?, units(&row, 9)?, units(&row, 10)?);
    Ok(Some(RailRow {
        currency: CurrencyId(row.try_get(0)?),
        accounts: RailAccounts {
            rail: AccountId(row.try_get(1)?),
            suspense: AccountId(row.try_get(2)?),
            costs: AccountId(row.try_get(3)?),
        },
        scanned: scanned.map(|(height, hash)| Block { height, hash }),
        paused: row.try_get(6)?,
        checked: match checked {
            (Some(height), Some(at), Some(chain), Some(books)) => Some(Checked { height, at, chain, books }),
            _ => None,
        },
    }))
}

/// The rails that were ever set up.
pub fn names(reader: &mut Reader<'_>) -> Result<Vec<String>, DbError> {
    let rows = reader.query("SELECT name FROM rails ORDER BY name", params![])?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Sets a rail up.
pub fn insert(
    tx: &mut Tx<'_>,
    rail: &str,
    currency: CurrencyId,
    accounts: &RailAccounts,
) -> Result<(), DbError> {
    let row = params![rail, currency.0, accounts.rail.0, accounts.suspense.0, accounts.costs.0];
    tx.execute(
        "INSERT INTO rails (name, currency, account, suspense, costs) VALUES ($1, $2, $3, $4, $5)",
        row,
    )?;
    Ok(())
}

/// Notes that everything up to `block` is final here, unless somebody else went on from `before` already.
pub fn set_scanned(tx: &mut Tx<'_>, rail: &str, before: Option<u64>, block: &Block) -> Result<bool, DbError> {
    let sql = "UPDATE rails SET scanned_height = $2, scanned_block = $3 \
               WHERE name = $1 AND COALESCE(scanned_height, -1) = $4";
    let before = before.map_or(-1, signed);
    Ok(tx.execute(sql, params![rail, signed(block.height), &block.hash, before])? == 1)
}

/// Pauses a rail for a reason or lets it go on; `false` when it was so already.
pub fn set_paused(tx: &mut Tx<'_>, rail: &str, reason: Option<&str>) -> Result<bool, DbError> {
    let sql = match reason {
        Some(_) => "UPDATE rails SET paused = $2 WHERE name = $1 AND (paused IS NULL OR paused <> $2)",
        None => "UPDATE rails SET paused = $2 WHERE name = $1 AND paused IS NOT NULL",
    };
    Ok(tx.execute(sql, params![rail, reason])? == 1)
}

/// Keeps a comparison.
pub fn set_checked(tx: &mut Tx<'_>, rail: &str, checked: &Checked) -> Result<(), DbError> {
    let sql = "UPDATE rails SET checked_height = $2, checked_at = $3, chain_units = $4, book_units = $5 \
               WHERE name = $1";
    let row = params![
        rail,
        signed(checked.height),
        checked.at,
        checked.chain.0.to_be_bytes(),
        checked.books.0.to_be_bytes(),
    ];
    tx.execute(sql, row)?;
    Ok(())
}

/// The keys of a rail, oldest first.
pub fn keys(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<KeyRow>, DbError> {
    let sql = "SELECT generation, seed, house FROM rail_keys WHERE rail = $1 ORDER BY generation";
    let key =
        |row: &Row| Ok(KeyRow { generation: row.try_get(0)?, seed: row.try_get(1)?, house: row.try_get(2)? });
    reader.query(sql, params![rail])?.iter().map(key).collect()
}

/// Adds a key and the house's address under it.
pub fn insert_key(tx: &mut Tx<'_>, rail: &str, key: &KeyRow) -> Result<(), DbError> {
    let sql = "INSERT INTO rail_keys (rail, generation, seed, house, made_at) VALUES ($1, $2, $3, $4, $5)";
    let now = tx.now();
    tx.execute(sql, params![rail, key.generation, &key.seed, &key.house, now])?;
    let house = AddressRow { address: key.house.clone(), generation: key.generation, place: 0, wallet: None };
    insert_address(tx, rail, &house)
}

/// Adds an address.
pub fn insert_address(tx: &mut Tx<'_>, rail: &str, row: &AddressRow) -> Result<(), DbError> {
    let sql = "INSERT INTO rail_addresses (rail, address, generation, place, wallet, made_at) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let now = tx.now();
    let wallet = row.wallet.map(WalletId::bytes);
    tx.execute(sql, params![rail, &row.address, row.generation, row.place, wallet, now])?;
    Ok(())
}

const ADDRESS: &str = "address, generation, place, wallet";

fn address(row: &Row, at: usize) -> Result<AddressRow, DbError> {
    Ok(AddressRow {
        address: row.try_get(at)?,
        generation: row.try_get(at + 1)?,
        place: row.try_get(at + 2)?,
        wallet: wallet(row, at + 3)?,
    })
}

/// Every address of a rail.
pub fn addresses(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<AddressRow>, DbError> {
    let sql = format!("SELECT {ADDRESS} FROM rail_addresses WHERE rail = $1 ORDER BY generation, place");
    reader.query(&sql, params![rail])?.iter().map(|row| address(row, 0)).collect()
}

/// Whether an address is one of the rail's own.
pub fn is_own_address(reader: &mut Reader<'_>, rail: &str, address: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM rail_addresses WHERE rail = $1 AND address = $2";
    Ok(reader.query_opt(sql, params![rail, address])?.is_some())
}

/// The address of a wallet under a key.
pub fn address_of(
    reader: &mut Reader<'_>,
    rail: &str,
    generation: u32,
    wallet: WalletId,
) -> Result<Option<AddressRow>, DbError> {
    let sql =
        format!("SELECT {ADDRESS} FROM rail_addresses WHERE rail = $1 AND generation = $2 AND wallet = $3");
    let row = reader.query_opt(&sql, params![rail, generation, wallet.bytes()])?;
    row.as_ref().map(|row| address(row, 0)).transpose()
}

/// The last number given out under a key.
pub fn last_place(reader: &mut Reader<'_>, rail: &str, generation: u32) -> Result<u32, DbError> {
    let sql = "SELECT COALESCE(MAX(place), 0) FROM rail_addresses WHERE rail = $1 AND generation = $2";
    reader.query_one(sql, params![rail, generation])?.try_get(0)
}

const DEPOSIT: &str =
    "id, rail, hash, place, address, wallet, sender, units, amount, height, block, status, held, seen_at";

fn deposit(row: &Row) -> Result<DepositRow, DbError> {
    let status = DepositStatus::from_code(row.try_get(11)?);
    Ok(DepositRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        rail: row.try_get(1)?,
        wallet: wallet(row, 5)?,
        arrival: Arrival {
            hash: row.try_get(2)?,
            place: row.try_get(3)?,
            block: Block { height: height(row, 9)?, hash: row.try_get(10)? },
            from: row.try_get(6)?,
            to: row.try_get(4)?,
            amount: units(row, 7)?,
        },
        amount: amount(row, 8)?,
        status: status.ok_or(DbError::BadRow { column: 11, expected: "a status of a deposit" })?,
        held: row.try_get::<Option<[u8; 16]>>(12)?.map(TransactionId::from_bytes),
        seen_at: row.try_get(13)?,
    })
}

/// The deposit, locked until the commit.
pub fn lock_deposit(tx: &mut Tx<'_>, id: TransactionId) -> Result<Option<DepositRow>, DbError> {
    let sql = format!("SELECT {DEPOSIT} FROM deposits WHERE id = $1");
    tx.query_for_update(&sql, params![id.bytes()])?.first().map(deposit).transpose()
}

/// Whether somebody has seen this deposit.
pub fn is_known_deposit(
    reader: &mut Reader<'_>,
    rail: &str,
    hash: &str,
    place: u32,
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM deposits WHERE rail = $1 AND hash = $2 AND place = $3";
    Ok(reader.query_opt(sql, params![rail, hash, place])?.is_some())
}

/// Adds a deposit.
pub fn insert_deposit(tx: &mut Tx<'_>, row: &DepositRow) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO deposits ({DEPOSIT}, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)"
    );
    let arrival = &row.arrival;
    let values = params![
        row.id.bytes(),
        &row.rail,
        &arrival.hash,
        arrival.place,
        &arrival.to,
        row.wallet.map(WalletId::bytes),
        &arrival.from,
        arrival.amount.map(|units| units.0.to_be_bytes()),
        row.amount.map(Amount::to_bytes),
        signed(arrival.block.height),
        &arrival.block.hash,
        row.status.code(),
        row.held.map(TransactionId::bytes),
        row.seen_at,
    ];
    tx.execute(&sql, values)?;
    Ok(())
}

/// Changes where a deposit is.
pub fn update_deposit(
    tx: &mut Tx<'_>,
    id: TransactionId,
    block: &Block,
    status: DepositStatus,
    held: Option<TransactionId>,
) -> Result<(), DbError> {
    let sql =
        "UPDATE deposits SET height = $2, block = $3, status = $4, held = $5, changed_at = $6 WHERE id = $1";
    let now = tx.now();
    let held = held.map(TransactionId::bytes);
    tx.execute(sql, params![id.bytes(), signed(block.height), &block.hash, status.code(), held, now])?;
    Ok(())
}

/// What is known of the transactions with these hashes and of the blocks from `from` on.
pub fn known_deposits(
    reader: &mut Reader<'_>,
    rail: &str,
    from: u64,
    hashes: &[String],
) -> Result<Vec<Known>, DbError> {
    let columns = "SELECT id, hash, place, height, block, status FROM deposits WHERE rail = $1";
    let known = |row: &Row| {
        let status = DepositStatus::from_code(row.try_get(5)?);
        Ok::<_, DbError>(Known {
            id: TransactionId::from_bytes(row.try_get(0)?),
            hash: row.try_get(1)?,
            place: row.try_get(2)?,
            height: height(row, 3)?,
            block: row.try_get(4)?,
            status: status.ok_or(DbError::BadRow { column: 5, expected: "a status of a deposit" })?,
        })
    };
    let mut rows =
        reader.query(&format!("{columns} AND status = 0 AND height >= $2"), params![rail, signed(from)])?;
    for hash in hashes {
        rows.extend(reader.query(&format!("{columns} AND hash = $2"), params![rail, hash])?);
    }
    let mut found: Vec<Known> = rows.iter().map(known).collect::<Result<_, _>>()?;
    found.sort_by_key(|known| known.id);
    found.dedup_by_key(|known| known.id);
    Ok(found)
}

/// The deposits up to a height that wait to be credited.
pub fn pending_deposits(reader: &mut Reader<'_>, rail: &str, to: u64) -> Result<Vec<DepositRow>, DbError> {
    let sql = format!(
        "SELECT {DEPOSIT} FROM deposits WHERE rail = $1 AND status = 0 AND height <= $2 ORDER BY height, id"
    );
    reader.query(&sql, params![rail, signed(to)])?.iter().map(deposit).collect()
}

/// The deposits of a wallet, newest first.
pub fn deposits_of(reader: &mut Reader<'_>, wallet: WalletId) -> Result<Vec<DepositRow>, DbError> {
    let sql = format!("SELECT {DEPOSIT} FROM deposits WHERE wallet = $1 ORDER BY id DESC LIMIT {LIST_MAX}");
    reader.query(&sql, params![wallet.bytes()])?.iter().map(deposit).collect()
}

/// What came in over a rail and is nobody's, newest first.
pub fn nobodys_deposits(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<DepositRow>, DbError> {
    let sql = format!(
        "SELECT {DEPOSIT} FROM deposits WHERE rail = $1 AND wallet IS NULL AND status = 1 \
         ORDER BY id DESC LIMIT {LIST_MAX}"
    );
    reader.query(&sql, params![rail])?.iter().map(deposit).collect()
}

/// The deposit, if it was seen.
pub fn find_deposit(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<DepositRow>, DbError> {
    let sql = format!("SELECT {DEPOSIT} FROM deposits WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(deposit).transpose()
}

/// Says whose a deposit of nobody is now; the house's where no wallet is named.
pub fn assign_deposit(
    tx: &mut Tx<'_>,
    id: TransactionId,
    wallet: Option<WalletId>,
    status: DepositStatus,
) -> Result<(), DbError> {
    let sql = "UPDATE deposits SET wallet = $2, status = $3, changed_at = $4 WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![id.bytes(), wallet.map(WalletId::bytes), status.code(), now])?;
    Ok(())
}

/// Says whose money something was that had gone out as nobody's.
pub fn set_withdrawal(
    tx: &mut Tx<'_>,
    id: TransactionId,
    recipient: &str,
    part: &WithdrawalPart,
) -> Result<(), DbError> {
    let sql = "UPDATE outgoing SET recipient = $2, wallet = $3, amount = $4, platform_fee = $5, network_fee = $6, \
               client_ref = $7, changed_at = $8 WHERE id = $1";
    let now = tx.now();
    let values = params![
        id.bytes(),
        recipient,
        part.wallet.bytes(),
        part.amount.to_bytes(),
        part.fees.platform.to_bytes(),
        part.fees.network.to_bytes(),
        part.client_ref.as_str(),
        now,
    ];
    tx.execute(sql, values)?;
    Ok(())
}

/// Calls `each` with every deposit.
pub fn for_each_deposit(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<DepositRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    reader.for_each(&format!("SELECT {DEPOSIT} FROM deposits ORDER BY id"), params![], |row| {
        each(deposit(&row))
    })
}

/// What is final on the chain up to a height and held back from the books, and the addresses that ever got anything.
pub fn held_back(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<ChainAmount>, DbError> {
    let sql = "SELECT units FROM deposits WHERE rail = $1 AND status = $2 AND units IS NOT NULL";
    let rows = reader.query(sql, params![rail, DepositStatus::HeldBack.code()])?;
    rows.iter().filter_map(|row| units(row, 0).transpose()).collect()
}

/// The addresses that hold something or did: those that got a deposit, and the house's.
pub fn used_addresses(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<AddressRow>, DbError> {
    let sql = format!(
        "SELECT {ADDRESS} FROM rail_addresses WHERE rail = $1 AND (place = 0 OR address IN \
         (SELECT address FROM deposits WHERE rail = $1)) ORDER BY generation, place"
    );
    reader.query(&sql, params![rail])?.iter().map(|row| address(row, 0)).collect()
}

const OUTGOING: &str = "id, rail, source, generation, place, recipient, what, units, fee_max, nonce, status, hash, \
     height, fee, reason, wallet, amount, platform_fee, network_fee, client_ref, made_at, changed_at";

fn outgoing(row: &Row) -> Result<OutgoingRow, DbError> {
    let status = OutgoingStatus::from_code(row.try_get(10)?);
    let withdrawal = match (wallet(row, 15)?, amount(row, 16)?, amount(row, 17)?, amount(row, 18)?) {
        (Some(wallet), Some(amount), Some(platform), Some(network)) => Some(WithdrawalPart {
            wallet,
            amount,
            fees: FeeAmounts { platform, network },
            client_ref: row.try_get::<Option<String>>(19)?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(OutgoingRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        rail: row.try_get(1)?,
        source: AddressRow {
            address: row.try_get(2)?,
            generation: row.try_get(3)?,
            place: row.try_get(4)?,
            wallet: None,
        },
        recipient: row.try_get(5)?,
        what: if row.try_get::<i64>(6)? == 0 { What::Money } else { What::Gas },
        units: units(row, 7)?.ok_or(DbError::BadRow { column: 7, expected: "an amount" })?,
        fee_max: units(row, 8)?,
        nonce: optional_height(row, 9)?,
        status: status.ok_or(DbError::BadRow { column: 10, expected: "a status of a withdrawal" })?,
        hash: row.try_get(11)?,
        height: optional_height(row, 12)?,
        fee: units(row, 13)?,
        reason: row.try_get(14)?,
        withdrawal,
        made_at: row.try_get(20)?,
        changed_at: row.try_get(21)?,
    })
}

/// Adds what is to go out.
pub fn insert_outgoing(tx: &mut Tx<'_>, row: &OutgoingRow) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO outgoing ({OUTGOING}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
         $15, $16, $17, $18, $19, $20, $21, $22)"
    );
    let part = row.withdrawal.as_ref();
    let bytes = |units: Option<ChainAmount>| units.map(|units| units.0.to_be_bytes());
    let values = params![
        row.id.bytes(),
        &row.rail,
        &row.source.address,
        row.source.generation,
        row.source.place,
        &row.recipient,
        i64::from(row.what == What::Gas),
        row.units.0.to_be_bytes(),
        bytes(row.fee_max),
        row.nonce.map(signed),
        row.status.code(),
        row.hash.as_deref(),
        row.height.map(signed),
        bytes(row.fee),
        row.reason.as_deref(),
        part.map(|part| part.wallet.bytes()),
        part.map(|part| part.amount.to_bytes()),
        part.map(|part| part.fees.platform.to_bytes()),
        part.map(|part| part.fees.network.to_bytes()),
        part.map(|part| part.client_ref.as_str()),
        row.made_at,
        row.changed_at,
    ];
    tx.execute(&sql, values)?;
    Ok(())
}

/// Changes where something is on its way out.
pub fn update_outgoing(tx: &mut Tx<'_>, row: &OutgoingRow) -> Result<(), DbError> {
    let sql = "UPDATE outgoing SET nonce = $2, status = $3, hash = $4, height = $5, fee = $6, reason = $7, \
               changed_at = $8 WHERE id = $1";
    let now = tx.now();
    let values = params![
        row.id.bytes(),
        row.nonce.map(signed),
        row.status.code(),
        row.hash.as_deref(),
        row.height.map(signed),
        row.fee.map(|fee| fee.0.to_be_bytes()),
        row.reason.as_deref(),
        now,
    ];
    tx.execute(sql, values)?;
    Ok(())
}

/// What goes out, locked until the commit.
pub fn lock_outgoing(tx: &mut Tx<'_>, id: TransactionId) -> Result<Option<OutgoingRow>, DbError> {
    let sql = format!("SELECT {OUTGOING} FROM outgoing WHERE id = $1");
    tx.query_for_update(&sql, params![id.bytes()])?.first().map(outgoing).transpose()
}

/// What goes out, if it is known.
pub fn find_outgoing(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<OutgoingRow>, DbError> {
    let sql = format!("SELECT {OUTGOING} FROM outgoing WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(outgoing).transpose()
}

/// What is on its way out, oldest first: those signed already, then those that wait.
pub fn open_outgoing(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<OutgoingRow>, DbError> {
    let sql = format!(
        "SELECT {OUTGOING} FROM outgoing WHERE rail = $1 AND status < 4 ORDER BY nonce IS NULL, id LIMIT {OPEN_MAX}"
    );
    reader.query(&sql, params![rail])?.iter().map(outgoing).collect()
}

/// The withdrawals that are on their way out, all of them.
pub fn open_withdrawals(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<OutgoingRow>, DbError> {
    let sql = format!(
        "SELECT {OUTGOING} FROM outgoing WHERE rail = $1 AND status < 4 AND wallet IS NOT NULL ORDER BY id"
    );
    reader.query(&sql, params![rail])?.iter().map(outgoing).collect()
}

/// What is on its way out and would be the payment `seen` on the chain: what was signed under its number before what has
/// none yet, the oldest first.
pub fn open_like(reader: &mut Reader<'_>, seen: &OutgoingRow) -> Result<Vec<OutgoingRow>, DbError> {
    let sql = format!(
        "SELECT {OUTGOING} FROM outgoing WHERE rail = $1 AND status < 4 AND source = $2 AND recipient = $3 AND what = $4 \
         AND units = $5 AND (nonce IS NULL OR nonce = $6) ORDER BY nonce IS NULL, id"
    );
    let values = params![
        &seen.rail,
        &seen.source.address,
        &seen.recipient,
        i64::from(seen.what == What::Gas),
        seen.units.0.to_be_bytes(),
        seen.nonce.map(signed),
    ];
    reader.query(&sql, values)?.iter().map(outgoing).collect()
}

/// Gives a payment its number on the chain, if it has none.
pub fn set_number(tx: &mut Tx<'_>, id: TransactionId, nonce: u64) -> Result<(), DbError> {
    let sql = "UPDATE outgoing SET nonce = $2 WHERE id = $1 AND nonce IS NULL";
    tx.execute(sql, params![id.bytes(), signed(nonce)])?;
    Ok(())
}

/// Whether a number of an address is some payment's here.
pub fn is_used_nonce(reader: &mut Reader<'_>, rail: &str, source: &str, nonce: u64) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM outgoing WHERE rail = $1 AND source = $2 AND nonce = $3";
    Ok(reader.query_opt(sql, params![rail, source, signed(nonce)])?.is_some())
}

/// Calls `each` with everything that goes out or went.
pub fn for_each_outgoing(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<OutgoingRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    reader.for_each(&format!("SELECT {OUTGOING} FROM outgoing ORDER BY id"), params![], |row| {
        each(outgoing(&row))
    })
}

/// The highest number an address has used.
pub fn last_nonce(reader: &mut Reader<'_>, rail: &str, source: &str) -> Result<Option<u64>, DbError> {
    let sql = "SELECT MAX(nonce) FROM outgoing WHERE rail = $1 AND source = $2";
    optional_height(&reader.query_one(sql, params![rail, source])?, 0)
}

/// Keeps signed bytes.
pub fn insert_sending(
    tx: &mut Tx<'_>,
    rail: &str,
    id: TransactionId,
    hash: &str,
    raw: &[u8],
) -> Result<(), DbError> {
    let sql = "INSERT INTO sendings (rail, hash, outgoing, raw, made_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (rail, hash) DO NOTHING";
    let now = tx.now();
    tx.execute(sql, params![rail, hash, id.bytes(), raw, now])?;
    Ok(())
}

/// The signed bytes of something that goes out, newest first.
pub fn sendings(reader: &mut Reader<'_>, id: TransactionId) -> Result<Vec<SendingRow>, DbError> {
    let sql = "SELECT hash, raw, made_at FROM sendings WHERE outgoing = $1 ORDER BY made_at DESC, hash";
    let sending =
        |row: &Row| Ok(SendingRow { hash: row.try_get(0)?, raw: row.try_get(1)?, made_at: row.try_get(2)? });
    reader.query(sql, params![id.bytes()])?.iter().map(sending).collect()
}

/// Keeps a file, sealed.
pub fn insert_file(tx: &mut Tx<'_>, rail: &str, name: &str, document: &[u8]) -> Result<(), DbError> {
    let now = tx.now();
    let sql = "INSERT INTO rail_files (rail, name, document, made_at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, params![rail, name, document, now])?;
    Ok(())
}

/// A file, sealed.
pub fn find_file(reader: &mut Reader<'_>, rail: &str, name: &str) -> Result<Option<Vec<u8>>, DbError> {
    let sql = "SELECT document FROM rail_files WHERE rail = $1 AND name = $2";
    reader.query_opt(sql, params![rail, name])?.map(|row| row.try_get(0)).transpose()
}

/// What went out under this name.
pub fn outgoing_of_hash(
    reader: &mut Reader<'_>,
    rail: &str,
    hash: &str,
) -> Result<Option<OutgoingRow>, DbError> {
    let sql = format!("SELECT {OUTGOING} FROM outgoing WHERE rail = $1 AND hash = $2 ORDER BY id LIMIT 1");
    reader.query_opt(&sql, params![rail, hash])?.as_ref().map(outgoing).transpose()
}

/// Whether a transaction of the chain is one of ours.
pub fn is_ours(reader: &mut Reader<'_>, rail: &str, hash: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM sendings WHERE rail = $1 AND hash = $2";
    Ok(reader.query_opt(sql, params![rail, hash])?.is_some())
}
