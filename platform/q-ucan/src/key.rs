//! Keys and the varsig v1 headers that name their algorithms.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use q_jose::ed25519;

use crate::Refusal;

/// How a token is signed. The three that the specification makes mandatory, all over DAG-CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256, low S.
    Es256,
    /// ECDSA on secp256k1 with SHA-256, low S.
    Es256k,
}

/// Half of the order of P-256, big-endian: the greatest S that is not the second spelling of a smaller one.
const HALF_ORDER_P256: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];
/// Half of the order of secp256k1, big-endian.
const HALF_ORDER_SECP256K1: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

impl Algorithm {
    /// Every algorithm that is accepted.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Es256, Self::Es256k];

    /// The varsig v1 header: sigil, version, algorithm, curve, hash, payload encoding DAG-CBOR.
    pub const fn varsig(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71],
            Self::Es256 => &[0x34, 0x01, 0xec, 0x01, 0x80, 0x24, 0x12, 0x71],
            Self::Es256k => &[0x34, 0x01, 0xec, 0x01, 0xe7, 0x01, 0x12, 0x71],
        }
    }

    /// Reads a varsig header. The list of allowed headers is closed, so a header has one spelling.
    pub fn from_varsig(header: &[u8]) -> Result<Self, Refusal> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.varsig() == header)
            .ok_or(Refusal::Malformed("the varsig header names an unknown algorithm or encoding"))
    }

    /// The name of the field, as JOSE writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Es256 => "ES256",
            Self::Es256k => "ES256K",
        }
    }
}

/// A public key of one of the accepted algorithms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyingKey {
    /// Ed25519, checked to be neither weak nor non-canonical.
    Ed25519(ed25519::PublicKey),
    /// P-256, as a compressed point.
    P256([u8; 33]),
    /// secp256k1, as a compressed point.
    Secp256k1([u8; 33]),
}

impl VerifyingKey {
    /// Reads the key that a `did:key` identifier spells out.
    pub fn from_did_key(did: &str) -> Result<Self, Refusal> {
        Self::from_multikey(did.strip_prefix("did:key:").ok_or(Refusal::UnknownIssuer)?)
    }

    /// Reads a Multikey text (W3C Controlled Identifiers section 2.2.2).
    pub fn from_multikey(text: &str) -> Result<Self, Refusal> {
        if let Ok(key) = ed25519::PublicKey::from_multikey(text) {
            return Ok(Self::Ed25519(key));
        }
        let encoded =
            text.strip_prefix('z').filter(|encoded| encoded.len() <= 64).ok_or(Refusal::UnknownIssuer)?;
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| Refusal::UnknownIssuer)?;
        let point = |rest: &[u8]| <[u8; 33]>::try_from(rest).map_err(|_| Refusal::UnknownIssuer);
        match bytes.as_slice() {
            [0x80, 0x24, rest @ ..] => point(rest).map(Self::P256),
            [0xe7, 0x01, rest @ ..] => point(rest).map(Self::Secp256k1),
            _ => Err(Refusal::UnknownIssuer),
        }
    }

    /// The Multikey text.
    pub fn to_multikey(&self) -> String {
        let (prefix, point) = match self {
            Self::Ed25519(key) => return key.to_multikey(),
            Self::P256(point) => ([0x80, 0x24], point),
            Self::Secp256k1(point) => ([0xe7, 0x01], point),
        };
        format!("z{}", bs58::encode([prefix.as_slice(), point].concat()).into_string())
    }

    /// The algorithm this key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::P256(_) => Algorithm::Es256,
            Self::Secp256k1(_) => Algorithm::Es256k,
        }
    }

    /// Whether `signature` by `algorithm` holds over `message`. A key of another algorithm never matches.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if algorithm != self.algorithm() {
            return false;
        }
        match self {
            Self::Ed25519(key) => key.verify(message, signature).is_ok(),
            Self::P256(point) => {
                verifies_ecdsa(&ECDSA_P256_SHA256_FIXED, point, &HALF_ORDER_P256, message, signature)
            }
            Self::Secp256k1(point) => {
                verifies_ecdsa(&ECDSA_P256K1_SHA256_FIXED, point, &HALF_ORDER_SECP256K1, message, signature)
            }
        }
    }
}

impl From<ed25519::PublicKey> for VerifyingKey {
    fn from(key: ed25519::PublicKey) -> Self {
        Self::Ed25519(key)
    }
}

/// ECDSA with the rule that S is the smaller of its two values, so that nobody can make a second signature.
fn verifies_ecdsa(
    algorithm: &'static EcdsaVerificationAlgorithm,
    point: &[u8],
    half_order: &[u8; 32],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Some((_, s)) = signature.split_at_checked(32) else { return false };
    if s.len() != 32 || s > half_order.as_slice() {
        return false;
    }
    ParsedPublicKey::new(algorithm, point).is_ok_and(|key| key.verify_sig(message, signature).is_ok())
}
