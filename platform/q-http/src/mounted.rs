//! What every request of a module shares, and the questions it may ask of the composition.

use std::sync::{Arc, atomic::AtomicBool};

use futures_util::future::BoxFuture;
use q_contract::{Authenticate, Problem};
use q_core::{Caller, Env};
use q_db::Db;

use crate::{Api, Recover, health::Monitor, metrics::Metrics, rate_limit::RateLimiter, recover::Shed};

/// Decides whether a caller is an operator of the instance.
pub type IsOperator = Arc<dyn Fn(&Caller) -> bool + Send + Sync>;
/// Gives the figures of `/health/detailed`.
pub type Details = Arc<dyn Fn() -> BoxFuture<'static, serde_json::Value> + Send + Sync>;

/// Checks everything the module keeps, or what it keeps since a commit, and gives the findings as a JSON array; nothing
/// where the module has no commits to begin after.
pub type Verify =
    Arc<dyn Fn(Option<i64>) -> BoxFuture<'static, Result<Option<serde_json::Value>, String>> + Send + Sync>;

/// Answers a query of other modules for the module's events and audit rows with a JSON page.
pub type Feed = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Vec<u8>, Problem>> + Send + Sync>;

/// A shell and an API put together; what every request of a module shares.
pub(crate) struct Mounted {
    /// The module's name, for spans and log lines.
    pub(crate) module: Arc<str>,
    pub(crate) env: Env,
    pub(crate) db: Db,
    pub(crate) auth: Arc<dyn Authenticate>,
    pub(crate) is_operator: IsOperator,
    pub(crate) limiter: Arc<RateLimiter>,
    pub(crate) bases: Vec<String>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) details: Details,
    pub(crate) verify: Verify,
    pub(crate) feed: Feed,
    pub(crate) recover: Recover,
    pub(crate) shed: Shed,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) is_draining: Arc<AtomicBool>,
    pub(crate) node: Arc<crate::Node>,
    pub(crate) is_informed: Arc<AtomicBool>,
    pub(crate) api: Api,
    pub(crate) openapi: Vec<u8>,
}
