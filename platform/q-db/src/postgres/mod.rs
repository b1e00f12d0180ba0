//! The server engine: a few writer threads, a few readers, one sequencer, each with its own connection.
//!
//! **Invariant:** a write is run again only when it is certain that its last run left nothing behind.

mod connection;
mod open;
mod values;
mod worker;

pub(crate) use connection::{PgConnection, classified};
pub(crate) use open::{open, reach_raw};
