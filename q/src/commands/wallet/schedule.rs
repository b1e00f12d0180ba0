//! `q wallet schedule`: payments that come back, by a mandate that is signed once.

use clap::{Args, Subcommand, ValueEnum};
use q_core::{PageLimit, Scale, Timestamp, amount};
use qwallet::domain::recurrence::Period;
use qwallet_api::{
    CreateSchedule, CreateScheduleRequest, EndSchedule, GetQuote, GetSchedule, GetWallet, ListSchedules,
    ListSchedulesRequest, MANDATE_TYP, QuoteRequest, Schedule, ScheduleId, SchedulePath, UpdateSchedule,
    UpdateScheduleRequest, WalletPath, signing::signing_input,
};

use super::{ORDER_LIFETIME, hint_to_open, hint_to_payee, sign_as};
use crate::{
    cli::{AsArgs, one_of, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ScheduleVerb,
}

/// What to do with a payment that comes back.
#[derive(Debug, Subcommand)]
pub enum ScheduleVerb {
    /// Sign a mandate: `q wallet schedule new landlord 500 --every month --on 1 --timezone Europe/Berlin`.
    New(Box<NewArgs>),
    /// List the identity's schedules.
    List {
        /// Only these.
        #[arg(long, ignore_case = true, value_parser = one_of(["ACTIVE", "PAUSED", "ENDING", "ENDED"]))]
        status: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one: when it pays next, what it paid, and why not.
    Show(OneArgs),
    /// Stop paying for now.
    Pause(OneArgs),
    /// Go on paying with the next time; what would have been paid meanwhile is left out.
    Resume(OneArgs),
    /// Pay another amount from now on: less, or more up to what the mandate allows.
    Amount {
        /// The schedule.
        schedule: String,
        /// How much.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// End it for good.
    End(OneArgs),
}

/// How often something is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Every {
    /// Each day.
    Day,
    /// Each week.
    Week,
    /// Each month.
    Month,
    /// Each year.
    Year,
}

/// `q wallet schedule new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Who is to be paid: a keyring name, DID, wallet id or wallet reference.
    pub recipient: String,
    /// How much each time.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The currency.
    #[arg(default_value = "QToken")]
    pub currency: String,
    /// How often.
    #[arg(long, value_enum, required_unless_present = "rrule", conflicts_with = "rrule")]
    pub every: Option<Every>,
    /// On which days: of a month 1 to 31 or `last`, of a week MO to SU, several with commas; the start's when absent.
    #[arg(long, value_name = "DAYS", requires = "every", allow_hyphen_values = true)]
    pub on: Option<String>,
    /// Any rule of RFC 5545, such as `FREQ=MONTHLY;BYDAY=-1FR`.
    #[arg(long)]
    pub rrule: Option<String>,
    /// By the clocks of which zone.
    #[arg(long, default_value = "UTC")]
    pub timezone: String,
    /// The first instant it may be paid (RFC 3339), which also says at what time of day; now when absent.
    #[arg(long, value_name = "INSTANT")]
    pub start: Option<String>,
    /// The last instant it may be paid (RFC 3339).
    #[arg(long, value_name = "INSTANT", conflicts_with = "count")]
    pub until: Option<String>,
    /// How often it is paid altogether.
    #[arg(long)]
    pub count: Option<u32>,
    /// How far the amount may be raised later without another signature.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub max_amount: Option<String>,
    /// The most in fees each time; the present fees of the greatest amount when absent.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub max_fees: Option<String>,
    /// What happens to what the instance missed while it was down: skip, once or all.
    #[arg(long, default_value = "skip")]
    pub catch_up: String,
    /// What for; both parties read it.
    #[arg(long)]
    pub purpose: Option<String>,
    /// The payer's own reference.
    #[arg(long, value_name = "TEXT")]
    pub reference: Option<String>,
    /// Who pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// One schedule.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The schedule.
    pub schedule: String,
    /// Who pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

impl ScheduleVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::New(args) => &args.acting,
            Self::List { acting, .. } | Self::Amount { acting, .. } => acting,
            Self::Show(args) | Self::Pause(args) | Self::Resume(args) | Self::End(args) => &args.acting,
        }
    }
}

