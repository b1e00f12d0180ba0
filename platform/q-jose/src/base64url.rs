//! Base64url without padding (RFC 7515 section 2), in its one canonical spelling.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The text has padding, foreign characters, an impossible length, or stray bits at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical unpadded base64url")]
pub struct NotBase64Url;

/// Encodes `bytes`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Adds the encoded `bytes` to a text.
pub fn encode_onto(bytes: impl AsRef<[u8]>, text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// How long so many bytes are when they are encoded.
pub const fn encoded_length(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Decodes `text`. Each byte string has one accepted spelling, so that a text is as good as its content
/// for comparing and for replay caches.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64Url> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBase64Url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_canonical_spelling_only() {
        assert_eq!(decode("-_8"), Ok(vec![0xfb, 0xff]));
        assert_eq!(encode([0xfb, 0xff]), "-_8");
        for length in 0..9 {
            assert_eq!(encode(vec![7; length]).len(), encoded_length(length));
        }
        for text in ["-_8=", "-_9", "+/8", "-", "-_8\n", " -_8", "AAAAA"] {
            assert_eq!(decode(text), Err(NotBase64Url), "{text:?}");
        }
    }
}
