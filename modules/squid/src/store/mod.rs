//! SQL: one file per noun, one function per question.
//!
//! **Invariant:** decides nothing; what is sealed passes through as bytes.

pub mod epoch;
pub mod identities;
pub mod links;
pub mod log_entries;
pub mod second_keys;
pub mod sessions;
pub mod signing_keys;
