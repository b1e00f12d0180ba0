//! Looks at the modules regularly: keeps how they were for the status page, notes what changes on open incidents, and
//! opens one when a module had to stop its writes.

use std::{collections::BTreeMap, sync::Arc};

use q_core::Span;
use q_db::StopCause;
use q_ops_api::incidents::{EntryKind, Severity};
use q_runtime::Job;
use serde_json::json;

use super::{
    domain::AUTOMATIC,
    service::{Opening, note_in},
    store::NewEntry,
};
use crate::{Desk, Error, look::Look, maintenance, status::looks};

/// The pause between two looks.
const LOOK_EVERY: Span = Span::seconds(15);

/// Looks again and again.
pub(super) fn job(desk: &Arc<Desk>) -> Job {
    let desk = desk.clone();
    Job::every("look-at-modules", LOOK_EVERY, move || {
        let desk = desk.clone();
        async move { desk.keep_looking().await.map_err(|error| error.to_string()) }
    })
}

impl Desk {
    /// One look at everything.
    pub(crate) async fn keep_looking(&self) -> Result<(), Error> {
        let seen = self.look_at_all().await;
        self.learn_abouts(&seen).await;
        let kept = seen.clone();
        self.db.write(move |tx| keep(tx, &kept)).await?;
        for (module, look) in &seen {
            if let Some(stop) = look.mode.as_ref().and_then(|mode| mode.write_stop.as_ref())
                && stop.cause == StopCause::Damage
            {
                self.write_stop(module, &stop.reason, stop.since, &seen).await?;
            }
        }
        Ok(())
    }

    /// A module found damage in what it keeps: the runbook's data corruption, opened without waiting for a person.
    async fn write_stop(
        &self,
        module: &str,
        reason: &str,
        since: q_core::Timestamp,
        seen: &BTreeMap<String, Look>,
    ) -> Result<(), Error> {
        let cause = format!("write-stop {module} {}", since.micros());
        let opening = Opening {
            title: format!("{module} takes no changes"),
            severity: Severity::Sev1,
            modules: vec![module.to_owned()],
            text: Some(
                "A check of what is stored failed. Reading goes on; changes are refused until it is sound again."
                    .to_owned(),
            ),
            began_at: Some(since.min(self.env.now())),
            cause: Some(cause.clone()),
        };
        // A stop that was dealt with once is not a new incident because it still stands.
        let is_known = self.db.read(move |reader| super::store::was_opened_by(reader, &cause)).await?;
        if is_known {
            return Ok(());
        }
        let incident = self.open_by_itself(opening, seen).await?;
        let note = NewEntry {
            kind: EntryKind::Note,
            by: AUTOMATIC.to_owned(),
            text: format!(
                "{module} stopped its writes: {reason}. Next: `q runbook data-corruption`, `q verify {module}`, \
                 `q backup list --clean`"
            ),
            details: json!({"module": module}),
        };
        self.db.write(move |tx| super::store::append(tx, incident.id, &note)).await?;
        Ok(())
    }
}

fn keep(tx: &mut q_db::Tx<'_>, seen: &BTreeMap<String, Look>) -> Result<(), Error> {
    let held = maintenance::store::held_modules(tx)?;
    for (module, look) in seen {
        let before = looks::find(tx, module)?;
        let mode = look.mode_word();
        looks::keep(tx, module, &look.status, mode)?;
        if !held.holds(module) {
            looks::count(tx, module, &look.status, mode)?;
        }
        let Some(before) = before else { continue };
        if before.status != look.status {
            let text = format!("{module} is {} after {}", look.status, before.status);
            let details =
                json!({"module": module, "from": before.status, "to": look.status, "lacks": look.lacks});
            note_in(tx, EntryKind::Impact, &text, details)?;
        }
        // A module that did not answer has no other mode, it has none that is known.
        if before.mode != mode && mode != "unknown" && before.mode != "unknown" {
            let by = look.mode.as_ref().map_or("", |mode| mode.by.as_str());
            let text = format!("{module} is in mode {mode} after {}", before.mode);
            let details = json!({"module": module, "from": before.mode, "to": mode, "by": by});
            note_in(tx, EntryKind::Mode, &text, details)?;
        }
    }
    Ok(())
}
