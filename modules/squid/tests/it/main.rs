//! squid through its real router and store, on each engine and over each transport.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers may panic and say what they skip")]

mod family;
mod foreign;
mod identities;
mod logins;
mod logs;
mod resolving;
mod revocation;
mod second_keys;
mod support;
mod verify;
mod walk;
