//! Euro payments by files: what is to be paid as pain.001, what a bank says of that as pain.002, what it did as camt.053.
//!
//! Nobody is connected to: a person carries the files to the bank and back. Both are checked against the published
//! schemas.
//!
//! **Invariant:** an amount in a file is exact; what does not fit is refused.

mod account;
mod element;
mod payouts;
mod report;
mod statement;

pub use account::{Account, NotAnAccount};
pub use payouts::{House, NotRepresentable, Payout, payouts};
pub use report::{PaymentReport, PayoutReport, read_report};
pub use statement::{Entry, Money, Statement, StatementError, read_statement};
