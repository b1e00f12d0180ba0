//! Our JOSE texts read by other people's libraries, and theirs by us.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod foreign;