pub async fn run(session: &Session, args: &ScheduleArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let update = async |schedule: &str, status: Option<&str>, amount: Option<&str>| {
        let request = UpdateScheduleRequest {
            schedule_id: id(schedule)?,
            status: status.map(Into::into),
            amount: amount.map(Into::into),
        };
        anyhow::Ok(client.call::<UpdateSchedule>(&request).await?)
    };
    let schedule = match &args.verb {
        ScheduleVerb::New(args) => new(session, args).await?,
        ScheduleVerb::List { status, .. } => {
            let request =
                ListSchedulesRequest { status: status.clone(), cursor: None, limit: PageLimit::default() };
            let page = client.call::<ListSchedules>(&request).await?;
            output::show(json, &page, |page| {
                page.items.iter().for_each(show);
                if page.items.is_empty() {
                    output::line("no schedules; `q wallet schedule new` signs one");
                }
            });
            return Ok(());
        }
        ScheduleVerb::Show(args) => {
            let path = SchedulePath { schedule_id: id(&args.schedule)? };
            client.call::<GetSchedule>(&path).await?
        }
        ScheduleVerb::Pause(args) => update(&args.schedule, Some("PAUSED"), None).await?,
        ScheduleVerb::Resume(args) => update(&args.schedule, Some("ACTIVE"), None).await?,
        ScheduleVerb::Amount { schedule, amount, .. } => update(schedule, None, Some(amount)).await?,
        ScheduleVerb::End(args) => {
            let path = SchedulePath { schedule_id: id(&args.schedule)? };
            client.call::<EndSchedule>(&path).await?
        }
    };
    output::show(json, &schedule, show);
    Ok(())
}

async fn new(session: &Session, args: &NewArgs) -> anyhow::Result<Schedule> {
    let rrule = match (&args.rrule, args.every) {
        (Some(rrule), _) => rrule.clone(),
        (None, Some(every)) => rule(every, args.on.as_deref())?,
        (None, None) => return Err(usage("--every or --rrule says how often")),
    };
    let start = match &args.start {
        Some(start) => start.clone(),
        None => Timestamp::from_seconds(session.env.now().seconds()).to_string(),
    };
    let most = args.max_amount.as_deref().unwrap_or(&args.amount);
    if is_less(most, &args.amount) {
        return Err(usage(format!("--max-amount {most} is less than the amount, {}", args.amount)));
    }
    let mandate = CreateScheduleRequest {
        amount: args.amount.as_str().into(),
        catch_up: args.catch_up.clone(),
        client_ref: args.reference.clone(),
        count: args.count,
        max_amount: args.max_amount.as_deref().map(Into::into),
        purpose: args.purpose.clone(),
        recipient: session.wallet_of(&args.recipient)?,
        rrule,
        start,
        timezone: args.timezone.clone(),
        until: args.until.clone(),
        ..blank(session, most, &args.currency, args.max_fees.as_deref()).await?
    };
    let mandate = signed(session, mandate, None)?;
    let client = session.client("qwallet")?.with_key(mandate.nonce.as_str());
    let signed = client.call::<CreateSchedule>(&mandate).await;
    signed.map_err(|error| hint_to_payee(session, &args.recipient, error.into()))
}

/// A mandate of this identity from now on, in which only what is paid when and to whom is missing.
pub(super) async fn blank(
    session: &Session,
    most: &str,
    currency: &str,
    max_fees: Option<&str>,
) -> anyhow::Result<CreateScheduleRequest> {
    let client = session.client("qwallet")?;
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = client.call::<GetWallet>(&own).await.map_err(|error| hint_to_open(session, error))?;
    let max_fees = if let Some(max_fees) = max_fees {
        max_fees.into()
    } else {
        let quote = QuoteRequest::of(most, currency);
        client.call::<GetQuote>(&quote).await?.fees.total
    };
    let now = session.env.now();
    Ok(CreateScheduleRequest {
        amount: most.into(),
        catch_up: "skip".into(),
        client_ref: None,
        count: None,
        currency: currency.to_owned(),
        expires_at: (now + ORDER_LIFETIME).to_string(),
        max_amount: None,
        max_fees,
        nonce: session.fresh_key(),
        payer: session.did().clone(),
        purpose: None,
        recipient: String::new(),
        rrule: String::new(),
        signature: String::new(),
        start: Timestamp::from_seconds(now.seconds()).to_string(),
        timezone: "UTC".into(),
        until: None,
        wallet: wallet.wallet_ref,
    })
}

/// The mandate with the identity's signature.
pub(super) fn signed(
    session: &Session,
    mandate: CreateScheduleRequest,
    plan: Option<&str>,
) -> anyhow::Result<CreateScheduleRequest> {
    let input = signing_input(&mandate.order(&session.layout.read_instance()?.did, plan));
    Ok(CreateScheduleRequest { signature: sign_as(session, MANDATE_TYP, &input), ..mandate })
}

