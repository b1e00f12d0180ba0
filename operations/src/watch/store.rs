//! What the watch keeps: counts, standings, alerts, pages, what is told, whose turn it is.

use std::collections::BTreeMap;

use q_core::{Span, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_notify::Message;
use q_ops_api::watch::{Alert, AlertId, PageEntry, PageId, PageView, Telling};
use q_slo::{Book, Bucket, Counts, Ladder, Totals};
use serde::{Deserialize, Serialize};

use super::domain::{Board, Key, OpenPage, Standing};
use crate::words;

/// The rows of one page of a list.
pub(super) const PAGE_ROWS: usize = 50;

/// Takes the turn to watch, or keeps it, for `ttl`. `false` when another process has it.
pub(super) fn take_turn(tx: &mut Tx<'_>, holder: &str, ttl: Span) -> Result<bool, DbError> {
    let now = tx.now();
    let taken = tx.execute(
        "INSERT INTO watch_lease (name, holder, until) VALUES ('watch', $1, $2) ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, until = excluded.until \
         WHERE watch_lease.holder = excluded.holder OR watch_lease.until <= $3",
        params![holder, now + ttl, now],
    )?;
    Ok(taken == 1)
}

/// Whether it is still the turn of `holder`; if so, it stays for `ttl`.
pub(super) fn keep_turn(tx: &mut Tx<'_>, holder: &str, ttl: Span) -> Result<bool, DbError> {
    let until = tx.now() + ttl;
    let kept = tx.execute(
        "UPDATE watch_lease SET until = $2 WHERE name = 'watch' AND holder = $1",
        params![holder, until],
    )?;
    Ok(kept == 1)
}

/// Lets another process watch at once.
pub(super) fn give_turn(tx: &mut Tx<'_>, holder: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM watch_lease WHERE name = 'watch' AND holder = $1", params![holder])?;
    Ok(())
}

/// Reads everything counted into `book`.
pub(super) fn load_book(reader: &mut Reader<'_>, book: &mut Book) -> Result<(), DbError> {
    let mut series: BTreeMap<q_slo::Key, Vec<Bucket>> = BTreeMap::new();
    reader.for_each::<DbError>(
        "SELECT module, class, sli, start_at, width, good, total FROM slo_buckets",
        &[],
        |row| {
            let sli = row.try_get::<String>(2)?.parse();
            let sli = sli.map_err(|()| DbError::BadRow { column: 2, expected: "a promise" })?;
            let bucket = Bucket {
                start: row.try_get(3)?,
                width: span(row.try_get(4)?),
                counts: Counts { good: row.try_get(5)?, total: row.try_get(6)? },
            };
            series.entry((row.try_get(0)?, row.try_get(1)?, sli)).or_default().push(bucket);
            Ok(())
        },
    )?;
    for (key, buckets) in series {
        book.restore(key, buckets);
    }
    for row in reader.query("SELECT module, replica, at, totals FROM slo_seen", &[])? {
        let totals: Totals = words::of_json(&row.try_get::<String>(3)?)?;
        book.restore_seen(&row.try_get::<String>(0)?, &row.try_get::<String>(1)?, row.try_get(2)?, totals);
    }
    Ok(())
}

fn span(micros: i64) -> Span {
    Timestamp::from_micros(micros).since(Timestamp::default())
}

/// What is to be written of a book.
#[derive(Debug, Clone, Default)]
pub(super) struct BookChanges {
    pub buckets: Vec<q_slo::Change>,
    pub seen: Vec<(String, String, Timestamp, String)>,
}

impl BookChanges {
    /// Everything of `book` that changed since it was kept.
    pub(super) fn of(book: &Book) -> Self {
        let seen = book.seen().map(|(module, replica, at, totals)| {
            (module.to_owned(), replica.to_owned(), at, words::json(totals))
        });
        Self { buckets: book.changes(), seen: seen.collect() }
    }

    pub(super) fn keep(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        for change in &self.buckets {
            let (module, class, sli) = &change.key;
            match &change.bucket {
                Some(bucket) => tx.execute(
                    "INSERT INTO slo_buckets (module, class, sli, start_at, width, good, total) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (module, class, sli, start_at) DO UPDATE \
                     SET width = excluded.width, good = excluded.good, total = excluded.total",
                    params![
                        module,
                        class,
                        sli.name(),
                        bucket.start,
                        bucket.width,
                        whole(bucket.counts.good),
                        whole(bucket.counts.total),
                    ],
                )?,
                None => tx.execute(
                    "DELETE FROM slo_buckets WHERE module = $1 AND class = $2 AND sli = $3 AND start_at = $4",
                    params![module, class, sli.name(), change.start],
                )?,
            };
        }
        for (module, replica, at, totals) in &self.seen {
            tx.execute(
                "INSERT INTO slo_seen (module, replica, at, totals) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (module, replica) DO UPDATE SET at = excluded.at, totals = excluded.totals",
                params![module, replica, *at, totals],
            )?;
        }
        Ok(())
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Everything that is wrong now, and the pages that are not over.
pub(super) fn board(reader: &mut Reader<'_>) -> Result<Board, DbError> {
    let mut board = Board::default();
    for row in reader.query("SELECT rule, module, class, standing FROM standings", &[])? {
        let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        board.standings.insert(key, words::of_json(&row.try_get::<String>(3)?)?);
    }
    let sql = "SELECT id, name, ladder FROM pages WHERE resolved_at IS NULL ORDER BY opened_at, id";
    for row in reader.query(sql, &[])? {
        let ladder: Ladder = words::of_json(&row.try_get::<String>(2)?)?;
        board.pages.push(OpenPage { id: row.parse(0)?, name: row.try_get(1)?, ladder });
    }
    Ok(board)
}

/// Keeps what changed of the standings.
pub(super) fn keep_standings(tx: &mut Tx<'_>, before: &Board, after: &Board) -> Result<(), DbError> {
    for key in before.standings.keys().filter(|key| !after.standings.contains_key(*key)) {
        delete_standing(tx, key)?;
    }
    for (key, standing) in &after.standings {
        if before.standings.get(key) != Some(standing) {
            keep_standing(tx, key, standing)?;
        }
    }
    Ok(())
}

fn keep_standing(tx: &mut Tx<'_>, key: &Key, standing: &Standing) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO standings (rule, module, class, standing) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (rule, module, class) DO UPDATE SET standing = excluded.standing",
        params![&key.0, &key.1, &key.2, words::json(standing)],
    )?;
    Ok(())
}

fn delete_standing(tx: &mut Tx<'_>, key: &Key) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM standings WHERE rule = $1 AND module = $2 AND class = $3",
        params![&key.0, &key.1, &key.2],
    )?;
    Ok(())
}

/// Keeps an alert as it is now.
pub(super) fn keep_alert(tx: &mut Tx<'_>, alert: &Alert) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO alerts (id, rule, module, class, severity, page, fired_at, resolved_at, alert) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE \
         SET page = excluded.page, resolved_at = excluded.resolved_at, alert = excluded.alert",
        params![
            alert.id.to_string(),
            &alert.rule,
            &alert.module,
            &alert.class,
            &alert.severity,
            alert.page.map(|page| page.to_string()),
            alert.fired_at,
            alert.resolved_at,
            words::json(alert),
        ],
    )?;
    Ok(())
}

