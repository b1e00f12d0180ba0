//! The levels: unseal key → root keyring → key-encryption key per identity and purpose → key versions.
//!
//! Each level wraps only the next one, so that replacing a key re-wraps only its children. The facts below
//! are what each wrapped blob is bound to.

use std::collections::BTreeMap;

use q_core::{Did, Env, Timestamp};
use q_seal::xaes;
use qlock_api::{KeyId, KeyType};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    material::Material,
    wrap::{self, Parent, WrapError},
};

q_core::typed_id!(
    /// A key-encryption key: one per identity and purpose, random, so that deleting it is final.
    KekId,
    "kek_"
);

/// The name of the root keyring as a parent.
const ROOT: &str = "root";

/// The key above all others. It is never in the database.
pub struct UnsealKey {
    id: String,
    key: xaes::Key,
}

impl UnsealKey {
    /// Takes the key and its public name.
    pub fn new(id: String, key: &[u8; 32]) -> Self {
        Self { id, key: xaes::Key::new(key) }
    }

    /// Its public name.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn parent(&self) -> Parent {
        Parent { id: self.id.clone(), version: 1 }
    }

    /// A fresh root key as (wrapped blob, usable key).
    pub fn generate_root(&self, version: u32, created_at: Timestamp, env: &Env) -> (Vec<u8>, xaes::Key) {
        let secret = Zeroizing::new(env.random::<32>());
        let facts = RootFacts { kind: "root", version, created_at: created_at.micros() };
        let blob = wrap::wrap(&self.key, &self.parent(), &facts, secret.as_slice(), env);
        (blob, xaes::Key::new(&secret))
    }

    /// The root key in `blob`.
    pub fn unwrap_root(
        &self,
        version: u32,
        created_at: Timestamp,
        blob: &[u8],
    ) -> Result<xaes::Key, WrapError> {
        let facts = RootFacts { kind: "root", version, created_at: created_at.micros() };
        symmetric(&wrap::unwrap(&self.key, &self.parent(), &facts, blob)?)
    }
}

/// The root keys: the newest wraps, all unwrap.
pub struct RootRing(BTreeMap<u32, xaes::Key>);

impl RootRing {
    /// A ring of these versions; none of it is of no use.
    pub const fn new(keys: BTreeMap<u32, xaes::Key>) -> Self {
        Self(keys)
    }

    /// The version that wraps, with its key.
    ///
    /// # Panics
    /// When the ring is empty: it is filled before it is shared.
    pub fn newest(&self) -> (u32, &xaes::Key) {
        let (version, key) = self.0.last_key_value().expect("a root keyring has a key");
        (*version, key)
    }

    fn get(&self, version: u32) -> Option<&xaes::Key> {
        self.0.get(&version)
    }
}

/// What a purpose class is called in the store: keys of one identity are wrapped apart by what they do.
pub const fn purpose(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Aes256 | KeyType::X25519 => "encrypt",
        KeyType::Ed25519 => "sign",
    }
}

/// A key-encryption key as stored, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekFacts {
    /// Its name.
    pub kek_id: KekId,
    /// Whose keys it wraps.
    pub identity: Did,
    /// For what purpose.
    pub purpose: String,
    /// The root key it is wrapped under.
    pub root_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KekFacts {
    /// A fresh secret as (wrapped blob, usable key).
    pub fn generate(&self, ring: &RootRing, env: &Env) -> (Vec<u8>, xaes::Key) {
        let secret = Zeroizing::new(env.random::<32>());
        let (_, root) = ring.newest();
        (wrap::wrap(root, &self.parent(), &self.bound(), secret.as_slice(), env), xaes::Key::new(&secret))
    }

    /// The key in `blob`.
    pub fn unwrap(&self, ring: &RootRing, blob: &[u8]) -> Result<xaes::Key, WrapError> {
        let root = ring.get(self.root_version).ok_or_else(|| WrapError::WrongParent {
            expected: "a root key that exists".into(),
            found: format!("{ROOT}#{}", self.root_version),
        })?;
        symmetric(&wrap::unwrap(root, &self.parent(), &self.bound(), blob)?)
    }

    fn parent(&self) -> Parent {
        Parent { id: ROOT.into(), version: self.root_version }
    }

    fn bound(&self) -> impl Serialize + '_ {
        BoundKek {
            kind: "kek",
            id: self.kek_id,
            identity: &self.identity,
            purpose: &self.purpose,
            created_at: self.created_at.micros(),
        }
    }
}

/// A key version as stored, without its secret and its changing state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// The key.
    pub key_id: KeyId,
    /// Whose it is.
    pub owner: Did,
    /// What it is made of.
    pub key_type: KeyType,
    /// The key it is wrapped under.
    pub kek_id: KekId,
    /// Counted from 1.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

