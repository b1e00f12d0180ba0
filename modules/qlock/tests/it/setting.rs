//! A world with qlock in it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use q_contract::{CallError, Client, ErrorCode};
use q_core::Did;
use q_db::Db;
use q_pdp::Pdp;
use q_runtime::{Ground, Module};
use q_testkit::{World, identity};
use qlock::{KeyFile, Qlock};
use tempfile::TempDir;

/// qlock in a world, with what a test needs besides.
pub struct Setting {
    pub world: World,
    pub module: Arc<Qlock>,
    pub db: Db,
    pub pdp: Pdp,
    /// Holds the unseal key, apart from the data.
    pub keys: TempDir,
}

impl Setting {
    pub async fn new(mut world: World) -> Self {
        let keys = tempfile::tempdir().unwrap();
        KeyFile::create(&keys.path().join("unseal.key"), &world.env).unwrap();
        let pdp = Pdp::new(world.instance.did.clone(), world.env.now());
        let ground = ground(&world).await;
        let db = ground.db.clone();
        let module = qlock::open(ground, pdp.clone(), &keys.path().join("unseal.key")).await.unwrap();
        world.raise(module.clone()).await;
        Self { world, module, db, pdp, keys }
    }

    pub fn client(&self, name: &str) -> Client {
        self.world.client(qlock::NAME, &did(name))
    }

    /// A second qlock on the same store, as after a restart: nothing of the first one's memory is in it.
    pub async fn restarted(&self) -> Result<Arc<Qlock>, qlock::OpenError> {
        qlock::open(
            ground_on(&self.world, self.db.clone()),
            self.pdp.clone(),
            &self.keys.path().join("unseal.key"),
        )
        .await
    }

    /// Ends the minute that is being counted and writes the counts down.
    pub async fn end_minute(&self) {
        self.world.clock.advance(q_core::Span::seconds(60));
        for job in self.module.jobs() {
            (job.run)().await.unwrap();
        }
    }
}

async fn ground(world: &World) -> Ground {
    world.ground(qlock::NAME, &qlock::MIGRATIONS, qlock::SETTINGS).await
}

fn ground_on(world: &World, db: Db) -> Ground {
    let (service, key) = identity("service-qlock");
    let signer = q_runtime::Signer::new(service.clone(), key);
    let peers =
        q_runtime::Peers::new(qlock::NAME, service, world.env.now(), q_runtime::Directory::default(), None);
    Ground {
        env: world.env.clone(),
        db,
        instance: world.instance.clone(),
        peers,
        signer,
        settings: q_runtime::Settings::default(),
    }
}

pub fn did(name: &str) -> Did {
    identity(name).0
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub fn unb64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// Asserts that a call was refused with `code`.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, CallError>, code: &ErrorCode) {
    let error = outcome.expect_err("expected a refusal");
    let problem = error.problem().unwrap_or_else(|| panic!("expected a problem, got {error}"));
    assert_eq!((problem.code.as_str(), problem.status), (code.code, code.status), "{problem}");
}
