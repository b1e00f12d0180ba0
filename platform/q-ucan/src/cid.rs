//! The content identifier of a token: CIDv1, DAG-CBOR, SHA-256, and nothing else.

use std::{fmt, str::FromStr};

use cid::{Cid, Version, multihash::Multihash};
use q_core::hash::{Sha256, sha256};

/// The multicodec of DAG-CBOR.
const CODEC_DAG_CBOR: u64 = 0x71;
/// The multihash code of SHA2-256.
const HASH_SHA2_256: u64 = 0x12;

/// The content identifier of a token (`ucan-wg/spec`, "Content Identifiers").
///
/// Only the digest is kept, because the rest is fixed; so two spellings (base32, base58btc) compare equal. Prints
/// as base32, like the official fixtures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenCid(Sha256);

/// The text or link is not the identifier of a UCAN token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a CIDv1 of DAG-CBOR with SHA2-256, such as bafyrei…")]
pub struct NotACid;

impl TokenCid {
    /// The identifier of the token with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }

    /// The identifier with this digest, as it is kept in a column.
    pub const fn from_digest(digest: Sha256) -> Self {
        Self(digest)
    }

    /// The SHA-256 digest of the token.
    pub const fn digest(&self) -> &Sha256 {
        &self.0
    }

    /// The identifier as an IPLD link.
    pub fn to_link(self) -> Cid {
        let hash = Multihash::wrap(HASH_SHA2_256, &self.0).expect("32 bytes fit in a multihash of 64");
        Cid::new_v1(CODEC_DAG_CBOR, hash)
    }

    /// Reads a link, refusing every other version, codec and hash.
    pub fn from_link(link: &Cid) -> Result<Self, NotACid> {
        let is_ours = link.version() == Version::V1
            && link.codec() == CODEC_DAG_CBOR
            && link.hash().code() == HASH_SHA2_256;
        let digest: Sha256 = link.hash().digest().try_into().map_err(|_| NotACid)?;
        if is_ours { Ok(Self(digest)) } else { Err(NotACid) }
    }
}

impl FromStr for TokenCid {
    type Err = NotACid;
    fn from_str(text: &str) -> Result<Self, NotACid> {
        if text.len() > 128 {
            return Err(NotACid);
        }
        Self::from_link(&Cid::from_str(text).map_err(|_| NotACid)?)
    }
}

impl fmt::Display for TokenCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_link(), f)
    }
}

impl fmt::Debug for TokenCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for TokenCid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TokenCid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for TokenCid {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenCid".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 128, "description": "CIDv1 of a UCAN token"})
    }
}
