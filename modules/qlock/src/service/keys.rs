//! Keys: make, show, rotate, and find the one a request means.

use std::sync::Arc;

use q_core::{AuditEntry, Did, RequestKey};
use q_db::{Reader, Tx};
use qlock_api::{
    CreateKeyRequest, Jwks, Key, KeyId, KeyPage, KeyState, KeyType, KeyVersion, ListKeysRequest,
    events::{KeyGenerated, KeyRotated},
};
use serde_json::json;

use super::{
    Rings, Service,
    access::{Action, Asker},
    check_identity,
};
use crate::{
    Error,
    domain::{
        hierarchy,
        material::{self, Material},
    },
    store::keys::{self, StoredKey, StoredVersion},
};

/// The longest label, in characters.
const LABEL_CHARS_MAX: usize = 128;
/// The most public keys published at once.
const PUBLISHED_MAX: u32 = 1_000;

/// A key version that is ready for use.
pub(super) struct Usable {
    pub(super) key_id: KeyId,
    pub(super) version: u32,
    pub(super) material: Arc<Material>,
    pub(super) public: Option<Vec<u8>>,
}

impl Usable {
    /// Key and version.
    pub(super) const fn name(&self) -> (KeyId, u32) {
        (self.key_id, self.version)
    }
}

impl Service {
    /// Makes a key for `caller`.
    pub async fn create_key(
        &self,
        caller: &Did,
        request: CreateKeyRequest,
        request_key: Option<&RequestKey>,
    ) -> Result<Key, Error> {
        check_identity(caller, request.owner.as_ref())?;
        if request.label.as_ref().is_some_and(|label| label.chars().count() > LABEL_CHARS_MAX) {
            return Err(Error::ValidationFailed("a label has at most 128 characters"));
        }
        let (rings, owner) = (self.rings.clone(), caller.clone());
        let made = self
            .db
            .write_once(request_key, move |tx| {
                let new = NewKey { owner: &owner, key_type: request.key_type, is_default: false };
                let (key, version, _) = new.insert(tx, &rings, request.label.clone())?;
                Ok::<_, Error>(wire(&key, &[version]))
            })
            .await?;
        Ok(made.value)
    }

    /// The keys of `caller`, oldest first.
    pub async fn list_keys(&self, caller: &Did, request: ListKeysRequest) -> Result<KeyPage, Error> {
        let after = request.cursor.map(|cursor| cursor.parse::<KeyId>()).transpose();
        let after = after.map_err(|_| Error::ValidationFailed("the cursor is not from this list"))?;
        let rows_max = request.limit.unwrap_or_default().rows();
        let owner = caller.clone();
        self.db
            .read(move |reader| {
                let mut found = keys::list(reader, &owner, after, rows_max + 1)?;
                let has_more = found.len() > rows_max as usize;
                found.truncate(rows_max as usize);
                let mut items = Vec::with_capacity(found.len());
                for key in &found {
                    items.push(wire(key, &keys::list_versions(reader, key.key_id)?));
                }
                let last = found.last().filter(|_| has_more);
                Ok(KeyPage { items, next_cursor: last.map(|key| key.key_id.to_string()) })
            })
            .await
    }

    /// A key of `caller`.
    pub async fn get_key(&self, caller: &Did, key_id: KeyId) -> Result<Key, Error> {
        let asker = self.asker(caller);
        self.db
            .read(move |reader| {
                let key = permitted(reader, &asker, Action::Read, key_id)?;
                Ok(wire(&key, &keys::list_versions(reader, key_id)?))
            })
            .await
    }

    /// Makes a new version of a key of `caller`.
    pub async fn rotate_key(
        &self,
        caller: &Did,
        key_id: KeyId,
        request_key: Option<&RequestKey>,
    ) -> Result<Key, Error> {
        let (rings, asker) = (self.rings.clone(), self.asker(caller));
        let rotated = self.db.write_once(request_key, move |tx| rotate(tx, &rings, &asker, key_id)).await?;
        Ok(rotated.value)
    }

