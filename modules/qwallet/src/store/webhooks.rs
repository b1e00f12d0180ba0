//! Webhooks and what is on its way to them.

use q_core::Timestamp;
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{DeliveryId, WalletId, WebhookId};

use crate::domain::webhooks::{Patterns, Progress, Scheme, Status};

/// A row of `webhooks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: WebhookId,
    /// The wallet whose events it is told.
    pub wallet: WalletId,
    /// That wallet's reference.
    pub reference: String,
    /// Where to, sealed.
    pub url: Vec<u8>,
    /// Which events.
    pub event_types: Patterns,
    /// How deliveries are signed.
    pub scheme: Scheme,
    /// The key, sealed.
    pub secret: Vec<u8>,
    /// The key before, sealed, and until when it is used beside.
    pub old_secret: Option<(Vec<u8>, Timestamp)>,
    /// Whether it is told.
    pub status: Status,
    /// The outbox position after which it is told.
    pub after_position: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A row of `deliveries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The event's id.
    pub event_id: String,
    /// Its topic.
    pub event_type: String,
    /// What is sent.
    pub body: String,
    /// Where it is.
    pub progress: Progress,
    /// How many attempts there were.
    pub attempts: u32,
    /// When the next one is due.
    pub next_at: Timestamp,
    /// When the last one was.
    pub attempted_at: Option<Timestamp>,
    /// What the receiver answered last.
    pub response_status: Option<u16>,
    /// Why the last one failed.
    pub error: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// The claim under which it was made.
    pub claimed_until: Timestamp,
    /// When.
    pub at: Timestamp,
    /// Where the delivery is now.
    pub progress: Progress,
    /// How many attempts there were.
    pub attempts: u32,
    /// When the next one is due.
    pub next_at: Timestamp,
    /// What the receiver answered.
    pub response_status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

const WEBHOOK_COLUMNS: &str = "id, wallet, reference, url, event_types, scheme, secret, old_secret, \
     old_secret_until, status, after_position, created_at";

const DELIVERY_COLUMNS: &str = "id, webhook, event_id, event_type, body, status, attempts, next_at, attempted_at, \
     response_status, error, created_at";

const fn bad(column: usize, expected: &'static str) -> DbError {
    DbError::BadRow { column, expected }
}

fn webhook(row: &Row) -> Result<WebhookRow, DbError> {
    Ok(WebhookRow {
        id: WebhookId::from_bytes(row.try_get(0)?),
        wallet: WalletId::from_bytes(row.try_get(1)?),
        reference: row.try_get(2)?,
        url: row.try_get(3)?,
        event_types: Patterns::from_text(&row.try_get::<String>(4)?),
        scheme: Scheme::from_code(row.try_get(5)?).ok_or(bad(5, "a scheme"))?,
        secret: row.try_get(6)?,
        old_secret: row.try_get::<Option<Vec<u8>>>(7)?.zip(row.try_get(8)?),
        status: Status::from_code(row.try_get(9)?).ok_or(bad(9, "a status of a webhook"))?,
        after_position: row.try_get(10)?,
        created_at: row.try_get(11)?,
    })
}

fn delivery(row: &Row) -> Result<DeliveryRow, DbError> {
    Ok(DeliveryRow {
        id: DeliveryId::from_bytes(row.try_get(0)?),
        webhook: WebhookId::from_bytes(row.try_get(1)?),
        event_id: row.try_get(2)?,
        event_type: row.try_get(3)?,
        body: row.try_get(4)?,
        progress: Progress::from_code(row.try_get(5)?).ok_or(bad(5, "the progress of a delivery"))?,
        attempts: u32::try_from(row.try_get::<i64>(6)?).map_err(|_| bad(6, "a number of attempts"))?,
        next_at: row.try_get(7)?,
        attempted_at: row.try_get(8)?,
        response_status: row
            .try_get::<Option<i64>>(9)?
            .map(|status| u16::try_from(status).map_err(|_| bad(9, "a status of an answer")))
            .transpose()?,
        error: row.try_get(10)?,
        created_at: row.try_get(11)?,
    })
}

/// Adds a webhook.
pub fn insert(tx: &mut Tx<'_>, row: &WebhookRow) -> Result<(), DbError> {
    let (old, until) = row.old_secret.clone().unzip();
    let values = params![
        row.id.bytes(),
        row.wallet.bytes(),
        &row.reference,
        row.url.as_slice(),
        row.event_types.text(),
        row.scheme.code(),
        row.secret.as_slice(),
        old,
        until,
        row.status.code(),
        row.after_position,
        row.created_at,
    ];
    let sql = format!(
        "INSERT INTO webhooks ({WEBHOOK_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    );
    tx.execute(&sql, values)?;
    Ok(())
}

/// Writes what may change of a webhook.
pub fn update(tx: &mut Tx<'_>, row: &WebhookRow) -> Result<(), DbError> {
    let (old, until) = row.old_secret.clone().unzip();
    let values = params![
        row.url.as_slice(),
        row.event_types.text(),
        row.secret.as_slice(),
        old,
        until,
        row.status.code(),
        row.after_position,
        row.id.bytes(),
    ];
    let sql = "UPDATE webhooks SET url = $1, event_types = $2, secret = $3, old_secret = $4, old_secret_until = $5, \
               status = $6, after_position = $7 WHERE id = $8";
    tx.execute(sql, values)?;
    Ok(())
}

/// Removes a webhook and everything that was and is to be sent to it.
pub fn delete(tx: &mut Tx<'_>, id: WebhookId) -> Result<(), DbError> {
    tx.execute("DELETE FROM deliveries WHERE webhook = $1", params![id.bytes()])?;
    tx.execute("DELETE FROM webhooks WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

/// The webhook, if it exists.
pub fn find(reader: &mut Reader<'_>, id: WebhookId) -> Result<Option<WebhookRow>, DbError> {
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(webhook).transpose()
}

/// The webhooks of a wallet, oldest first.
pub fn of_wallet(reader: &mut Reader<'_>, wallet: WalletId) -> Result<Vec<WebhookRow>, DbError> {
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE wallet = $1 ORDER BY id");
    reader.query(&sql, params![wallet.bytes()])?.iter().map(webhook).collect()
}

/// Those that are told.
pub fn active(reader: &mut Reader<'_>) -> Result<Vec<WebhookRow>, DbError> {
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE status = 0 ORDER BY id");
    reader.query(&sql, params![])?.iter().map(webhook).collect()
}

/// The earliest position after which any is told; none when none is.
pub fn first_position(reader: &mut Reader<'_>) -> Result<Option<i64>, DbError> {
    let sql = "SELECT MIN(after_position) FROM webhooks WHERE status = 0";
    reader.query_one(sql, params![])?.try_get(0)
}

/// Queues deliveries.
pub fn insert_deliveries(tx: &mut Tx<'_>, rows: &[DeliveryRow]) -> Result<(), DbError> {
    const COLUMNS: [Column; 10] = [
        Column::bytes("id"),
        Column::bytes("webhook"),
        Column::text("event_id"),
        Column::text("event_type"),
        Column::text("body"),
        Column::integer("status"),
        Column::integer("attempts"),
        Column::integer("next_at"),
        Column::integer("created_at"),
        Column::integer("claimed_until"),
    ];
    let rows: Vec<[Value; 10]> = rows
        .iter()
        .map(|row| {
            [
                row.id.bytes().into(),
                row.webhook.bytes().into(),
                row.event_id.as_str().into(),
                row.event_type.as_str().into(),
                row.body.as_str().into(),
                row.progress.code().into(),
                i64::from(row.attempts).into(),
                row.next_at.into(),
                row.created_at.into(),
                0_i64.into(),
            ]
        })
        .collect();
    tx.insert_many("deliveries", &COLUMNS, &rows)?;
    Ok(())
}

/// The webhooks that are told and have deliveries due that nobody has in hand.
pub fn with_due(reader: &mut Reader<'_>, now: Timestamp) -> Result<Vec<WebhookId>, DbError> {
    let sql = "SELECT id FROM webhooks WHERE status = 0 AND EXISTS (SELECT 1 FROM deliveries \
               WHERE deliveries.webhook = webhooks.id AND deliveries.status = 0 AND deliveries.next_at <= $1 \
               AND deliveries.claimed_until <= $1)";
    let rows = reader.query(sql, params![now])?;
    rows.iter().map(|row| Ok(WebhookId::from_bytes(row.try_get(0)?))).collect()
}

/// The instant since which the oldest delivery that is due has been due.
pub fn due_since(reader: &mut Reader<'_>, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT MIN(deliveries.next_at) FROM deliveries JOIN webhooks ON webhooks.id = deliveries.webhook \
               WHERE deliveries.status = 0 AND webhooks.status = 0 AND deliveries.next_at <= $1";
    reader.query_one(sql, params![now])?.try_get(0)
}

/// Takes deliveries of a webhook that are due in hand, oldest first, so that no other process sends them meanwhile. For
/// `write_locked`.
pub fn claim(
    tx: &mut Tx<'_>,
    webhook: WebhookId,
    now: Timestamp,
    until: Timestamp,
    count: u32,
) -> Result<Vec<DeliveryRow>, DbError> {
    const KEYS: [Column; 1] = [Column::bytes("id")];
    const SETS: [Column; 1] = [Column::integer("claimed_until")];
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE webhook = $1 AND status = 0 AND next_at <= $2 \
         AND claimed_until <= $2 ORDER BY id LIMIT $3"
    );
    let rows = tx.query_for_update(&sql, params![webhook.bytes(), now, count])?;
    let rows = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
    let claims: Vec<[Value; 2]> = rows.iter().map(|row| [row.id.bytes().into(), until.into()]).collect();
    tx.update_many("deliveries", &KEYS, &SETS, &claims)?;
    Ok(rows)
}

/// Gives a delivery back that was in hand and not attempted.
pub fn release(tx: &mut Tx<'_>, id: DeliveryId, claimed_until: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE deliveries SET claimed_until = 0 WHERE id = $1 AND claimed_until = $2 AND status = 0";
    tx.execute(sql, params![id.bytes(), claimed_until])?;
    Ok(())
}

/// Gives everything back that is in hand.
pub fn release_all(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    tx.execute("UPDATE deliveries SET claimed_until = 0 WHERE status = 0 AND claimed_until > 0", params![])
}

/// Records what became of an attempt; `false` when the delivery is no longer in this hand.
pub fn record(tx: &mut Tx<'_>, outcome: &Outcome) -> Result<bool, DbError> {
    let values = params![
        outcome.progress.code(),
        i64::from(outcome.attempts),
        outcome.next_at,
        outcome.at,
        outcome.response_status.map(i64::from),
        outcome.error.as_deref(),
        outcome.delivery.bytes(),
        outcome.claimed_until,
    ];
    let sql = "UPDATE deliveries SET status = $1, attempts = $2, next_at = $3, attempted_at = $4, \
               response_status = $5, error = $6, claimed_until = 0 \
               WHERE id = $7 AND claimed_until = $8 AND status = 0";
    Ok(tx.execute(sql, values)? == 1)
}

/// Gives up what waits for a webhook.
pub fn give_up(tx: &mut Tx<'_>, webhook: WebhookId, why: &str) -> Result<u64, DbError> {
    let sql =
        "UPDATE deliveries SET status = 2, error = $1, claimed_until = 0 WHERE webhook = $2 AND status = 0";
    tx.execute(sql, params![why, webhook.bytes()])
}

/// Queues a delivery anew, at once and with all its attempts before it.
pub fn requeue(tx: &mut Tx<'_>, id: DeliveryId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE deliveries SET status = 0, attempts = 0, next_at = $1, claimed_until = 0 WHERE id = $2";
    tx.execute(sql, params![now, id.bytes()])?;
    Ok(())
}

/// The delivery, if it exists.
pub fn find_delivery(reader: &mut Reader<'_>, id: DeliveryId) -> Result<Option<DeliveryRow>, DbError> {
    let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(delivery).transpose()
}

/// The deliveries of a webhook before `before`, newest first.
pub fn deliveries(
    reader: &mut Reader<'_>,
    webhook: WebhookId,
    progress: Option<Progress>,
    before: DeliveryId,
    count: u32,
) -> Result<Vec<DeliveryRow>, DbError> {
    let progress = progress.map_or(-1, Progress::code);
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE webhook = $1 AND id < $2 \
         AND (CAST($3 AS BIGINT) = -1 OR status = $3) ORDER BY id DESC LIMIT $4"
    );
    let rows = reader.query(&sql, params![webhook.bytes(), before.bytes(), progress, count])?;
    rows.iter().map(delivery).collect()
}

/// Forgets deliveries queued before `before` that wait for nothing, at most `count`; answers how many.
pub fn forget(tx: &mut Tx<'_>, before: Timestamp, count: u32) -> Result<u64, DbError> {
    let sql = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE created_at < $1 AND status <> 0 \
               ORDER BY created_at LIMIT $2)";
    tx.execute(sql, params![before, count])
}

/// Calls `each` with every webhook.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(WebhookId, Result<WebhookRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {WEBHOOK_COLUMNS} FROM webhooks ORDER BY id");
    reader.for_each(&sql, params![], |row| each(WebhookId::from_bytes(row.try_get(0)?), webhook(&row)))
}

/// Calls `each` with every delivery and whether its webhook exists.
pub fn for_each_delivery(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(DeliveryId, Result<DeliveryRow, DbError>, Option<Status>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let columns: Vec<String> =
        DELIVERY_COLUMNS.split(", ").map(|column| format!("deliveries.{column}")).collect();
    let sql = format!(
        "SELECT {}, webhooks.status FROM deliveries LEFT JOIN webhooks ON webhooks.id = deliveries.webhook \
         ORDER BY deliveries.id",
        columns.join(", ")
    );
    reader.for_each(&sql, params![], |row| {
        let status = row.try_get::<Option<i64>>(12)?.and_then(Status::from_code);
        each(DeliveryId::from_bytes(row.try_get(0)?), delivery(&row), status)
    })
}
