//! `q wallet approvals`, `approve`, `reject`: payments that others have to agree to.

use std::path::Path;

use clap::{Args, Subcommand};
use q_core::PageLimit;
use qwallet_api::{
    ApprovalRule, DecideIntent, DecideIntentRequest, DecideWithdrawal, DecideWithdrawalRequest, GetApprovals,
    GetIntent, GetWithdrawal, Intent, IntentPage, ListApprovals, ListApprovalsRequest,
    ListWaitingWithdrawals, ListWaitingWithdrawalsRequest, SetApprovals, SetApprovalsRequest, Threshold,
    TransactionId, WalletApprovals, WalletPath, Withdrawal, WithdrawalPath,
    signing::{APPROVAL_TYP, APPROVALS_TYP, ApprovalsOrder, REJECTION_TYP, signing_input},
};
use serde::Serialize;

use super::{
    hint_to_ask, hint_to_open,
    intents::{self, OneArgs},
    rail, sign_as,
};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet approvals`.
#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ApprovalsVerb,
}

/// What to do about approvals.
#[derive(Debug, Subcommand)]
pub enum ApprovalsVerb {
    /// Show which payments of a wallet others have to approve.
    Show {
        /// A keyring name, DID, wallet id or wallet reference; the identity's own wallet when absent.
        who: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the payments and withdrawals of others that wait for the identity's approval.
    Waiting {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Have payments of the identity's wallet approved: more at once, less a day later or with --signed-by.
    Set(SetArgs),
    /// Have nothing approved any more: a day later, or at once with --signed-by.
    Off {
        /// Present approvers of this keyring who agree, so that it holds at once.
        #[arg(long, value_name = "NAME")]
        signed_by: Vec<String>,
        /// Whose wallet.
        #[command(flatten)]
        acting: AsArgs,
    },
}

/// `q wallet approvals set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Above which amount, such as 500; of another currency than QToken, such as 500=PI.
    #[arg(long, value_name = "AMOUNT[=CURRENCY]", required = true, allow_negative_numbers = true)]
    pub above: Vec<String>,
    /// Who may approve: a keyring name or DID.
    #[arg(long = "approver", value_name = "WHO", required = true)]
    pub approvers: Vec<String>,
    /// How many of them have to.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..))]
    pub required: u8,
    /// Present approvers of this keyring who agree, so that a weaker rule holds at once.
    #[arg(long, value_name = "NAME")]
    pub signed_by: Vec<String>,
    /// Whose wallet.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// What waits for somebody's approval.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    items: Vec<Intent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    withdrawals: Vec<Withdrawal>,
}

pub async fn run(data: &Path, args: &ApprovalsArgs) -> anyhow::Result<()> {
    let (acting, signed_by) = match &args.verb {
        ApprovalsVerb::Show { acting, .. } | ApprovalsVerb::Waiting { acting } => (acting, &[][..]),
        ApprovalsVerb::Set(args) => (&args.acting, &args.signed_by[..]),
        ApprovalsVerb::Off { signed_by, acting } => (acting, &signed_by[..]),
    };
    let session = Session::open(data, &acting.name)?;
    let client = session.client("qwallet")?;
    let rule = match &args.verb {
        ApprovalsVerb::Show { who, .. } => {
            let squid_id = session.own_or(who.as_deref())?;
            let approvals = client.call::<GetApprovals>(&WalletPath { squid_id }).await;
            let approvals = approvals.map_err(|error| hint_to_ask(&session, who.as_deref(), error))?;
            output::show(acting.json, &approvals, |approvals| show(&session, approvals));
            return Ok(());
        }
        ApprovalsVerb::Waiting { .. } => {
            let request = ListApprovalsRequest { cursor: None, limit: PageLimit::default() };
            let IntentPage { items, next_cursor } = client.call::<ListApprovals>(&request).await?;
            let request = ListWaitingWithdrawalsRequest {};
            let withdrawals = client.call::<ListWaitingWithdrawals>(&request).await?.items;
            let waiting = Waiting { items, next_cursor, withdrawals };
            output::show(acting.json, &waiting, |waiting| {
                waiting.items.iter().for_each(|intent| intents::show(&session, intent));
                waiting.withdrawals.iter().for_each(rail::show_withdrawal);
                if waiting.items.is_empty() && waiting.withdrawals.is_empty() {
                    output::line(format!("nothing waits for {}", session.name()));
                    output::progress(
                        "`q wallet intents show ID` tells what became of a payment that was decided",
                    );
                }
            });
            return Ok(());
        }
        ApprovalsVerb::Set(args) => rule(&session, args)?,
        ApprovalsVerb::Off { .. } => ApprovalRule { above: Vec::new(), approvers: Vec::new(), required: 0 },
    };
    let path = WalletPath { squid_id: session.did().to_string() };
    let present = client.call::<GetApprovals>(&path).await.map_err(|error| hint_to_open(&session, error))?;
    let aud = session.layout.read_instance()?.did.to_string();
    let input = signing_input(&ApprovalsOrder {
        above: &rule.above,
        approvers: &rule.approvers,
        aud: &aud,
        replaces: present.version,
        required: rule.required,
        v: 1,
        wallet: &present.wallet_ref,
    });
    let signatures = signed_by.iter().map(|name| {
        let signer = Session::open(data, name)?;
        Ok(sign_as(&signer, APPROVALS_TYP, &input))
    });
    let request = SetApprovalsRequest {
        squid_id: present.wallet_ref.clone(),
        replaces: present.version,
        rule,
        signatures: signatures.collect::<anyhow::Result<_>>()?,
    };
    let approvals = client.with_key(session.fresh_key()).call::<SetApprovals>(&request).await?;
    output::show(acting.json, &approvals, |approvals| show(&session, approvals));
    Ok(())
}

