//! Nouns and decisions: what a profile may hold, who sees it, what a change of keys means.
//!
//! **Invariant:** pure; no store, no HTTP, no clock.

pub mod family;
pub mod identity;
pub mod key_change;
pub mod profile;
pub mod scope;
