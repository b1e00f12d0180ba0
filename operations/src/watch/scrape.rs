//! What every module says of itself: its health and its figures, asked of each process that runs it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use q_contract::Client;
use q_core::Timestamp;
use q_slo::exposition::{self, Sample};
use serde::Deserialize;

use crate::Desk;

/// How long a target may take: longer than one of its own checks.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What one process that runs a module said.
#[derive(Debug, Clone)]
pub(super) struct Scrape {
    /// The module.
    pub module: String,
    /// Which of its processes, from 0.
    pub replica: usize,
    /// Its health, where it answered.
    pub health: Option<Health>,
    /// Its figures, where it answered.
    pub samples: Option<Vec<Sample>>,
    /// When it was asked.
    pub at: Timestamp,
}

/// The part of `/health` that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Health {
    pub is_serving: bool,
    /// The module's own clock.
    pub timestamp: Timestamp,
    /// Everything it depends on, and whether that is down.
    pub dependencies: Vec<(String, bool)>,
}

#[derive(Deserialize)]
struct Body {
    status: String,
    timestamp: Timestamp,
    #[serde(default)]
    dependencies: std::collections::BTreeMap<String, Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    status: String,
}

impl Desk {
    /// Asks everything that is watched, at the same time.
    pub(super) async fn scrape_all(&self) -> Vec<Scrape> {
        let targets = self.watched.iter().flat_map(|module| {
            let clients = self.peers.clients(module);
            // A module that runs nowhere is a target that does not answer.
            let clients = if clients.is_empty() { vec![self.peers.client(module)] } else { clients };
            clients.into_iter().enumerate().map(|(replica, client)| self.scrape(module, replica, client))
        });
        join_all(targets).await
    }

    async fn scrape(&self, module: &str, replica: usize, client: Client) -> Scrape {
        let client = client.within(TIMEOUT);
        let at = self.env.now();
        let health = health(&client).await;
        // Whoever does not answer the one does not answer the other: no need to wait twice.
        let samples = if health.is_some() { samples(&client).await } else { None };
        Scrape { module: module.to_owned(), replica, health, samples, at }
    }
}

async fn health(client: &Client) -> Option<Health> {
    let answer = client.send("GET", "/health", Bytes::new(), "").await.ok()?;
    let body: Body = serde_json::from_slice(answer.body()).ok()?;
    let is_serving = answer.status().is_success() && matches!(body.status.as_str(), "healthy" | "degraded");
    let dependencies =
        body.dependencies.into_iter().map(|(name, dependency)| (name, dependency.status == "down")).collect();
    Some(Health { is_serving, timestamp: body.timestamp, dependencies })
}

async fn samples(client: &Client) -> Option<Vec<Sample>> {
    let answer = client.send("GET", "/metrics", Bytes::new(), "").await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    exposition::parse(std::str::from_utf8(answer.body()).ok()?).ok()
}
