//! Who is asking, checked without a network: access tokens, proofs of possession, revocations, keys.
//!
//! The credential is an OAuth 2.1 access token in JWT form (RFC 9068), signed with EdDSA, bound to a key
//! of the sender by DPoP (RFC 9449) or, where the caller chose less, a plain bearer token. Every module
//! checks it alone: the issuer's public keys, and what has been revoked, arrive beforehand.
//!
//! - [`Authenticator`] checks the credentials of a request.
//! - [`Revocations`] holds what was revoked, fed by events.
//! - [`KeyDirectory`] tells which keys an identity holds, from its verified log.
//! - [`issue`] and [`prove`] are the other side: making tokens, assertions and proofs.
//!
//! **Invariant:** a check never waits for a network; what cannot be decided from what is known is refused.

pub mod authenticator;
pub mod claims;
pub mod codes;
pub mod credential;
pub mod directory;
pub mod dpop;
mod generations;
pub mod issue;
pub mod prove;
pub mod revocations;

pub use authenticator::{Authenticator, Expected, KeyLoader, LoadFailed};
pub use claims::Claims;
pub use credential::{DpopCredential, TokenSource};
pub use directory::{IdentityKeys, KeyDirectory, LogLoader, SignatureRefused, Standing};
pub use revocations::Revocations;
