//! `q wallet`: balances, payments, payout files, statements, journals.
//!
//! **Invariant:** a verb asks the instance and shows what it answers; no rule of money is here.

pub mod approvals;
pub mod change;
pub mod escrow;
pub mod export;
pub mod fees;
pub mod history;
pub mod hold;
pub mod import;
pub mod intents;
pub mod invoke;
pub mod note;
pub mod plan;
pub mod quote;
pub mod rail;
pub mod rail_corrections;
pub mod refund;
pub mod request;
pub mod schedule;
pub mod show;
pub mod statement;
pub mod stats;
pub mod webhook;

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;
use q_contract::{CallError, Client};
use q_core::Span;
use q_jose::jws;
use qwallet_api::{
    BalanceReport, ChainList, CreatePayment, CreateWallet, CreateWalletRequest, Faucet, FaucetRequest,
    GetBalance, GetBalanceRequest, GetLimits, GetQuote, GetTrialBalance, GetWallet, LimitList, ListHeads,
    ListHeadsRequest, NewLimit, PaymentRequest, QuoteRequest, SetLimits, SetLimitsRequest, SetStripes,
    SetStripesRequest, Transaction, TrialBalance, TrialBalanceRequest, Wallet, WalletPath,
    signing::{PAYMENT_TYP, PaymentOrder, signing_input},
};

use crate::{
    cli::{AsArgs, Cli, WalletVerb, positive},
    commands::issue::{self, Issuance},
    output::{self, usage},
    session::Session,
};

/// How long a signed order may wait to be executed.
const ORDER_LIFETIME: Span = Span::seconds(600);

