//! UCAN 1.0: delegations, invocations, their policy language, and the validation of chains.
//!
//! A delegation says "whoever holds the key of `aud` may do `cmd` to what `sub` owns, as far as `pol` allows". A
//! chain of them, root first, proves an invocation. Sources: `ucan-wg/spec` 1.0.0 and its sub-specifications for
//! delegation, invocation and containers.
//!
//! Decoding is strict: a token is canonical DAG-CBOR, byte for byte, or it is refused, so that one token has one
//! content identifier. Time, keys and revocations come in as arguments.
//!
//! **Invariant:** no clock, no network, no storage; nothing hostile in a token makes it panic or work for long.

pub mod chain;
mod cid;
mod claims;
mod command;
pub mod container;
pub mod dag_json;
mod delegation;
mod envelope;
mod error;
mod invocation;
mod issuer;
mod key;
pub mod policy;

pub use chain::{Chain, Keys, Proofs, Revocations, Rules, Verifier};
pub use cid::{NotACid, TokenCid};
pub use command::{Command, NotACommand};
pub use delegation::{Delegation, DelegationDraft};
pub use envelope::{TOKEN_BYTES_MAX, Version};
pub use error::Refusal;
pub use invocation::{Invocation, InvocationDraft};
pub use ipld_core::ipld::Ipld;
pub use issuer::Issuer;
pub use key::{Algorithm, VerifyingKey};
pub use policy::Policy;