/// An alert.
pub(super) fn find_alert(reader: &mut Reader<'_>, id: AlertId) -> Result<Option<Alert>, DbError> {
    let row = reader.query_opt("SELECT alert FROM alerts WHERE id = $1", params![id.to_string()])?;
    row.map(|row| alert_of(&row)).transpose()
}

/// The alerts of a page, oldest first.
pub(super) fn alerts_of_page(reader: &mut Reader<'_>, page: PageId) -> Result<Vec<Alert>, DbError> {
    let sql = "SELECT alert FROM alerts WHERE page = $1 ORDER BY fired_at, id";
    reader.query(sql, params![page.to_string()])?.iter().map(alert_of).collect()
}

/// Alerts, newest first; one more than a page of them.
pub(super) fn list_alerts(
    reader: &mut Reader<'_>,
    all: bool,
    before: Option<(Timestamp, AlertId)>,
) -> Result<Vec<Alert>, DbError> {
    let (at, id) =
        before.map_or((Timestamp::from_micros(i64::MAX), String::new()), |(at, id)| (at, id.to_string()));
    let open = if all { "" } else { "AND resolved_at IS NULL" };
    let sql = format!(
        "SELECT alert FROM alerts WHERE (fired_at < $1 OR (fired_at = $1 AND id < $2)) {open} \
         ORDER BY fired_at DESC, id DESC LIMIT $3"
    );
    let limit = u32::try_from(PAGE_ROWS + 1).unwrap_or(u32::MAX);
    reader.query(&sql, params![at, id, limit])?.iter().map(alert_of).collect()
}

