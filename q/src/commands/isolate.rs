//! `q isolate`: cut off a module, an identity or a process, and let it in again.
//!
//! Each is done where the thing is, by the operator's own word, and only then written down at the desk: an emergency
//! does not wait for a desk that may be down.

use std::process::ExitCode;

use clap::Args;
use q_core::Did;
use q_db::{ModeKind, ModeOrder};
use q_ops_api::incidents::EntryKind;
use serde_json::{Value, json};
use squid_api::{ReactivateIdentity, StatusRequest, SuspendIdentity};

use crate::{
    cli::{AsArgs, Cli},
    commands::timeline::note,
    compose,
    output::{self, usage},
    running,
    session::Session,
};

/// `q isolate`.
#[derive(Debug, Args)]
pub struct IsolateArgs {
    /// A module, the process id of a process of this instance, or an identity (a keyring name or a DID).
    pub target: String,
    /// Why; kept in the audit log and on open incidents.
    #[arg(long)]
    pub reason: Option<String>,
    /// Let it in again.
    #[arg(long)]
    pub lift: bool,
    /// Who orders.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// What is cut off.
enum Target {
    /// Everybody but operators and services is refused; what it keeps stays.
    Module(&'static str),
    /// It may not act, and its tokens die.
    Identity(Did),
    /// A process of this instance: it is sent no work and refuses what comes.
    Node(u32),
}

pub async fn run(cli: &Cli, arguments: &IsolateArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&cli.data, &arguments.acting.name)?;
    let is_lifted = arguments.lift;
    let reason = match (&arguments.reason, is_lifted) {
        (Some(reason), _) if !reason.trim().is_empty() => reason.trim().to_owned(),
        (_, true) => "the isolation is lifted".to_owned(),
        _ => return Err(usage("say why with --reason: it is kept with what is cut off")),
    };
    let target = target(&session, &arguments.target)?;
    let (told, details) = match &target {
        Target::Module(module) => {
            let mode = isolate_module(&session, module, &reason, is_lifted).await?;
            let told = if is_lifted {
                format!("{module} is in mode {} again", mode["state"].as_str().unwrap_or("unknown"))
            } else {
                format!("{module} answers operators and modules only; what it keeps is untouched")
            };
            (told, json!({"module": module, "mode": mode["state"]}))
        }
        Target::Identity(did) => {
            if !is_lifted && did == session.did() {
                return Err(usage(
                    "this identity acts: cut off, it could not let itself in again; another operator does it, \
                     with --as NAME (`q id new NAME`, then `q id appoint NAME` make one)",
                ));
            }
            let request = StatusRequest { did: did.clone(), reason: reason.clone() };
            let client = session.client("squid")?;
            let identity = if is_lifted {
                client.call::<ReactivateIdentity>(&request).await?
            } else {
                client.call::<SuspendIdentity>(&request).await?
            };
            let told = if is_lifted {
                format!("{did} may log in again; what was revoked stays revoked")
            } else {
                format!(
                    "{did} is suspended: its tokens are dead, its signatures and grants do not count; others can still \
                     pay it unless `q wallet freeze` stops its wallet too"
                )
            };
            (told, json!({"identity": did, "status": identity.status}))
        }
        Target::Node(pid) => {
            let modules = isolate_node(&session, *pid, &reason, is_lifted).await?;
            let told = if is_lifted {
                format!("process {pid} takes work again ({})", modules.join(", "))
            } else {
                format!("process {pid} is not ready and refuses all but operators ({})", modules.join(", "))
            };
            (told, json!({"process": pid, "modules": modules}))
        }
    };
    let text = if is_lifted { format!("lifted: {told}") } else { format!("isolated: {told}. Why: {reason}") };
    let incidents = note(&session, EntryKind::Isolation, &text, &details).await;
    let report = json!({"target": arguments.target, "isolated": !is_lifted, "details": details, "incidents": incidents});
    output::show(arguments.acting.json, &report, |_| {
        output::line(&told);
        for incident in &incidents {
            output::line(format!("noted on {incident}"));
        }
        if !is_lifted {
            output::progress(format!("`q isolate {} --lift` lets it in again", arguments.target));
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn target(session: &Session, text: &str) -> anyhow::Result<Target> {
    if let Some(entry) = compose::MODULES.iter().find(|entry| entry.name == text) {
        if entry.name == q_ops::NAME {
            return Err(usage("the operator desk is what isolations are lifted with; it is not isolated"));
        }
        return Ok(Target::Module(entry.name));
    }
    if let Ok(pid) = text.parse() {
        return Ok(Target::Node(pid));
    }
    session.identity(text).map(Target::Identity).map_err(|_| {
        usage(format!(
            "{text:?} is no module, no process of this instance, no DID and no name of this keyring"
        ))
    })
}

/// Sets the mode where the module is. Lifting ends an isolation and nothing else that is ordered.
async fn isolate_module(
    session: &Session,
    module: &str,
    reason: &str,
    is_lifted: bool,
) -> anyhow::Result<Value> {
    let client = session.client(module)?;
    let shown = client.send("GET", "/mode", bytes::Bytes::new(), "").await?;
    let mode: Value = serde_json::from_slice(shown.body())?;
    anyhow::ensure!(shown.status().is_success(), "{module} refused: {mode}");
    if is_lifted && mode["mode"] != "isolated" {
        return Ok(mode);
    }
    let order = if is_lifted {
        ModeOrder { kind: ModeKind::Normal, ..ModeOrder::default() }
    } else {
        ModeOrder { kind: ModeKind::Isolated, reason: reason.to_owned(), ..ModeOrder::default() }
    };
    let answer = client.send("POST", "/mode", serde_json::to_vec(&order)?.into(), "application/json").await?;
    let mode: Value = serde_json::from_slice(answer.body())?;
    anyhow::ensure!(answer.status().is_success(), "{module} refused: {mode}");
    Ok(mode)
}

/// Tells one process to take no more work, or to take it again; gives its modules.
async fn isolate_node(
    session: &Session,
    pid: u32,
    reason: &str,
    is_lifted: bool,
) -> anyhow::Result<Vec<String>> {
    let notes = running::notes(&session.layout)?;
    let note = notes.iter().find(|note| note.pid == pid).ok_or_else(|| {
        let pids: Vec<_> = notes.iter().map(|note| note.pid.to_string()).collect();
        usage(format!("no process {pid} of this instance runs here; there are {}", pids.join(", ")))
    })?;
    let (module, url) =
        note.modules.first_key_value().ok_or_else(|| usage(format!("process {pid} runs no module")))?;
    let body = json!({"isolated": !is_lifted, "reason": reason}).to_string();
    // One module of the process stands for all: the process is what is cut off.
    let answer =
        session.client_at(module, url).send("POST", "/node", body.into(), "application/json").await?;
    anyhow::ensure!(
        answer.status().is_success(),
        "process {pid} refused: {}",
        String::from_utf8_lossy(answer.body())
    );
    Ok(note.modules.keys().cloned().collect())
}
