//! Compact JSON Web Signatures (RFC 7515) with Ed25519 (RFC 8037), and nothing else.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    base64url,
    ed25519::{KeyError, PublicKey, SecretKey},
    jwk::Jwk,
    strict_json,
};

/// The longest text read when the caller has no tighter bound, in bytes.
pub const JWS_BYTES_MAX: usize = 64 * 1024;

/// The protected header, apart from `alg`, which is always `EdDSA`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The media type of the whole, such as `at+jwt` or `dpop+jwt`; the reader must compare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The media type of the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cty: Option<String>,
    /// Which key signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The key itself, where the protocol carries it (RFC 9449); it proves possession, never identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<Jwk>,
    /// Members this crate gives no meaning to.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Header {
    /// A header of the given `typ`.
    pub fn typ(typ: &str) -> Self {
        Self { typ: Some(typ.into()), ..Self::default() }
    }

    /// The same header naming the key.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The same header carrying the key.
    #[must_use]
    pub fn jwk(mut self, jwk: Jwk) -> Self {
        self.jwk = Some(jwk);
        self
    }
}

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than the caller's bound.
    #[error("the signed text is too long")]
    TooLong,
    /// Not three canonical base64url parts, or its header is not strict JSON of the known shape.
    #[error("not a compact JWS")]
    Malformed,
    /// `alg` is missing or not `EdDSA`.
    #[error("the signature algorithm is not EdDSA")]
    AlgorithmRefused,
    /// The header has `crit` or changes how the payload is read (`b64`).
    #[error("the header demands an extension")]
    ExtensionRefused,
    /// The signature does not hold for the given key.
    #[error("the signature does not hold")]
    BadSignature,
    /// The payload is not strict JSON of the expected shape.
    #[error("the payload does not have the expected shape")]
    BadPayload,
}

impl From<KeyError> for JwsError {
    fn from(_: KeyError) -> Self {
        Self::BadSignature
    }
}

/// Signs `payload`: `header.payload.signature`.
///
/// # Panics
/// When `header.extra` holds `alg`, `crit`, `b64` or a member of [`Header`]: it would contradict itself.
pub fn sign(header: &Header, payload: &[u8], key: &SecretKey) -> String {
    for name in ["alg", "typ", "cty", "kid", "jwk", "crit", "b64"] {
        assert!(!header.extra.contains_key(name), "{name} is not an extra header member");
    }
    let members = WithAlgorithm { alg: "EdDSA", header };
    let mut text = base64url::encode(serde_json::to_vec(&members).expect("a header is plain JSON"));
    text.push('.');
    text.push_str(&base64url::encode(payload));
    let signature = key.sign(text.as_bytes());
    text.push('.');
    text.push_str(&base64url::encode(signature));
    text
}

/// Signs the JSON of `claims` (a JWT, RFC 7519).
pub fn sign_json<T: Serialize>(header: &Header, claims: &T, key: &SecretKey) -> String {
    let payload = serde_json::to_vec(claims).expect("claims are plain JSON");
    sign(header, &payload, key)
}

/// A text whose form was checked and whose signature was **not**.
///
/// The header may be read to find the key; the payload is believed only after [`Parsed::verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<'a> {
    /// The protected header.
    pub header: Header,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signing_input: &'a str,
}

/// A detached text (RFC 7515 appendix F) put together with its payload; its signature was **not** checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Attached {
    /// The protected header.
    pub header: Header,
    /// The bytes that were signed: `header.payload`.
    pub signing_input: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Attached {
    /// Reads the header and the signature that stand before and behind the payload that was left out. The same texts are
    /// refused as by [`Parsed::parse`] of the whole.
    pub fn read(header: &str, signature: &str, payload: &[u8], bytes_max: usize) -> Result<Self, JwsError> {
        let length = base64url::encoded_length(payload.len()) + header.len() + 1;
        if length + 1 + signature.len() > bytes_max {
            return Err(JwsError::TooLong);
        }
        // A dot is outside the alphabet of both parts.
        let decode = |part| base64url::decode(part).map_err(|_| JwsError::Malformed);
        let (members, signature) = (decode(header)?, decode(signature)?);
        let mut signing_input = String::with_capacity(length);
        signing_input.push_str(header);
        signing_input.push('.');
        base64url::encode_onto(payload, &mut signing_input);
        Ok(Self { header: read_header(&members)?, signing_input: signing_input.into_bytes(), signature })
    }
}

