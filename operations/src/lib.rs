//! The operator's desk: what watches the modules, tells people, and keeps what they decide about an outage or a pause.
//!
//! It is a module for the platform and none of the product: it has a store, endpoints, jobs and health of its own, and
//! reaches the modules it looks after only by what every module answers (health, figures, verification, mode).
//!
//! **Invariant:** knows the modules it looks after as names it was given; no rule here is about one of them.

mod desk;
mod error;
mod http;
pub mod incidents;
pub mod maintenance;
pub mod reports;
pub mod status;
mod store;
pub mod watch;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_db::{Db, DbError};
use q_http::{Api, Check};
use q_runtime::{Finding, Ground, Job, Module, Setting};

pub use desk::{Desk, Handles};
pub use error::Error;
pub use store::MIGRATIONS;

/// The name of the desk: its path, its port's section, its service identity.
pub const NAME: &str = "ops";

/// The settings of the desk.
pub const SETTINGS: &[Setting] = &[];

/// The desk as a module.
pub struct Ops {
    desk: Arc<Desk>,
}

/// Opens the desk on its ground.
#[expect(clippy::unused_async, reason = "like every module; reading what was kept will wait")]
pub async fn open(ground: Ground, handles: Handles) -> Result<Arc<Ops>, Error> {
    Ok(Arc::new(Ops { desk: Arc::new(Desk::new(ground, handles)) }))
}

impl Module for Ops {
    fn name(&self) -> &'static str {
        NAME
    }

    fn api(&self) -> Api {
        http::api(self.desk.clone())
    }

    fn db(&self) -> &Db {
        &self.desk.db
    }

    fn jobs(&self) -> Vec<Job> {
        [
            watch::jobs(&self.desk),
            incidents::jobs(&self.desk),
            maintenance::jobs(&self.desk),
            reports::jobs(&self.desk),
        ]
        .concat()
    }

    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(async move { Ok(Vec::new()) })
    }
}