pub async fn run(cli: &Cli, verb: &WalletVerb) -> anyhow::Result<ExitCode> {
    let open = |acting: &AsArgs| Session::open(&cli.data, &acting.name);
    match verb {
        WalletVerb::Open { acting } => {
            let wallet = open_wallet(&open(acting)?).await?;
            output::show(acting.json, &wallet, show_wallet);
        }
        WalletVerb::Balance { who, acting } => {
            let session = open(acting)?;
            let report = balance(&session, who.as_deref()).await?;
            output::show(acting.json, &report, show_balance);
        }
        WalletVerb::Pay { recipient, amount, currency, purpose, quote, idempotency_key, acting } => {
            let session = open(acting)?;
            let payment = Payment {
                recipient: session.wallet_of(recipient)?,
                amount: amount.clone(),
                currency: currency.clone(),
                purpose: purpose.clone(),
                client_ref: None,
                quote_id: quote.clone(),
            };
            let key = idempotency_key.clone().unwrap_or_else(|| session.fresh_key());
            let paid = pay(&session, &payment, &key).await;
            let transaction = paid.map_err(|error| hint_to_payee(&session, recipient, error))?;
            output::show(acting.json, &transaction, show_transaction);
        }
        WalletVerb::Invoke(args) => invoke::run(&open(&args.acting)?, args).await?,
        WalletVerb::Quote(args) => quote::run(&open(&args.acting)?, args).await?,
        WalletVerb::History(args) => history::run(&open(&args.acting)?, args).await?,
        WalletVerb::Statement(args) => statement::run(&open(&args.acting)?, args).await?,
        WalletVerb::Stats(args) => stats::run(&open(&args.acting)?, args).await?,
        WalletVerb::Rail(args) => return rail::run(&cli.data, args).await,
        WalletVerb::Webhook(args) => webhook::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Import(args) => import::run(&open(&args.acting)?, args).await?,
        WalletVerb::Export(args) => export::run(&open(&args.acting)?, args).await?,
        WalletVerb::Freeze(args) => change::stop(&open(&args.acting)?, args, "FROZEN").await?,
        WalletVerb::Unfreeze(args) => change::unfreeze(&cli.data, args).await?,
        WalletVerb::Close(args) => change::stop(&open(&args.acting)?, args, "CLOSED").await?,
        WalletVerb::Label(args) => change::label(&open(&args.acting)?, args).await?,
        WalletVerb::Credit(args) => change::credit(&cli.data, args).await?,
        WalletVerb::Allow(args) => change::allow(&open(&args.acting)?, args).await?,
        WalletVerb::Limits { who, set, currency, timezone, approvers, acting } => {
            let wanted = (set.as_slice(), currency.as_str(), timezone.as_deref());
            let limits = limits(&cli.data, (acting, approvers), who.as_deref(), wanted).await?;
            output::show(acting.json, &limits, show_limits);
        }
        WalletVerb::Stripes { who, count, currency, acting } => {
            let session = open(acting)?;
            let squid_id = session.wallet_of(who)?;
            let request = SetStripesRequest { squid_id, currency: currency.clone(), count: *count };
            let client = session.client("qwallet")?.with_key(session.fresh_key());
            let stripes = client.call::<SetStripes>(&request).await?;
            output::show(acting.json, &stripes, |stripes| {
                output::line(format!("{} has {} stripes", stripes.wallet_ref, stripes.count));
            });
        }
        WalletVerb::Heads { acting } => {
            let chains = open(acting)?.client("qwallet")?.call::<ListHeads>(&ListHeadsRequest {}).await?;
            output::show(acting.json, &chains, show_chains);
        }
        WalletVerb::Request(args) => request::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Refund(args) => refund::run(&open(&args.acting)?, args).await?,
        WalletVerb::Hold(args) => hold::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Escrow(args) => escrow::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Fees(args) => fees::run(&cli.data, args).await?,
        WalletVerb::Intents(args) => intents::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Approvals(args) => approvals::run(&cli.data, args).await?,
        WalletVerb::Approve(args) => approvals::decide(&open(&args.acting)?, args, true).await?,
        WalletVerb::Reject(args) => approvals::decide(&open(&args.acting)?, args, false).await?,
        WalletVerb::Schedule(args) => schedule::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Plan(args) => plan::run(&open(args.verb.acting())?, args).await?,
        WalletVerb::Subscribe(args) => plan::subscribe(&open(&args.acting)?, args).await?,
        WalletVerb::Subscriptions(args) => plan::subscriptions(&open(&args.acting)?, args).await?,
        WalletVerb::Note(args) => note::run(&open(&args.acting)?, args).await?,
        WalletVerb::Show(args) => show::run(&open(&args.acting)?, args).await?,
        WalletVerb::Faucet { amount, currency, acting } => {
            let transaction = faucet(&open(acting)?, amount, currency).await?;
            output::show(acting.json, &transaction, show_transaction);
        }
        WalletVerb::Issue { amount, wallet, currency, approvers, reference, burn, idempotency_key, json } => {
            let issuance = Issuance { amount, wallet, currency, reference, is_burn: *burn };
            let key = idempotency_key.as_deref();
            let transaction = issue::run(&cli.data, &issuance, approvers, key).await?;
            output::show(*json, &transaction, show_transaction);
        }
        WalletVerb::TrialBalance { at, acting } => {
            let request = TrialBalanceRequest { at: *at };
            let books = open(acting)?.client("qwallet")?.call::<GetTrialBalance>(&request).await?;
            output::show(acting.json, &books, show_books);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_chains(chains: &ChainList) {
    for chain in &chains.items {
        output::line(format!(
            "writer {}  {} commits  {}  {}",
            chain.writer, chain.commits, chain.head, chain.at
        ));
    }
}

fn show_books(books: &TrialBalance) {
    for row in &books.items {
        output::line(format!(
            "{}  debits {}  credits {}  difference {}  in circulation {}",
            row.currency,
            row.debits.as_str(),
            row.credits.as_str(),
            row.difference.as_str(),
            row.in_circulation.as_str()
        ));
    }
}

/// Writes a document into a file, or to standard output byte for byte.
fn write_document(out: Option<&Path>, document: &[u8]) -> anyhow::Result<()> {
    let Some(path) = out else {
        output::bytes(document);
        return Ok(());
    };
    fs::write(path, document).with_context(|| format!("{} cannot be written", path.display()))?;
    output::progress(format!("written to {}", path.display()));
    Ok(())
}

/// What is to be paid to whom.
pub struct Payment {
    /// DID, wallet id or reference.
    pub recipient: String,
    /// Decimal text.
    pub amount: String,
    /// The currency's code.
    pub currency: String,
    /// What it is for.
    pub purpose: Option<String>,
    /// The payer's reference, or the request for money it fulfils; a fresh one when absent.
    pub client_ref: Option<String>,
    /// A quote of the payer, which says the fees.
    pub quote_id: Option<String>,
}

/// Opens the session's wallet.
pub async fn open_wallet(session: &Session) -> anyhow::Result<Wallet> {
    let request = CreateWalletRequest::default();
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    Ok(client.call::<CreateWallet>(&request).await?)
}

/// Gives the session's wallet test money.
pub async fn faucet(session: &Session, amount: &str, currency: &str) -> anyhow::Result<Transaction> {
    let request = FaucetRequest { amount: amount.into(), currency: currency.to_owned(), wallet: None };
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    client.call::<Faucet>(&request).await.map_err(|error| hint_to_open(session, error))
}

/// What a wallet holds; the session's own when nobody is named.
pub async fn balance(session: &Session, who: Option<&str>) -> anyhow::Result<BalanceReport> {
    let squid_id = session.own_or(who)?;
    let request = GetBalanceRequest { squid_id, currency: None, at: None };
    let report = session.client("qwallet")?.call::<GetBalance>(&request).await;
    report.map_err(|error| hint_to_ask(session, who, error))
}

/// Signs the order and has it executed; under the same `key` it happens once.
///
/// The signed order is kept before it is sent, so that a repetition hands in the very same one: also when the
/// first attempt broke off and nobody knows what became of it.
pub async fn pay(session: &Session, payment: &Payment, key: &str) -> anyhow::Result<Transaction> {
    let client = session.client("qwallet")?;
    let order: PaymentRequest = if let Some(order) = session.layout.kept_order(key)? {
        order
    } else {
        let order = signed_order(session, &client, payment).await?;
        session.layout.keep_order(key, &order)?;
        order
    };
    let is_same = order.payer == *session.did()
        && order.recipient == payment.recipient
        && order.amount.as_str() == payment.amount
        && order.currency == payment.currency;
    anyhow::ensure!(is_same, "the key {key} was used for another payment; use a new key for a new payment");
    Ok(client.with_key(key).call::<CreatePayment>(&order).await?)
}

async fn signed_order(
    session: &Session,
    client: &Client,
    payment: &Payment,
) -> anyhow::Result<PaymentRequest> {
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = client.call::<GetWallet>(&own).await.map_err(|error| hint_to_open(session, error))?;
    let quote = QuoteRequest {
        recipient: Some(payment.recipient.clone()),
        ..QuoteRequest::of(payment.amount.as_str(), &payment.currency)
    };
    let max_fees = client.call::<GetQuote>(&quote).await?.fees.total;
    let nonce = session.fresh_key();
    let client_ref = payment.client_ref.as_deref().unwrap_or(&nonce);
    let expires_at = (session.env.now() + ORDER_LIFETIME).to_string();
    let (aud, payer) = (session.layout.read_instance()?.did.to_string(), session.did().to_string());
    let order = PaymentOrder {
        amount: &payment.amount,
        aud: &aud,
        client_ref: Some(client_ref),
        currency: &payment.currency,
        expires_at: &expires_at,
        intent_id: None,
        max_fees: max_fees.as_str(),
        nonce: &nonce,
        payer: &payer,
        rail: "internal",
        recipient: &payment.recipient,
        v: 1,
        wallet: &wallet.wallet_ref,
    };
    Ok(PaymentRequest {
        signature: sign(session, &signing_input(&order)),
        amount: payment.amount.as_str().into(),
        client_ref: client_ref.to_owned(),
        currency: payment.currency.clone(),
        expires_at: expires_at.clone(),
        max_fees,
        nonce: nonce.clone(),
        payer: session.did().clone(),
        purpose: payment.purpose.clone(),
        quote_id: payment.quote_id.clone(),
        rail: None,
        recipient: payment.recipient.clone(),
        wallet: wallet.wallet_ref.clone(),
    })
}

fn sign(session: &Session, order: &[u8]) -> String {
    sign_as(session, PAYMENT_TYP, order)
}

/// The identity's signature under an order of this type.
fn sign_as(session: &Session, typ: &str, order: &[u8]) -> String {
    let header = jws::Header::typ(typ).kid(session.keyring.key_id());
    jws::sign(&header, order, &session.keyring.current)
}

/// What can be done where the wallet of whoever acts is not there: most often somebody else was meant to act.
pub fn hint_to_open(session: &Session, error: CallError) -> anyhow::Error {
    let has_none = error.problem().is_some_and(|problem| problem.is(&qwallet_api::errors::WALLET_NOT_FOUND));
    let error = anyhow::Error::from(error);
    if !has_none {
        return error;
    }
    let name = session.name();
    error.context(format!(
        "you act as {name}, and this identity has no wallet yet; `q wallet open --as {name}` makes one, --as NAME acts as \
         somebody else of `q id list`"
    ))
}

/// What can be done about a wallet that is not there, or that its owner does not show: nobody is told which.
fn hint_to_ask(session: &Session, who: Option<&str>, error: CallError) -> anyhow::Error {
    let Some(who) = who else { return hint_to_open(session, error) };
    let is_hidden = error.problem().is_some_and(|problem| problem.status == 404);
    let error = anyhow::Error::from(error);
    if is_hidden {
        error.context(format!(
            "{who} has no wallet, or does not show it here; its owner shows it with `q grant wallet`"
        ))
    } else {
        error
    }
}

/// What a payer can do whose payee is known here and has no wallet.
fn hint_to_payee(session: &Session, payee: &str, error: anyhow::Error) -> anyhow::Error {
    let call = error.downcast_ref::<CallError>().and_then(CallError::problem);
    let is_unknown = call.is_some_and(|problem| problem.is(&qwallet_api::errors::RECIPIENT_UNKNOWN));
    if is_unknown && session.layout.keyring(payee).exists() {
        return error.context(format!("{payee} has no wallet yet; `q wallet open --as {payee}` makes one"));
    }
    error
}

/// The limits of a wallet, after the changes that are asked for.
async fn limits(
    data: &Path,
    (acting, approvers): (&AsArgs, &[String]),
    who: Option<&str>,
    (set, currency, timezone): (&[String], &str, Option<&str>),
) -> anyhow::Result<LimitList> {
    if let Some(who) = who.filter(|_| !approvers.is_empty()) {
        return change::limits(data, approvers, who, new_limits(set, currency)?).await;
    }
    let session = &Session::open(data, &acting.name)?;
    let squid_id = session.own_or(who)?;
    let client = session.client("qwallet")?;
    if set.is_empty() && timezone.is_none() {
        let limits = client.call::<GetLimits>(&WalletPath { squid_id }).await;
        return limits.map_err(|error| hint_to_ask(session, who, error));
    }
    let timezone = timezone.map(str::to_owned);
    let request = SetLimitsRequest { squid_id, limits: new_limits(set, currency)?, timezone };
    Ok(client.with_key(session.fresh_key()).call::<SetLimits>(&request).await?)
}

fn new_limits(set: &[String], currency: &str) -> anyhow::Result<Vec<NewLimit>> {
    let read = |change: &String| {
        let Some((kind, amount)) = change.split_once('=') else {
            return Err(usage(format!("{change:?} is not a limit such as daily=250")));
        };
        let amount = positive(amount).map_err(|fault| usage(format!("{change:?}: {fault}")))?;
        Ok(NewLimit { kind: kind.to_owned(), currency: currency.to_owned(), amount: amount.as_str().into() })
    };
    set.iter().map(read).collect()
}

fn show_limits(limits: &LimitList) {
    for limit in &limits.items {
        let amount = limit.amount.as_str();
        let currency = if limit.kind == "countPerHour" { "payments" } else { &limit.currency };
        let reach = match limit.kind.as_str() {
            "perTransaction" => format!("at most {amount} {currency}"),
            _ => format!("{} of {amount} {currency} used", limit.used.as_str()),
        };
        output::line(format!(
            "{:<14}  {reach}, {}",
            limit.kind,
            match (limit.inherited, limit.set_by.as_str()) {
                (true, _) => "the parent's",
                (false, "instance") => "as everywhere on this instance",
                // By the owner, a parent, a guardian or operators: the books keep what was set, the audit log who did.
                (false, _) => "set for this wallet",
            }
        ));
        if let Some(at) = limit.resets_at {
            let zone = limit.timezone.as_ref().filter(|zone| *zone != "UTC");
            let zone = zone.map(|zone| format!(", by the clocks of {zone}")).unwrap_or_default();
            output::line(format!("{:14}  counted anew from {at}{zone}", ""));
        }
        if let Some(pending) = &limit.pending {
            let (amount, at) = (pending.amount.as_str(), pending.effective_at);
            output::line(format!(
                "{:14}  {amount} {currency} from {at}, or when an operator sets the same",
                ""
            ));
        }
    }
    if limits.items.is_empty() {
        output::line("no limits");
    }
}

fn show_wallet(wallet: &Wallet) {
    output::line(format!(
        "wallet   {}\nid       {}\nowner    {} ({})\nstatus   {}",
        wallet.wallet_ref, wallet.wallet_id, wallet.owner, wallet.profile, wallet.status
    ));
    if let Some(label) = &wallet.label {
        output::line(format!("label    {label}"));
    }
    for (currency, balance) in
        wallet.balances.iter().filter(|(_, balance)| balance.credit_limit.as_str() != "0")
    {
        output::line(format!("credit   {} {currency}", balance.credit_limit.as_str()));
    }
}

fn show_balance(report: &BalanceReport) {
    output::line(format!("wallet {}", report.wallet_ref));
    for (currency, balance) in &report.balances {
        output::line(format!("  {} {currency} available", balance.available.as_str()));
        if balance.pending_out.as_str() != "0" {
            output::line(format!("  {} {currency} held for signed payments", balance.pending_out.as_str()));
        }
    }
    if report.balances.is_empty() {
        output::line("  nothing yet");
    }
}

/// What a transfer of this phase did with the money, in the words of `q receipt verify`.
fn phase_in_words(phase: &str) -> &str {
    match phase {
        "posted" => "moved",
        "settled" => "moved, as held",
        "voided" => "freed",
        other => other,
    }
}

/// Whether a transfer of this phase changed a balance.
fn has_moved(phase: &str) -> bool {
    matches!(phase, "posted" | "settled")
}

fn show_transaction(transaction: &Transaction) {
    output::line(format!(
        "{} {}\n  {} {} from {} to {}\n  fees {} platform, {} network",
        transaction.transaction_id,
        transaction.status,
        transaction.amount.as_str(),
        transaction.currency,
        transaction.from.wallet_ref,
        transaction.to.wallet_ref,
        transaction.fees.platform.as_str(),
        transaction.fees.network.as_str(),
    ));
    if let Some(captured) = &transaction.captured {
        output::line(format!("  taken of what was held: {}", captured.as_str()));
    }
    for leg in &transaction.legs {
        let phase = phase_in_words(&leg.phase);
        output::line(format!(
            "  {} {} -> {}  {}  {phase}",
            leg.leg,
            leg.debit,
            leg.credit,
            leg.amount.as_str()
        ));
    }
    for note in &transaction.notes {
        let data = note.data.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = note.text.as_deref().unwrap_or_default();
        output::line(format!("  note {} by {} at {}: {text} {data}", note.number, note.author, note.at));
    }
}
