//! Taking a mandate: checked once, kept as it was signed.

use std::sync::Arc;

use q_core::{AuditEntry, Caller, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{CreateScheduleRequest, MANDATE_TYP, ScheduleId, TransactionId, plan_text, signing};

use super::{MANDATE_ORDER, not_now, paying};
use crate::{
    domain::{
        account::AccountId,
        currency::Currency,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp, Terms},
        recurrence::Rule,
        schedules::{self, CatchUp, Mandate, Progress, Turn},
    },
    error::Error,
    service::{
        Service,
        batch::check_no_request,
        beyond::Spending,
        commit::{Action, Item, Outcome, Work},
        directory::WalletEntry,
        payments::{check_fields, text},
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
        request_of, unexpected,
    },
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        plans::PlanRow,
        requests::Nonce,
        schedules::ScheduleRow,
    },
};

impl Service {
    /// Takes a mandate; of a subscription to a plan, and then the first period is paid in the same commit.
    pub(super) async fn open_schedule(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: CreateScheduleRequest,
        plan: Option<PlanRow>,
    ) -> Result<ScheduleId, Error> {
        let expires_at = check_form(&asked)?;
        let named_plan = plan.as_ref().map(|plan| plan_text(plan.id, plan.version));
        let input = signing::signing_input(&asked.order(&self.instance.did, named_plan.as_deref()));
        let input = text(input);
        let mandate = read(&asked, &input, self.env.now())?;
        let written = Rule::trusted(&mandate.terms())?;
        let request = request_of(asked.payer.as_str(), key);
        let names = [asked.wallet.as_str(), asked.recipient.as_str()];
        let mut found = self.directory.find_all(names.into_iter()).await?;
        let payee = found.pop().flatten();
        let payer = found.pop().flatten().filter(|entry| entry.row.owner == asked.payer);
        let signature =
            self.check_signature(&asked.signature, MANDATE_TYP, input.as_bytes(), &asked.payer).await?;
        // How often a rule occurs takes a while to count where it hardly does: not for strangers, who are refused below.
        let rule = if payer.is_some() && signature.is_ok() { Rule::read(&mandate.terms())? } else { written };
        let terms = Terms {
            amount: &asked.amount,
            currency: &asked.currency,
            max_fees: Some(&asked.max_fees),
            rail: INTERNAL_RAIL,
            expires_at,
        };
        // A second key is proved once, for the most that the mandate allows: nobody is there when it is paid.
        let step_up = self.step_up_of(caller, &asked.payer);
        let facts = self.facts(payer.as_deref(), payee.as_deref(), signature);
        let decided = payment::decide(&terms, &Facts { step_up, ..facts });
        let decided = decided.and_then(|decided| {
            check_most(&asked, &decided, step_up)?;
            Ok(decided)
        });
        let decided = match decided {
            Ok(decided) => decided,
            Err(refusal) => {
                let parties = (payer.as_deref(), payee.as_deref());
                let refusal = match &plan {
                    Some(_) => self.limits_first(refusal, parties, &asked.currency, &asked.amount).await?,
                    None => refusal,
                };
                return match self.refusal_or_replay(request, refusal).await {
                    Ok(answer) => Ok(ScheduleId::from_bytes(answer)),
                    Err(error) => Err(self.told_as(Spending::Mandate, error, payer.as_deref()).await),
                };
            }
        };
        let (Some(payer), Some(payee)) = (payer, payee) else { return Err(unexpected()) };
        if let Err(refusal) = self.profile_rules(&payer).await?.check(&payee, asked.purpose.is_some()) {
            return Ok(ScheduleId::from_bytes(self.refusal_or_replay(request, refusal).await?));
        }
        // What no time of the rule could pay is said now, and not when it is due.
        let first = (decided.currency, decided.amount);
        if let Some(refusal) = self.never_paid(&payer, &payee, first).await? {
            return match self.refusal_or_replay(request, refusal).await {
                Ok(answer) => Ok(ScheduleId::from_bytes(answer)),
                Err(error) => Err(self.told_as(Spending::Mandate, error, Some(&payer)).await),
            };
        }
        let opening = self.opening(asked, input.clone(), &decided, &rule, (&payer, &payee), plan)?;
        let id = opening.row.id;
        let work = Work {
            request,
            nonce: Some(Nonce::of(opening.row.signer.as_str(), &opening.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: MANDATE_ORDER,
                signer: opening.row.signer.to_string(),
                input,
                signatures: opening.row.signature.clone(),
            }),
            action: Action::Record(Arc::new(opening)),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => Ok(id),
            Outcome::Replayed(answer) => Ok(ScheduleId::from_bytes(answer)),
            Outcome::Refused(refusal) => Err(self.refused_as(Spending::Mandate, refusal, &payer).await),
        }
    }

