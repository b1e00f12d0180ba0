//! The tests of qwallet: the books against a naive twin, and every endpoint through the real router on both
//! engines and over both transports.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod aliases;
mod approvals;
mod bank;
mod batch;
mod beyond;
mod books;
mod escrows;
mod family_model;
mod faults;
mod fees;
mod guardians;
mod holds;
mod imports;
mod intents;
mod invocations;
mod issuance;
mod ledger;
mod limit_zones;
mod limits;
mod lost_commits;
mod model;
mod money_requests;
mod notes;
mod past;
mod payments;
mod profiles;
mod quotes;
mod rail_corrections;
mod rails;
mod reading;
mod receipts;
mod receiver;
mod recent;
mod recurrence;
mod refunds;
mod replicas;
mod rivals;
mod schedules;
mod snapshots;
mod statements;
mod step_up;
mod subscriptions;
mod support;
mod table;
mod tamper;
mod told;
mod told_why;
mod walk;
mod wallets;
mod webhooks;
mod withdrawals;
