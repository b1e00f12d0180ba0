//! JOSE: the signatures and sealed values that leave this house in a form other programs read.
//!
//! **Invariant:** one cryptographic backend (aws-lc-rs); no algorithm is chosen by the message alone.

pub mod base64url;
pub mod ed25519;
pub mod jwe;
pub mod jwk;
pub mod jws;
pub mod strict_json;

pub use ed25519::{PublicKey, SecretKey, Signature};
pub use jwk::{Jwk, JwkSet, thumbprint};

#[cfg(test)]
mod wycheproof_tests;
