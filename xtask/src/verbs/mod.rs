//! One file per verb.
//!
//! **Invariant:** a verb strings together what the other files of this crate offer; it has no machinery of its own.

pub mod bench;
pub mod check;
pub mod demo_payout;
pub mod openapi;
pub mod test;
