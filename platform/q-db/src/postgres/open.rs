//! Opening a database: reach it, make it if it is missing, shape, threads.

use std::{sync::Arc, thread, time::Duration};

use postgres::{NoTls, config::SslMode, error::SqlState};
use q_core::{Env, Timestamp};

use crate::{
    DbError, Migrations, OpenError,
    db::{Absent, Engine, Queues},
    job::WriteJob,
    migrations::{self, Applied, BOOTSTRAP, Migration, PLATFORM, PLATFORM_POSTGRES, PROGRAM},
    params,
    postgres::{PgConnection, connection::classified, worker::Worker},
    shared::Shared,
};

/// Writes that run at the same time. More only collide more.
const WRITERS: usize = 4;
/// Reads that run at the same time. Connections are made when first needed.
const READERS: usize = 3;
/// How long a server may say nothing, not even that it received something.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Two replicas that start together migrate one after the other: the key of their advisory lock.
const MIGRATION_LOCK: i64 = 0x71_6d69_6772; // "qmigr"

/// Opens or makes the database at `url` and starts its threads.
pub(crate) fn open(
    url: &str,
    absent: Absent,
    migrations: &Migrations,
    env: &Env,
) -> Result<Engine, OpenError> {
    let mut config: postgres::Config =
        url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
    if config.get_ssl_mode() == SslMode::Require {
        let why =
            "this program is built without TLS to PostgreSQL: use a socket, a private network or a tunnel";
        return Err(OpenError::BadConfig(why.into()));
    }
    config.application_name(&format!("q {}", migrations.module)).connect_timeout(Duration::from_secs(5));
    // A server that vanished without a word is given up, instead of being waited for by every thread for minutes.
    config.tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX / 2).keepalives_retries(3);
    config.keepalives_interval(SILENCE_MAX / 6);
    let mut connection = match absent {
        Absent::Make => reach(&config)?,
        Absent::Refuse => reach_existing(&config, migrations.module)?,
    };
    connection.run(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))?;
    connection.run(&format!("SET statement_timeout = 0; SET lock_timeout = 0; {BOOTSTRAP}"))?;
    belongs_to(&mut connection, migrations.module)?;
    migrate(&mut connection, env, PLATFORM, PLATFORM_POSTGRES)?;
    migrate(&mut connection, env, migrations.module, migrations.postgres)?;
    warn_if_not_durable(&mut connection)?;
    let clock = restore_clock(&mut connection, env)?;
    drop(connection); // and with it the advisory lock
    start(&config, Arc::new(Shared::new(migrations.module, env.clone(), clock)))
}

/// Connects to the database at `url`, which is made first if the server does not have it.
pub(crate) fn reach_raw(url: &str) -> Result<postgres::Client, OpenError> {
    let config: postgres::Config =
        url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
    drop(reach(&config)?);
    config.connect(NoTls).map_err(|error| classified(error).into())
}

/// Connects; makes the database first if the server does not have it.
fn reach(config: &postgres::Config) -> Result<PgConnection, OpenError> {
    match config.connect(NoTls) {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
            let name = config.get_dbname().unwrap_or_default().replace('"', "\"\"");
            let mut server = config.clone();
            let mut client = server.dbname("postgres").connect(NoTls).map_err(classified)?;
            match client.batch_execute(&format!("CREATE DATABASE \"{name}\"")) {
                // Another replica was faster.
                Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => {}
                // What `CREATE DATABASE` says when two of them race.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
                made => made.map_err(classified)?,
            }
        }
        Err(error) => return Err(classified(error).into()),
        Ok(_) => {}
    }
    Ok(PgConnection::connect(config)?)
}

/// Connects; refuses a server without the database, and a database without our tables.
fn reach_existing(config: &postgres::Config, module: &str) -> Result<PgConnection, OpenError> {
    let name = config.get_dbname().unwrap_or_default();
    let missing = |what: &str| OpenError::Missing {
        module: module.to_owned(),
        place: format!("database {name} {what}"),
    };
    match config.connect(NoTls) {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
            return Err(missing("does not exist"));
        }
        reached => drop(reached.map_err(classified)?),
    }
    let mut connection = PgConnection::connect(config)?;
    let mut is_ours = false;
    let sql = "SELECT 1 WHERE to_regclass('q_store') IS NOT NULL";
    connection.query(sql, &[], &mut |_| {
        is_ours = true;
        true
    })?;
    if is_ours { Ok(connection) } else { Err(missing("holds none of its tables")) }
}

