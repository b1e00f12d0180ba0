//! The integrity check: every blob unwraps under its parent, every public half belongs to its secret, no
//! version is missing.
//!
//! A wrapped blob is bound to the facts of its row, so one damaged byte in either is found and named.

use std::{collections::HashMap, sync::Arc};

use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::xaes;
use qlock_api::KeyState;

use crate::{
    Error,
    domain::hierarchy::KekId,
    service::Service,
    store::{
        NamedRows,
        keys::{self, StoredKey, StoredVersion},
        roots::{self, StoredKek, StoredRoot},
    },
};

impl Service {
    /// Reads everything and collects what is wrong.
    pub(crate) async fn verify(self: Arc<Self>) -> Result<Vec<Finding>, DbError> {
        self.db.clone().read(move |reader| self.findings(reader)).await
    }

    fn findings(&self, reader: &mut Reader<'_>) -> Result<Vec<Finding>, DbError> {
        let mut findings = Findings::default();
        let roots = roots::list_root_rows(reader);
        let roots = findings.rows("root_keys", roots)?;
        self.verify_roots(&roots, &mut findings);
        let keks = roots::list_keks(reader);
        let keks = self.usable_keks(findings.rows("keks", keks)?, &mut findings);
        let keys = keys::list_all(reader);
        for (_, key) in findings.rows("keys", keys)? {
            verify_key(reader, &key, &keks, &mut findings)?;
        }
        match keys::list_orphans(reader) {
            Ok(orphans) => {
                for orphan in orphans {
                    findings.add(
                        "orphan_version",
                        format!("key_versions {orphan}"),
                        "no key owns this version",
                    );
                }
            }
            Err(error @ DbError::BadRow { .. }) => findings.add("unreadable_row", "key_versions", error),
            Err(other) => return Err(other),
        }
        Ok(findings.0)
    }

    fn verify_roots(&self, stored: &[(i64, StoredRoot)], findings: &mut Findings) {
        if stored.is_empty() {
            findings.add("missing_row", "root_keys 1", "there is no root key");
        }
        for ((number, root), expected) in stored.iter().zip(1..) {
            let place = format!("root_keys {number}");
            if *number != expected {
                findings.add("version_gap", &place, format!("expected version {expected}"));
            }
            if root.unseal_key_id != self.unseal_key().id() {
                let detail = format!("says it is wrapped under the unseal key {}", root.unseal_key_id);
                findings.add("wrong_unseal_key", &place, detail);
            }
            let unwrapped = self.unseal_key().unwrap_root(root.version, root.created_at, &root.wrapped);
            if let Err(error) = unwrapped {
                findings.add("does_not_unwrap", place, error);
            }
        }
    }

    fn usable_keks(&self, rows: Vec<(String, StoredKek)>, findings: &mut Findings) -> Keks {
        let mut keks = Keks::new();
        for (name, stored) in rows {
            match self.unwrap_kek(&stored) {
                Ok(key) => drop(keks.insert(stored.facts.kek_id, key)),
                Err(error) => findings.add("does_not_unwrap", format!("keks {name}"), cause(&error)),
            }
        }
        keks
    }
}

/// The key-encryption keys that unwrap.
type Keks = HashMap<KekId, xaes::Key>;

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    #[expect(clippy::needless_pass_by_value, reason = "texts and errors are handed over as they come")]
    fn add(&mut self, code: &str, place: impl Into<String>, detail: impl ToString) {
        self.0.push(Finding::new(code, place, detail.to_string()));
    }

    /// The rows of `table` that can be read; the others are findings, and so is a table whose names cannot be.
    fn rows<N: std::fmt::Display, T>(
        &mut self,
        table: &str,
        rows: Result<NamedRows<N, T>, DbError>,
    ) -> Result<Vec<(N, T)>, DbError> {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error @ DbError::BadRow { .. }) => {
                self.add("unreadable_row", table, error);
                return Ok(Vec::new());
            }
            Err(other) => return Err(other),
        };
        let mut readable = Vec::with_capacity(rows.len());
        for (name, row) in rows {
            match row {
                Ok(row) => readable.push((name, row)),
                Err(error) => self.add("unreadable_row", format!("{table} {name}"), error),
            }
        }
        Ok(readable)
    }
}

fn verify_key(
    reader: &mut Reader<'_>,
    key: &StoredKey,
    keks: &Keks,
    findings: &mut Findings,
) -> Result<(), DbError> {
    let rows = keys::list_version_rows(reader, key.key_id)?;
    let newest = rows.last().map_or(0, |(number, _)| *number);
    if newest != i64::from(key.version) {
        let detail = format!("the current version is {}, the newest row is {newest}", key.version);
        findings.add("version_gap", format!("keys {}", key.key_id), detail);
    }
    for ((number, row), expected) in rows.into_iter().zip(1_i64..) {
        let place = format!("key_versions {}#{number}", key.key_id);
        if number != expected {
            findings.add("version_gap", &place, format!("expected version {expected}"));
        }
        match row {
            Ok(version) => verify_version(key, &version, keks, &place, findings),
            Err(error) => findings.add("unreadable_row", place, error),
        }
    }
    Ok(())
}

fn verify_version(
    key: &StoredKey,
    version: &StoredVersion,
    keks: &Keks,
    place: &str,
    findings: &mut Findings,
) {
    let should_be_active = version.version == key.version;
    if should_be_active != (version.state == KeyState::Active) {
        let detail = format!("is {:?}, the current version is {}", version.state, key.version);
        findings.add("wrong_state", place, detail);
    }
    let Some(kek) = keks.get(&key.kek_id) else {
        let detail = format!("its parent {} is missing or damaged", key.kek_id);
        findings.add("does_not_unwrap", place, detail);
        return;
    };
    let unwrapped = key.facts(version).unwrap(kek, version.public.as_deref(), &version.wrapped);
    if let Err(error) = unwrapped {
        findings.add("does_not_unwrap", place, error);
    }
}

/// What is wrong with a blob, without the place, which the finding has.
fn cause(error: &Error) -> String {
    match error {
        Error::Damaged { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
