//! What makes a repeated write recognisable: the `Idempotency-Key` and what it was first used for.

use crate::{Caller, hash};

/// The longest `Idempotency-Key` accepted, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// An idempotency key in its scope, with a fingerprint of the request it came with.
///
/// The store keeps the first answer under (`scope`, `key`); the same key with another fingerprint is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Who asked for what: caller, method and path, so that keys of two callers never meet.
    pub scope: String,
    /// The key as the caller sent it.
    pub key: String,
    /// SHA-256 of the request's content.
    pub fingerprint: hash::Sha256,
}

impl RequestKey {
    /// The key `key` as used by `caller` for `operation` (method and path) with this `content`.
    pub fn new(caller: &Caller, operation: &str, key: &str, content: &[u8]) -> Self {
        let who = caller.did().map_or("anonymous", |did| did.as_str());
        Self { scope: format!("{who} {operation}"), key: key.to_owned(), fingerprint: hash::sha256(content) }
    }

    /// What was asked for, whoever sent it. For requests that carry their own signature the signer is the caller, and a
    /// repetition is the same request with a token and without one.
    pub fn operation(&self) -> &str {
        // A DID has no spaces.
        self.scope.split_once(' ').map_or(self.scope.as_str(), |(_, operation)| operation)
    }
}
