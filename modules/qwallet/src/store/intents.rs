//! Intents: payments that were decided and perhaps not yet signed.

use q_core::{Amount, AmountText, Did, Timestamp};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{IntentId, RequestId, TransactionId, WalletId};

use crate::domain::{books::HoldEnd, currency::CurrencyId, fees::FeeAmounts};

/// Where an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentStatus {
    /// Waits for a signature.
    Pending,
    /// Signed; its amount is held.
    Signed,
    /// Paid.
    Settled,
    /// Cancelled by the payer.
    Cancelled,
    /// Lapsed.
    Expired,
}

impl IntentStatus {
    const ALL: [Self; 5] = [Self::Pending, Self::Signed, Self::Settled, Self::Cancelled, Self::Expired];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Signed => 1,
            Self::Settled => 2,
            Self::Cancelled => 3,
            Self::Expired => 4,
        }
    }

    /// The status with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The status with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Signed => "SIGNED",
            Self::Settled => "SETTLED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// A row of `intents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRow {
    /// Its id.
    pub id: IntentId,
    /// The paying wallet.
    pub wallet: WalletId,
    /// Its owner.
    pub payer: Did,
    /// The recipient as it was named, which is what is signed.
    pub recipient: String,
    /// The recipient's wallet.
    pub recipient_wallet: WalletId,
    /// What the recipient is to get, as it was written.
    pub amount: AmountText,
    /// The currency.
    pub currency: CurrencyId,
    /// What it costs on top.
    pub fees: FeeAmounts,
    /// What it is for, sealed.
    pub purpose: Option<Vec<u8>>,
    /// The nonce of its signing input.
    pub nonce: String,
    /// Where it is.
    pub status: IntentStatus,
    /// The transaction, once signed.
    pub transaction: Option<TransactionId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// For how many seconds the money is held for the payee; nothing where the payer pays it.
    pub hold_for: Option<u32>,
    /// The request for money that it fulfils when it is paid.
    pub request: Option<RequestId>,
}

impl IntentRow {
    /// Whether the payee takes the money.
    pub const fn is_manual(&self) -> bool {
        self.hold_for.is_some()
    }
}

const COLUMNS: &str = "id, wallet, payer, recipient, recipient_wallet, amount, currency, platform_fee, network_fee, \
     purpose, nonce, status, transaction_id, created_at, expires_at, hold_seconds, request";

fn intent(row: &Row) -> Result<IntentRow, DbError> {
    let status = IntentStatus::from_code(row.try_get(11)?);
    Ok(IntentRow {
        id: IntentId::from_bytes(row.try_get(0)?),
        wallet: WalletId::from_bytes(row.try_get(1)?),
        payer: row.try_get(2)?,
        recipient: row.try_get(3)?,
        recipient_wallet: WalletId::from_bytes(row.try_get(4)?),
        amount: AmountText::Text(row.try_get(5)?),
        currency: CurrencyId(row.try_get(6)?),
        fees: FeeAmounts {
            platform: Amount::from_bytes(row.try_get(7)?),
            network: Amount::from_bytes(row.try_get(8)?),
        },
        purpose: row.try_get(9)?,
        nonce: row.try_get(10)?,
        status: status.ok_or(DbError::BadRow { column: 11, expected: "a status of an intent" })?,
        transaction: row.try_get::<Option<[u8; 16]>>(12)?.map(TransactionId::from_bytes),
        created_at: row.try_get(13)?,
        expires_at: row.try_get(14)?,
        hold_for: match row.try_get::<Option<i64>>(15)? {
            Some(seconds) => Some(
                u32::try_from(seconds).map_err(|_| DbError::BadRow { column: 15, expected: "seconds" })?,
            ),
            None => None,
        },
        request: row.try_get::<Option<[u8; 16]>>(16)?.map(RequestId::from_bytes),
    })
}

