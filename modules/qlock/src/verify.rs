//! The integrity check: every blob unwraps under its parent, every public half belongs to its secret, no
//! version is missing.
//!
//! A wrapped blob is bound to the facts of its row, so one damaged byte in either is found and named.

use std::collections::HashMap;

use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::xaes;

use crate::{
    domain::hierarchy::KekId,
    service::Service,
    store::{
        keys::{self, StoredKey},
        roots,
    },
};

impl Service {
    /// Reads everything and collects what is wrong.
    pub(crate) async fn verify(self: std::sync::Arc<Self>) -> Result<Vec<Finding>, DbError> {
        self.db.clone().read(move |reader| self.findings(reader)).await
    }

    fn findings(&self, reader: &mut Reader<'_>) -> Result<Vec<Finding>, DbError> {
        let mut findings = Vec::new();
        self.verify_roots(reader, &mut findings)?;
        let keks = self.verify_keks(reader, &mut findings)?;
        for (name, row) in keys::list_all(reader)? {
            match row {
                Ok(key) => verify_key(reader, &key, &keks, &mut findings)?,
                Err(error) => {
                    let place = format!("keys {name}");
                    findings.push(Finding::new("unreadable_row", place, error.to_string()));
                }
            }
        }
        for orphan in keys::list_orphans(reader)? {
            let detail = "no key owns this version";
            findings.push(Finding::new("orphan_version", format!("key_versions {orphan}"), detail));
        }
        Ok(findings)
    }

    fn verify_roots(&self, reader: &mut Reader<'_>, findings: &mut Vec<Finding>) -> Result<(), DbError> {
        let stored = roots::list_roots(reader)?;
        for (root, expected) in stored.iter().zip(1..) {
            let place = format!("root_keys {}", root.version);
            if root.version != expected {
                findings.push(Finding::new("version_gap", &place, format!("expected version {expected}")));
            }
            if root.unseal_key_id != self.unseal_key().id() {
                let detail = format!("says it is wrapped under the unseal key {}", root.unseal_key_id);
                findings.push(Finding::new("wrong_unseal_key", &place, detail));
            }
            let unwrapped = self.unseal_key().unwrap_root(root.version, root.created_at, &root.wrapped);
            if let Err(error) = unwrapped {
                findings.push(Finding::new("does_not_unwrap", place, error.to_string()));
            }
        }
        if stored.is_empty() {
            findings.push(Finding::new("missing_row", "root_keys 1", "there is no root key"));
        }
        Ok(())
    }

    fn verify_keks(
        &self,
        reader: &mut Reader<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<HashMap<KekId, xaes::Key>, DbError> {
        let mut keks = HashMap::new();
        for (name, row) in roots::list_keks(reader)? {
            let place = format!("keks {name}");
            let stored = match row {
                Ok(stored) => stored,
                Err(error) => {
                    findings.push(Finding::new("unreadable_row", place, error.to_string()));
                    continue;
                }
            };
            match self.unwrap_kek(&stored) {
                Ok(key) => {
                    keks.insert(stored.facts.kek_id, key);
                }
                Err(error) => findings.push(Finding::new("does_not_unwrap", place, error.to_string())),
            }
        }
        Ok(keks)
    }
}

fn verify_key(
    reader: &mut Reader<'_>,
    key: &StoredKey,
    keks: &HashMap<KekId, xaes::Key>,
    findings: &mut Vec<Finding>,
) -> Result<(), DbError> {
    let rows = keys::list_version_rows(reader, key.key_id)?;
    let newest = rows.last().map_or(0, |(number, _)| *number);
    if newest != i64::from(key.version) {
        let detail = format!("the current version is {}, the newest row is {newest}", key.version);
        findings.push(Finding::new("version_gap", format!("keys {}", key.key_id), detail));
    }
    for ((number, row), expected) in rows.into_iter().zip(1_i64..) {
        let place = format!("key_versions {}#{number}", key.key_id);
        if number != expected {
            findings.push(Finding::new("version_gap", &place, format!("expected version {expected}")));
        }
        let version = match row {
            Ok(version) => version,
            Err(error) => {
                findings.push(Finding::new("unreadable_row", place, error.to_string()));
                continue;
            }
        };
        let should_be_active = version.version == key.version;
        if should_be_active != (version.state == qlock_api::KeyState::Active) {
            let detail = format!("is {:?}, the current version is {}", version.state, key.version);
            findings.push(Finding::new("wrong_state", &place, detail));
        }
        let Some(kek) = keks.get(&key.kek_id) else {
            let detail = format!("its parent {} is missing or damaged", key.kek_id);
            findings.push(Finding::new("does_not_unwrap", place, detail));
            continue;
        };
        let unwrapped = key.facts(&version).unwrap(kek, version.public.as_deref(), &version.wrapped);
        if let Err(error) = unwrapped {
            findings.push(Finding::new("does_not_unwrap", place, error.to_string()));
        }
    }
    Ok(())
}
