//! `q maintenance`: plan, begin, end and follow maintenance windows; who is told.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use q_core::{Span, Timestamp};
use q_jose::jws;
use q_ops_api::{
    maintenance::{
        CancelMaintenance, CompleteMaintenance, EmergencyMaintenance, EmergencyOrder, EmergencyRequest,
        ExtendMaintenance, ExtendRequest, GetMaintenance, ListMaintenance, ListWindowsRequest,
        MAINTENANCE_TYP, MaintenanceId, MaintenanceMode, ScheduleMaintenance, ScheduleRequest,
        StartMaintenance, Window, WindowRequest, WindowStatus,
    },
    status::{
        ListSubscribers, ListSubscribersRequest, Subscribe, SubscribeRequest, Subscriber, SubscriberKind,
        SubscriberRequest, Topic, Unsubscribe,
    },
};

use crate::{
    cli::{AsArgs, Cli},
    commands::incident,
    output::{self, exit, usage},
    session::Session,
};

/// How long an approver's signature waits for its use.
const APPROVAL_LIFETIME: Span = Span::seconds(600);
/// How often `complete` looks whether the checks have ended.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
/// How long it waits for them.
const CHECKS_MAX: std::time::Duration = std::time::Duration::from_mins(15);

/// `q maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: MaintenanceVerb,
}

/// What a module does during a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Answers reads.
    ReadOnly,
    /// Answers nothing but its state.
    Full,
}

impl From<Mode> for MaintenanceMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ReadOnly => Self::ReadOnly,
            Mode::Full => Self::Full,
        }
    }
}

