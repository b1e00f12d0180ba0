//! From rows to usable keys, level by level.

use std::sync::Arc;

use q_core::{AuditEntry, Did, Env};
use q_db::{Db, DbError, Reader, Tx};
use q_seal::xaes;

use super::{CACHED_VERSIONS_MAX, Rings};
use crate::{
    Error, OpenError,
    domain::{
        hierarchy::{KekFacts, KekId, UnsealKey},
        material::Material,
        wrap::WrapError,
    },
    store::{
        keys::{StoredKey, StoredVersion},
        roots::{self, StoredKek, StoredRoot},
    },
};

/// Makes the first root key of an empty store.
pub(super) async fn first_root(
    db: &Db,
    env: &Env,
    unseal: &UnsealKey,
) -> Result<(u32, xaes::Key), OpenError> {
    let version = 1;
    let created_at = env.now();
    let (wrapped, key) = unseal.generate_root(version, created_at, env);
    let root = StoredRoot { version, unseal_key_id: unseal.id().to_owned(), wrapped, created_at };
    db.write(move |tx| {
        roots::insert_root(tx, &root)?;
        tx.audit(AuditEntry::change("root_key.create", None, format!("root#{version}")))?;
        Ok::<_, DbError>(())
    })
    .await?;
    Ok((version, key))
}

impl Rings {
    /// The key-encryption key of an identity for a purpose, made when there is none.
    pub(super) fn kek_for(
        &self,
        tx: &mut Tx<'_>,
        identity: &Did,
        purpose: &str,
    ) -> Result<(KekId, xaes::Key), Error> {
        if let Some(stored) = roots::find_kek(tx, identity, purpose)? {
            return Ok((stored.facts.kek_id, self.unwrap_kek(&stored)?));
        }
        let facts = KekFacts {
            kek_id: KekId::new(tx.env()),
            identity: identity.clone(),
            purpose: purpose.to_owned(),
            root_version: self.root.newest().0,
            created_at: tx.now(),
        };
        let (wrapped, key) = facts.generate(&self.root, tx.env());
        let kek_id = facts.kek_id;
        roots::insert_kek(tx, &StoredKek { facts, wrapped })?;
        Ok((kek_id, key))
    }

    /// The key-encryption key with this name.
    pub(super) fn kek(&self, reader: &mut Reader<'_>, kek_id: KekId) -> Result<xaes::Key, Error> {
        match roots::get_kek(reader, kek_id)? {
            Some(stored) => self.unwrap_kek(&stored),
            None => Err(Error::Damaged { place: format!("keks {kek_id}"), source: WrapError::Missing }),
        }
    }

    pub(super) fn unwrap_kek(&self, stored: &StoredKek) -> Result<xaes::Key, Error> {
        stored
            .facts
            .unwrap(&self.root, &stored.wrapped)
            .map_err(|source| Error::Damaged { place: format!("keks {}", stored.facts.kek_id), source })
    }

    /// The secret of a key version: from memory, or unwrapped and kept there.
    pub(super) fn material(
        &self,
        reader: &mut Reader<'_>,
        key: &StoredKey,
        version: &StoredVersion,
    ) -> Result<Arc<Material>, Error> {
        let name = (key.key_id, version.version);
        if let Some(known) = self.versions.read().get(&name) {
            return Ok(known.clone());
        }
        let kek = self.kek(reader, key.kek_id)?;
        let material = key.facts(version).unwrap(&kek, version.public.as_deref(), &version.wrapped).map_err(
            |source| {
                let place = format!("key_versions {}#{}", key.key_id, version.version);
                Error::Damaged { place, source }
            },
        )?;
        let material = Arc::new(material);
        let mut versions = self.versions.write();
        if versions.len() >= CACHED_VERSIONS_MAX {
            versions.clear();
        }
        versions.insert(name, material.clone());
        Ok(material)
    }
}
