//! Copies of stores: whole ones of one instant, and what has changed since.
//!
//! A *snapshot* is a store as it was at one instant, read while it goes on being written. Snapshots of several stores
//! are of one instant together: while they are begun, nobody commits to any of them, so none has heard of something
//! another one has not said yet. *Changes* are the pages that commits have touched since they were last taken, of
//! several stores at one instant as well (SQLite; a PostgreSQL server archives its own log).
//!
//! **Invariant:** a snapshot changes nothing, and never holds up a writer for longer than its beginning.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postgres::{NoTls, error::SqlState};
use q_core::AuditEntry;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    Db, DbConfig, DbError, OpenError, Reader,
    postgres::classified as pg_classified,
    shared::Shared,
    sqlite::{CutRequest, Gate, SqliteConnection, classified},
    streams,
};

/// How often all stores are asked to hold still at once, each time for a moment.
const TRIES: usize = 20;
const TRY_PAUSE: Duration = Duration::from_millis(50);
/// How long one of them is waited for while writers of the others wait. Shorter than a server's patience with
/// deadlocks: we give way, never a payment.
const HOLD_MAX: Duration = Duration::from_millis(300);

/// How many pages are copied before somebody is asked whether the copy is still wanted.
const PAGES_AT_ONCE: std::ffi::c_int = 4_096;

/// How far a store has come, and how far it has heard others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Its newest event.
    pub events: i64,
    /// Its newest audit row.
    pub audit: i64,
    /// How far each of its subscriptions has come; the names are the bus's.
    pub cursors: BTreeMap<String, i64>,
}

/// What a cursor is about: `events of squid: …` or `audit of squid`.
fn heard(cursor: &str) -> Option<(bool, &str)> {
    let is_audit = cursor.starts_with("audit of ");
    let rest = cursor.strip_prefix("audit of ").or_else(|| cursor.strip_prefix("events of "))?;
    Some((is_audit, rest.split(':').next().unwrap_or(rest)))
}

impl Position {
    /// How far it has heard the events, and the audit rows, of `producer`.
    pub fn heard_of(&self, producer: &str) -> (i64, i64) {
        let (mut events, mut audit) = (0, 0);
        for (name, position) in &self.cursors {
            match heard(name) {
                Some((true, of)) if of == producer => audit = audit.max(*position),
                Some((false, of)) if of == producer => events = events.max(*position),
                _ => {}
            }
        }
        (events, audit)
    }

    /// Reads it on an open snapshot.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DbError> {
        let (events, audit) = streams::heads(reader)?;
        let rows = reader.query("SELECT name, position FROM q_cursors", &[])?;
        let cursors =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, DbError>>()?;
        Ok(Self { events, audit, cursors })
    }

    pub(crate) fn of_sqlite(connection: &mut SqliteConnection) -> Result<Self, DbError> {
        let mut found = Self::default();
        let mut heads = Vec::new();
        let sql = "SELECT COALESCE((SELECT MAX(position) FROM q_outbox), 0), \
                   COALESCE((SELECT MAX(position) FROM q_audit), 0)";
        connection.query(sql, &[], &mut |row| {
            heads.push((row.try_get(0), row.try_get(1)));
            true
        })?;
        if let Some((events, audit)) = heads.pop() {
            (found.events, found.audit) = (events?, audit?);
        }
        let mut cursors = Vec::new();
        connection.query("SELECT name, position FROM q_cursors", &[], &mut |row| {
            cursors.push((row.try_get::<String>(0), row.try_get(1)));
            true
        })?;
        for (name, position) in cursors {
            found.cursors.insert(name?, position?);
        }
        Ok(found)
    }
}

/// What commits have changed in one store since it was last asked.
#[derive(Debug)]
pub struct Changes {
    /// How far the store has come with them.
    pub position: Position,
    /// Bytes in a page.
    pub page_bytes: u32,
    /// Pages the store has with them; 0 when nothing changed.
    pub pages_total: u32,
    /// The pages, by number from 1.
    pub pages: BTreeMap<u32, Box<[u8]>>,
    /// Whether they follow the changes before them without a gap.
    pub is_whole: bool,
}

/// The way to the changes of a store, beyond its closing.
#[derive(Clone)]
pub struct ChangesOf(Arc<Shared>);

impl ChangesOf {
    /// What was left when the store was closed; once.
    pub fn last(&self) -> Option<Changes> {
        self.0.changes.last.lock().take()
    }

    /// Waits until so much has changed that it should be taken soon.
    pub async fn wanted(&self) {
        self.0.changes.is_wanted.notified().await;
    }
}

