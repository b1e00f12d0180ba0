//! `q wallet plan`, `subscribe` and `subscriptions`: what is offered for a price per period, and who pays for it.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use q_core::PageLimit;
use qwallet_api::{
    CreateScheduleRequest, CreateSubscription, CreateSubscriptionRequest, EndSubscription, Entitlements,
    GetPlan, GetSubscription, ListPlans, ListPlansRequest, ListSubscriptions, ListSubscriptionsRequest, Plan,
    PlanId, PlanPath, PutPlan, PutPlanRequest, ScheduleId, Subscription, SubscriptionPath, plan_text,
};

use super::schedule::{blank, local, period_rule, signed};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PlanVerb,
}

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum PlanVerb {
    /// Offer a plan, or with `--of` a new version of one.
    Offer {
        /// What it is called.
        title: String,
        /// What it costs each period.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        price: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// What is paid for: day, week, month or year.
        #[arg(long, default_value = "month")]
        every: String,
        /// What it grants, such as `qdrive.bytes=100000000000`; names of a plan that no operator offers begin with `x-`.
        #[arg(long = "grant", value_name = "NAME=NUMBER")]
        grants: Vec<String>,
        /// The plan of which this is a new version.
        #[arg(long, value_name = "PLAN")]
        of: Option<String>,
        /// Nobody may subscribe any more.
        #[arg(long, requires = "of")]
        withdrawn: bool,
        /// Who offers it and is paid.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List what is offered.
    List {
        /// Only by this payee: a keyring name, DID, wallet id or reference.
        payee: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one.
    Show {
        /// The plan.
        plan: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
}

impl PlanVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::Offer { acting, .. } | Self::List { acting, .. } | Self::Show { acting, .. } => acting,
        }
    }
}

/// `q wallet subscribe`.
#[derive(Debug, Args)]
pub struct SubscribeArgs {
    /// The plan.
    pub plan: String,
    /// How far its price may rise at a renewal without another signature.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub max_amount: Option<String>,
    /// By the clocks of which zone the periods are counted.
    #[arg(long, default_value = "UTC")]
    pub timezone: String,
    /// Who subscribes and pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q wallet subscriptions`.
#[derive(Debug, Args)]
pub struct SubscriptionsArgs {
    /// Show only this one.
    pub subscription: Option<String>,
    /// End it when what is paid for is over.
    #[arg(long, requires = "subscription")]
    pub end: bool,
    /// Whose.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &PlanArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let plan = match &args.verb {
        PlanVerb::Offer { title, price, currency, every, grants, of, withdrawn, .. } => {
            let request = PutPlanRequest {
                plan_id: of.as_deref().map(plan_id).transpose()?,
                name: title.clone(),
                price: price.as_str().into(),
                currency: currency.clone(),
                period: every.clone(),
                entitlements: entitlements(grants)?,
                offered: !withdrawn,
            };
            client.call::<PutPlan>(&request).await?
        }
        PlanVerb::List { payee, .. } => {
            let payee = payee.as_deref().map(|payee| session.wallet_of(payee)).transpose()?;
            let request = ListPlansRequest { payee, cursor: None, limit: PageLimit::default() };
            let page = client.call::<ListPlans>(&request).await?;
            output::show(json, &page, |page| {
                page.items.iter().for_each(show_plan);
                if page.items.is_empty() {
                    output::line("nothing is offered");
                }
            });
            return Ok(());
        }
        PlanVerb::Show { plan, .. } => {
            client.call::<GetPlan>(&PlanPath { plan_id: plan_id(plan)?, version: None }).await?
        }
    };
    output::show(json, &plan, show_plan);
    Ok(())
}

