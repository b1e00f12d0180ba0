//! Compact JSON Web Encryption (RFC 7516) with AES-256 key wrap and AES-256-GCM (RFC 7518), and nothing else.
//!
//! Each text has its own random content key, so the 2^32 messages one GCM key may seal (NIST SP 800-38D
//! section 8.3) bound nothing here.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    key_wrap::{AES_256, AesKek, KeyWrap as _},
};
use q_core::Env;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{base64url, strict_json};

/// The length of a key, in bytes.
pub const KEY_BYTES: usize = 32;
/// The length of the GCM tag, in bytes.
const TAG_BYTES: usize = 16;
/// AES key wrap adds one block of eight bytes (RFC 3394).
pub(crate) const WRAPPED_BYTES: usize = KEY_BYTES + 8;
/// The longest protected header accepted, in bytes of base64url: room for a key name and a context digest.
const HEADER_BYTES_MAX: usize = 2 * 1024;

/// A key that wraps the content keys of texts; wiped when dropped.
#[derive(Clone)]
pub struct WrappingKey(Zeroizing<[u8; KEY_BYTES]>);

impl WrappingKey {
    /// Takes the key.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*key))
    }
}

impl std::fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappingKey(..)")
    }
}

/// The protected header, apart from `alg` (`A256KW`) and `enc` (`A256GCM`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The media type of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The media type of the plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cty: Option<String>,
    /// Which key wraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Members this crate gives no meaning to; authenticated like the rest.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// Longer than the caller's bound.
    #[error("the sealed text is too long")]
    TooLong,
    /// Not five canonical base64url parts of the right lengths, or a header that is not strict JSON.
    #[error("not a compact JWE")]
    Malformed,
    /// `alg` is not `A256KW` or `enc` is not `A256GCM`.
    #[error("the encryption algorithm is not A256KW with A256GCM")]
    AlgorithmRefused,
    /// The header has `crit`, or `zip`, which would let 1 KiB become 1 GiB.
    #[error("the header demands an extension")]
    ExtensionRefused,
    /// Wrong key or damaged text; which of the two is not told.
    #[error("the sealed text does not open")]
    DoesNotOpen,
}

/// Seals `plaintext` under a fresh content key wrapped by `key`.
///
/// # Panics
/// When `header.extra` holds `alg`, `enc`, `zip`, `crit` or a member of [`Header`].
pub fn encrypt(header: &Header, plaintext: &[u8], key: &WrappingKey, env: &Env) -> String {
    for name in ["alg", "enc", "zip", "crit", "typ", "cty", "kid"] {
        assert!(!header.extra.contains_key(name), "{name} is not an extra header member");
    }
    let content_key = Zeroizing::new(env.random::<KEY_BYTES>());
    let nonce = env.random::<NONCE_LEN>();
    let members = WithAlgorithms { alg: "A256KW", enc: "A256GCM", header };
    let mut text = base64url::encode(serde_json::to_vec(&members).expect("a header is plain JSON"));
    let mut sealed = plaintext.to_vec();
    // RFC 7516 section 5.1 step 14: the additional data is the encoded header itself.
    let tag = gcm(&content_key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(text.as_bytes()),
            &mut sealed,
        )
        .expect("AES-256-GCM seals up to 64 GiB");
    let wrapped = wrap(key, &content_key);
    for part in [wrapped.as_slice(), &nonce, &sealed, tag.as_ref()] {
        text.push('.');
        text.push_str(&base64url::encode(part));
    }
    text
}

/// A text whose form was checked; nothing of it is authentic before [`Parsed::decrypt`].
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<'a> {
    /// The protected header.
    pub header: Header,
    encoded_header: &'a str,
    wrapped: [u8; WRAPPED_BYTES],
    nonce: [u8; NONCE_LEN],
    /// Ciphertext, then tag.
    sealed: Vec<u8>,
}

