//! One look at everything: asked, counted, decided and kept.

use std::time::Duration;

use q_core::{Span, Timestamp};
use q_db::{DbError, Tx};
use q_ops_api::{
    incidents::EntryKind,
    watch::{Alert, AlertFired, AlertResolved, AlertState, PageId},
};
use q_slo::{Book, Rule, Step, StepKind, group::Dependencies};
use serde_json::json;

use super::{
    Watch,
    config::Way,
    domain::{Board, Happening, Key, Situation, Standing},
    message::{message, summary},
    readings::{Facts, dependencies, readings},
    scrape::Scrape,
    store::{self, BookChanges, Order},
};
use crate::{Desk, Error, incidents::service::note_in, maintenance};

/// In whose name the house acts.
pub(super) const AUTOMATIC: &str = "automatic";
/// A process that does not look for so long has lost its turn: several looks, and the time a look may take.
const TURN: Span = Span::seconds(20);

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether this process watches.
    is_mine: bool,
    book: Book,
    dependencies: Dependencies,
    /// The last look, by the clock and by the time that passed.
    last: Option<(Timestamp, Duration)>,
}

impl Desk {
    /// Looks once, if it is the turn of this process.
    pub(super) async fn watch_once(&self) -> Result<(), Error> {
        let mut memory = self.watch.memory.lock().await;
        if !memory.is_mine && !self.begin_watching(&mut memory).await? {
            return Ok(());
        }
        let scrapes = self.scrape_all().await;
        let held = self.db.read(maintenance::store::held_modules).await.map_err(Error::Db)?;
        let now = self.env.now();
        let jump_seconds = memory.jump(now, self.watch.elapsed());
        count(&mut memory.book, &scrapes, &self.watch, now, &|module| held.holds(module));
        dependencies(&scrapes, &mut memory.dependencies);
        let backups = q_backup::status(&self.data);
        let is_kept =
            self.keep(&memory, scrapes, Facts { backups, jump_seconds, ..Facts::default() }).await?;
        if is_kept {
            memory.book.mark_kept();
        } else {
            tracing::warn!("another process watches now");
            memory.is_mine = false;
        }
        Ok(())
    }

    /// Takes the turn, and everything that was counted by whoever had it before.
    async fn begin_watching(&self, memory: &mut Memory) -> Result<bool, Error> {
        if self.watch.is_leaving.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(false);
        }
        let holder = self.watch.holder.clone();
        if !self.db.write(move |tx| store::take_turn(tx, &holder, TURN)).await? {
            return Ok(false);
        }
        let mut book = Book::new(self.watch.config.objectives);
        let load = move |reader: &mut q_db::Reader<'_>| -> Result<Book, DbError> {
            store::load_book(reader, &mut book)?;
            Ok(book)
        };
        *memory = Memory { is_mine: true, book: self.db.read(load).await?, ..Memory::default() };
        Ok(true)
    }

    /// Ends watching here, so that another process begins at once.
    pub(crate) async fn leave_watch(&self) -> Result<(), Error> {
        self.watch.is_leaving.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut memory = self.watch.memory.lock().await;
        memory.is_mine = false;
        let holder = self.watch.holder.clone();
        self.db.write(move |tx| store::give_turn(tx, &holder)).await?;
        Ok(())
    }

    /// Decides and keeps everything in one commit; `false` when the turn was lost.
    async fn keep(&self, memory: &Memory, scrapes: Vec<Scrape>, facts: Facts) -> Result<bool, Error> {
        let changes = BookChanges::of(&memory.book);
        let (book, dependencies) = (memory.book.clone(), memory.dependencies.clone());
        let (watch, origin) = (self.watch.clone(), self.instance.origin.clone());
        self.db
            .write(move |tx| {
                if !store::keep_turn(tx, &watch.holder, TURN)? {
                    return Ok(false);
                }
                changes.keep(tx)?;
                let now = tx.now();
                let mut facts = facts.clone();
                let verified = store::verifications(tx)?;
                facts.findings =
                    verified.into_iter().map(|(module, (_, findings))| (module, findings)).collect();
                let readings = readings(&watch.config.rules, &scrapes, &book, &facts, now);
                watch.figures.show(&watch.config.rules, &readings, &facts.backups);
                let held = maintenance::store::held_modules(tx)?;
                let before = store::board(tx)?;
                let mut after = before.clone();
                let env = tx.env().clone();
                let situation = Situation {
                    rules: &watch.config.rules,
                    readings: &readings,
                    dependencies: &dependencies,
                    is_held: &|module| held.holds(module),
                    policy: &watch.config.policy,
                    env: &env,
                };
                let happenings = after.decide(&situation, now);
                store::keep_standings(tx, &before, &after)?;
                Keeper { watch: &watch, origin: &origin, before: &before, after: &after }
                    .keep(tx, &happenings)?;
                Ok(true)
            })
            .await
    }
}

impl Memory {
    /// Whether this process watches.
    pub(super) const fn is_watching(&self) -> bool {
        self.is_mine
    }

