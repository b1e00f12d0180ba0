//! Keys that sign access tokens, their seeds still sealed.

use std::str::FromStr;

use q_core::Timestamp;
use q_db::{DbError, Reader, Row, Tx, params};

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Published, not used yet.
    Next,
    /// Signs.
    Active,
    /// No longer signs; published while its tokens live.
    Retired,
    /// Believed by nobody.
    Revoked,
}

impl State {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "NEXT",
            Self::Active => "ACTIVE",
            Self::Retired => "RETIRED",
            Self::Revoked => "REVOKED",
        }
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Next, Self::Active, Self::Retired, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(())
    }
}

/// A key as it stands in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name: the thumbprint of its public half.
    pub kid: String,
    /// The sealed seed.
    pub seed: Vec<u8>,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
}

/// All keys, oldest first.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<Stored>, DbError> {
    let sql = "SELECT kid, seed, state, created_at, retired_at FROM signing_keys ORDER BY created_at, kid";
    reader.query(sql, &[])?.iter().map(stored).collect()
}

/// Adds a key.
pub fn insert(tx: &mut Tx<'_>, kid: &str, seed: &[u8], state: State) -> Result<(), DbError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO signing_keys (kid, seed, state, created_at) VALUES ($1, $2, $3, $4)",
        params![kid.to_owned(), seed.to_vec(), state.as_str(), now],
    )?;
    Ok(())
}

/// Moves a key on in its life.
pub fn set_state(tx: &mut Tx<'_>, kid: &str, state: State) -> Result<(), DbError> {
    let retired_at = matches!(state, State::Retired | State::Revoked).then_some(tx.now());
    tx.execute(
        "UPDATE signing_keys SET state = $1, retired_at = $2 WHERE kid = $3",
        params![state.as_str(), retired_at, kid.to_owned()],
    )?;
    Ok(())
}

fn stored(row: &Row) -> Result<Stored, DbError> {
    Ok(Stored {
        kid: row.try_get(0)?,
        seed: row.try_get(1)?,
        state: row.parse(2)?,
        created_at: row.try_get(3)?,
        retired_at: row.try_get(4)?,
    })
}
