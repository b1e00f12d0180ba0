//! One line of a log: its members, its two hashes and its proofs.

use q_core::{Timestamp, hash};
use q_jose::{PublicKey, SecretKey, ed25519::KeyError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{json, rule::Rule};

/// What stands for the SCID while it is being computed.
pub const PLACEHOLDER: &str = "{SCID}";
/// The one method version this house writes and reads.
pub const METHOD: &str = "did:webvh:1.0";
/// The longest entry kept, in bytes.
pub const ENTRY_BYTES_MAX: usize = 32 * 1024;
/// The most proofs an entry may carry.
pub const PROOFS_MAX: usize = 4;
/// The multihash prefix of sha2-256: code `0x12`, 32 bytes.
const MULTIHASH_SHA2_256: [u8; 2] = [0x12, 0x20];

/// An entry as it stands in a line of `did.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// `<number>-<entry hash>`.
    pub version_id: String,
    /// When the entry was made, `YYYY-MM-DDTHH:MM:SSZ`.
    pub version_time: String,
    /// What changes about the log: keys, commitments, flags.
    pub parameters: Map<String, Value>,
    /// The DID document from here on.
    pub state: Value,
    /// Signatures over all of the above.
    #[serde(default)]
    pub proof: Vec<Proof>,
}

/// A Data Integrity proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// `DataIntegrityProof`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `eddsa-jcs-2022`.
    pub cryptosuite: String,
    /// `did:key:K#K`.
    pub verification_method: String,
    /// When it was made.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// `assertionMethod`.
    pub proof_purpose: String,
    /// `z` + base58btc of the signature.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proof_value: String,
}

/// The parts of an entry in canonical form, from which every hash over it is put together.
///
/// JCS sorts members by name, so `parameters`, `state`, `versionId`, `versionTime` follow in this order
/// and the entry is canonicalised once for its hash and its proofs, which differ only in `versionId`.
pub(crate) struct Canonical {
    before_version_id: Vec<u8>,
    after_version_id: Vec<u8>,
}

impl Entry {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, Rule> {
        if line.len() > ENTRY_BYTES_MAX {
            return Err(Rule::Size);
        }
        let value = json::parse(line.as_bytes()).map_err(|_| Rule::Json)?;
        let Value::Object(members) = &value else { return Err(Rule::EntryShape) };
        // serde would also take an array; the shape is an object of known members.
        if !members.contains_key("proof") {
            return Err(Rule::ProofCount);
        }
        serde_json::from_value(value).map_err(|_| Rule::EntryShape)
    }