    /// The book, for those who only read it.
    pub(super) const fn book(&self) -> &Book {
        &self.book
    }

    /// By how many seconds the clock moved against the time that passed since the last look.
    fn jump(&mut self, now: Timestamp, elapsed: Duration) -> f64 {
        let last = self.last.replace((now, elapsed));
        last.map_or(0.0, |(then, before)| jump(now.since(then), elapsed.saturating_sub(before)))
    }
}

fn jump(by_clock: Span, passed: Duration) -> f64 {
    (super::readings::seconds(by_clock) - passed.as_secs_f64()).abs()
}

fn count(book: &mut Book, scrapes: &[Scrape], watch: &Watch, now: Timestamp, is_held: &dyn Fn(&str) -> bool) {
    let modules: std::collections::BTreeSet<&str> =
        scrapes.iter().map(|scrape| scrape.module.as_str()).collect();
    for module in modules {
        let targets: Vec<&Scrape> = scrapes.iter().filter(|scrape| scrape.module == module).collect();
        // What was announced was not promised.
        let is_promised = !is_held(module);
        if is_promised {
            book.look(now, module, super::readings::is_serving(&targets));
        }
        for target in targets {
            if let Some(samples) = &target.samples {
                let totals = q_slo::Totals::read(samples, &watch.config.classes);
                book.count(now, module, &target.replica.to_string(), totals, is_promised);
            }
        }
    }
    book.compact(now);
}

/// Writes down what was decided: alerts, pages, what is to be told, events.
pub(super) struct Keeper<'a> {
    pub watch: &'a Watch,
    pub origin: &'a str,
    pub before: &'a Board,
    pub after: &'a Board,
}

