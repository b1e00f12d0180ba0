//! qonsent: who may do what, proved by chains of signed delegations, and taken back everywhere at once.
//!
//! The store keeps the delegations, the grants they prove, the revocations, and one chained order of all changes.
//! Deciding happens in q-pdp, inside every module; this module feeds it. Start reading at [`domain`], then
//! `service/grant.rs` and `service/revoke.rs`.
//!
//! **Invariant:** nothing is granted without a chain that begins at the owner; what was revoked never counts again;
//! every change carries the next epoch and is told in the commit that made it.

pub mod domain;
mod error;
mod http;
mod service;
mod store;
mod verify;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_core::Span;
use q_db::{Db, DbError, Migrations};
use q_http::{Api, Check};
use q_pdp::{KeySource, Pdp};
use q_runtime::{Finding, Ground, Job, Module, Peers, Setting};

pub use error::Error;
use service::Service;

/// The name of the module.
pub const NAME: &str = "qonsent";

/// The shape of its store.
pub const MIGRATIONS: Migrations = Migrations::new(
    NAME,
    &[
        (1, "permissions", include_str!("../migrations/sqlite/0001_permissions.sql")),
        (2, "issuers", include_str!("../migrations/sqlite/0002_issuers.sql")),
    ],
    &[
        (1, "permissions", include_str!("../migrations/postgres/0001_permissions.sql")),
        (2, "issuers", include_str!("../migrations/postgres/0002_issuers.sql")),
    ],
);

/// Settings of its own besides the common ones: none yet.
pub const SETTINGS: &[Setting] = &[];

/// How often decision points hear that they are current.
const HEARTBEAT_EVERY: Span = Span::seconds(5);

/// The module.
pub struct Qonsent {
    service: Arc<Service>,
    peers: Peers,
}

/// Opens the module.
///
/// `pdp` is the decision point of this process: it is brought up to date from the store before this returns, as far
/// as `keys` can be asked, and hears of each change right after its commit.
pub async fn open(ground: Ground, pdp: Pdp, keys: impl KeySource) -> Result<Arc<Qonsent>, DbError> {
    let peers = ground.peers.clone();
    let service = Arc::new(Service::open(ground, pdp, Arc::new(keys)).await?);
    Ok(Arc::new(Qonsent { service, peers }))
}

impl Module for Qonsent {
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
        vec![Job::every("heartbeat", HEARTBEAT_EVERY, move || {
            let service = service.clone();
            async move { service.heartbeat().await.map_err(|error| error.to_string()) }
        })]
    }

    fn checks(&self) -> Vec<Check> {
        let service = self.service.clone();
        // Optional: a decision point that is behind denies what it must, and the rest still works.
        let projection = Check::optional("projection", move || {
            let service = service.clone();
            async move { service.check_projection() }
        });
        vec![projection, self.peers.check("squid")]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(self.service.db.read(verify::verify))
    }
}
