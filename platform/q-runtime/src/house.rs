//! Modules raised on their ground, listening, until the house is told to stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::Router;
use q_bus::Bus;
use q_contract::{Authenticate, Declaration};
use q_core::{Env, Timestamp};
use q_http::{Check, IsOperator, RateLimits, Shell, metrics::Metrics};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{Directory, Finding, Module};

/// One module of a house, mounted.
pub struct Beam {
    /// The module.
    pub module: Arc<dyn Module>,
    /// Its router, complete with everything the platform adds.
    pub router: Router,
    /// Its endpoints.
    pub declarations: Vec<Declaration>,
}

/// The modules of one process.
pub struct House {
    env: Env,
    auth: Arc<dyn Authenticate>,
    is_operator: IsOperator,
    directory: Directory,
    bus: Bus,
    beams: Vec<Beam>,
    stop: watch::Sender<bool>,
    is_draining: Arc<AtomicBool>,
    started_at: Timestamp,
    listeners: JoinSet<()>,
    workers: JoinSet<()>,
}

impl House {
    /// An empty house whose modules check credentials with `auth`.
    pub fn new(env: Env, auth: Arc<dyn Authenticate>, is_operator: IsOperator, directory: Directory) -> Self {
        Self {
            started_at: env.now(),
            env,
            auth,
            is_operator,
            directory,
            bus: Bus::new(),
            beams: Vec::new(),
            stop: watch::Sender::new(false),
            is_draining: Arc::default(),
            listeners: JoinSet::new(),
            workers: JoinSet::new(),
        }
    }

    /// Mounts `module` so that others of this process reach it; it listens nowhere yet and reacts to nothing.
    pub fn raise(&mut self, module: Arc<dyn Module>, limits: RateLimits, bases: Vec<String>) -> &Beam {
        let api = module.api();
        let declarations = api.declarations();
        let router = self.shell(&module, limits, bases).mount(api);
        self.directory.fill(module.name(), q_http::local_handler(router.clone()));
        self.bus.add_producer(module.name(), module.db().clone());
        self.beams.push(Beam { module, router, declarations });
        self.beams.last().expect("a beam was just put up")
    }

    fn shell(&self, module: &Arc<dyn Module>, limits: RateLimits, bases: Vec<String>) -> Shell {
        let mut checks = vec![store_check(module)];
        checks.extend(module.checks());
        let (db, bus, name) = (module.db().clone(), self.bus.clone(), module.name());
        let (env, started_at) = (self.env.clone(), self.started_at);
        let details = move || {
            let (db, bus, env) = (db.clone(), bus.clone(), env.clone());
            let details: futures_util::future::BoxFuture<'static, serde_json::Value> = Box::pin(async move {
                let store = match db.stats().await {
                    Ok(stats) => json!(stats),
                    Err(error) => json!({"error": error.to_string()}),
                };
                let uptime_seconds = env.now().since(started_at).as_seconds();
                json!({"store": store, "bus": bus.lags_of(name), "uptimeSeconds": uptime_seconds})
            });
            details
        };
        let metrics = Metrics::default();
        module.metrics(&mut metrics.registry().lock());
        let verified = module.clone();
        let (store, stop) = (module.db().clone(), self.stop.subscribe());
        Shell {
            env: self.env.clone(),
            auth: self.auth.clone(),
            is_operator: self.is_operator.clone(),
            limits,
            bases,
            checks,
            details: Arc::new(details),
            verify: Arc::new(move || {
                let module = verified.clone();
                Box::pin(async move {
                    let findings = verify(&*module).await.map_err(|error| error.to_string())?;
                    Ok(json!(findings))
                })
            }),
            feed: Arc::new(move |query| {
                let (store, stop) = (store.clone(), stop.clone());
                Box::pin(async move { q_bus::feed::answer(&store, &query, stop).await })
            }),
            metrics: Arc::new(metrics),
            is_draining: self.is_draining.clone(),
        }
    }

    /// The modules raised so far.
    pub fn beams(&self) -> &[Beam] {
        &self.beams
    }

    /// The event bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Starts delivering events and running jobs. Called once, when every module is raised.
    pub fn start(&mut self) {
        for beam in &self.beams {
            for subscription in beam.module.subscriptions() {
                self.bus.subscribe(beam.module.name(), beam.module.db().clone(), subscription);
            }
            for job in beam.module.jobs() {
                self.workers.spawn(job.keep_running(beam.module.name(), self.stop.subscribe()));
            }
        }
        let delivering = self.bus.start(self.stop.subscribe());
        self.workers.spawn(async move {
            let _ = delivering.await;
        });
    }

    /// Serves `router` on `listener`; the caller owns the socket, so that tests can take any free port.
    pub fn listen(&mut self, listener: TcpListener, router: Router) {
        self.listeners.spawn(q_http::serve(listener, router, self.stop.subscribe()));
    }

    /// Finishes open requests, then jobs and deliveries, then closes the stores: in reverse of their start.
    pub async fn stop(mut self) {
        self.is_draining.store(true, Ordering::Relaxed);
        let _ = self.stop.send(true);
        while self.listeners.join_next().await.is_some() {}
        while self.workers.join_next().await.is_some() {}
        for beam in self.beams.iter().rev() {
            beam.module.db().close().await;
        }
    }
}

/// Everything wrong with what `module` keeps: the engine's own check first, then the module's.
pub async fn verify(module: &dyn Module) -> Result<Vec<Finding>, q_db::DbError> {
    let mut findings: Vec<Finding> = module
        .db()
        .check()
        .await?
        .into_iter()
        .map(|complaint| Finding::new("store_damaged", format!("{} store", module.name()), complaint))
        .collect();
    findings.extend(module.verify().await?);
    Ok(findings)
}

fn store_check(module: &Arc<dyn Module>) -> Check {
    let db = module.db().clone();
    Check::required("store", move || {
        let db = db.clone();
        async move {
            let probe = |reader: &mut q_db::Reader<'_>| reader.query_one("SELECT 1", &[]).map(|_| ());
            db.read(probe).await.map_err(|error: q_db::DbError| error.to_string())
        }
    })
}
