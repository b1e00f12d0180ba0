//! Events whose reaction failed for good: kept in sight until somebody decides.

use q_core::{Event, Timestamp, event::EventId};
use serde::{Deserialize, Serialize};

use crate::{Db, DbError, Row, Tx, params};

/// A parked event (a dead letter).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// Whose reaction failed.
    pub subscription: String,
    /// Its place in the producer's outbox.
    pub position: i64,
    /// The event.
    pub event: Event,
    /// Why the reaction failed.
    pub error: String,
    /// When it was parked.
    pub at: Timestamp,
}

impl Db {
    /// The parked events, oldest first.
    pub async fn parked(&self) -> Result<Vec<Parked>, DbError> {
        self.read(|reader| {
            reader
                .query(
                    "SELECT subscription, position, event, error, at FROM q_parked ORDER BY at, position",
                    &[],
                )?
                .iter()
                .map(parked)
                .collect()
        })
        .await
    }
}

impl Tx<'_> {
    /// Puts an event aside. The same event again replaces the error.
    pub fn park(
        &mut self,
        subscription: &str,
        position: i64,
        event: &Event,
        error: &str,
    ) -> Result<(), DbError> {
        let (text, now) = (serde_json::to_string(event)?, self.now());
        self.execute(
            "INSERT INTO q_parked (subscription, event_id, position, event, error, at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (subscription, event_id) DO UPDATE SET error = excluded.error",
            params![subscription, event.id.to_string(), position, text, error.replace('\0', "?"), now],
        )?;
        Ok(())
    }

    /// Forgets a parked event. `false` when it was not parked.
    pub fn unpark(&mut self, subscription: &str, event: &EventId) -> Result<bool, DbError> {
        let gone = self.execute(
            "DELETE FROM q_parked WHERE subscription = $1 AND event_id = $2",
            params![subscription, event.to_string()],
        )?;
        Ok(gone > 0)
    }
}

fn parked(row: &Row) -> Result<Parked, DbError> {
    Ok(Parked {
        subscription: row.try_get(0)?,
        position: row.try_get(1)?,
        event: serde_json::from_str(&row.try_get::<String>(2)?)?,
        error: row.try_get(3)?,
        at: row.try_get(4)?,
    })
}