impl Db {
    /// Has the store keep what commits change from now on; `None` where a server keeps its own log.
    pub async fn keep_changes(&self) -> Option<ChangesOf> {
        if self.is_postgres() {
            return None;
        }
        self.0.shared.changes.is_on.store(true, std::sync::atomic::Ordering::SeqCst);
        // When this write, which keeps nothing, is over, the writer watches every commit after it.
        let _ = self.write_always(|_| Err::<(), _>(DbError::Aborted)).await;
        Some(ChangesOf(self.0.shared.clone()))
    }

    /// How far the store has come.
    pub async fn position(&self) -> Result<Position, DbError> {
        // Gives their positions to rows that have none yet.
        self.outbox_head().await?;
        self.audit_head().await?;
        self.read(Position::read).await
    }

    /// Goes on beyond `events` and `audit`, positions that others have heard of this store before it was restored
    /// from an older copy, and notes `entry` in the audit trail. Otherwise what it says next would go unheard.
    pub async fn resume_beyond(&self, events: i64, audit: i64, entry: AuditEntry) -> Result<(), DbError> {
        self.outbox_head().await?;
        self.audit_head().await?;
        self.write_always(move |tx| {
            streams::skip(tx, events, audit)?;
            tx.audit(entry.clone())?;
            Ok(())
        })
        .await
    }
}

/// Takes what has changed in each of `stores` (which keep their changes) at one instant; `None` when one of them did
/// not come to rest in time, and then everything is kept for the next attempt.
pub async fn cut(stores: &[Db]) -> Option<Vec<Changes>> {
    let gate = Arc::new(Gate::new(stores.len()));
    let mut replies = Vec::new();
    let mut woken = tokio::task::JoinSet::new();
    for store in stores {
        let (reply, answer) = oneshot::channel();
        *store.0.shared.changes.request.lock() = Some(CutRequest { gate: gate.clone(), reply });
        replies.push(answer);
        let (store, gate) = (store.clone(), gate.clone());
        // A write that keeps nothing wakes the writer, which looks for the request when it is done.
        woken.spawn(async move {
            let woken = store.write_always(|_| Err::<(), _>(DbError::Aborted)).await;
            if matches!(woken, Err(DbError::Closed)) {
                // Nobody will answer, which whoever waits learns when the request is dropped.
                store.0.shared.changes.request.lock().take();
                gate.give_up();
            }
        });
    }
    let mut taken = Vec::new();
    for reply in replies {
        taken.push(reply.await.ok().flatten());
    }
    taken.into_iter().collect()
}

/// A store as it was at one instant.
pub struct Snapshot {
    /// Whose it is.
    pub module: String,
    /// How far it had come.
    pub position: Position,
    source: SnapshotOf,
}

enum SnapshotOf {
    Sqlite {
        connection: SqliteConnection,
        /// Closed after the one above, so that a store nobody has open is left without its log.
        _writable: SqliteConnection,
    },
    Postgres {
        /// Keeps the snapshot alive.
        _client: postgres::Client,
        id: String,
        url: String,
    },
}

/// Why there is no snapshot or copy.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store is not there.
    #[error("the store of {0} is not there")]
    Missing(String),
    /// The store could not be read.
    #[error("the store of {module} cannot be read: {source}")]
    Store {
        /// Whose store.
        module: String,
        /// Why.
        source: DbError,
    },
    /// The tables stayed in use.
    #[error("the tables of {0} are in constant use: no instant was found at which nobody writes")]
    NeverAtRest(String),
}

fn of_store(module: &str) -> impl Fn(DbError) -> SnapshotError {
    let module = module.to_owned();
    move |source| SnapshotError::Store { module: module.clone(), source }
}

/// Begins a snapshot of each of `stores`, all of one instant; no attempt begins that is not wanted any more. Blocks, so
/// not for an async task.
pub fn snapshots(
    stores: &[(String, DbConfig)],
    is_wanted: impl Fn() -> bool,
) -> Result<Vec<Snapshot>, SnapshotError> {
    let mut locks = Vec::with_capacity(stores.len());
    for (module, config) in stores {
        locks.push(match config {
            DbConfig::Sqlite { path } => Lock::of_file(module, path)?,
            DbConfig::Postgres { url } => Lock::of_server(module, url)?,
        });
    }
    // Nobody commits between the last store that holds still and the last snapshot. Where one is in use the others are
    // let go, so that nobody waits long for a store that somebody else keeps busy.
    let mut in_use = String::new();
    for _ in (0..TRIES).take_while(|_| is_wanted()) {
        let mut count = 0;
        for (lock, (module, _)) in locks.iter_mut().zip(stores) {
            if !lock.hold().map_err(of_store(module))? {
                in_use.clone_from(module);
                break;
            }
            count += 1;
        }
        if count == locks.len() {
            return begun(stores, locks);
        }
        for (lock, (module, _)) in locks.iter_mut().zip(stores).take(count) {
            lock.let_go().map_err(of_store(module))?;
        }
        std::thread::sleep(TRY_PAUSE);
    }
    Err(SnapshotError::NeverAtRest(in_use))
}

