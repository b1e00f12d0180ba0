//! Logins and the assertions that made them.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};

/// A login as it stands in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub did: Did,
    /// Which program logged in.
    pub client_id: String,
    /// The key that logged in.
    pub kid: String,
    /// The thumbprint of the key its token is bound to.
    pub jkt: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// The parent that took it, when it is not the identity's own login.
    pub switched_by: Option<Did>,
}

const COLUMNS: &str = "id, did, client_id, kid, jkt, created_at, expires_at, switched_by";

/// Notes that an assertion was used; `false` when it was used before.
pub fn use_assertion(tx: &mut Tx<'_>, did: &Did, jti: &str, expires_at: Timestamp) -> Result<bool, DbError> {
    let added = tx.execute(
        "INSERT INTO used_assertions (did, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        params![did, jti.to_owned(), expires_at],
    )?;
    Ok(added == 1)
}

/// Adds a login.
pub fn insert(tx: &mut Tx<'_>, session: &Stored) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO sessions (id, did, client_id, kid, jkt, created_at, expires_at, switched_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            &session.id,
            &session.did,
            &session.client_id,
            &session.kid,
            session.jkt.clone(),
            session.created_at,
            session.expires_at,
            session.switched_by.clone(),
        ],
    )?;
    Ok(())
}

/// The logins of an identity that live at `now`, newest first.
pub fn live(reader: &mut Reader<'_>, did: &Did, now: Timestamp) -> Result<Vec<Stored>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sessions WHERE did = $1 AND expires_at > $2 ORDER BY created_at DESC, id DESC"
    );
    reader.query(&sql, params![did, now])?.iter().map(stored).collect()
}

/// The logins that `parent` took of its sub-identities.
pub fn switched_by(reader: &mut Reader<'_>, parent: &Did) -> Result<Vec<Stored>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE switched_by = $1 ORDER BY id");
    reader.query(&sql, params![parent])?.iter().map(stored).collect()
}

/// The login, if it is still kept.
pub fn find(reader: &mut Reader<'_>, id: &str) -> Result<Option<Stored>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE id = $1");
    reader.query_opt(&sql, params![id.to_owned()])?.map(|row| stored(&row)).transpose()
}

/// Forgets a login.
pub fn delete(tx: &mut Tx<'_>, id: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE id = $1", params![id.to_owned()])?;
    Ok(())
}

/// Forgets all logins of an identity.
pub fn delete_all(tx: &mut Tx<'_>, did: &Did) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE did = $1", params![did])?;
    Ok(())
}

/// Forgets what ended before `instant`.
pub fn sweep(tx: &mut Tx<'_>, instant: Timestamp) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE expires_at < $1", params![instant])?;
    tx.execute("DELETE FROM used_assertions WHERE expires_at < $1", params![instant])?;
    Ok(())
}

fn stored(row: &Row) -> Result<Stored, DbError> {
    Ok(Stored {
        id: row.try_get(0)?,
        did: row.try_get(1)?,
        client_id: row.try_get(2)?,
        kid: row.try_get(3)?,
        jkt: row.try_get(4)?,
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        switched_by: row.try_get(7)?,
    })
}