    /// The public halves of signing keys.
    pub async fn jwks(&self, only: Option<KeyId>) -> Result<Jwks, Error> {
        let found = self.db.read(move |reader| keys::list_public(reader, only, PUBLISHED_MAX)).await?;
        let jwk = |one: keys::PublicVersion| material::jwk(&one.public, one.key_id, one.version);
        Ok(Jwks { keys: found.into_iter().filter_map(jwk).collect() })
    }

    /// The current version of the key a request names, or of the caller's default key of the type,
    /// which is made at its first use.
    pub(super) async fn usable(
        &self,
        caller: &Did,
        named: Option<KeyId>,
        key_type: KeyType,
        action: Action,
    ) -> Result<Usable, Error> {
        let (rings, asker) = (self.rings.clone(), self.asker(caller));
        let found = self
            .db
            .read(move |reader| {
                let key = match named {
                    Some(key_id) => Some(permitted(reader, &asker, action, key_id)?),
                    None => keys::find_default(reader, &asker.did, key_type)?,
                };
                let Some(key) = key else { return Ok(None) };
                if key.key_type != key_type {
                    return Err(Error::KeyUsageMismatch(keys::type_name(key.key_type)));
                }
                load(reader, &rings, &key, key.version)
            })
            .await?;
        match (found, named) {
            (Some(usable), _) => Ok(usable),
            (None, Some(_)) => Err(Error::KeyNotFound),
            (None, None) => self.make_default(caller, key_type).await,
        }
    }

    async fn make_default(&self, caller: &Did, key_type: KeyType) -> Result<Usable, Error> {
        let (rings, owner) = (self.rings.clone(), caller.clone());
        self.db
            .write(move |tx| {
                // Another request may have been first.
                if let Some(key) = keys::find_default(tx, &owner, key_type)? {
                    return load(tx, &rings, &key, key.version)?.ok_or(Error::KeyNotFound);
                }
                let new = NewKey { owner: &owner, key_type, is_default: true };
                let (key, version, material) = new.insert(tx, &rings, None)?;
                Ok(Usable {
                    key_id: key.key_id,
                    version: version.version,
                    material: Arc::new(material),
                    public: version.public,
                })
            })
            .await
    }

    /// One version of a key `caller` may open things with, or nothing if there is none of this type.
    pub(super) async fn usable_version(
        &self,
        caller: &Did,
        key_id: KeyId,
        version: u32,
        key_type: KeyType,
    ) -> Result<Option<Usable>, Error> {
        let (rings, asker) = (self.rings.clone(), self.asker(caller));
        self.db
            .read(move |reader| match keys::find(reader, key_id)? {
                Some(key) if key.key_type == key_type && asker.may(Action::Decrypt, &key) => {
                    load(reader, &rings, &key, version)
                }
                _ => Ok(None),
            })
            .await
    }

    /// Every version of the age keys of `caller`, newest key first; of the key `only`, if it is named and
    /// `caller` may open things with it.
    pub(super) async fn age_versions(
        &self,
        caller: &Did,
        only: Option<KeyId>,
        versions_max: usize,
    ) -> Result<Vec<Usable>, Error> {
        let (rings, asker) = (self.rings.clone(), self.asker(caller));
        let keys_max = u32::try_from(versions_max).unwrap_or(u32::MAX);
        self.db
            .read(move |reader| {
                let candidates = match only {
                    None => keys::list_of_type(reader, &asker.did, KeyType::X25519, keys_max)?,
                    Some(key_id) => keys::find(reader, key_id)?
                        .filter(|key| key.key_type == KeyType::X25519 && asker.may(Action::Decrypt, key))
                        .into_iter()
                        .collect(),
                };
                let mut found = Vec::new();
                for key in candidates {
                    for version in (1..=key.version).rev() {
                        if found.len() == versions_max {
                            return Ok(found);
                        }
                        found.extend(load(reader, &rings, &key, version)?);
                    }
                }
                Ok(found)
            })
            .await
    }
}

/// A key about to be made.
struct NewKey<'a> {
    owner: &'a Did,
    key_type: KeyType,
    is_default: bool,
}

