//! qlock: keys that never leave. It seals values, signs, and hands out data keys whose wrapping key stays here.
//!
//! The unseal key (a file outside the data) opens the root keyring; that opens one key-encryption key per
//! identity and purpose; those open key versions, which wrap what the store and other modules keep. Start
//! reading at [`domain::hierarchy`], then `service`.
//!
//! **Invariant:** no secret is readable from the database, the backups or the logs.

pub mod domain;
mod error;
mod http;
pub mod key_file;
mod service;
mod store;
mod verify;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use q_core::Span;
use q_db::{Db, DbError, Migrations};
use q_http::{Api, Check};
use q_pdp::Pdp;
use q_runtime::{Finding, Ground, Job, Module, Peers, Setting};

pub use error::Error;
pub use key_file::{KeyFile, KeyFileError};

use domain::wrap::WrapError;
use service::Service;

/// The name of the module.
pub const NAME: &str = "qlock";

/// The shape of its store.
pub const MIGRATIONS: Migrations = Migrations::new(
    NAME,
    &[(1, "keys", include_str!("../migrations/sqlite/0001_keys.sql"))],
    &[(1, "keys", include_str!("../migrations/postgres/0001_keys.sql"))],
);

/// Settings of its own besides the common ones: none yet.
pub const SETTINGS: &[Setting] = &[];

/// How often finished minutes of key use are written down.
const CLOSE_MINUTES_EVERY: Span = Span::seconds(10);

/// The module, unsealed.
pub struct Qlock {
    service: Arc<Service>,
    peers: Peers,
}

/// Why the module does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no usable unseal key.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key file belongs to another store.
    #[error(
        "the unseal key {path} ({found}) is not the one this store was made with ({expected}): \
         restore the key file that belongs to the data (root key {version})"
    )]
    OtherUnsealKey {
        /// The file.
        path: PathBuf,
        /// The root key that cannot be opened.
        version: u32,
        /// The public name of the key the store wants.
        expected: String,
        /// The public name of the key in the file.
        found: String,
    },
    /// A root key does not unwrap.
    #[error("root_keys {version} is damaged: restore the store from a backup")]
    DamagedRoot {
        /// The row.
        version: u32,
        /// What is wrong with it.
        #[source]
        source: WrapError,
    },
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

/// Opens the module with the unseal key in the file at `key_file`.
pub async fn open(ground: Ground, pdp: Pdp, key_file: &Path) -> Result<Arc<Qlock>, OpenError> {
    let key_file = KeyFile::load(key_file)?;
    let service = Service::open(ground.db, ground.env, pdp, &key_file).await?;
    Ok(Arc::new(Qlock { service: Arc::new(service), peers: ground.peers }))
}

impl Module for Qlock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn api(&self) -> Api {
        http::api(self.service.clone())
    }

    fn db(&self) -> &Db {
        &self.service.db
    }

    fn jobs(&self) -> Vec<Job> {
        let service = self.service.clone();
        vec![Job::every("close-minutes", CLOSE_MINUTES_EVERY, move || {
            let service = service.clone();
            async move { service.close_minutes().await.map_err(|error| error.to_string()) }
        })]
    }

    fn checks(&self) -> Vec<Check> {
        let service = self.service.clone();
        let permissions = Check::optional("qonsent", move || {
            let current = service.check_permissions();
            async move { current }
        });
        vec![self.peers.check("squid"), permissions]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(self.service.clone().verify())
    }
}
