//! What can go wrong with a backup, in words an operator can act on.

use std::{io, path::Path};

use q_db::backup::SnapshotError;

/// Why a backup was not made, read or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in the target is not what was written there.
    #[error("{object} is damaged: {why}")]
    Damaged {
        /// Which object of the target.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody signed it.
    #[error(
        "{0} is not signed: a version that did not sign made it, or somebody who may write to the target; if you know it \
         to be yours, --accept-unsigned takes it"
    )]
    Unsigned(String),
    /// It was not made by whom it should have been made.
    #[error("{object} is forged, or of somebody else: {why}")]
    Forged {
        /// Which object of the target.
        object: String,
        /// What gave it away.
        why: String,
    },
    /// Nobody said whose signature is to be expected.
    #[error(
        "{object} says that {says} signed it, and nothing here says whether that is right: name the signer with --signer \
         DID, as `q backup schedule` showed it on the machine that made the backups"
    )]
    UnknownSigner {
        /// Which object of the target.
        object: String,
        /// What it says itself, which anybody can make it say.
        says: String,
    },
    /// Something that a backup needs is not in the target.
    #[error("{0} is missing from the target")]
    Missing(String),
    /// The backup was made for other keys.
    #[error(
        "this key does not open the backup: it was made for {wanted}, the key given is {given}; give the right one with --key FILE"
    )]
    WrongKey {
        /// Whom it was made for.
        wanted: String,
        /// Whose key was given.
        given: String,
    },
    /// The key file is none.
    #[error("{0}")]
    Key(String),
    /// The disk, or the quota, is full.
    #[error(
        "no room left on the disk of {0}: free some, or choose another target with --to; earlier backups are as they were"
    )]
    Full(String),
    /// A file or folder could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The bucket could not be used.
    #[error("the bucket cannot be used: {0}")]
    Bucket(String),
    /// Another backup is being made, or old ones are being removed.
    #[error("another backup of this instance is being made or pruned right now; wait for it to end")]
    Busy,
    /// It was given up before it was whole.
    #[error("the backup was given up, because this process stops; earlier ones are as they were")]
    GivenUp,
    /// No snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A store could not be copied or put back.
    #[error(transparent)]
    Store(#[from] q_db::OpenError),
    /// `pg_dump` or `psql` failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its complaint.
        said: String,
    },
    /// A dump holds something that does not belong into one.
    #[error(transparent)]
    Dump(#[from] q_db::dump::Refused),
    /// There is no such backup.
    #[error("there is no backup {0}; `q backup list` shows those there are")]
    Unknown(String),
    /// There is no backup old enough.
    #[error("no backup reaches back to {0}; `q backup list` shows those there are")]
    TooOld(String),
    /// A target, a rule of retention or another text cannot be read.
    #[error("{0}")]
    Text(String),
    /// Something is in the way of a restore.
    #[error(
        "{0} is there already: a restore overwrites nothing; move it away, or choose another place with --into"
    )]
    InTheWay(String),
}

impl Error {
    /// A failure of the file system at `path`.
    pub fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::Full(path.display().to_string());
        }
        Self::Io { what: format!("{} cannot be {doing}", path.display()), source }
    }

    /// Damage of `object`.
    pub fn damaged(object: &str, why: impl std::fmt::Display) -> Self {
        Self::Damaged { object: object.to_owned(), why: why.to_string() }
    }
}
