//! `q wallet intents`: payments in steps, for those that others have to approve first.

use anyhow::bail;
use clap::{Args, Subcommand};
use q_core::{Did, PageLimit};
use qwallet_api::{
    CancelIntent, CreateIntent, CreateIntentRequest, GetIntent, Intent, IntentApprovals, IntentId,
    IntentPath, ListIntents, ListIntentsRequest, Pay, PayRequest, SignIntent, SignRequest,
    signing::PAYMENT_TYP,
};

use super::{hint_to_open, hold, show_transaction, sign_as};
use crate::{
    cli::{AsArgs, one_of, positive, seconds_within},
    output::{self, usage},
    session::Session,
};

/// `q wallet intents`.
#[derive(Debug, Args)]
pub struct IntentsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: IntentsVerb,
}

/// What to do with payments in steps.
#[derive(Debug, Subcommand)]
pub enum IntentsVerb {
    /// Decide a payment, to be approved where it has to be, then signed.
    New {
        /// A keyring name, DID, wallet id or wallet reference.
        recipient: String,
        /// The amount, such as 12.50.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// What it is for.
        #[arg(long)]
        purpose: Option<String>,
        /// How long until it lapses: seconds, or a span such as 90m, from a minute to a day.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = seconds_within(60..=86_400, "from a minute to a day"))]
        expires_in: u32,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the identity's own.
    List {
        /// Only these.
        #[arg(long, ignore_case = true, value_parser = one_of(["PENDING", "SIGNED", "SETTLED", "CANCELLED", "EXPIRED"]))]
        status: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one.
    Show(OneArgs),
    /// Sign it, which sets the money aside, and settle it, unless its payee is to take it.
    Pay(OneArgs),
    /// Take it back.
    Cancel(OneArgs),
}

/// One intent.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The intent; to approve or reject also a withdrawal.
    pub intent: String,
    /// Who acts.
    #[command(flatten)]
    pub acting: AsArgs,
}

impl IntentsVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::New { acting, .. } | Self::List { acting, .. } => acting,
            Self::Show(args) | Self::Pay(args) | Self::Cancel(args) => &args.acting,
        }
    }
}

pub async fn run(session: &Session, args: &IntentsArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?;
    let keyed = || client.clone().with_key(session.fresh_key());
    let intent = match &args.verb {
        IntentsVerb::New { recipient, amount, currency, purpose, expires_in, .. } => {
            let request = CreateIntentRequest {
                amount: amount.as_str().into(),
                currency: currency.clone(),
                recipient: session.wallet_of(recipient)?,
                purpose: purpose.clone(),
                expires_in: Some(*expires_in),
                wallet: None,
                capture: None,
                quote_id: None,
                hold_for: None,
            };
            keyed().call::<CreateIntent>(&request).await.map_err(|error| hint_to_open(session, error))?
        }
        IntentsVerb::List { status, .. } => {
            let request = ListIntentsRequest {
                role: None,
                status: status.clone(),
                cursor: None,
                limit: PageLimit::default(),
            };
            let page = client.call::<ListIntents>(&request).await?;
            output::show(json, &page, |page| {
                page.items.iter().for_each(|intent| show(session, intent));
                if page.items.is_empty() {
                    output::line("no payments in steps; `q wallet intents new` decides one");
                }
            });
            return Ok(());
        }
        IntentsVerb::Show(args) => client.call::<GetIntent>(&path(&args.intent)?).await?,
        IntentsVerb::Cancel(args) => keyed().call::<CancelIntent>(&path(&args.intent)?).await?,
        IntentsVerb::Pay(args) => {
            let intent = client.call::<GetIntent>(&path(&args.intent)?).await?;
            check_payer(session, &intent)?;
            if intent.capture != "auto" {
                let is_signed = intent.transaction_id.is_some();
                let held = if is_signed { intent } else { hold::sign(session, &intent).await? };
                output::show(json, &held, |held| hold::show(session, held));
                return Ok(());
            }
            let transaction_id = if let Some(signed) = intent.transaction_id {
                signed
            } else {
                let signature = sign_as(session, PAYMENT_TYP, input(session, &intent)?);
                let request = SignRequest { intent_id: intent.intent_id, signature };
                keyed().call::<SignIntent>(&request).await?.transaction_id
            };
            let paid = keyed().call::<Pay>(&PayRequest { transaction_id }).await?;
            output::show(json, &paid, show_transaction);
            return Ok(());
        }
    };
    output::show(json, &intent, |intent| show(session, intent));
    Ok(())
}

/// What is to be signed for an intent, if it says what the intent shows: whoever signs has seen no more.
pub(super) fn input<'a>(session: &Session, intent: &'a Intent) -> anyhow::Result<&'a [u8]> {
    check_input(session.layout.read_instance()?.did.as_str(), intent)?;
    Ok(intent.signing_input.as_bytes())
}

fn check_input(aud: &str, intent: &Intent) -> anyhow::Result<()> {
    let said: serde_json::Value = serde_json::from_str(&intent.signing_input)?;
    for (field, shown) in [
        ("amount", intent.amount.as_str()),
        ("aud", aud),
        ("currency", &intent.currency),
        ("expiresAt", &intent.expires_at.to_string()),
        ("intentId", &intent.intent_id.to_string()),
        ("maxFees", intent.fees.total.as_str()),
        ("recipient", &intent.recipient),
        ("wallet", &intent.wallet),
    ] {
        if said[field] != shown {
            let asked = &said[field];
            bail!(
                "nothing was signed: the instance shows {shown:?} as {field} and asks for a signature under {asked}"
            );
        }
    }
    let settles = intent.request_id.map(|request| request.to_string());
    if said["clientRef"].as_str() != settles.as_deref() {
        bail!(
            "nothing was signed: the payment would settle another request for money than the instance shows"
        );
    }
    if said["holdFor"].as_u64() != intent.hold_for.map(u64::from) {
        bail!("nothing was signed: the instance would hold the money for another time than it shows");
    }
    Ok(())
}

