//! Use cases: each opens one transaction, asks the domain, tells the store.
//!
//! **Invariant:** no HTTP and no SQL text; nothing personal leaves sealed storage except in an answer.

pub mod family;
pub mod identities;
pub mod limits;
pub mod logins;
pub mod logs;
pub mod resolving;
pub mod second_keys;
pub mod sessions;
pub mod signing_keys;
