//! Keys and addresses of a rail: BIP-32 from one seed, `m/44'/60'/0'/0/index`, as every wallet program derives them, so
//! that an operator who holds the seed can always get at the money.
//!
//! **Invariant:** keys live as long as one signature takes.

use aws_lc_rs::hmac;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use k256::{
    Scalar,
    ecdsa::{RecoveryId, Signature, SigningKey},
    elliptic_curve::{ff::PrimeField as _, sec1::ToEncodedPoint as _},
};
use qwallet_rails::{RailError, Slot};
use sha3::{Digest as _, Keccak256};
use zeroize::{Zeroize as _, Zeroizing};

/// BIP-44: purpose, coin (60 for Ethereum and its like), account, change.
const PATH: [u32; 4] = [HARDENED + 44, HARDENED + 60, HARDENED, 0];
const HARDENED: u32 = 1 << 31;

/// Twenty bytes that name an account of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(pub [u8; 20]);

impl Address {
    /// Reads `0x` and forty hex digits. Where letters have both cases the checksum of EIP-55 must be right.
    pub(crate) fn read(text: &str) -> Result<Self, RailError> {
        let refused = || RailError::NotAnAddress(text.chars().take(64).collect());
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40).ok_or_else(refused)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| refused())?;
        let address = Self(bytes.try_into().map_err(|_| refused())?);
        let has_cases = digits.bytes().any(|byte| byte.is_ascii_lowercase())
            && digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if has_cases && address.text() != text { Err(refused()) } else { Ok(address) }
    }

    /// With the checksum of EIP-55: a letter is large where the hash of the digits has a nibble above seven.
    pub(crate) fn text(self) -> String {
        let digits = HEXLOWER.encode(&self.0);
        let hash = HEXLOWER.encode(&keccak(digits.as_bytes()));
        let letters = digits.chars().zip(hash.chars());
        let cased =
            letters.map(|(digit, nibble)| if nibble > '7' { digit.to_ascii_uppercase() } else { digit });
        std::iter::once("0x".to_owned()).chain(cased.map(String::from)).collect()
    }

    /// As an argument of a contract and as a topic of its logs: left-padded to a word.
    pub(crate) fn word(self) -> [u8; 32] {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&self.0);
        word
    }
}

/// The key of one slot.
pub(crate) struct Key(SigningKey);

impl Key {
    /// Derives it.
    pub(crate) fn of(slot: Slot<'_>) -> Result<Self, RailError> {
        let no_key = || RailError::NoKey(slot.index);
        let mut node = hmac_sha512(b"Bitcoin seed", &[slot.seed.bytes()]);
        // The key of the root is the left half itself; zero or too large happens once in 2^127 seeds.
        let mut scalar = scalar_of(&node).ok_or_else(no_key)?;
        if slot.index >= HARDENED {
            return Err(no_key());
        }
        for step in PATH.into_iter().chain([slot.index]) {
            let (next, child) = child(&node, scalar, step).ok_or_else(no_key)?;
            node = next;
            scalar.zeroize();
            scalar = child;
        }
        let mut bytes = scalar.to_bytes();
        let key = SigningKey::from_bytes(&bytes).map_err(|_| no_key());
        bytes.as_mut_slice().zeroize();
        scalar.zeroize();
        key.map(Self)
    }

    /// The address: the last twenty bytes of the hash of the public point.
    pub(crate) fn address(&self) -> Address {
        let point = self.0.verifying_key().as_affine().to_encoded_point(false);
        let hash = keccak(&point.as_bytes()[1..]);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Address(address)
    }

    /// Signs a digest: deterministic (RFC 6979) with low S, and whether the second of the two possible keys is ours.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Result<(Signature, RecoveryId), RailError> {
        self.0
            .sign_prehash_recoverable(digest)
            .map_err(|error| RailError::Refused(format!("the key does not sign: {error}")))
    }
}

/// The hash of the chain.
pub(crate) fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

type Node = Zeroizing<[u8; 64]>;

/// BIP-32, private parent to private child.
fn child(parent: &Node, scalar: Scalar, step: u32) -> Option<(Node, Scalar)> {
    let mut key = scalar.to_bytes();
    let node = if step >= HARDENED {
        hmac_sha512(&parent[32..], &[&[0], key.as_slice(), &step.to_be_bytes()])
    } else {
        let public = SigningKey::from_bytes(&key).ok()?;
        let point = public.verifying_key().to_encoded_point(true);
        hmac_sha512(&parent[32..], &[point.as_bytes(), &step.to_be_bytes()])
    };
    key.as_mut_slice().zeroize();
    let mut tweak = scalar_of(&node)?;
    let child = tweak + scalar;
    tweak.zeroize();
    (!bool::from(child.is_zero())).then_some((node, child))
}

/// The left half as a number below the order of the group.
fn scalar_of(node: &Node) -> Option<Scalar> {
    let mut bytes = k256::FieldBytes::clone_from_slice(&node[..32]);
    let scalar = Scalar::from_repr(bytes).into_option();
    bytes.as_mut_slice().zeroize();
    scalar
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Node {
    let key = hmac::Key::new(hmac::HMAC_SHA512, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let mut node = Zeroizing::new([0; 64]);
    node.copy_from_slice(context.sign().as_ref());
    node
}

#[cfg(test)]
mod tests {
    use qwallet_rails::Seed;

    use super::*;

    #[test]
    fn addresses_carry_their_checksum() {
        // The examples of EIP-55.
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let address = Address::read(text).expect("an example of the standard");
            assert_eq!(address.text(), text);
            assert_eq!(Address::read(&text.to_lowercase()), Ok(address));
            let slip = text.replace('b', "B").replace('C', "c");
            assert!(slip == text || Address::read(&slip).is_err(), "{slip}");
        }
        for text in [
            "",
            "0x",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        ] {
            assert!(Address::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_addresses_of_a_well_known_seed() {
        let phrase = "test test test test test test test test test test test junk";
        let phrase = bip39::Mnemonic::parse_normalized(phrase).expect("a well-known phrase");
        let seed = Seed::new(phrase.to_seed_normalized(""));
        let address = |index| Key::of(Slot { seed: &seed, index }).expect("a key").address().text();
        // What every development node of this kind of chain starts with.
        assert_eq!(address(0), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(address(1), "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
        assert!(Key::of(Slot { seed: &seed, index: u32::MAX }).is_err());
    }
}
