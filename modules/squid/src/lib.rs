//! Identities that their owners hold the keys of, and the login server of the instance.
//!
//! An identity is a did:webvh log (q-did) that its owner makes and signs; squid keeps it, serves it, and lets
//! only entries in that the log itself permits. Logging in is a self-signed assertion that becomes an access
//! token; every module checks tokens alone (q-auth), with the keys published here and the revocations told
//! here by event.
//!
//! What an identity says about itself, and the keys that sign tokens, are sealed before they reach the store.
//!
//! **Invariant:** the stored head of every log is the head that verifying it from its first entry gives; no
//! private key of an owner is ever here.

pub mod domain;
pub mod error;
pub mod http;
pub mod remote;
pub mod service;
pub mod store;
mod verify;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use q_auth::{KeyDirectory, Revocations, dpop::ReplaySet};
use q_core::{Env, Span};
use q_db::{Db, DbError, Migrations};
use q_http::Api;
use q_runtime::{Finding, Ground, Job, Module, Setting};
use q_seal::Sealer;

use crate::{
    error::Error,
    service::{
        limits::Registrations,
        logs::OwnLogs,
        signing_keys::{self, Signers},
    },
};

/// The settings of this module.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "registrations_per_hour",
        default: "5",
        about: "How many identities one network address may register in an hour; 0 for any number. \
                On a demonstration, 100 unless set.",
    },
    Setting {
        key: "sub_identities_max",
        default: "10",
        about: "How many sub-identities one identity may have at a time.",
    },
];

/// The tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "squid",
    &[
        (1, "identities", include_str!("../migrations/sqlite/0001_identities.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_SQLITE),
        (3, "family", include_str!("../migrations/sqlite/0003_family.sql")),
    ],
    &[
        (1, "identities", include_str!("../migrations/postgres/0001_identities.sql")),
        (2, "sealing keys", qlock_api::sealer::SEALING_KEYS_POSTGRES),
        (3, "family", include_str!("../migrations/postgres/0003_family.sql")),
    ],
);

/// How often sessions that ended are forgotten and signing keys of other replicas are looked for.
const SWEEP_EVERY: Span = Span::seconds(60);

/// The module.
pub struct Squid {
    pub(crate) env: Env,
    pub(crate) db: Db,
    pub(crate) sealer: Sealer,
    /// The issuer of tokens: the origin of the instance.
    pub(crate) origin: String,
    /// The origin without its scheme: where logs are served, as it stands in did:webvh names.
    pub(crate) host: String,
    /// Under which URLs this module is reached, for proofs.
    pub(crate) bases: Vec<String>,
    pub(crate) directory: KeyDirectory,
    pub(crate) signers: ArcSwap<Signers>,
    pub(crate) replays: ReplaySet,
    pub(crate) registrations: Registrations,
    pub(crate) sub_identities_max: u32,
}

/// The module cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The origin has no host that a did:webvh name can hold.
    #[error("the origin {0} is not http:// or https:// followed by a DNS name of two labels or more")]
    Origin(String),
    /// A setting is not what it should be.
    #[error(transparent)]
    Settings(#[from] q_runtime::ConfigError),
    /// The signing keys cannot be made or opened.
    #[error("the signing keys cannot be used")]
    SigningKeys(#[source] Error),
}

/// Opens squid on its ground. `bases` are the URLs under which it is reached besides the origin itself.
pub async fn open(ground: Ground, sealer: Sealer, bases: Vec<String>) -> Result<Arc<Squid>, OpenError> {
    let origin = ground.instance.origin.trim_end_matches('/').to_owned();
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let host = host.map(str::to_owned).ok_or_else(|| OpenError::Origin(origin.clone()))?;
    let sample = q_did::entry::key_hash(&q_jose::SecretKey::from_seed(&[0; 32]).public());
    q_did::WebName::at_host(&sample, &host).map_err(|_| OpenError::Origin(origin.clone()))?;
    let per_hour = ground.settings.parse("registrations_per_hour", "a number of identities")?;
    let sub_identities_max = ground.settings.parse("sub_identities_max", "a number of identities")?;
    let bases = std::iter::once(origin.clone())
        .chain(bases.iter().map(|base| base.trim_end_matches('/').to_owned()))
        .collect();
    let directory = KeyDirectory::new(
        ground.env.clone(),
        Arc::new(OwnLogs(ground.db.clone())),
        Arc::new(Revocations::new()),
    );
    let signers =
        signing_keys::ready(&ground.db, &sealer, &ground.env).await.map_err(OpenError::SigningKeys)?;
    Ok(Arc::new(Squid {
        env: ground.env,
        db: ground.db,
        sealer,
        origin,
        host,
        bases,
        directory,
        signers: ArcSwap::from_pointee(signers),
        replays: ReplaySet::default(),
        registrations: Registrations::new(per_hour),
        sub_identities_max,
    }))
}

/// squid as the runtime sees it.
#[derive(Clone)]
pub struct SquidModule(pub Arc<Squid>);

/// When the key that signs tokens was made, for whoever watches that keys are renewed.
struct KeyAge(Arc<Squid>);

impl std::fmt::Debug for KeyAge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyAge")
    }
}

impl Collector for KeyAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let since = self.0.signers.load().active_since;
        let help = "When the key that signs now was made, in seconds since 1970";
        let name = "q_signing_key_created_timestamp_seconds";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(since.seconds()).encode(family)
    }
}

impl Module for SquidModule {
    fn name(&self) -> &'static str {
        "squid"
    }

    fn api(&self) -> Api {
        http::api(self.0.clone())
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    fn metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(KeyAge(self.0.clone())));
    }

    fn jobs(&self) -> Vec<Job> {
        let squid = self.0.clone();
        let sweep = move || {
            let squid = squid.clone();
            async move {
                squid.sweep().await.map_err(|error| error.to_string())?;
                squid.load_signing_keys().await.map_err(|error| error.to_string())
            }
        };
        vec![Job::every("sweep", SWEEP_EVERY, sweep)]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(self.0.findings())
    }
}