fn alert_of(row: &Row) -> Result<Alert, DbError> {
    words::of_json(&row.try_get::<String>(0)?)
}

/// Keeps a page as it is now.
pub(super) fn keep_page(tx: &mut Tx<'_>, page: &OpenPage) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO pages (id, name, opened_at, ladder, resolved_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET ladder = excluded.ladder, resolved_at = excluded.resolved_at",
        params![
            page.id.to_string(),
            &page.name,
            page.ladder.opened_at,
            words::json(&page.ladder),
            page.ladder.resolved_at,
        ],
    )?;
    Ok(())
}

/// Notes who took a page.
pub(super) fn note_taker(tx: &mut Tx<'_>, page: PageId, by: &str) -> Result<(), DbError> {
    tx.execute("UPDATE pages SET acknowledged_by = $2 WHERE id = $1", params![page.to_string(), by])?;
    Ok(())
}

/// Adds to what happened to a page.
pub(super) fn add_entry(
    tx: &mut Tx<'_>,
    page: PageId,
    kind: &str,
    by: &str,
    text: &str,
) -> Result<(), DbError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO page_entries (page, seq, at, kind, by_whom, text) \
         SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3, $4, $5 FROM page_entries WHERE page = $1",
        params![page.to_string(), now, kind, by, text],
    )?;
    Ok(())
}

/// What happened to a page, oldest first.
pub(super) fn entries(reader: &mut Reader<'_>, page: PageId) -> Result<Vec<PageEntry>, DbError> {
    let sql = "SELECT at, kind, by_whom, text FROM page_entries WHERE page = $1 ORDER BY seq";
    let entry = |row: &Row| {
        Ok(PageEntry {
            at: row.try_get(0)?,
            kind: row.try_get(1)?,
            by: row.try_get(2)?,
            text: row.try_get(3)?,
        })
    };
    reader.query(sql, params![page.to_string()])?.iter().map(entry).collect()
}

/// A page with everything that happened to it.
pub(super) fn page_view(reader: &mut Reader<'_>, id: PageId) -> Result<Option<PageView>, DbError> {
    let sql = "SELECT name, opened_at, ladder, acknowledged_by, resolved_at FROM pages WHERE id = $1";
    let Some(row) = reader.query_opt(sql, params![id.to_string()])? else { return Ok(None) };
    let ladder: Ladder = words::of_json(&row.try_get::<String>(2)?)?;
    Ok(Some(PageView {
        id,
        name: row.try_get(0)?,
        opened_at: row.try_get(1)?,
        level: ladder.rung,
        acknowledged_by: row.try_get(3)?,
        acknowledged_at: ladder.acknowledged_at,
        resolved_at: row.try_get(4)?,
        entries: entries(reader, id)?,
        tellings: tellings(reader, id)?,
    }))
}

/// Something that is to be told, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    /// Who is told, in words.
    pub rung: String,
    /// What is said.
    pub message: MessageText,
    /// What level 1 is to do, by module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recover: BTreeMap<String, Vec<String>>,
}

