//! What tells the instance's own words on a NATS server from anybody else's: a mark (HMAC-SHA256, RFC 2104) under a key
//! that only its processes have.
//!
//! Rows decide who may do what: a forged one could let a suspended identity in again. The server, and whoever else may
//! publish there, carries them and is believed in nothing.
//!
//! **Invariant:** what bears no mark of this instance is never taken for a row, a heartbeat or a murmur of it.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use q_core::hash::hex;

/// How long a mark is, in hexadecimal digits.
pub(super) const MARK_BYTES: usize = 64;

/// The key of the marks.
#[derive(Clone, PartialEq, Eq)]
pub struct BusKey([u8; 32]);

impl BusKey {
    /// The key of an instance: secret, and the same for all its processes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The mark of what `parts` say together, in hexadecimal digits.
    pub(super) fn mark(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in parts {
            // With the lengths, so that no two lists of parts are one text.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        hex(context.sign().as_ref())
    }

    /// Whether `mark` is that of `parts`.
    pub(super) fn is_mark(&self, mark: &[u8], parts: &[&[u8]]) -> bool {
        verify_slices_are_equal(self.mark(parts).as_bytes(), mark).is_ok()
    }
}

impl std::fmt::Debug for BusKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BusKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_key_and_one_list_of_parts() {
        let key = BusKey::new([1; 32]);
        let mark = key.mark(&[b"row", b"ab", b"c"]);
        assert_eq!(mark.len(), MARK_BYTES);
        assert!(key.is_mark(mark.as_bytes(), &[b"row", b"ab", b"c"]));
        assert!(!key.is_mark(mark.as_bytes(), &[b"row", b"a", b"bc"]));
        assert!(!BusKey::new([2; 32]).is_mark(mark.as_bytes(), &[b"row", b"ab", b"c"]));
        assert!(!key.is_mark(b"", &[b"row", b"ab", b"c"]));
        assert!(!format!("{key:?}").contains('1'));
    }
}
