//! Everything around a module that is not the module.

use std::sync::{Arc, atomic::AtomicBool};

use axum::Router;
use q_contract::Authenticate;
use q_core::Env;
use q_db::Db;

use crate::{
    Api, Check, Recover,
    health::{Gauges, Monitor},
    mcp,
    metrics::Metrics,
    mode::ModeGauges,
    mounted::{Details, Feed, IsOperator, Mounted, Verify},
    pipeline, platform,
    rate_limit::RateLimiter,
};

/// What the server of one module needs besides its [`Api`].
pub struct Shell {
    /// Clock and entropy.
    pub env: Env,
    /// The module's store, which knows what the module lets through at present.
    pub db: Db,
    /// Checks credentials.
    pub auth: Arc<dyn Authenticate>,
    /// Knows the operators.
    pub is_operator: IsOperator,
    /// Requests allowed per minute, and what of them was used.
    pub limiter: Arc<RateLimiter>,
    /// Under which origins the module is reachable from outside.
    pub bases: Vec<String>,
    /// What it depends on.
    pub checks: Vec<Check>,
    /// Further figures for operators.
    pub details: Details,
    /// Checks its store.
    pub verify: Verify,
    /// What the modules of this instance in other processes follow.
    pub feed: Feed,
    /// Starts its tasks again and renews its connections.
    pub recover: Recover,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Set while the process stops: not ready, no new work.
    pub is_draining: Arc<AtomicBool>,
    /// Whether the process is cut off; all its modules share one.
    pub node: Arc<crate::Node>,
    /// Cleared while it is not known what was revoked: not ready, and nobody's token is believed.
    pub is_informed: Arc<AtomicBool>,
}

impl Shell {
    /// The router that answers for `api`, with the platform's own endpoints beside it.
    pub fn mount(self, api: Api) -> Router {
        let openapi = serde_json::to_vec_pretty(&api.openapi()).unwrap_or_default();
        self.metrics.registry().lock().register_collector(Box::new(ModeGauges(self.db.clone())));
        self.metrics.watch_store(&self.db, api.module);
        let monitor = Arc::new(Monitor::new(self.checks));
        self.metrics.registry().lock().register_collector(Box::new(Gauges(monitor.clone())));
        let mounted = Arc::new(Mounted {
            module: api.module.into(),
            env: self.env,
            db: self.db,
            auth: self.auth,
            is_operator: self.is_operator,
            limiter: self.limiter,
            bases: self.bases,
            monitor,
            details: self.details,
            verify: self.verify,
            feed: self.feed,
            recover: self.recover,
            shed: crate::recover::Shed::default(),
            metrics: self.metrics,
            is_draining: self.is_draining,
            node: self.node,
            is_informed: self.is_informed,
            api,
            openapi,
        });
        let mut router = platform::routes(&mounted).merge(mcp::routes(&mounted));
        for route in &mounted.api.routes {
            router = router.route(route.declaration.path, pipeline::endpoint(&mounted, route.clone()));
        }
        router.fallback(platform::not_found).method_not_allowed_fallback(platform::method_not_allowed)
    }
}
