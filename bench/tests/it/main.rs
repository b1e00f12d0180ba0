//! The generator against a server whose behaviour is known.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod generator;
