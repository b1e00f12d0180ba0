//! Payments that come back: mandates taken, changed and ended; paying what is due is in [`paying`].
//!
//! **Invariant:** a schedule pays at most once for each time its rule occurs, and never more than its mandate says.

mod opening;
mod paying;
mod plans;

use std::sync::Arc;

use q_core::{AuditEntry, Caller, RequestKey, Timestamp};
use q_db::DbError;
use qwallet_api::{
    CreateScheduleRequest, ListSchedulesRequest, Schedule, ScheduleFailure, ScheduleId, SchedulePage,
    ScheduleRun, UpdateScheduleRequest, errors, events,
};

use super::{Service, beyond::Spending, directory::WalletEntry, payments::party, unexpected};
use crate::{
    domain::{
        currency::Currency,
        payment::Refusal,
        schedules::{self, Mandate, State},
    },
    error::Error,
    store::{self, schedules::ScheduleRow},
};

/// The number of a mandate's order in the store.
pub(crate) const MANDATE_ORDER: i64 = 5;

/// How many times ahead are told, and how many payments back.
const TOLD_RUNS: u32 = 5;

const NOT_FOUND: Refusal = Refusal::Record {
    code: &errors::SCHEDULE_NOT_FOUND,
    detail: "the schedule does not exist, or is not yours",
};

const fn not_now(detail: &'static str) -> Refusal {
    Refusal::Record { code: &errors::SCHEDULE_STATE, detail }
}

/// The next free change of a schedule, decided before its row is locked.
#[derive(Debug, Clone)]
enum Change {
    Pause,
    Resume,
    End,
}

impl Service {
    /// Takes a mandate.
    pub async fn create_schedule(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: CreateScheduleRequest,
    ) -> Result<Schedule, Error> {
        let id = self.open_schedule(caller, key, asked, None).await?;
        let row = self.db.read(move |reader| store::schedules::find(reader, id)).await?;
        self.schedule_answer(row.ok_or_else(unexpected)?).await
    }