/// A payload whose signature holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The protected header.
    pub header: Header,
    /// The signed bytes.
    pub payload: Vec<u8>,
}

impl<'a> Parsed<'a> {
    /// Reads `text`, refusing more than `bytes_max` bytes before looking at them.
    pub fn parse(text: &'a str, bytes_max: usize) -> Result<Self, JwsError> {
        if text.len() > bytes_max {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Malformed)?;
        // A dot left in the payload is outside its alphabet, so a fourth part is refused below.
        let decode = |part| base64url::decode(part).map_err(|_| JwsError::Malformed);
        let header = read_header(&decode(header)?)?;
        Ok(Self { header, payload: decode(payload)?, signature: decode(signature)?, signing_input })
    }

    /// The bytes that were signed: `header.payload`.
    pub const fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload before its signature was checked: to find a key by issuer, never to act on.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The claims before their signature was checked: to find a key by issuer, never to act on.
    pub fn unverified_claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        strict_json::from_slice(&self.payload).map_err(|_| JwsError::BadPayload)
    }

    /// Checks the signature with a key the caller has reason to trust.
    pub fn verify(self, key: &PublicKey) -> Result<Verified, JwsError> {
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(Verified { header: self.header, payload: self.payload })
    }
}

impl Verified {
    /// The payload as JSON in which no member appears twice.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        strict_json::from_slice(&self.payload).map_err(|_| JwsError::BadPayload)
    }
}

#[derive(Serialize)]
struct WithAlgorithm<'a> {
    alg: &'static str,
    #[serde(flatten)]
    header: &'a Header,
}

