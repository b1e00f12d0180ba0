//! Paying what is due: each time once, whoever tries and how often.
//!
//! A schedule is looked at outside the executor, and its row is compared in the commit with what was seen: whoever comes
//! second finds another row and does nothing.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use q_auth::directory::DirectoryError;
use q_contract::Problem;
use q_core::{AuditEntry, Did, IdentityStatus, Span, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{Entitlements, TransactionId, events};

use super::{MANDATE_ORDER, code_of, not_now, parts_of};
use crate::{
    domain::{
        account::AccountId,
        currency::Currency,
        order::SignatureFault,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp, Terms},
        recurrence::Occurrence,
        schedules::{self, CatchUp, Mandate, State, Turn},
    },
    error::Error,
    service::{
        Service,
        beyond::Spending,
        commit::{Action, Item, Outcome, Work},
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    },
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        plans::PlanRow,
        requests::Request,
        schedules::{RunRow, ScheduleRow},
    },
};

/// How many schedules are looked at at once.
const DUE_MAX: u32 = 1_000;

/// How many of them are paid side by side, so that they share commits.
const SIDE_BY_SIDE: usize = 64;

/// How often the due ones are looked for again because there were many, or because one is due for several times.
const ROUNDS_MAX: usize = 64;

/// After how long one that could not be tended is looked at again.
const PUT_OFF: Span = Span::seconds(60);

/// Somebody was faster, or its payer changed it.
const STALE: Refusal = not_now("it was paid, changed or ended meanwhile");

impl Service {
    /// Pays what is due. Work that nobody asks for: not while the module is paused, nor after a jump of the clock; what
    /// is missed then is treated as its mandate says.
    pub async fn tend_schedules(&self) -> Result<(), Error> {
        let mut failed = Ok(());
        for _ in 0..ROUNDS_MAX {
            if self.clock_jump().is_some() || !self.db.mode().is_normal() {
                return Ok(());
            }
            let now = self.env.now();
            let due = self.db.read(move |reader| store::schedules::due(reader, now, DUE_MAX)).await?;
            if due.is_empty() {
                break;
            }
            let tended: Vec<Result<(), Error>> = stream::iter(due)
                .map(|row| async move {
                    let tended = self.tend_schedule(row.clone(), now).await;
                    if tended.is_err() {
                        self.put_off(row).await?;
                    }
                    tended
                })
                .buffer_unordered(SIDE_BY_SIDE)
                .collect()
                .await;
            failed = failed.and(tended.into_iter().collect());
        }
        failed
    }

    /// Looks at a schedule that cannot be tended again a little later, behind those that can: however many there are, they
    /// keep none of the others waiting. That is no attempt to pay.
    async fn put_off(&self, row: ScheduleRow) -> Result<(), Error> {
        self.change_seen(row, |_, row, now| {
            row.progress.due_at = Some(now + PUT_OFF);
            Ok(())
        })
        .await
    }

    async fn tend_schedule(&self, row: ScheduleRow, now: Timestamp) -> Result<(), Error> {
        if row.progress.state == State::Ending {
            return self.change_seen(row, finish).await;
        }
        let (currency, mandate) = parts_of(&row)?;
        let catch_up = CatchUp::from_name(&mandate.catch_up).ok_or(Error::Inconsistent("a mandate"))?;
        let Some(next) = row.progress.next else { return Err(Error::Inconsistent("when a schedule is due")) };
        let turn = schedules::turn(&mandate.rule()?, next, row.progress.attempts, catch_up, now);
        let Some(turn) = turn else { return Ok(()) };
        let Some(occurrence) = turn.pay else {
            return self
                .change_seen(row, move |_, row, now| {
                    row.progress = row.progress.moved_on(turn.next, turn.skipped, now);
                    Ok(())
                })
                .await;
        };
        let run = match self.run_of(&row, &mandate, currency, turn, occurrence, now).await {
            Ok(run) => run,
            Err(Error::Refused(refusal)) => {
                return self.note_refusal(row, turn, occurrence, code_of(refusal)).await;
            }
            Err(error) => return Err(error),
        };
        let id = schedules::occurrence_id(row.id, occurrence);
        let mut key = [0; 16];
        key.copy_from_slice(&id[..16]);
        let work = Work {
            request: Some(Request { key, fingerprint: id }),
            nonce: None,
            expires_at: None,
            order: Some(OrderRow {
                id: 0,
                kind: MANDATE_ORDER,
                signer: row.signer.to_string(),
                input: row.input.clone(),
                signatures: row.signature.clone(),
            }),
            action: Action::Record(Arc::new(run)),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => Ok(()),
            Outcome::Refused(refusal) if refusal == STALE => Ok(()),
            Outcome::Refused(refusal) => {
                let code = match self.directory.find(&row.payer.to_string()).await? {
                    // Told as a limit that was exceeded, where it is one.
                    Some(payer) => {
                        Problem::from(self.refused_as(Spending::Mandate, refusal, &payer).await).code
                    }
                    None => code_of(refusal),
                };
                self.note_refusal(row, turn, occurrence, code).await
            }
        }
    }

