//! How the modules are, asked of themselves, and what they are told.
//!
//! **Invariant:** an answer that cannot be read counts as no answer.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use q_db::{Mode, ModeOrder};
use q_ops_api::incidents::{Impact, ModuleState};
use serde_json::Value;

use crate::Desk;

/// How long a module may take to say how it is: longer than one of its own checks.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take to check everything it keeps.
const VERIFY_TIMEOUT: Duration = Duration::from_mins(10);

/// How one module was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// `healthy`, `degraded`, `unhealthy` or `unreachable`.
    pub status: String,
    /// What it depends on and lacks.
    pub lacks: Vec<String>,
    /// What it lets through, where it said so.
    pub mode: Option<Mode>,
}

impl Look {
    /// Whether it answers people.
    pub fn serves(&self) -> bool {
        matches!(self.status.as_str(), "healthy" | "degraded")
    }

    /// The word for what it lets through.
    pub fn mode_word(&self) -> &'static str {
        self.mode.as_ref().map_or("unknown", |mode| mode.state().name())
    }
}

impl Desk {
    /// How every module is that is looked after.
    pub(crate) async fn look_at_all(&self) -> BTreeMap<String, Look> {
        let looks =
            self.watched.iter().map(|module| async move { (module.clone(), self.look_at(module).await) });
        join_all(looks).await.into_iter().collect()
    }

    /// How one module is.
    pub(crate) async fn look_at(&self, module: &str) -> Look {
        let client = self.peers.client(module).within(LOOK_TIMEOUT);
        let health = async {
            let answer = client.send("GET", "/health", Bytes::new(), "").await.ok()?;
            serde_json::from_slice::<Value>(answer.body()).ok()
        };
        let (health, mode) = futures_util::future::join(health, self.mode_of(module)).await;
        let status = health.as_ref().and_then(|body| body["status"].as_str());
        let status = status.filter(|status| matches!(*status, "healthy" | "degraded" | "unhealthy"));
        let lacks = health
            .as_ref()
            .and_then(|body| body["dependencies"].as_object())
            .into_iter()
            .flatten()
            .filter(|(_, dependency)| dependency["status"] == "down")
            .map(|(name, _)| name.clone())
            .collect();
        Look { status: status.unwrap_or("unreachable").to_owned(), lacks, mode }
    }

    /// What a module lets through.
    pub(crate) async fn mode_of(&self, module: &str) -> Option<Mode> {
        let client = self.peers.client(module).within(LOOK_TIMEOUT);
        let answer = client.send("GET", "/mode", Bytes::new(), "").await.ok()?;
        if answer.status().is_success() { serde_json::from_slice(answer.body()).ok() } else { None }
    }

    /// Tells a module what to let through.
    pub(crate) async fn set_mode(&self, module: &str, order: &ModeOrder) -> Result<(), String> {
        let body = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        let client = self.peers.client(module).within(LOOK_TIMEOUT);
        let answer = client.send("POST", "/mode", body.into(), "application/json").await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("{module} answered {}: {}", answer.status(), String::from_utf8_lossy(answer.body())))
    }

    /// What is wrong with what a module keeps, by its own check.
    pub(crate) async fn verify(&self, module: &str) -> Result<Vec<q_runtime::Finding>, String> {
        #[derive(serde::Deserialize)]
        struct Found {
            code: String,
            place: String,
            detail: String,
        }
        let client = self.peers.client(module).within(VERIFY_TIMEOUT);
        let answer = client.send("POST", "/health/verify", Bytes::new(), "application/json").await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("{module} answered {}", answer.status()));
        }
        let mut body: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
        let found: Vec<Found> =
            serde_json::from_value(body["findings"].take()).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|it| q_runtime::Finding::new(it.code, it.place, it.detail)).collect())
    }
}

/// Looks as an incident keeps them.
pub(crate) fn impact(looks: &BTreeMap<String, Look>) -> Impact {
    let state = |look: &Look| ModuleState {
        status: look.status.clone(),
        mode: look.mode.as_ref().map(|mode| mode.state().name().to_owned()),
        lacks: look.lacks.clone(),
    };
    Impact(looks.iter().map(|(name, look)| (name.clone(), state(look))).collect())
}
