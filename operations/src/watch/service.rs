//! What operators ask of the watch, and tell it.

use q_core::{AuditEntry, Page, Span};
use q_db::{DbError, Tx};
use q_http::Context;
use q_ops_api::watch::{
    Alert, AlertAcknowledged, AlertId, AlertNoteRequest, AlertState, AlertWithPage, Burn, GetSloRequest,
    ListAlertsRequest, ModuleSlo, Promise, SloReport,
};
use q_slo::{Book, text_of};

use super::{domain::Happening, round::Keeper, store};
use crate::{Desk, Error};

/// The longest word for the others.
const NOTE_CHARACTERS_MAX: usize = 2_000;
/// The windows burn rates are shown over.
const WINDOWS: [Span; 6] = [
    Span::seconds(300),
    Span::seconds(1_800),
    Span::seconds(3_600),
    Span::seconds(6 * 3_600),
    Span::seconds(86_400),
    Span::seconds(3 * 86_400),
];

impl Desk {
    /// A page of alerts.
    pub(super) async fn list_alerts(&self, request: ListAlertsRequest) -> Result<Page<Alert>, Error> {
        let before = request.cursor.as_deref().map(crate::cursor::read).transpose()?;
        let mut items: Vec<Alert> = self
            .db
            .read(move |reader| store::list_alerts(reader, request.all, before))
            .await
            .map_err(Error::Db)?;
        let has_more = items.len() > store::PAGE_ROWS;
        items.truncate(store::PAGE_ROWS);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|last| crate::cursor::write(last.fired_at, last.id));
        Ok(Page { items, next_cursor })
    }

    /// An alert and its page.
    pub(super) async fn alert(&self, id: AlertId) -> Result<AlertWithPage, Error> {
        self.db.read(move |reader| shown(reader, id)).await
    }

    /// Takes an alert and everything else of its page.
    pub(super) async fn acknowledge_alert(
        &self,
        context: Context,
        request: AlertNoteRequest,
    ) -> Result<AlertWithPage, Error> {
        let note = checked(request.note)?;
        let by = context.did().clone();
        self.db
            .write(move |tx| {
                let alert = open(tx, request.id)?;
                let name = by.to_string();
                if let Some(page) = alert.page {
                    let board = store::board(tx)?;
                    let Some(mut open) = board.pages.into_iter().find(|open| open.id == page) else {
                        return Err(Error::AlertResolved);
                    };
                    if open.ladder.acknowledged_at.is_none() {
                        open.ladder.acknowledge(tx.now());
                        store::keep_page(tx, &open)?;
                        store::note_taker(tx, page, &name)?;
                        store::add_entry(
                            tx,
                            page,
                            "acknowledged",
                            &name,
                            note.as_deref().unwrap_or("taken"),
                        )?;
                    } else if let Some(note) = &note {
                        store::add_entry(tx, page, "note", &name, note)?;
                    }
                    for mut alert in store::alerts_of_page(tx, page)? {
                        if alert.state == AlertState::Firing {
                            acknowledged(tx, &mut alert)?;
                        }
                    }
                } else if alert.state == AlertState::Firing {
                    // Nobody is told of it, but it shows who knows.
                    acknowledged(tx, &mut alert.clone())?;
                }
                tx.audit(AuditEntry::change("alert.acknowledge", Some(&by), request.id))?;
                shown(tx, request.id)
            })
            .await
    }

    /// Ends an alert by hand.
    pub(super) async fn resolve_alert(
        &self,
        context: Context,
        request: AlertNoteRequest,
    ) -> Result<AlertWithPage, Error> {
        let note = checked(request.note)?;
        let by = context.did().clone();
        self.db
            .write(move |tx| {
                let alert = open(tx, request.id)?;
                let name = by.to_string();
                let before = store::board(tx)?;
                let mut after = before.clone();
                if let Some(page) = alert.page {
                    let text = note.as_deref().unwrap_or("ended by hand");
                    store::add_entry(tx, page, "resolved", &name, &format!("{}: {text}", alert.summary))?;
                }
                if let Some(Happening::Resolved(key, standing)) = after.end(request.id) {
                    store::keep_standings(tx, &before, &after)?;
                    Keeper::resolved(tx, &key, &standing, Some(&name))?;
                }
                tx.audit(AuditEntry::change("alert.resolve", Some(&by), request.id))?;
                shown(tx, request.id)
            })
            .await
    }

    /// How well the promises are kept.
    pub(super) async fn slo(&self, request: GetSloRequest) -> Result<SloReport, Error> {
        let now = self.env.now();
        let memory = self.watch.memory.lock().await;
        // Whoever does not watch reads what the one that does has kept.
        let book = if memory.is_watching() {
            memory.book().clone()
        } else {
            let mut book = Book::new(self.watch.config.objectives);
            let load = move |reader: &mut q_db::Reader<'_>| -> Result<Book, DbError> {
                store::load_book(reader, &mut book)?;
                Ok(book)
            };
            self.db.read(load).await?
        };
        drop(memory);
        let reports = book.report(now, &WINDOWS);
        let is_wanted = |module: &str| request.module.as_deref().is_none_or(|wanted| wanted == module);
        let modules =
            reports.into_iter().filter(|report| is_wanted(&report.module)).map(|report| ModuleSlo {
                error_ratio: book.error_ratio(now, &report.module),
                p99_seconds: book.p99(now, &report.module),
                module: report.module,
                promises: report
                    .classes
                    .into_iter()
                    .map(|class| Promise {
                        class: class.class,
                        sli: class.sli.name().to_owned(),
                        target: class.target,
                        total: class.counts.total,
                        good: class.counts.good,
                        budget_left: class.budget_left,
                        burn: class
                            .burn
                            .into_iter()
                            .map(|(window, rate)| Burn { window: text_of(window), rate })
                            .collect(),
                    })
                    .collect(),
            });
        let window_days = book.objectives().window.as_seconds() / 86_400;
        Ok(SloReport { at: now, window_days, modules: modules.collect() })
    }
}

fn checked(note: Option<String>) -> Result<Option<String>, Error> {
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARACTERS_MAX) {
        return Err(Error::AlertNote);
    }
    Ok(note)
}

/// An alert that is not resolved.
fn open(tx: &mut Tx<'_>, id: AlertId) -> Result<Alert, Error> {
    let alert = store::find_alert(tx, id)?.ok_or(Error::AlertNotFound)?;
    if alert.resolved_at.is_some() { Err(Error::AlertResolved) } else { Ok(alert) }
}

fn acknowledged(tx: &mut Tx<'_>, alert: &mut Alert) -> Result<(), DbError> {
    alert.state = AlertState::Acknowledged;
    store::keep_alert(tx, alert)?;
    tx.emit(&AlertAcknowledged {
        alert: alert.id,
        rule: alert.rule.clone(),
        module: alert.module.clone(),
        severity: alert.severity.clone(),
    })?;
    Ok(())
}

fn shown(reader: &mut q_db::Reader<'_>, id: AlertId) -> Result<AlertWithPage, Error> {
    let alert = store::find_alert(reader, id)?.ok_or(Error::AlertNotFound)?;
    let ladder = match alert.page {
        Some(page) => store::page_view(reader, page)?,
        None => None,
    };
    Ok(AlertWithPage { alert, ladder })
}
