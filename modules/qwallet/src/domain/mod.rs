//! What money is and which movements of it are right: accounts, transfers, holds, fees, payments, and
//! the forms in which other programs read the books.
//!
//! **Invariant:** pure. No store, no runtime, no clock, no randomness: time and ids are arguments.

pub mod account;
pub mod approvals;
pub mod books;
pub mod calendar;
pub mod chain;
pub mod clock;
pub mod currency;
pub mod escrows;
pub mod fees;
pub mod formats;
pub mod invocation;
pub mod limits;
pub mod money_request;
pub mod order;
pub mod payment;
pub mod payouts;
pub mod profile;
pub mod quotes;
pub mod rails;
pub mod receipt;
pub mod recurrence;
pub mod refunds;
pub mod schedules;
pub mod snapshot;
pub mod statement;
pub mod told;
pub mod transfer;
pub mod wallet_ref;
pub mod webhooks;
