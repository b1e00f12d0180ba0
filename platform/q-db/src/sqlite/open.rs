//! Opening a file: lock, durability, shape, threads.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use q_core::{Env, Timestamp};

use crate::{
    DbError, Migrations, OpenError,
    db::{Absent, Engine, Queues},
    migrations::{self, Applied, BOOTSTRAP, Migration, PLATFORM, PLATFORM_SQLITE, PROGRAM},
    params,
    shared::Shared,
    sqlite::{SqliteConnection, reader, writer::Writer},
};

/// How long to wait for a process that is just stopping.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);

/// So that an export and a verification do not hold up everybody else's reads.
const READERS_MIN: usize = 4;

/// Opens or makes the store at `path` and starts its threads.
pub(crate) fn open(
    path: &Path,
    absent: Absent,
    migrations: &Migrations,
    env: &Env,
) -> Result<Engine, OpenError> {
    match absent {
        Absent::Make => prepare_folder(path)?,
        Absent::Refuse => was_there(path, migrations.module)?,
    }
    let lock = lock(path)?;
    // SQLite would make it for everybody to read; its log and shared memory get the mode of the file.
    drop(private_file(path)?);
    let mut connection = writer_connection(path)?;
    connection.run(BOOTSTRAP)?;
    belongs_to(&mut connection, migrations.module)?;
    migrate(&mut connection, env, PLATFORM, PLATFORM_SQLITE)?;
    migrate(&mut connection, env, migrations.module, migrations.sqlite)?;
    let clock = restore_clock(&mut connection, env)?;
    let shared = Arc::new(Shared::new(migrations.module, env.clone(), clock));
    start(path, shared, connection, lock)
}

/// A connection that writes durably, or a refusal.
pub(super) fn writer_connection(path: &Path) -> Result<SqliteConnection, DbError> {
    let mut connection = SqliteConnection::open(path, true)?;
    let mut mode = String::new();
    connection.query("PRAGMA journal_mode = WAL", &[], &mut |row| {
        mode = row.try_get(0).unwrap_or_default();
        true
    })?;
    connection.run(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;",
    )?;
    let mut level = 0_i64;
    connection.query("PRAGMA synchronous", &[], &mut |row| {
        level = row.try_get(0).unwrap_or_default();
        true
    })?;
    if mode != "wal" || level != 2 {
        let missing = format!("a write-ahead log with full syncs (journal {mode}, synchronous {level})");
        return Err(DbError::Unavailable(Arc::new(OpenError::NotDurable(missing))));
    }
    Ok(connection)
}

/// Refuses a file that is gone or empty, before anything is made beside it.
fn was_there(path: &Path, module: &str) -> Result<(), OpenError> {
    let what = match std::fs::metadata(path) {
        Ok(file) if file.len() > 0 => return has_store(path, module),
        Ok(_) => "is empty",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist",
        Err(source) => return Err(OpenError::File { path: path.to_owned(), source }),
    };
    Err(OpenError::Missing { module: module.to_owned(), place: format!("{} {what}", path.display()) })
}

/// Refuses a database without our tables.
fn has_store(path: &Path, module: &str) -> Result<(), OpenError> {
    let mut is_ours = false;
    SqliteConnection::open(path, true)?.query(
        "SELECT 1 FROM sqlite_master WHERE name = 'q_store'",
        &[],
        &mut |_| {
            is_ours = true;
            true
        },
    )?;
    if is_ours {
        return Ok(());
    }
    let place = format!("{} holds none of its tables", path.display());
    Err(OpenError::Missing { module: module.to_owned(), place })
}

fn prepare_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| OpenError::File { path: folder.to_owned(), source })
}

