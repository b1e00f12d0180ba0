//! `q report`: the regular tasks, written down.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use q_ops_api::reports::{
    GetReport, ListReports, ListReportsRequest, Report, ReportKind, ReportRequest, RunReport,
    RunReportRequest,
};

use crate::{
    cli::{AsArgs, Cli},
    output::{self, usage},
    session::Session,
};

/// `q report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ReportVerb,
}

/// Which regular task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Every day: how the modules were.
    #[value(alias = "health")]
    HealthDigest,
    /// Every week: errors and latency.
    #[value(alias = "log-review")]
    Review,
    /// Every month: what the program is built from.
    #[value(alias = "dependency-report")]
    Dependencies,
    /// Every quarter: who may do what.
    #[value(alias = "access")]
    AccessReview,
}

impl From<Task> for ReportKind {
    fn from(task: Task) -> Self {
        match task {
            Task::HealthDigest => Self::Health,
            Task::Review => Self::Review,
            Task::Dependencies => Self::Dependencies,
            Task::AccessReview => Self::Access,
        }
    }
}

/// What `q report` can do.
#[derive(Debug, Subcommand)]
pub enum ReportVerb {
    /// List reports, newest first.
    List {
        /// Only of this task.
        #[arg(long, value_enum)]
        task: Option<Task>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Print a report, in Markdown.
    Show {
        /// The report, or `latest`.
        id: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Write a report now, about the period that ends now.
    Run {
        /// Which task.
        #[arg(value_enum)]
        task: Task,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(cli: &Cli, arguments: &ReportArgs) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        ReportVerb::List { task, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = ListReportsRequest { kind: task.map(Into::into), cursor: None };
            let page = session.client(q_ops::NAME)?.call::<ListReports>(&request).await?;
            output::show(acting.json, &page, |page| {
                if page.items.is_empty() {
                    output::line("no reports yet; `q report run health-digest` writes one");
                }
                for report in &page.items {
                    let kind = serde_json::json!(report.kind);
                    let kind = kind.as_str().unwrap_or_default();
                    output::line(format!(
                        "{}  {:<12} {}  {}",
                        report.id, kind, report.created_at, report.summary
                    ));
                }
                if let Some(cursor) = &page.next_cursor {
                    output::progress(format!("older ones: q call ops GET '/reports?cursor={cursor}'"));
                }
            });
        }
        ReportVerb::Show { id, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let client = session.client(q_ops::NAME)?;
            let id = if id == "latest" {
                let page = client.call::<ListReports>(&ListReportsRequest::default()).await?;
                page.items.first().map(|report| report.id)
            } else {
                id.parse().ok()
            };
            let id = id.ok_or_else(|| usage("there is no such report; `q report list` shows them"))?;
            print(&client.call::<GetReport>(&ReportRequest { id }).await?, acting);
        }
        ReportVerb::Run { task, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
            print(&client.call::<RunReport>(&RunReportRequest { kind: (*task).into() }).await?, acting);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, acting: &AsArgs) {
    output::show(acting.json, report, |report| output::line(report.text.trim_end()));
}
