//! What others may know of the operator's desk: its endpoints, their types, its errors and its events, by room.
//!
//! **Invariant:** declarations only; nothing here reads a store or decides anything.

pub mod incidents;
pub mod maintenance;
pub mod overview;
pub mod reports;
pub mod status;
pub mod watch;

/// May act as an operator, where a token is narrowed by scopes.
pub const SCOPE: &str = "instance:admin";
