//! What subscribers are told, and to whom it has still to be said.

use q_core::{Span, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_ops_api::status::{SubscriberId, SubscriberKind, Topic};
use serde_json::Value;

use crate::words;

q_core::typed_id!(
    /// Something that is said to every subscriber.
    NoticeId,
    "ntc_"
);

/// How long an attempt may take before another one may begin.
const LEASE: Span = Span::seconds(120);

/// Somebody who is told, as kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// The id.
    pub id: SubscriberId,
    /// How they are told.
    pub kind: SubscriberKind,
    /// What they are told.
    pub topic: Topic,
    /// The address, sealed.
    pub sealed: Vec<u8>,
    /// What may be shown of it.
    pub hint: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Something to be said to somebody.
#[derive(Clone)]
pub struct Delivery {
    /// What.
    pub notice: NoticeId,
    /// One line.
    pub subject: String,
    /// The facts.
    pub body: Value,
    /// When it was said first.
    pub at: Timestamp,
    /// To whom.
    pub to: Kept,
    /// How often it failed.
    pub attempts: i64,
}

/// Says something about the state to every subscriber, unless something was said under this `key` before. `true` when
/// it is new.
pub fn say(tx: &mut Tx<'_>, key: &str, subject: &str, body: &Value) -> Result<bool, DbError> {
    say_about(tx, Topic::Status, key, subject, body)
}

/// Like [`say`], to those who want to hear of `topic`.
pub fn say_about(
    tx: &mut Tx<'_>,
    topic: Topic,
    key: &str,
    subject: &str,
    body: &Value,
) -> Result<bool, DbError> {
    let id = NoticeId::new(tx.env());
    let added = tx.execute(
        "INSERT INTO notices (id, key, subject, body, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        params![id.to_string(), key, subject, words::json(body), tx.now()],
    )?;
    if added == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO deliveries (notice, subscriber, attempts, next_at) SELECT $1, id, 0, $2 FROM subscribers \
         WHERE topic = $3",
        params![id.to_string(), tx.now(), words::word(topic)],
    )?;
    Ok(true)
}

/// Takes what is due, oldest first, so that nobody else says it meanwhile.
pub fn take_due(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<Delivery>, DbError> {
    let sql = format!(
        "SELECT n.id, n.subject, n.body, n.at, s.id, s.kind, s.topic, s.address, s.hint, s.created_at, d.attempts \
         FROM deliveries d JOIN notices n ON n.id = d.notice JOIN subscribers s ON s.id = d.subscriber \
         WHERE d.next_at <= $1 ORDER BY n.at, n.id, s.id LIMIT {limit}"
    );
    let now = tx.now();
    let due: Vec<Delivery> = tx.query(&sql, params![now])?.iter().map(delivery).collect::<Result<_, _>>()?;
    let again_at = now + LEASE;
    for delivery in &due {
        tx.execute(
            "UPDATE deliveries SET next_at = $3 WHERE notice = $1 AND subscriber = $2",
            params![delivery.notice.to_string(), delivery.to.id.to_string(), again_at],
        )?;
    }
    Ok(due)
}

/// It was said.
pub fn said(tx: &mut Tx<'_>, notice: NoticeId, to: SubscriberId) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM deliveries WHERE notice = $1 AND subscriber = $2",
        params![notice.to_string(), to.to_string()],
    )?;
    Ok(())
}

/// It could not be said for the `attempts`th time: later again, or given up.
pub fn failed(
    tx: &mut Tx<'_>,
    notice: NoticeId,
    to: SubscriberId,
    attempts: i64,
    is_final: bool,
) -> Result<(), DbError> {
    let pause = u32::try_from(attempts).ok().filter(|_| !is_final).and_then(q_notify::pause);
    let next_at = pause.map(|pause| tx.now() + pause);
    tx.execute(
        "UPDATE deliveries SET attempts = $3, next_at = $4 WHERE notice = $1 AND subscriber = $2",
        params![notice.to_string(), to.to_string(), attempts, next_at],
    )?;
    Ok(())
}

/// Whether something is due at `now`.
pub fn has_due(now: Timestamp) -> impl FnOnce(&mut Reader<'_>) -> Result<bool, DbError> + Send + 'static {
    move |reader| {
        let sql = "SELECT attempts FROM deliveries WHERE next_at <= $1 LIMIT 1";
        Ok(reader.query_opt(sql, params![now])?.is_some())
    }
}

/// Adds somebody; `false` when the address is there already.
pub fn insert(tx: &mut Tx<'_>, subscriber: &Kept, digest: &str) -> Result<bool, DbError> {
    let added = tx.execute(
        "INSERT INTO subscribers (id, kind, topic, address, digest, hint, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT DO NOTHING",
        params![
            subscriber.id.to_string(),
            words::word(subscriber.kind),
            words::word(subscriber.topic),
            &subscriber.sealed,
            digest,
            &subscriber.hint,
            subscriber.created_at,
        ],
    )?;
    Ok(added == 1)
}

/// Removes somebody and what waits for them; `false` when they are not there.
pub fn delete(tx: &mut Tx<'_>, id: SubscriberId) -> Result<bool, DbError> {
    tx.execute("DELETE FROM deliveries WHERE subscriber = $1", params![id.to_string()])?;
    Ok(tx.execute("DELETE FROM subscribers WHERE id = $1", params![id.to_string()])? == 1)
}

/// Everybody, with how much waits for them and how much was given up.
pub fn subscribers(reader: &mut Reader<'_>) -> Result<Vec<(Kept, i64, i64)>, DbError> {
    let rows = reader.query(
        "SELECT s.id, s.kind, s.topic, s.address, s.hint, s.created_at, \
         (SELECT COUNT(*) FROM deliveries d WHERE d.subscriber = s.id AND d.next_at IS NOT NULL), \
         (SELECT COUNT(*) FROM deliveries d WHERE d.subscriber = s.id AND d.next_at IS NULL) \
         FROM subscribers s ORDER BY s.created_at, s.id",
        &[],
    )?;
    rows.iter().map(|row| Ok((kept(row, 0)?, row.try_get(6)?, row.try_get(7)?))).collect()
}

fn kept(row: &Row, first: usize) -> Result<Kept, DbError> {
    Ok(Kept {
        id: row.parse(first)?,
        kind: words::of_word(row.try_get(first + 1)?)?,
        topic: words::of_word(row.try_get(first + 2)?)?,
        sealed: row.try_get(first + 3)?,
        hint: row.try_get(first + 4)?,
        created_at: row.try_get(first + 5)?,
    })
}

fn delivery(row: &Row) -> Result<Delivery, DbError> {
    Ok(Delivery {
        notice: row.parse(0)?,
        subject: row.try_get(1)?,
        body: words::of_json(&row.try_get::<String>(2)?)?,
        at: row.try_get(3)?,
        to: kept(row, 4)?,
        attempts: row.try_get(10)?,
    })
}