    /// The payment of one occurrence, decided but for what only the books know.
    async fn run_of(
        &self,
        row: &ScheduleRow,
        mandate: &Mandate,
        currency: &'static Currency,
        turn: Turn,
        occurrence: Occurrence,
        now: Timestamp,
    ) -> Result<Run, Error> {
        self.check_signer(&row.signer).await?;
        let mut paid = row.clone();
        let plan = match row.plan {
            Some((plan, version)) => Some(self.renewed(mandate, currency, plan, version).await?),
            None => None,
        };
        if let Some(plan) = &plan {
            (paid.amount, paid.plan) = (plan.price, Some((plan.id, plan.version)));
        }
        let names = [row.payer.to_string(), row.payee.to_string()];
        let mut found = self.directory.find_all(names.iter().map(String::as_str)).await?;
        let payee = found.pop().flatten();
        let payer = found.pop().flatten().filter(|entry| entry.row.owner == row.signer);
        let amount = currency.text(paid.amount);
        let terms = Terms {
            amount: &amount,
            currency: currency.code,
            max_fees: Some(&mandate.max_fees),
            rail: INTERNAL_RAIL,
            // The mandate has no end but its rule's.
            expires_at: now + Span::seconds(60),
        };
        let facts = self.facts(payer.as_deref(), payee.as_deref(), Ok(()));
        // A second key was proved for as much when the mandate was taken.
        let facts = Facts { step_up: StepUp::Done, ..facts };
        let Plan { legs, .. } = payment::decide(&terms, &facts)?;
        if let (Some(payer), Some(payee)) = (&payer, &payee) {
            self.profile_rules(payer).await?.check(payee, false)?;
        }
        let id = TransactionId::new(&self.env);
        let purpose = self.unseal("schedules", "purpose", &row.id.to_string(), row.purpose.as_deref())?;
        let item = Item {
            id,
            kind: TransactionKind::Charge,
            legs,
            intent: None,
            client_ref: mandate.client_ref.clone(),
            purpose: purpose.map(|purpose| self.seal("transactions", "purpose", &id.to_string(), &purpose)),
        };
        Ok(Run { seen: row.clone(), paid, turn, occurrence, item, plan, currency })
    }

    /// Whoever signed may still act. A key that was changed since does not matter: it was good when the mandate was taken.
    async fn check_signer(&self, signer: &Did) -> Result<(), Error> {
        let gone = || Err(Refusal::Signature(SignatureFault::KeyUnknown).into());
        match self.keys.standing(signer).await {
            Ok(standing) if standing.status == IdentityStatus::Active => Ok(()),
            Ok(_) | Err(DirectoryError::Unknown | DirectoryError::LogRefused(_)) => gone(),
            Err(error @ DirectoryError::Unavailable(_)) => Err(error.into()),
        }
    }

    async fn note_refusal(
        &self,
        row: ScheduleRow,
        turn: Turn,
        occurrence: Occurrence,
        code: String,
    ) -> Result<(), Error> {
        self.change_seen(row, move |tx, row, now| {
            let is_plan = row.plan.is_some();
            row.progress = row.progress.refused(&turn, is_plan, &code, now);
            tx.emit(&events::ScheduleFailed {
                schedule_id: row.id,
                payer: row.payer,
                due_at: occurrence.at,
                code: code.clone(),
                attempts: row.progress.attempts,
                retry_at: row.progress.due_at,
            })?;
            match row.progress.state {
                State::Paused => {
                    let code = Some(code.clone());
                    tx.emit(&events::SchedulePaused { schedule_id: row.id, payer: row.payer, code })?;
                }
                State::Ended => lapse(tx, row, now)?,
                State::Active | State::Ending => {}
            }
            let facts = serde_json::json!({"code": code, "attempts": row.progress.attempts});
            tx.audit(AuditEntry::change("schedule.fail", None, row.id).details(facts))?;
            Ok(())
        })
        .await
    }

