//! `cargo xtask drill runbook`: the runbooks of qwallet and of the ecosystem, followed from top to bottom on an instance
//! of their own, on PostgreSQL, with the documented ports where they are free.

use crate::machine;
use crate::postgres::{Cluster, Purpose};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The procedures in the order in which an operator's first day would need them.
const PROCEDURES: [&[&str]; 17] = [
    &["qwallet", "service-management"],
    &["qwallet", "health"],
    &["qwallet", "service-wont-start"],
    &["qwallet", "high-error-rate"],
    &["qwallet", "performance"],
    &["qwallet", "monitoring"],
    &["qwallet", "backup"],
    &["qwallet", "recovery"],
    &["qwallet", "scaling"],
    &["qwallet", "access-control"],
    &["escalation"],
    &["maintenance"],
    &["emergency-maintenance"],
    &["regular-tasks"],
    &["outage"],
    &["data-corruption"],
    &["security-incident"],
];

/// Every address an instance listens on, by its variable, with the documented port.
const PORTS: [(&str, u16); 7] = [
    ("Q_FRONT_DOOR_LISTEN", 8080),
    ("QWALLET_LISTEN", 3000),
    ("SQUID_LISTEN", 3010),
    ("QLOCK_LISTEN", 3020),
    ("QONSENT_LISTEN", 3030),
    ("QERBEROS_LISTEN", 3050),
    ("Q_OPS_LISTEN", 8090),
];

/// What `q runbook --json` says of one procedure.
#[derive(Deserialize)]
struct Record {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    title: String,
    #[serde(default)]
    command: String,
    verdict: String,
    finding: String,
    millis: u64,
}

/// Follows them all; refuses when a step found something to act on.
pub fn run() -> Result<()> {
    let program = machine::build_q(false)?;
    let folder = tempfile::Builder::new().prefix("q-runbook-").tempdir()?;
    let cluster = Cluster::start(Purpose::Tests)?;
    let drill = Drill::new(&program, folder.path(), &cluster)?;
    drill.q(&["init", "--demo"])?;
    let followed = PROCEDURES.iter().try_fold(0, |found, procedure| {
        machine::go_on()?;
        Ok::<usize, anyhow::Error>(found + drill.follow(procedure)?)
    });
    let stopped = drill.q(&["stop"]);
    let found = followed?;
    stopped?;
    drill.q(&["verify"])?;
    if found > 0 {
        bail!("{found} steps of the runbooks need attention");
    }
    Ok(())
}

/// The instance on which the runbooks are followed.
struct Drill {
    program: PathBuf,
    data: PathBuf,
    environment: Vec<(String, String)>,
}

impl Drill {
    fn new(program: &Path, folder: &Path, cluster: &Cluster) -> Result<Self> {
        machine::quietly(cluster.client("createdb").arg("wallet_db")).context("createdb wallet_db")?;
        let base = cluster.url();
        let (server, _) = base.rsplit_once('/').context("a cluster's URL names a database")?;
        let mut environment = vec![("QWALLET_DATABASE_URL".to_owned(), format!("{server}/wallet_db"))];
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        if let Some((_, taken)) = PORTS.iter().find(|(_, port)| !is_free(port)) {
            println!("port {taken} is taken: the instance listens on free ports, not on the documented ones");
            // One look for all of them: an instance that is restarted must find them again.
            let sockets: Vec<_> =
                PORTS.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
            for ((variable, _), socket) in PORTS.iter().zip(&sockets) {
                environment.push(((*variable).to_owned(), socket.local_addr()?.to_string()));
            }
        }
        Ok(Self { program: program.to_owned(), data: folder.join("q-data"), environment })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data").arg(&self.data).args(arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn q(&self, arguments: &[&str]) -> Result<String> {
        machine::output(&mut self.command(arguments)).with_context(|| format!("q {}", arguments.join(" ")))
    }

    /// Follows one procedure, says how each step went, and counts those that need attention.
    fn follow(&self, procedure: &[&str]) -> Result<usize> {
        println!("\n== {}", procedure.join(" "));
        let output = self.command(&["runbook"]).args(procedure).args(["--yes", "--json"]).output()?;
        let record: Record = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("q runbook {}: {}", procedure.join(" "), String::from_utf8_lossy(&output.stderr))
        })?;
        for step in &record.steps {
            println!("{:<10} {:>6} ms  {}", step.verdict, step.millis, step.title);
            if step.verdict == "attention" {
                println!("  $ {}\n  {}", step.command, step.finding.replace('\n', "\n  "));
            }
        }
        Ok(record.steps.iter().filter(|step| step.verdict == "attention").count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_procedure_is_followed_once() {
        let sources = machine::root().join("operations/runbooks/procedures");
        let count = fs::read_dir(sources).unwrap().count();
        assert_eq!(PROCEDURES.len(), count);
    }
}