/// What `q maintenance` can do. Where an id is asked for, `latest` names the window that was planned last.
#[derive(Debug, Subcommand)]
pub enum MaintenanceVerb {
    /// Plan a window: announced ahead, entered and left by itself, checked before its end is announced.
    Schedule {
        /// When it begins (RFC 3339).
        #[arg(long, value_name = "INSTANT")]
        from: Timestamp,
        /// When it ends (RFC 3339).
        #[arg(long, value_name = "INSTANT")]
        to: Timestamp,
        /// The modules, separated by commas; all when not given.
        #[arg(long, value_delimiter = ',')]
        modules: Vec<String>,
        /// What they do meanwhile.
        #[arg(long, value_enum)]
        mode: Mode,
        /// How long ahead it is announced.
        #[arg(long, value_delimiter = ',', default_value = "48h,24h,1h")]
        notify: Vec<String>,
        /// How to go back if it fails: a text, or @FILE.
        #[arg(long, value_name = "TEXT", default_value = "")]
        rollback_plan: String,
        /// One line for everybody; it stands on the status page.
        #[arg(long, default_value = "Planned maintenance")]
        title: String,
        /// Who plans.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Begin at once, under the signature of an approver of this keyring.
    Emergency {
        /// The modules, separated by commas; all when not given.
        #[arg(long, value_delimiter = ',')]
        modules: Vec<String>,
        /// What they do meanwhile.
        #[arg(long, value_enum)]
        mode: Mode,
        /// How long it takes, such as 30m or 2h; a day at most.
        #[arg(long = "for", value_name = "TIME")]
        length: String,
        /// One line for everybody; it stands on the status page.
        #[arg(long)]
        reason: String,
        /// How to go back if it fails: a text, or @FILE.
        #[arg(long, value_name = "TEXT", default_value = "")]
        rollback_plan: String,
        /// The keyring name of the operator who approves; whoever acts when not given.
        #[arg(long, value_name = "NAME")]
        approver: Option<String>,
        /// Who begins it.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List windows, latest first.
    List {
        /// Only those that lie ahead or are on.
        #[arg(long)]
        open: bool,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show a window.
    Show {
        /// The window, or `latest`.
        id: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Call a window off that has not begun.
    Cancel {
        /// The window, or `latest`.
        id: String,
        /// Who decides.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Move the end of a window to a later instant.
    Extend {
        /// The window, or `latest`.
        id: String,
        /// The new end (RFC 3339).
        #[arg(long, value_name = "INSTANT")]
        to: Timestamp,
        /// Who decides.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Begin a planned window now.
    StartNow {
        /// The window, or `latest`.
        id: String,
        /// Who decides.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Say that the work is done, and wait for the checks; run again after a check has failed.
    Complete {
        /// The window, or `latest`.
        id: String,
        /// Who decides.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Tell a URL or a mail address of incidents and maintenance, or of the regular reports.
    Subscribe {
        /// https://… for a signed webhook, or a mail address.
        address: String,
        /// Tell of the regular reports, which are for operators, instead.
        #[arg(long)]
        reports: bool,
        /// Who adds.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List who is told; addresses are shown in part.
    Subscribers {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Stop telling somebody.
    Unsubscribe {
        /// The subscriber's id.
        id: String,
        /// Who removes.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(cli: &Cli, arguments: &MaintenanceArgs) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        MaintenanceVerb::Schedule { from, to, modules, mode, notify, rollback_plan, title, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = ScheduleRequest {
                title: title.clone(),
                from: *from,
                to: *to,
                modules: modules.clone(),
                mode: (*mode).into(),
                notify: Some(notify.clone()),
                rollback_plan: plan(rollback_plan)?,
            };
            let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
            show_it(&client.call::<ScheduleMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::Emergency { modules, mode, length, reason, rollback_plan, approver, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let now = session.env.now();
            let mut request = EmergencyRequest {
                title: reason.clone(),
                to: now + incident::span(length)?,
                modules: modules.clone(),
                mode: (*mode).into(),
                rollback_plan: plan(rollback_plan)?,
                expires_at: now + APPROVAL_LIFETIME,
                nonce: session.fresh_key(),
                approval: String::new(),
            };
            approve(&session, approver.as_deref().unwrap_or(&acting.name), &mut request)?;
            let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
            show_it(&client.call::<EmergencyMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::List { open, acting } => list(cli, *open, acting).await?,
        MaintenanceVerb::Show { id, acting } => {
            let (session, request) = named(cli, id, acting).await?;
            show_it(&session.client(q_ops::NAME)?.call::<GetMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::Cancel { id, acting } => {
            let (session, request) = named(cli, id, acting).await?;
            show_it(&session.client(q_ops::NAME)?.call::<CancelMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::Extend { id, to, acting } => {
            let (session, WindowRequest { id }) = named(cli, id, acting).await?;
            let request = ExtendRequest { id, to: *to };
            show_it(&session.client(q_ops::NAME)?.call::<ExtendMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::StartNow { id, acting } => {
            let (session, request) = named(cli, id, acting).await?;
            show_it(&session.client(q_ops::NAME)?.call::<StartMaintenance>(&request).await?, acting);
        }
        MaintenanceVerb::Complete { id, acting } => return complete(cli, id, acting).await,
        MaintenanceVerb::Subscribe { address, reports, acting } => {
            subscribe(cli, address, *reports, acting).await?;
        }
        MaintenanceVerb::Subscribers { acting } => subscribers(cli, acting).await?,
        MaintenanceVerb::Unsubscribe { id, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let id = id.parse().map_err(|_| usage(format!("{id:?} is no subscriber's id")))?;
            session.client(q_ops::NAME)?.call::<Unsubscribe>(&SubscriberRequest { id }).await?;
            output::show(acting.json, &serde_json::json!({"id": id}), |_| output::line("removed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs the order with the key of `approver`.
fn approve(session: &Session, approver: &str, request: &mut EmergencyRequest) -> anyhow::Result<()> {
    let instance = session.layout.read_instance()?;
    let keyring = session.layout.read_keyring(approver)?;
    let input = EmergencyOrder::of(request, &instance.did).signing_input();
    let header = jws::Header::typ(MAINTENANCE_TYP).kid(keyring.key_id());
    request.approval = jws::sign(&header, &input, &keyring.current);
    Ok(())
}

/// A text, or what is in the file after `@`.
fn plan(text: &str) -> anyhow::Result<String> {
    match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read")),
        None => Ok(text.to_owned()),
    }
}

async fn named(cli: &Cli, id: &str, acting: &AsArgs) -> anyhow::Result<(Session, WindowRequest)> {
    let session = Session::open(&cli.data, &acting.name)?;
    let id = window(&session, id).await?;
    Ok((session, WindowRequest { id }))
}

async fn window(session: &Session, id: &str) -> anyhow::Result<MaintenanceId> {
    if id != "latest" {
        return id
            .parse()
            .map_err(|_| usage(format!("{id:?} is no window; `q maintenance list` shows them")));
    }
    let client = session.client(q_ops::NAME)?;
    let page = client.call::<ListMaintenance>(&ListWindowsRequest::default()).await?;
    let newest = page.items.iter().max_by_key(|window| (window.created_at, window.id));
    Ok(newest.context("there is no maintenance window; `q maintenance schedule` plans one")?.id)
}

async fn list(cli: &Cli, open: bool, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let request = ListWindowsRequest { open, cursor: None };
    let page = session.client(q_ops::NAME)?.call::<ListMaintenance>(&request).await?;
    output::show(acting.json, &page, |page| {
        if page.items.is_empty() {
            output::line("no maintenance windows");
        }
        page.items.iter().for_each(show);
        if let Some(cursor) = &page.next_cursor {
            output::progress(format!("earlier ones: q call ops GET '/maintenance?cursor={cursor}'"));
        }
    });
    Ok(())
}

/// Has the checks run and waits for what they find.
async fn complete(cli: &Cli, id: &str, acting: &AsArgs) -> anyhow::Result<ExitCode> {
    let (session, request) = named(cli, id, acting).await?;
    let client = session.client(q_ops::NAME)?;
    let mut window = client.call::<CompleteMaintenance>(&request).await?;
    let waiting = tokio::time::Instant::now();
    while window.status == WindowStatus::Checking && waiting.elapsed() < CHECKS_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
        window = client.call::<GetMaintenance>(&request).await?;
    }
    show_it(&window, acting);
    Ok(if window.status == WindowStatus::Completed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FINDINGS)
    })
}

fn show_it(window: &Window, acting: &AsArgs) {
    output::show(acting.json, window, |window| {
        show(window);
        for check in &window.checks {
            let outcome = if check.is_passed { "passed" } else { "FAILED" };
            output::line(format!("  {} {}: {outcome} ({})", check.module, check.check, check.detail));
        }
        if let Some(incident) = window.incident {
            output::line(format!("  see `q incident show {incident}`"));
        }
    });
}

fn show(window: &Window) {
    let modules =
        if window.modules.is_empty() { "all modules".to_owned() } else { window.modules.join(", ") };
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    output::line(format!(
        "{}  {}  {}  {} – {}  {modules} {}",
        window.id,
        word(serde_json::json!(window.status)),
        window.title,
        window.from,
        window.to,
        word(serde_json::json!(window.mode)),
    ));
}

async fn subscribe(cli: &Cli, address: &str, reports: bool, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let request = SubscribeRequest {
        kind: if address.contains("://") { SubscriberKind::Webhook } else { SubscriberKind::Email },
        address: address.to_owned(),
        topic: if reports { Topic::Reports } else { Topic::Status },
    };
    let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
    let added = client.call::<Subscribe>(&request).await?;
    output::show(acting.json, &added, show_subscriber);
    if added.kind == SubscriberKind::Webhook {
        let secret = session.layout.keys.join(q_ops::notify::WEBHOOK_SECRET_FILE);
        output::progress(format!("the receiver checks signatures with the secret in {}", secret.display()));
    }
    Ok(())
}

async fn subscribers(cli: &Cli, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let all =
        session.client(q_ops::NAME)?.call::<ListSubscribers>(&ListSubscribersRequest::default()).await?;
    output::show(acting.json, &all, |all| {
        if all.items.is_empty() {
            output::line("nobody is told; `q maintenance subscribe ADDRESS` adds somebody");
        }
        all.items.iter().for_each(show_subscriber);
        for (id, count) in &all.given_up {
            output::line(format!("{id}: {count} notices were given up"));
        }
    });
    Ok(())
}

fn show_subscriber(subscriber: &Subscriber) {
    let kind = match subscriber.kind {
        SubscriberKind::Webhook => "webhook",
        SubscriberKind::Email => "mail",
    };
    let topic = match subscriber.topic {
        Topic::Status => "status",
        Topic::Reports => "reports",
    };
    output::line(format!(
        "{}  {kind} {}  {topic}, {} waiting",
        subscriber.id, subscriber.address_hint, subscriber.waiting
    ));
}
