//! The UCAN envelope: `[signature, {h: varsig, "ucan/<kind>@<version>": payload}]` in canonical DAG-CBOR.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use q_jose::ed25519::SecretKey;

use crate::{Algorithm, Refusal, TokenCid};

/// The largest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The two kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Delegation,
    Invocation,
}

/// The version in a token's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `1.0.0`: what this crate emits.
    V1,
    /// `1.0.0-rc.1`: what peers still emit; the same format.
    Rc1,
}

impl Version {
    /// The text in the tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::Rc1 => "1.0.0-rc.1",
        }
    }
}

/// A token as it was signed: the exact bytes and what they say about themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cid: TokenCid,
    pub(crate) algorithm: Algorithm,
    pub(crate) version: Version,
    /// Where in `bytes` the signature lies.
    signature_at: (usize, usize),
}

impl Signed {
    /// Decodes an envelope and gives back the payload. No signature is checked here.
    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<(Self, Ipld), Refusal> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge("a token has at most 64 KiB"));
        }
        check_nesting(bytes)?;
        let not_dag_cbor = Refusal::Malformed("the bytes are DAG-CBOR with nothing after them");
        let value: Ipld = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| not_dag_cbor)?;
        // Sorted keys, no duplicates, shortest integers, definite lengths: all of it in one comparison.
        if encode(&value) != bytes {
            return Err(Refusal::Malformed("the bytes are canonical DAG-CBOR"));
        }
        let (signature, mut signed) = split(value)?;
        if signed.len() != 2 {
            return Err(Refusal::Malformed("the signed map has exactly two keys"));
        }
        let Some(Ipld::Bytes(header)) = signed.remove("h") else {
            return Err(Refusal::Malformed("`h` is a varsig header"));
        };
        let algorithm = Algorithm::from_varsig(&header)?;
        let (tag, payload) = signed.pop_first().ok_or(Refusal::Malformed("the payload is present"))?;
        let version = read_tag(kind, &tag)?;
        let start = 1 + byte_string_head(signature.len());
        let signature_at = (start, start + signature.len());
        Ok((
            Self { bytes: bytes.to_vec(), cid: TokenCid::of(bytes), algorithm, version, signature_at },
            payload,
        ))
    }

    /// Signs a payload with an Ed25519 key.
    pub(crate) fn sign(kind: Kind, payload: Ipld, key: &SecretKey) -> Self {
        let message = message(kind, Algorithm::Ed25519, payload);
        let signature = key.sign(&message);
        let start = 1 + byte_string_head(signature.len());
        let mut bytes = vec![0x82, 0x58, 64];
        bytes.extend_from_slice(&signature);
        bytes.extend_from_slice(&message);
        let signature_at = (start, start + signature.len());
        let cid = TokenCid::of(&bytes);
        Self { bytes, cid, algorithm: Algorithm::Ed25519, version: Version::V1, signature_at }
    }

    /// The signature.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.bytes[self.signature_at.0..self.signature_at.1]
    }

    /// What was signed: the encoded map that follows the signature.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes[self.signature_at.1..]
    }
}

/// The canonical bytes of `value`; NaN and infinities, which have none, become empty and so never compare equal.
pub(crate) fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).unwrap_or_default()
}

fn message(kind: Kind, algorithm: Algorithm, payload: Ipld) -> Vec<u8> {
    let signed = BTreeMap::from([
        ("h".to_owned(), Ipld::Bytes(algorithm.varsig().to_vec())),
        (tag(kind, Version::V1), payload),
    ]);
    encode(&Ipld::Map(signed))
}

fn tag(kind: Kind, version: Version) -> String {
    let kind = match kind {
        Kind::Delegation => "dlg",
        Kind::Invocation => "inv",
    };
    format!("ucan/{kind}@{}", version.as_str())
}

fn read_tag(kind: Kind, text: &str) -> Result<Version, Refusal> {
    [Version::V1, Version::Rc1]
        .into_iter()
        .find(|version| tag(kind, *version) == text)
        .ok_or(Refusal::OTHER_KIND)
}

fn split(value: Ipld) -> Result<(Vec<u8>, BTreeMap<String, Ipld>), Refusal> {
    let refused = Refusal::Malformed("the envelope is a list of a signature and a map");
    let Ipld::List(parts) = value else { return Err(refused) };
    let Ok([Ipld::Bytes(signature), Ipld::Map(signed)]) = <[Ipld; 2]>::try_from(parts) else {
        return Err(refused);
    };
    Ok((signature, signed))
}

/// How many bytes the head of a byte string of this length takes (RFC 8949 section 3).
const fn byte_string_head(length: usize) -> usize {
    match length {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    }
}

/// Refuses deep nesting before the recursive decoder sees it, with a single pass and no recursion.
fn check_nesting(bytes: &[u8]) -> Result<(), Refusal> {
    let refused = Refusal::Malformed("the bytes are DAG-CBOR with nothing after them");
    // What is left to read at each open level.
    let mut open: Vec<u64> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let head = bytes[at];
        let extra = match head & 0x1f {
            0..=23 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(refused),
        };
        let argument = bytes.get(at + 1..at + 1 + extra).ok_or(refused)?;
        let value = match extra {
            0 => u64::from(head & 0x1f),
            _ => argument.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        };
        at += 1 + extra;
        let children = match head >> 5 {
            2 | 3 => {
                at = usize::try_from(value).ok().and_then(|length| at.checked_add(length)).ok_or(refused)?;
                0
            }
            4 => value,
            5 => value.saturating_mul(2),
            6 => 1,
            _ => 0,
        };
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
            if open.len() > crate::claims::DEPTH_MAX + 4 {
                return Err(Refusal::TooLarge("a payload nests at most 32 deep"));
            }
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}