fn belongs_to(connection: &mut PgConnection, module: &str) -> Result<(), OpenError> {
    connection.execute(
        "INSERT INTO q_store VALUES ('module', $1) ON CONFLICT (name) DO NOTHING",
        params![module],
    )?;
    let mut found = String::new();
    connection.query("SELECT value FROM q_store WHERE name = 'module'", &[], &mut |row| {
        found = row.try_get(0).unwrap_or_default();
        true
    })?;
    if found == module { Ok(()) } else { Err(OpenError::WrongModule { found, expected: module.to_owned() }) }
}

fn migrate(
    connection: &mut PgConnection,
    env: &Env,
    part: &str,
    known: &[Migration],
) -> Result<(), OpenError> {
    let mut rows = Vec::new();
    connection.query(
        "SELECT version, hash, writer FROM q_schema WHERE part = $1 ORDER BY version",
        params![part],
        &mut |row| {
            rows.push(row);
            true
        },
    )?;
    let applied = rows
        .iter()
        .map(|row| Ok(Applied { version: row.try_get(0)?, hash: row.try_get(1)?, writer: row.try_get(2)? }))
        .collect::<Result<Vec<_>, DbError>>()?;
    for (version, name, text) in migrations::pending(part, known, &applied)? {
        let step = |connection: &mut PgConnection| {
            connection.run("BEGIN")?;
            // The gate that every writer passes (`worker.rs`): what another process commits while a table is made anew
            // would be in neither. The tables of the platform are made before there is a gate.
            connection.run(
                "DO $$ BEGIN IF to_regclass('q_store') IS NOT NULL THEN \
                 LOCK TABLE q_store IN EXCLUSIVE MODE; END IF; END $$",
            )?;
            connection.run(text)?;
            connection.execute(
                "INSERT INTO q_schema VALUES ($1, $2, $3, $4, $5, $6)",
                params![part, *version, *name, migrations::hash(text), PROGRAM, env.now()],
            )?;
            connection.run("COMMIT")
        };
        step(connection).map_err(|source| {
            // The connection goes away with the error, and the open transaction with it.
            let (module, name) = (part.to_owned(), (*name).to_owned());
            OpenError::Migration { module, version: *version, name, source }
        })?;
    }
    Ok(())
}

/// A server without fsync loses acknowledged writes with its power. It is the operator's server, and
/// throw-away servers of tests run that way on purpose, so this is a warning.
fn warn_if_not_durable(connection: &mut PgConnection) -> Result<(), OpenError> {
    let mut off = Vec::new();
    connection.query(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'",
        &[],
        &mut |row| {
            off.push(row.try_get::<String>(0).unwrap_or_default());
            true
        },
    )?;
    if !off.is_empty() {
        tracing::warn!(
            settings = off.join(", "),
            "the server may lose acknowledged writes: settings are off"
        );
    }
    Ok(())
}

/// The newest instant among the platform's rows, so that time does not go back over a restart.
fn restore_clock(connection: &mut PgConnection, env: &Env) -> Result<Timestamp, OpenError> {
    let mut last = None;
    connection.query(
        "SELECT GREATEST((SELECT at FROM q_outbox ORDER BY seq DESC LIMIT 1), \
         (SELECT at FROM q_audit ORDER BY seq DESC LIMIT 1))",
        &[],
        &mut |row| {
            last = row.try_get::<Option<Timestamp>>(0).ok().flatten();
            true
        },
    )?;
    Ok(last.map_or(env.now(), |last| last.max(env.now())))
}

fn start(config: &postgres::Config, shared: Arc<Shared>) -> Result<Engine, OpenError> {
    let (queues, writes, reads) = Queues::new();
    let (sequencer, sequences) = crossbeam_channel::unbounded::<Box<dyn WriteJob>>();
    let worker = || Worker {
        config: config.clone(),
        shared: shared.clone(),
        connection: None,
        is_counted: true,
        renewal: 0,
    };
    let mut threads = Vec::new();
    let mut spawn = |role: &str, body: Box<dyn FnOnce() + Send>| {
        let name = format!("{}-{role}", shared.module);
        let thread = thread::Builder::new().name(name).spawn(body);
        threads.push(thread.map_err(|source| OpenError::File { path: "a thread".into(), source })?);
        Ok::<(), OpenError>(())
    };
    for number in 0..WRITERS {
        let (worker, writes) = (worker(), writes.clone());
        spawn(&format!("write-{number}"), Box::new(move || worker.run_writes(&writes)))?;
    }
    for number in 0..READERS {
        let (worker, reads) = (worker(), reads.clone());
        spawn(&format!("read-{number}"), Box::new(move || worker.run_reads(&reads)))?;
    }
    let worker = Worker { is_counted: false, ..worker() };
    spawn("positions", Box::new(move || worker.run_writes(&sequences)))?;
    Ok(Engine { shared, queues, sequencer: Some(sequencer), threads })
}
