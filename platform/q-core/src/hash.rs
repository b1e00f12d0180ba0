//! SHA-256 and RFC 8785 canonical JSON: the two steps before most signatures.

use aws_lc_rs::{constant_time, digest};
use serde::Serialize;

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// SHA-256 (FIPS 180-4) of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    sha256_of(&[bytes])
}

/// SHA-256 of the concatenation of `parts`, without copying them together.
///
/// The parts are not delimited: callers whose parts vary in length prefix them themselves.
pub fn sha256_of(parts: &[&[u8]]) -> Sha256 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// A SHA-256 of something too long to be in memory at once, taken piece by piece.
pub struct Hashing(digest::Context);

impl Default for Hashing {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hashing {
    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Sha256 {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// Whether two secrets are the same, in a time that depends on neither their contents nor where they differ.
pub fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    // Hashed first, so that their lengths do not show either.
    constant_time::verify_slices_are_equal(&sha256(one), &sha256(other)).is_ok()
}

/// The value has no canonical JSON form (a non-finite number, or a map with non-string keys).
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form")]
pub struct NotCanonical(#[source] serde_json::Error);

/// The canonical JSON bytes of `value` (JCS, RFC 8785).
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, NotCanonical> {
    serde_json_canonicalizer::to_vec(value).map_err(NotCanonical)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_the_parts_as_one_message() {
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256_of(&[b"a", b"bc"]), sha256(b"abc"));
    }

    #[test]
    fn canonical_json_sorts_members() {
        let value = serde_json::json!({"b": 1, "a": "é"});
        assert_eq!(canonical_json(&value).unwrap(), "{\"a\":\"é\",\"b\":1}".as_bytes());
    }
}
