//! Sealed fields read by other people's programs, and theirs by ours.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod oracle;
mod speed;
mod xaes;
