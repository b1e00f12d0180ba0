//! qonsent as its callers see it: over the real router, on both engines.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unused_self,
    reason = "a test that cannot go on says so by stopping"
)]

mod bootstrap;
mod changes;
mod check;
mod conditions;
mod delegations;
mod grant;
mod permissions;
mod revoke;
mod support;
mod verify;
mod walk;
