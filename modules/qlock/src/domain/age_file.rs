//! Values as armored age v1 files (c2sp.org/age) for people and other systems: X25519 recipients.

use std::io::{Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use qlock_api::PLAINTEXT_BYTES_MAX;
use zeroize::Zeroizing;

use super::envelope::DoesNotOpen;

/// The first line of an armored file.
const ARMOR_BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
/// The most recipients of one file.
pub const RECIPIENTS_MAX: usize = 32;

/// Whether `text` says that it is an armored age file.
pub fn is_age(text: &str) -> bool {
    text.trim_start().starts_with(ARMOR_BEGIN)
}

/// Reads an `age1…` text; `None` for every kind of recipient but X25519.
pub fn recipient(text: &str) -> Option<age::x25519::Recipient> {
    text.parse().ok()
}

/// Seals `plaintext` for `recipients`.
///
/// # Panics
/// When there is no recipient: callers choose at least one.
pub fn seal(plaintext: &[u8], recipients: &[age::x25519::Recipient]) -> String {
    let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(all).expect("X25519 recipients agree with each other");
    let infallible = "writing to memory does not fail";
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).expect(infallible);
    let mut writer = encryptor.wrap_output(armor).expect(infallible);
    writer.write_all(plaintext).expect(infallible);
    let bytes = writer.finish().and_then(ArmoredWriter::finish).expect(infallible);
    String::from_utf8(bytes).expect("armor is ASCII")
}

/// Opens `text` with `identity`. A file for a passphrase is refused: its cost is chosen by who wrote it.
pub fn open(text: &str, identity: &age::x25519::Identity) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let armor = ArmoredReader::new(text.as_bytes());
    let decryptor = age::Decryptor::new_buffered(armor).map_err(|_| DoesNotOpen)?;
    if decryptor.is_scrypt() {
        return Err(DoesNotOpen);
    }
    let identity: &dyn age::Identity = identity;
    let reader = decryptor.decrypt(std::iter::once(identity)).map_err(|_| DoesNotOpen)?;
    let mut plaintext = Zeroizing::new(Vec::new());
    let bytes_max = PLAINTEXT_BYTES_MAX as u64 + 1;
    reader.take(bytes_max).read_to_end(&mut plaintext).map_err(|_| DoesNotOpen)?;
    if plaintext.len() > PLAINTEXT_BYTES_MAX { Err(DoesNotOpen) } else { Ok(plaintext) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_each_recipient_and_for_nobody_else() {
        let identities: Vec<_> = (0..3).map(|_| age::x25519::Identity::generate()).collect();
        let recipients: Vec<_> = identities.iter().take(2).map(age::x25519::Identity::to_public).collect();
        for plaintext in [&b""[..], b"x", &vec![7; 65_537]] {
            let text = seal(plaintext, &recipients);
            assert!(is_age(&text));
            assert_eq!(open(&text, &identities[0]).unwrap().as_slice(), plaintext);
            assert_eq!(open(&text, &identities[1]).unwrap().as_slice(), plaintext);
            assert_eq!(open(&text, &identities[2]), Err(DoesNotOpen));
        }
    }

    #[test]
    fn refuses_damage_truncation_and_passphrases() {
        let identity = age::x25519::Identity::generate();
        let text = seal(b"hello", &[identity.to_public()]);
        for at in (0..text.len()).filter(|at| !text.as_bytes()[*at].is_ascii_whitespace()) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let outcome = open(&String::from_utf8(bytes).unwrap(), &identity);
            assert_eq!(outcome, Err(DoesNotOpen), "character {at} does not matter");
        }
        assert_eq!(open(&text[..text.len() / 2], &identity), Err(DoesNotOpen));
        let passphrase = age::secrecy::SecretString::from("correct horse".to_owned());
        let mut recipient = age::scrypt::Recipient::new(passphrase);
        recipient.set_work_factor(2);
        let bytes = age::encrypt_and_armor(&recipient, b"x").unwrap();
        assert_eq!(open(&bytes, &identity), Err(DoesNotOpen));
    }

    #[test]
    fn only_x25519_recipients_are_read() {
        let text = age::x25519::Identity::generate().to_public().to_string();
        assert!(recipient(&text).is_some());
        for other in ["age1pq1qqqq", "age1tag1qqqq", "ssh-ed25519 AAAA", "", &text[..20]] {
            assert!(recipient(other).is_none(), "{other}");
        }
    }
}
