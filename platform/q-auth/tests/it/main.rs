//! Credentials as a server meets them: good ones, bent ones, stolen ones, late ones.

#![allow(clippy::result_large_err, reason = "tests hold one problem at a time")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod directory;
mod foreign;
mod proofs;
mod revoked;
mod support;
mod tokens;
