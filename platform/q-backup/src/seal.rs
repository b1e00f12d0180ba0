//! What is written to a target: compressed, then sealed for the operator's backup key as an age file.
//!
//! Sealing needs only the public half, so a machine that makes backups need not be able to open them. Each object is
//! an ordinary age file (age-encryption.org/v1) around an ordinary zstd frame: `age -d -i backup.key FILE | zstd -d`
//! opens it without us.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
};

use age::secrecy::ExposeSecret as _;
use aws_lc_rs::{hmac, rand};
use q_core::Did;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, files};

/// Fast, and within a tenth of what slower levels save on these data.
const LEVEL: i32 = 1;

/// Whom backups are made for.
#[derive(Clone)]
pub struct Recipients(Vec<age::x25519::Recipient>);

impl Recipients {
    /// Reads `age1…` texts, separated by blanks or commas.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let read = |word: &str| {
            word.parse().map_err(|_| {
                Error::Key(format!("{word} is no age recipient (age1…); `age-keygen` makes one"))
            })
        };
        let all: Vec<_> = words.map(read).collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(Error::Key("backups need a recipient: an age key (age1…)".into()));
        }
        Ok(Self(all))
    }

    /// Compresses and seals `plain`.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.seal_parts(&[plain])
    }

    /// The same for what lies in several places: it is not brought together first, so that sealing much takes no room
    /// beside it but what comes out.
    pub fn seal_parts(&self, parts: &[&[u8]]) -> Vec<u8> {
        let all = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(all).expect("there is a recipient, all of one kind");
        let seal = || -> std::io::Result<Vec<u8>> {
            let mut packer = zstd::Encoder::new(encryptor.wrap_output(Vec::new())?, LEVEL)?;
            let bytes = parts.iter().map(|part| part.len() as u64).sum();
            packer.set_pledged_src_size(Some(bytes))?;
            for part in parts {
                packer.write_all(part)?;
            }
            packer.finish()?.finish()
        };
        seal().expect("writing to memory does not fail")
    }
}

impl std::fmt::Display for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(" "))
    }
}

/// How the line of a key file begins that names who signs; a comment for other programs.
const SIGNED_BY: &str = "# signed by:";

/// The signer that the key file at `path` names.
pub fn signer_beside(path: &Path) -> Option<Did> {
    let text = Zeroizing::new(fs::read_to_string(path).ok()?);
    let named = text.lines().find_map(|line| line.strip_prefix(SIGNED_BY))?;
    crate::Trust::read_signer(named).ok()
}

/// Opens backups.
#[derive(Clone)]
pub struct Secret(age::x25519::Identity);

/// Why an object does not open.
pub(crate) enum DoesNotOpen {
    /// It is for another key, or the part that says for which is damaged.
    NotForThis,
    /// It is damaged.
    Damaged(String),
}

impl Secret {
    /// A new one.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads a file as `age-keygen` writes it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let what = |why: &str| Error::Key(format!("{} {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => what(
                "is not here: it is the one secret that opens backups; put it back from where you keep it, or name it with --key FILE",
            ),
            _ => what(&format!("cannot be read: {error}")),
        })?;
        let text = Zeroizing::new(text);
        let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-"));
        let line = line.ok_or_else(|| what("holds no age secret key (a line AGE-SECRET-KEY-1…)"))?;
        line.trim().parse().map(Self).map_err(|why| what(&format!("holds a damaged key: {why}")))
    }

    /// Writes it the way `age-keygen` does, for its owner only, with the name of who signs what it opens: whoever holds
    /// a copy of the file needs to ask nobody whom to believe.
    pub fn write(&self, path: &Path, signer: Option<&Did>) -> Result<(), Error> {
        let text = format!(
            "# The one secret that opens the backups of this instance. Keep a copy apart from this machine.\n# public key: {}\n{}{}\n",
            self.0.to_public(),
            signer.map_or_else(String::new, |signer| format!("{SIGNED_BY} {signer}\n")),
            self.0.to_string().expose_secret()
        );
        files::write(path, Zeroizing::new(text).as_bytes())
    }

    /// Whom to seal for so that this opens it.
    pub fn recipients(&self) -> Recipients {
        Recipients(vec![self.0.to_public()])
    }

    /// Opens what [`Recipients::seal`] made; never more than `bytes_max`.
    pub(crate) fn open(&self, sealed: &[u8], bytes_max: usize) -> Result<Vec<u8>, DoesNotOpen> {
        let damaged = |why: &dyn std::fmt::Display| DoesNotOpen::Damaged(why.to_string());
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(|error| damaged(&error))?;
        let identity: &dyn age::Identity = &self.0;
        let reader = match decryptor.decrypt(std::iter::once(identity)) {
            Err(age::DecryptError::NoMatchingKeys) => return Err(DoesNotOpen::NotForThis),
            opened => opened.map_err(|error| damaged(&error))?,
        };
        let unpacked = zstd::stream::read::Decoder::new(reader).map_err(|error| damaged(&error))?;
        let mut plain = Vec::new();
        unpacked.take(bytes_max as u64 + 1).read_to_end(&mut plain).map_err(|error| damaged(&error))?;
        if plain.len() > bytes_max {
            return Err(DoesNotOpen::Damaged("it is larger than it can be".into()));
        }
        Ok(plain)
    }
}

/// What a machine needs to make backups; secret, but opens none.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Making {
    /// Names pieces of data so that equal ones are kept once, and nobody can tell from a name what is in a piece.
    #[serde(with = "hex_32")]
    pub name_key: [u8; 32],
}

impl Making {
    /// Reads the file, or makes it.
    pub fn at(path: &Path) -> Result<Self, Error> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Error::Key(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut name_key = [0; 32];
                rand::fill(&mut name_key).map_err(|_| Error::Key("the system gives no randomness".into()))?;
                let made = Self { name_key };
                let text = serde_json::to_vec_pretty(&made).expect("plain data serialises");
                files::write(path, &text)?;
                Ok(made)
            }
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// The name of a piece.
    pub fn name(&self, plain: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.name_key);
        q_core::hash::hex(hmac::sign(&key, plain).as_ref())
    }
}

mod hex_32 {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&q_core::hash::hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("not 32 bytes"))
    }
}
