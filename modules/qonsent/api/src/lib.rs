//! What other modules and clients may see of qonsent: endpoints, wire types, codes, events, and two helpers:
//! making a delegation to hand in, and catching up with changes that were missed.
//!
//! **Invariant:** promises only. Nothing here reads a store or decides anything.

pub mod catch_up;
pub mod endpoints;
pub mod errors;
pub mod make;
pub mod types;

pub use catch_up::catch_up;
pub use endpoints::*;
pub use make::{NewDelegation, NotMade, operator_delegation};
pub use types::*;

/// What qonsent tells other modules. Declared in q-pdp, because every module's decision point reads it.
pub mod events {
    pub use q_pdp::event::{Change, DelegationRegistered, Digest, GrantIssued, GrantRevoked, RevocationHead};
}
