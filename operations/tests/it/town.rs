//! A world with a shop, a till that needs it, and the desk that watches both.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::BoxFuture;
use q_auth::{KeyDirectory, LogLoader, Revocations, directory::DirectoryError};
use q_contract::{Client, Endpoint};
use q_core::{Span, Timestamp};
use q_ops::Ops;
use q_ops_api::watch::{
    Alert, AlertId, AlertRequest, AlertWithPage, GetAlert, GetSlo, GetSloRequest, ListAlerts,
    ListAlertsRequest, SloReport,
};
use q_runtime::{Config, Ground};
use q_testkit::{Engine, Way, World, identity};

use crate::shop::{MIGRATIONS, Shop, Switches, TILL_MIGRATIONS};

pub struct Town {
    pub world: World,
    pub shop: Arc<Switches>,
    pub till: Arc<Switches>,
    pub ops: Arc<Ops>,
    settings: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
}

/// Identities have no logs here; nobody approves anything.
struct NoLogs;

impl LogLoader for NoLogs {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Town {
    /// A town in which the desk has these settings besides those that make it look often; `None` without the engine.
    pub async fn new(engine: Engine, settings: &[(&'static str, String)]) -> Option<Self> {
        let world = World::new(engine, Way::InProcess).await?;
        let mut all = vec![
            ("watch_every", "20ms".to_owned()),
            // The clock of a test jumps all the time.
            ("rules", "clock_jump off; disk off; memory off".to_owned()),
            ("verify_every", "never".to_owned()),
        ];
        all.extend(settings.iter().cloned());
        let folder = tempfile::tempdir().unwrap();
        world.make_operator(&identity("olga").0);
        Some(Self::raised(world, Arc::default(), Arc::default(), all, folder).await)
    }

    /// Why a desk with these settings does not start.
    pub async fn refusal(settings: &[(&'static str, String)]) -> String {
        let world = World::new(Engine::Sqlite, Way::InProcess).await.unwrap();
        let refused = open(&world, settings, &tempfile::tempdir().unwrap()).await;
        let text = refused.err().map(|error| error.to_string());
        world.abandon().await;
        text.expect("the desk is refused")
    }

    /// The same town after its process stopped and started.
    pub async fn restart(self) -> Self {
        let Self { world, shop, till, ops, settings, folder } = self;
        drop(ops);
        Self::raised(world.restart().await, shop, till, settings, folder).await
    }

    async fn raised(
        mut world: World,
        shop: Arc<Switches>,
        till: Arc<Switches>,
        settings: Vec<(&'static str, String)>,
        folder: tempfile::TempDir,
    ) -> Self {
        let ground = world.ground("shop", &MIGRATIONS, &[]).await;
        let Ground { db, .. } = ground;
        let checks = Vec::new();
        world.raise(Arc::new(Shop { name: "shop", db, switches: shop.clone(), checks })).await;
        let Ground { db, peers, .. } = world.ground("till", &TILL_MIGRATIONS, &[]).await;
        let checks = vec![peers.check("shop")];
        world.raise(Arc::new(Shop { name: "till", db, switches: till.clone(), checks })).await;
        let ops = open(&world, &settings, &folder).await.unwrap();
        world.raise(ops.clone()).await;
        world.start();
        Self { world, shop, till, ops, settings, folder }
    }

    /// The secret that webhooks are signed with.
    pub fn secret(&self) -> String {
        let secret =
            std::fs::read_to_string(self.folder.path().join("keys").join(q_ops::notify::WEBHOOK_SECRET_FILE));
        secret.unwrap().trim().to_owned()
    }

    /// The desk, as the operator Olga.
    pub fn desk(&self) -> Client {
        self.world.client("ops", &identity("olga").0)
    }

    pub async fn ask<E: Endpoint>(&self, request: &E::Request) -> E::Response {
        self.desk().call::<E>(request).await.unwrap()
    }

    pub async fn open_alerts(&self) -> Vec<Alert> {
        self.ask::<ListAlerts>(&ListAlertsRequest::default()).await.items
    }

    pub async fn alert(&self, id: AlertId) -> AlertWithPage {
        self.ask::<GetAlert>(&AlertRequest { id }).await
    }

    pub async fn slo(&self) -> SloReport {
        self.ask::<GetSlo>(&GetSloRequest::default()).await
    }

    /// Lets `seconds` pass, and waits until everything was looked at afterwards.
    pub async fn pass(&self, seconds: i64) {
        self.world.clock.advance(Span::seconds(seconds));
        self.look().await;
    }

    /// The shop breaks, and the desk has seen it. On a busy machine the first answer may still say that the shelf is
    /// being looked at, and is repeated until the clock moves.
    pub async fn breaks(&self) {
        self.shop.is_down.store(true, Ordering::SeqCst);
        while self.gaps().await == 0 {
            self.pass(2).await;
        }
    }

    /// The shop is mended, and the desk has seen it for long enough.
    pub async fn mends(&self) {
        self.shop.is_down.store(false, Ordering::SeqCst);
        let is_down = async || {
            let open = self.open_alerts().await;
            open.iter().any(|alert| alert.rule == "health_failing" && alert.module == "shop")
        };
        while is_down().await {
            self.pass(20).await;
        }
    }

    async fn gaps(&self) -> u64 {
        let report = self.slo().await;
        let shop = report.modules.iter().find(|module| module.module == "shop");
        let availability =
            shop.and_then(|shop| shop.promises.iter().find(|promise| promise.sli == "availability"));
        availability.map_or(0, |promise| promise.total - promise.good)
    }

    /// Waits for a whole look that began from now on.
    pub async fn look(&self) {
        let before = self.looks().await;
        // One look may be under way: the one after the next answer began later.
        until(async || self.looks().await >= before + 2).await;
    }

    async fn looks(&self) -> u64 {
        let report = self.slo().await;
        let shop = report.modules.iter().find(|module| module.module == "shop");
        shop.map_or(0, |shop| {
            shop.promises.iter().find(|promise| promise.sli == "availability").unwrap().total
        })
    }

    /// Waits for an open alert of `rule` about `module`.
    pub async fn fires(&self, rule: &str, module: &str) -> Alert {
        let mut found = None;
        until(async || {
            let open = self.open_alerts().await;
            found = open.into_iter().find(|alert| alert.rule == rule && alert.module == module);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    #[expect(clippy::unused_self, reason = "it reads as what is done to the town")]
    pub fn set(&self, switch: &std::sync::atomic::AtomicBool, value: bool) {
        switch.store(value, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        self.world.env.now()
    }
}

/// Waits until `condition` holds; says so when that takes too long.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("it comes to pass");
}

/// Opens a desk with these settings.
async fn open(
    world: &World,
    settings: &[(&'static str, String)],
    folder: &tempfile::TempDir,
) -> Result<Arc<Ops>, q_ops::OpenError> {
    let mut ground = world.ground(q_ops::NAME, &q_ops::MIGRATIONS, q_ops::SETTINGS).await;
    let given: BTreeMap<String, String> = settings
        .iter()
        .map(|(key, value)| (q_runtime::config::variable_name(q_ops::NAME, key), value.clone()))
        .collect();
    let config = Config::load(&[(q_ops::NAME, q_ops::SETTINGS)], Path::new("/nonexistent/q.toml"), |name| {
        given.get(name).cloned()
    });
    ground.settings = config.unwrap().section(q_ops::NAME);
    let revocations = Arc::new(Revocations::new());
    let handles = q_ops::Handles {
        is_operator: Arc::new(|_| true),
        identities: KeyDirectory::new(world.env.clone(), Arc::new(NoLogs), revocations),
        watched: vec!["shop".into(), "till".into()],
        data: folder.path().to_owned(),
        keys: folder.path().join("keys"),
    };
    q_ops::open(ground, handles).await
}
