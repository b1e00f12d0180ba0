//! Ed25519 (RFC 8032) with strict keys, and the names other formats give such a key.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use q_core::Env;
use zeroize::Zeroizing;

/// The multicodec prefix of an Ed25519 public key, `0xed` as a varint.
const MULTICODEC_ED25519_PUB: [u8; 2] = [0xed, 0x01];

/// A signature over a message.
pub type Signature = [u8; 64];

/// Why bytes are not a usable key, or a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Wrong length, wrong prefix or wrong alphabet.
    #[error("not an Ed25519 key")]
    Malformed,
    /// The key is a point of small order or a non-canonical encoding: one signature would hold for many messages.
    #[error("a weak Ed25519 key")]
    Weak,
    /// The signature does not hold for this key and message.
    #[error("the signature does not hold")]
    BadSignature,
}

/// A public key whose point was checked to be neither of small order nor non-canonically encoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A private key. Its seed is wiped from memory when dropped.
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

/// The y-coordinates, little-endian with the sign bit cleared, of the points whose order divides 8.
///
/// Source: the order-8 torsion subgroup of edwards25519 (see "Taming the many EdDSAs", 2020, table 1).
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    // 0: the two points of order 4
    [0; 32],
    // 1: the identity
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    // p - 1: the point of order 2
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    // the points of order 8
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether the encoded point has small order or an encoding that RFC 8032 section 5.1.3 refuses.
fn is_weak(encoded: &[u8; 32]) -> bool {
    let mut y = *encoded;
    y[31] &= 0x7f;
    // y >= p = 2^255 - 19 is a second spelling of a smaller y.
    let is_non_canonical = y[31] == 0x7f && y[1..31].iter().all(|byte| *byte == 0xff) && y[0] >= 0xed;
    is_non_canonical || SMALL_ORDER_Y.contains(&y)
}

impl PublicKey {
    /// Checks and takes the 32 bytes of RFC 8032 section 5.1.5.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Malformed)?;
        if is_weak(&bytes) { Err(KeyError::Weak) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks `signature` over `message`: canonical `S`, no small-order `R`, cofactorless equation.
    ///
    /// This is the strict rule on which all honest verifiers agree, so that a signature accepted here is
    /// accepted by the next program too.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let commitment: &[u8; 32] = signature.first_chunk().ok_or(KeyError::BadSignature)?;
        if is_weak(commitment) {
            return Err(KeyError::BadSignature);
        }
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| KeyError::BadSignature)
    }

    /// The Multikey text of the key (W3C Controlled Identifiers section 2.2.2), such as `z6Mk…`.
    pub fn to_multikey(&self) -> String {
        let mut bytes = MULTICODEC_ED25519_PUB.to_vec();
        bytes.extend_from_slice(&self.0);
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// Reads a Multikey text.
    pub fn from_multikey(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix('z').ok_or(KeyError::Malformed)?;
        if encoded.len() > 64 {
            return Err(KeyError::Malformed);
        }
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| KeyError::Malformed)?;
        Self::from_bytes(bytes.strip_prefix(&MULTICODEC_ED25519_PUB).ok_or(KeyError::Malformed)?)
    }

    /// The `did:key` identifier of the key.
    pub fn to_did_key(&self) -> String {
        format!("did:key:{}", self.to_multikey())
    }

    /// Reads a `did:key` identifier, without a fragment.
    pub fn from_did_key(did: &str) -> Result<Self, KeyError> {
        Self::from_multikey(did.strip_prefix("did:key:").ok_or(KeyError::Malformed)?)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_multikey())
    }
}

impl SecretKey {
    /// A fresh key.
    pub fn generate(env: &Env) -> Self {
        Self::from_seed(&env.random())
    }

    /// The key of a seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32-byte seed is a key");
        Self { seed: Zeroizing::new(*seed), pair }
    }

    /// The seed, for wrapping; never for a log, a store or the wire.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        PublicKey(bytes)
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self::from_seed(&self.seed)
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey(public {:?})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_names_the_key_of_rfc_8032_test_2() {
        let seed: [u8; 32] =
            hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").try_into().unwrap();
        let key = SecretKey::from_seed(&seed);
        assert_eq!(
            key.public().bytes().to_vec(),
            hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        );
        let signature = key.sign(&[0x72]);
        assert!(key.public().verify(&[0x72], &signature).is_ok());
        assert_eq!(key.public().verify(&[0x73], &signature), Err(KeyError::BadSignature));
        assert_eq!(PublicKey::from_did_key(&key.public().to_did_key()), Ok(key.public()));
    }

    #[test]
    fn refuses_weak_keys_and_weak_commitments() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        identity[31] = 0x80;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes(&[0xff; 32]), Err(KeyError::Weak));
        let key = SecretKey::from_seed(&[7; 32]);
        assert_eq!(key.public().verify(b"x", &[0; 64]), Err(KeyError::BadSignature));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
