//! `q wallet invoke`: pay by a UCAN invocation, from the own wallet or under a delegation.

use std::{fs, time::Duration};

use anyhow::Context as _;
use clap::Args;
use q_contract::CallError;
use q_core::{Amount, AmountText, Did};
use q_ucan::{Delegation, InvocationDraft, Ipld, TokenCid, container, dag_json, policy::Statement};
use qonsent_api::{DelegationPath, GetDelegationToken};
use qwallet::domain::{currency::Currency, fees::FeeClass};
use qwallet_api::{
    CreatePayment, GetQuote, GetWallet, PaymentRequest, QuoteRequest, WalletPath,
    signing::{PAYMENT_COMMAND, PaymentOrder},
};

use super::{ORDER_LIFETIME, hint_to_open, hint_to_payee, show_transaction};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// How long the payment waits for a module that has just started and does not know yet what was revoked.
const START: Duration = Duration::from_secs(15);

/// `q wallet invoke`.
#[derive(Debug, Args)]
pub struct InvokeArgs {
    /// A keyring name, DID or wallet reference.
    pub recipient: String,
    /// The amount, such as 12.50.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The currency.
    #[arg(default_value = "QToken")]
    pub currency: String,
    /// Under this delegation, from the wallet of whoever gave it: its CID where it is on record (`q grant pay` prints it),
    /// or a file with the container; several where it was handed on.
    #[arg(long, value_name = "DELEGATION")]
    pub under: Vec<String>,
    /// What it is for.
    #[arg(long)]
    pub purpose: Option<String>,
    /// The most that the payer pays in fees, on top of the amount; when absent, what the fee schedule asks of the wallet that
    /// pays. A delegation's bound counts it with the amount.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub max_fees: Option<String>,
    /// Repeat an earlier attempt under its key; nothing is paid twice.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Who invokes.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// Whose wallet pays, and what allows it.
struct Source {
    payer: Did,
    wallet: String,
    /// Root first; none for the own wallet.
    links: Vec<Delegation>,
}

pub async fn run(session: &Session, args: &InvokeArgs) -> anyhow::Result<()> {
    let key = args.idempotency_key.clone().unwrap_or_else(|| session.fresh_key());
    let recipient = session.wallet_of(&args.recipient)?;
    let order: PaymentRequest = if let Some(order) = session.layout.kept_order(&key)? {
        order
    } else {
        let order = invoked(session, args, &recipient).await?;
        session.layout.keep_order(&key, &order)?;
        order
    };
    let is_same = order.recipient == recipient
        && order.amount.as_str() == args.amount
        && order.currency == args.currency;
    anyhow::ensure!(is_same, "the key {key} was used for another payment; use a new key for a new payment");
    // Without a token: the invocation is the credential.
    let client = session.anonymous("qwallet")?.waiting_for_start(START).with_key(key);
    let paid = client.call::<CreatePayment>(&order).await;
    let paid = paid.map_err(|error| {
        let is_beyond =
            error.problem().is_some_and(|problem| problem.is(&qwallet_api::errors::UCAN_POLICY_VIOLATION));
        let error = hint_to_payee(session, &args.recipient, error.into());
        if is_beyond { error.context(beyond(session)) } else { error }
    })?;
    output::show(args.acting.json, &paid, show_transaction);
    Ok(())
}

/// What can be done about a payment that a delegation does not allow.
fn beyond(session: &Session) -> String {
    let name = session.name();
    format!("the delegation does not let {name} pay this; `q grant list --as {name}` shows its bounds")
}

/// The order with its invocation in place of a signature.
async fn invoked(session: &Session, args: &InvokeArgs, recipient: &str) -> anyhow::Result<PaymentRequest> {
    let source = source(session, args).await?;
    let max_fees = match &args.max_fees {
        Some(most) => most.as_str().into(),
        None => max_fees(session, args, (recipient, &source)).await?,
    };
    let (nonce, expires_at) = (session.fresh_key(), session.env.now() + ORDER_LIFETIME);
    let instance = session.layout.read_instance()?.did;
    let until = expires_at.to_string();
    let order = PaymentOrder {
        amount: &args.amount,
        aud: instance.as_str(),
        client_ref: Some(&nonce),
        currency: &args.currency,
        expires_at: &until,
        intent_id: None,
        max_fees: max_fees.as_str(),
        nonce: &nonce,
        payer: source.payer.as_str(),
        rail: "internal",
        recipient,
        v: 1,
        wallet: &source.wallet,
    };
    let Ipld::Map(arguments) = dag_json::from_json(&serde_json::to_value(&order)?)? else {
        anyhow::bail!("an order is a map");
    };
    let draft = InvocationDraft {
        issuer: session.keyring.key_id().parse()?,
        audience: Some(instance.clone()),
        subject: source.payer.clone(),
        command: PAYMENT_COMMAND.parse()?,
        args: arguments,
        proofs: source.links.iter().map(Delegation::cid).collect(),
        nonce: session.env.random::<12>().to_vec(),
        issued_at: None,
        expires_at: Some(expires_at),
    };
    let invocation = draft.sign(&session.keyring.current)?;
    let links = source.links.iter().map(Delegation::bytes);
    Ok(PaymentRequest {
        signature: container::encode_text(std::iter::once(invocation.bytes()).chain(links)),
        amount: args.amount.as_str().into(),
        client_ref: nonce.clone(),
        currency: args.currency.clone(),
        expires_at: until.clone(),
        max_fees: max_fees.clone(),
        nonce: nonce.clone(),
        payer: source.payer.clone(),
        purpose: args.purpose.clone(),
        quote_id: None,
        rail: None,
        recipient: recipient.to_owned(),
        wallet: source.wallet.clone(),
    })
}

/// What the payment may cost by the fee schedule of this moment.
///
/// A quote is for whoever asks. Of another's wallet nobody tells whether the recipient belongs to its family, so the dearest
/// of the classes that are possible is signed; what is taken is what the schedule says.
async fn max_fees(
    session: &Session,
    args: &InvokeArgs,
    (recipient, source): (&str, &Source),
) -> anyhow::Result<AmountText> {
    let client = session.client("qwallet")?;
    let of = || QuoteRequest::of(args.amount.as_str(), &args.currency);
    let asked = QuoteRequest { recipient: Some(recipient.to_owned()), ..of() };
    let classes: &[FeeClass] = match client.call::<GetQuote>(&asked).await {
        Ok(quote) if source.payer == *session.did() => return Ok(quote.fees.total),
        // From outside the invoker's family, the class says what the recipient is.
        Ok(quote) => match FeeClass::from_name(&quote.class) {
            Some(FeeClass::P2p) => &[FeeClass::P2p, FeeClass::Module],
            Some(FeeClass::Merchant) => &[FeeClass::Merchant, FeeClass::Module],
            Some(FeeClass::Module) | None => &FeeClass::ALL,
        },
        // Whoever invokes may be paid by it.
        Err(error) if is_to_self(&error) && source.payer != *session.did() => &FeeClass::ALL,
        Err(error) => return Err(hint_to_payee(session, &args.recipient, error.into())),
    };
    let mut dearest: Option<(Amount, AmountText)> = None;
    for class in classes {
        let asked = QuoteRequest { class: Some(class.name().to_owned()), ..of() };
        let quote = client.call::<GetQuote>(&asked).await?;
        let currency = Currency::find(&quote.currency).context("the quote is in an unknown currency")?;
        let units = quote.fees.total.parse(currency.scale)?;
        if dearest.as_ref().is_none_or(|(most, _)| *most < units) {
            dearest = Some((units, quote.fees.total));
        }
    }
    dearest.map(|(_, total)| total).context("no class of payments was quoted")
}

fn is_to_self(error: &CallError) -> bool {
    error.problem().is_some_and(|problem| problem.is(&qwallet_api::errors::SELF_PAYMENT))
}

async fn source(session: &Session, args: &InvokeArgs) -> anyhow::Result<Source> {
    if args.under.is_empty() {
        let own = WalletPath { squid_id: session.did().to_string() };
        let wallet = session
            .client("qwallet")?
            .call::<GetWallet>(&own)
            .await
            .map_err(|error| hint_to_open(session, error))?;
        return Ok(Source { payer: wallet.owner, wallet: wallet.wallet_ref, links: Vec::new() });
    }
    let mut pool = Vec::new();
    for name in &args.under {
        pool.extend(delegations(session, name).await?);
    }
    let links = chain_to(session.did(), pool)?;
    let payer = links.first().and_then(Delegation::subject).context("the delegations name no owner")?.clone();
    let wallet = links.iter().find_map(wallet_of).context(
        "the delegations name no wallet; whoever gives one names it, as `q grant pay` does: [\"==\", \".wallet\", \"wallet_…\"]",
    )?;
    Ok(Source { payer, wallet, links })
}

/// The delegations on record under this CID, or in this file.
async fn delegations(session: &Session, name: &str) -> anyhow::Result<Vec<Delegation>> {
    let tokens = if let Ok(cid) = name.parse::<TokenCid>() {
        vec![session.client("qonsent")?.call::<GetDelegationToken>(&DelegationPath { cid }).await?.0]
    } else {
        let packed = fs::read(name).map_err(|error| {
            usage(format!("{name:?} is neither a CID nor a file that can be read: {error}"))
        })?;
        container::decode(packed.trim_ascii())
            .with_context(|| format!("{name} holds no container of tokens"))?
    };
    Ok(tokens.iter().map(|token| Delegation::decode(token)).collect::<Result<_, _>>()?)
}

/// The links by which `holder` has what it has, from the owner down.
fn chain_to(holder: &Did, mut pool: Vec<Delegation>) -> anyhow::Result<Vec<Delegation>> {
    let (mut links, mut to) = (Vec::new(), holder.clone());
    loop {
        let at = pool.iter().position(|link| *link.audience() == to);
        let at = at.ok_or_else(|| {
            let others: Vec<&str> = pool.iter().map(|link| link.audience().as_str()).collect();
            usage(format!("no delegation to {to} is among them, but to {}", others.join(" and ")))
        })?;
        let link = pool.swap_remove(at);
        to = link.issuer().did.clone();
        let is_root = link.subject() == Some(&to);
        links.insert(0, link);
        if is_root {
            return Ok(links);
        }
    }
}

/// The wallet that a delegation names.
fn wallet_of(link: &Delegation) -> Option<String> {
    link.policy().statements().iter().find_map(|statement| match statement {
        Statement::Equal(selector, Ipld::String(text)) => match selector.as_str() {
            ".resource" => text.strip_prefix("qwallet:wallet:").map(str::to_owned),
            ".wallet" => Some(text.clone()),
            _ => None,
        },
        _ => None,
    })
}
