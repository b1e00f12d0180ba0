//! The keys an owner holds: the current one, the next one, and what is known of the recovery phrase.

use aws_lc_rs::hkdf;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bip39::Mnemonic;
use q_core::{Did, Env};
use q_jose::{PublicKey, SecretKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{
    author::{Author, AuthorError, Genesis, Rotation},
    entry::Entry,
    log::Log,
    name::key_id,
};

/// The words that recover an identity: 24 of the BIP-39 English list, which carry 256 bits and a checksum.
pub struct RecoveryPhrase(Zeroizing<[u8; 32]>);

/// The text is not a recovery phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 24 words of the BIP-39 English list with a right checksum")]
pub struct NotAPhrase;

impl RecoveryPhrase {
    /// Fresh words.
    pub fn generate(env: &Env) -> Self {
        Self(Zeroizing::new(env.random()))
    }

    /// Reads the words as typed.
    pub fn parse(words: &str) -> Result<Self, NotAPhrase> {
        let mnemonic = Mnemonic::parse_normalized(words.trim()).map_err(|_| NotAPhrase)?;
        let entropy = Zeroizing::new(mnemonic.to_entropy());
        let entropy: [u8; 32] = entropy.as_slice().try_into().map_err(|_| NotAPhrase)?;
        Ok(Self(Zeroizing::new(entropy)))
    }

    /// The words, to be shown once.
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy(self.0.as_slice()).expect("32 bytes make 24 words");
        Zeroizing::new(mnemonic.to_string())
    }

    /// The key the words stand for: HKDF-SHA256 (RFC 5869) of the 256 bits, under a label of its own.
    pub fn key(&self) -> SecretKey {
        let mut seed = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"")
            .extract(self.0.as_slice())
            .expand(&[b"q identity recovery key v1"], hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(seed.as_mut_slice()))
            .expect("32 bytes is a length HKDF-SHA256 can fill");
        SecretKey::from_seed(&seed)
    }
}

impl std::fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryPhrase")
    }
}

/// The keyring file of one identity. Holds private keys: mode 0600, outside every data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyring {
    /// The identity.
    pub did: Did,
    /// The key that logs in and signs now.
    #[serde(with = "seed")]
    pub current: SecretKey,
    /// The key that replaces it at the next rotation.
    #[serde(with = "seed")]
    pub next: SecretKey,
    /// The public half of the recovery key, which the next entry commits to again.
    #[serde(with = "multikey")]
    pub recovery: PublicKey,
    /// The `versionId` of the newest entry made with this keyring.
    pub version_id: String,
}

impl Keyring {
    /// Makes an identity: its keys, its first entry and its recovery phrase.
    ///
    /// Nothing here needs a network; the entry is registered with `POST /identity`.
    pub fn create(host: &str, env: &Env) -> Result<(Self, Log, RecoveryPhrase), AuthorError> {
        let (current, next) = (SecretKey::generate(env), SecretKey::generate(env));
        let phrase = RecoveryPhrase::generate(env);
        let recovery = phrase.key().public();
        let genesis = Genesis {
            host,
            current: &current,
            holder: None,
            next: next.public(),
            recovery,
            services: Vec::new(),
        };
        let log = Author::create(&genesis, env.now())?;
        let keyring =
            Self { did: did_of(&log), current, next, recovery, version_id: log.head().version_id.clone() };
        Ok((keyring, log, phrase))
    }

    /// Makes an identity for somebody in the care of guardians: `current` is theirs, and logs in and signs; `next` and
    /// the phrase stay with the guardians, who change the keys. The key that signs the first entry is thrown away.
    pub fn create_in_care(host: &str, env: &Env) -> Result<(Self, Log, RecoveryPhrase), AuthorError> {
        let (first, current, next) =
            (SecretKey::generate(env), SecretKey::generate(env), SecretKey::generate(env));
        let phrase = RecoveryPhrase::generate(env);
        let recovery = phrase.key().public();
        let genesis = Genesis {
            host,
            current: &first,
            holder: Some(current.public()),
            next: next.public(),
            recovery,
            services: Vec::new(),
        };
        let log = Author::create(&genesis, env.now())?;
        let keyring =
            Self { did: did_of(&log), current, next, recovery, version_id: log.head().version_id.clone() };
        Ok((keyring, log, phrase))
    }

    /// Rotates to the next key: the keyring to keep once the entry is accepted, and the entry.
    pub fn rotate(&self, log: &Log, host: Option<&str>, env: &Env) -> Result<(Self, Entry), AuthorError> {
        let next = SecretKey::generate(env);
        let rotation = Rotation { revealed: &self.next, next: next.public(), recovery: self.recovery, host };
        let entry = Author::rotate(log, &rotation, env.now())?;
        let keyring =
            Self { current: self.next.clone(), next, version_id: entry.version_id.clone(), ..self.clone() };
        Ok((keyring, entry))
    }

    /// Takes an identity back with its recovery phrase: a fresh keyring, the entry, and the new phrase.
    pub fn recover(
        log: &Log,
        phrase: &RecoveryPhrase,
        env: &Env,
    ) -> Result<(Self, Entry, RecoveryPhrase), AuthorError> {
        let (current, next) = (phrase.key(), SecretKey::generate(env));
        let new_phrase = RecoveryPhrase::generate(env);
        let recovery = new_phrase.key().public();
        let rotation = Rotation { revealed: &current, next: next.public(), recovery, host: None };
        let entry = Author::rotate(log, &rotation, env.now())?;
        let keyring =
            Self { did: did_of(log), next, recovery, version_id: entry.version_id.clone(), current };
        Ok((keyring, entry, new_phrase))
    }

    /// Ends the identity.
    pub fn deactivate(&self, log: &Log, env: &Env) -> Result<Entry, AuthorError> {
        Author::deactivate(log, &self.next, env.now())
    }

    /// The id of the current key, as it stands in tokens and signatures.
    pub fn key_id(&self) -> String {
        key_id(&self.did, &self.current.public())
    }
}

fn did_of(log: &Log) -> Did {
    Did::squid(&log.head().scid).expect("a SCID is base58btc, which a DID may hold")
}

mod seed {
    use super::{Deserialize, Deserializer, Engine, SecretKey, Serializer, URL_SAFE_NO_PAD, Zeroizing};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(key: &SecretKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode(key.seed())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretKey, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?);
        let seed: &[u8; 32] =
            bytes.as_slice().try_into().map_err(|_| D::Error::custom("a private key has 32 bytes"))?;
        Ok(SecretKey::from_seed(seed))
    }
}

mod multikey {
    use super::{Deserialize, Deserializer, PublicKey, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_multikey())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        PublicKey::from_multikey(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
