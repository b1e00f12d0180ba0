//! The use cases: open the transaction, ask the domain, tell the store.
//!
//! **Invariant:** no SQL text and no wire format; a key is used only after its use was noted for the audit.

mod access;
mod crypto;
mod data_keys;
mod decode;
mod keys;
mod rings;
mod signatures;
mod uses;

pub use crypto::algorithms;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use q_core::{Did, Env};
use q_db::Db;
use q_pdp::Pdp;
use q_seal::xaes;
use qlock_api::KeyId;

use crate::{
    Error, OpenError,
    domain::{
        hierarchy::{RootRing, UnsealKey},
        material::Material,
    },
    key_file::KeyFile,
    service::{access::Asker, uses::UseBook},
    store::roots::{self, StoredKek},
};

/// The most unwrapped key versions kept in memory; beyond it they are unwrapped anew.
const CACHED_VERSIONS_MAX: usize = 10_000;

/// Everything qlock does.
pub struct Service {
    pub(crate) db: Db,
    env: Env,
    unseal: UnsealKey,
    rings: Arc<Rings>,
    uses: UseBook,
    pdp: Pdp,
}

/// The keys that are open in memory while the service is unsealed.
pub(crate) struct Rings {
    root: RootRing,
    versions: RwLock<HashMap<(KeyId, u32), Arc<Material>>>,
}

impl Service {
    /// Whether what is known here of permissions is current.
    pub(crate) fn check_permissions(&self) -> Result<(), String> {
        self.pdp.check_current(self.env.now())
    }

    /// Opens the root keyring with the key in `key_file`; makes the first root key of an empty store.
    pub(crate) async fn open(db: Db, env: Env, pdp: Pdp, key_file: &KeyFile) -> Result<Self, OpenError> {
        let unseal = key_file.unseal_key();
        let stored = db.read(roots::list_roots).await?;
        let mut root = BTreeMap::new();
        for one in stored {
            if one.unseal_key_id != unseal.id() {
                return Err(OpenError::OtherUnsealKey {
                    path: key_file.path().into(),
                    version: one.version,
                    expected: one.unseal_key_id,
                    found: unseal.id().to_owned(),
                });
            }
            let key = unseal
                .unwrap_root(one.version, one.created_at, &one.wrapped)
                .map_err(|source| OpenError::DamagedRoot { version: one.version, source })?;
            root.insert(one.version, key);
        }
        if root.is_empty() {
            let (version, key) = rings::first_root(&db, &env, &unseal).await?;
            root.insert(version, key);
        }
        let rings = Rings { root: RootRing::new(root), versions: RwLock::default() };
        let uses = UseBook::new(&env);
        Ok(Self { db, env, unseal, rings: Arc::new(rings), uses, pdp })
    }

    pub(crate) const fn unseal_key(&self) -> &UnsealKey {
        &self.unseal
    }

    fn asker(&self, did: &Did) -> Asker {
        Asker { did: did.clone(), pdp: self.pdp.clone(), now: self.env.now() }
    }

    /// The key in a stored row, for the integrity check.
    pub(crate) fn unwrap_kek(&self, stored: &StoredKek) -> Result<xaes::Key, Error> {
        self.rings.unwrap_kek(stored)
    }
}

/// Refuses a request that names another identity than the caller.
fn check_identity(caller: &Did, named: Option<&Did>) -> Result<(), Error> {
    if named.is_none_or(|named| named == caller) { Ok(()) } else { Err(Error::IdentityMismatch) }
}
