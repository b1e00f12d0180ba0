//! squid through its real router and store, on each engine and over each transport.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers may panic and say what they skip")]

mod foreign;
mod identities;
mod logins;
mod logs;
mod resolving;
mod revocation;
mod support;
mod verify;
mod walk;
