//! How the modules were at the newest look, and on each day.

use q_core::Timestamp;
use q_db::{DbError, Reader, Tx, params};

/// The days the status page shows.
pub const DAYS: i64 = 90;
const DAY_SECONDS: i64 = 86_400;

/// One module at the newest look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The module.
    pub module: String,
    /// When.
    pub at: Timestamp,
    /// `healthy`, `degraded`, `unhealthy` or `unreachable`.
    pub status: String,
    /// What it let through, or `unknown`.
    pub mode: String,
}

/// One day of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970.
    pub number: i64,
    /// How many looks counted.
    pub looks: i64,
    /// How many of them found it serving.
    pub serving: i64,
    /// How many of those found it serving in part only.
    pub degraded: i64,
}

/// The day of an instant.
pub const fn day_of(at: Timestamp) -> i64 {
    at.seconds().div_euclid(DAY_SECONDS)
}

/// The first instant of a day.
pub const fn start_of(day: i64) -> Timestamp {
    Timestamp::from_seconds(day * DAY_SECONDS)
}

/// The newest look at a module.
pub fn find(reader: &mut Reader<'_>, module: &str) -> Result<Option<Kept>, DbError> {
    let row =
        reader.query_opt("SELECT module, at, status, mode FROM looks WHERE module = $1", params![module])?;
    row.map(|row| kept(&row)).transpose()
}

/// Keeps a look.
pub fn keep(tx: &mut Tx<'_>, module: &str, status: &str, mode: &str) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO looks (module, at, status, mode) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (module) DO UPDATE SET at = excluded.at, status = excluded.status, mode = excluded.mode",
        params![module, tx.now(), status, mode],
    )?;
    Ok(())
}

/// Counts a look. Who lets nobody write serves in part; who lets nobody in does not serve.
pub fn count(tx: &mut Tx<'_>, module: &str, status: &str, mode: &str) -> Result<(), DbError> {
    let is_open = !matches!(mode, "maintenance" | "isolated");
    let serving = is_open && matches!(status, "healthy" | "degraded");
    let degraded = serving && (status == "degraded" || matches!(mode, "read-only" | "write-stopped"));
    tx.execute(
        "INSERT INTO look_days (module, day, looks, serving, degraded) VALUES ($1, $2, 1, $3, $4) \
         ON CONFLICT (module, day) DO UPDATE SET looks = look_days.looks + 1, \
         serving = look_days.serving + excluded.serving, degraded = look_days.degraded + excluded.degraded",
        params![module, day_of(tx.now()), serving, degraded],
    )?;
    Ok(())
}

/// The days of a module from `first` on, oldest first.
pub fn days(reader: &mut Reader<'_>, module: &str, first: i64) -> Result<Vec<Day>, DbError> {
    let sql =
        "SELECT day, looks, serving, degraded FROM look_days WHERE module = $1 AND day >= $2 ORDER BY day";
    let day = |row: &q_db::Row| {
        Ok(Day {
            number: row.try_get(0)?,
            looks: row.try_get(1)?,
            serving: row.try_get(2)?,
            degraded: row.try_get(3)?,
        })
    };
    reader.query(sql, params![module, first])?.iter().map(day).collect()
}

/// Whether anybody looked between `from` and `to`.
pub fn any_between(
    from: Timestamp,
    to: Timestamp,
) -> impl FnOnce(&mut Reader<'_>) -> Result<bool, DbError> + Send + 'static {
    let sql = "SELECT looks FROM look_days WHERE day >= $1 AND day < $2 LIMIT 1";
    move |reader| Ok(reader.query_opt(sql, params![day_of(from), day_of(to)])?.is_some())
}

/// Forgets days that no page and no report shows.
pub fn forget_before(tx: &mut Tx<'_>, day: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM look_days WHERE day < $1", params![day])?;
    Ok(())
}

fn kept(row: &q_db::Row) -> Result<Kept, DbError> {
    Ok(Kept { module: row.try_get(0)?, at: row.try_get(1)?, status: row.try_get(2)?, mode: row.try_get(3)? })
}