/// Adds an intent.
pub fn insert(tx: &mut Tx<'_>, intent: &IntentRow) -> Result<(), DbError> {
    let row = params![
        intent.id.bytes(),
        intent.wallet.bytes(),
        &intent.payer,
        &intent.recipient,
        intent.recipient_wallet.bytes(),
        intent.amount.as_str(),
        intent.currency.0,
        intent.fees.platform.to_bytes(),
        intent.fees.network.to_bytes(),
        intent.purpose.as_deref(),
        &intent.nonce,
        intent.status.code(),
        intent.transaction.map(TransactionId::bytes),
        intent.created_at,
        intent.expires_at,
        intent.hold_for.map(i64::from),
        intent.request.map(RequestId::bytes),
    ];
    let sql = format!(
        "INSERT INTO intents ({COLUMNS}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    );
    tx.execute(&sql, row)?;
    Ok(())
}

/// The intent, if it exists.
pub fn find(reader: &mut Reader<'_>, id: IntentId) -> Result<Option<IntentRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM intents WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(intent).transpose()
}

/// The intents of which a condition holds.
pub(super) fn select(
    reader: &mut Reader<'_>,
    condition: &str,
    values: &[Value],
) -> Result<Vec<IntentRow>, DbError> {
    let rows = reader.query(&format!("SELECT {COLUMNS} FROM intents WHERE {condition}"), values)?;
    rows.iter().map(intent).collect()
}

/// Where an intent is, locked against other writers until the commit.
pub fn lock_status(tx: &mut Tx<'_>, id: IntentId) -> Result<Option<IntentStatus>, DbError> {
    let rows = tx.query_for_update("SELECT status FROM intents WHERE id = $1", params![id.bytes()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let status = IntentStatus::from_code(row.try_get(0)?);
    Ok(Some(status.ok_or(DbError::BadRow { column: 0, expected: "a status of an intent" })?))
}

/// The intents of a payer made before `before`, newest first.
pub fn list(
    reader: &mut Reader<'_>,
    wallet: WalletId,
    status: Option<IntentStatus>,
    before: IntentId,
    count: u32,
) -> Result<Vec<IntentRow>, DbError> {
    let status = status.map_or(-1, IntentStatus::code);
    let sql = format!(
        "SELECT {COLUMNS} FROM intents WHERE wallet = $1 AND id < $2 AND (CAST($3 AS BIGINT) = -1 OR status = $3) \
         ORDER BY id DESC LIMIT $4"
    );
    let rows = reader.query(&sql, params![wallet.bytes(), before.bytes(), status, count])?;
    rows.iter().map(intent).collect()
}

/// The intents made before `before` whose money a wallet takes or took itself, newest first.
pub fn list_held(
    reader: &mut Reader<'_>,
    recipient: WalletId,
    status: Option<IntentStatus>,
    before: IntentId,
    count: u32,
) -> Result<Vec<IntentRow>, DbError> {
    let status = status.map_or(-1, IntentStatus::code);
    // What nobody signed is the payer's own affair.
    let sql = format!(
        "SELECT {COLUMNS} FROM intents WHERE recipient_wallet = $1 AND hold_seconds IS NOT NULL AND id < $2 \
         AND transaction_id IS NOT NULL AND (CAST($3 AS BIGINT) = -1 OR status = $3) ORDER BY id DESC LIMIT $4"
    );
    let rows = reader.query(&sql, params![recipient.bytes(), before.bytes(), status, count])?;
    rows.iter().map(intent).collect()
}

/// The intents with these ids, in no particular order.
pub fn find_all(reader: &mut Reader<'_>, ids: &[IntentId]) -> Result<Vec<IntentRow>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| id.bytes().into()).collect();
    let rows = super::in_lists(&keys, |places, keys| {
        reader.query(&format!("SELECT {COLUMNS} FROM intents WHERE id IN ({places})"), keys)
    })?;
    rows.iter().map(intent).collect()
}

/// What the holds say about the transaction of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing was held for the intent.
    Never,
    /// Money is held.
    Open,
    /// Money was held.
    Ended(HoldEnd),
}

/// Calls `each` with every intent and what the holds say about it.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(IntentId, Result<(IntentRow, Held), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let columns: Vec<String> = COLUMNS.split(", ").map(|column| format!("intents.{column}")).collect();
    let sql = format!(
        "SELECT {}, holds.intent, holds.end_kind FROM intents LEFT JOIN holds \
         ON holds.transaction_id = intents.transaction_id AND holds.intent = intents.id ORDER BY intents.id",
        columns.join(", ")
    );
    reader.for_each(&sql, params![], |row| {
        let id = IntentId::from_bytes(row.try_get(0)?);
        each(id, intent(&row).and_then(|intent| Ok((intent, held(&row)?))))
    })
}

/// The transactions of holds that name an intent which is not theirs or not there, at most a thousand.
pub fn missing(reader: &mut Reader<'_>) -> Result<Vec<TransactionId>, DbError> {
    let sql = "SELECT holds.transaction_id FROM holds LEFT JOIN intents \
               ON intents.id = holds.intent AND intents.transaction_id = holds.transaction_id \
               WHERE holds.intent <> $1 AND intents.id IS NULL LIMIT 1000";
    // A hold of a record of its own names none.
    let rows = reader.query(sql, params![[0u8; 16]])?;
    rows.iter().map(|row| Ok(TransactionId::from_bytes(row.try_get(0)?))).collect()
}

/// The paid intents whose requests say that nobody paid them, at most a thousand.
pub fn unfulfilled(reader: &mut Reader<'_>) -> Result<Vec<IntentId>, DbError> {
    let sql = "SELECT intents.id FROM intents LEFT JOIN money_requests ON money_requests.id = intents.request \
               WHERE intents.request IS NOT NULL AND intents.status = $1 \
               AND (money_requests.payments IS NULL OR money_requests.payments = 0) LIMIT 1000";
    let rows = reader.query(sql, params![IntentStatus::Settled.code()])?;
    rows.iter().map(|row| Ok(IntentId::from_bytes(row.try_get(0)?))).collect()
}

fn held(row: &Row) -> Result<Held, DbError> {
    if row.try_get::<Option<Vec<u8>>>(17)?.is_none() {
        return Ok(Held::Never);
    }
    Ok(super::holds::read_end(row, 18)?.map_or(Held::Open, Held::Ended))
}

/// Changes where an intent is, if it is still `from`; answers whether it was.
pub fn advance(
    tx: &mut Tx<'_>,
    id: IntentId,
    from: IntentStatus,
    to: IntentStatus,
    transaction: Option<TransactionId>,
) -> Result<bool, DbError> {
    let row = params![to.code(), transaction.map(TransactionId::bytes), id.bytes(), from.code()];
    let sql = "UPDATE intents SET status = $1, transaction_id = COALESCE($2, transaction_id) \
               WHERE id = $3 AND status = $4";
    Ok(tx.execute(sql, row)? == 1)
}

/// Lets pending intents lapse whose time is over, at most `count`; answers how many. The time in which the module was
/// paused is not counted. For `write_locked`: intents are locked in the order in which everybody locks them.
pub fn expire(tx: &mut Tx<'_>, now: Timestamp, count: u32) -> Result<u64, DbError> {
    const KEYS: [Column; 1] = [Column::bytes("id")];
    const SETS: [Column; 1] = [Column::integer("status")];
    let sql = "SELECT id, created_at, expires_at FROM intents WHERE status = 0 AND expires_at <= $1 \
               ORDER BY id LIMIT $2";
    let mut lapsed: Vec<[Value; 2]> = Vec::new();
    for row in tx.query_for_update(sql, params![now, count])? {
        let (id, created_at, expires_at): ([u8; 16], Timestamp, Timestamp) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if expires_at + tx.paused_between(created_at, now)? <= now {
            lapsed.push([id.into(), IntentStatus::Expired.code().into()]);
        }
    }
    tx.update_many("intents", &KEYS, &SETS, &lapsed)
}