/// The snapshots of stores that hold still.
fn begun(stores: &[(String, DbConfig)], mut held: Vec<Lock>) -> Result<Vec<Snapshot>, SnapshotError> {
    let mut snapshots = Vec::new();
    for ((module, _), held) in stores.iter().zip(&mut held) {
        snapshots.push(held.snapshot().map_err(of_store(module))?);
    }
    let parts = stores.iter().zip(held).zip(snapshots);
    parts
        .map(|(((module, config), held), (position, source))| {
            let source = held.release(config, source).map_err(of_store(module))?;
            Ok(Snapshot { module: module.clone(), position, source })
        })
        .collect()
}

/// What has the writers of a store wait.
enum Lock {
    File {
        path: PathBuf,
        lock: SqliteConnection,
    },
    Server {
        url: String,
        lock: postgres::Client,
        /// Its tables, as SQL names them.
        tables: String,
        /// What the snapshot is made on: connected before anybody waits.
        view: Option<Box<postgres::Client>>,
    },
}

enum Begun {
    File(SqliteConnection),
    Server(postgres::Client, String),
}

impl Lock {
    fn of_file(module: &str, path: &Path) -> Result<Self, SnapshotError> {
        if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            return Err(SnapshotError::Missing(module.to_owned()));
        }
        let open = || {
            let lock = SqliteConnection::open(path, true)?;
            lock.raw.busy_timeout(HOLD_MAX).map_err(classified)?;
            Ok(Self::File { path: path.to_owned(), lock })
        };
        open().map_err(of_store(module))
    }

    fn of_server(module: &str, url: &str) -> Result<Self, SnapshotError> {
        let connect = || postgres::Client::connect(url, NoTls).map_err(pg_classified);
        let mut lock = connect().map_err(of_store(module))?;
        let sql = "SELECT string_agg(format('%I.%I', table_schema, table_name), ', ') FROM information_schema.tables \
                   WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'";
        let tables = lock.query_one(sql, &[]).map_err(pg_classified).map_err(of_store(module))?;
        let tables: Option<String> = tables.get(0);
        let tables = tables.ok_or_else(|| SnapshotError::Missing(module.to_owned()))?;
        let view = Some(Box::new(connect().map_err(of_store(module))?));
        Ok(Self::Server { url: url.to_owned(), lock, tables, view })
    }

    /// Has the writers wait from now on; `false` where the store stayed in use.
    fn hold(&mut self) -> Result<bool, DbError> {
        match self {
            Self::File { lock, .. } => match lock.run("BEGIN IMMEDIATE") {
                Err(DbError::Busy(_)) => Ok(false),
                held => held.map(|()| true),
            },
            Self::Server { lock, tables, .. } => {
                // First the gate that writers pass when they begin (`postgres/worker.rs`): when those inside are
                // through, the tables are free, but for writers that know no gate.
                let taken = lock.batch_execute(&format!(
                    "BEGIN; SET LOCAL lock_timeout = '{}ms'; LOCK TABLE q_store IN EXCLUSIVE MODE; \
                     LOCK TABLE {tables} IN SHARE MODE",
                    HOLD_MAX.as_millis()
                ));
                if taken.is_err() {
                    self.let_go()?;
                }
                Ok(taken.is_ok())
            }
        }
    }

    /// Lets them go on.
    fn let_go(&mut self) -> Result<(), DbError> {
        match self {
            Self::File { lock, .. } => lock.run("ROLLBACK"),
            Self::Server { lock, .. } => lock.batch_execute("ROLLBACK").map_err(pg_classified),
        }
    }

    fn snapshot(&mut self) -> Result<(Position, Begun), DbError> {
        match self {
            Self::File { path, .. } => {
                let mut connection = SqliteConnection::open(path, false)?;
                connection.step("BEGIN")?;
                let position = Position::of_sqlite(&mut connection)?;
                Ok((position, Begun::File(connection)))
            }
            Self::Server { view, .. } => {
                let mut client = *view.take().expect("a snapshot is made once");
                let mut begin = || -> Result<_, postgres::Error> {
                    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
                    let id: String = client.query_one("SELECT pg_export_snapshot()", &[])?.get(0);
                    let heads = client.query_one(
                        "SELECT (SELECT position FROM q_heads WHERE name = 'q_outbox'), \
                         (SELECT position FROM q_heads WHERE name = 'q_audit')",
                        &[],
                    )?;
                    let cursors = client.query("SELECT name, position FROM q_cursors", &[])?;
                    let position = Position {
                        events: heads.get(0),
                        audit: heads.get(1),
                        cursors: cursors.iter().map(|row| (row.get(0), row.get(1))).collect(),
                    };
                    Ok((position, id))
                };
                let (position, id) = begin().map_err(pg_classified)?;
                Ok((position, Begun::Server(client, id)))
            }
        }
    }

    fn release(mut self, config: &DbConfig, begun: Begun) -> Result<SnapshotOf, DbError> {
        self.let_go()?;
        match (self, begun) {
            (Self::File { lock, .. }, Begun::File(connection)) => {
                Ok(SnapshotOf::Sqlite { connection, _writable: lock })
            }
            (Self::Server { url, .. }, Begun::Server(client, id)) => {
                Ok(SnapshotOf::Postgres { _client: client, id, url })
            }
            _ => unreachable!("each store is begun as what it is: {config}"),
        }
    }
}

