//! Compares what is planned with what is, and closes the gap: announces, pauses, checks, lets go.
//!
//! Each step is kept before it is carried out, and carrying it out twice changes nothing, so a desk that stops in the
//! middle goes on where it was.

use std::sync::Arc;

use futures_util::future::join_all;
use q_core::Span;
use q_db::{ModeKind, ModeOrder, Tx};
use q_ops_api::{
    incidents::{EntryKind, IncidentId, Severity},
    maintenance::{CheckResult, MaintenanceId, MaintenanceMode},
};
use q_runtime::Job;
use serde_json::json;

use super::{
    domain::{State, Step, due},
    service::say,
    store::{self, Kept},
};
use crate::{
    Desk, Error, NAME,
    incidents::{
        domain::AUTOMATIC,
        review::span,
        service::{Opening, note_in, open_in},
        store::NewEntry,
    },
    look::impact,
};

/// The pause between two rounds.
const KEEP_EVERY: Span = Span::seconds(2);
/// The most findings of a check that are told.
const FINDINGS_TOLD: usize = 3;

/// Keeps the windows, again and again.
pub(super) fn job(desk: &Arc<Desk>) -> Job {
    let desk = desk.clone();
    Job::every("keep-maintenance-windows", KEEP_EVERY, move || {
        let desk = desk.clone();
        async move { desk.keep_windows().await.map_err(|error| error.to_string()) }
    })
}

impl Desk {
    /// One round over every window that is not over.
    pub(crate) async fn keep_windows(&self) -> Result<(), Error> {
        let windows = self.db.read(store::open).await?;
        let kept = join_all(windows.into_iter().map(|window| self.keep_window(window.id))).await;
        kept.into_iter().collect()
    }

    /// Does everything that is due for one window.
    async fn keep_window(&self, id: MaintenanceId) -> Result<(), Error> {
        loop {
            let Some(window) = self.db.read(move |reader| store::find(reader, id)).await? else {
                return Ok(());
            };
            let now = self.env.now();
            match due(&window.state, window.from, window.to, &window.notify, &window.announced, now) {
                Step::Wait => return Ok(()),
                Step::Announce(leads) => self.announce(id, leads).await?,
                Step::Begin => {
                    self.move_on(id, "began", "Maintenance has begun", |w, now| w.state.begin(now)).await?;
                }
                Step::Finish => self.finish(id).await?,
                Step::Miss => {
                    let miss = |_: &Kept, now| Ok(State::Missed { at: now });
                    self.move_on(id, "missed", "Maintenance did not take place", miss).await?;
                }
                Step::Hold => {
                    self.hold(&window).await;
                    return Ok(());
                }
                Step::Check => {
                    self.check(&window).await?;
                    return Ok(());
                }
            }
        }
    }

    async fn announce(&self, id: MaintenanceId, leads: Vec<i64>) -> Result<(), Error> {
        self.db
            .write(move |tx| {
                let Some(mut window) = store::find(tx, id)? else { return Ok(()) };
                // The shortest of those that are due: one announcement covers the rest.
                let lead = leads.iter().min().copied().unwrap_or_default();
                let ahead = span(window.from.since(tx.now()));
                say(tx, &window, &format!("ahead {lead}"), &format!("Maintenance begins in {ahead}"))?;
                window.announced.extend(&leads);
                store::update(tx, &window)?;
                Ok(())
            })
            .await
    }

    async fn move_on(
        &self,
        id: MaintenanceId,
        what: &'static str,
        sentence: &'static str,
        next: impl Fn(&Kept, q_core::Timestamp) -> Result<State, super::domain::Refusal> + Send + 'static,
    ) -> Result<(), Error> {
        self.db
            .write(move |tx| {
                let Some(mut window) = store::find(tx, id)? else { return Ok(()) };
                // Somebody else may have moved it meanwhile; then there is nothing to do.
                let Ok(state) = next(&window, tx.now()) else { return Ok(()) };
                window.state = state;
                store::update(tx, &window)?;
                say(tx, &window, what, sentence)?;
                note(tx, &window, sentence)
            })
            .await
    }

