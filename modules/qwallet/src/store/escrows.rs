//! Escrows and what came of them.

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{EscrowId, TransactionId, WalletId};

use crate::domain::{currency::CurrencyId, escrows::State, fees::FeeAmounts};

/// A row of `escrows`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscrowRow {
    /// Its id.
    pub id: EscrowId,
    /// Who paid.
    pub payer: WalletId,
    /// Who is to be paid.
    pub payee: WalletId,
    /// Who decides a dispute.
    pub arbiter: Option<Did>,
    /// The currency.
    pub currency: CurrencyId,
    /// What is held.
    pub amount: Amount,
    /// What the payer paid on top.
    pub fees: FeeAmounts,
    /// What is bought.
    pub order_ref: String,
    /// Who gets what when it is released: a DID, and how much. Nothing for all to the payee.
    pub splits: Vec<(String, Amount)>,
    /// The transaction that paid it in.
    pub funding: TransactionId,
    /// Where it is.
    pub state: State,
    /// Why somebody objects, sealed.
    pub dispute: Option<Vec<u8>>,
    /// When it is released by itself.
    pub auto_release_at: Timestamp,
    /// When it was paid in.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A row of `escrow_parts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRow {
    /// Of which escrow.
    pub escrow: EscrowId,
    /// Its place among the parts.
    pub place: i64,
    /// Whose it is: a DID.
    pub recipient: String,
    /// How much.
    pub amount: Amount,
    /// The transaction that paid it.
    pub transaction: Option<TransactionId>,
}

const COLUMNS: &str = "id, payer, payee, arbiter, currency, amount, platform_fee, network_fee, order_ref, splits, \
                       funding, state, dispute, auto_release_at, created_at, ended_at";
const PART_COLUMNS: &str = "escrow, place, recipient, amount, transaction_id";

/// Adds an escrow.
pub fn insert(tx: &mut Tx<'_>, escrow: &EscrowRow) -> Result<(), DbError> {
    let row = params![
        escrow.id.bytes(),
        escrow.payer.bytes(),
        escrow.payee.bytes(),
        escrow.arbiter.as_ref(),
        escrow.currency.0,
        escrow.amount.to_bytes(),
        escrow.fees.platform.to_bytes(),
        escrow.fees.network.to_bytes(),
        &escrow.order_ref,
        splits_text(&escrow.splits),
        escrow.funding.bytes(),
        escrow.state.code(),
        escrow.dispute.as_deref(),
        escrow.auto_release_at,
        escrow.created_at,
        escrow.ended_at,
    ];
    let sql = format!(
        "INSERT INTO escrows ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    );
    tx.execute(&sql, row)?;
    Ok(())
}

/// The escrow, if it exists.
pub fn find(reader: &mut Reader<'_>, id: EscrowId) -> Result<Option<EscrowRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM escrows WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(escrow).transpose()
}

/// The payer's escrow for this order, if there is one.
pub fn of_order(
    reader: &mut Reader<'_>,
    payer: WalletId,
    order_ref: &str,
) -> Result<Option<EscrowId>, DbError> {
    let sql = "SELECT id FROM escrows WHERE payer = $1 AND order_ref = $2";
    let row = reader.query_opt(sql, params![payer.bytes(), order_ref])?;
    row.map(|row| row.try_get(0).map(EscrowId::from_bytes)).transpose()
}

/// Locks an escrow against other writers until the commit.
pub fn lock(tx: &mut Tx<'_>, id: EscrowId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM escrows WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

/// The escrows in which a wallet or an arbiter takes part, made before `before`, newest first.
pub fn list(
    reader: &mut Reader<'_>,
    wallet: Option<WalletId>,
    arbiter: &Did,
    state: Option<State>,
    before: EscrowId,
    count: u32,
) -> Result<Vec<EscrowRow>, DbError> {
    let state = state.map_or(-1, State::code);
    let sql = format!(
        "SELECT {COLUMNS} FROM escrows WHERE (payer = $1 OR payee = $1 OR arbiter = $2) AND id < $3 \
         AND (CAST($4 AS BIGINT) = -1 OR state = $4) ORDER BY id DESC LIMIT $5"
    );
    let wallet = wallet.map_or([0; 16], WalletId::bytes);
    let rows = reader.query(&sql, params![wallet, arbiter, before.bytes(), state, count])?;
    rows.iter().map(escrow).collect()
}

/// Escrows whose day has come, oldest first.
pub fn due(reader: &mut Reader<'_>, now: Timestamp, count: u32) -> Result<Vec<EscrowRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM escrows WHERE state = 0 AND auto_release_at <= $1 ORDER BY auto_release_at LIMIT $2"
    );
    reader.query(&sql, params![now, count])?.iter().map(escrow).collect()
}

/// Changes where an escrow is.
pub fn set_state(
    tx: &mut Tx<'_>,
    id: EscrowId,
    state: State,
    dispute: Option<&[u8]>,
    ended_at: Option<Timestamp>,
) -> Result<(), DbError> {
    let sql = "UPDATE escrows SET state = $1, dispute = COALESCE($2, dispute), ended_at = $3 WHERE id = $4";
    tx.execute(sql, params![state.code(), dispute, ended_at, id.bytes()])?;
    Ok(())
}

/// Adds a part.
pub fn insert_part(tx: &mut Tx<'_>, part: &PartRow) -> Result<(), DbError> {
    let row = params![
        part.escrow.bytes(),
        part.place,
        &part.recipient,
        part.amount.to_bytes(),
        part.transaction.map(TransactionId::bytes),
    ];
    tx.execute(&format!("INSERT INTO escrow_parts ({PART_COLUMNS}) VALUES ($1, $2, $3, $4, $5)"), row)?;
    Ok(())
}

/// In how many open escrows a wallet is a party, and how many parts wait for its owner.
pub fn open_of(reader: &mut Reader<'_>, wallet: WalletId, owner: &Did) -> Result<i64, DbError> {
    let (held, disputed) = (State::Held.code(), State::Disputed.code());
    let sql = "SELECT COUNT(*) FROM escrows WHERE (payer = $1 OR payee = $1) AND state IN ($2, $3)";
    let open: i64 = reader.query_one(sql, params![wallet.bytes(), held, disputed])?.try_get(0)?;
    let sql = "SELECT COUNT(*) FROM escrow_parts WHERE recipient = $1 AND transaction_id IS NULL";
    let waiting: i64 = reader.query_one(sql, params![owner])?.try_get(0)?;
    Ok(open + waiting)
}

/// The parts of an escrow, in order.
pub fn parts(reader: &mut Reader<'_>, id: EscrowId) -> Result<Vec<PartRow>, DbError> {
    let sql = format!("SELECT {PART_COLUMNS} FROM escrow_parts WHERE escrow = $1 ORDER BY place");
    reader.query(&sql, params![id.bytes()])?.iter().map(part).collect()
}

/// Parts that wait although their recipients have wallets by now.
pub fn claimable(reader: &mut Reader<'_>, count: u32) -> Result<Vec<PartRow>, DbError> {
    let columns: Vec<String> =
        PART_COLUMNS.split(", ").map(|column| format!("escrow_parts.{column}")).collect();
    let sql = format!(
        "SELECT {} FROM escrow_parts JOIN wallets ON wallets.owner = escrow_parts.recipient \
         WHERE escrow_parts.transaction_id IS NULL AND wallets.is_frozen = 0 \
         ORDER BY escrow_parts.escrow LIMIT $1",
        columns.join(", ")
    );
    reader.query(&sql, params![count])?.iter().map(part).collect()
}

/// Notes that a part that waited was paid.
pub fn pay_part(tx: &mut Tx<'_>, part: &PartRow, transaction: TransactionId) -> Result<(), DbError> {
    let sql = "UPDATE escrow_parts SET transaction_id = $1 WHERE escrow = $2 AND place = $3";
    tx.execute(sql, params![transaction.bytes(), part.escrow.bytes(), part.place])?;
    Ok(())
}

/// Calls `each` with every escrow, or why it cannot be read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(EscrowId, Result<EscrowRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS} FROM escrows ORDER BY id");
    reader.for_each(&sql, params![], |row| each(EscrowId::from_bytes(row.try_get(0)?), escrow(&row)))
}

