//! Ed25519 public keys as JSON Web Keys (RFC 7517, RFC 8037) and their thumbprints (RFC 7638).

use serde::{Deserialize, Serialize};

use crate::{
    base64url,
    ed25519::{KeyError, PublicKey},
};

/// An Ed25519 public key as JSON: `{"kty":"OKP","crv":"Ed25519","x":"…"}`.
///
/// Members this house does not know are skipped when read, as RFC 7517 section 4 demands; a private
/// member `d` makes the whole key unreadable, because whoever sends it has given the key away (and
/// RFC 9449 section 4.3 demands the refusal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members")]
pub struct Jwk {
    kty: KeyType,
    crv: Curve,
    x: String,
    /// The name of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// What the key is for: `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The one algorithm the key is for: `EdDSA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    #[serde(skip)]
    public: PublicKey,
}

/// A published set of keys (RFC 7517 section 5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum KeyType {
    #[serde(rename = "OKP")]
    Okp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Curve {
    Ed25519,
}

/// What is read before it is believed.
#[derive(Deserialize)]
struct Members {
    kty: String,
    crv: String,
    x: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl TryFrom<Members> for Jwk {
    type Error = KeyError;
    fn try_from(members: Members) -> Result<Self, KeyError> {
        let is_ours = members.kty == "OKP" && members.crv == "Ed25519" && members.d.is_none();
        let is_to_sign = members.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let is_eddsa = members.alg.as_deref().is_none_or(|alg| matches!(alg, "EdDSA" | "Ed25519"));
        if !(is_ours && is_to_sign && is_eddsa) {
            return Err(KeyError::Malformed);
        }
        let bytes = base64url::decode(&members.x).map_err(|_| KeyError::Malformed)?;
        let bare = Self::from(PublicKey::from_bytes(&bytes)?);
        Ok(Self { kid: members.kid, purpose: members.purpose, alg: members.alg, ..bare })
    }
}

impl From<PublicKey> for Jwk {
    fn from(public: PublicKey) -> Self {
        let x = base64url::encode(public.bytes());
        Self { kty: KeyType::Okp, crv: Curve::Ed25519, x, kid: None, purpose: None, alg: None, public }
    }
}

impl Jwk {
    /// The key, checked when it was read.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The same key as a member of a published set: named, for signatures, for EdDSA only.
    #[must_use]
    pub fn published(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self.purpose = Some("sig".into());
        self.alg = Some("EdDSA".into());
        self
    }
}

/// The SHA-256 thumbprint of a key, base64url (RFC 7638; RFC 8037 section 2 names the members).
///
/// It is what `cnf.jkt` of a sender-bound token holds (RFC 9449 section 6.1).
pub fn thumbprint(public: &PublicKey) -> String {
    let x = base64url::encode(public.bytes());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    base64url::encode(q_core::hash::sha256(members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037 appendix A.2.
    const RFC_8037_KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn thumbprint_of_rfc_8037_appendix_a_3() {
        let jwk: Jwk = serde_json::from_str(RFC_8037_KEY).unwrap();
        assert_eq!(thumbprint(jwk.public_key()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(serde_json::to_string(&jwk).unwrap(), RFC_8037_KEY);
    }

    #[test]
    fn a_published_key_is_read_back_as_the_same_key() {
        let jwk: Jwk = serde_json::from_str(RFC_8037_KEY).unwrap();
        let published = jwk.clone().published("k1");
        let text = serde_json::to_string(&JwkSet { keys: vec![published.clone()] }).unwrap();
        assert_eq!(serde_json::from_str::<JwkSet>(&text).unwrap().keys, vec![published]);
    }

    #[test]
    fn refuses_other_keys_and_private_ones() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for text in [
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"EC","crv":"Ed25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}="}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"HS256"}}"#),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AQ"}"#.to_owned(),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, "A".repeat(43)),
        ] {
            assert!(serde_json::from_str::<Jwk>(&text).is_err(), "{text}");
        }
    }
}