/// What a snapshot is copied by.
pub enum Copying<'a> {
    /// Into a file of the same pages.
    File(FileCopy<'a>),
    /// By the server's own program, which writes SQL text to its standard output.
    Server(Command),
}

/// A copy into a file.
pub struct FileCopy<'a>(&'a SqliteConnection);

impl FileCopy<'_> {
    /// Writes the store, as it was, to `path`, a new file that its owner alone can read; as long as `is_wanted`.
    /// Answers whether it is whole.
    pub fn write(&self, path: &Path, is_wanted: impl Fn() -> bool) -> Result<bool, OpenError> {
        drop(crate::sqlite::private_file(path)?);
        let copy = || -> rusqlite::Result<bool> {
            let mut copy = rusqlite::Connection::open(path)?;
            // It is read once and removed: nothing to recover.
            copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
            let backup = rusqlite::backup::Backup::new(&self.0.raw, &mut copy)?;
            while is_wanted() {
                match backup.step(PAGES_AT_ONCE)? {
                    rusqlite::backup::StepResult::Done => return Ok(true),
                    rusqlite::backup::StepResult::More => {}
                    _ => {
                        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                        return Err(rusqlite::Error::SqliteFailure(busy, None));
                    }
                }
            }
            Ok(false)
        };
        copy().map_err(|error| classified(error).into())
    }
}

impl Snapshot {
    /// How to copy it.
    pub fn copying(&self) -> Result<Copying<'_>, OpenError> {
        Ok(match &self.source {
            SnapshotOf::Sqlite { connection, .. } => Copying::File(FileCopy(connection)),
            SnapshotOf::Postgres { id, url, .. } => {
                let mut command = server_program("pg_dump", url)?;
                command.args(["--no-owner", "--no-privileges"]).arg(format!("--snapshot={id}"));
                Copying::Server(command)
            }
        })
    }
}

/// A client program of the server, told where the database is; the password is not shown in its arguments.
fn server_program(name: &str, url: &str) -> Result<Command, OpenError> {
    let mut command = Command::new(newest(name));
    command.envs(server_environment(url)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// The variables that tell the programs of PostgreSQL (`pg_dump`, `psql`) where the database at `url` is, so that they
/// need nothing but its name (PostgreSQL documentation, "Environment Variables" of libpq).
pub fn server_environment(url: &str) -> Result<Vec<(&'static str, String)>, OpenError> {
    let config: postgres::Config =
        url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
    let mut variables = vec![("PGDATABASE", config.get_dbname().unwrap_or("postgres").to_owned())];
    match config.get_hosts().first() {
        Some(postgres::config::Host::Tcp(host)) => variables.push(("PGHOST", host.clone())),
        Some(postgres::config::Host::Unix(folder)) => {
            variables.push(("PGHOST", folder.to_string_lossy().into_owned()));
        }
        None => {}
    }
    variables.extend(config.get_ports().first().map(|port| ("PGPORT", port.to_string())));
    variables.extend(config.get_user().map(|user| ("PGUSER", user.to_owned())));
    let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
    variables.extend(password.map(|password| ("PGPASSWORD", password)));
    Ok(variables)
}

/// The program of the newest installation: Debian keeps each major version in a folder that is not on the PATH, and
/// a dump can be made only by a program at least as new as its server.
fn newest(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let program = entry.path().join("bin").join(name);
        program.is_file().then_some((number, program))
    });
    found.max().map_or_else(|| name.into(), |(_, program)| program)
}