/// The DID of who pays.
fn payer(intent: &Intent) -> String {
    let said: serde_json::Value = serde_json::from_str(&intent.signing_input).unwrap_or_default();
    said["payer"].as_str().unwrap_or_default().to_owned()
}

/// Nobody but its payer pays an intent.
fn check_payer(session: &Session, intent: &Intent) -> anyhow::Result<()> {
    let payer = payer(intent);
    if payer == session.did().as_str() {
        return Ok(());
    }
    let (id, me, by) = (intent.intent_id, session.name(), session.by(&payer));
    let payer = session.name_of(&payer);
    Err(usage(format!(
        "you act as {me}, and {id} is an intent of {payer}, who alone pays it: q wallet intents pay {id}{by}"
    )))
}

/// Names an intent.
pub(super) fn path(text: &str) -> anyhow::Result<IntentPath> {
    let intent_id: IntentId = text.parse().map_err(|error| {
        usage(format!("{text:?} is not the id of an intent: {error}; `q wallet intents list` shows them"))
    })?;
    Ok(IntentPath { intent_id })
}

/// Shows an intent, and what is to be done with it.
pub(super) fn show(session: &Session, intent: &Intent) {
    output::line(format!(
        "{}  {}  {} {} to {}, fees {}, until {}",
        intent.intent_id,
        intent.status,
        intent.amount.as_str(),
        intent.currency,
        session.named(&intent.recipient),
        intent.fees.total.as_str(),
        intent.expires_at
    ));
    if let Some(request) = intent.request_id {
        output::line(format!("  settles {request}"));
    }
    if let Some(approvals) = &intent.approvals {
        let why = if approvals.because == "limits" { ", beyond the limits of its wallet" } else { "" };
        let (given, required) = (approvals.given, approvals.required);
        let is_done = if given >= required { ": approved by as many as have to" } else { "" };
        output::line(format!("  {given} of {required} approvals{why}{is_done}"));
        output::line(format!("  {}", approvals.link));
        for decision in &approvals.decisions {
            let approver = session.named(decision.approver.as_str());
            output::line(format!("  {}  {approver}  {}", decision.decision, decision.at));
        }
    }
    let (id, by) = (intent.intent_id, session.by(&payer(intent)));
    match intent.next_action.split('(').next() {
        Some("approve") => {
            let (who, by) = intent.approvals.as_ref().map(|of| to_approve(session, of)).unwrap_or_default();
            output::line(format!("  next: {who}: q wallet approve {id}{by}"));
        }
        Some("stepUp") => {
            output::line(format!("  next: q auth step-up{by}, then q wallet intents pay {id}{by}"));
        }
        Some("sign" | "pay") => output::line(format!("  next: q wallet intents pay {id}{by}")),
        _ => {}
    }
}

/// How many of whom have yet to approve, and how the command of one of them ends: of whoever acts, if they are among them.
fn to_approve(session: &Session, approvals: &IntentApprovals) -> (String, String) {
    let has_decided = |did: &Did| approvals.decisions.iter().any(|decision| decision.approver == *did);
    let mut left: Vec<&Did> = approvals.approvers.iter().filter(|did| !has_decided(did)).collect();
    left.sort_by_key(|did| *did != session.did());
    let names: Vec<String> = left.iter().map(|did| session.name_of(did.as_str())).collect();
    let missing = approvals.required.saturating_sub(approvals.given);
    let who = if usize::from(missing) == names.len() {
        format!("{} must approve", names.join(" and "))
    } else {
        format!("{missing} of {} must approve", names.join(", "))
    };
    (who, left.first().map(|did| session.by(did.as_str())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_is_shown() {
        let id = "intent_01890a5dac96774bbcceb302099a8057";
        let signing_input = format!(
            r#"{{"amount":"5","aud":"did:key:zI","currency":"QToken","expiresAt":"2026-11-22T10:00:00Z","intentId":"{id}","maxFees":"0.03","nonce":"n","payer":"did:key:zP","rail":"internal","recipient":"bob","v":1,"wallet":"W"}}"#
        );
        let intent: Intent = serde_json::from_value(serde_json::json!({
            "intentId": id, "status": "PENDING", "amount": "5", "currency": "QToken", "recipient": "bob", "wallet": "W",
            "fees": { "network": "0", "platform": "0.03", "total": "0.03" },
            "signingInput": signing_input, "signingType": "q-payment+jws", "capture": "auto", "nextAction": "sign",
            "createdAt": "2026-11-22T09:00:00Z", "expiresAt": "2026-11-22T10:00:00Z",
        }))
        .unwrap();
        check_input("did:key:zI", &intent).unwrap();
        assert!(check_input("did:key:zOther", &intent).is_err());
        for (shown, asked) in
            [("\"5\"", "\"500\""), ("bob", "eve"), ("0.03", "9"), ("QToken", "PI"), ("8057", "8058")]
        {
            let bent = Intent { signing_input: intent.signing_input.replace(shown, asked), ..intent.clone() };
            let told = check_input("did:key:zI", &bent).unwrap_err().to_string();
            assert!(told.contains("nothing was signed"), "{told}");
        }
        let settling = intent.signing_input.replace("\"currency\"", "\"clientRef\":\"rq_1\",\"currency\"");
        let bent = Intent { signing_input: settling, ..intent };
        assert!(check_input("did:key:zI", &bent).is_err(), "it would settle a request that is not shown");
    }
}
