//! Credentials as a server meets them: good ones, bent ones, stolen ones, late ones.

#![allow(clippy::result_large_err, reason = "tests hold one problem at a time")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test helpers may panic and say what they skip")]

mod directory;
mod foreign;
mod proofs;
mod revoked;
mod support;
mod tokens;
