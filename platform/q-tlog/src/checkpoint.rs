//! The signed tree head (c2sp.org/tlog-checkpoint).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Hash, NoteError, NoteSigner, SignedNote, VerifierKey, tile::read_number};

/// How many leaves a log had, and their root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log, a URL without scheme.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The Merkle tree hash of these leaves.
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it is refused.
    #[error("the checkpoint's note is refused")]
    Note(#[from] NoteError),
    /// The text is not origin, size and root.
    #[error("not a checkpoint: origin, size and root, one per line")]
    Malformed,
    /// The checkpoint is of another log.
    #[error("a checkpoint of another log")]
    OtherLog,
}

impl Checkpoint {
    /// The text that is signed: three lines, no extensions.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The note a log publishes.
    pub fn sign(&self, signer: &NoteSigner) -> Result<SignedNote, CheckpointError> {
        Ok(signer.sign(&self.text())?)
    }

    /// Reads the text of a note. Extension lines are allowed by the format and ignored.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(CheckpointError::Malformed)?;
        let size =
            lines.next().and_then(|size| read_number(size, u64::MAX)).ok_or(CheckpointError::Malformed)?;
        let root = lines.next().and_then(|root| STANDARD.decode(root).ok());
        let root = root.and_then(|root| Hash::try_from(root).ok()).ok_or(CheckpointError::Malformed)?;
        if lines.next_back() != Some("") {
            return Err(CheckpointError::Malformed); // the text of a note ends in a newline
        }
        Ok(Self { origin: origin.into(), size, root })
    }

    /// Reads a published checkpoint of the log whose key is `key` and checks the log's signature.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note: SignedNote = note.parse()?;
        note.verify(std::slice::from_ref(key))?;
        let checkpoint = Self::from_text(&note.text)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::OtherLog) }
    }
}