    fn opening(
        &self,
        asked: CreateScheduleRequest,
        input: String,
        plan: &Plan,
        rule: &Rule,
        (payer, payee): (&WalletEntry, &WalletEntry),
        subscribed: Option<PlanRow>,
    ) -> Result<Opening, Error> {
        let id = ScheduleId::new(&self.env);
        let mut occurrences = rule.occurrences();
        let first = occurrences.next().ok_or(Error::Inconsistent("an occurrence of a rule"))?;
        let now = self.env.now();
        let purpose = asked.purpose.as_deref();
        let first_run = subscribed.as_ref().map(|_| {
            let transaction = TransactionId::new(&self.env);
            let purpose = purpose
                .map(|purpose| self.seal("transactions", "purpose", &transaction.to_string(), purpose));
            let item = Item {
                id: transaction,
                kind: TransactionKind::Charge,
                legs: plan.legs.clone(),
                intent: None,
                client_ref: asked.client_ref.clone(),
                purpose,
            };
            (Turn { pay: Some(first), skipped: 0, next: occurrences.next() }, item)
        });
        let row = ScheduleRow {
            id,
            signer: asked.payer,
            payer: payer.row.id,
            payee: payee.row.id,
            currency: plan.currency.id,
            amount: plan.amount,
            purpose: purpose.map(|purpose| self.seal("schedules", "purpose", &id.to_string(), purpose)),
            input,
            signature: asked.signature,
            plan: subscribed.as_ref().map(|plan| (plan.id, plan.version)),
            progress: Progress::begin(first),
            created_at: now,
        };
        let debit =
            plan.legs.first().map(|leg| leg.debit).ok_or(Error::Inconsistent("a payment's transfers"))?;
        Ok(Opening { row, nonce: asked.nonce, currency: plan.currency, debit, first_run, subscribed })
    }
}

/// A mandate on its way into the store.
#[derive(Debug)]
struct Opening {
    row: ScheduleRow,
    nonce: String,
    currency: &'static Currency,
    debit: AccountId,
    /// The first payment of a subscription.
    first_run: Option<(Turn, Item)>,
    subscribed: Option<PlanRow>,
}

impl Record for Opening {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Schedules, self.row.id.bytes())
    }

    /// The row is not there yet.
    fn lock(&self, _: &mut Tx<'_>) -> Result<(), DbError> {
        Ok(())
    }

    fn accounts(&self) -> Vec<AccountId> {
        let legs = self.first_run.iter().flat_map(|(_, item)| &item.legs);
        [self.debit].into_iter().chain(legs.flat_map(|leg| [leg.debit, leg.credit])).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        if store::schedules::open_count(tx, &self.row.signer)? >= schedules::SCHEDULES_MAX {
            return Ok(Err(not_now("the payer has a thousand schedules: end one of them first")));
        }
        let row = ScheduleRow { created_at: moment.at, ..self.row.clone() };
        let steps = self.first_run.iter().map(|(_, item)| Step::Pay(item.clone())).collect();
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            store::schedules::insert(tx, &row)?;
            let facts = serde_json::json!({
                "payer": row.payer.to_string(),
                "payee": row.payee.to_string(),
                "units": row.amount.units().to_string(),
            });
            tx.audit(AuditEntry::change("schedule.create", Some(&row.signer), row.id).details(facts))?;
            if let Some((turn, item)) = &self.first_run {
                paying::note_run(
                    tx,
                    &row,
                    turn,
                    item.id,
                    self.subscribed.as_ref(),
                    self.currency,
                    moment.at,
                )?;
            }
            Ok(())
        };
        Ok(Ok(Decision { steps, answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}

/// Checks the form, and reads until when the mandate may be handed in.
fn check_form(asked: &CreateScheduleRequest) -> Result<Timestamp, Refusal> {
    asked.amount.check_form().map_err(Refusal::AmountForm)?;
    asked.max_fees.check_form().map_err(Refusal::AmountForm)?;
    if let Some(most) = &asked.max_amount {
        most.check_form().map_err(Refusal::AmountForm)?;
    }
    let client_ref = asked.client_ref.as_deref();
    check_fields(client_ref.unwrap_or("-"), &asked.nonce, asked.purpose.as_deref())?;
    check_no_request(client_ref.unwrap_or_default())?;
    CatchUp::from_name(&asked.catch_up).ok_or(Refusal::Malformed("catchUp"))?;
    for (field, at) in [("start", Some(&asked.start)), ("until", asked.until.as_ref())] {
        if at.is_some_and(|at| at.parse::<Timestamp>().is_err()) {
            return Err(Refusal::Malformed(field));
        }
    }
    asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))
}

/// The mandate as it will be read from the signed bytes, with a start that is neither too far away nor between seconds.
fn read(asked: &CreateScheduleRequest, input: &str, now: Timestamp) -> Result<Mandate, Refusal> {
    let mandate = Mandate::read(input).ok_or(Refusal::Malformed("timezone"))?;
    let is_whole = mandate.start.micros() == Timestamp::from_seconds(mandate.start.seconds()).micros();
    let is_near = mandate.start >= now - schedules::PAST_MAX && mandate.start <= now + schedules::AHEAD_MAX;
    if !is_whole || !is_near || mandate.payer != asked.payer {
        return Err(Refusal::Malformed("start"));
    }
    Ok(mandate)
}

/// The most is not less than what is paid at first.
fn check_most(asked: &CreateScheduleRequest, plan: &Plan, step_up: StepUp<'_>) -> Result<(), Refusal> {
    let Some(most) = &asked.max_amount else { return Ok(()) };
    let currency = plan.currency;
    let most = currency.read(most).map_err(|fault| Refusal::from(fault).of(currency))?;
    step_up.check(currency, most)?;
    if most < plan.amount { Err(Refusal::Malformed("maxAmount")) } else { Ok(()) }
}