/// The rule behind `--every` and `--on`.
fn rule(every: Every, on: Option<&str>) -> anyhow::Result<String> {
    let frequency = match every {
        Every::Day => "FREQ=DAILY",
        Every::Week => "FREQ=WEEKLY",
        Every::Month => "FREQ=MONTHLY",
        Every::Year => "FREQ=YEARLY",
    };
    let Some(on) = on else { return Ok(frequency.to_owned()) };
    check_days(every, on)?;
    match every {
        Every::Week => Ok(format!("{frequency};BYDAY={}", on.to_uppercase())),
        Every::Month => Ok(format!("{frequency};BYMONTHDAY={}", on.replace("last", "-1"))),
        Every::Day | Every::Year => {
            Err(usage("--on is for weeks and months; --start or --rrule says the day of others"))
        }
    }
}

/// Refuses days that are no days of what recurs.
fn check_days(every: Every, on: &str) -> anyhow::Result<()> {
    let is_of_week =
        |day: &str| ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].contains(&day.to_uppercase().as_str());
    let is_of_month =
        |day: &str| day == "last" || day.parse().is_ok_and(|day: i8| day != 0 && (-31..=31).contains(&day));
    let (is_fine, days) = match every {
        Every::Week => (on.split(',').all(is_of_week), "MO, TU, WE, TH, FR, SA or SU"),
        Every::Month => (on.split(',').all(is_of_month), "1 to 31, or `last`"),
        Every::Day | Every::Year => return Ok(()),
    };
    if is_fine {
        return Ok(());
    }
    Err(usage(format!("--on {on} names no days of what recurs, which are {days}; several with commas")))
}

/// Whether an amount is less than another; what is no amount the instance refuses.
fn is_less(amount: &str, other: &str) -> bool {
    let read = |text: &str| amount::parse(text, Scale::new(18)?).ok();
    read(amount).zip(read(other)).is_some_and(|(amount, other)| amount < other)
}

fn id(text: &str) -> anyhow::Result<ScheduleId> {
    text.parse().map_err(|error| {
        usage(format!("{text:?} is not the id of a schedule: {error}; `q wallet schedule list` lists them"))
    })
}

/// An instant as the clocks of a zone show it.
pub(super) fn local(at: Timestamp, timezone: &str) -> String {
    let zoned = jiff::Timestamp::from_microsecond(at.micros()).and_then(|at| at.in_tz(timezone));
    zoned.map_or_else(|_| at.to_string(), |zoned| zoned.strftime("%a %Y-%m-%d %H:%M %Z").to_string())
}

pub(super) fn show(schedule: &Schedule) {
    let amount = |amount: &q_core::AmountText| format!("{} {}", amount.as_str(), schedule.currency);
    output::line(format!(
        "{} {}  {} to {}  {} in {}",
        schedule.schedule_id,
        schedule.status,
        amount(&schedule.amount),
        schedule.payee.wallet_ref,
        schedule.rrule,
        schedule.timezone,
    ));
    if let Some(purpose) = &schedule.purpose {
        output::line(format!("  for {purpose}"));
    }
    if schedule.max_amount != schedule.amount {
        output::line(format!("  may be raised to {}", amount(&schedule.max_amount)));
    }
    let when = |at| local(at, &schedule.timezone);
    for at in &schedule.next_runs {
        output::line(format!("  next  {}", when(*at)));
    }
    for run in &schedule.last_runs {
        output::line(format!(
            "  paid  {}  {}  {}",
            when(run.due_at),
            amount(&run.amount),
            run.transaction_id
        ));
    }
    if schedule.skipped > 0 {
        output::line(format!("  left out {} times", schedule.skipped));
    }
    if let Some(failure) = &schedule.failure {
        let again = failure.retry_at.map_or_else(
            || "`q wallet schedule resume` goes on".to_owned(),
            |at| format!("tried again {}", when(at)),
        );
        output::line(format!("  refused {} times, last with {}: {again}", failure.attempts, failure.code));
    }
}

/// The rule by which a plan's period is renewed that begins now.
pub(super) fn period_rule(period: &str, start: &str, timezone: &str) -> anyhow::Result<String> {
    let period =
        Period::from_name(period).ok_or_else(|| usage("this program does not know the plan's period"))?;
    let start: Timestamp = start.parse().map_err(|error| usage(format!("the start: {error}")))?;
    period.rule(start, timezone).map_err(usage)
}
