//! The keys that webhooks are signed with: a secret that both sides share, or a pair of which the receiver has one half.

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use q_core::Env;
use zeroize::Zeroizing;

/// What every written secret begins with (Standard Webhooks, "Symmetric").
const PREFIX: &str = "whsec_";
/// What every written private key begins with ("Asymmetric").
const PRIVATE_PREFIX: &str = "whsk_";
/// What every written public key begins with ("Asymmetric").
const PUBLIC_PREFIX: &str = "whpk_";
/// The sizes of a key the specification allows, in bytes.
const SIZES: std::ops::RangeInclusive<usize> = 24..=64;

/// The text is no webhook secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and 24 to 64 bytes in base64")]
pub struct NotASecret;

/// A symmetric webhook secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A fresh one of 32 bytes.
    pub fn generate(env: &Env) -> Self {
        Self(Zeroizing::new(env.random::<32>().to_vec()))
    }

    /// The text that receivers are given.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(&*self.0)))
    }

    /// The value of `webhook-signature`: HMAC-SHA256 of id, timestamp and body, joined by dots.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// An Ed25519 pair (Standard Webhooks, "Asymmetric"): a receiver that only checks holds nothing worth stealing.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// A fresh one.
    pub fn generate(env: &Env) -> Self {
        Self(Zeroizing::new(env.random::<32>()))
    }

    /// The text of the half that signs, to be kept.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PRIVATE_PREFIX}{}", BASE64_STANDARD.encode(*self.0)))
    }

    /// The half that receivers are given.
    pub fn public_text(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", BASE64_STANDARD.encode(self.pair().public_key().as_ref()))
    }

    /// A value of `webhook-signature`: Ed25519 over id, timestamp and body, joined by dots.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let message = [format!("{id}.{seconds}.").as_bytes(), body].concat();
        format!("v1a,{}", BASE64_STANDARD.encode(self.pair().sign(&message)))
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&*self.0).expect("any 32 bytes are a seed")
    }
}

impl std::str::FromStr for SigningKey {
    type Err = NotASecret;
    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let text = text.strip_prefix(PRIVATE_PREFIX).ok_or(NotASecret)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| NotASecret)?);
        let seed = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| NotASecret)?;
        Ok(Self(Zeroizing::new(seed)))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl std::str::FromStr for Secret {
    type Err = NotASecret;
    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| NotASecret)?);
        if SIZES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(NotASecret) }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_like_the_reference() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn reads_what_it_prints_and_refuses_what_is_none() {
        let secret = Secret::generate(&Env::system());
        assert_eq!(secret.text().parse::<Secret>().unwrap().text(), secret.text());
        for text in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"] {
            assert_eq!(text.parse::<Secret>().unwrap_err(), NotASecret, "{text}");
        }
        assert!(!format!("{secret:?}").contains("whsec"));
        let key = SigningKey::generate(&Env::system());
        assert_eq!(key.text().parse::<SigningKey>().unwrap().public_text(), key.public_text());
        assert!(!format!("{key:?}").contains("whsk") && "whsk_AAAA".parse::<SigningKey>().is_err());
    }
}
