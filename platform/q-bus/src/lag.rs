//! How far behind a subscription is, for health.

use q_core::Timestamp;
use serde::Serialize;

/// The state of one subscription with one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Who listens.
    pub subscriber: String,
    /// Who is listened to.
    pub producer: String,
    /// What for: the name of the cursor.
    pub subscription: String,
    /// The last position reacted to.
    pub position: i64,
    /// The newest position known.
    pub head: i64,
    /// How often the reaction at hand has failed in a row; 0 when all is well.
    pub failures: u32,
    /// Events put aside since the start.
    pub parked: u64,
    /// When the oldest of what waits was written; nothing while nothing waits.
    pub pending_since: Option<Timestamp>,
    /// Why the last reaction failed.
    pub last_error: Option<String>,
    /// Whether the producer runs in this process, or answered from its own one when it was last asked.
    pub is_connected: bool,
}

impl Lag {
    /// How many events (or rows) are waiting.
    pub const fn waiting(&self) -> i64 {
        self.head - self.position
    }
}
