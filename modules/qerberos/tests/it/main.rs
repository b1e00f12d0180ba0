//! The trail as its users see it: over the real router, on both engines, checked by programs that are not ours.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a test that cannot go on says so by stopping"
)]

mod audit;
mod crash;
mod log;
mod producers;
mod rate;
mod verify;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_contract::Client;
use q_core::{AuditEntry, Caller, Did, audit::AuditId};
use q_db::{Db, DbError, Migrations};
use q_http::Api;
use q_runtime::{Finding, Module};
use q_seal::{DataKey, DataKeyId, Sealer};
use q_testkit::{World, identity};
use qerberos::{Handles, MIGRATIONS, Qerberos, SETTINGS};
use qerberos_api::RecordEventRequest;
use serde_json::json;

fn sealer() -> Sealer {
    Sealer::new(DataKey::new(DataKeyId([7; 16]), &[9; 32]), vec![])
}

fn operator() -> Did {
    identity("operator").0
}

/// Opens the trail on its ground and puts it up.
async fn raise(world: &mut World) -> Arc<Qerberos> {
    let ground = world.ground("qerberos", &MIGRATIONS, SETTINGS).await;
    let is_operator = Arc::new(|caller: &Caller| caller.did() == Some(&operator()));
    let handles = Handles { sealer: sealer(), is_operator, checkpoint_file: None, restored: None };
    let module = qerberos::open(ground, handles).await.unwrap();
    world.raise(module.clone()).await;
    module
}

/// A client of the trail as the operator.
fn as_operator(world: &World) -> Client {
    world.client("qerberos", &operator())
}

/// An event that passes every check.
fn event(world: &World) -> RecordEventRequest {
    serde_json::from_value(json!({
        "id": AuditId::new(&world.env), "type": "configuration", "subtype": "relay.change", "layer": "qmail",
        "verdict": "ALLOW", "ref": "relay:primary", "details": {"from": "a", "to": "b"}
    }))
    .unwrap()
}

/// A module that does nothing but write entries into its store.
struct Diary(Db);

const DIARY: Migrations = Migrations::new("diary", &[(1, "pages", PAGES)], &[(1, "pages", PAGES)]);
const PAGES: &str = "CREATE TABLE pages (text TEXT NOT NULL)";

impl Diary {
    async fn raise(world: &mut World) -> Arc<Self> {
        let diary = Arc::new(Self(world.db("diary", &DIARY).await));
        world.raise(diary.clone()).await;
        diary
    }

    /// Writes a page and its audit entry in one commit, or neither.
    async fn write(&self, text: &str, actor: &Did, is_refused: bool) -> Result<AuditId, DbError> {
        let (text, actor) = (text.to_owned(), actor.clone());
        self.0
            .write(move |tx| {
                tx.execute("INSERT INTO pages VALUES ($1)", q_db::params![&text])?;
                let id = tx.audit(AuditEntry::change("page.write", Some(&actor), format!("page:{text}")))?;
                if is_refused { Err(DbError::Aborted) } else { Ok(id) }
            })
            .await
    }
}

impl Module for Diary {
    fn name(&self) -> &'static str {
        "diary"
    }
    fn api(&self) -> Api {
        Api::build("diary", "a module for tests", Arc::new(())).done()
    }
    fn db(&self) -> &Db {
        &self.0
    }
    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