impl NewKey<'_> {
    fn insert(
        &self,
        tx: &mut Tx<'_>,
        rings: &Rings,
        label: Option<String>,
    ) -> Result<(StoredKey, StoredVersion, Material), Error> {
        let (kek_id, kek) = rings.kek_for(tx, self.owner, hierarchy::purpose(self.key_type))?;
        let key = StoredKey {
            key_id: KeyId::new(tx.env()),
            kek_id,
            owner: self.owner.clone(),
            key_type: self.key_type,
            version: 1,
            is_default: self.is_default,
            label,
            created_at: tx.now(),
        };
        keys::insert(tx, &key)?;
        let (version, material) = insert_version(tx, &kek, &key)?;
        tx.emit(&KeyGenerated {
            key_id: key.key_id,
            algorithm: key.key_type,
            identity_id: key.owner.clone(),
            quantum_resistant: key.key_type == KeyType::Aes256,
        })?;
        let details = json!({"type": keys::type_name(key.key_type)});
        tx.audit(AuditEntry::change("key.create", Some(self.owner), key.key_id).details(details))?;
        Ok((key, version, material))
    }
}

/// Makes the version `key.version`, which does not exist yet.
fn insert_version(
    tx: &mut Tx<'_>,
    kek: &q_seal::xaes::Key,
    key: &StoredKey,
) -> Result<(StoredVersion, Material), Error> {
    let material = Material::generate(key.key_type, tx.env());
    let mut version = StoredVersion {
        version: key.version,
        state: KeyState::Active,
        wrapped: Vec::new(),
        public: material.public_bytes(),
        created_at: tx.now(),
    };
    version.wrapped = key.facts(&version).wrap(kek, &material, tx.env());
    keys::insert_version(tx, key.key_id, &version)?;
    Ok((version, material))
}

fn rotate(tx: &mut Tx<'_>, rings: &Rings, asker: &Asker, key_id: KeyId) -> Result<Key, Error> {
    let mut key = permitted(tx, asker, Action::Rotate, key_id)?;
    let kek = rings.kek(tx, key.kek_id)?;
    let previous_version = key.version;
    key.version += 1;
    insert_version(tx, &kek, &key)?;
    keys::promote(tx, key_id, key.version)?;
    let reason = "requested".to_owned();
    tx.emit(&KeyRotated { key_id, previous_version, version: key.version, reason })?;
    let details = json!({"version": key.version});
    tx.audit(AuditEntry::change("key.rotate", Some(&asker.did), key_id).details(details))?;
    Ok(wire(&key, &keys::list_versions(tx, key_id)?))
}

/// The key, if the asker may do this with it; that another one exists is nobody's business.
fn permitted(
    reader: &mut Reader<'_>,
    asker: &Asker,
    action: Action,
    key_id: KeyId,
) -> Result<StoredKey, Error> {
    keys::find(reader, key_id)?.filter(|key| asker.may(action, key)).ok_or(Error::KeyNotFound)
}

fn load(
    reader: &mut Reader<'_>,
    rings: &Rings,
    key: &StoredKey,
    number: u32,
) -> Result<Option<Usable>, Error> {
    let Some(version) = keys::find_version(reader, key.key_id, number)? else { return Ok(None) };
    let material = rings.material(reader, key, &version)?;
    Ok(Some(Usable { key_id: key.key_id, version: number, material, public: version.public }))
}

fn wire(key: &StoredKey, versions: &[StoredVersion]) -> Key {
    Key {
        key_id: key.key_id,
        key_type: key.key_type,
        owner: key.owner.clone(),
        label: key.label.clone(),
        is_default: key.is_default,
        current_version: key.version,
        created_at: key.created_at,
        versions: versions.iter().map(|version| wire_version(key, version)).collect(),
    }
}

fn wire_version(key: &StoredKey, version: &StoredVersion) -> KeyVersion {
    let public = version.public.as_deref();
    let signs = public.filter(|_| key.key_type == KeyType::Ed25519);
    let receives = public.filter(|_| key.key_type == KeyType::X25519);
    KeyVersion {
        version: version.version,
        state: version.state,
        created_at: version.created_at,
        public_key: signs.and_then(|public| material::jwk(public, key.key_id, version.version)),
        recipient: receives.map(|text| String::from_utf8_lossy(text).into_owned()),
    }
}
