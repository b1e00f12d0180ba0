//! The log entry of an event.

use q_core::Timestamp;
use q_tlog::{Hash, leaf_hash};

use super::Commitment;

/// The largest sequence number: the largest integer every JSON reader keeps exactly (RFC 8785 section 3.2.2.3).
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// What the log says of an event: that this producer counted it, when, and a salted commitment to its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// To the content.
    pub commitment: Commitment,
    /// Who counted it: lower-case letters, digits, dots and dashes.
    pub producer: &'a str,
    /// Its number at the producer.
    pub seq: u64,
    /// When it happened; the log keeps milliseconds.
    pub happened_at: Timestamp,
}

impl Leaf<'_> {
    /// The canonical JSON (RFC 8785) of the entry.
    pub fn entry(&self) -> String {
        use base64::Engine as _;
        let commitment = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.commitment);
        let Self { producer, seq, .. } = self;
        // Written by hand because it is made for every event: members are sorted, no text needs escaping.
        format!(
            r#"{{"c":"{commitment}","p":"{producer}","s":{seq},"t":{},"v":1}}"#,
            self.happened_at.millis()
        )
    }

    /// The hash of the entry in the tree.
    pub fn hash(&self) -> Hash {
        leaf_hash(self.entry().as_bytes())
    }
}

/// Whether `name` can stand in a leaf.
pub fn is_producer_name(name: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_canonical_json() {
        let leaf = Leaf {
            commitment: [0xfb; 32],
            producer: "qerberos.post",
            seq: SEQ_MAX,
            happened_at: Timestamp::from_micros(1_700_000_000_123_456),
        };
        let entry = leaf.entry();
        let value: serde_json::Value = serde_json::from_str(&entry).unwrap();
        assert_eq!(q_core::hash::canonical_json(&value).unwrap(), entry.as_bytes());
        assert_eq!(value["t"], 1_700_000_000_123_i64);
        assert!(entry.len() < 140, "{entry}");
        assert!(is_producer_name(leaf.producer));
        for name in ["", "Q", "a\"b", "a b", &"x".repeat(65)] {
            assert!(!is_producer_name(name), "{name}");
        }
    }
}
