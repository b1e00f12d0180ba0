//! Modules raised on their ground, listening, until the house is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use futures_util::future::join_all;
use parking_lot::Mutex;
use q_bus::{Bus, Murmur, Nats};
use q_contract::{Authenticate, Declaration};
use q_core::{Env, Span, Timestamp};
use q_http::{
    Check, Ending, IsOperator, Listener, Node, Passed, RateLimiter, RateLimits, Shell,
    metrics::{self, Metrics},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{Directory, Finding, Job, Module, Tasks, figures::Figures, guard, recover};

/// How long a stop may be held up by deliveries.
const SETTLE_MAX: Duration = Duration::from_secs(5);

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
    metrics: metrics::Options,
    beams: Vec<Beam>,
    /// Ends the listeners.
    ending: watch::Sender<Ending>,
    /// Ends answers that wait for something to happen.
    hurry: watch::Sender<bool>,
    /// Ends deliveries and jobs.
    stop: watch::Sender<bool>,
    is_draining: Arc<AtomicBool>,
    node: Arc<Node>,
    is_informed: Arc<AtomicBool>,
    notice: Duration,
    is_started: bool,
    started_at: Timestamp,
    listeners: JoinSet<()>,
    workers: JoinSet<()>,
    /// What is done when the stores are closed.
    /// Behind a lock only so that a house can be shared between threads.
    after_close: Mutex<Vec<futures_util::future::BoxFuture<'static, ()>>>,
    tasks: Tasks,
}

impl House {
    /// An empty house whose modules check credentials with `auth`.
    pub fn new(env: Env, auth: Arc<dyn Authenticate>, is_operator: IsOperator, directory: Directory) -> Self {
        Self {
            started_at: env.now(),
            tasks: Tasks::new(env.clone()),
            env,
            auth,
            is_operator,
            directory,
            bus: Bus::new(),
            metrics: metrics::Options::default(),
            beams: Vec::new(),
            ending: watch::Sender::new(Ending::No),
            hurry: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            is_draining: Arc::default(),
            node: Arc::default(),
            is_informed: Arc::new(AtomicBool::new(true)),
            notice: Duration::ZERO,
            is_started: false,
            listeners: JoinSet::new(),
            workers: JoinSet::new(),
            after_close: Mutex::default(),
        }
    }

    /// What the modules raised from now on measure, and who may look.
    #[must_use]
    pub fn measured(mut self, options: metrics::Options) -> Self {
        self.metrics = options;
        self
    }

    /// Mounts `module` so that others of this process reach it; it listens nowhere yet and reacts to nothing.
    pub fn raise(&mut self, module: Arc<dyn Module>, limits: RateLimits, bases: Vec<String>) -> &Beam {
        module.db().opened();
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
        checks.extend(self.bus.nats().map(bus_check));
        let db = module.db().clone();
        let figures = Figures::new(module.name(), db, self.bus.clone(), self.env.clone(), self.started_at);
        let metrics = Metrics::new(self.metrics.clone());
        {
            let registry = metrics.registry();
            let mut registry = registry.lock();
            registry.register_collector(Box::new(figures.clone()));
            registry.register_collector(self.tasks.collector(module.name()));
            module.metrics(&mut registry);
        }
        let refreshed = figures.clone();
        metrics.before_scrape(move || {
            let figures = refreshed.clone();
            Box::pin(async move { figures.refresh().await })
        });
        let recover = recover::of(module.name(), self.tasks.clone(), self.bus.clone(), module.db().clone());
        let (tasks, name) = (self.tasks.clone(), module.name());
        let verified = module.clone();
        let (store, stop) = (module.db().clone(), self.hurry.subscribe());
        let limiter = self.limiter(module, limits);
        Shell {
            env: self.env.clone(),
            db: module.db().clone(),
            auth: self.auth.clone(),
            is_operator: self.is_operator.clone(),
            limiter,
            bases,
            checks,
            details: Arc::new(move || {
                let (figures, tasks) = (figures.clone(), tasks.clone());
                Box::pin(async move {
                    let mut details = figures.details().await;
                    details["tasks"] = json!(tasks.of(name));
                    details
                })
            }),
            verify: Arc::new(move |since| {
                let module = verified.clone();
                Box::pin(async move {
                    let findings = match since {
                        Some(commit) => verify_since(&*module, commit).await,
                        None => verify(&*module).await.map(Some),
                    };
                    Ok(findings.map_err(|error| error.to_string())?.map(|findings| json!(findings)))
                })
            }),
            feed: Arc::new(move |query| {
                let (store, stop) = (store.clone(), stop.clone());
                Box::pin(async move { q_bus::feed::answer(&store, &query, stop).await })
            }),
            recover,
            metrics: Arc::new(metrics),
            is_draining: self.is_draining.clone(),
            node: self.node.clone(),
            is_informed: self.is_informed.clone(),
        }
    }

