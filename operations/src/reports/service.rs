//! Writes the reports: when they are due, and when an operator asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use q_core::{AuditEntry, Page, Span, Timestamp};
use q_db::Tx;
use q_http::Context;
use q_ops_api::{
    reports::{ListReportsRequest, Report, ReportId, ReportKind},
    status::Topic,
};
use q_runtime::Job;
use serde_json::{Value, json};

use super::{
    access,
    dependencies::{self, Crates},
    domain::{self, KINDS},
    store,
    traffic::{self, Counters},
};
use crate::{
    Desk, Error, incidents,
    incidents::review::clock,
    maintenance,
    status::{looks, notices, service::share, text},
};

/// How often it is looked whether a report is due.
const WRITE_EVERY: Span = Span::seconds(300);
/// How long a module may take to show its figures or grants.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// The most pages of grants that are read.
const GRANT_PAGES_MAX: usize = 500;

/// Writes what is due, again and again.
pub(super) fn job(desk: &Arc<Desk>) -> Job {
    let desk = desk.clone();
    Job::every("write-reports", WRITE_EVERY, move || {
        let desk = desk.clone();
        async move { desk.write_due().await.map_err(|error| error.to_string()) }
    })
}

/// What a report says, and what it was made from.
struct Written {
    summary: String,
    text: String,
    data: Value,
}

impl Desk {
    /// Writes every report whose period has ended and that is not written yet. After a long pause only the newest
    /// period is written: figures of earlier ones were not kept.
    pub(crate) async fn write_due(&self) -> Result<(), Error> {
        for kind in KINDS {
            let (from, to) = domain::last_period(kind, self.env.now());
            let is_written = self.db.read(move |reader| store::is_written(reader, kind, to)).await?;
            // A desk that was not there in that time has nothing to say about it.
            let is_known = kind != ReportKind::Health || self.db.read(looks::any_between(from, to)).await?;
            if !is_written && is_known {
                self.write_report(kind, from, to, true, None).await?;
            }
        }
        let kept_from = looks::day_of(self.env.now()) - 400;
        self.db.write(move |tx| looks::forget_before(tx, kept_from)).await?;
        Ok(())
    }

    /// Writes a report about the period that ends now.
    pub(crate) async fn run_report(&self, context: &Context, kind: ReportKind) -> Result<Report, Error> {
        let (from, to) = domain::period_until(kind, self.env.now());
        self.write_report(kind, from, to, false, Some(context)).await
    }