    /// Changes how far a schedule got, unless somebody else changed it since it was seen.
    async fn change_seen(
        &self,
        seen: ScheduleRow,
        change: impl Fn(&mut Tx<'_>, &mut ScheduleRow, Timestamp) -> Result<(), DbError> + Send + 'static,
    ) -> Result<(), Error> {
        self.db
            .write_locked(move |tx| {
                store::schedules::lock(tx, seen.id)?;
                let Some(mut row) = store::schedules::find(tx, seen.id)?.filter(|row| *row == seen) else {
                    return Ok(());
                };
                let now = tx.now();
                change(tx, &mut row, now)?;
                keep(tx, seen.progress.state, &row)
            })
            .await
            .map_err(Error::Storage)
    }
}

/// One payment of a schedule in the executor.
#[derive(Debug)]
struct Run {
    /// The schedule as it was when this was decided.
    seen: ScheduleRow,
    /// The same, with what is paid.
    paid: ScheduleRow,
    turn: Turn,
    occurrence: Occurrence,
    item: Item,
    plan: Option<PlanRow>,
    currency: &'static Currency,
}

impl Record for Run {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Schedules, self.seen.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::schedules::lock(tx, self.seen.id)
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.item.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let is_seen = store::schedules::find(tx, self.seen.id)?.is_some_and(|row| row == self.seen);
        // The clock of the commit has the last word.
        if !is_seen || self.occurrence.at > moment.at {
            return Ok(Err(STALE));
        }
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            let entry = AuditEntry::change("schedule.run", None, self.seen.id);
            let facts = serde_json::json!({
                "transaction": self.item.id.to_string(),
                "units": self.paid.amount.units().to_string(),
            });
            tx.audit(entry.details(facts))?;
            note_run(tx, &self.paid, &self.turn, self.item.id, self.plan.as_ref(), self.currency, moment.at)
        };
        let steps = vec![Step::Pay(self.item.clone())];
        Ok(Ok(Decision { steps, answer: self.item.id.bytes(), write: Box::new(write) }))
    }
}

/// Writes that a schedule paid.
pub(super) fn note_run(
    tx: &mut Tx<'_>,
    row: &ScheduleRow,
    turn: &Turn,
    transaction: TransactionId,
    plan: Option<&PlanRow>,
    currency: &Currency,
    at: Timestamp,
) -> Result<(), DbError> {
    let Some(occurrence) = turn.pay else { return Ok(()) };
    let run = RunRow { schedule: row.id, occurrence, paid_at: at, amount: row.amount, transaction };
    store::schedules::insert_run(tx, &run)?;
    let before = row.progress.state;
    let row = ScheduleRow { progress: row.progress.paid(turn, plan.is_some(), at), ..row.clone() };
    tx.emit(&events::ScheduleRan {
        schedule_id: row.id,
        payer: row.payer,
        payee: row.payee,
        due_at: occurrence.at,
        amount: currency.text(row.amount),
        currency: currency.code.to_owned(),
        transaction_id: transaction,
    })?;
    keep(tx, before, &row)?;
    if let (Some(plan), Some(paid_until)) = (plan, row.progress.paid_until) {
        tell_plan(tx, &row, plan.entitlements.clone(), paid_until + schedules::GRACE)?;
    }
    Ok(())
}

/// Writes how far a schedule got that was `before`, and tells when it pays no more.
pub(super) fn keep(tx: &mut Tx<'_>, before: State, row: &ScheduleRow) -> Result<(), DbError> {
    let state = row.progress.state;
    if state != before && matches!(state, State::Ending | State::Ended) {
        let status = state.name().to_owned();
        tx.emit(&events::ScheduleEnded { schedule_id: row.id, payer: row.payer, status })?;
    }
    store::schedules::update(tx, row)
}

/// Ends a schedule; a subscription when what is paid for is over.
pub(super) fn end(tx: &mut Tx<'_>, row: &mut ScheduleRow, now: Timestamp) -> Result<(), DbError> {
    row.progress.next = None;
    match (row.plan, row.progress.paid_until) {
        (Some((plan, version)), Some(paid_until)) if paid_until > now => {
            (row.progress.state, row.progress.due_at) = (State::Ending, Some(paid_until));
            let plan = store::plans::find(tx, plan, Some(version))?;
            tell_plan(tx, row, plan.map(|plan| plan.entitlements).unwrap_or_default(), paid_until)
        }
        _ => finish(tx, row, now),
    }
}

/// A schedule is over, and with it what it paid for.
fn finish(tx: &mut Tx<'_>, row: &mut ScheduleRow, now: Timestamp) -> Result<(), DbError> {
    let progress = &mut row.progress;
    (progress.state, progress.next, progress.due_at, progress.ended_at) =
        (State::Ended, None, None, Some(now));
    lapse(tx, row, now)
}

/// What a plan granted is granted no more.
fn lapse(tx: &mut Tx<'_>, row: &ScheduleRow, now: Timestamp) -> Result<(), DbError> {
    tell_plan(tx, row, Entitlements::new(), now)
}

fn tell_plan(
    tx: &mut Tx<'_>,
    row: &ScheduleRow,
    entitlements: Entitlements,
    valid_until: Timestamp,
) -> Result<(), DbError> {
    let Some((plan, version)) = row.plan else { return Ok(()) };
    tx.emit(&events::PlanChanged {
        owner: row.signer.clone(),
        subscription_id: row.id,
        plan,
        version,
        payer: row.payer,
        payee: row.payee,
        entitlements,
        valid_until,
    })?;
    Ok(())
}