    /// The caller's schedules.
    pub async fn schedules(
        &self,
        caller: &Caller,
        asked: ListSchedulesRequest,
    ) -> Result<SchedulePage, Error> {
        let did = caller.did().ok_or(NOT_FOUND)?.clone();
        let state = match asked.status.as_deref() {
            Some(name) => Some(State::from_name(name).ok_or(Refusal::Malformed("status"))?),
            None => None,
        };
        let before = asked.cursor.unwrap_or(ScheduleId::from_bytes([0xff; 16]));
        let count = asked.limit.rows();
        let rows = self
            .db
            .read(move |reader| store::schedules::list(reader, &did, state, false, before, count))
            .await?;
        let next_cursor = last_of(&rows, count);
        let mut items = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let item = match row {
                Ok(row) => self.schedule_answer(row).await,
                Err(error) => Err(error.into()),
            };
            items.extend(readable(id, item)?);
        }
        Ok(SchedulePage { items, next_cursor })
    }

    /// One schedule of the caller.
    pub async fn schedule(&self, caller: &Caller, id: ScheduleId) -> Result<Schedule, Error> {
        let row = self.schedule_of(caller, id).await?;
        self.schedule_answer(row).await
    }

    /// Pauses a schedule, lets it go on, or changes its amount within the mandate.
    pub async fn update_schedule(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: UpdateScheduleRequest,
    ) -> Result<Schedule, Error> {
        let row = self.schedule_of(caller, asked.schedule_id).await?;
        let change = match asked.status.as_deref() {
            None => None,
            Some("PAUSED") => Some(Change::Pause),
            Some("ACTIVE") => Some(Change::Resume),
            Some(_) => return Err(Refusal::Malformed("status").into()),
        };
        let amount = match &asked.amount {
            None => None,
            Some(text) => {
                text.check_form().map_err(Refusal::AmountForm)?;
                let (currency, mandate) = parts_of(&row)?;
                let read = |text| currency.read(text).map_err(|fault| Refusal::from(fault).of(currency));
                let amount = read(text)?;
                if amount > read(mandate.most())? {
                    return Err(not_now("more than the mandate allows: sign another one").into());
                }
                Some(amount)
            }
        };
        if row.plan.is_some() {
            return Err(not_now("a subscription is ended, and the plan says what it costs").into());
        }
        let goes_on = matches!(change, Some(Change::Resume));
        if (amount.is_some() || goes_on)
            && let Some((refusal, payer)) = self.never_paid_by(&row, amount.unwrap_or(row.amount)).await?
        {
            // Whoever asks again under a key gets the first answer, whatever the limits are since.
            return match self.db.write_once(key, move |_| Err::<(), _>(Error::from(refusal))).await {
                Ok(_) => self.schedule(caller, asked.schedule_id).await,
                Err(error) => Err(self.told_as(Spending::Mandate, error, Some(&payer)).await),
            };
        }
        self.change_schedule(caller, key, row, change, amount).await?;
        self.schedule(caller, asked.schedule_id).await
    }

    /// Why a schedule can never pay so much as things are, and who would.
    async fn never_paid_by(
        &self,
        row: &ScheduleRow,
        amount: q_core::Amount,
    ) -> Result<Option<(Refusal, Arc<WalletEntry>)>, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let names = [row.payer.to_string(), row.payee.to_string()];
        let mut found = self.directory.find_all(names.iter().map(String::as_str)).await?;
        let (Some(payee), Some(payer)) = (found.pop().flatten(), found.pop().flatten()) else {
            return Ok(None);
        };
        let refusal = self.never_paid(&payer, &payee, (currency, amount)).await?;
        Ok(refusal.map(|refusal| (refusal, payer)))
    }

    /// Ends a schedule; a subscription when what is paid for is over.
    pub async fn end_schedule(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: ScheduleId,
    ) -> Result<Schedule, Error> {
        let row = self.schedule_of(caller, id).await?;
        self.change_schedule(caller, key, row, Some(Change::End), None).await?;
        self.schedule(caller, id).await
    }

    async fn change_schedule(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        seen: ScheduleRow,
        change: Option<Change>,
        amount: Option<q_core::Amount>,
    ) -> Result<(), Error> {
        let by = caller.did().cloned();
        let (currency, mandate) = parts_of(&seen)?;
        let rule = mandate.rule()?;
        let changed = self.db.write_once(key, move |tx| {
            store::schedules::lock(tx, seen.id)?;
            let mut row = store::schedules::find(tx, seen.id)?.ok_or(NOT_FOUND)?;
            let (now, before) = (tx.now(), row.clone());
            match (row.progress.state, &change) {
                (State::Ended | State::Ending, _) => {
                    return Err(Error::Refused(not_now("it is over, or will be by itself")));
                }
                (State::Paused, Some(Change::Pause)) | (State::Active, Some(Change::Resume)) | (_, None) => {}
                (State::Active, Some(Change::Pause)) => {
                    row.progress.state = State::Paused;
                    row.progress.due_at = None;
                    let paused = events::SchedulePaused { schedule_id: row.id, payer: row.payer, code: None };
                    tx.emit(&paused)?;
                }
                (State::Paused, Some(Change::Resume)) => {
                    let (next, skipped) = schedules::resume(&rule, row.progress.next, now);
                    row.progress = row.progress.moved_on(next, skipped, now);
                    row.progress.failure = None;
                    if let Some(next) = row.progress.next {
                        let (schedule_id, payer) = (row.id, row.payer);
                        tx.emit(&events::ScheduleResumed { schedule_id, payer, next_at: next.at })?;
                    }
                }
                (State::Active | State::Paused, Some(Change::End)) => paying::end(tx, &mut row, now)?,
            }
            row.amount = amount.unwrap_or(row.amount);
            if row.amount != before.amount {
                let (amount, currency) = (currency.text(row.amount), currency.code.to_owned());
                let (schedule_id, payer) = (row.id, row.payer);
                tx.emit(&events::ScheduleChanged { schedule_id, payer, amount, currency })?;
            }
            paying::keep(tx, before.progress.state, &row)?;
            let what = match change {
                Some(Change::Pause) => "schedule.pause",
                Some(Change::Resume) => "schedule.resume",
                Some(Change::End) => "schedule.end",
                None => "schedule.change",
            };
            let facts = serde_json::json!({"units": row.amount.units().to_string()});
            tx.audit(AuditEntry::change(what, by.as_ref(), row.id).details(facts))?;
            Ok(())
        });
        changed.await.map(drop)
    }

    async fn schedule_of(&self, caller: &Caller, id: ScheduleId) -> Result<ScheduleRow, Error> {
        let row = self.db.read(move |reader| store::schedules::find(reader, id)).await?;
        let is_own = |row: &ScheduleRow| caller.did() == Some(&row.signer);
        row.filter(is_own).ok_or(Error::Refused(NOT_FOUND))
    }

    async fn schedule_answer(&self, row: ScheduleRow) -> Result<Schedule, Error> {
        let (currency, mandate) = parts_of(&row)?;
        let names = [row.payer.to_string(), row.payee.to_string()];
        let mut found = self.directory.find_all(names.iter().map(String::as_str)).await?;
        let payee = found.pop().flatten().ok_or(Error::Inconsistent("a payee's wallet"))?;
        let payer = found.pop().flatten().ok_or(Error::Inconsistent("a payer's wallet"))?;
        let id = row.id;
        let runs = self.db.read(move |reader| store::schedules::last_runs(reader, id, TOLD_RUNS)).await?;
        let last_runs = runs.into_iter().map(|run| ScheduleRun {
            due_at: run.occurrence.at,
            paid_at: run.paid_at,
            amount: currency.text(run.amount),
            transaction_id: run.transaction,
        });
        let progress = row.progress;
        let failure = progress.failure.map(|(code, at)| ScheduleFailure {
            code,
            at,
            attempts: progress.attempts,
            retry_at: progress.due_at,
        });
        let max_amount = currency.read(mandate.most()).map_err(|_| Error::Inconsistent("a mandate"))?;
        let max_fees =
            mandate.max_fees.parse(currency.scale).map_err(|_| Error::Inconsistent("a mandate"))?;
        Ok(Schedule {
            schedule_id: row.id,
            status: progress.state.name().to_owned(),
            payer: party(&payer),
            payee: party(&payee),
            amount: currency.text(row.amount),
            max_amount: currency.text(max_amount),
            max_fees: currency.text(max_fees),
            currency: currency.code.to_owned(),
            purpose: self.unseal("schedules", "purpose", &row.id.to_string(), row.purpose.as_deref())?,
            client_ref: mandate.client_ref.clone(),
            next_runs: next_runs(&mandate, progress.state, progress.next, self.env.now())?,
            rrule: mandate.rrule,
            timezone: mandate.timezone,
            start: mandate.start,
            until: mandate.until,
            count: mandate.count,
            catch_up: mandate.catch_up,
            last_runs: last_runs.collect(),
            runs: progress.runs,
            skipped: progress.skipped,
            failure,
            plan_id: row.plan.map(|(plan, _)| plan),
            created_at: row.created_at,
            ended_at: progress.ended_at,
        })
    }
}