    /// The limits of a module, counted together with its replicas.
    fn limiter(&self, module: &Arc<dyn Module>, limits: RateLimits) -> Arc<RateLimiter> {
        let limiter = RateLimiter::new(limits);
        let (telling, hearing, counting) = (limiter.clone(), limiter.clone(), limiter.clone());
        let env = self.env.clone();
        let murmur = Murmur {
            tell: Arc::new(move || telling.tell()),
            hear: Arc::new(move |told| hearing.hear(told, env.now())),
            among: Arc::new(move |replicas, can_hear| counting.among(replicas, can_hear)),
        };
        self.bus.murmur(module.name(), module.db().clone(), murmur);
        limiter
    }

    /// Says whether it is known here what was revoked. While it is not, the house is not ready, and believes nobody's
    /// token. Known until said otherwise.
    pub fn informed(&self) -> Arc<AtomicBool> {
        self.is_informed.clone()
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
            let forget = forget_answers(beam.module.db().clone());
            for job in beam.module.jobs().into_iter().chain([forget]) {
                let (name, stop) = (beam.module.name(), self.stop.subscribe());
                let kept = self.tasks.keep(name, job.name, stop.clone(), move |busy| {
                    job.clone().keep_running(name, busy, stop.clone())
                });
                self.workers.spawn(kept);
            }
        }
        self.is_started = true;
        for beam in &self.beams {
            let (module, stop) = (beam.module.clone(), self.stop.subscribe());
            let kept = self.tasks.keep(module.name(), "guard", stop.clone(), move |_| {
                guard::keep_watch(module.clone(), stop.clone())
            });
            self.workers.spawn(kept);
        }
        let delivering = self.bus.start(self.stop.subscribe());
        self.workers.spawn(async move {
            let _ = delivering.await;
        });
    }

    /// Serves `router` on `listener`; the caller owns the socket, so that tests can take any free port.
    pub fn listen(&mut self, listener: impl Into<Listener>, router: Router) {
        self.listeners.spawn(q_http::serve(listener.into(), router, self.ending.subscribe()));
    }

    /// Does `work` beside the modules until the house stops; it may be given up at any moment.
    pub fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        self.workers.spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|is_stopping| *is_stopping) => {}
            }
        });
    }

    /// For how long `/health/ready` says no before connections are refused, so that whoever balances load looks away
    /// first.
    pub fn give_notice(&mut self, notice: Duration) {
        self.notice = notice;
    }

    /// Finishes open requests, delivers what is committed, finishes jobs, then closes the stores: in reverse of their
    /// start.
    pub async fn stop(mut self) {
        self.is_draining.store(true, Ordering::Relaxed);
        if !self.listeners.is_empty() {
            tokio::time::sleep(self.notice).await;
        }
        self.end_listeners(Ending::Close).await;
        if self.is_started {
            self.settle().await;
        }
        self.close().await;
    }

    /// Finishes open requests and jobs and closes the stores, for another process to go on with both: connections
    /// between two requests are sent to `connections`. What is not delivered yet, the other process delivers.
    pub async fn pass_on(mut self, connections: mpsc::UnboundedSender<Passed>) {
        self.end_listeners(Ending::PassOn(connections)).await;
        self.close().await;
    }

    async fn end_listeners(&mut self, ending: Ending) {
        self.hurry.send_replace(true);
        self.ending.send_replace(ending);
        while self.listeners.join_next().await.is_some() {}
        // Dropped, so that whoever waits for connections hears that there are no more.
        self.ending.send_replace(Ending::Close);
    }

    /// Lets the last requests take their effect here: events are reacted to, and the modules finish what they put off.
    async fn settle(&self) {
        if tokio::time::timeout(SETTLE_MAX, self.bus.settled_here()).await.is_err() {
            tracing::warn!(
                "not everything was delivered before the stop; it is delivered after the next start"
            );
        }
        for beam in &self.beams {
            if let Err(error) = beam.module.settle().await {
                tracing::warn!(module = beam.module.name(), %error, "something put off is left for the next start");
            }
        }
    }

    /// Does `work` last of all, when the stores are closed and nothing can change any more.
    pub fn after_close(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.after_close.get_mut().push(Box::pin(work));
    }

    async fn close(mut self) {
        let begun = Instant::now();
        self.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        let worked = begun.elapsed();
        // Each waits for its own disk writes.
        join_all(self.beams.iter().map(|beam| beam.module.db().close())).await;
        let closed = begun.elapsed();
        for work in self.after_close.into_inner() {
            work.await;
        }
        tracing::debug!(?worked, ?closed, after = ?begun.elapsed(), "jobs and deliveries ended, stores closed");
    }
}