impl<'a> Parsed<'a> {
    /// Reads `text`, refusing more than `bytes_max` bytes before looking at them.
    pub fn parse(text: &'a str, bytes_max: usize) -> Result<Self, JweError> {
        if text.len() > bytes_max {
            return Err(JweError::TooLong);
        }
        let mut parts = text.splitn(5, '.');
        let mut next = || parts.next().ok_or(JweError::Malformed);
        let [encoded_header, wrapped, nonce, ciphertext, tag] = [next()?, next()?, next()?, next()?, next()?];
        if encoded_header.len() > HEADER_BYTES_MAX {
            return Err(JweError::Malformed);
        }
        let header = read_header(&decode(encoded_header)?)?;
        let wrapped = decode_exactly(wrapped)?;
        let nonce = decode_exactly(nonce)?;
        let tag: [u8; TAG_BYTES] = decode_exactly(tag)?;
        let mut sealed = decode(ciphertext)?;
        sealed.extend_from_slice(&tag);
        Ok(Self { header, encoded_header, wrapped, nonce, sealed })
    }

    /// Opens the text. The plaintext is wiped when dropped.
    pub fn decrypt(mut self, key: &WrappingKey) -> Result<Zeroizing<Vec<u8>>, JweError> {
        let content_key = unwrap(key, &self.wrapped)?;
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let aad = Aad::from(self.encoded_header.as_bytes());
        let plaintext_bytes = gcm(&content_key)
            .open_in_place(nonce, aad, &mut self.sealed)
            .map_err(|_| JweError::DoesNotOpen)?
            .len();
        self.sealed.truncate(plaintext_bytes);
        Ok(Zeroizing::new(self.sealed))
    }
}

#[derive(Serialize)]
struct WithAlgorithms<'a> {
    alg: &'static str,
    enc: &'static str,
    #[serde(flatten)]
    header: &'a Header,
}