    /// A page of reports, without their texts.
    pub(crate) async fn list_reports(&self, request: ListReportsRequest) -> Result<Page<Report>, Error> {
        let before = request.cursor.as_deref().map(crate::cursor::read).transpose()?;
        let mut items = self.db.read(move |reader| store::list(reader, request.kind, before)).await?;
        let has_more = items.len() > store::PAGE_ROWS;
        items.truncate(store::PAGE_ROWS);
        for report in &mut items {
            report.text.clear();
        }
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|last| crate::cursor::write(last.created_at, last.id));
        Ok(Page { items, next_cursor })
    }

    /// A report.
    pub(crate) async fn report(&self, id: ReportId) -> Result<Report, Error> {
        self.db.read(move |reader| store::find(reader, id)).await?.ok_or(Error::ReportNotFound)
    }

    async fn write_report(
        &self,
        kind: ReportKind,
        from: Timestamp,
        to: Timestamp,
        is_scheduled: bool,
        context: Option<&Context>,
    ) -> Result<Report, Error> {
        let before = self.db.read(move |reader| store::newest_data(reader, kind)).await?;
        let written = match kind {
            ReportKind::Health => self.health_report(from, to).await?,
            ReportKind::Review => self.review_report(before.as_ref()).await,
            ReportKind::Dependencies => dependencies_report(before),
            ReportKind::Access => self.access_report(before).await,
        };
        let head = format!(
            "# {}\n\n{} to {} UTC, written {}.\n\n{}\n\n",
            domain::title(kind),
            clock(from),
            clock(to),
            clock(self.env.now()),
            written.summary
        );
        let report = Report {
            id: ReportId::new(&self.env),
            kind,
            from,
            to,
            created_at: self.env.now(),
            is_scheduled,
            summary: written.summary,
            text: head + &written.text,
        };
        let by = context.and_then(|context| context.caller.did().cloned());
        let key = context.and_then(|context| context.request_key.clone());
        let data = written.data;
        let add = move |tx: &mut Tx<'_>| -> Result<Report, Error> {
            store::insert(tx, &report, &data)?;
            tx.audit(AuditEntry::change("report.write", by.as_ref(), report.id).family("operations"))?;
            let subject = format!("{}: {}", domain::title(kind), report.summary);
            let body = json!({"what": "report", "report": report.id, "kind": kind, "text": report.text});
            notices::say_about(tx, Topic::Reports, &report.id.to_string(), &subject, &body)?;
            Ok(report.clone())
        };
        Ok(self.db.write_once(key.as_ref(), add).await?.value)
    }

    /// How the modules were on the days from `from` to `to`, and what happened.
    async fn health_report(&self, from: Timestamp, to: Timestamp) -> Result<Written, Error> {
        let watched = self.watched.clone();
        let seen = self.look_at_all().await;
        self.db
            .read(move |reader| {
                let mut text = String::from(
                    "| Module | Found serving | Of looks | Only in part | Now |\n|---|---|---|---|---|\n",
                );
                let (first, last) = (looks::day_of(from), looks::day_of(to - Span::millis(1)));
                let mut troubled = 0;
                for module in &watched {
                    let days = looks::days(reader, module, first)?;
                    let days: Vec<_> = days.into_iter().filter(|day| day.number <= last).collect();
                    let looks: i64 = days.iter().map(|day| day.looks).sum();
                    let degraded: i64 = days.iter().map(|day| day.degraded).sum();
                    let share = share(days.iter().copied());
                    troubled += usize::from(share.is_some_and(|share| share < 10_000) || degraded > 0);
                    let now = seen.get(module).map_or("not asked", |look| look.status.as_str());
                    let share = share.map_or("no data".to_owned(), text::percent);
                    let _ = writeln!(text, "| {module} | {share} | {looks} | {degraded} | {now} |");
                }
                text.push_str(
                    "\nPlanned maintenance is not counted. Days are whole days in UTC.\n\n## Incidents\n\n",
                );
                let mut found = incidents::store::open(reader)?;
                found.extend(incidents::store::resolved_since(reader, from)?);
                found.retain(|incident| incident.opened_at < to);
                for incident in &found {
                    let _ = writeln!(
                        text,
                        "- {} {} · {} · {}",
                        incidents::domain::severity_word(incident.severity),
                        incident.title,
                        incidents::domain::status_word(incident.status),
                        incident.id
                    );
                }
                text.push_str(if found.is_empty() {
                    "None.\n\n## Maintenance\n\n"
                } else {
                    "\n## Maintenance\n\n"
                });
                let mut windows = maintenance::store::open(reader)?;
                windows.extend(maintenance::store::over_since(reader, from)?);
                for window in &windows {
                    let _ = writeln!(
                        text,
                        "- {} · {} · {}",
                        window.title,
                        text::window_word(window.state.status()),
                        text::between(window.from, window.to)
                    );
                }
                if windows.is_empty() {
                    text.push_str("None.\n");
                }
                let waiting: i64 = notices::subscribers(reader)?.iter().map(|(_, _, lost)| lost).sum();
                let _ = write!(text, "\n## Notices\n\n{waiting} were given up because nobody took them.\n");
                let summary = format!(
                    "{} modules, {troubled} with trouble; {} incidents, {} maintenance windows",
                    watched.len(),
                    found.len(),
                    windows.len()
                );
                Ok(Written { summary, text, data: Value::Null })
            })
            .await
    }

    /// Requests, errors and latency since the last review.
    async fn review_report(&self, before: Option<&Value>) -> Written {
        let mut earlier: BTreeMap<String, Counters> =
            before.and_then(|before| serde_json::from_value(before.clone()).ok()).unwrap_or_default();
        let mut modules = BTreeMap::new();
        for module in &self.watched {
            let now = self.counters(module).await;
            modules.insert(module.clone(), (now, earlier.remove(module)));
        }
        let (summary, text) = traffic::report(&modules);
        let kept: BTreeMap<&String, &Counters> =
            modules.iter().filter_map(|(name, (now, _))| Some((name, now.as_ref()?))).collect();
        Written { summary, text, data: json!(kept) }
    }

    async fn counters(&self, module: &str) -> Option<Counters> {
        let client = self.peers.client(module).within(ASK_TIMEOUT);
        let answer = client.send("GET", "/metrics", Bytes::new(), "").await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let text = std::str::from_utf8(answer.body()).ok()?;
        Some(Counters::of(&q_slo::exposition::parse(text).ok()?))
    }

    /// Who may do what. Asks whichever module keeps permissions: the one that lists them.
    async fn access_report(&self, before: Option<Value>) -> Written {
        let mut found = None;
        for module in &self.watched {
            found = self.grants(module).await;
            if found.is_some() {
                break;
            }
        }
        let Some((grants, is_complete)) = found else {
            let text = "No module listed permissions, so nothing can be said about access.\n".to_owned();
            return Written { summary: "permissions could not be read".to_owned(), text, data: Value::Null };
        };
        let before: Option<BTreeSet<String>> = before.and_then(|before| serde_json::from_value(before).ok());
        let (summary, text, names) = access::report(&grants, is_complete, before.as_ref(), self.env.now());
        Written { summary, text, data: json!(names) }
    }

    async fn grants(&self, module: &str) -> Option<(Vec<access::Grant>, bool)> {
        let client = self.peers.client(module).within(ASK_TIMEOUT);
        let mut grants = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..GRANT_PAGES_MAX {
            let after = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let answer =
                client.send("GET", &format!("/permissions?limit=200{after}"), Bytes::new(), "").await.ok()?;
            if !answer.status().is_success() {
                return if grants.is_empty() { None } else { Some((grants, false)) };
            }
            let page: Page<access::Grant> = serde_json::from_slice(answer.body()).ok()?;
            grants.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Some((grants, true));
            }
        }
        Some((grants, false))
    }
}

fn dependencies_report(before: Option<Value>) -> Written {
    let now = Crates::of_this_build();
    let before: Option<Crates> = before.and_then(|before| serde_json::from_value(before).ok());
    let (summary, text) = dependencies::report(&now, before.as_ref());
    Written { summary, text, data: json!(now) }
}
