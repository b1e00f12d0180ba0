//! The note a running instance leaves in its data folder: its process and where it listens.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::layout::{Layout, write_private};

/// A running instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// The origin the instance is known by: issuer and audience of its tokens.
    pub origin: String,
    /// The base URL of the front door.
    pub front_door: Option<String>,
    /// The base URL of each module.
    pub modules: BTreeMap<String, String>,
}

impl Running {
    /// This process with these sockets, and modules that run elsewhere.
    pub fn at(
        origin: &str,
        front_door: &Option<TcpListener>,
        local: &BTreeMap<&'static str, TcpListener>,
        remote: &BTreeMap<String, String>,
    ) -> Self {
        let url = |listener: &TcpListener| Some(format!("http://{}", listener.local_addr().ok()?));
        let local = local.iter().filter_map(|(name, listener)| Some(((*name).to_owned(), url(listener)?)));
        Self {
            pid: std::process::id(),
            origin: origin.to_owned(),
            front_door: front_door.as_ref().and_then(url),
            modules: remote.clone().into_iter().chain(local).collect(),
        }
    }
}

/// Leaves the note.
pub fn note(layout: &Layout, running: &Running) -> anyhow::Result<()> {
    write_private(&layout.running(), &serde_json::to_vec_pretty(running)?)
}

/// Takes the note away.
pub fn forget(layout: &Layout) {
    let _ = fs::remove_file(layout.running());
}

/// The instance that runs on this data folder, if one does.
pub fn find(layout: &Layout) -> anyhow::Result<Option<Running>> {
    let Ok(text) = fs::read(layout.running()) else { return Ok(None) };
    let running: Running = serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged; remove it if nothing runs", layout.running().display()))?;
    // A process that was killed leaves its note behind.
    Ok(is_alive(running.pid).then_some(running))
}

/// Whether the process exists and is a `q`, and not another one that got the same number.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "q")
}

/// Sends SIGTERM.
pub fn ask_to_stop(running: &Running) -> anyhow::Result<()> {
    let status = Command::new("kill").arg("-TERM").arg(running.pid.to_string()).status()?;
    anyhow::ensure!(status.success(), "process {} cannot be signalled by this user", running.pid);
    Ok(())
}
