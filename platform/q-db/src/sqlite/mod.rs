//! The embedded engine: one file, one writer thread that shares its syncs, a few readers.
//!
//! **Invariant:** no write is answered before the commit that holds it is on disk.

mod changes;
mod connection;
mod numbered;
mod open;
mod reader;
mod writer;

pub(crate) use changes::{CutRequest, Gate, Slot};
pub(crate) use connection::{NulInText, SqliteConnection, classified, is_failed_sync};
pub(crate) use open::{open, private_file};

/// What a commit reports whose sync failed.
#[cfg(feature = "testing")]
pub(crate) fn failed_sync() -> crate::DbError {
    let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    connection::classified(rusqlite::Error::SqliteFailure(failure, Some("a switch of the test".into())))
}
