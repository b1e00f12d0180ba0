//! Payments that come back: a mandate is signed once, and the house pays by it whenever its rule says so.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Did, PageLimit, Timestamp};
use serde::Serialize;

use crate::{
    PlanId, ScheduleId, TransactionId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, APPROVAL_REQUIRED,
        COUNT_LIMIT_EXCEEDED, CURRENCY_UNSUPPORTED, DAILY_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED,
        FEES_EXCEED_MAXIMUM, INTENT_EXPIRED, MONTHLY_LIMIT_EXCEEDED, QUEUE_FULL, RECIPIENT_UNKNOWN,
        RRULE_INVALID, SCHEDULE_NOT_FOUND, SCHEDULE_STATE, SELF_PAYMENT, SIGNATURE_INVALID,
        TX_LIMIT_EXCEEDED, WALLET_FROZEN, WALLET_NOT_FOUND,
    },
    types::Party,
    wire::wire,
};

/// The JOSE type of the signature under a mandate.
pub const MANDATE_TYP: &str = "q-mandate+jws";

/// What the payer signs once for all payments of a schedule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MandateOrder<'a> {
    /// Decimal text, as in the request: what is paid each time.
    pub amount: &'a str,
    /// The DID of the instance.
    pub aud: &'a str,
    /// What happens to what the house missed: `skip`, `once` or `all`.
    pub catch_up: &'a str,
    /// The payer's own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ref: Option<&'a str>,
    /// How often it is paid; absent where there is another end or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The code of the currency.
    pub currency: &'a str,
    /// Until when the mandate may be handed in, RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// How far the amount may be raised without another signature; absent where it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_amount: Option<&'a str>,
    /// The most the payer will pay in fees on top, each time.
    pub max_fees: &'a str,
    /// Unique per payer.
    pub nonce: &'a str,
    /// The DID of the payer.
    pub payer: &'a str,
    /// The plan that is subscribed to and its version, such as `plan_…@1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'a str>,
    /// DID, wallet id or wallet reference of the payee, as in the request.
    pub recipient: &'a str,
    /// The rule, as in the request.
    pub rrule: &'a str,
    /// RFC 3339, as in the request.
    pub start: &'a str,
    /// The IANA name of the zone by whose clocks the rule is meant.
    pub timezone: &'a str,
    /// RFC 3339, as in the request; absent where there is another end or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<&'a str>,
    /// The version of this form, 1.
    pub v: u8,
    /// The paying wallet: id or reference, as in the request.
    pub wallet: &'a str,
}

