//! Plans, and subscriptions to them.

use q_contract::codes;
use q_core::{AuditEntry, Caller, RequestKey, Span};
use qwallet_api::{
    CreateSubscriptionRequest, Entitlements, FOREIGN_ENTITLEMENT, ListPlansRequest, ListSubscriptionsRequest,
    Plan, PlanId, PlanPage, PutPlanRequest, ScheduleId, Subscription, SubscriptionPage, errors,
};

use crate::{
    domain::{
        currency::Currency,
        payment::{self, Refusal},
        recurrence::Period,
        schedules::Mandate,
    },
    error::Error,
    service::{Service, payments::party, request_of, unexpected},
    store::{self, plans::PlanRow, schedules::ScheduleRow},
};

/// The longest name of a plan.
const NAME_CHARACTERS_MAX: usize = 100;

/// The most that a plan grants.
const ENTITLEMENTS_MAX: usize = 32;

/// The greatest number that every program reads exactly (RFC 7493 section 2.2).
const ENTITLEMENT_MAX: u64 = (1 << 53) - 1;

/// How long ago the first period of a subscription may have begun when it is paid.
const BEGAN_MAX: Span = Span::seconds(3_600);

/// How far the clock of a payer may be ahead of ours.
const AHEAD_MAX: Span = Span::seconds(60);

const UNKNOWN: Refusal = Refusal::Record {
    code: &errors::PLAN_UNKNOWN,
    detail: "there is no such plan; GET /plans lists those that are offered",
};

impl Service {
    /// Offers a plan, or a new version of one.
    pub async fn put_plan(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: PutPlanRequest,
    ) -> Result<Plan, Error> {
        asked.price.check_form().map_err(Refusal::AmountForm)?;
        let is_name = !asked.name.is_empty()
            && asked.name.chars().count() <= NAME_CHARACTERS_MAX
            && !asked.name.chars().any(char::is_control);
        if !is_name {
            return Err(Refusal::Malformed("name").into());
        }
        let period = Period::from_name(&asked.period).ok_or(Refusal::Malformed("period of the plan"))?;
        let is_operator = self.is_operator(caller);
        check_entitlements(&asked.entitlements, is_operator)?;
        let did = caller.did().ok_or(Refusal::WalletNotFound)?.clone();
        let wallet = self.directory.find(did.as_str()).await?.ok_or(Refusal::WalletNotFound)?;
        let (currency, price) = payment::read_amount(&asked.currency, &asked.price)?;
        let row = PlanRow {
            id: asked.plan_id.unwrap_or_else(|| PlanId::new(&self.env)),
            version: 1,
            owner: did,
            payee: wallet.row.id,
            name: asked.name,
            currency: currency.id,
            price,
            period,
            entitlements: asked.entitlements,
            is_offered: asked.offered,
            created_at: self.env.now(),
        };
        let is_new = asked.plan_id.is_none();
        let written = self.db.write_once(key, move |tx| {
            store::plans::lock(tx, row.id)?;
            let newest = store::plans::find(tx, row.id, None)?.filter(|newest| newest.owner == row.owner);
            let version = match newest {
                Some(newest) => newest.version + 1,
                None if is_new => 1,
                None => return Err(Error::Refused(UNKNOWN)),
            };
            let row = PlanRow { version, created_at: tx.now(), ..row.clone() };
            store::plans::insert(tx, &row)?;
            let facts = serde_json::json!({"version": version, "units": row.price.units().to_string()});
            tx.audit(AuditEntry::change("plan.put", Some(&row.owner), row.id).details(facts))?;
            Ok((row.id, version))
        });
        let (id, version) = written.await?.value;
        self.plan(id, Some(version)).await
    }

    /// A plan, in the newest version where none is named.
    pub async fn plan(&self, id: PlanId, version: Option<i64>) -> Result<Plan, Error> {
        let row = self.plan_row(id, version).await?;
        self.plan_answer(row).await
    }

