//! What an operator asks a store: how big, how old, how sound.

use std::path::Path;

use serde::Serialize;

use crate::{Db, DbConfig, DbError, tx::Reader};

/// The figures of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Bytes on disk, the log included.
    pub size_bytes: u64,
    /// The schema the store is at.
    pub migrations: u32,
    /// How many events the outbox has ever held.
    pub outbox_depth: i64,
    /// Commits since the store was opened by this process.
    pub commits: u64,
    /// Writes those commits carried; more than `commits` when writes shared them.
    pub writes: u64,
    /// The copies of the server, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
}

/// The standbys of a PostgreSQL server, as far as it tells this user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Whether the server is itself a standby.
    pub is_standby: bool,
    /// How many standbys are connected.
    pub standbys: i64,
    /// How many of them a commit waits for, as far as it is told.
    pub synchronous_standbys: i64,
    /// How far the furthest behind is, in bytes of the log; not known without the right to look.
    pub replay_lag_bytes: Option<i64>,
}

impl Db {
    /// The figures of the store.
    pub async fn stats(&self) -> Result<Stats, DbError> {
        let (commits, writes) = self.counts();
        let size_bytes = self.size_bytes().await?;
        let replication = if self.is_postgres() { Some(self.read(replication).await?) } else { None };
        Ok(Stats {
            engine: self.config().engine(),
            size_bytes,
            migrations: self.migrations().version(),
            outbox_depth: self.outbox_head().await?,
            commits,
            writes,
            replication,
        })
    }

    /// Bytes on disk, the log included.
    pub async fn size_bytes(&self) -> Result<u64, DbError> {
        match self.config() {
            DbConfig::Sqlite { path } => Ok(file_bytes(path, "") + file_bytes(path, "-wal")),
            DbConfig::Postgres { .. } => {
                self.read(|reader| {
                    reader.query_one("SELECT pg_database_size(current_database())", &[])?.try_get(0)
                })
                .await
            }
        }
    }

    /// Asks the engine to check its own structures; each line names one damage.
    ///
    /// SQLite reads every page and every index, and follows every reference. It does not see a flipped
    /// bit inside a value: that is what a module's `verify` is for. PostgreSQL is asked to read every
    /// row through the table itself, which finds broken pages and values; damaged indexes stay unseen
    /// (`amcheck` needs a superuser).
    pub async fn check(&self) -> Result<Vec<String>, DbError> {
        if self.is_postgres() { self.check_postgres().await } else { self.check_sqlite().await }
    }

    async fn check_sqlite(&self) -> Result<Vec<String>, DbError> {
        let checked = self
            .read(|reader| {
                let mut findings = Vec::new();
                for row in reader.query("PRAGMA integrity_check", &[])? {
                    let line: String = row.try_get(0)?;
                    if line != "ok" {
                        findings.push(line);
                    }
                }
                for row in reader.query("PRAGMA foreign_key_check", &[])? {
                    let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
                    let rowid: Option<i64> = row.try_get(1)?;
                    let place = rowid.map_or_else(String::new, |rowid| format!(" row {rowid}"));
                    findings.push(format!("{table}{place} refers to a missing row of {parent}"));
                }
                Ok(findings)
            })
            .await;
        damage_is_a_finding(checked)
    }

    async fn check_postgres(&self) -> Result<Vec<String>, DbError> {
        let tables: Vec<String> = self
            .read(|reader| {
                let rows = reader.query(
                    "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) \
                     FROM information_schema.tables \
                     WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1",
                    &[],
                )?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, DbError>>()
            })
            .await?;
        let mut findings = Vec::new();
        for table in tables {
            let read = self
                .read(move |reader| {
                    // Turning each row into text reads its every value, those stored aside included.
                    let sql = format!("SELECT COUNT(length(whole::text)) FROM {table} AS whole");
                    reader.query_one(&sql, &[])?;
                    Ok(Vec::new())
                })
                .await;
            findings.extend(damage_is_a_finding(read)?);
        }
        Ok(findings)
    }
}

/// What the server says of its copies. Without the right to look (`pg_monitor`) it counts them and hides the rest.
fn replication(reader: &mut Reader<'_>) -> Result<Replication, DbError> {
    let row = reader.query_one(
        "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END::bigint, COUNT(*), \
         COUNT(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), \
         MAX(pg_wal_lsn_diff(sent_lsn, replay_lsn))::bigint FROM pg_stat_replication",
        &[],
    )?;
    Ok(Replication {
        is_standby: row.try_get::<i64>(0)? != 0,
        standbys: row.try_get(1)?,
        synchronous_standbys: row.try_get(2)?,
        replay_lag_bytes: row.try_get(3)?,
    })
}

/// Damage that stops the check is what the check was looking for.
fn damage_is_a_finding(checked: Result<Vec<String>, DbError>) -> Result<Vec<String>, DbError> {
    match checked {
        Err(error @ DbError::Corrupt(_)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Ok(vec![format!("{error}: {cause}")])
        }
        other => other,
    }
}

fn file_bytes(path: &Path, suffix: &str) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    std::fs::metadata(name).map_or(0, |data| data.len())
}
