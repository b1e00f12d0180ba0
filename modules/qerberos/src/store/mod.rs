//! The rows of the trail: one file per noun, one function per question.
//!
//! **Invariant:** SQL and nothing else; no rule is decided here.

pub mod checkpoints;
pub mod events;
pub mod head;
pub mod producers;
pub mod secrets;
pub mod tiles;

use q_db::Migrations;

/// How the store gets its shape.
pub const MIGRATIONS: Migrations = Migrations::new(
    "qerberos",
    &[
        (1, "trail", include_str!("../../migrations/sqlite/0001_trail.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_SQLITE),
    ],
    &[
        (1, "trail", include_str!("../../migrations/postgres/0001_trail.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_POSTGRES),
    ],
);

/// A count as the columns keep it.
///
/// # Panics
/// Above 2^63, which no counter of the trail reaches.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).expect("counters of the trail stay below 2^63")
}
