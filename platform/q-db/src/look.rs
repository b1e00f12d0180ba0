//! A store seen from outside: what shape it has and whether it is sound, while somebody else may be writing to it.
//!
//! **Invariant:** nothing here makes, locks, migrates or changes a store.

use std::time::Duration;

use q_core::Timestamp;

use crate::{
    DbConfig, DbError, Migrations, OpenError, Row, Value,
    migrations::{self, Applied, Migration, PLATFORM, PLATFORM_POSTGRES, PLATFORM_SQLITE},
    params,
    postgres::PgConnection,
    sqlite::SqliteConnection,
};

/// What a look at a store told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The newest step of the module's schema that the store has run.
    pub schema: u32,
    /// The newest step of the schema that every store has.
    pub platform: u32,
    /// How many steps this program would run when it opens the store.
    pub pending: usize,
    /// What the engine's own quick check complains about; empty when it was not asked or is content.
    pub complaints: Vec<String>,
    /// The server's clock, where the store has a server.
    pub clock: Option<Timestamp>,
}

/// The newest step of the schema that every store has, as this program knows it.
pub fn platform_version() -> u32 {
    PLATFORM_SQLITE.last().map_or(0, |step| step.0)
}

/// Looks at the store of `migrations`' module; `is_thorough` has the engine check its pages, which reads all of them.
///
/// Refuses what [`Db::open_existing`](crate::Db::open_existing) would refuse for its shape: a store that is gone, or
/// that a newer or another program has written.
pub async fn look(config: &DbConfig, migrations: &Migrations, is_thorough: bool) -> Result<Look, OpenError> {
    let (config, migrations) = (config.clone(), *migrations);
    let looked = tokio::task::spawn_blocking(move || match &config {
        DbConfig::Sqlite { path } => {
            let missing = |what: &str| OpenError::Missing {
                module: migrations.module.to_owned(),
                place: format!("{} {what}", path.display()),
            };
            match std::fs::metadata(path) {
                Ok(file) if file.len() > 0 => {}
                Ok(_) => return Err(missing("is empty")),
                Err(_) => return Err(missing("does not exist")),
            }
            let mut store = SqliteConnection::open(path, false)?;
            let mut look =
                shape(&migrations, (PLATFORM_SQLITE, migrations.sqlite), &mut |sql, params, each| {
                    store.query(sql, params, each)
                })?;
            if is_thorough {
                store.query("PRAGMA quick_check(10)", &[], &mut |row| {
                    look.complaints.extend(row.try_get::<String>(0));
                    true
                })?;
                look.complaints.retain(|complaint| complaint != "ok");
            }
            Ok(look)
        }
        DbConfig::Postgres { url } => {
            let mut config: postgres::Config =
                url.parse().map_err(|_| OpenError::BadConfig("the PostgreSQL URL cannot be read".into()))?;
            config.connect_timeout(Duration::from_secs(5));
            let mut store = PgConnection::connect(&config)?;
            let mut look =
                shape(&migrations, (PLATFORM_POSTGRES, migrations.postgres), &mut |sql, params, each| {
                    store.query(sql, params, each)
                })?;
            let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
            store.query(sql, &[], &mut |row| {
                look.clock = row.try_get::<i64>(0).ok().map(Timestamp::from_micros);
                true
            })?;
            Ok(look)
        }
    });
    looked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// A statement with its parameters, and what is done with each row.
type Ask<'a> = &'a mut dyn FnMut(&str, &[Value], &mut dyn FnMut(Row) -> bool) -> Result<(), DbError>;

fn shape(
    migrations: &Migrations,
    (platform, own): (&[Migration], &[Migration]),
    ask: Ask<'_>,
) -> Result<Look, OpenError> {
    let mut whose = None;
    ask("SELECT value FROM q_store WHERE name = 'module'", &[], &mut |row| {
        whose = row.try_get::<String>(0).ok();
        true
    })?;
    if let Some(found) = whose
        && found != migrations.module
    {
        return Err(OpenError::WrongModule { found, expected: migrations.module.to_owned() });
    }
    let mut pending = 0;
    let mut newest = |part: &str, known: &[Migration]| -> Result<u32, OpenError> {
        let mut rows = Vec::new();
        let sql = "SELECT version, hash, writer FROM q_schema WHERE part = $1 ORDER BY version";
        ask(sql, params![part], &mut |row| {
            rows.push(row);
            true
        })?;
        let applied = rows
            .iter()
            .map(|row| {
                Ok(Applied { version: row.try_get(0)?, hash: row.try_get(1)?, writer: row.try_get(2)? })
            })
            .collect::<Result<Vec<_>, DbError>>()?;
        pending += migrations::pending(part, known, &applied)?.len();
        Ok(applied.last().map_or(0, |last| last.version))
    };
    let (platform, schema) = (newest(PLATFORM, platform)?, newest(migrations.module, own)?);
    Ok(Look { schema, platform, pending, complaints: Vec::new(), clock: None })
}

#[cfg(test)]
mod tests {
    use q_core::Env;

    use super::*;
    use crate::Db;

    const STEPS: &[Migration] =
        &[(1, "one", "CREATE TABLE a (b BIGINT)"), (2, "two", "CREATE TABLE c (d BIGINT)")];

    #[tokio::test]
    async fn a_store_is_seen_while_it_is_open_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let config = DbConfig::sqlite(folder.path().join("m.sqlite"));
        let (old, new) = (Migrations::new("m", &STEPS[..1], &STEPS[..1]), Migrations::new("m", STEPS, STEPS));
        let missing = look(&config, &new, true).await.unwrap_err();
        assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");

        let db = Db::open(&config, &old, &Env::system()).await.unwrap();
        let seen = look(&config, &new, true).await.unwrap();
        assert_eq!((seen.schema, seen.pending, seen.complaints.len()), (1, 1, 0));
        db.close().await;
        assert_eq!(look(&config, &new, true).await.unwrap(), seen);

        Db::open(&config, &new, &Env::system()).await.unwrap().close().await;
        let newer = look(&config, &old, false).await.unwrap_err();
        assert!(matches!(newer, OpenError::Newer { store: 2, known: 1, .. }), "{newer}");
        let other = look(&config, &Migrations::new("n", STEPS, STEPS), false).await.unwrap_err();
        assert!(matches!(other, OpenError::WrongModule { .. }), "{other}");
    }
}
