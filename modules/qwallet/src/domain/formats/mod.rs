//! What a stranger's program reads: one file a format.
//!
//! Amounts are written digit by digit, as exact as they are kept, or the format refuses: nothing is rounded. Text that
//! people typed is made safe for the format it is written into, and never ends a record or begins a formula.
//!
//! **Invariant:** pure. What is written follows from the statement or the books alone.

pub mod camt053;
pub mod csv;
pub mod journal;
pub mod ofx;
pub mod pain002;
#[cfg(test)]
mod tests;
mod text;
mod xml;

/// Why a format cannot hold what is to be written, and which one can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NotRepresentable {
    /// What does not fit.
    pub what: String,
    /// What to ask for instead.
    pub instead: &'static str,
}

impl NotRepresentable {
    /// `what` does not fit; `instead` does.
    pub fn new(what: impl Into<String>, instead: &'static str) -> Self {
        Self { what: what.into(), instead }
    }
}
