//! The unseal key in a file outside the data directory.
//!
//! It protects backups and a stolen database; it does not protect against who reads this host's files.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use q_core::{
    Env,
    hash::{hex, sha256_of},
};
use q_jose::base64url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::hierarchy::UnsealKey;

/// What the file protects, in the words `q init` prints.
pub const PROTECTS: &str = "protects backups and a stolen database, not a rooted host";

const FORMAT: &str = "q-unseal-key-1";
const FILE_BYTES_MAX: u64 = 4096;
/// Owner may read and write; nobody else anything.
const MODE: u32 = 0o600;

/// A key file that was made or read.
pub struct KeyFile {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
}

/// Why there is no unseal key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file is there already; a new key would make the store unreadable.
    #[error("{0} exists already and is not replaced: the store it belongs to would be lost")]
    Exists(PathBuf),
    /// There is no file.
    #[error(
        "the unseal key {0} is missing: restore it from where it is kept; without it the store cannot be read"
    )]
    Missing(PathBuf),
    /// Others may read the file.
    #[error("{path} has mode {mode:o}: others could read it; run `chmod 600` on it")]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key file.
    #[error("{0} is not an unseal key file")]
    Malformed(PathBuf),
    /// The file system refused.
    #[error("cannot use the unseal key {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Wiped when dropped; read straight from the text, without a copy in a generic JSON value.
#[derive(Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    id: String,
    key: String,
}

impl KeyFile {
    /// Makes a file with a fresh key; refuses to replace one. The key is on disk when this returns.
    pub fn create(path: &Path, env: &Env) -> Result<Self, KeyFileError> {
        let key = Zeroizing::new(env.random::<32>());
        let content =
            Content { format: FORMAT.into(), id: key_id(&key), key: base64url::encode(key.as_slice()) };
        let text = Zeroizing::new(serde_json::to_string_pretty(&content).expect("three texts are JSON"));
        write_new(path, text.as_bytes()).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => KeyFileError::Exists(path.into()),
            _ => KeyFileError::Io { path: path.into(), source },
        })?;
        Ok(Self { path: path.into(), key })
    }

    /// Reads a file, refusing one that others may read.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => KeyFileError::Missing(path.into()),
            _ => KeyFileError::Io { path: path.into(), source },
        };
        let malformed = || KeyFileError::Malformed(path.into());
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & !MODE != 0 {
            return Err(KeyFileError::TooOpen { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(io)?;
        let content: Content = serde_json::from_slice(&text).map_err(|_| malformed())?;
        let bytes = Zeroizing::new(base64url::decode(&content.key).map_err(|_| malformed())?);
        let key = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| malformed())?);
        if content.format != FORMAT || content.id != key_id(&key) {
            return Err(malformed());
        }
        Ok(Self { path: path.into(), key })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key, for the root keyring.
    pub(crate) fn unseal_key(&self) -> UnsealKey {
        UnsealKey::new(key_id(&self.key), &self.key)
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({})", self.path.display())
    }
}

/// The public name of a key: a digest under a label of its own, of which nobody can work back.
fn key_id(key: &[u8; 32]) -> String {
    hex(&sha256_of(&[b"q-unseal-key-id-1", key])[..8])
}

fn write_new(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    // A file that was synced can still be missing after a crash if its folder was not.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_made_once_for_its_owner_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unseal.key");
        let made = KeyFile::create(&path, &Env::system()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let read = KeyFile::load(&path).unwrap();
        assert_eq!(read.key, made.key);
        assert_eq!(read.unseal_key().id(), made.unseal_key().id());
        assert!(matches!(KeyFile::create(&path, &Env::system()), Err(KeyFileError::Exists(_))));
        assert_eq!(KeyFile::load(&path).unwrap().key, made.key);
    }

    #[test]
    fn a_file_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unseal.key");
        KeyFile::create(&path, &Env::system()).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = KeyFile::load(&path).unwrap_err();
            assert!(matches!(refused, KeyFileError::TooOpen { mode: found, .. } if found == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(KeyFile::load(&path).is_ok());
    }

    #[test]
    fn a_missing_or_changed_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unseal.key");
        assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Missing(_))));
        KeyFile::create(&path, &Env::system()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for damaged in
            [text.replacen("q-unseal-key-1", "q-unseal-key-2", 1), text[..40].to_owned(), flip(&text)]
        {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Malformed(_))));
        }
    }

    /// Another first character of the key.
    fn flip(text: &str) -> String {
        let at = text.find("\"key\": \"").unwrap() + 8;
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    }
}
