//! What other modules may know of qerberos: its endpoints, their types, its errors and its events.
//!
//! **Invariant:** declarations only; nothing here reads a store or decides anything.

pub mod details;
pub mod endpoints;
pub mod errors;
pub mod events;
pub mod types;

pub use details::Details;
pub use endpoints::*;
pub use types::*;