/// Whether the store of `module` may be put into the database that `url` names: it holds nothing yet, and no process of
/// ours waits for it to hold something. One that is not there is free. Blocks.
pub fn is_free(module: &str, url: &str) -> Result<(), OpenError> {
    let config: postgres::Config =
        url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
    match config.connect(NoTls) {
        Ok(mut client) => refuse_occupied(&mut client, module, url),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => Ok(()),
        Err(error) => Err(OpenError::Db(pg_classified(error))),
    }
}

fn refuse_occupied(client: &mut postgres::Client, module: &str, url: &str) -> Result<(), OpenError> {
    let failed = |error| OpenError::Db(pg_classified(error));
    let config = DbConfig::Postgres { url: url.to_owned() };
    // A replica on another machine has no note in the data folder; its sessions tell of it.
    let sql = "SELECT COUNT(*), STRING_AGG(DISTINCT COALESCE(client_addr::TEXT, 'this machine'), ', ') \
               FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'q %'";
    let row = client.query_one(sql, &[]).map_err(failed)?;
    let (sessions, from): (i64, Option<String>) = (row.get(0), row.get(1));
    if sessions > 0 {
        return Err(OpenError::BadConfig(format!(
            "{config} is in use: {sessions} sessions of processes that serve {module} come from {}; end them (`q stop` on \
             each machine, or no replicas), then restore into an empty database (dropdb, createdb)",
            from.unwrap_or_default()
        )));
    }
    let sql = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    let count: i64 = client.query_one(sql, &[]).map_err(failed)?.get(0);
    if count > 0 {
        return Err(OpenError::BadConfig(format!(
            "{config} holds {count} tables already: restore {module} into an empty database (dropdb, createdb)"
        )));
    }
    Ok(())
}

/// Makes the database that `url` names, which may not hold anything yet, and starts the program that reads SQL text
/// from its standard input into it, all or nothing. Give it only what [`crate::dump::Checker`] has passed. Blocks.
pub fn load_into(module: &str, url: &str) -> Result<Child, OpenError> {
    let mut client = crate::postgres::reach_raw(url)?;
    refuse_occupied(&mut client, module, url)?;
    let mut command = server_program("psql", url)?;
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-o", "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().map_err(|source| OpenError::File { path: "psql".into(), source })
}

/// Removes the database that `url` names, if it is there: after a drill. Blocks.
pub fn drop_database(url: &str) -> Result<(), OpenError> {
    let config: postgres::Config =
        url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
    let name = config.get_dbname().unwrap_or_default().replace('"', "\"\"");
    let mut server = config.clone();
    let failed = |error| OpenError::Db(pg_classified(error));
    let mut client = server.dbname("postgres").connect(NoTls).map_err(failed)?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).map_err(failed)
}

/// `url` with another database: `postgres://user@host/name?host=/tmp` → `…/other?host=/tmp`.
pub fn with_database(url: &str, database: &str) -> String {
    let (head, options) = url.split_once('?').map_or((url, None), |(head, rest)| (head, Some(rest)));
    let (scheme, rest) = head.split_once("://").unwrap_or(("postgres", head));
    let authority = rest.split('/').next().unwrap_or_default();
    let options = options.map_or_else(String::new, |options| format!("?{options}"));
    format!("{scheme}://{authority}/{database}{options}")
}

/// Writes `pages` into the store file at `path`, which then has `total` pages. For a file nobody has open.
pub fn apply_pages(
    path: &Path,
    page_bytes: u32,
    total: u32,
    pages: impl Iterator<Item = (u32, impl AsRef<[u8]>)>,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    for (number, page) in pages {
        file.write_all_at(page.as_ref(), u64::from(number.saturating_sub(1)) * u64::from(page_bytes))?;
    }
    file.set_len(u64::from(total) * u64::from(page_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_name_whom_they_hear() {
        let cursors = [("events of squid: q.squid.", 7), ("events of squid: q.x", 9), ("audit of squid", 3)];
        let cursors = cursors.map(|(name, position)| (name.to_owned(), position)).into();
        let position = Position { cursors, ..Position::default() };
        assert_eq!(position.heard_of("squid"), (9, 3));
        assert_eq!(position.heard_of("qlock"), (0, 0));
    }
}
