//! The shape every module has for the platform.

use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use q_bus::Subscription;
use q_db::{Db, DbError};
use q_http::{Api, Check};
use serde::{Deserialize, Serialize};

use crate::Job;

/// A module as the runtime sees it. Health, metrics, bounds, limits, tools and verification come with it.
pub trait Module: Send + Sync + 'static {
    /// Its name: folder, path, database and metrics prefix.
    fn name(&self) -> &'static str;

    /// Its endpoints.
    fn api(&self) -> Api;

    /// Its store.
    fn db(&self) -> &Db;

    /// The events of other modules it reacts to.
    fn subscriptions(&self) -> Vec<Subscription> {
        Vec::new()
    }

    /// Its scheduled work.
    fn jobs(&self) -> Vec<Job> {
        Vec::new()
    }

    /// What it depends on besides its store.
    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Puts its own metrics beside those every module has; called once, when it is mounted.
    ///
    /// Names follow the Prometheus conventions and begin with the module's name; `_total` is added to counters by
    /// the registry. Every label has few values, known when the code is written: never an id, an address or a text
    /// somebody sent. What is touched on every request is created once and kept by the module.
    fn metrics(&self, _registry: &mut Registry) {}

    /// Finishes what it has put off, after the last request and the last delivery and before its store closes.
    fn settle(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Reads everything it keeps and reports each inconsistency; an empty list means sound.
    ///
    /// Collects all findings and never stops at the first. The store's own integrity is checked by the caller.
    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>>;

    /// Like [`Module::verify`], reading only what was committed after a commit of this number; nothing where the module
    /// does not number its commits.
    fn verify_since(&self, _commit: i64) -> BoxFuture<'_, Result<Option<Vec<Finding>>, DbError>> {
        Box::pin(async { Ok(None) })
    }
}

/// One thing `q verify` found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// A stable name of the broken rule, such as `balance_mismatch`.
    pub code: String,
    /// The row, object or entry, such as `transfers 17`.
    pub place: String,
    /// What was expected and what is there.
    pub detail: String,
    /// The module whose store it is about, when it is another one than the one that was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concerns: Option<String>,
}

impl Finding {
    /// A finding.
    pub fn new(code: impl Into<String>, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), place: place.into(), detail: detail.into(), concerns: None }
    }

    /// The same finding, about the store of another module: the one that was verified is sound in this.
    #[must_use]
    pub fn about(mut self, module: impl Into<String>) -> Self {
        self.concerns = Some(module.into());
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: {}", self.code, self.place, self.detail)
    }
}