impl VersionFacts {
    /// Wraps `material` under `kek`.
    pub fn wrap(&self, kek: &xaes::Key, material: &Material, env: &Env) -> Vec<u8> {
        let public = material.public_bytes();
        wrap::wrap(kek, &self.parent(), &self.bound(public.as_deref()), &material.secret_bytes(), env)
    }

    /// The secret in `blob`, checked against the stored public half.
    pub fn unwrap(&self, kek: &xaes::Key, public: Option<&[u8]>, blob: &[u8]) -> Result<Material, WrapError> {
        let secret = wrap::unwrap(kek, &self.parent(), &self.bound(public), blob)?;
        let material = Material::from_secret_bytes(self.key_type, &secret)?;
        if material.public_bytes().as_deref() == public { Ok(material) } else { Err(WrapError::BadKey) }
    }

    fn parent(&self) -> Parent {
        Parent { id: self.kek_id.to_string(), version: 1 }
    }

    fn bound<'a>(&'a self, public: Option<&'a [u8]>) -> impl Serialize + 'a {
        BoundVersion {
            kind: "key",
            id: self.key_id,
            version: self.version,
            owner: &self.owner,
            key_type: self.key_type,
            public: public.map(q_core::hash::hex),
            created_at: self.created_at.micros(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RootFacts {
    kind: &'static str,
    version: u32,
    created_at: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BoundKek<'a> {
    kind: &'static str,
    id: KekId,
    identity: &'a Did,
    purpose: &'a str,
    created_at: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BoundVersion<'a> {
    kind: &'static str,
    id: KeyId,
    version: u32,
    owner: &'a Did,
    key_type: KeyType,
    public: Option<String>,
    created_at: i64,
}

fn symmetric(secret: &[u8]) -> Result<xaes::Key, WrapError> {
    let secret = secret.try_into().map_err(|_| WrapError::BadKey)?;
    Ok(xaes::Key::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(env: &Env) -> (VersionFacts, xaes::Key, Material, Vec<u8>) {
        let facts = VersionFacts {
            key_id: KeyId::new(env),
            owner: "did:squid:QmA".parse().unwrap(),
            key_type: KeyType::Ed25519,
            kek_id: KekId::new(env),
            version: 1,
            created_at: Timestamp::from_seconds(1),
        };
        let kek = xaes::Key::new(&[1; 32]);
        let material = Material::generate(KeyType::Ed25519, env);
        let blob = facts.wrap(&kek, &material, env);
        (facts, kek, material, blob)
    }

    #[test]
    fn a_version_is_bound_to_every_fact_of_its_row() {
        let env = Env::system();
        let (facts, kek, material, blob) = version(&env);
        let public = material.public_bytes();
        assert!(facts.unwrap(&kek, public.as_deref(), &blob).is_ok());
        let changed = [
            VersionFacts { key_id: KeyId::new(&env), ..facts.clone() },
            VersionFacts { owner: "did:squid:QmB".parse().unwrap(), ..facts.clone() },
            VersionFacts { key_type: KeyType::Aes256, ..facts.clone() },
            VersionFacts { kek_id: KekId::new(&env), ..facts.clone() },
            VersionFacts { version: 2, ..facts.clone() },
            VersionFacts { created_at: Timestamp::from_seconds(2), ..facts.clone() },
        ];
        for other in changed {
            assert!(other.unwrap(&kek, public.as_deref(), &blob).is_err(), "{other:?}");
        }
        assert!(facts.unwrap(&kek, Some(&[0; 32]), &blob).is_err());
        assert!(facts.unwrap(&kek, None, &blob).is_err());
    }

    #[test]
    fn the_chain_from_the_unseal_key_down_opens() {
        let env = Env::system();
        let unseal = UnsealKey::new("u".into(), &[9; 32]);
        let at = Timestamp::from_seconds(5);
        let (root_blob, _) = unseal.generate_root(1, at, &env);
        let root = unseal.unwrap_root(1, at, &root_blob).unwrap();
        let ring = RootRing::new([(1, root)].into());
        let facts = KekFacts {
            kek_id: KekId::new(&env),
            identity: "did:squid:QmA".parse().unwrap(),
            purpose: "sign".into(),
            root_version: 1,
            created_at: at,
        };
        let (blob, _) = facts.generate(&ring, &env);
        assert!(facts.unwrap(&ring, &blob).is_ok());
        let other = KekFacts { purpose: "encrypt".into(), ..facts.clone() };
        assert_eq!(other.unwrap(&ring, &blob).err(), Some(WrapError::DoesNotOpen));
        let lost = KekFacts { root_version: 2, ..facts };
        assert!(matches!(lost.unwrap(&ring, &blob).err(), Some(WrapError::WrongParent { .. })));
        let stranger = UnsealKey::new("u".into(), &[8; 32]);
        assert_eq!(stranger.unwrap_root(1, at, &root_blob).err(), Some(WrapError::DoesNotOpen));
    }
}
