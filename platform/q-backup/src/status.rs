//! How it stands with the backups of an instance: for people, metrics and alerts.

use std::{fs, path::Path};

use q_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Manifest, files};

/// The state of backups, kept in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Where the newest backup is.
    pub target: Option<String>,
    /// The newest backup.
    pub id: Option<String>,
    /// The instant it is of.
    pub last_success: Option<Timestamp>,
    /// How long making it took.
    pub took_ms: u64,
    /// Bytes of everything in it.
    pub bytes: u64,
    /// Bytes that had to be written for it.
    pub written: u64,
    /// When an attempt failed last, since the newest backup.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_error: Option<String>,
    /// How many attempts have failed, ever.
    pub failures: u64,
    /// Everything committed before this instant has been shipped (SQLite).
    pub shipped_until: Option<Timestamp>,
    /// Why changes are not shipped at present.
    pub shipping_error: Option<String>,
}

const FILE: &str = "backup.status.json";

/// How it stands with the backups of the instance in `data`; nothing known yet is the default.
pub fn status(data: &Path) -> Status {
    let read = fs::read(data.join(FILE)).ok();
    read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

impl Status {
    pub(crate) fn note(data: &Path, change: impl FnOnce(&mut Self)) {
        // Several threads of one process note something; the file itself is always whole.
        static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _turn = TURN.lock();
        let mut status = status(data);
        change(&mut status);
        let text = serde_json::to_vec_pretty(&status).expect("plain data serialises");
        if let Err(error) = files::note(&data.join(FILE), &text) {
            tracing::warn!(%error, "the state of backups could not be noted");
        }
    }

    pub(crate) fn succeeded(&mut self, made: &Manifest, target: &str) {
        *self = Self {
            target: Some(target.to_owned()),
            id: Some(made.id.clone()),
            last_success: Some(made.at),
            took_ms: made.took_ms,
            bytes: made.bytes,
            written: made.written,
            failures: self.failures,
            shipped_until: self.shipped_until,
            shipping_error: self.shipping_error.take(),
            ..Self::default()
        };
    }

    pub(crate) fn failed(&mut self, at: Timestamp, why: &Error) {
        self.last_failure = Some(at);
        self.failures += 1;
        self.last_error = Some(why.to_string());
    }
}