/// `q wallet approve` and `q wallet reject`.
pub async fn decide(session: &Session, args: &OneArgs, is_approved: bool) -> anyhow::Result<()> {
    let client = session.client("qwallet")?;
    if let Ok(withdrawal_id) = args.intent.parse() {
        return decide_withdrawal(session, withdrawal_id, args.acting.json, is_approved).await;
    }
    let intent = client.call::<GetIntent>(&intents::path(&args.intent)?).await?;
    let input = intents::input(session, &intent)?;
    let (decision, typ) = decision(is_approved);
    let request = DecideIntentRequest {
        intent_id: intent.intent_id,
        decision: decision.to_owned(),
        signature: sign_as(session, typ, input),
    };
    let intent = client.with_key(session.fresh_key()).call::<DecideIntent>(&request).await?;
    output::show(args.acting.json, &intent, |intent| intents::show(session, intent));
    Ok(())
}

const fn decision(is_approved: bool) -> (&'static str, &'static str) {
    if is_approved { ("APPROVE", APPROVAL_TYP) } else { ("REJECT", REJECTION_TYP) }
}

async fn decide_withdrawal(
    session: &Session,
    withdrawal_id: TransactionId,
    is_json: bool,
    is_approved: bool,
) -> anyhow::Result<()> {
    let client = session.client("qwallet")?;
    let withdrawal = client.call::<GetWithdrawal>(&WithdrawalPath { withdrawal_id }).await?;
    let input = withdrawal.signing_input.filter(|_| withdrawal.approvals.is_some());
    let input = input.ok_or_else(|| usage("nobody has to approve this withdrawal"))?;
    let (decision, typ) = decision(is_approved);
    let request = DecideWithdrawalRequest {
        withdrawal_id,
        decision: decision.to_owned(),
        signature: sign_as(session, typ, input.as_bytes()),
    };
    let withdrawal = client.with_key(session.fresh_key()).call::<DecideWithdrawal>(&request).await?;
    output::show(is_json, &withdrawal, rail::show_withdrawal);
    Ok(())
}

fn rule(session: &Session, args: &SetArgs) -> anyhow::Result<ApprovalRule> {
    let above = |text: &String| {
        let (amount, currency) = text.split_once('=').unwrap_or((text, "QToken"));
        let amount = positive(amount).map_err(|fault| usage(format!("--above {text}: {fault}")))?;
        anyhow::Ok(Threshold { amount: amount.as_str().into(), currency: currency.to_owned() })
    };
    Ok(ApprovalRule {
        above: args.above.iter().map(above).collect::<anyhow::Result<_>>()?,
        approvers: args.approvers.iter().map(|who| session.identity(who)).collect::<anyhow::Result<_>>()?,
        required: args.required,
    })
}

fn show(session: &Session, approvals: &WalletApprovals) {
    output::line(format!("wallet {}", approvals.wallet_ref));
    show_rule(session, "", &approvals.rule);
    if let Some(pending) = &approvals.pending {
        output::line(format!("  from {}, unless approvers sign the change before:", pending.effective_at));
        show_rule(session, "  ", &pending.rule);
    }
}

fn show_rule(session: &Session, indent: &str, rule: &ApprovalRule) {
    if rule.above.is_empty() {
        output::line(format!("{indent}  nothing has to be approved"));
        return;
    }
    for threshold in &rule.above {
        output::line(format!(
            "{indent}  above {} {}: {} of {} approvers",
            threshold.amount.as_str(),
            threshold.currency,
            rule.required,
            rule.approvers.len()
        ));
    }
    for approver in &rule.approvers {
        output::line(format!("{indent}    {}", session.named(approver.as_str())));
    }
}
