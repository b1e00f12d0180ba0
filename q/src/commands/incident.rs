//! `q incident`: open, follow, close, review; what an identity or a module touched; containing a theft of keys.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use q_core::{Span, Timestamp};
use q_ops_api::incidents::{
    AddEntry, AddEntryRequest, ChangeIncident, ChangeIncidentRequest, EntryKind, GetIncident, Impact,
    Incident, IncidentId, IncidentRequest, IncidentStatus, IncidentWithTimeline, ListIncidents,
    ListIncidentsRequest, OpenIncident, OpenIncidentRequest, ReviewIncident, Severity,
};
use qerberos_api::{SearchEvents, SearchEventsRequest};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use squid_api::{RotateSigningKey, RotateSigningKeyRequest};

use crate::{
    cli::{AsArgs, Cli},
    commands::timeline,
    compose,
    output::{self, usage},
    session::Session,
};

/// `q incident`.
#[derive(Debug, Args)]
pub struct IncidentArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: IncidentVerb,
}

/// What `q incident` can do. Where an id is asked for, `latest` names the newest incident.
#[derive(Debug, Subcommand)]
pub enum IncidentVerb {
    /// Open an incident: looks at all modules, begins the timeline, tells the subscribers.
    Open {
        /// sev1 (everything, money or keys) to sev4 (hardly anybody notices).
        #[arg(long)]
        severity: String,
        /// One line for everybody; it stands on the status page.
        #[arg(long)]
        title: String,
        /// The modules it is about, separated by commas; the whole instance when not given.
        #[arg(long, value_delimiter = ',')]
        modules: Vec<String>,
        /// The first update for everybody.
        #[arg(long)]
        text: Option<String>,
        /// When it began, if earlier than now (RFC 3339).
        #[arg(long, value_name = "INSTANT")]
        began: Option<Timestamp>,
        /// Who opens.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List incidents, newest first.
    List {
        /// Only those that are not resolved.
        #[arg(long)]
        open: bool,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show an incident with its timeline.
    Show {
        /// The incident, or `latest`.
        id: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Add a note for operators to the timeline.
    Note {
        /// The incident, or `latest`.
        id: String,
        /// In words.
        text: String,
        /// What it is: note, runbook, deployment, recovery, mode, isolation or evidence.
        #[arg(long, default_value = "note")]
        kind: String,
        /// Who writes.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Say something to everybody: on the status page and to the subscribers.
    Update {
        /// The incident, or `latest`.
        id: String,
        /// In words.
        text: String,
        /// Who writes.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Say how far the handling has come: investigating, identified, monitoring, resolved.
    Status {
        /// The incident, or `latest`.
        id: String,
        /// The new status.
        status: String,
        /// What everybody is told.
        #[arg(long)]
        text: Option<String>,
        /// The new severity.
        #[arg(long)]
        severity: Option<String>,
        /// Who says so.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// End an incident.
    Resolve {
        /// The incident, or `latest`.
        id: String,
        /// What everybody is told.
        #[arg(long)]
        note: Option<String>,
        /// Who says so.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Print the post-incident review, in Markdown, from the timeline.
    Review {
        /// The incident, or `latest`.
        id: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Tell from the audit log what an identity did, or what was done in a module.
    Touched {
        /// A keyring name, a DID or a module.
        target: String,
        /// From when on (RFC 3339), or how long ago, such as 2h or 3d.
        #[arg(long, default_value = "24h")]
        since: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Contain a theft of keys: replaces the key that signs tokens, which ends every session of everybody.
    Contain {
        /// Replace the keys of the instance that can be replaced while it runs.
        #[arg(long, required = true)]
        rotate_keys: bool,
        /// Who orders.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(cli: &Cli, arguments: &IncidentArgs) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        IncidentVerb::Open { severity, title, modules, text, began, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = OpenIncidentRequest {
                title: title.clone(),
                severity: word(severity, "severity", "sev1, sev2, sev3, sev4")?,
                modules: modules.clone(),
                text: text.clone(),
                began_at: *began,
            };
            let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
            let incident = client.call::<OpenIncident>(&request).await?;
            output::show(acting.json, &incident, show);
        }
        IncidentVerb::List { open, acting } => list(cli, *open, acting).await?,
        IncidentVerb::Show { id, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let found = get(&session, id).await?;
            output::show(acting.json, &found, show_all);
        }
        IncidentVerb::Note { id, text, kind, acting } => {
            let kind = word(kind, "kind", "note, runbook, deployment, recovery, mode, isolation, evidence")?;
            add(cli, id, kind, text, acting).await?;
        }
        IncidentVerb::Update { id, text, acting } => add(cli, id, EntryKind::Update, text, acting).await?,
        IncidentVerb::Status { id, status, text, severity, acting } => {
            let status = word(status, "status", "investigating, identified, monitoring, resolved")?;
            let severity = severity.as_deref();
            let severity = severity.map(|it| word(it, "severity", "sev1, sev2, sev3, sev4")).transpose()?;
            change(cli, id, status, severity, text.clone(), acting).await?;
        }
        IncidentVerb::Resolve { id, note, acting } => {
            change(cli, id, IncidentStatus::Resolved, None, note.clone(), acting).await?;
        }
        IncidentVerb::Review { id, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let id = incident(&session, id).await?;
            let review =
                session.client(q_ops::NAME)?.call::<ReviewIncident>(&IncidentRequest { id }).await?.0;
            output::show(acting.json, &json!({"id": id, "review": review}), |_| {
                output::line(review.trim_end());
            });
        }
        IncidentVerb::Touched { target, since, acting } => touched(cli, target, since, acting).await?,
        IncidentVerb::Contain { acting, .. } => contain(cli, acting).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The incident called `id`; `latest` is the newest one, an open one before a resolved one.
pub async fn incident(session: &Session, id: &str) -> anyhow::Result<IncidentId> {
    if id != "latest" {
        return id.parse().map_err(|_| usage(format!("{id:?} is no incident; `q incident list` shows them")));
    }
    let client = session.client(q_ops::NAME)?;
    for open in [true, false] {
        let request = ListIncidentsRequest { open, cursor: None };
        if let Some(newest) = client.call::<ListIncidents>(&request).await?.items.first() {
            return Ok(newest.id);
        }
    }
    anyhow::bail!("there is no incident; `q incident open` opens one")
}

/// A word of a closed list.
fn word<T: DeserializeOwned>(text: &str, what: &str, words: &str) -> anyhow::Result<T> {
    serde_json::from_value(Value::String(text.to_owned()))
        .map_err(|_| usage(format!("{text:?} is no {what}; there are {words}")))
}

async fn list(cli: &Cli, open: bool, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let request = ListIncidentsRequest { open, cursor: None };
    let page = session.client(q_ops::NAME)?.call::<ListIncidents>(&request).await?;
    output::show(acting.json, &page, |page| {
        if page.items.is_empty() {
            output::line(if open { "no incident is open" } else { "no incidents" });
        }
        page.items.iter().for_each(show);
        if let Some(cursor) = &page.next_cursor {
            output::progress(format!("older ones: q call ops GET '/incidents?cursor={cursor}'"));
        }
    });
    Ok(())
}

async fn get(session: &Session, id: &str) -> anyhow::Result<IncidentWithTimeline> {
    let id = incident(session, id).await?;
    Ok(session.client(q_ops::NAME)?.call::<GetIncident>(&IncidentRequest { id }).await?)
}

async fn add(cli: &Cli, id: &str, kind: EntryKind, text: &str, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let id = incident(&session, id).await?;
    let request = AddEntryRequest { id, kind, text: text.to_owned(), details: Value::Null };
    let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
    let entry = client.call::<AddEntry>(&request).await?;
    output::show(acting.json, &entry, |entry| output::line(format!("noted as entry {} of {id}", entry.seq)));
    Ok(())
}

async fn change(
    cli: &Cli,
    id: &str,
    status: IncidentStatus,
    severity: Option<Severity>,
    text: Option<String>,
    acting: &AsArgs,
) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let id = incident(&session, id).await?;
    let request = ChangeIncidentRequest { id, status: Some(status), severity, text };
    let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
    let incident = client.call::<ChangeIncident>(&request).await?;
    output::show(acting.json, &incident, show);
    Ok(())
}

fn show(incident: &Incident) {
    let modules =
        if incident.modules.is_empty() { "all modules".to_owned() } else { incident.modules.join(", ") };
    output::line(format!(
        "{}  {}  {}  {}  ({modules}, since {})",
        incident.id,
        text_of(incident.severity),
        text_of(incident.status),
        incident.title,
        incident.opened_at
    ));
}

fn show_all(found: &IncidentWithTimeline) {
    show(&found.incident);
    output::line(format!("impact: {}", impact(&found.incident.impact)));
    for entry in &found.timeline {
        output::line(format!("{:>4}  {}  {:<10} {}", entry.seq, entry.at, text_of(entry.kind), entry.text));
        if entry.by != "automatic" {
            output::line(format!("        by {}", entry.by));
        }
    }
}

fn impact(Impact(modules): &Impact) -> String {
    let troubled: Vec<String> = modules
        .iter()
        .filter(|(_, state)| {
            state.status != "healthy" || state.mode.as_deref().is_some_and(|mode| mode != "normal")
        })
        .map(|(name, state)| format!("{name} {} {}", state.status, state.mode.as_deref().unwrap_or("")))
        .collect();
    if troubled.is_empty() { format!("all {} modules healthy", modules.len()) } else { troubled.join("; ") }
}

fn text_of<T: serde::Serialize>(word: T) -> String {
    serde_json::to_value(word).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// `2h` ago, or an instant.
fn instant(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    Ok(now - span(text)?)
}

/// A length of time such as `15m`, `2h` or `3d`.
pub fn span(text: &str) -> anyhow::Result<Span> {
    let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let found = units.iter().find_map(|(letter, unit)| {
        let count: i64 =
            text.strip_suffix(*letter)?.parse().ok().filter(|count| (0..100_000).contains(count))?;
        Some(Span::seconds(count * unit))
    });
    found.ok_or_else(|| usage(format!("{text:?} is no time; write 15m, 2h, 3d or an instant (RFC 3339)")))
}

/// What the audit log holds of an identity or a module, counted by action, with the newest ones.
async fn touched(cli: &Cli, target: &str, since: &str, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let since = instant(since, session.env.now())?;
    let is_module = compose::MODULES.iter().any(|entry| entry.name == target);
    let mut request = SearchEventsRequest {
        start_date: Some(since),
        limit: 1_000.try_into().map_err(anyhow::Error::msg)?,
        ..SearchEventsRequest::default()
    };
    if is_module {
        request.layer = Some(target.to_owned());
    } else {
        request.actor = Some(session.identity(target)?);
    }
    let client = session.client("qerberos")?;
    let (mut events, mut by_action) = (Vec::new(), BTreeMap::<String, u64>::new());
    loop {
        let page = client.call::<SearchEvents>(&request).await?;
        for event in page.events {
            *by_action.entry(format!("{} {}", event.layer, event.action)).or_default() += 1;
            events.push(event);
        }
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let report = json!({"target": target, "since": since, "count": events.len(), "byAction": by_action, "events": events});
    output::show(acting.json, &report, |_| {
        output::line(format!("{} events of {target} since {since}", events.len()));
        for (action, count) in &by_action {
            output::line(format!("{count:>7}  {action}"));
        }
        for event in events.iter().take(50) {
            let what = event.reference.as_deref().unwrap_or("-");
            output::line(format!("{}  {} {}  {what}", event.timestamp, event.layer, event.action));
        }
        if events.len() > 50 {
            output::progress(format!("{} older events: --json shows all", events.len() - 50));
        }
    });
    Ok(())
}

/// Replaces what can be replaced while the instance runs, and says what cannot.
async fn contain(cli: &Cli, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let client = session.client("squid")?.with_key(session.fresh_key());
    let keys = client.call::<RotateSigningKey>(&RotateSigningKeyRequest { compromised: true }).await?;
    // The session of this very command died with all others; the note is written by a fresh one.
    let fresh = Session::open(&cli.data, &acting.name)?;
    let text = "the key that signs tokens was replaced as compromised; every token made with it is refused";
    let noted =
        timeline::note(&fresh, EntryKind::Isolation, text, &json!({"rotated": "squid signing key"})).await;
    let by_hand = [
        "keys of identities, operators' own included: `q id rotate NAME`",
        "keys of people and modules in qlock: `q call qlock POST /keys/KEY/rotate -d '{}'`, by their owners",
        "the unseal key of qlock and the data keys of the modules: not replaced while an instance runs",
        "the webhook secret of the desk: replace the file ops.webhook in the key folder and restart",
    ];
    let report = json!({"rotated": ["squid signing key"], "keys": keys.keys.len(), "byHand": by_hand, "incidents": noted});
    output::show(acting.json, &report, |_| {
        output::line(text);
        output::line("by hand, or not at all:");
        for line in by_hand {
            output::line(format!("  {line}"));
        }
    });
    Ok(())
}
