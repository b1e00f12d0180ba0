//! The operator's desk: what watches the modules, tells people, and keeps what they decide about an outage or a pause.
//!
//! It is a module for the platform and none of the product: it has a store, endpoints, jobs and health of its own, and
//! reaches the modules it looks after only by what every module answers (health, figures, verification, mode).
//!
//! **Invariant:** knows the modules it looks after as names it was given; no rule here is about one of them.

mod asked;
mod cursor;
mod desk;
mod error;
mod http;
pub mod incidents;
mod look;
pub mod maintenance;
pub mod notify;
pub mod reports;
pub mod status;
mod store;
pub mod watch;
mod words;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_db::{Db, DbError};
use q_http::{Api, Check};
use q_runtime::{Finding, Ground, Job, Module, Setting};

pub use desk::{Desk, Handles};
pub use error::{Error, OpenError};
pub use store::MIGRATIONS;

/// The name of the desk: its path, its port's section, its service identity.
pub const NAME: &str = "ops";

/// The settings of the desk.
pub const SETTINGS: &[Setting] = &{
    let mut all = [watch::SETTINGS[0]; DESK_SETTINGS.len() + watch::SETTINGS.len()];
    let mut at = 0;
    while at < all.len() {
        let own = DESK_SETTINGS.len();
        all[at] = if at < own { DESK_SETTINGS[at] } else { watch::SETTINGS[at - own] };
        at += 1;
    }
    all
};

/// Those that several rooms share.
const DESK_SETTINGS: &[Setting] = &[
    Setting {
        key: "smtp",
        default: "",
        about: "The mail server by which people are told: smtp://[user@]host[:port], or smtps://…; empty for no mail.",
    },
    Setting { key: "smtp_from", default: "", about: "The sender of mails, such as Q <q@example.org>." },
    Setting {
        key: "smtp_password_file",
        default: "",
        about: "The file with the password of the mail server's user.",
    },
    Setting {
        key: "smtp_ca_file",
        default: "",
        about: "A file with the certificate of the authority that the mail server is trusted by, when it is one's own.",
    },
    Setting {
        key: "emergency_approver",
        default: "any",
        about: "Who approves emergency maintenance by signature: any operator, or another than the one who asks.",
    },
];

/// The desk as a module.
pub struct Ops {
    desk: Arc<Desk>,
}

/// Opens the desk on its ground.
#[expect(clippy::unused_async, reason = "like every module; reading what was kept will wait")]
pub async fn open(ground: Ground, handles: Handles) -> Result<Arc<Ops>, OpenError> {
    Ok(Arc::new(Ops { desk: Arc::new(Desk::new(ground, handles)?) }))
}

impl Ops {
    /// The desk itself, for code of the same process.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }
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
            status::jobs(&self.desk),
        ]
        .concat()
    }

    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    fn metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        watch::metrics(&self.desk, registry);
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.desk.leave_watch().await.map_err(|error| error.to_string()) })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(async move { self.desk.db.read(incidents::verify).await })
    }
}
