//! `q alerts`: what is wrong, who was told, and taking it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use q_ops_api::watch::{
    AcknowledgeAlert, Alert, AlertId, AlertNoteRequest, AlertRequest, AlertState, AlertWithPage, GetAlert,
    ListAlerts, ListAlertsRequest, ResolveAlert,
};

use crate::{
    cli::{AsArgs, Cli},
    output::{self, usage},
    session::Session,
};

/// `q alerts`; alone it lists.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AlertsArgs {
    /// What to do; the list when not given.
    #[command(subcommand)]
    pub verb: Option<AlertsVerb>,
    /// How to list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// `q alerts list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also those that are resolved.
    #[arg(long)]
    pub all: bool,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// What `q alerts` can do. Where an id is asked for, `latest` names the newest alert that is open.
#[derive(Debug, Subcommand)]
pub enum AlertsVerb {
    /// List alerts, newest first: those that are not resolved.
    List(ListArgs),
    /// Show an alert: what is wrong, what level 1 did, who was told.
    Show {
        /// The alert, or `latest`.
        id: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Take an alert: nobody else is told, but for its end.
    Acknowledge {
        /// The alert, or `latest`.
        id: String,
        /// A word for the others.
        #[arg(long)]
        note: Option<String>,
        /// Who takes it.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// End an alert by hand; what is still wrong fires anew.
    Resolve {
        /// The alert, or `latest`.
        id: String,
        /// A word for the others.
        #[arg(long)]
        note: Option<String>,
        /// Who ends it.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(cli: &Cli, arguments: &AlertsArgs) -> anyhow::Result<ExitCode> {
    let Some(verb) = &arguments.verb else {
        list(cli, &arguments.list).await?;
        return Ok(ExitCode::SUCCESS);
    };
    match verb {
        AlertsVerb::List(arguments) => list(cli, arguments).await?,
        AlertsVerb::Show { id, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let id = alert(&session, id).await?;
            let found = session.client(q_ops::NAME)?.call::<GetAlert>(&AlertRequest { id }).await?;
            output::show(acting.json, &found, show_all);
        }
        AlertsVerb::Acknowledge { id, note, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = AlertNoteRequest { id: alert(&session, id).await?, note: note.clone() };
            let taken = session.client(q_ops::NAME)?.call::<AcknowledgeAlert>(&request).await?;
            output::show(acting.json, &taken, |taken| show(&taken.alert));
        }
        AlertsVerb::Resolve { id, note, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = AlertNoteRequest { id: alert(&session, id).await?, note: note.clone() };
            let ended = session.client(q_ops::NAME)?.call::<ResolveAlert>(&request).await?;
            output::show(acting.json, &ended, |ended| show(&ended.alert));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn alert(session: &Session, id: &str) -> anyhow::Result<AlertId> {
    if id != "latest" {
        return id.parse().map_err(|_| usage(format!("{id:?} is no alert; `q alerts list` shows them")));
    }
    let open = session.client(q_ops::NAME)?.call::<ListAlerts>(&ListAlertsRequest::default()).await?;
    let newest = open.items.first().map(|alert| alert.id);
    newest.ok_or_else(|| anyhow::anyhow!("no alert is open; `q alerts list --all` shows those that were"))
}

async fn list(cli: &Cli, ListArgs { all, acting }: &ListArgs) -> anyhow::Result<()> {
    let all = *all;
    let session = Session::open(&cli.data, &acting.name)?;
    let request = ListAlertsRequest { all, cursor: None };
    let page = session.client(q_ops::NAME)?.call::<ListAlerts>(&request).await?;
    output::show(acting.json, &page, |page| {
        if page.items.is_empty() {
            output::line(if all { "no alerts" } else { "no alert is open" });
        }
        page.items.iter().for_each(show);
        if let Some(cursor) = &page.next_cursor {
            output::progress(format!("older ones: q call ops GET '/alerts?all={all}&cursor={cursor}'"));
        }
    });
    Ok(())
}

fn show(alert: &Alert) {
    let state = match alert.state {
        AlertState::Firing => "firing",
        AlertState::Acknowledged => "acknowledged",
        AlertState::Resolved => "resolved",
    };
    let quiet = alert.quiet.as_ref().map_or_else(String::new, |why| format!(", quiet: {why}"));
    output::line(format!(
        "{}  {}  {state}  {}  (since {}{quiet})",
        alert.id, alert.severity, alert.summary, alert.fired_at
    ));
}

fn show_all(found: &AlertWithPage) {
    let AlertWithPage { alert, ladder } = found;
    show(alert);
    output::line(format!("rule {}, limit {}, worst {}", alert.rule, alert.threshold, alert.peak));
    output::line(format!("helps: q runbook {}", alert.runbook));
    let Some(page) = ladder else {
        output::line("nobody is told of it");
        return;
    };
    output::line(format!("page {} ({}), level {}", page.id, page.name, page.level));
    for entry in &page.entries {
        output::line(format!("  {}  {:<12} {}", entry.at, entry.kind, entry.text));
    }
    for telling in page.tellings.iter().filter(|telling| telling.done_at.is_none()) {
        let next = telling.next_at.map_or_else(|| "given up".to_owned(), |at| format!("next try {at}"));
        output::line(format!("  not told yet: {} ({} tries, {next})", telling.channel, telling.attempts));
    }
}