/// Where the next page begins, if this one of `count` is full.
fn last_of<T>(rows: &[(ScheduleId, T)], count: u32) -> Option<ScheduleId> {
    let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
    rows.last().filter(|_| is_full).map(|(id, _)| *id)
}

/// What is shown of one of many: a row that is damaged keeps none of the others from being seen, and `verify` names it.
fn readable<T>(id: ScheduleId, item: Result<T, Error>) -> Result<Option<T>, Error> {
    match item {
        Ok(item) => Ok(Some(item)),
        Err(
            error @ (Error::Inconsistent(_) | Error::Storage(DbError::BadRow { .. }) | Error::Refused(_)),
        ) => {
            tracing::error!(%error, schedule = %id, "a schedule cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The currency and the mandate of a schedule.
fn parts_of(row: &ScheduleRow) -> Result<(&'static Currency, Mandate), Error> {
    let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
    let mandate = Mandate::read(&row.input).ok_or(Error::Inconsistent("a mandate"))?;
    Ok((currency, mandate))
}

/// When it pays next: from the next time on, or where it is paused what it would be if it went on now.
fn next_runs(
    mandate: &Mandate,
    state: State,
    next: Option<crate::domain::recurrence::Occurrence>,
    now: Timestamp,
) -> Result<Vec<Timestamp>, Error> {
    let Some(next) = next else { return Ok(Vec::new()) };
    let rule = mandate.rule()?;
    let from = match state {
        State::Active => Some(next),
        State::Paused => schedules::resume(&rule, Some(next), now).0,
        State::Ending | State::Ended => None,
    };
    let Some(from) = from else { return Ok(Vec::new()) };
    let later = rule.after(from.wall).map(|occurrence| occurrence.at);
    Ok([from.at].into_iter().chain(later).take(usize::try_from(TOLD_RUNS).unwrap_or(5)).collect())
}

/// What a refusal is called, where one is kept.
fn code_of(refusal: Refusal) -> String {
    q_contract::Problem::from(refusal).code
}
