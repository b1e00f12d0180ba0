//! The wire types. Bytes travel as base64 with padding (RFC 4648 section 4) unless a field says otherwise.

use std::collections::BTreeMap;

use q_contract::json_types;
use q_core::{Did, Page, PageLimit, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

q_core::typed_id!(
    /// A managed key, through all its versions.
    KeyId,
    "key_"
);

/// The most plaintext one request may seal, in bytes.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 20;
/// The largest context, in bytes of canonical JSON.
pub const CONTEXT_BYTES_MAX: usize = 8 << 10;

/// Facts that must be said again to open what was sealed; authenticated, not stored.
pub type SealContext = BTreeMap<String, String>;

/// What a key is made of, and with that what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum KeyType {
    /// Seals values (JWE) and data keys.
    #[serde(rename = "aes-256")]
    Aes256,
    /// Signs.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// Receives age files.
    #[serde(rename = "x25519")]
    X25519,
}

/// Where a key version is in its life (NIST SP 800-57 part 1 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Seals, opens, signs, verifies.
    Active,
    /// Opens and verifies what it made before a newer version came.
    Deactivated,
}

/// The form of a sealed value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SealFormat {
    /// Compact JWE (RFC 7516), `A256KW` with `A256GCM`.
    #[default]
    Jwe,
    /// An armored age v1 file.
    Age,
}

/// The form of a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureFormat {
    /// The 64 bytes of RFC 8032, base64.
    #[default]
    Raw,
    /// Compact JWS (RFC 7515), `EdDSA`, with the data inside.
    Jws,
}

/// Asks for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKeyRequest {
    /// What it is made of.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// A name for people, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whose key it is; only the caller is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Did>,
}

/// A key, without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its name in every request.
    pub key_id: KeyId,
    /// What it is made of.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// Whose key it is.
    pub owner: Did,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it is taken when a request names no key.
    pub is_default: bool,
    /// The version that seals and signs.
    pub current_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Every version, oldest first.
    pub versions: Vec<KeyVersion>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyVersion {
    /// Counted from 1, without gaps.
    pub version: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// The public half of a signing key, as a JWK (RFC 8037).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Value>,
    /// The public half of an age key: `age1…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

/// Names a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRequest {
    /// The key.
    pub key_id: KeyId,
}

/// Asks for the caller's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListKeysRequest {
    /// How many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<PageLimit>,
    /// Where to go on, from the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Asks to seal a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptRequest {
    /// The plaintext, base64, at most 1 MiB of bytes.
    pub data: String,
    /// The key; the caller's default key of the fitting type when absent, made at its first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// `AES-256-GCM` for JWE, `X25519` for age; the format's only one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Facts that must be said again to open it (JWE only).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: SealContext,
    /// Who shall open the age file: `age1…` texts, or identities that hold an age key here. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The form; JWE when absent, age when there are recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SealFormat>,
    /// Only the caller is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<Did>,
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encrypted {
    /// The sealed text: a compact JWE, or an armored age file.
    pub encrypted_data: String,
    /// The key that opens it here; absent when only outside recipients can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The version of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_version: Option<u32>,
    /// How it was sealed.
    pub algorithm: String,
    /// The form.
    pub format: SealFormat,
    /// Whether a quantum computer is expected to be of no help against it.
    pub quantum_resistant: bool,
}

/// Asks to open a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecryptRequest {
    /// What [`Encrypted::encrypted_data`] was.
    pub encrypted_data: String,
    /// The same context as when it was sealed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: SealContext,
    /// A hint; the text says itself which key sealed it (JWE), or the caller's age keys are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Accepted for old clients and not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Only the caller is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<Did>,
}

/// An opened value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decrypted {
    /// The plaintext, base64.
    pub decrypted_data: String,
    /// The key that opened it.
    pub key_id: KeyId,
    /// The version of that key.
    pub key_version: u32,
    /// Always true: what does not authenticate does not open.
    pub verified: bool,
}