/// Subscribes and pays for the first period.
pub async fn subscribe(session: &Session, args: &SubscribeArgs) -> anyhow::Result<()> {
    let client = session.client("qwallet")?;
    let path = PlanPath { plan_id: plan_id(&args.plan)?, version: None };
    let plan = client.call::<GetPlan>(&path).await?;
    let most = args.max_amount.as_deref().unwrap_or(plan.price.as_str());
    let blank = blank(session, most, &plan.currency, None).await?;
    let mandate = CreateScheduleRequest {
        amount: plan.price.clone(),
        catch_up: "once".into(),
        max_amount: args.max_amount.as_deref().map(Into::into),
        purpose: Some(plan.name.clone()),
        recipient: plan.payee.wallet_ref.clone(),
        rrule: period_rule(&plan.period, &blank.start, &args.timezone)?,
        timezone: args.timezone.clone(),
        ..blank
    };
    let named = plan_text(plan.plan_id, plan.version);
    let mandate = signed(session, mandate, Some(&named))?;
    let client = client.with_key(mandate.nonce.as_str());
    let request = CreateSubscriptionRequest { plan_id: plan.plan_id, plan_version: plan.version, mandate };
    let subscription = client.call::<CreateSubscription>(&request).await?;
    output::show(args.acting.json, &subscription, show_subscription);
    Ok(())
}

/// Lists subscriptions, shows one or ends it.
pub async fn subscriptions(session: &Session, args: &SubscriptionsArgs) -> anyhow::Result<()> {
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let Some(text) = &args.subscription else {
        let request = ListSubscriptionsRequest { cursor: None, limit: PageLimit::default() };
        let page = client.call::<ListSubscriptions>(&request).await?;
        output::show(args.acting.json, &page, |page| {
            page.items.iter().for_each(show_subscription);
            if page.items.is_empty() {
                output::line("no subscriptions; `q wallet plan list` shows what is offered");
            }
        });
        return Ok(());
    };
    let subscription_id: ScheduleId = text.parse().map_err(|error| {
        usage(format!(
            "{text:?} is not the id of a subscription: {error}; `q wallet subscriptions` lists them"
        ))
    })?;
    let path = SubscriptionPath { subscription_id };
    let subscription = if args.end {
        client.call::<EndSubscription>(&path).await?
    } else {
        client.call::<GetSubscription>(&path).await?
    };
    output::show(args.acting.json, &subscription, show_subscription);
    Ok(())
}

fn plan_id(text: &str) -> anyhow::Result<PlanId> {
    text.parse().map_err(|error| {
        usage(format!("{text:?} is not the id of a plan: {error}; `q wallet plan list` lists them"))
    })
}

fn entitlements(grants: &[String]) -> anyhow::Result<Entitlements> {
    let read = |text: &String| {
        let (name, number) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=NUMBER"))?;
        Ok((name.to_owned(), number.parse().with_context(|| format!("{number:?} is no number"))?))
    };
    grants
        .iter()
        .map(read)
        .collect::<anyhow::Result<_>>()
        .map_err(|error| usage(format!("--grant: {error:#}")))
}

fn show_plan(plan: &Plan) {
    output::line(format!(
        "{}  {}  {} {} a {} to {}  version {}{}",
        plan.plan_id,
        plan.name,
        plan.price.as_str(),
        plan.currency,
        plan.period,
        plan.payee.wallet_ref,
        plan.version,
        if plan.offered { "" } else { ", withdrawn" },
    ));
    for (name, number) in &plan.entitlements {
        output::line(format!("  {name} {number}"));
    }
}

fn show_subscription(subscription: &Subscription) {
    let (plan, schedule) = (&subscription.plan, &subscription.schedule);
    output::line(format!(
        "{} {}  {}  {} {} a {}",
        subscription.subscription_id,
        subscription.status,
        plan.name,
        schedule.amount.as_str(),
        schedule.currency,
        plan.period,
    ));
    let until = local(subscription.paid_until, &schedule.timezone);
    let then = match subscription.status.as_str() {
        "ACTIVE" => "then renewed",
        _ => "then over",
    };
    output::line(format!("  paid until {until}, {then}"));
    if let Some(failure) = &schedule.failure {
        output::line(format!("  refused {} times, last with {}", failure.attempts, failure.code));
    }
}