wire! {
    /// A mandate: pays again and again.
    pub struct CreateScheduleRequest {
        /// What the payee gets each time.
        pub amount: AmountText,
        /// What happens to payments that the house missed because it was down or read-only: `skip` leaves them out, `once`
        /// makes up for all of them with one, `all` makes them all. What is not an hour late was not missed.
        #[serde(default = "skip")]
        pub catch_up: String,
        /// The payer's own reference, on every payment; at most 35 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// How often it is paid; without end when it and `until` are absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub count: Option<u32>,
        /// The currency's code.
        pub currency: String,
        /// Until when the mandate may be handed in, RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// How far the amount may be raised later without another signature; not at all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max_amount: Option<AmountText>,
        /// The most the payer will pay in fees on top, each time.
        pub max_fees: AmountText,
        /// Unique per payer, 8 to 64 graphic ASCII characters.
        pub nonce: String,
        /// Who pays and signs.
        pub payer: Did,
        /// What for, at most 500 characters; the two parties read it on every payment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// DID, wallet id or wallet reference of the payee.
        pub recipient: String,
        /// A recurrence rule of RFC 5545 section 3.3.10, such as `FREQ=MONTHLY;BYMONTHDAY=1`; at most once in an hour, and
        /// not more than 4,000 times in ten years.
        pub rrule: String,
        /// Compact JWS of the payer over the signing input.
        pub signature: String,
        /// The first instant it may be paid, RFC 3339 in whole seconds; at most a year ago. The time of day of all payments
        /// is that of the start, unless the rule says another.
        pub start: String,
        /// The IANA name of the zone by whose clocks the rule is meant, such as `Europe/Berlin`.
        pub timezone: String,
        /// The last instant it may be paid, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<String>,
        /// The paying wallet: id or reference.
        pub wallet: String,
    }

    /// Names a schedule.
    pub struct SchedulePath {
        /// Its id.
        pub schedule_id: ScheduleId,
    }

    /// Asks for the caller's schedules, newest first.
    pub struct ListSchedulesRequest {
        /// Only those in this state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<ScheduleId>,
        /// How many at once.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// Changes a schedule within its mandate.
    pub struct UpdateScheduleRequest {
        /// The schedule.
        pub schedule_id: ScheduleId,
        /// `PAUSED`, or `ACTIVE` to go on with the next time; what would have been paid meanwhile is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// What is paid from now on: less, or more up to the mandate's `maxAmount`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
    }

    /// A payment that a schedule made.
    pub struct ScheduleRun {
        /// When it was due.
        pub due_at: Timestamp,
        /// When it was paid.
        pub paid_at: Timestamp,
        /// How much.
        pub amount: AmountText,
        /// The transaction.
        pub transaction_id: TransactionId,
    }

    /// Why the last attempt did not pay.
    pub struct ScheduleFailure {
        /// The code with which the payment was refused.
        pub code: String,
        /// When.
        pub at: Timestamp,
        /// How many attempts failed one after the other.
        pub attempts: i64,
        /// When it is tried again; nobody tries when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retry_at: Option<Timestamp>,
    }

    /// A payment that comes back.
    pub struct Schedule {
        /// Its id.
        pub schedule_id: ScheduleId,
        /// `ACTIVE`, `PAUSED`, `ENDING` (a subscription until what is paid for is over) or `ENDED`.
        pub status: String,
        /// Who pays.
        pub payer: Party,
        /// Who is paid.
        pub payee: Party,
        /// What is paid each time.
        pub amount: AmountText,
        /// The most it can be without another signature.
        pub max_amount: AmountText,
        /// The most in fees on top, each time.
        pub max_fees: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// The payer's reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// The rule.
        pub rrule: String,
        /// By the clocks of which zone.
        pub timezone: String,
        /// From when on.
        pub start: Timestamp,
        /// Until when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<Timestamp>,
        /// How often.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub count: Option<u32>,
        /// `skip`, `once` or `all`.
        pub catch_up: String,
        /// When it is due next, at most five times.
        pub next_runs: Vec<Timestamp>,
        /// The last payments, newest first, at most five.
        pub last_runs: Vec<ScheduleRun>,
        /// How many payments it made.
        pub runs: i64,
        /// How many times were left out.
        pub skipped: i64,
        /// Why the last attempt did not pay; absent when it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub failure: Option<ScheduleFailure>,
        /// The plan it subscribes to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan_id: Option<PlanId>,
        /// When the mandate was handed in.
        pub created_at: Timestamp,
        /// When it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ended_at: Option<Timestamp>,
    }

    /// Some schedules.
    pub struct SchedulePage {
        /// Newest first.
        pub items: Vec<Schedule>,
        /// Where the next page begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<ScheduleId>,
    }
}

json_types!(Schedule, SchedulePage);

fn skip() -> String {
    "skip".to_owned()
}

impl CreateScheduleRequest {
    /// What the payer signs, for the instance `aud` and, of a subscription, the plan.
    pub fn order<'a>(&'a self, aud: &'a Did, plan: Option<&'a str>) -> MandateOrder<'a> {
        MandateOrder {
            amount: self.amount.as_str(),
            aud: aud.as_str(),
            catch_up: &self.catch_up,
            client_ref: self.client_ref.as_deref(),
            count: self.count,
            currency: &self.currency,
            expires_at: &self.expires_at,
            max_amount: self.max_amount.as_ref().map(AmountText::as_str),
            max_fees: self.max_fees.as_str(),
            nonce: &self.nonce,
            payer: self.payer.as_str(),
            plan,
            recipient: &self.recipient,
            rrule: &self.rrule,
            start: &self.start,
            timezone: &self.timezone,
            until: self.until.as_deref(),
            v: 1,
            wallet: &self.wallet,
        }
    }
}

endpoint! {
    /// Hands in a mandate: the payer signs once, and the house pays whenever the rule says so.
    ///
    /// A payment that is refused is tried again after 1, 6 and 24 hours; then the schedule is paused. A first amount that
    /// no time of the rule could pay under the limits as they are is refused now.
    pub CreateSchedule = POST "/schedules" (CreateScheduleRequest) -> Schedule;
    status 201;
    access Access::Signed;
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, RRULE_INVALID, codes::MFA_REQUIRED, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, RECIPIENT_UNKNOWN, SELF_PAYMENT, CURRENCY_UNSUPPORTED,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, FEES_EXCEED_MAXIMUM, QUEUE_FULL, TX_LIMIT_EXCEEDED, DAILY_LIMIT_EXCEEDED,
        MONTHLY_LIMIT_EXCEEDED, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, APPROVAL_REQUIRED,
    ];
}
endpoint! {
    /// Lists the caller's schedules, newest first.
    pub ListSchedules = GET "/schedules" (ListSchedulesRequest) -> SchedulePage;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST];
}
endpoint! {
    /// Shows a schedule of the caller: when it pays next, what it paid, and why not.
    pub GetSchedule = GET "/schedules/{scheduleId}" (SchedulePath) -> Schedule;
    access Access::Identity("wallet:read");
    errors [SCHEDULE_NOT_FOUND];
}
endpoint! {
    /// Pauses a schedule, lets it go on, or changes its amount within the mandate. Anything else takes another mandate.
    pub UpdateSchedule = PATCH "/schedules/{scheduleId}" (UpdateScheduleRequest) -> Schedule;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, SCHEDULE_NOT_FOUND, SCHEDULE_STATE,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, TX_LIMIT_EXCEEDED, DAILY_LIMIT_EXCEEDED,
        MONTHLY_LIMIT_EXCEEDED, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, APPROVAL_REQUIRED,
    ];
}
endpoint! {
    /// Ends a schedule for good; a subscription ends when what is paid for is over.
    pub EndSchedule = DELETE "/schedules/{scheduleId}" (SchedulePath) -> Schedule;
    access Access::Identity("wallet:write");
    errors [SCHEDULE_NOT_FOUND, SCHEDULE_STATE];
}