    async fn finish(&self, id: MaintenanceId) -> Result<(), Error> {
        self.db
            .write(move |tx| {
                let Some(mut window) = store::find(tx, id)? else { return Ok(()) };
                let Ok(state) = window.state.finish() else { return Ok(()) };
                window.state = state;
                store::update(tx, &window)?;
                Ok(())
            })
            .await
    }

    /// Sees to it that every module of the window is paused as planned. What an operator ordered stays.
    async fn hold(&self, window: &Kept) {
        let order = order_of(window);
        let modules = self.modules_of(window);
        let told = modules.iter().map(|module| self.pause(module, &order));
        for error in join_all(told).await.into_iter().filter_map(Result::err) {
            tracing::warn!(maintenance.id = %window.id, %error, "a module could not be paused and is told again");
        }
    }

    async fn pause(&self, module: &str, order: &ModeOrder) -> Result<(), String> {
        let mode = self.mode_of(module).await.ok_or_else(|| format!("{module} does not say its mode"))?;
        let is_ours = mode.by == NAME;
        let is_as_wanted =
            mode.kind == order.kind && mode.until == order.until && mode.reason == order.reason;
        if (is_ours && is_as_wanted) || (!is_ours && mode.kind != ModeKind::Normal) {
            return Ok(());
        }
        self.set_mode(module, order).await
    }

    /// Checks every module while it is still paused. Lets go only when everything is in order.
    async fn check(&self, window: &Kept) -> Result<(), Error> {
        let modules = self.modules_of(window);
        let checked = join_all(modules.iter().map(|module| self.check_module(module))).await;
        let mut checks: Vec<CheckResult> = checked.into_iter().flatten().collect();
        if checks.iter().all(|check| check.is_passed) {
            checks.extend(join_all(modules.iter().map(|module| self.let_go(module))).await);
        }
        if checks.iter().all(|check| check.is_passed) {
            return self.completed(window.id, checks).await;
        }
        self.failed(window, checks).await
    }

    async fn check_module(&self, module: &str) -> Vec<CheckResult> {
        let result = |check: &str, is_passed, detail: String| CheckResult {
            module: module.to_owned(),
            check: check.to_owned(),
            is_passed,
            detail,
        };
        let look = self.look_at(module).await;
        let lacks = if look.lacks.is_empty() {
            String::new()
        } else {
            format!(", without {}", look.lacks.join(", "))
        };
        let health = result("health", look.serves(), format!("{}{lacks}", look.status));
        let verify = match self.verify(module).await {
            Ok(findings) if findings.is_empty() => result("verify", true, "sound".to_owned()),
            Ok(findings) => {
                let told: Vec<String> =
                    findings.iter().take(FINDINGS_TOLD).map(ToString::to_string).collect();
                result("verify", false, format!("{} findings: {}", findings.len(), told.join("; ")))
            }
            Err(error) => result("verify", false, error),
        };
        vec![health, verify]
    }

    /// Ends what this desk ordered, and says whether the module takes everything again.
    async fn let_go(&self, module: &str) -> CheckResult {
        let result = |is_passed, detail: String| CheckResult {
            module: module.to_owned(),
            check: "mode".to_owned(),
            is_passed,
            detail,
        };
        let Some(mode) = self.mode_of(module).await else {
            return result(false, "does not say its mode".to_owned());
        };
        if mode.by == NAME && mode.kind != ModeKind::Normal {
            let order = ModeOrder { kind: ModeKind::Normal, ..ModeOrder::default() };
            if let Err(error) = self.set_mode(module, &order).await {
                return result(false, error);
            }
        }
        match self.mode_of(module).await {
            Some(mode) if mode.is_normal() => result(true, "normal".to_owned()),
            Some(mode) => result(false, format!("{} by order of {}", mode.state(), mode.by)),
            None => result(false, "does not say its mode".to_owned()),
        }
    }

