//! `q grant pay`: let somebody pay from a wallet, within bounds.

use anyhow::Context as _;
use clap::Args;
use q_core::{Did, Scale, Timestamp, amount};
use q_ucan::{DelegationDraft, Policy, TokenCid, container, dag_json};
use qonsent_api::{
    DelegationRecord, ListDelegations, ListDelegationsRequest, RegisterDelegations, RegisterRequest,
};
use qwallet_api::signing::{COST_MICROS, PAYMENT_COMMAND};
use serde::Serialize;
use serde_json::{Value, json};

use super::{GRANT_TTL, TermsArgs, own_wallet};
use crate::{
    cli::AsArgs,
    output::{self, usage},
    session::Session,
};

/// `q grant pay`.
#[derive(Debug, Args)]
pub struct PayArgs {
    /// A keyring name or DID.
    pub identity: String,
    /// The most one payment may cost, its fees included.
    #[arg(long, value_name = "AMOUNT")]
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
    let audience = session.identity(&args.identity)?;
    let expires_at = args.terms.until.unwrap_or_else(|| session.env.now() + GRANT_TTL);
    let draft = DelegationDraft {
        // By its name, so that a receipt of what is paid is proved without asking whose key it was.
        issuer: session.keyring.key_id().parse()?,
        audience: audience.clone(),
        subject: Some(session.did().clone()),
        command: PAYMENT_COMMAND.parse()?,
        policy: policy(session, args, resource.as_str())?,
        nonce: session.env.random::<12>().to_vec(),
        not_before: args.terms.from,
        expires_at: Some(expires_at),
        meta: args.terms.conditions()?.to_meta()?,
    };
    let link = draft.sign(&session.keyring.current)?;
    let delegation = container::encode_text([link.bytes()]);
    let client = session.client("qonsent")?.with_key(session.fresh_key());
    client.call::<RegisterDelegations>(&RegisterRequest { container: delegation.clone() }).await?;
    let given =
        Given { cid: link.cid(), identity: audience, resource: resource.to_string(), expires_at, delegation };
    output::show(args.acting.json, &given, |given| {
        output::line(format!(
            "{} may pay from {} until {}",
            given.identity, given.resource, given.expires_at
        ));
        output::line(format!("delegation {}", given.cid));
        output::progress(format!(
            "they pay with `q wallet invoke RECIPIENT AMOUNT --under {cid}`; `q grant revoke --delegation {cid}` takes it \
             back",
            cid = given.cid
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
pub fn show(record: &DelegationRecord) {
    let owner = record.subject.as_ref().map_or("whoever delegates to the issuer", Did::as_str);
    let until = record.expires_at.map_or_else(String::new, |until| format!("  until {until}"));
    output::line(format!("{}  {} may pay for {owner}{until}", record.cid, record.audience));
    for statement in record.policy.as_array().into_iter().flatten() {
        output::line(format!("  {}", bound(statement)));
    }
}

/// A statement of a policy in words: `[operator, selector, value]`.
fn bound(statement: &Value) -> String {
    match statement.as_array().map(Vec::as_slice) {
        Some([Value::String(operator), Value::String(selector), value]) => {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("only where {} {operator} {value}", selector.trim_start_matches('.'))
        }
        _ => format!("only where {statement}"),
    }
}

/// What every payment has to satisfy.
fn policy(session: &Session, args: &PayArgs, resource: &str) -> anyhow::Result<Policy> {
    let mut statements = vec![json!(["==", ".resource", resource])];
    let currency = args.currency.as_deref().or(args.up_to.as_ref().map(|_| "QToken"));
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
    Ok(Policy::from_ipld(&dag_json::from_json(&json!(statements))?)?)
}
