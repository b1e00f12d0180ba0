//! The short name of a wallet: `QQ`, two check digits, twenty-two base32 characters.
//!
//! It has the shape and the check digits (ISO 7064 MOD 97-10) of an IBAN (ISO 13616) under the code `QQ`,
//! which ISO 3166 reserves for users, so that payout files of any program can carry it in the field for
//! an IBAN; at 26 characters it also fits `Max34Text`. The characters are a hash of the wallet's id: 110
//! bits, so that no two wallets share one and none can be guessed from another.

use std::fmt;

use q_core::hash;
use qwallet_api::WalletId;

const COUNTRY: &str = "QQ";
const BODY_LENGTH: usize = 22;
/// The longest text looked at: the characters with a space between any two.
const TEXT_BYTES_MAX: usize = 52;

/// The reference of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletRef([u8; 26]);

/// The text is not a wallet reference, or was mistyped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAReference {
    /// Another shape.
    #[error("not a wallet reference such as QQ12ABCDEFGHIJKLMNOPQRSTUV")]
    Shape,
    /// The right shape with wrong check digits.
    #[error("the check digits of the wallet reference are wrong")]
    CheckDigits,
}

impl WalletRef {
    /// The reference of the wallet `id`.
    pub fn of(id: WalletId) -> Self {
        let digest = hash::sha256_of(&[b"q-wallet-ref/1", &id.bytes()]);
        let encoded = data_encoding::BASE32_NOPAD.encode(&digest);
        let body = &encoded[..BODY_LENGTH];
        let check = 98 - remainder(body.bytes().chain(*b"QQ00"));
        let text = format!("{COUNTRY}{check:02}{body}");
        Self(text.as_bytes().try_into().expect("two letters, two digits and 22 characters"))
    }

    /// Reads a reference; lower case and the spaces of printed groups are taken.
    pub fn parse(text: &str) -> Result<Self, NotAReference> {
        // Orders are kept as they were written, so what reads as a reference must not be a book of spaces.
        if text.len() > TEXT_BYTES_MAX {
            return Err(NotAReference::Shape);
        }
        let bytes: Vec<u8> =
            text.bytes().filter(|byte| *byte != b' ').map(|byte| byte.to_ascii_uppercase()).collect();
        let bytes: [u8; 26] = bytes.try_into().map_err(|_| NotAReference::Shape)?;
        let is_base32 = |byte: &u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(byte);
        let has_shape = bytes.starts_with(COUNTRY.as_bytes())
            && bytes[2..4].iter().all(u8::is_ascii_digit)
            && bytes[4..].iter().all(is_base32);
        if !has_shape {
            return Err(NotAReference::Shape);
        }
        let check = remainder(bytes[4..].iter().chain(&bytes[..4]).copied());
        if check == 1 { Ok(Self(bytes)) } else { Err(NotAReference::CheckDigits) }
    }

    /// The 26 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a reference is ASCII")
    }
}

impl fmt::Display for WalletRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The remainder by 97 of the number that digits and letters (A = 10 … Z = 35) spell.
fn remainder(characters: impl Iterator<Item = u8>) -> u32 {
    characters.fold(0, |rest, character| match character {
        b'0'..=b'9' => (rest * 10 + u32::from(character - b'0')) % 97,
        _ => (rest * 100 + u32::from(character - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_the_check_digits_of_a_published_iban() {
        // ISO 13616 example: GB82 WEST 1234 5698 7654 32.
        assert_eq!(remainder(b"WEST12345698765432GB82".iter().copied()), 1);
    }

    proptest! {
        #[test]
        fn reads_what_it_prints_and_notices_typing_errors(id: [u8; 16], at in 4usize..26, other in 0u8..32) {
            let reference = WalletRef::of(WalletId::from_bytes(id));
            prop_assert_eq!(WalletRef::parse(reference.as_str()), Ok(reference));
            let printed = format!("{} {}", &reference.as_str()[..4], reference.as_str()[4..].to_lowercase());
            prop_assert_eq!(WalletRef::parse(&printed), Ok(reference));
            let mut mistyped = reference.as_str().as_bytes().to_vec();
            mistyped[at] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(other)];
            // The standard promises to notice one wrong letter or one wrong digit; a letter for a digit
            // changes the length of the number and is noticed in 96 of 97 cases only.
            let same_kind = mistyped[at].is_ascii_digit() == reference.as_str().as_bytes()[at].is_ascii_digit();
            let mistyped = String::from_utf8(mistyped).unwrap();
            if same_kind && mistyped != reference.as_str() {
                prop_assert_eq!(WalletRef::parse(&mistyped), Err(NotAReference::CheckDigits));
            }
            let mut swapped = reference.as_str().as_bytes().to_vec();
            let are_one_kind = at < 25 && swapped[at].is_ascii_digit() == swapped[at + 1].is_ascii_digit();
            if are_one_kind && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                prop_assert!(WalletRef::parse(std::str::from_utf8(&swapped).unwrap()).is_err());
            }
        }
    }
}
