//! What other modules may know of squid: its endpoints, their types, its errors and its events.
//!
//! **Invariant:** declarations only; nothing here reads a store or decides anything.

pub mod endpoints;
pub mod errors;
pub mod events;
pub mod family;
pub mod second_keys;
pub mod types;

pub use endpoints::*;
pub use family::*;
pub use second_keys::*;
pub use types::*;
