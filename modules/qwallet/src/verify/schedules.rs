//! Schedules: what they paid stands in the books under their mandates, within them, once for each time their rules occur.

use std::collections::BTreeSet;

use q_core::Amount;
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{MANDATE_TYP, ScheduleId};

use super::{Room, Scope, fees::proven};
use crate::{
    domain::{
        currency::Currency,
        recurrence::Rule,
        schedules::{Mandate, State},
    },
    service::schedules::MANDATE_ORDER,
    store::{self, schedules::ScheduleRow},
};

/// What schedules say.
#[derive(Default)]
pub(super) struct Schedules {
    /// The schedule whose payments are being read.
    current: Option<Current>,
}

struct Current {
    id: ScheduleId,
    row: ScheduleRow,
    rule: Option<Rule>,
    most: Option<Amount>,
    walls: BTreeSet<i64>,
}

impl Room for Schedules {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        store::schedules::for_each(reader, |id, read| {
            let (row, run) = match read {
                Ok(read) => read,
                Err(error) => {
                    found.push(Finding::new("schedule_unreadable", place(id), error.to_string()));
                    return Ok(());
                }
            };
            if self.current.as_ref().is_none_or(|current| current.id != id) {
                self.leave(found);
                self.current = Some(enter(row, found));
            }
            let Some(current) = &mut self.current else { return Ok(()) };
            let Some(run) = run else { return Ok(()) };
            let place = format!("schedule_runs {id} {}", run.row.occurrence.at);
            let said = (run.row.amount, current.row.payer, current.row.payee);
            if run.moved != Some(said) {
                let detail = format!("says {said:?}, its transaction says {:?}", run.moved);
                found.push(Finding::new("run_mismatch", &place, detail));
            }
            if run.order.as_deref() != Some(current.row.input.as_str()) {
                found.push(Finding::new("run_order", &place, "its transaction is not by this mandate"));
            }
            if current.most.is_some_and(|most| run.row.amount > most) {
                found.push(Finding::new("run_above_mandate", &place, "more than the mandate allows"));
            }
            let until = current.rule.as_ref().and_then(Rule::until);
            if until.is_some_and(|until| run.row.occurrence.at > until) {
                let detail = "it paid for a time after its mandate ended";
                found.push(Finding::new("run_outside_rule", &place, detail));
            }
            current.walls.insert(run.row.occurrence.wall);
            Ok::<_, DbError>(())
        })?;
        self.leave(found);
        for transaction in store::schedules::without_run(reader, MANDATE_ORDER)? {
            let detail = "was paid by a mandate, and no schedule says so";
            found.push(Finding::new("run_missing", format!("transactions {transaction}"), detail));
        }
        Ok(())
    }
}

impl Schedules {
    /// All of a schedule was read.
    fn leave(&mut self, found: &mut Vec<Finding>) {
        let Some(mut current) = self.current.take() else { return };
        let place = place(current.id);
        if i64::try_from(current.walls.len()) != Ok(current.row.progress.runs) {
            let detail = format!("says {} payments, has {}", current.row.progress.runs, current.walls.len());
            found.push(Finding::new("schedule_runs", &place, detail));
        }
        if let (Some(rule), Some(last)) = (&current.rule, current.walls.last().copied()) {
            for wall in rule.walls().take_while(|wall| *wall <= last) {
                current.walls.remove(&wall);
            }
            for wall in current.walls {
                let detail = format!("it paid at {wall}, when its rule does not occur");
                found.push(Finding::new("run_outside_rule", &place, detail));
            }
        }
    }
}

fn place(id: ScheduleId) -> String {
    format!("schedules {id}")
}

/// Checks the mandate of a schedule as a stranger would: with the key that its signature names. That it was the payer's,
/// the log of the payer says.
fn enter(row: ScheduleRow, found: &mut Vec<Finding>) -> Current {
    let id = row.id;
    let mut fault = |detail: &str| found.push(Finding::new("schedule_mandate", place(id), detail));
    let by = proven(&row.signature, MANDATE_TYP, row.input.as_bytes());
    if by.is_none_or(|by| by.signer != row.signer) {
        fault("the signature does not hold for the mandate");
    }
    let mandate = Mandate::read(&row.input);
    let rule = mandate.as_ref().and_then(|mandate| mandate.rule().ok());
    let currency = mandate.as_ref().and_then(|mandate| Currency::find(&mandate.currency));
    let most =
        mandate.as_ref().zip(currency).and_then(|(mandate, currency)| currency.read(mandate.most()).ok());
    if rule.is_none() || currency.map(|currency| currency.id) != Some(row.currency) {
        fault("the mandate cannot be read");
    }
    if most.is_none_or(|most| row.amount > most) {
        fault("the amount is more than the mandate allows");
    }
    let is_due = row.progress.due_at.is_some();
    if is_due != matches!(row.progress.state, State::Active | State::Ending) {
        fault("its state does not say whether it is due");
    }
    Current { id, row, rule, most, walls: BTreeSet::new() }
}
