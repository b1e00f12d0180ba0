//! What a key version is made of, in the open.

use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use q_core::Env;
use q_jose::{Jwk, PublicKey, SecretKey, jwe::WrappingKey};
use qlock_api::KeyType;
use zeroize::Zeroizing;

use super::wrap::WrapError;

/// The usable form of a key version's secret. No `Debug`, no `Clone`, no serialisation.
pub enum Material {
    /// Wraps the content keys of values and data keys.
    Aes256(Zeroizing<[u8; 32]>),
    /// Signs.
    Ed25519(SecretKey),
    /// Opens age files.
    X25519(age::x25519::Identity),
}

impl Material {
    /// A fresh secret.
    ///
    /// An age identity is drawn by its own crate from the operating system, because that crate takes no
    /// other source; the rest comes from `env`.
    pub fn generate(key_type: KeyType, env: &Env) -> Self {
        match key_type {
            KeyType::Aes256 => Self::Aes256(Zeroizing::new(env.random())),
            KeyType::Ed25519 => Self::Ed25519(SecretKey::generate(env)),
            KeyType::X25519 => Self::X25519(age::x25519::Identity::generate()),
        }
    }

    /// Reads what [`Material::secret_bytes`] wrote.
    pub fn from_secret_bytes(key_type: KeyType, bytes: &[u8]) -> Result<Self, WrapError> {
        let fixed = || <&[u8; 32]>::try_from(bytes).map_err(|_| WrapError::BadKey);
        Ok(match key_type {
            KeyType::Aes256 => Self::Aes256(Zeroizing::new(*fixed()?)),
            KeyType::Ed25519 => Self::Ed25519(SecretKey::from_seed(fixed()?)),
            KeyType::X25519 => {
                let text = std::str::from_utf8(bytes).map_err(|_| WrapError::BadKey)?;
                Self::X25519(age::x25519::Identity::from_str(text).map_err(|_| WrapError::BadKey)?)
            }
        })
    }

    /// The secret, to be wrapped and wiped.
    pub fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Aes256(key) => key.to_vec(),
            Self::Ed25519(key) => key.seed().to_vec(),
            Self::X25519(identity) => identity.to_string().expose_secret().as_bytes().to_vec(),
        })
    }

    /// The public half as stored beside the wrapped secret: 32 bytes, or an `age1…` text; none for AES.
    pub fn public_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Aes256(_) => None,
            Self::Ed25519(key) => Some(key.public().bytes().to_vec()),
            Self::X25519(identity) => Some(identity.to_public().to_string().into_bytes()),
        }
    }

    /// The key that wraps content keys, for `aes-256`.
    pub fn wrapping_key(&self) -> Option<WrappingKey> {
        if let Self::Aes256(key) = self { Some(WrappingKey::new(key)) } else { None }
    }

    /// The signing key, for `ed25519`.
    pub const fn signing_key(&self) -> Option<&SecretKey> {
        if let Self::Ed25519(key) = self { Some(key) } else { None }
    }

    /// The age identity, for `x25519`.
    pub const fn age_identity(&self) -> Option<&age::x25519::Identity> {
        if let Self::X25519(identity) = self { Some(identity) } else { None }
    }
}

/// The name of a key version on the wire and in JOSE headers: `<keyId>#<version>`.
pub fn version_name(key_id: qlock_api::KeyId, version: u32) -> String {
    format!("{key_id}#{version}")
}

/// Reads such a name.
pub fn parse_version_name(text: &str) -> Option<(qlock_api::KeyId, u32)> {
    let (key_id, version) = text.split_once('#')?;
    let is_plain = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { Some((key_id.parse().ok()?, version.parse().ok()?)) } else { None }
}

/// The JWK of a stored public half of an `ed25519` version.
pub fn jwk(public: &[u8], key_id: qlock_api::KeyId, version: u32) -> Option<serde_json::Value> {
    let public = PublicKey::from_bytes(public).ok()?;
    let jwk = Jwk::from(public).published(version_name(key_id, version));
    Some(serde_json::to_value(jwk).expect("a JWK is plain JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_bytes() {
        let env = Env::system();
        for key_type in [KeyType::Aes256, KeyType::Ed25519, KeyType::X25519] {
            let material = Material::generate(key_type, &env);
            let read = Material::from_secret_bytes(key_type, &material.secret_bytes()).ok().unwrap();
            assert_eq!(read.secret_bytes(), material.secret_bytes());
            assert_eq!(read.public_bytes(), material.public_bytes());
            assert!(Material::from_secret_bytes(key_type, b"short").is_err());
        }
    }

    #[test]
    fn version_names_have_one_spelling() {
        let key_id = qlock_api::KeyId::new(&Env::system());
        assert_eq!(parse_version_name(&version_name(key_id, 12)), Some((key_id, 12)));
        for wrong in ["#0", "#01", "#", "#+1", "", "#99999999999"] {
            assert_eq!(parse_version_name(&format!("{key_id}{wrong}")), None, "{wrong}");
        }
    }
}
