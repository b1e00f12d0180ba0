//! Keys and what is done with them, without store, wire or clock.
//!
//! **Invariant:** pure functions; a secret leaves this room wrapped, or not at all.

pub mod age_file;
pub mod envelope;
pub mod hierarchy;
pub mod material;
pub mod wrap;
