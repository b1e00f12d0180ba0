//! The tests of q-pdp: the decision table, the order of changes, freshness, and a naive twin.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests fail by panicking")]

mod decisions;
mod keys;
mod model;
mod speed;
mod support;
