//! Plans and subscriptions: what somebody offers for a price per period, and who pays for it by a mandate.

use std::collections::BTreeMap;

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, PageLimit, Timestamp};

use crate::{
    PlanId, ScheduleId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, CURRENCY_UNSUPPORTED,
        DAILY_LIMIT_EXCEEDED, FEES_EXCEED_MAXIMUM, INSUFFICIENT_FUNDS, INTENT_EXPIRED,
        MONTHLY_LIMIT_EXCEEDED, PLAN_UNKNOWN, QUEUE_FULL, RECIPIENT_UNKNOWN, RRULE_INVALID,
        SCHEDULE_NOT_FOUND, SCHEDULE_STATE, SELF_PAYMENT, SIGNATURE_INVALID, TX_LIMIT_EXCEEDED,
        WALLET_FROZEN, WALLET_NOT_FOUND,
    },
    schedules::{CreateScheduleRequest, Schedule},
    types::Party,
    wire::wire,
};

/// What a plan grants, by name, such as `qdrive.bytes`.
pub type Entitlements = BTreeMap<String, u64>;

/// What starts the names of what a plan grants that is not of the operators.
pub const FOREIGN_ENTITLEMENT: &str = "x-";

wire! {
    /// Offers a plan, or a new version of one: what is offered is never edited.
    pub struct PutPlanRequest {
        /// The plan of which this is a new version; a new plan when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan_id: Option<PlanId>,
        /// What it is called, at most 100 characters.
        pub name: String,
        /// What it costs each period.
        pub price: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What is paid for: `day`, `week`, `month` or `year`.
        pub period: String,
        /// What it grants, by name, such as `qdrive.bytes`; names of a plan that no operator offers begin with `x-`.
        pub entitlements: Entitlements,
        /// Whether anybody may subscribe; who has subscribed keeps it.
        #[serde(default = "yes")]
        pub offered: bool,
    }

    /// Names a plan.
    pub struct PlanPath {
        /// Its id.
        pub plan_id: PlanId,
        /// Its version; the newest when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub version: Option<i64>,
    }

    /// Asks for the plans that are offered, newest first.
    pub struct ListPlansRequest {
        /// Only those of this payee: DID, wallet id or reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub payee: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<PlanId>,
        /// How many at once.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// A version of a plan.
    pub struct Plan {
        /// The plan.
        pub plan_id: PlanId,
        /// The version, from 1.
        pub version: i64,
        /// What it is called.
        pub name: String,
        /// Who is paid.
        pub payee: Party,
        /// What it costs each period.
        pub price: AmountText,
        /// The currency's code.
        pub currency: String,
        /// `day`, `week`, `month` or `year`.
        pub period: String,
        /// What it grants.
        pub entitlements: Entitlements,
        /// Whether anybody may subscribe.
        pub offered: bool,
        /// When this version was made.
        pub created_at: Timestamp,
    }

    /// Some plans.
    pub struct PlanPage {
        /// Newest first, each in its newest version.
        pub items: Vec<Plan>,
        /// Where the next page begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<PlanId>,
    }

    /// Subscribes to a plan and pays for the first period at once.
    pub struct CreateSubscriptionRequest {
        /// The plan.
        pub plan_id: PlanId,
        /// Its version, which must be the newest.
        pub plan_version: i64,
        /// The mandate: its amount, currency and payee are the plan's, `start` is now or was in the last hour, `rrule` is
        /// `FREQ=` and the period (of a day that not every month has, the last such as
        /// `FREQ=MONTHLY;BYMONTHDAY=28,29,30,31;BYSETPOS=-1`), `catchUp` is `once`, and there is no end. Its signature
        /// covers the plan as `plan_…@1`.
        pub mandate: CreateScheduleRequest,
    }

    /// Names a subscription.
    pub struct SubscriptionPath {
        /// Its id, which is that of its schedule.
        pub subscription_id: ScheduleId,
    }

    /// Asks for the caller's subscriptions, newest first.
    pub struct ListSubscriptionsRequest {
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<ScheduleId>,
        /// How many at once.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// A plan that somebody pays for.
    pub struct Subscription {
        /// Its id.
        pub subscription_id: ScheduleId,
        /// `ACTIVE`, `ENDING` until what is paid for is over, or `ENDED`.
        pub status: String,
        /// The plan, in the version that is paid for.
        pub plan: Plan,
        /// The end of what is paid for.
        pub paid_until: Timestamp,
        /// How it is paid.
        pub schedule: Schedule,
    }

    /// Some subscriptions.
    pub struct SubscriptionPage {
        /// Newest first.
        pub items: Vec<Subscription>,
        /// Where the next page begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<ScheduleId>,
    }
}

json_types!(Plan, PlanPage, Subscription, SubscriptionPage);

const fn yes() -> bool {
    true
}

/// A plan and its version as a mandate names them.
pub fn plan_text(plan: PlanId, version: i64) -> String {
    format!("{plan}@{version}")
}

endpoint! {
    /// Offers a plan, or a new version of one. Who has subscribed keeps a version until the next renewal, and beyond where
    /// the newest costs more than the mandate allows.
    pub PutPlan = PUT "/plans" (PutPlanRequest) -> Plan;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::FORBIDDEN, WALLET_NOT_FOUND, PLAN_UNKNOWN,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE,
    ];
}
endpoint! {
    /// Lists the plans that are offered, newest first.
    pub ListPlans = GET "/plans" (ListPlansRequest) -> PlanPage;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
}
endpoint! {
    /// Shows a plan.
    pub GetPlan = GET "/plans/{planId}" (PlanPath) -> Plan;
    access Access::Identity("wallet:read");
    errors [PLAN_UNKNOWN];
}
endpoint! {
    /// Subscribes to a plan: the first period is paid in the same commit, the others by the mandate.
    pub CreateSubscription = POST "/subscriptions" (CreateSubscriptionRequest) -> Subscription;
    status 201;
    access Access::Signed;
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, RRULE_INVALID, codes::MFA_REQUIRED, codes::IDEMPOTENCY_KEY_REUSED,
        PLAN_UNKNOWN, WALLET_NOT_FOUND, SCHEDULE_STATE, INTENT_EXPIRED, SIGNATURE_INVALID, RECIPIENT_UNKNOWN, SELF_PAYMENT,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, TX_LIMIT_EXCEEDED,
        DAILY_LIMIT_EXCEEDED, MONTHLY_LIMIT_EXCEEDED, FEES_EXCEED_MAXIMUM, INSUFFICIENT_FUNDS, QUEUE_FULL,
    ];
}
endpoint! {
    /// Lists the caller's subscriptions, newest first.
    pub ListSubscriptions = GET "/subscriptions" (ListSubscriptionsRequest) -> SubscriptionPage;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows a subscription of the caller.
    pub GetSubscription = GET "/subscriptions/{subscriptionId}" (SubscriptionPath) -> Subscription;
    access Access::Identity("wallet:read");
    errors [SCHEDULE_NOT_FOUND];
}
endpoint! {
    /// Ends a subscription when what is paid for is over; nothing more is paid.
    pub EndSubscription = DELETE "/subscriptions/{subscriptionId}" (SubscriptionPath) -> Subscription;
    access Access::Identity("wallet:write");
    errors [SCHEDULE_NOT_FOUND, SCHEDULE_STATE];
}
