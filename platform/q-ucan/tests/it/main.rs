//! The tests of q-ucan: official fixtures, a foreign implementation, hostile input, properties.
#![allow(
    missing_docs,
    clippy::match_same_arms,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod chains;
mod fixtures;
mod hostile;
mod peer;
mod support;
mod violations;
