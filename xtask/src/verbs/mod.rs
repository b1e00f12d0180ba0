//! One file per verb.
//!
//! **Invariant:** a verb strings together what the other files of this crate offer; it has no machinery of its own.

pub mod bench;
pub mod check;
pub mod demo_payout;
pub mod drill;
pub mod drill_rolling;
mod drill_runbook;
pub mod generate;
pub mod test;
