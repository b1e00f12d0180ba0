//! The notes that running processes leave in the data folder: who they are and where they listen.
//!
//! One process or several make up a running instance; each has a note of its own, and a reader puts them together.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use q_contract::Replicas;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::layout::{Layout, write_private};

/// What one process says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// The process.
    pub pid: u32,
    /// When the kernel started it, in ticks since boot: tells it from a later process of the same number.
    #[serde(default)]
    pub started: u64,
    /// The origin the instance is known by: issuer and audience of its tokens.
    pub origin: String,
    /// The base URL of the front door, if this process has it.
    pub front_door: Option<String>,
    /// The base URL of each module of this process.
    pub modules: BTreeMap<String, String>,
    /// The base URL of each module that is elsewhere by this process's settings.
    pub elsewhere: BTreeMap<String, String>,
}

/// A running instance: all its processes together.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// The processes, with the modules of each.
    pub processes: BTreeMap<u32, Vec<String>>,
    /// The origin the instance is known by.
    pub origin: String,
    /// The base URL of the front door.
    pub front_door: Option<String>,
    /// The base URL of each module; of the first replica where there are several.
    pub modules: BTreeMap<String, String>,
    /// The base URLs of all replicas of each module.
    pub replicas: BTreeMap<String, Vec<String>>,
}

impl Note {
    /// This process with these sockets, and modules that are elsewhere by its settings.
    pub fn of_this(
        origin: &str,
        front_door: Option<&TcpListener>,
        modules: &BTreeMap<&'static str, TcpListener>,
        elsewhere: BTreeMap<String, String>,
    ) -> Self {
        let url = |listener: &TcpListener| Some(format!("http://{}", listener.local_addr().ok()?));
        let modules = modules.iter().filter_map(|(name, socket)| Some(((*name).to_owned(), url(socket)?)));
        Self {
            pid: std::process::id(),
            started: started("self").unwrap_or_default(),
            origin: origin.to_owned(),
            front_door: front_door.and_then(url),
            modules: modules.collect(),
            elsewhere,
        }
    }

    /// Leaves the note for the other processes and the verbs.
    pub fn leave(&self, layout: &Layout) -> anyhow::Result<()> {
        fs::create_dir_all(layout.running())?;
        write_private(&path(layout, self.pid), &serde_json::to_vec_pretty(self)?)
    }

    /// Takes the note away.
    pub fn take_away(&self, layout: &Layout) {
        let _ = fs::remove_file(path(layout, self.pid));
    }
}

impl Running {
    /// The instance these processes make up.
    pub fn of(notes: &[Note]) -> Self {
        let mut running = Self::default();
        for note in notes {
            running.processes.insert(note.pid, note.modules.keys().cloned().collect());
            running.origin.clone_from(&note.origin);
            running.front_door = note.front_door.clone().or(running.front_door);
            for (module, url) in &note.modules {
                running.replicas.entry(module.clone()).or_default().push(url.clone());
            }
        }
        // Who runs a module knows its address best; the settings of others say where it is when nobody here does.
        for (module, urls) in notes.iter().flat_map(|note| &note.elsewhere) {
            running.replicas.entry(module.clone()).or_insert_with(|| Replicas::urls(urls));
        }
        let first = |(module, urls): (&String, &Vec<String>)| Some((module.clone(), urls.first()?.clone()));
        running.modules = running.replicas.iter().filter_map(first).collect();
        running
    }

    /// The process that runs `module`.
    pub fn process_of(&self, module: &str) -> Option<u32> {
        let runs = |modules: &Vec<String>| modules.iter().any(|name| name == module);
        self.processes.iter().find(|(_, modules)| runs(modules)).map(|(pid, _)| *pid)
    }

    /// The processes, for people: `12 and 13`.
    pub fn pids(&self) -> String {
        let pids: Vec<_> = self.processes.keys().map(ToString::to_string).collect();
        pids.join(" and ")
    }
}

fn path(layout: &Layout, pid: u32) -> PathBuf {
    layout.running().join(format!("{pid}.json"))
}

/// The notes of the processes that live. A process that was killed leaves its note behind, which is removed here.
pub fn notes(layout: &Layout) -> anyhow::Result<Vec<Note>> {
    let Ok(entries) = fs::read_dir(layout.running()) else { return Ok(Vec::new()) };
    let mut notes = Vec::new();
    for place in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let is_note = place.extension().is_some_and(|kind| kind == "json");
        let Ok(text) = fs::read(&place) else { continue }; // it has just ended
        if !is_note {
            continue;
        }
        let note: Note = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; remove it if nothing runs", place.display()))?;
        if started(&note.pid.to_string()) == Some(note.started) {
            notes.push(note);
        } else {
            let _ = fs::remove_file(&place);
            let _ = fs::remove_file(place.with_extension("sock"));
        }
    }
    Ok(notes)
}

/// The instance that runs on this data folder, if one does.
pub fn find(layout: &Layout) -> anyhow::Result<Option<Running>> {
    let notes = notes(layout)?;
    Ok((!notes.is_empty()).then(|| Running::of(&notes)))
}

/// Whether the process runs.
pub fn is_alive(pid: u32) -> bool {
    started(&pid.to_string()).is_some()
}

/// When the kernel started the process; nothing when it has ended.
fn started(process: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // proc(5): pid (name) state …; the name may hold anything, so it ends at the last parenthesis.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    // A process that has ended stays listed until its parent has taken note.
    if fields.next()? == "Z" {
        return None;
    }
    // The 22nd field of the line is the 19th after the state.
    fields.nth(18)?.parse().ok()
}

/// Sends SIGTERM.
pub fn ask_to_stop(pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").arg("-TERM").arg(pid.to_string()).status()?;
    anyhow::ensure!(status.success(), "process {pid} cannot be signalled by this user");
    Ok(())
}