/// A message without its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageText {
    pub kind: String,
    pub subject: String,
    pub text: String,
    pub data: serde_json::Value,
}

/// Notes that something is to be told. The same step of the same page is told once per channel: a second order for it
/// changes nothing.
pub(super) fn order(
    tx: &mut Tx<'_>,
    page: PageId,
    step: &str,
    channel: &str,
    order: &Order,
) -> Result<(), DbError> {
    let id = q_core::hash::hex(&tx.env().random::<16>());
    let now = tx.now();
    tx.execute(
        "INSERT INTO tellings (id, page, step, channel, message, created_at, attempts, next_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, $6) ON CONFLICT (page, step, channel) DO NOTHING",
        params![format!("msg_{id}"), page.to_string(), step, channel, words::json(order), now],
    )?;
    Ok(())
}

/// Something to tell now.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub id: String,
    pub page: PageId,
    pub channel: String,
    pub order: Order,
    pub created_at: Timestamp,
    /// This attempt, from 1.
    pub attempt: u32,
}

impl Due {
    pub(super) fn message(&self) -> Message {
        let MessageText { kind, subject, text, data } = self.order.message.clone();
        Message {
            id: self.id.clone(),
            thread: Some(self.page.to_string()),
            at: self.created_at,
            kind,
            subject,
            text,
            data,
        }
    }
}

/// Takes what is due, at most `limit`, and hides it for `hidden` from everybody else who sends: who dies while sending
/// is followed by another attempt after that, with the same id.
pub(super) fn claim(tx: &mut Tx<'_>, limit: u32, hidden: Span) -> Result<Vec<Due>, DbError> {
    let now = tx.now();
    let sql = "SELECT id, page, channel, message, created_at, attempts FROM tellings \
               WHERE next_at <= $1 ORDER BY next_at, id LIMIT $2";
    let mut due = Vec::new();
    for row in tx.query(sql, params![now, limit])? {
        due.push(Due {
            id: row.try_get(0)?,
            page: row.parse(1)?,
            channel: row.try_get(2)?,
            order: words::of_json(&row.try_get::<String>(3)?)?,
            created_at: row.try_get(4)?,
            attempt: row.try_get::<u32>(5)? + 1,
        });
    }
    for one in &due {
        tx.execute(
            "UPDATE tellings SET attempts = $2, next_at = $3 WHERE id = $1",
            params![&one.id, one.attempt, now + hidden],
        )?;
    }
    Ok(due)
}

/// Notes how an attempt ended: done, to be tried again at `next_at`, or given up.
pub(super) fn attempted(
    tx: &mut Tx<'_>,
    id: &str,
    outcome: &str,
    is_done: bool,
    next_at: Option<Timestamp>,
) -> Result<(), DbError> {
    let done_at = is_done.then(|| tx.now());
    tx.execute(
        "UPDATE tellings SET outcome = $2, done_at = $3, next_at = $4 WHERE id = $1",
        params![id, outcome, done_at, next_at],
    )?;
    Ok(())
}

fn tellings(reader: &mut Reader<'_>, page: PageId) -> Result<Vec<Telling>, DbError> {
    let sql = "SELECT id, step, channel, attempts, next_at, done_at, outcome FROM tellings \
               WHERE page = $1 ORDER BY created_at, step, channel";
    let telling = |row: &Row| {
        Ok(Telling {
            id: row.try_get(0)?,
            step: row.try_get(1)?,
            channel: row.try_get(2)?,
            attempts: row.try_get(3)?,
            next_at: row.try_get(4)?,
            done_at: row.try_get(5)?,
            outcome: row.try_get(6)?,
        })
    };
    reader.query(sql, params![page.to_string()])?.iter().map(telling).collect()
}