    /// The plans that are offered.
    pub async fn plans(&self, asked: ListPlansRequest) -> Result<PlanPage, Error> {
        let payee = match &asked.payee {
            Some(name) => Some(self.directory.find(name).await?.ok_or(Refusal::WalletNotFound)?.row.id),
            None => None,
        };
        let (before, count) = (asked.cursor.unwrap_or(PlanId::from_bytes([0xff; 16])), asked.limit.rows());
        let rows = self.db.read(move |reader| store::plans::list(reader, payee, before, count)).await?;
        let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
        let next_cursor = rows.last().filter(|_| is_full).map(|row| row.id);
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(self.plan_answer(row).await?);
        }
        Ok(PlanPage { items, next_cursor })
    }

    /// Subscribes to a plan and pays for the first period.
    pub async fn subscribe(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: CreateSubscriptionRequest,
    ) -> Result<Subscription, Error> {
        let plan = self.plan_row(asked.plan_id, Some(asked.plan_version)).await?;
        let id = match self.check_subscription(&asked, &plan).await {
            Ok(()) => self.open_schedule(caller, key, asked.mandate, Some(plan)).await?,
            Err(Error::Refused(refusal)) => {
                let request = request_of(asked.mandate.payer.as_str(), key);
                ScheduleId::from_bytes(self.refusal_or_replay(request, refusal).await?)
            }
            Err(error) => return Err(error),
        };
        let row = self.db.read(move |reader| store::schedules::find(reader, id)).await?;
        self.subscription_answer(row.ok_or_else(unexpected)?).await
    }

    /// The caller's subscriptions.
    pub async fn subscriptions(
        &self,
        caller: &Caller,
        asked: ListSubscriptionsRequest,
    ) -> Result<SubscriptionPage, Error> {
        let did = caller.did().ok_or(super::NOT_FOUND)?.clone();
        let before = asked.cursor.unwrap_or(ScheduleId::from_bytes([0xff; 16]));
        let count = asked.limit.rows();
        let rows = self
            .db
            .read(move |reader| store::schedules::list(reader, &did, None, true, before, count))
            .await?;
        let next_cursor = super::last_of(&rows, count);
        let mut items = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let item = match row {
                Ok(row) => self.subscription_answer(row).await,
                Err(error) => Err(error.into()),
            };
            items.extend(super::readable(id, item)?);
        }
        Ok(SubscriptionPage { items, next_cursor })
    }

    /// One subscription of the caller.
    pub async fn subscription(&self, caller: &Caller, id: ScheduleId) -> Result<Subscription, Error> {
        let row = self.schedule_of(caller, id).await?;
        self.subscription_answer(row).await
    }

    /// Ends a subscription of the caller when what is paid for is over.
    pub async fn end_subscription(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: ScheduleId,
    ) -> Result<Subscription, Error> {
        self.subscription(caller, id).await?;
        self.end_schedule(caller, key, id).await?;
        self.subscription(caller, id).await
    }

    /// The version of a plan that a renewal pays for: the newest that the mandate covers.
    pub(super) async fn renewed(
        &self,
        mandate: &Mandate,
        currency: &'static Currency,
        id: PlanId,
        version: i64,
    ) -> Result<PlanRow, Error> {
        let kept = self.plan_row(id, Some(version)).await?;
        let newest = self.plan_row(id, None).await?;
        let most = currency.read(mandate.most()).map_err(|_| Error::Inconsistent("a mandate"))?;
        let is_covered = newest.price <= most
            && newest.currency == kept.currency
            && newest.period == kept.period
            && newest.payee == kept.payee;
        Ok(if is_covered { newest } else { kept })
    }

    /// A mandate says what the plan says.
    async fn check_subscription(
        &self,
        asked: &CreateSubscriptionRequest,
        plan: &PlanRow,
    ) -> Result<(), Error> {
        let mandate = &asked.mandate;
        let now = self.env.now();
        let malformed = |field| Err(Error::Refused(Refusal::Malformed(field)));
        let Ok(start) = mandate.start.parse() else { return malformed("mandate.start") };
        if plan.period.rule(start, &mandate.timezone)? != mandate.rrule {
            return malformed("mandate.rrule");
        }
        if mandate.until.is_some() || mandate.count.is_some() {
            return malformed("mandate.until");
        }
        if mandate.catch_up != "once" {
            return malformed("mandate.catchUp");
        }
        mandate.amount.check_form().map_err(Refusal::AmountForm)?;
        let (currency, amount) = payment::read_amount(&mandate.currency, &mandate.amount)?;
        if currency.id != plan.currency || amount != plan.price {
            return malformed("mandate.amount");
        }
        let payee = self.directory.find(&mandate.recipient).await?;
        if payee.is_none_or(|payee| payee.row.id != plan.payee) {
            return malformed("mandate.recipient");
        }
        if start > now + AHEAD_MAX || start < now - BEGAN_MAX {
            return malformed("mandate.start");
        }
        let newest = self.plan_row(plan.id, None).await?;
        if newest.version != plan.version || !newest.is_offered {
            return Err(super::not_now("this version of the plan is not offered any more").into());
        }
        Ok(())
    }

    async fn plan_row(&self, id: PlanId, version: Option<i64>) -> Result<PlanRow, Error> {
        if version.is_some_and(|version| version < 1) {
            return Err(UNKNOWN.into());
        }
        let row = self.db.read(move |reader| store::plans::find(reader, id, version)).await?;
        row.ok_or(Error::Refused(UNKNOWN))
    }

    async fn plan_answer(&self, row: PlanRow) -> Result<Plan, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let payee = self.directory.find(&row.payee.to_string()).await?;
        let payee = payee.ok_or(Error::Inconsistent("a payee's wallet"))?;
        Ok(Plan {
            plan_id: row.id,
            version: row.version,
            name: row.name,
            payee: party(&payee),
            price: currency.text(row.price),
            currency: currency.code.to_owned(),
            period: row.period.name().to_owned(),
            entitlements: row.entitlements,
            offered: row.is_offered,
            created_at: row.created_at,
        })
    }

    async fn subscription_answer(&self, row: ScheduleRow) -> Result<Subscription, Error> {
        let Some(((plan, version), paid_until)) = row.plan.zip(row.progress.paid_until) else {
            return Err(super::NOT_FOUND.into());
        };
        let plan = self.plan(plan, Some(version)).await?;
        let schedule = self.schedule_answer(row).await?;
        Ok(Subscription {
            subscription_id: schedule.schedule_id,
            status: schedule.status.clone(),
            plan,
            paid_until,
            schedule,
        })
    }
}

/// Modules believe what a plan grants by a name of theirs, so only operators offer that.
fn check_entitlements(entitlements: &Entitlements, is_operator: bool) -> Result<(), Refusal> {
    let is_name = |name: &str| {
        name.len() <= 64
            && name.contains('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte))
    };
    let is_well = entitlements.len() <= ENTITLEMENTS_MAX
        && entitlements.iter().all(|(name, value)| is_name(name) && *value <= ENTITLEMENT_MAX);
    if !is_well {
        return Err(Refusal::Malformed("entitlements"));
    }
    if !is_operator && !entitlements.keys().all(|name| name.starts_with(FOREIGN_ENTITLEMENT)) {
        let detail = "only an operator's plan grants what modules give; other names begin with x-";
        return Err(Refusal::Record { code: &codes::FORBIDDEN, detail });
    }
    Ok(())
}