    async fn completed(&self, id: MaintenanceId, checks: Vec<CheckResult>) -> Result<(), Error> {
        let done = move |window: &Kept, now| match &window.state {
            State::Checking { started_at } => {
                Ok(State::Completed { started_at: *started_at, ended_at: now, checks: checks.clone() })
            }
            other => Err(super::domain::Refusal::NotNow(other.status(), "be completed")),
        };
        self.move_on(id, "completed", "Maintenance is completed", done).await
    }

    async fn failed(&self, window: &Kept, checks: Vec<CheckResult>) -> Result<(), Error> {
        // Reading goes on while people look; nothing is written on ground that was not found sound.
        let order = ModeOrder {
            kind: ModeKind::ReadOnly,
            reason: format!("checks after the maintenance {} failed", window.id),
            ..ModeOrder::default()
        };
        for module in self.modules_of(window) {
            if let Err(error) = self.pause(&module, &order).await {
                tracing::warn!(maintenance.id = %window.id, %error, "a module could not be kept read-only");
            }
        }
        let seen = impact(&self.look_at_all().await);
        let (id, fresh) = (window.id, IncidentId::new(&self.env));
        self.db
            .write(move |tx| {
                let Some(mut window) = store::find(tx, id)? else { return Ok(()) };
                let State::Checking { started_at } = window.state else { return Ok(()) };
                let cause = format!("maintenance {id}");
                let incident = match crate::incidents::store::find_by_cause(tx, &cause)? {
                    Some(open) => open.id,
                    None => open_in(tx, fresh, &opening(&window, cause), AUTOMATIC, &seen)?.id,
                };
                let failed: Vec<String> = checks
                    .iter()
                    .filter(|check| !check.is_passed)
                    .map(|check| format!("{} {}: {}", check.module, check.check, check.detail))
                    .collect();
                let new = NewEntry {
                    kind: EntryKind::Note,
                    by: AUTOMATIC.to_owned(),
                    text: crate::incidents::domain::shortened(&format!(
                        "checks after {id} failed: {}. The rollback plan: {}",
                        failed.join("; "),
                        window.rollback_plan
                    )),
                    details: json!({"maintenance": id}),
                };
                crate::incidents::store::append(tx, incident, &new)?;
                window.state = State::Failed { started_at, checks: checks.clone(), incident };
                store::update(tx, &window)?;
                say(
                    tx,
                    &window,
                    &format!("failed {}", tx.now().micros()),
                    "Maintenance could not be completed",
                )?;
                Ok(())
            })
            .await
    }
}

fn order_of(window: &Kept) -> ModeOrder {
    if matches!(window.state, State::Failed { .. }) {
        return ModeOrder {
            kind: ModeKind::ReadOnly,
            reason: format!("checks after the maintenance {} failed", window.id),
            ..ModeOrder::default()
        };
    }
    let kind = match window.mode {
        MaintenanceMode::ReadOnly => ModeKind::ReadOnly,
        MaintenanceMode::Full => ModeKind::Maintenance,
    };
    ModeOrder {
        kind,
        reason: format!("maintenance {}: {}", window.id, window.title),
        until: Some(window.to),
        ..ModeOrder::default()
    }
}

fn opening(window: &Kept, cause: String) -> Opening {
    Opening {
        title: format!("Maintenance not completed: {}", window.title).chars().take(200).collect(),
        severity: Severity::Sev2,
        modules: window.modules.clone(),
        text: Some(
            "The checks after maintenance failed. Reading goes on; changes are refused meanwhile.".to_owned(),
        ),
        began_at: None,
        cause: Some(cause),
    }
}

/// Notes a step on open incidents: a pause explains much.
fn note(tx: &mut Tx<'_>, window: &Kept, sentence: &str) -> Result<(), Error> {
    let text = format!("{sentence}: {} ({})", window.title, window.id);
    Ok(note_in(tx, EntryKind::Mode, &text, json!({"maintenance": window.id}))?)
}
