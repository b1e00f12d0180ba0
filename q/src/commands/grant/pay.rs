//! `q grant pay`: let somebody pay from a wallet, within bounds.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use q_core::{Did, Scale, Timestamp, amount};
use q_pdp::Conditions;
use q_ucan::{Delegation, DelegationDraft, Policy, TokenCid, container, dag_json};
use qonsent_api::{
    DelegationRecord, ListDelegations, ListDelegationsRequest, RegisterDelegations, RegisterRequest,
};
use qwallet_api::{
    GetQuote, QuoteRequest,
    signing::{COST_MICROS, PAYMENT_COMMAND},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{GRANT_TTL, TermsArgs, audience, own_wallet, show_conditions};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q grant pay`.
#[derive(Debug, Args)]
pub struct PayArgs {
    /// A keyring name or DID.
    pub identity: String,
    /// The most one payment may cost, its fees included.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub up_to: Option<String>,
    /// In this currency only; QToken where --up-to is given.
    #[arg(long, value_name = "CURRENCY")]
    pub currency: Option<String>,
    /// To this recipient only: a keyring name, DID or wallet reference.
    #[arg(long, value_name = "RECIPIENT")]
    pub to: Option<String>,
    /// When and how often.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Who grants.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// A delegation to pay.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    cid: TokenCid,
    identity: Did,
    resource: String,
    expires_at: Timestamp,
    /// The container, for whoever receives it.
    delegation: String,
}

/// Signs a delegation to pay from the acting identity's wallet, and puts it on record so that it can be taken back.
pub async fn run(session: &Session, args: &PayArgs) -> anyhow::Result<()> {
    let resource = own_wallet(session).await?;
    let audience = audience(session, &args.identity)?;
    let expires_at = args.terms.until.unwrap_or_else(|| session.env.now() + GRANT_TTL);
    let conditions = args.terms.conditions()?;
    let bounds = bounds(session, args, resource.as_str()).await?;
    let draft = DelegationDraft {
        // By its name, so that a receipt of what is paid is proved without asking whose key it was.
        issuer: session.keyring.key_id().parse()?,
        audience: audience.clone(),
        subject: Some(session.did().clone()),
        command: PAYMENT_COMMAND.parse()?,
        policy: Policy::from_ipld(&dag_json::from_json(&json!(bounds))?)?,
        nonce: session.env.random::<12>().to_vec(),
        not_before: args.terms.from,
        expires_at: Some(expires_at),
        meta: conditions.to_meta()?,
    };
    let link = draft.sign(&session.keyring.current)?;
    let delegation = container::encode_text([link.bytes()]);
    let client = session.client("qonsent")?.with_key(session.fresh_key());
    client.call::<RegisterDelegations>(&RegisterRequest { container: delegation.clone() }).await?;
    let given =
        Given { cid: link.cid(), identity: audience, resource: resource.to_string(), expires_at, delegation };
    output::show(args.acting.json, &given, |given| {
        let (whom, whose) = (session.named(given.identity.as_str()), session.name());
        output::line(format!("{whom} may pay from the wallet of {whose} until {}", given.expires_at));
        for statement in &bounds {
            output::line(format!("  {}", bound(session, statement)));
        }
        show_conditions(&conditions, None);
        output::line(format!("delegation {}", given.cid));
        let (cid, by, own) =
            (given.cid, session.by(given.identity.as_str()), session.by(session.did().as_str()));
        output::progress(format!(
            "they pay with `q wallet invoke RECIPIENT AMOUNT --under {cid}{by}`; `q grant revoke --delegation {cid}{own}` \
             takes it back"
        ));
    });
    Ok(())
}

/// The delegations to pay that the acting identity gave or received and that still count.
pub async fn standing(session: &Session) -> anyhow::Result<Vec<DelegationRecord>> {
    let client = session.client("qonsent")?;
    let (mut found, mut request) = (Vec::new(), ListDelegationsRequest::default());
    loop {
        let page = client.call::<ListDelegations>(&request).await?;
        found.extend(page.items.into_iter().filter(|record| record.command == PAYMENT_COMMAND));
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Whether the acting identity gave it.
pub fn is_given(session: &Session, record: &DelegationRecord) -> bool {
    record.issuer.split('#').next() == Some(session.did().as_str())
}

/// Shows a delegation to pay, with its bounds.
pub fn show(session: &Session, record: &DelegationRecord, used: &BTreeMap<String, i64>) {
    let owner = record.subject.as_ref().map(|owner| session.named(owner.as_str()));
    let owner = owner.unwrap_or_else(|| "whoever delegates to the issuer".to_owned());
    let whom = session.named(record.audience.as_str());
    let until = record.expires_at.map_or_else(String::new, |until| format!("  until {until}"));
    output::line(format!("{}  {whom} may pay for {owner}{until}", record.cid));
    for statement in record.policy.as_array().into_iter().flatten() {
        output::line(format!("  {}", bound(session, statement)));
    }
    show_conditions(&conditions(record), used.get(&record.cid.to_string()).copied());
}

/// When and how often a delegation counts; what cannot be read has no conditions to tell.
pub fn conditions(record: &DelegationRecord) -> Conditions {
    let tokens = container::decode(record.container.as_bytes()).unwrap_or_default();
    let link = tokens.first().and_then(|token| Delegation::decode(token).ok());
    link.and_then(|link| Conditions::of(&link).ok()).unwrap_or_default()
}

/// A statement of a policy in words: `[operator, selector, value]`.
fn bound(session: &Session, statement: &Value) -> String {
    match statement.as_array().map(Vec::as_slice) {
        Some([Value::String(operator), Value::String(selector), value])
            if operator == "<=" && *selector == format!(".{COST_MICROS}") && value.is_u64() =>
        {
            let micros = value.as_u64().unwrap_or_default();
            let decimals = format!("{:06}", micros % 1_000_000);
            let decimals = decimals.trim_end_matches('0');
            let point = if decimals.is_empty() { "" } else { "." };
            format!("only up to {}{point}{decimals} at once, fees included", micros / 1_000_000)
        }
        Some([Value::String(operator), Value::String(selector), Value::String(text)]) if operator == "==" => {
            match selector.as_str() {
                ".resource" => format!("only from {}", text.trim_start_matches("qwallet:wallet:")),
                ".recipient" => format!("only to {}", session.named(text)),
                ".currency" => format!("only in {text}"),
                _ => format!("only where {} is {text}", selector.trim_start_matches('.')),
            }
        }
        Some([Value::String(operator), Value::String(selector), value]) => {
            let value = value.as_str().map_or_else(|| value.to_string(), |text| session.named(text));
            format!("only where {} {operator} {value}", selector.trim_start_matches('.'))
        }
        _ => format!("only where {statement}"),
    }
}

/// What every payment has to satisfy.
async fn bounds(session: &Session, args: &PayArgs, resource: &str) -> anyhow::Result<Vec<Value>> {
    let mut statements = vec![json!(["==", ".resource", resource])];
    let currency = args.currency.as_deref().or(args.up_to.as_ref().map(|_| "QToken"));
    if let Some(currency) = currency {
        // A bound to a currency that there is not would let nothing be paid, and nobody would be told.
        session.client("qwallet")?.call::<GetQuote>(&QuoteRequest::of("1", currency)).await?;
    }
    statements.extend(currency.map(|currency| json!(["==", ".currency", currency])));
    if let Some(most) = &args.up_to {
        let scale = Scale::new(6).context("six decimals")?;
        let read = amount::parse(most, scale);
        let most =
            read.map_err(|error| usage(format!("--up-to {most} is no amount of six decimals: {error}")))?;
        statements.push(json!(["<=", format!(".{COST_MICROS}"), u64::try_from(most.units())?]));
    }
    if let Some(to) = &args.to {
        statements.push(json!(["==", ".recipient", session.wallet_of(to)?]));
    }
    Ok(statements)
}