/// Calls `each` with every part, those of one escrow together.
pub fn for_each_part(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(EscrowId, Result<PartRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {PART_COLUMNS} FROM escrow_parts ORDER BY escrow, place");
    reader.for_each(&sql, params![], |row| each(EscrowId::from_bytes(row.try_get(0)?), part(&row)))
}

fn escrow(row: &Row) -> Result<EscrowRow, DbError> {
    let amount = |at| row.try_get(at).map(Amount::from_bytes);
    let state = State::from_code(row.try_get(11)?);
    Ok(EscrowRow {
        id: EscrowId::from_bytes(row.try_get(0)?),
        payer: WalletId::from_bytes(row.try_get(1)?),
        payee: WalletId::from_bytes(row.try_get(2)?),
        arbiter: row.try_get(3)?,
        currency: CurrencyId(row.try_get(4)?),
        amount: amount(5)?,
        fees: FeeAmounts { platform: amount(6)?, network: amount(7)? },
        order_ref: row.try_get(8)?,
        splits: read_splits(&row.try_get::<String>(9)?)?,
        funding: TransactionId::from_bytes(row.try_get(10)?),
        state: state.ok_or(DbError::BadRow { column: 11, expected: "a state of an escrow" })?,
        dispute: row.try_get(12)?,
        auto_release_at: row.try_get(13)?,
        created_at: row.try_get(14)?,
        ended_at: row.try_get(15)?,
    })
}

/// One line a share: how many units, and who.
fn splits_text(splits: &[(String, Amount)]) -> String {
    let lines: Vec<String> =
        splits.iter().map(|(recipient, amount)| format!("{} {recipient}", amount.units())).collect();
    lines.join("\n")
}

fn read_splits(text: &str) -> Result<Vec<(String, Amount)>, DbError> {
    let read = |line: &str| {
        let (units, recipient) = line.split_once(' ')?;
        Some((recipient.to_owned(), Amount::from_units(units.parse().ok()?)))
    };
    let splits: Option<Vec<_>> = text.lines().map(read).collect();
    splits.ok_or(DbError::BadRow { column: 9, expected: "shares of an escrow" })
}

fn part(row: &Row) -> Result<PartRow, DbError> {
    Ok(PartRow {
        escrow: EscrowId::from_bytes(row.try_get(0)?),
        place: row.try_get(1)?,
        recipient: row.try_get(2)?,
        amount: row.try_get(3).map(Amount::from_bytes)?,
        transaction: row.try_get::<Option<[u8; 16]>>(4)?.map(TransactionId::from_bytes),
    })
}