/// When each module was verified last, and how many findings there were.
pub(super) fn verifications(reader: &mut Reader<'_>) -> Result<BTreeMap<String, (Timestamp, i64)>, DbError> {
    let rows = reader.query("SELECT module, at, findings FROM verifications", &[])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// Notes a verification.
pub(super) fn verified(
    tx: &mut Tx<'_>,
    module: &str,
    findings: usize,
    first: Option<&str>,
) -> Result<(), DbError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO verifications (module, at, findings, first) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (module) DO UPDATE SET at = excluded.at, findings = excluded.findings, first = excluded.first",
        params![module, now, i64::try_from(findings).unwrap_or(i64::MAX), first.map(str::to_owned)],
    )?;
    Ok(())
}

/// What the newest verification of a module found first.
pub(super) fn first_finding(reader: &mut Reader<'_>, module: &str) -> Result<Option<String>, DbError> {
    let row = reader.query_opt("SELECT first FROM verifications WHERE module = $1", params![module])?;
    row.map_or(Ok(None), |row| row.try_get(0))
}

#[cfg(test)]
mod tests {
    use q_core::Env;
    use q_db::on_each_engine;
    use serde_json::Value;

    use super::*;

    fn said() -> Order {
        let message = MessageText {
            kind: "q.ops.page.told".into(),
            subject: "s".into(),
            text: "t".into(),
            data: Value::Null,
        };
        Order { rung: "on-call engineer".into(), message, recover: BTreeMap::new() }
    }

    on_each_engine!(one_process_watches_at_a_time, async |stores| {
        let db = stores.open(&crate::MIGRATIONS, &Env::system()).await.unwrap();
        let minute = Span::seconds(60);
        let take =
            async |holder: &'static str, ttl| db.write(move |tx| take_turn(tx, holder, ttl)).await.unwrap();
        let keep =
            async |holder: &'static str| db.write(move |tx| keep_turn(tx, holder, minute)).await.unwrap();
        assert!(take("a", minute).await);
        assert!(!take("b", minute).await && !keep("b").await);
        assert!(take("a", minute).await && keep("a").await);
        // Whoever ends well lets the other begin at once.
        db.write(|tx| give_turn(tx, "a")).await.unwrap();
        assert!(!keep("a").await);
        assert!(take("b", Span::seconds(0)).await);
        // Whoever dies does so when its time is over; when it comes back it has no turn to keep.
        assert!(take("a", minute).await);
        assert!(!keep("b").await && !take("b", minute).await);
        db.close().await;
    });

    on_each_engine!(a_step_is_told_once_per_channel_and_by_one_process, async |stores| {
        let env = Env::system();
        let db = stores.open(&crate::MIGRATIONS, &env).await.unwrap();
        let page = OpenPage {
            id: PageId::new(&env),
            name: "shop: page".into(),
            ladder: Ladder::open(env.now(), q_slo::Severity::Page),
        };
        let id = page.id;
        db.write(move |tx| keep_page(tx, &page)).await.unwrap();
        for _ in 0..2 {
            // A process that died after the commit decides the same step again.
            let decide = move |tx: &mut Tx<'_>| -> Result<(), DbError> {
                order(tx, id, "tell-2-0", "email a@example.org", &said())?;
                order(tx, id, "tell-2-0", "webhook https://example.org/", &said())
            };
            db.write(decide).await.unwrap();
        }
        let hidden = Span::seconds(120);
        let mine = db.write(move |tx| claim(tx, 16, hidden)).await.unwrap();
        assert_eq!(mine.len(), 2);
        assert!(
            db.write(move |tx| claim(tx, 16, hidden)).await.unwrap().is_empty(),
            "another process sees nothing"
        );
        let (done, failed) = (mine[0].id.clone(), mine[1].id.clone());
        let note = move |tx: &mut Tx<'_>| -> Result<(), DbError> {
            attempted(tx, &done, "ok", true, None)?;
            attempted(tx, &failed, "no", false, Some(tx.now()))
        };
        db.write(note).await.unwrap();
        let again = db.write(move |tx| claim(tx, 16, hidden)).await.unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].id, again[0].attempt), (&mine[1].id, 2), "the same id, the second attempt");
        db.close().await;
    });
}
