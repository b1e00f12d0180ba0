//! qwallet: exact balances, signed payments, books that balance.
//!
//! A payment is decided on the request's own task (`service`: names, signature, fees), carried out by the one
//! executor of the process (`service::executor`, one commit for everything that waits), and answered when it
//! is on disk. The rules of money are pure (`domain`), the rows are an append-only journal (`store`), and
//! `verify` proves one from the other.
//!
//! **Invariant:** nothing but the executor changes a balance, and nothing is answered before its commit.

pub mod domain;
pub mod error;
mod http;
pub mod service;
pub mod store;
mod verify;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_auth::KeyDirectory;
use q_core::Span;
use q_db::{Db, DbError};
use q_http::{Api, Check};
use q_pdp::Pdp;
use q_runtime::{ConfigError, Finding, Ground, Job, Module, Peers, Setting};
use q_seal::Sealer;

use crate::{
    domain::fees::FeeSchedule,
    service::{Service, directory::Directory, executor::Executor},
};
pub use store::MIGRATIONS;

/// The settings of this module besides the common ones.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "iso_alias",
        default: "",
        about: "the three-letter code under which payout files name QToken; XTS on a demonstration when unset",
    },
    Setting {
        key: "fee_platform_basis_points",
        default: "50",
        about: "the house's fee on a payment, in hundredths of a percent",
    },
    Setting {
        key: "fee_network_basis_points",
        default: "10",
        about: "the rail's fee on a payment, in hundredths of a percent",
    },
];

/// The ISO 4217 code for testing: what a demonstration's money is called in payout files.
const DEMO_ALIAS: &str = "XTS";

/// The writer of this process. Replicas will each have a number of their own.
const WRITER: i64 = 1;

/// Why the module cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] DbError),
}

/// The wallet module.
pub struct Wallets {
    service: Arc<Service>,
    peers: Peers,
}

/// Opens the module on its ground. `keys` tells whose key is whose, `pdp` who may read whose wallet, and
/// `sealer` seals what must not be readable in a stolen store.
pub async fn open(
    ground: Ground,
    pdp: Pdp,
    keys: Arc<KeyDirectory>,
    sealer: Sealer,
) -> Result<Arc<Wallets>, OpenError> {
    let settings = &ground.settings;
    let schedule = FeeSchedule {
        version: FeeSchedule::REFERENCE.version,
        platform_basis_points: settings.parse("fee_platform_basis_points", "a number from 0 to 65535")?,
        network_basis_points: settings.parse("fee_network_basis_points", "a number from 0 to 65535")?,
    };
    let demo_alias = ground.instance.is_demo.then_some(DEMO_ALIAS);
    let iso_alias = settings.optional("iso_alias").or(demo_alias).map(str::to_owned);
    let service = Service {
        directory: Directory::open(&ground.db).await?,
        executor: Executor::start(ground.db.clone(), WRITER),
        env: ground.env,
        db: ground.db,
        instance: ground.instance,
        keys,
        pdp,
        sealer,
        schedule,
        iso_alias,
    };
    Ok(Arc::new(Wallets { service: Arc::new(service), peers: ground.peers }))
}

impl Wallets {
    /// The use cases without their endpoints, for measuring and for other fronts.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }
}

impl Module for Wallets {
    fn name(&self) -> &'static str {
        "qwallet"
    }

    fn api(&self) -> Api {
        http::api(&self.service)
    }

    fn db(&self) -> &Db {
        &self.service.db
    }

    fn jobs(&self) -> Vec<Job> {
        let (expiring, merging) = (self.service.clone(), self.service.clone());
        vec![
            Job::every("expire-holds", Span::seconds(5), move || {
                let service = expiring.clone();
                async move { service.expire().await.map_err(|error| error.to_string()) }
            }),
            Job::every("merge-histories", Span::seconds(1), move || {
                let service = merging.clone();
                async move { service.merge_histories().await.map_err(|error| error.to_string()) }
            }),
        ]
    }

    fn checks(&self) -> Vec<Check> {
        let service = self.service.clone();
        // Without either, payments go on as long as what is known of keys and permissions is young enough.
        let permissions = Check::optional("qonsent", move || {
            let current = service.pdp.check_current(service.env.now());
            async move { current }
        });
        let payments = self.service.executor.clone();
        let executor = Check::required("executor", move || {
            let is_running = payments.is_running();
            async move { if is_running { Ok(()) } else { Err("payments are no longer carried out".to_owned()) } }
        });
        vec![self.peers.check("squid"), permissions, executor]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(verify::verify(&self.service.db, &self.service.sealer))
    }
}