/// Everything wrong with what `module` keeps: the engine's own check first, then the module's.
///
/// A finding stops the module's writes, running or not; none ends such a stop ([`guard::judge`]).
pub async fn verify(module: &dyn Module) -> Result<Vec<Finding>, q_db::DbError> {
    let mut findings: Vec<Finding> = module
        .db()
        .check()
        .await?
        .into_iter()
        .map(|complaint| Finding::new("store_damaged", format!("{} store", module.name()), complaint))
        .collect();
    match module.verify().await {
        Ok(found) => findings.extend(found),
        // Damage that ends the module's own look is what was looked for, and what was found before it counts.
        Err(q_db::DbError::Corrupt(cause)) => {
            let place = format!("{} store", module.name());
            findings.push(Finding::new(
                "store_damaged",
                place,
                format!("it cannot be read to its end: {cause}"),
            ));
        }
        Err(error) => return Err(error),
    }
    guard::judge(module.db(), &findings).await?;
    Ok(findings)
}

/// Everything wrong with what `module` committed after a commit; nothing where it cannot begin there.
///
/// A finding stops the module's writes like one of [`verify`]. That nothing was found says nothing of what is older.
pub async fn verify_since(module: &dyn Module, commit: i64) -> Result<Option<Vec<Finding>>, q_db::DbError> {
    let Some(findings) = module.verify_since(commit).await? else { return Ok(None) };
    if !findings.is_empty() {
        guard::judge(module.db(), &findings).await?;
    }
    Ok(Some(findings))
}

/// Without the server events come later: modules are asked themselves.
fn bus_check(nats: &Nats) -> Check {
    let nats = nats.clone();
    Check::optional("bus", move || {
        let is_connected = nats.is_connected();
        async move { if is_connected { Ok(()) } else { Err("the NATS server is not reached".to_owned()) } }
    })
}

/// How long the answer of a request is kept for whoever repeats it (the sheet of qwallet: at least 30 days), and how
/// often older ones are looked for.
const ANSWERS_KEPT_FOR: Span = Span::seconds(30 * 86_400);
const FORGET_EVERY: Span = Span::seconds(3_600);

fn forget_answers(db: q_db::Db) -> Job {
    Job::every("forget-answers", FORGET_EVERY, move || {
        let db = db.clone();
        async move {
            if db.mode().write_stop.is_some() {
                return Ok(());
            }
            let forgotten = db.forget_answers(db.now() - ANSWERS_KEPT_FOR).await;
            forgotten.map(|_| ()).map_err(|error| error.to_string())
        }
    })
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
