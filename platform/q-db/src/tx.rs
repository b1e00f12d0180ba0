//! What the code inside a read or a write holds in its hands.

use std::ops::{Deref, DerefMut};

use q_core::{AuditEntry, Env, EventPayload, RequestKey, Timestamp, audit::AuditId, event::EventId};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Answer, Column, DbError, Row, Value, engine::Connection, params, shared::Shared};

/// Asks questions, all of them answered from one snapshot.
pub struct Reader<'a> {
    connection: Connection<'a>,
    shared: &'a Shared,
    failure: Option<DbError>,
}

/// Changes rows; everything it does is committed together or not at all.
pub struct Tx<'a> {
    reader: Reader<'a>,
    shared: &'a Shared,
    now: Timestamp,
    trace: Option<q_trace::Context>,
    has_news: bool,
}

/// What is known of a request.
enum Recorded {
    /// It has not come before.
    No,
    /// It was carried out, and its answer may not be kept.
    Claimed,
    /// It was carried out with this answer, as JSON.
    Answered(String),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(connection: Connection<'a>, shared: &'a Shared) -> Self {
        Self { connection, shared, failure: None }
    }

    /// All rows.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let mut rows = Vec::new();
        self.guarded(|connection| {
            connection.query(sql, params, &mut |row| {
                rows.push(row);
                true
            })
        })?;
        Ok(rows)
    }

    /// The first row, if there is one.
    pub fn query_opt(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>, DbError> {
        let mut found = None;
        self.guarded(|connection| {
            connection.query(sql, params, &mut |row| {
                found = Some(row);
                false
            })
        })?;
        Ok(found)
    }

    /// The only row; another number of rows is [`DbError::NotOneRow`].
    pub fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Row, DbError> {
        let mut rows = self.query(sql, params)?;
        match rows.pop() {
            Some(row) if rows.is_empty() => Ok(row),
            Some(_) => Err(DbError::NotOneRow(rows.len() + 1)),
            None => Err(DbError::NotOneRow(0)),
        }
    }

    /// Calls `each` with every row, without holding them all: for exports and checks of whole tables.
    pub fn for_each<E: From<DbError>>(
        &mut self,
        sql: &str,
        params: &[Value],
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut outcome = Ok(());
        self.guarded(|connection| {
            connection.query(sql, params, &mut |row| {
                outcome = each(row);
                outcome.is_ok()
            })
        })?;
        outcome
    }

    /// The module the store belongs to.
    pub fn module(&self) -> &'a str {
        &self.shared.module
    }

    /// Whether the store is a server: other processes may write to it, and each statement is a way there and back.
    pub const fn is_server(&self) -> bool {
        self.connection.is_postgres()
    }

    /// How far the follower called `name` has come; 0 before its first step.
    pub fn cursor(&mut self, name: &str) -> Result<i64, DbError> {
        let row = self.query_opt("SELECT position FROM q_cursors WHERE name = $1", params![name])?;
        row.map_or(Ok(0), |row| row.try_get(0))
    }

    /// Runs one statement; after a failed one the rest is refused, as PostgreSQL does.
    fn guarded<T>(
        &mut self,
        statement: impl FnOnce(&mut Connection<'a>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        if self.failure.is_some() {
            return Err(DbError::Aborted);
        }
        statement(&mut self.connection).inspect_err(|error| {
            self.shared.judge(error);
            if !matches!(error, DbError::BadRow { .. }) {
                self.failure = Some(error.clone());
            }
        })
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: Connection<'a>, shared: &'a Shared) -> Self {
        let reader = Reader::new(connection, shared);
        Self { reader, shared, now: shared.now(), trace: None, has_news: false }
    }

    /// Runs a statement and answers how many rows it touched.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        self.reader.guarded(|connection| connection.execute(sql, params))
    }

    /// Like `query`, and on PostgreSQL locks the rows against other writers until the commit
    /// (`FOR NO KEY UPDATE`). For bodies run by `write_locked`; order the rows to avoid deadlocks.
    pub fn query_for_update(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        if self.reader.connection.is_postgres() {
            self.reader.query(&format!("{sql} FOR NO KEY UPDATE"), params)
        } else {
            self.reader.query(sql, params)
        }
    }

    /// Takes the lock called `name` until the commit, waiting for whoever holds it in whatever process. For bodies run
    /// by `write_locked`: what they read afterwards is what the holder before them committed. A file has one writer
    /// and needs no lock.
    pub fn lock(&mut self, name: &str) -> Result<(), DbError> {
        if self.reader.connection.is_postgres() {
            self.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", params![name])?;
        }
        Ok(())
    }

    /// Inserts `rows`, whose values stand in the order of `columns`. The fastest way to add rows.
    pub fn insert_many<R: AsRef<[Value]>>(
        &mut self,
        table: &'static str,
        columns: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        self.reader.guarded(|connection| connection.insert_many(table, columns, rows))
    }

    /// Sets the columns `sets` of the rows found by `keys`; each row holds the values of `keys`, then
    /// those of `sets`. No two rows may have the same key. Answers how many rows were found.
    pub fn update_many<R: AsRef<[Value]>>(
        &mut self,
        table: &'static str,
        keys: &[Column],
        sets: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        self.reader.guarded(|connection| connection.update_many(table, keys, sets, rows))
    }

    /// The instant of this attempt: one for all its rows, never earlier than that of an earlier write.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The instant up to which whoever shares the store is no further behind than the store's server: of this process's
    /// clock and the server's, the earlier one. For forgetting what another process may still need when the clock here
    /// is ahead of theirs.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn common_now(&mut self) -> Result<Timestamp, DbError> {
        if !self.is_postgres() {
            return Ok(self.now);
        }
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
        let server: Timestamp = self.reader.query_one(sql, &[])?.try_get(0)?;
        Ok(self.now.min(server))
    }

    /// Clock and entropy, for ids.
    pub const fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Writes an event to the outbox, in this commit.
    pub fn emit<P: EventPayload>(&mut self, payload: &P) -> Result<EventId, DbError> {
        let id = EventId::new(self.env());
        let data = serde_json::to_string(payload)?;
        // The whole context, so that the reaction continues where the event was caused.
        let trace = self.trace.as_ref().map(q_trace::Context::traceparent);
        let row = params![id.to_string(), P::TOPIC, payload.subject(), self.now, data, trace];
        self.has_news = true;
        self.execute(
            "INSERT INTO q_outbox (id, topic, subject, at, data, trace) VALUES ($1, $2, $3, $4, $5, $6)",
            row,
        )?;
        Ok(id)
    }

    /// Writes an audit row, in this commit.
    pub fn audit(&mut self, entry: AuditEntry) -> Result<AuditId, DbError> {
        let id = AuditId::new(self.env());
        let verdict = match entry.verdict {
            q_core::Verdict::Allow => "ALLOW",
            q_core::Verdict::Deny => "DENY",
            q_core::Verdict::Warn => "WARN",
        };
        let row = params![
            id.to_string(),
            self.now,
            entry.family,
            entry.action,
            entry.actor,
            entry.target,
            verdict,
            entry.details.to_string(),
            self.trace.as_ref().map(|context| context.trace.to_string()),
        ];
        self.has_news = true;
        self.execute(
            "INSERT INTO q_audit (id, at, family, action, actor, target, verdict, details, trace) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            row,
        )?;
        Ok(id)
    }

    /// Notes the event in the inbox. `true` when it was already there: then this is a second delivery
    /// and the reaction is to change nothing.
    pub fn seen(&mut self, event: &EventId) -> Result<bool, DbError> {
        let row = params![event.to_string(), self.now];
        let added = self.execute("INSERT INTO q_inbox VALUES ($1, $2) ON CONFLICT DO NOTHING", row)?;
        Ok(added == 0)
    }

    /// Notes how far the follower called `name` has come.
    pub fn set_cursor(&mut self, name: &str, position: i64) -> Result<(), DbError> {
        self.execute(
            "INSERT INTO q_cursors VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET position = excluded.position",
            params![name, position],
        )?;
        Ok(())
    }

    /// Runs `body` and remembers its answer under `key`, or gives the answer that is remembered: the inside of
    /// [`crate::Db::write_once`], for writes that must lock a row before they look for an earlier answer.
    pub fn once<T, E>(
        &mut self,
        key: Option<&RequestKey>,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Answer<T>, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<DbError>,
    {
        let Some(key) = key else { return Ok(Answer { value: body(self)?, replayed: false }) };
        match self.recorded(key)? {
            Recorded::No => {}
            // Claimed by a request whose answer may not be kept: there is nothing to replay.
            Recorded::Claimed => return Err(DbError::IdempotencyKeyReused.into()),
            Recorded::Answered(text) => {
                let value = serde_json::from_str(&text).map_err(DbError::from)?;
                return Ok(Answer { value, replayed: true });
            }
        }
        let value = body(self)?;
        let text = serde_json::to_string(&value).map_err(DbError::from)?;
        self.record(key, Some(text))?;
        Ok(Answer { value, replayed: false })
    }

    /// Notes that the request behind `key` was carried out, without keeping an answer (for answers
    /// that may not be stored: keys, tokens, plaintexts). `true` when it was carried out before.
    pub fn claim(&mut self, key: &RequestKey) -> Result<bool, DbError> {
        if let Recorded::No = self.recorded(key)? {
            self.record(key, None)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// What became of the request behind `key`, if it came before.
    fn recorded(&mut self, key: &RequestKey) -> Result<Recorded, DbError> {
        let row = self.query_opt(
            "SELECT fingerprint, answer FROM q_idempotency WHERE scope = $1 AND key = $2",
            params![&key.scope, &key.key],
        )?;
        let Some(row) = row else { return Ok(Recorded::No) };
        if row.try_get::<Vec<u8>>(0)? != key.fingerprint {
            return Err(DbError::IdempotencyKeyReused);
        }
        Ok(row.try_get::<Option<String>>(1)?.map_or(Recorded::Claimed, Recorded::Answered))
    }

    fn record(&mut self, key: &RequestKey, answer: Option<String>) -> Result<(), DbError> {
        let row = params![&key.scope, &key.key, &key.fingerprint, answer, self.now];
        self.execute("INSERT INTO q_idempotency VALUES ($1, $2, $3, $4, $5)", row)?;
        Ok(())
    }

    pub(crate) fn writes_go_on(&self) -> Result<(), DbError> {
        self.shared.writes_go_on()
    }

    pub(crate) fn set_trace(&mut self, trace: Option<q_trace::Context>) {
        self.trace = trace;
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        self.reader.connection.is_postgres()
    }

    pub(crate) const fn has_news(&self) -> bool {
        self.has_news
    }

    pub(crate) const fn failure(&self) -> Option<&DbError> {
        self.reader.failure.as_ref()
    }

    pub(crate) fn into_failure(self) -> Option<DbError> {
        self.reader.failure
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = Reader<'a>;
    fn deref(&self) -> &Reader<'a> {
        &self.reader
    }
}

impl<'a> DerefMut for Tx<'a> {
    fn deref_mut(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }
}