    /// The line of `did.jsonl`, without the line break.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("an entry is made of JSON values")
    }

    /// The number before the dash of `versionId`, if it is written as it should be.
    pub fn version(&self) -> Option<u32> {
        let (number, _) = self.version_id.split_once('-')?;
        let is_plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| is_plain)
    }

    /// When the entry was made.
    pub fn time(&self) -> Result<Timestamp, Rule> {
        let instant: Timestamp = self.version_time.parse().map_err(|_| Rule::VersionTime)?;
        // One spelling only: other programs print the instant again before they hash it.
        if instant.to_string() == self.version_time { Ok(instant) } else { Err(Rule::VersionTime) }
    }

    pub(crate) fn canonical(&self) -> Result<Canonical, Rule> {
        let mut before_version_id = br#"{"parameters":"#.to_vec();
        before_version_id.extend(canonical_json(&self.parameters)?);
        before_version_id.extend(br#","state":"#);
        before_version_id.extend(canonical_json(&self.state)?);
        before_version_id.extend(br#","versionId":"#);
        let mut after_version_id = br#","versionTime":"#.to_vec();
        after_version_id.extend(canonical_json(&self.version_time)?);
        after_version_id.push(b'}');
        Ok(Canonical { before_version_id, after_version_id })
    }

    /// The SCID this entry has as a first entry: the hash with every occurrence of `scid` as placeholder.
    pub(crate) fn scid_if(&self, scid: &str) -> Result<String, Rule> {
        let genesis = Self {
            version_id: PLACEHOLDER.into(),
            version_time: self.version_time.clone(),
            parameters: replace_members(&self.parameters, scid, PLACEHOLDER),
            state: replace(&self.state, scid, PLACEHOLDER),
            proof: Vec::new(),
        };
        genesis.canonical()?.entry_hash(PLACEHOLDER)
    }

    /// Signs the entry and adds the proof.
    pub(crate) fn sign(&mut self, key: &SecretKey) -> Result<(), Rule> {
        let multikey = key.public().to_multikey();
        let mut proof = Proof {
            kind: "DataIntegrityProof".into(),
            cryptosuite: "eddsa-jcs-2022".into(),
            verification_method: format!("did:key:{multikey}#{multikey}"),
            created: Some(self.version_time.clone()),
            proof_purpose: "assertionMethod".into(),
            proof_value: String::new(),
        };
        let message = self.canonical()?.signed_message(&self.version_id, &proof)?;
        proof.proof_value = format!("z{}", bs58::encode(key.sign(&message)).into_string());
        self.proof.push(proof);
        Ok(())
    }
}

impl Canonical {
    /// The entry's hash, computed with the predecessor's `versionId` in place of its own.
    pub(crate) fn entry_hash(&self, previous_version_id: &str) -> Result<String, Rule> {
        Ok(multihash(&self.digest(previous_version_id)?))
    }

    /// What an eddsa-jcs-2022 proof signs: SHA-256 of the proof options, then SHA-256 of the document.
    pub(crate) fn signed_message(&self, version_id: &str, proof: &Proof) -> Result<[u8; 64], Rule> {
        let options = canonical_json(&Proof { proof_value: String::new(), ..proof.clone() })?;
        let mut message = [0; 64];
        message[..32].copy_from_slice(&hash::sha256(&options));
        message[32..].copy_from_slice(&self.digest(version_id)?);
        Ok(message)
    }

    fn digest(&self, version_id: &str) -> Result<hash::Sha256, Rule> {
        let version_id = canonical_json(&version_id)?;
        Ok(hash::sha256_of(&[&self.before_version_id, &version_id, &self.after_version_id]))
    }
}

impl Proof {
    /// The Multikey of the key that claims to have signed, after the proof's form was checked.
    pub(crate) fn multikey(&self) -> Result<&str, Rule> {
        if self.kind != "DataIntegrityProof" || self.proof_purpose != "assertionMethod" {
            return Err(Rule::ProofShape);
        }
        if self.created.as_ref().is_some_and(|created| created.parse::<Timestamp>().is_err()) {
            return Err(Rule::ProofShape);
        }
        if self.cryptosuite != "eddsa-jcs-2022" {
            return Err(Rule::ProofCryptosuite);
        }
        let (did, fragment) = self.verification_method.split_once('#').ok_or(Rule::ProofKey)?;
        if did.strip_prefix("did:key:") == Some(fragment) { Ok(fragment) } else { Err(Rule::ProofKey) }
    }

    /// Checks the signature over an entry.
    pub(crate) fn verify(&self, key: &PublicKey, entry: &Canonical, version_id: &str) -> Result<(), Rule> {
        let encoded = self.proof_value.strip_prefix('z').ok_or(Rule::ProofSignature)?;
        let mut signature = [0; 64];
        let written = bs58::decode(encoded).onto(&mut signature).map_err(|_| Rule::ProofSignature)?;
        let message = entry.signed_message(version_id, self)?;
        key.verify(&message, &signature[..written]).map_err(|_: KeyError| Rule::ProofSignature)
    }
}

/// The commitment to a key that may sign the next entry.
pub fn key_hash(key: &PublicKey) -> String {
    text_hash(&key.to_multikey())
}

/// The commitment to the key with this Multikey text.
pub(crate) fn text_hash(multikey: &str) -> String {
    multihash(&hash::sha256(multikey.as_bytes()))
}

/// Whether `text` is a base58btc sha2-256 multihash in its one spelling.
pub(crate) fn is_multihash(text: &str) -> bool {
    let mut bytes = [0; 34];
    text.len() <= 50
        && bs58::decode(text).onto(&mut bytes).is_ok_and(|written| written == bytes.len())
        && bytes.starts_with(&MULTIHASH_SHA2_256)
}

fn multihash(digest: &hash::Sha256) -> String {
    let mut bytes = MULTIHASH_SHA2_256.to_vec();
    bytes.extend_from_slice(digest);
    bs58::encode(bytes).into_string()
}

fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Rule> {
    hash::canonical_json(value).map_err(|_| Rule::Json)
}

/// `value` with `from` replaced by `to` in every text and member name, as if replaced in the file.
pub(crate) fn replace(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(from, to)),
        Value::Array(items) => items.iter().map(|item| replace(item, from, to)).collect(),
        Value::Object(members) => Value::Object(replace_members(members, from, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

pub(crate) fn replace_members(members: &Map<String, Value>, from: &str, to: &str) -> Map<String, Value> {
    members.iter().map(|(name, value)| (name.replace(from, to), replace(value, from, to))).collect()
}

/// Refuses `null`, which would vanish from what is hashed.
fn not_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// A JSON list of Multikey texts.
pub(crate) fn multikeys(keys: &[PublicKey]) -> Value {
    json!(keys.iter().map(PublicKey::to_multikey).collect::<Vec<_>>())
}