/// Opens a file, which is made for its owner only if there is none.
pub(crate) fn private_file(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Takes the lock file beside the store; the lock goes with the process, whatever happens to it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut place = path.as_os_str().to_owned();
    place.push(".lock");
    let place = PathBuf::from(place);
    let refused = |source| OpenError::File { path: place.clone(), source };
    let mut file = private_file(&place)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(refused(source)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT_MAX => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(refused)?;
                return Err(OpenError::Locked { path: path.to_owned(), pid: pid.trim().to_owned() });
            }
        }
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(refused)?;
    writeln!(file, "{}", std::process::id()).map_err(refused)?;
    Ok(file)
}

fn belongs_to(connection: &mut SqliteConnection, module: &str) -> Result<(), OpenError> {
    let mut found = None;
    connection.query("SELECT value FROM q_store WHERE name = 'module'", &[], &mut |row| {
        found = row.try_get::<String>(0).ok();
        true
    })?;
    match found {
        Some(found) if found != module => Err(OpenError::WrongModule { found, expected: module.to_owned() }),
        Some(_) => Ok(()),
        None => {
            connection.execute("INSERT INTO q_store VALUES ('module', $1)", params![module])?;
            Ok(())
        }
    }
}

fn migrate(
    connection: &mut SqliteConnection,
    env: &Env,
    part: &str,
    known: &[Migration],
) -> Result<(), OpenError> {
    let mut applied = Vec::new();
    connection.query(
        "SELECT version, hash, writer FROM q_schema WHERE part = $1 ORDER BY version",
        params![part],
        &mut |row| {
            applied.push(row);
            true
        },
    )?;
    let applied = applied
        .iter()
        .map(|row| Ok(Applied { version: row.try_get(0)?, hash: row.try_get(1)?, writer: row.try_get(2)? }))
        .collect::<Result<Vec<_>, DbError>>()?;
    for (version, name, text) in migrations::pending(part, known, &applied)? {
        let step = |connection: &mut SqliteConnection| {
            connection.run("BEGIN IMMEDIATE")?;
            connection.run(text)?;
            connection.execute(
                "INSERT INTO q_schema VALUES ($1, $2, $3, $4, $5, $6)",
                params![part, *version, *name, migrations::hash(text), PROGRAM, env.now()],
            )?;
            connection.run("COMMIT")
        };
        if let Err(source) = step(connection) {
            if !connection.is_idle() {
                connection.run("ROLLBACK")?;
            }
            let (module, name) = (part.to_owned(), (*name).to_owned());
            return Err(OpenError::Migration { module, version: *version, name, source });
        }
    }
    Ok(())
}

/// The last instant this store has seen, so that its time does not go back over a restart.
fn restore_clock(connection: &mut SqliteConnection, env: &Env) -> Result<Timestamp, OpenError> {
    connection.execute(
        "INSERT INTO q_store VALUES ('clock', $1) ON CONFLICT (name) DO NOTHING",
        params![env.now().micros().to_string()],
    )?;
    let mut last = None;
    connection.query("SELECT value FROM q_store WHERE name = 'clock'", &[], &mut |row| {
        last = row.parse::<i64>(0).ok();
        true
    })?;
    Ok(last.map_or(env.now(), Timestamp::from_micros))
}

fn start(
    path: &Path,
    shared: Arc<Shared>,
    connection: SqliteConnection,
    lock: File,
) -> Result<Engine, OpenError> {
    let (queues, writes, reads) = Queues::new();
    let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
        thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(|source| OpenError::File { path: path.to_owned(), source })
    };
    let writer = Writer::new(path, shared.clone(), connection, lock);
    let module = shared.module.clone();
    let mut threads = vec![spawn(format!("{module}-write"), Box::new(move || writer.run(&writes)))?];
    let readers =
        thread::available_parallelism().map_or(READERS_MIN, std::num::NonZero::get).clamp(READERS_MIN, 8);
    for number in 0..readers {
        let (path, shared, reads) = (path.to_owned(), shared.clone(), reads.clone());
        threads.push(spawn(
            format!("{module}-read-{number}"),
            Box::new(move || reader::run(&path, &shared, &reads)),
        )?);
    }
    Ok(Engine { shared, queues, sequencer: None, threads })
}
