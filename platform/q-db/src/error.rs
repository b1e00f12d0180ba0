//! What can go wrong, told apart by what the caller can do about it.

use std::{error::Error as StdError, path::PathBuf, sync::Arc};

/// The engine's own error, kept as the source.
pub type Source = Arc<dyn StdError + Send + Sync>;

/// The rule of the schema that a statement broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// Two rows with the same key.
    Unique,
    /// A reference to a row that is not there, or a referenced row that would go away.
    ForeignKey,
    /// A `CHECK` that does not hold.
    Check,
    /// A column that may not be empty.
    NotNull,
    /// Any other rule.
    Other,
}

/// Why a read or a write did not happen. `Clone`, because one failed commit answers many writes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// The statement broke a rule of the schema. `name` follows PostgreSQL's naming on both engines:
    /// `<table>_pkey`, `<table>_<columns>_key`, `<table>_<column>_not_null`, or the declared name.
    #[error("constraint {name} refused the row")]
    Constraint {
        /// The kind of rule.
        kind: ConstraintKind,
        /// Its name.
        name: String,
        /// The engine's message.
        #[source]
        source: Source,
    },
    /// The disk (or the quota) is full. Nothing was written; the handle stays usable.
    #[error("the store's disk is full")]
    Full(#[source] Source),
    /// The store, or the file system under it, accepts no writes.
    #[error("the store is read-only")]
    ReadOnly(#[source] Source),
    /// The engine found its file damaged.
    #[error("the store is damaged")]
    Corrupt(#[source] Source),
    /// Writes are stopped because something was found wrong; reads go on.
    #[error("writes are stopped: {0}")]
    WriteStopped(Arc<str>),
    /// Another process holds a lock for too long.
    #[error("the store is busy")]
    Busy(#[source] Source),
    /// Concurrent writes kept colliding with this one; try again later.
    #[error("the write collided with others too many times")]
    Conflict(#[source] Source),
    /// The disk or the server cannot be reached. Nothing was written.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Source),
    /// The connection broke during the commit: the write may or may not have happened.
    #[error("the connection was lost during the commit, its outcome is unknown")]
    OutcomeUnknown(#[source] Source),
    /// The engine refused the statement itself: a defect of the calling code.
    #[error("the statement is wrong")]
    Statement(#[source] Source),
    /// An earlier statement of this write failed; on every engine that ends the write.
    #[error("an earlier statement of this write failed")]
    Aborted,
    /// The key was first used with another request.
    #[error("the idempotency key was first used with another request")]
    IdempotencyKeyReused,
    /// A column does not hold what the schema promises.
    #[error("column {column} does not hold {expected}")]
    BadRow {
        /// The index of the column, from 0.
        column: usize,
        /// What was asked for.
        expected: &'static str,
    },
    /// The statement answered another number of rows than one.
    #[error("expected exactly one row, found {0}")]
    NotOneRow(usize),
    /// A value could not be turned into, or read back from, its stored JSON.
    #[error("a stored JSON value does not have the expected shape")]
    Json(#[source] Arc<serde_json::Error>),
    /// The code inside the read or write panicked; it was rolled back.
    #[error("the code inside the transaction panicked: {0}")]
    Panicked(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl DbError {
    /// Whether trying the same again may succeed without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Conflict(_) | Self::Unavailable(_) | Self::OutcomeUnknown(_))
    }

    /// Whether a uniqueness rule named `name` refused the row.
    pub fn is_unique(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { kind: ConstraintKind::Unique, name: found, .. } if found == name)
    }
}

impl From<serde_json::Error> for DbError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

/// Why a store could not be opened. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to the store.
    #[error("{path} is in use by process {pid}: stop it first (`q stop`), or open another folder")]
    Locked {
        /// The store.
        path: PathBuf,
        /// Who holds it, as far as the lock file tells.
        pid: String,
    },
    /// A newer program has written the store.
    #[error(
        "the store of {module} is at schema {store} (written by version {writer}), this program (version {program}) knows schemas up to {known}: run the newer program, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The module.
        module: String,
        /// The schema the store is at.
        store: u32,
        /// The version of the program that brought it there.
        writer: String,
        /// The newest schema this program knows.
        known: u32,
        /// This program's version.
        program: &'static str,
    },
    /// A migration that the store has already run has another text now.
    #[error(
        "migration {version} ({name}) of {module} has changed since the store ran it: past migrations are append-only, add a new one instead"
    )]
    Changed {
        /// The module.
        module: String,
        /// The migration.
        version: u32,
        /// Its name.
        name: String,
    },
    /// The store belongs to another module.
    #[error("the store belongs to module {found}, not to {expected}: check the configured path or URL")]
    WrongModule {
        /// Whose store it is.
        found: String,
        /// Who tried to open it.
        expected: String,
    },
    /// A store that has been there before is gone. Nothing was made in its place.
    #[error(
        "the store of {module} is missing, {place}: restore it from a backup, or correct where the settings say it is"
    )]
    Missing {
        /// Whose store it is.
        module: String,
        /// What is not there.
        place: String,
    },
    /// A migration failed; the store is as it was before it.
    #[error("migration {version} ({name}) of {module} failed")]
    Migration {
        /// The module.
        module: String,
        /// The migration.
        version: u32,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: DbError,
    },
    /// The migrations compiled into the program are not numbered 1, 2, 3, … alike on both engines.
    #[error("the migrations of {0} are not numbered 1, 2, 3, … alike for both engines")]
    BadMigrations(&'static str),
    /// The engine does not give the durability that was asked for.
    #[error("the store does not offer {0}, so an acknowledged write could be lost")]
    NotDurable(String),
    /// The path or URL is not one.
    #[error("not a store: {0}")]
    BadConfig(String),
    /// The folder or the lock file cannot be made.
    #[error("cannot prepare {path}")]
    File {
        /// What was being prepared.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine refused.
    #[error("cannot open the store")]
    Db(#[from] DbError),
}
