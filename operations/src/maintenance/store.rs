//! Maintenance windows, and approvals that were used.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_ops_api::maintenance::{MaintenanceId, MaintenanceMode, Window};

use super::domain::State;
use crate::words;

const COLUMNS: &str = "id, title, begins_at, ends_at, modules, mode, notify, announced, rollback_plan, state, \
                       planned_by, approved_by, created_at, updated_at";
/// The rows of one page.
pub const PAGE_ROWS: usize = 50;

/// A window as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: MaintenanceId,
    /// One line for everybody.
    pub title: String,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// The modules; empty for all.
    pub modules: Vec<String>,
    /// What they do meanwhile.
    pub mode: MaintenanceMode,
    /// How long ahead it is announced, in seconds.
    pub notify: Vec<i64>,
    /// Which of these were announced.
    pub announced: Vec<i64>,
    /// How to go back.
    pub rollback_plan: String,
    /// Where it stands.
    pub state: State,
    /// Who planned it.
    pub planned_by: Did,
    /// Who approved it.
    pub approved_by: Option<Did>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The modules that are paused by a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Whether it is all of them.
    pub all: bool,
    /// Some.
    pub modules: Vec<String>,
}

impl Held {
    /// Whether `module` is paused.
    pub fn holds(&self, module: &str) -> bool {
        self.all || self.modules.iter().any(|held| held == module)
    }
}

/// The window.
pub fn find(reader: &mut Reader<'_>, id: MaintenanceId) -> Result<Option<Kept>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM windows WHERE id = $1");
    reader.query_opt(&sql, params![id.to_string()])?.map(|row| kept(&row)).transpose()
}

/// Those that lie ahead or are on, soonest first.
pub fn open(reader: &mut Reader<'_>) -> Result<Vec<Kept>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM windows WHERE status IN ('scheduled', 'active', 'checking', 'failed') \
         ORDER BY begins_at, id"
    );
    reader.query(&sql, &[])?.iter().map(kept).collect()
}

/// Those that are over and changed after `since`, newest first; at most 200.
pub fn over_since(reader: &mut Reader<'_>, since: Timestamp) -> Result<Vec<Kept>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM windows WHERE status IN ('completed', 'cancelled', 'missed') AND updated_at >= $1 \
         ORDER BY begins_at DESC, id DESC LIMIT 200"
    );
    reader.query(&sql, params![since])?.iter().map(kept).collect()
}

/// Windows, latest first, one more than a page holds.
pub fn list(
    reader: &mut Reader<'_>,
    is_open: bool,
    before: Option<(Timestamp, MaintenanceId)>,
) -> Result<Vec<Kept>, DbError> {
    let (at, id) =
        before.map_or((Timestamp::from_micros(i64::MAX), "~".to_owned()), |(at, id)| (at, id.to_string()));
    let open = if is_open { "AND status IN ('scheduled', 'active', 'checking', 'failed')" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM windows WHERE (begins_at < $1 OR (begins_at = $1 AND id < $2)) {open} \
         ORDER BY begins_at DESC, id DESC LIMIT {}",
        PAGE_ROWS + 1
    );
    reader.query(&sql, params![at, id])?.iter().map(kept).collect()
}

/// The modules that are paused now.
pub fn held_modules(reader: &mut Reader<'_>) -> Result<Held, DbError> {
    let windows: Vec<Kept> = open(reader)?.into_iter().filter(|window| window.state.holds()).collect();
    Ok(Held {
        all: windows.iter().any(|window| window.modules.is_empty()),
        modules: windows.into_iter().flat_map(|window| window.modules).collect(),
    })
}

/// Adds a window.
pub fn insert(tx: &mut Tx<'_>, window: &Kept, approval: Option<&str>) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO windows (id, title, begins_at, ends_at, modules, mode, notify, announced, rollback_plan, status, \
         state, planned_by, approved_by, approval, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        params![
            window.id.to_string(),
            &window.title,
            window.from,
            window.to,
            words::json(&window.modules),
            words::word(window.mode),
            words::json(&window.notify),
            words::json(&window.announced),
            &window.rollback_plan,
            words::word(window.state.status()),
            words::json(&window.state),
            &window.planned_by,
            window.approved_by.as_ref(),
            approval,
            window.created_at,
            window.updated_at,
        ],
    )?;
    Ok(())
}

/// Keeps where a window stands, its end, and what was announced.
pub fn update(tx: &mut Tx<'_>, window: &Kept) -> Result<(), DbError> {
    tx.execute(
        "UPDATE windows SET ends_at = $2, announced = $3, status = $4, state = $5, updated_at = $6 WHERE id = $1",
        params![
            window.id.to_string(),
            window.to,
            words::json(&window.announced),
            words::word(window.state.status()),
            words::json(&window.state),
            tx.now(),
        ],
    )?;
    Ok(())
}

/// Notes that an approval was used; `false` when it was used before.
pub fn use_approval(tx: &mut Tx<'_>, nonce: &str, expires_at: Timestamp) -> Result<bool, DbError> {
    tx.execute("DELETE FROM used_approvals WHERE expires_at < $1", params![tx.now()])?;
    let added = tx.execute(
        "INSERT INTO used_approvals (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        params![nonce, expires_at],
    )?;
    Ok(added == 1)
}

impl From<Kept> for Window {
    fn from(kept: Kept) -> Self {
        let incident = match &kept.state {
            State::Failed { incident, .. } => Some(*incident),
            _ => None,
        };
        Self {
            id: kept.id,
            title: kept.title,
            from: kept.from,
            to: kept.to,
            modules: kept.modules,
            mode: kept.mode,
            notify_seconds: kept.notify,
            rollback_plan: kept.rollback_plan,
            status: kept.state.status(),
            started_at: kept.state.started_at(),
            ended_at: kept.state.ended_at(),
            checks: kept.state.checks().to_vec(),
            incident,
            planned_by: kept.planned_by,
            approved_by: kept.approved_by,
            created_at: kept.created_at,
        }
    }
}

fn kept(row: &Row) -> Result<Kept, DbError> {
    Ok(Kept {
        id: row.parse(0)?,
        title: row.try_get(1)?,
        from: row.try_get(2)?,
        to: row.try_get(3)?,
        modules: words::of_json(&row.try_get::<String>(4)?)?,
        mode: words::of_word(row.try_get(5)?)?,
        notify: words::of_json(&row.try_get::<String>(6)?)?,
        announced: words::of_json(&row.try_get::<String>(7)?)?,
        rollback_plan: row.try_get(8)?,
        state: words::of_json(&row.try_get::<String>(9)?)?,
        planned_by: row.parse(10)?,
        approved_by: row
            .try_get::<Option<String>>(11)?
            .map(|did| did.parse())
            .transpose()
            .map_err(|_| DbError::BadRow { column: 11, expected: "a DID" })?,
        created_at: row.try_get(12)?,
        updated_at: row.try_get(13)?,
    })
}