/// Asks for fresh data keys, for a caller that encrypts by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDataKeysRequest {
    /// What they are for, at most 64 characters; said again to unwrap.
    pub purpose: String,
    /// Further facts to be said again to unwrap.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: SealContext,
    /// The key that wraps them; the caller's default `aes-256` key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// How many, 1 to 100; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Whether the keys themselves are answered too; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_plaintext: Option<bool>,
}

/// Fresh data keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKeys {
    /// One per asked key.
    pub data_keys: Vec<DataKey>,
}

/// A data key. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    /// Its name, 32 hexadecimal digits: what the header of a sealed field holds.
    pub data_key_id: String,
    /// The 32 bytes, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<String>,
    /// The wrapped key, to be stored beside the data.
    pub wrapped: String,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({})", self.data_key_id)
    }
}

/// Asks for the data key inside a wrapped one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnwrapDataKeyRequest {
    /// What [`DataKey::wrapped`] was.
    pub wrapped: String,
    /// The same purpose.
    pub purpose: String,
    /// The same context.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: SealContext,
}

/// Asks for a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignRequest {
    /// The message, base64, at most 1 MiB of bytes.
    pub data: String,
    /// The key; the caller's default `ed25519` key when absent, made at its first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// `Ed25519`; the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The form; raw when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SignatureFormat>,
    /// Only the caller is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<Did>,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// Base64 of 64 bytes, or a compact JWS.
    pub signature: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The key that signed.
    pub key_id: KeyId,
    /// Its version.
    pub key_version: u32,
    /// The public half of that version, as a JWK.
    pub public_key: Value,
}

/// Asks whether a signature holds. Nothing is fetched from anywhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyRequest {
    /// The message, base64; may be absent for a JWS, which holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Base64 of 64 bytes, or a compact JWS.
    pub signature: String,
    /// A key of this instance, whose versions are tried; either this or `publicKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// An Ed25519 key as a JWK; either this or `keyId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Value>,
    /// The form; raw when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SignatureFormat>,
}

/// What a verification found. A signature that does not hold is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether everything below holds.
    pub valid: bool,
    /// The single findings.
    pub checks: VerificationChecks,
    /// The state of the version that signed, for a key of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_state: Option<KeyState>,
    /// The version that signed, for a key of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_version: Option<u32>,
    /// Why it is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The single findings of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationChecks {
    /// The signature holds for the message.
    pub signature: bool,
    /// The key is known and fit to be believed.
    pub key: bool,
}

/// Asks for random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RandomRequest {
    /// How many, 1 to 1024.
    pub bytes: u32,
}

/// Random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RandomBytes {
    /// The bytes, base64.
    pub random: String,
}

/// Asks for nothing in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmsRequest {}

/// What this instance can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Algorithms {
    /// One entry per algorithm in use.
    pub algorithms: Vec<Algorithm>,
}

/// One algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Algorithm {
    /// Its name in requests.
    pub name: String,
    /// `encrypt`, `sign` or `field`.
    pub purpose: String,
    /// `default` where it is taken when a request names none, otherwise `supported`.
    pub status: String,
    /// Where it is specified.
    pub standard: String,
    /// The length of a secret key, in bits.
    pub key_bits: u32,
    /// Whether a quantum computer is expected to be of no help against it.
    pub quantum_resistant: bool,
}

/// Asks for public keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwksRequest {
    /// Only this key's versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
}

/// Public keys (RFC 7517 section 5); `kid` is `<keyId>#<version>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jwks {
    /// The keys, newest first, at most 1,000.
    pub keys: Vec<Value>,
}

/// One page of the caller's keys.
pub type KeyPage = Page<Key>;

json_types!(
    Key,
    Encrypted,
    Decrypted,
    DataKeys,
    DataKey,
    Signed,
    Verification,
    RandomBytes,
    Algorithms,
    Jwks
);