fn read_header(bytes: &[u8]) -> Result<Header, JweError> {
    let value = strict_json::value(bytes).map_err(|_| JweError::Malformed)?;
    let Value::Object(mut members) = value else { return Err(JweError::Malformed) };
    let alg = members.remove("alg");
    let enc = members.remove("enc");
    let is_ours = alg.as_ref().and_then(Value::as_str) == Some("A256KW")
        && enc.as_ref().and_then(Value::as_str) == Some("A256GCM");
    if !is_ours {
        return Err(JweError::AlgorithmRefused);
    }
    if members.contains_key("crit") || members.contains_key("zip") {
        return Err(JweError::ExtensionRefused);
    }
    serde_json::from_value(Value::Object(members)).map_err(|_| JweError::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, JweError> {
    base64url::decode(part).map_err(|_| JweError::Malformed)
}

fn decode_exactly<const N: usize>(part: &str) -> Result<[u8; N], JweError> {
    // The length is compared first, so that a long part is not decoded only to be thrown away.
    if part.len() != (N * 4).div_ceil(3) {
        return Err(JweError::Malformed);
    }
    decode(part)?.try_into().map_err(|_| JweError::Malformed)
}

pub(crate) fn gcm(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

fn kek(key: &WrappingKey) -> AesKek {
    AesKek::new(&AES_256, key.0.as_slice()).expect("an AES-256 key has 32 bytes")
}

pub(crate) fn wrap(key: &WrappingKey, content_key: &[u8; KEY_BYTES]) -> [u8; WRAPPED_BYTES] {
    let mut wrapped = [0; WRAPPED_BYTES];
    kek(key).wrap(content_key, &mut wrapped).expect("a 32-byte key wraps into 40 bytes");
    wrapped
}

pub(crate) fn unwrap(
    key: &WrappingKey,
    wrapped: &[u8; WRAPPED_BYTES],
) -> Result<Zeroizing<[u8; KEY_BYTES]>, JweError> {
    let mut content_key = Zeroizing::new([0; KEY_BYTES]);
    kek(key).unwrap(wrapped, content_key.as_mut_slice()).map_err(|_| JweError::DoesNotOpen)?;
    Ok(content_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn key() -> WrappingKey {
        WrappingKey::new(&[7; KEY_BYTES])
    }

    fn seal(plaintext: &[u8]) -> String {
        let mut header = Header { kid: Some("key_1#2".into()), ..Header::default() };
        header.extra.insert("ctx".into(), "digest".into());
        encrypt(&header, plaintext, &key(), &Env::system())
    }

    fn with_header(header: &str) -> String {
        let good = seal(b"x");
        format!("{}.{}", base64url::encode(header), good.split_once('.').unwrap().1)
    }

    #[test]
    fn opens_what_it_sealed_and_shows_the_header() {
        for plaintext in [&b""[..], b"a", &vec![0xff; 70_000]] {
            let text = seal(plaintext);
            let parsed = Parsed::parse(&text, BYTES_MAX).unwrap();
            assert_eq!(parsed.header.kid.as_deref(), Some("key_1#2"));
            assert_eq!(parsed.header.extra["ctx"], "digest");
            assert_eq!(parsed.decrypt(&key()).unwrap().as_slice(), plaintext);
        }
    }

    #[test]
    fn the_same_plaintext_never_seals_to_the_same_parts() {
        let (one, other) = (seal(b"same"), seal(b"same"));
        for (a, b) in one.split('.').zip(other.split('.')).skip(1) {
            assert_ne!(a, b);
        }
    }

    #[test]
    fn another_key_does_not_open() {
        let text = seal(b"x");
        let parsed = Parsed::parse(&text, BYTES_MAX).unwrap();
        assert_eq!(parsed.decrypt(&WrappingKey::new(&[8; KEY_BYTES])), Err(JweError::DoesNotOpen));
    }

    #[test]
    fn each_changed_character_breaks_the_text() {
        let good = seal(b"pay the rent");
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            let outcome = Parsed::parse(&text, BYTES_MAX).and_then(|parsed| parsed.decrypt(&key()));
            assert!(outcome.is_err(), "character {at} does not matter");
        }
    }

    #[test]
    fn every_hostile_header_is_refused() {
        for (header, refusal) in [
            (r#"{"alg":"none","enc":"A256GCM"}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"RSA1_5","enc":"A256GCM"}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"A256KW","enc":"A128CBC-HS256"}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"A256KW"}"#, JweError::AlgorithmRefused),
            (r#"{"alg":"A256KW","enc":"A256GCM","zip":"DEF"}"#, JweError::ExtensionRefused),
            (r#"{"alg":"A256KW","enc":"A256GCM","crit":["exp"]}"#, JweError::ExtensionRefused),
            (r#"{"alg":"dir","alg":"A256KW","enc":"A256GCM"}"#, JweError::Malformed),
            (r#"{"alg":"A256KW","enc":"A256GCM","kid":1}"#, JweError::Malformed),
            ("[]", JweError::Malformed),
        ] {
            assert_eq!(Parsed::parse(&with_header(header), BYTES_MAX), Err(refusal), "{header}");
        }
        let huge = format!(r#"{{"alg":"A256KW","enc":"A256GCM","x":"{}"}}"#, "x".repeat(HEADER_BYTES_MAX));
        assert_eq!(Parsed::parse(&with_header(&huge), BYTES_MAX), Err(JweError::Malformed));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let good = seal(b"x");
        let parts: Vec<&str> = good.split('.').collect();
        let spellings = [
            format!("{good}.x"),
            format!("{good}="),
            format!("\n{good}"),
            parts[..4].join("."),
            [parts[0], "", parts[2], parts[3], parts[4]].join("."),
            [parts[0], parts[1], "AAAA", parts[3], parts[4]].join("."),
            [parts[0], parts[1], parts[2], parts[3], "AAAA"].join("."),
            String::new(),
        ];
        for text in spellings {
            assert_eq!(Parsed::parse(&text, BYTES_MAX), Err(JweError::Malformed), "{text}");
        }
        assert_eq!(Parsed::parse(&good, good.len() - 1), Err(JweError::TooLong));
    }
}