impl Keeper<'_> {
    pub(super) fn keep(&self, tx: &mut Tx<'_>, happenings: &[Happening]) -> Result<(), DbError> {
        // Pages first: alerts and what is told refer to them.
        for page in &self.after.pages {
            if self.before.pages.iter().find(|known| known.id == page.id) != Some(page) {
                store::keep_page(tx, page)?;
            }
        }
        for happening in happenings {
            match happening {
                Happening::Resolved(key, standing) => Self::resolved(tx, key, standing, None)?,
                Happening::Fired(key) => self.fired(tx, key)?,
                _ => {}
            }
        }
        for (key, standing) in &self.after.standings {
            let is_changed = self.before.standings.get(key) != Some(standing);
            if standing.alert.is_some() && is_changed {
                self.keep_alert(tx, key, standing)?;
            }
        }
        for happening in happenings {
            match happening {
                Happening::Opened(page, key) | Happening::Joined(page, key) => {
                    let kind = if matches!(happening, Happening::Opened(..)) { "opened" } else { "joined" };
                    let text = self.after.standings.get(key).map(|standing| self.summary(key, standing));
                    store::add_entry(tx, *page, kind, AUTOMATIC, &text.unwrap_or_default())?;
                }
                Happening::Over(page) => {
                    let text = "everything it was about is right again";
                    store::add_entry(tx, *page, "resolved", AUTOMATIC, text)?;
                    self.close(tx, *page)?;
                }
                Happening::Told(page, step) => self.tell(tx, *page, *step)?,
                Happening::Fired(_) | Happening::Resolved(..) => {}
            }
        }
        Ok(())
    }

    fn rule(&self, key: &Key) -> Option<&Rule> {
        self.watch.config.rule(&key.0)
    }

    fn summary(&self, key: &Key, standing: &Standing) -> String {
        match self.rule(key) {
            Some(rule) => summary(rule, &key.1, &key.2, standing.value, standing.cause.as_deref()),
            None => format!("{} {}", key.1, key.0),
        }
    }

    fn fired(&self, tx: &mut Tx<'_>, key: &Key) -> Result<(), DbError> {
        let Some((standing, rule)) = self.after.standings.get(key).zip(self.rule(key)) else { return Ok(()) };
        let Some(alert) = standing.alert else { return Ok(()) };
        let severity = rule.severity.name().to_owned();
        tx.emit(&AlertFired { alert, rule: key.0.clone(), module: key.1.clone(), severity })?;
        let text = format!("fires: {}", self.summary(key, standing));
        let details = json!({"alert": alert, "rule": key.0, "module": key.1});
        // What nobody is told of explains nothing to those who work on an incident.
        if standing.quiet.is_none() {
            note_in(tx, EntryKind::Alert, &text, details)?;
        }
        tracing::warn!(alert = %alert, rule = key.0, module = key.1, class = key.2, value = standing.value, "an alert fires");
        Ok(())
    }

    fn keep_alert(&self, tx: &mut Tx<'_>, key: &Key, standing: &Standing) -> Result<(), DbError> {
        let (Some(id), Some(rule)) = (standing.alert, self.rule(key)) else { return Ok(()) };
        let known = store::find_alert(tx, id)?;
        let taken = standing.page.and_then(|page| self.after.pages.iter().find(|known| known.id == page));
        let is_taken = taken.is_some_and(|page| page.ladder.acknowledged_at.is_some())
            // Of what nobody was told, somebody may know all the same.
            || standing.page.is_none() && known.as_ref().is_some_and(|known| known.state == AlertState::Acknowledged);
        let class = key.2.clone();
        // The finding itself says more than how many there are.
        let first =
            if rule.signal == q_slo::Signal::Findings { store::first_finding(tx, &key.1)? } else { None };
        let cause = first.or_else(|| standing.cause.clone());
        store::keep_alert(
            tx,
            &Alert {
                id,
                rule: key.0.clone(),
                module: key.1.clone(),
                summary: summary(rule, &key.1, &class, standing.value, cause.as_deref()),
                class,
                severity: rule.severity.name().to_owned(),
                state: if is_taken { AlertState::Acknowledged } else { AlertState::Firing },
                fired_at: known.map_or(tx.now(), |known| known.fired_at),
                resolved_at: None,
                resolved_by: None,
                value: standing.value,
                peak: standing.peak,
                threshold: rule.threshold,
                cause,
                quiet: standing.quiet.clone(),
                page: standing.page,
                runbook: rule.runbook.to_owned(),
            },
        )
    }

    /// Notes that an alert ended, by itself or by the word of `by`.
    pub(super) fn resolved(
        tx: &mut Tx<'_>,
        key: &Key,
        standing: &Standing,
        by: Option<&str>,
    ) -> Result<(), DbError> {
        let Some(id) = standing.alert else { return Ok(()) };
        let Some(mut alert) = store::find_alert(tx, id)? else { return Ok(()) };
        alert.state = AlertState::Resolved;
        alert.resolved_at = Some(tx.now());
        alert.resolved_by = by.map(str::to_owned);
        store::keep_alert(tx, &alert)?;
        let severity = alert.severity;
        tx.emit(&AlertResolved { alert: id, rule: key.0.clone(), module: key.1.clone(), severity })?;
        if alert.quiet.is_none() {
            let text = format!("is right again: {}", alert.summary);
            note_in(tx, EntryKind::Alert, &text, json!({"alert": id, "rule": key.0, "module": key.1}))?;
        }
        Ok(())
    }

    /// A page that is over is no more on the board; what is kept of it says when.
    fn close(&self, tx: &mut Tx<'_>, id: PageId) -> Result<(), DbError> {
        let Some(page) = self.before.pages.iter().find(|page| page.id == id) else { return Ok(()) };
        let mut page = page.clone();
        page.ladder.resolve(tx.now());
        store::keep_page(tx, &page)
    }

    /// Notes what is to be told for a step: once for each way of its rung.
    fn tell(&self, tx: &mut Tx<'_>, id: PageId, step: Step) -> Result<(), DbError> {
        let known = self.after.pages.iter().chain(&self.before.pages).find(|page| page.id == id);
        let Some(page) = known else { return Ok(()) };
        let rung = usize::from(step.rung.clamp(1, 4)) - 1;
        let alerts = store::alerts_of_page(tx, id)?;
        let entries = store::entries(tx, id)?;
        let message = message(page, step, &alerts, &entries, self.origin, tx.now());
        let ways = &self.watch.config.ways[rung];
        for way in ways {
            let mut recover = std::collections::BTreeMap::new();
            if *way == Way::Recover {
                if step.kind != StepKind::Tell {
                    continue;
                }
                for alert in alerts.iter().filter(|alert| alert.resolved_at.is_none()) {
                    let actions = self.watch.config.rule(&alert.rule).map_or(&[][..], |rule| rule.recovery);
                    let names = actions.iter().map(|action| action.name().to_owned());
                    let known: &mut Vec<String> = recover.entry(alert.module.clone()).or_default();
                    known.extend(names);
                    known.sort();
                    known.dedup();
                }
                recover.retain(|_, actions| !actions.is_empty());
                if recover.is_empty() {
                    continue;
                }
            }
            let order = Order { rung: q_slo::RUNGS[rung].to_owned(), message: message.clone(), recover };
            store::order(tx, id, &step.key(), &way.to_string(), &order)?;
        }
        if ways.is_empty() && step.kind == StepKind::Tell && step.number == 0 {
            let text = format!(
                "level {}, {}: nobody is set up to be told (ops.level_{})",
                step.rung,
                q_slo::RUNGS[rung],
                step.rung
            );
            store::add_entry(tx, id, "failed", AUTOMATIC, &text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_moves_otherwise_than_time_passes_has_jumped() {
        for (by_clock, passed, seconds) in
            [(5, 5, 0.0), (3_605, 5, 3_600.0), (-3_595, 5, 3_600.0), (0, 30, 30.0)]
        {
            let found = jump(Span::seconds(by_clock), Duration::from_secs(passed));
            assert!((found - seconds).abs() < 1e-9, "{by_clock} against {passed}: {found}");
        }
    }
}