fn read_header(bytes: &[u8]) -> Result<Header, JwsError> {
    let value = strict_json::value(bytes).map_err(|_| JwsError::Malformed)?;
    let Value::Object(mut members) = value else { return Err(JwsError::Malformed) };
    if members.remove("alg").as_ref().and_then(Value::as_str) != Some("EdDSA") {
        return Err(JwsError::AlgorithmRefused);
    }
    // RFC 7515 section 4.1.11: an extension that is not understood must be refused, and none is here.
    // RFC 7797 `b64` changes the signing input, and one program in two would overlook it without `crit`.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(JwsError::ExtensionRefused);
    }
    serde_json::from_value(Value::Object(members)).map_err(|_| JwsError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey {
        let seed = base64url::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        SecretKey::from_seed(&seed.try_into().unwrap())
    }

    #[test]
    fn a_detached_text_is_read_as_the_whole_would_be() {
        let whole = sign(&Header::typ("t+jws").kid("did:key:z#z"), b"{\"a\":1}", &key());
        let (input, signature) = whole.rsplit_once('.').unwrap();
        let (header, _) = input.split_once('.').unwrap();
        let attached = Attached::read(header, signature, b"{\"a\":1}", JWS_BYTES_MAX).unwrap();
        let parsed = Parsed::parse(&whole, JWS_BYTES_MAX).unwrap();
        assert_eq!(attached.header, parsed.header);
        assert_eq!(attached.signing_input, parsed.signing_input().as_bytes());
        assert_eq!(attached.signature, parsed.signature());
        let read = |header: &str, signature: &str, max| Attached::read(header, signature, b"{}", max);
        assert_eq!(read(header, "a.b", 1_000), Err(JwsError::Malformed));
        assert_eq!(read(&format!("{header}."), signature, 1_000), Err(JwsError::Malformed));
        assert_eq!(read(header, &format!("{signature}="), 1_000), Err(JwsError::Malformed));
        assert_eq!(read(&base64url::encode(r#"{"alg":"none"}"#), "", 1_000), Err(JwsError::AlgorithmRefused));
        let length = header.len() + signature.len() + 2 + 3;
        assert!(read(header, signature, length).is_ok());
        assert_eq!(read(header, signature, length - 1), Err(JwsError::TooLong));
    }

    fn with_header(header: &str) -> String {
        let input = format!("{}.{}", base64url::encode(header), base64url::encode("{}"));
        format!("{input}.{}", base64url::encode(key().sign(input.as_bytes())))
    }

    #[test]
    fn the_example_of_rfc_8037_appendix_a_4() {
        let text = sign(&Header::default(), b"Example of Ed25519 signing", &key());
        assert_eq!(
            text,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
             hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let parsed = Parsed::parse(&text, JWS_BYTES_MAX).unwrap();
        let verified = parsed.verify(&key().public()).unwrap();
        assert_eq!(verified.payload, b"Example of Ed25519 signing");
    }

    #[test]
    fn header_members_survive() {
        let mut header = Header::typ("dpop+jwt").kid("k#1").jwk(key().public().into());
        header.extra.insert("nonce".into(), "n".into());
        let text = sign_json(&header, &serde_json::json!({"iss": "a"}), &key());
        let verified = Parsed::parse(&text, JWS_BYTES_MAX).unwrap().verify(&key().public()).unwrap();
        assert_eq!(verified.header, header);
        assert_eq!(verified.claims::<Value>().unwrap(), serde_json::json!({"iss": "a"}));
    }

    #[test]
    fn every_hostile_header_is_refused_though_its_signature_holds() {
        for (header, refusal) in [
            (r#"{"alg":"none"}"#, JwsError::AlgorithmRefused),
            (r#"{"alg":"HS256"}"#, JwsError::AlgorithmRefused),
            (r#"{"alg":"eddsa"}"#, JwsError::AlgorithmRefused),
            (r#"{"alg":["EdDSA"]}"#, JwsError::AlgorithmRefused),
            (r#"{"typ":"JWT"}"#, JwsError::AlgorithmRefused),
            (r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#, JwsError::ExtensionRefused),
            (r#"{"alg":"EdDSA","crit":[]}"#, JwsError::ExtensionRefused),
            (r#"{"alg":"EdDSA","b64":false}"#, JwsError::ExtensionRefused),
            (r#"{"alg":"none","alg":"EdDSA"}"#, JwsError::Malformed),
            (r#"{"alg":"EdDSA","kid":"a","kid":"b"}"#, JwsError::Malformed),
            (r#"{"alg":"EdDSA","kid":7}"#, JwsError::Malformed),
            (r#"{"alg":"EdDSA","jwk":{"kty":"oct","k":"AA"}}"#, JwsError::Malformed),
            (r#"["EdDSA"]"#, JwsError::Malformed),
            ("", JwsError::Malformed),
        ] {
            assert_eq!(Parsed::parse(&with_header(header), JWS_BYTES_MAX), Err(refusal), "{header}");
        }
        assert!(Parsed::parse(&with_header(r#"{"alg":"EdDSA"}"#), JWS_BYTES_MAX).is_ok());
    }

    #[test]
    fn every_other_spelling_of_a_good_text_is_refused() {
        let good = sign(&Header::default(), b"payload", &key());
        let spellings = [
            format!("{good}="),
            format!("{good}.x"),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen('.', "..", 1),
            good.rsplit_once('.').unwrap().0.to_owned(),
            "..".to_owned(),
            String::new(),
        ];
        for text in spellings {
            assert_eq!(Parsed::parse(&text, JWS_BYTES_MAX), Err(JwsError::Malformed), "{text}");
        }
        assert_eq!(Parsed::parse(&good, good.len() - 1), Err(JwsError::TooLong));
    }

    #[test]
    fn each_changed_character_breaks_the_text() {
        let good = sign(&Header::typ("JWT"), b"pay", &key());
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            let outcome =
                Parsed::parse(&text, JWS_BYTES_MAX).and_then(|parsed| parsed.verify(&key().public()));
            assert!(outcome.is_err(), "character {at} does not matter");
        }
    }

    #[test]
    fn claims_said_twice_are_refused() {
        let text = sign(&Header::default(), br#"{"sub":"a","sub":"b"}"#, &key());
        let verified = Parsed::parse(&text, JWS_BYTES_MAX).unwrap().verify(&key().public()).unwrap();
        assert_eq!(verified.claims::<Value>(), Err(JwsError::BadPayload));
    }
}
