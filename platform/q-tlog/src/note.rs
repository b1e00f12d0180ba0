//! Signed notes with Ed25519 keys (c2sp.org/signed-note).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use q_core::hash::{hex, sha256_of};
use q_jose::{PublicKey, SecretKey};

/// The signature type of plain Ed25519.
const TYPE_ED25519: u8 = 0x01;

/// The largest note that is read, in bytes. Sixteen post-quantum signatures fit.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;

/// The most signature lines that are read; the specification demands at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// Why a note or a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are not a note of the specification.
    #[error("not a signed note")]
    Malformed,
    /// The text is not a verifier key of a type this crate checks.
    #[error("not an Ed25519 verifier key such as example.com/log+1a2b3c4d+AQ…")]
    NotAKey,
    /// The name is empty or holds a space or a plus sign.
    #[error("a key name is not empty and holds neither spaces nor a plus sign")]
    BadName,
    /// A signature that claims to be of a known key does not hold.
    #[error("a signature of a known key does not hold")]
    BadSignature,
    /// No signature is of a known key.
    #[error("no signature is of a known key")]
    NoKnownKey,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    /// The short identifier of the key.
    pub key_id: u32,
    /// The signature, in the form its type says.
    pub bytes: Vec<u8>,
}

/// A text and the signatures below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    /// The signed text, ending in a newline.
    pub text: String,
    /// The signatures, in the order of their lines.
    pub signatures: Vec<NoteSignature>,
}

/// The public half of a log's key, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: PublicKey,
}

/// A key that signs notes under a name.
#[derive(Debug, Clone)]
pub struct NoteSigner {
    verifier: VerifierKey,
    key: SecretKey,
}

impl VerifierKey {
    /// The key under this name.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if is_key_name(name) { Ok(Self { name: name.into(), key }) } else { Err(NoteError::BadName) }
    }

    /// The name, usually the origin of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The short identifier of name, type and key.
    pub fn key_id(&self) -> u32 {
        let digest = sha256_of(&[self.name.as_bytes(), b"\n", &[TYPE_ED25519], self.key.bytes()]);
        u32::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![TYPE_ED25519];
        typed.extend_from_slice(self.key.bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.key_id().to_be_bytes()), STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(key_id), Some(typed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::NotAKey);
        };
        let typed = STANDARD.decode(typed).map_err(|_| NoteError::NotAKey)?;
        let encoded = typed.strip_prefix(&[TYPE_ED25519]).ok_or(NoteError::NotAKey)?;
        let key = PublicKey::from_bytes(encoded).map_err(|_| NoteError::NotAKey)?;
        let verifier = Self::new(name, key)?;
        let is_its_id = key_id == hex(&verifier.key_id().to_be_bytes());
        if is_its_id { Ok(verifier) } else { Err(NoteError::NotAKey) }
    }
}

impl NoteSigner {
    /// Signs as `name`.
    pub fn new(name: &str, key: SecretKey) -> Result<Self, NoteError> {
        Ok(Self { verifier: VerifierKey::new(name, key.public())?, key })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note of `text`, which ends in a newline and holds no other control characters.
    pub fn sign(&self, text: &str) -> Result<SignedNote, NoteError> {
        if !is_note_text(text) {
            return Err(NoteError::Malformed);
        }
        let signature = NoteSignature {
            name: self.verifier.name.clone(),
            key_id: self.verifier.key_id(),
            bytes: self.key.sign(text.as_bytes()).to_vec(),
        };
        Ok(SignedNote { text: text.into(), signatures: vec![signature] })
    }
}

impl SignedNote {
    /// Checks the note against the keys one trusts: at least one must have signed, and none wrongly.
    /// Answers the keys whose signatures hold.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut held: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let is_its_key =
                |key: &&VerifierKey| key.name == signature.name && key.key_id() == signature.key_id;
            let Some(known) = keys.iter().find(is_its_key) else { continue };
            known.key.verify(self.text.as_bytes(), &signature.bytes).map_err(|_| NoteError::BadSignature)?;
            if !held.contains(&known) {
                held.push(known);
            }
        }
        if held.is_empty() { Err(NoteError::NoKnownKey) } else { Ok(held) }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let mut blob = signature.key_id.to_be_bytes().to_vec();
            blob.extend_from_slice(&signature.bytes);
            writeln!(f, "\u{2014} {} {}", signature.name, STANDARD.encode(blob))?;
        }
        Ok(())
    }
}

impl FromStr for SignedNote {
    type Err = NoteError;
    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX || !is_note_text(note) {
            return Err(NoteError::Malformed);
        }
        let split_at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=split_at], &note[split_at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::Malformed);
            }
            signatures.push(read_signature(line)?);
        }
        Ok(Self { text: text.into(), signatures })
    }
}

fn read_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let rest = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed)?;
    let (name, blob) = rest.split_once(' ').ok_or(NoteError::Malformed)?;
    let blob = STANDARD.decode(blob).map_err(|_| NoteError::Malformed)?;
    let (key_id, bytes) = blob.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
    if !is_key_name(name) || bytes.is_empty() {
        return Err(NoteError::Malformed);
    }
    Ok(NoteSignature { name: name.into(), key_id: u32::from_be_bytes(*key_id), bytes: bytes.to_vec() })
}

fn is_key_name(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.chars().all(is_allowed)
}

fn is_note_text(text: &str) -> bool {
    text.ends_with('\n') && text.bytes().all(|byte| byte >= 0x20 || byte == b'\n')
}
