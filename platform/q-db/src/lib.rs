//! Rows, events, audit entries and idempotency records in one commit, on SQLite or PostgreSQL.
//!
//! A module writes one SQL text with `$n` parameters over INTEGER/BIGINT, TEXT and BLOB/BYTEA columns
//! and runs it inside [`Db::read`] or [`Db::write`]; which engine answers is configuration. Storage is
//! synchronous code on its own threads (docs/decisions/0001), so the code inside is plain Rust.
//!
//! **Invariant:** no other crate knows which engine runs, and no write is answered before its commit
//! is durable.

// The rest of the house is kept away from these types; this crate is where they live.
#![expect(clippy::disallowed_types, reason = "this is the crate that knows the engines")]

pub mod backup;
mod bulk;
mod clock;
mod config;
mod db;
mod derived;
pub mod dump;
mod engine;
mod error;
mod figures;
mod forget;
mod health;
mod job;
mod look;
mod migrations;
pub mod mode;
mod parked;
mod postgres;
mod replicas;
mod shared;
mod sqlite;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
mod tx;
pub mod uses;
mod value;

pub use bulk::{Column, ColumnType};
pub use config::DbConfig;
pub use db::{Answer, Db};
pub use derived::Derive;
pub use error::{ConstraintKind, DbError, OpenError, Source};
pub use figures::{COMMIT_SECONDS, Figures};
pub use health::{Replication, Stats};
pub use look::{Look, look, platform_version};
pub use migrations::{Migration, Migrations};
pub use mode::{Mode, ModeKind, ModeOrder, StopCause, WriteStop};
pub use parked::Parked;
pub use q_core::RequestKey;
pub use replicas::{GONE_AFTER, Replica, Standing};
pub use streams::{AuditRow, OutboxRow};
pub use tx::{Reader, Tx};
pub use value::{FromValue, Row, Value};
