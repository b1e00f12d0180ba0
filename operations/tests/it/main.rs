//! The desk as operators see it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod hall;
mod incidents;
mod ladder;
mod maintenance;
mod reports;
mod shop;
mod status;
mod town;
mod watch;
