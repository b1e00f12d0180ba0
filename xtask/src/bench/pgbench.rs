//! The anchor of signed payments: PostgreSQL's own TPC-B-like benchmark, durable, with prepared statements.

use super::Contender;
use crate::machine;
use crate::postgres::{Cluster, Purpose};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// One branch per unit; 20 keeps 64 clients from all waiting for the same branch row.
const SCALE: &str = "20";

/// A cluster of its own, filled once.
pub struct Pgbench {
    cluster: Cluster,
    clients: usize,
    seconds: u64,
}

impl Pgbench {
    /// Starts a durable cluster and fills it.
    pub fn start(clients: usize, seconds: u64) -> Result<Self> {
        let cluster = Cluster::start(Purpose::Measuring)?;
        let fsync = machine::output(cluster.client("psql").args(["-XqAt", "-c", "show fsync"]))?;
        ensure!(fsync.trim() == "on", "the anchor's cluster runs without fsync");
        machine::quietly(cluster.client("pgbench").args(["-i", "-q", "-s", SCALE]))?;
        Ok(Self { cluster, clients, seconds })
    }
}

impl Contender for Pgbench {
    fn name(&self) -> String {
        format!("pgbench TPC-B, prepared, scale {SCALE}, PostgreSQL {}", self.cluster.version())
    }

    fn prepare(&mut self) -> Result<()> {
        // What earlier rounds left to write is not this round's cost.
        machine::quietly(self.cluster.client("psql").args(["-Xq", "-c", "checkpoint"]))
    }

    fn measure(&mut self) -> Result<Value> {
        let (clients, seconds) = (self.clients.to_string(), self.seconds.to_string());
        let threads = self.clients.min(2).to_string();
        let mut pgbench = self.cluster.client("pgbench");
        pgbench.args(["-M", "prepared", "-n", "-c", &clients, "-j", &threads, "-T", &seconds]);
        let said = machine::output(&mut pgbench)?;
        let tps = figure(&said, "tps = ").with_context(|| format!("pgbench said no tps:\n{said}"))?;
        let latency = figure(&said, "latency average = ").unwrap_or(f64::NAN);
        Ok(json!({
            "transactions_per_second": tps,
            "mean_ms": latency,
            "clients": self.clients,
            "seconds": self.seconds,
        }))
    }
}

fn figure(said: &str, label: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(label))?;
    line.split(' ').next()?.parse().ok()
}
