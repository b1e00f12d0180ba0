//! `q wallet request`: asks for money, with a link and a code to scan.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use q_core::{PageLimit, Timestamp};
use qwallet_api::{
    CancelRequest, CreateRequest, CreateRequestRequest, DrawRequest, GetRequest, ListRequests,
    ListRequestsRequest, MoneyRequest, PublicRequest, ReadRequest, RequestId, RequestPath, Transaction,
};

use super::Payment;
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: RequestVerb,
}

/// What to do with a request for money.
#[derive(Debug, Subcommand)]
pub enum RequestVerb {
    /// Ask for money.
    New {
        /// How much; whatever the payer chooses when absent.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: Option<String>,
        /// What for; whoever has the link reads it.
        #[arg(long, default_value = "")]
        memo: String,
        /// The currency.
        #[arg(long, default_value = "QToken")]
        currency: String,
        /// It may be paid again and again.
        #[arg(long)]
        reusable: bool,
        /// Until when it may be paid (RFC 3339).
        #[arg(long, value_name = "INSTANT")]
        until: Option<String>,
        /// Write the code to scan into this file (SVG).
        #[arg(long, value_name = "FILE")]
        qr: Option<std::path::PathBuf>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the identity's requests.
    List {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one, to whoever has its id or link.
    Show {
        /// The request.
        request: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Take one back.
    Cancel {
        /// The request.
        request: String,
        /// Whose it is.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Pay what somebody asks for.
    Pay {
        /// The request, its link or its payto URI.
        request: String,
        /// How much, where the request leaves it open.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: Option<String>,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
}

impl RequestVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::New { acting, .. }
            | Self::List { acting }
            | Self::Show { acting, .. }
            | Self::Cancel { acting, .. }
            | Self::Pay { acting, .. } => acting,
        }
    }
}

pub async fn run(session: &Session, args: &RequestArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let request = match &args.verb {
        RequestVerb::New { amount, memo, currency, reusable, until, qr, .. } => {
            let expires_at = until.as_deref().map(str::parse).transpose();
            let asked = CreateRequestRequest {
                amount: amount.as_deref().map(Into::into),
                currency: currency.clone(),
                memo: memo.clone(),
                expires_at: expires_at.map_err(|error| usage(format!("--until: {error}")))?,
                single_use: !reusable,
            };
            // A file that cannot be written is no reason to find out after the request is made.
            let drawing = qr.as_deref().map(open_to_write).transpose()?;
            let request = client.call::<CreateRequest>(&asked).await;
            let request = request.map_err(|error| super::hint_to_open(session, error))?;
            if let Some((file, mut open)) = drawing {
                let path = RequestPath { request_id: request.request_id };
                let drawing = client.call::<DrawRequest>(&path).await?;
                open.set_len(0)
                    .and_then(|()| open.write_all(drawing.0.as_bytes()))
                    .with_context(|| format!("{} cannot be written", file.display()))?;
            }
            request
        }
        RequestVerb::List { .. } => {
            let all = ListRequestsRequest { cursor: None, limit: PageLimit::default() };
            let page = client.call::<ListRequests>(&all).await;
            let page = page.map_err(|error| super::hint_to_open(session, error))?;
            output::show(json, &page, |page| {
                page.items.iter().for_each(show);
                if page.items.is_empty() {
                    output::line("nothing is asked for; `q wallet request new` asks");
                }
            });
            return Ok(());
        }
        RequestVerb::Show { request, .. } => {
            let path = path(request)?;
            match client.call::<GetRequest>(&path).await {
                Ok(request) => request,
                // Somebody else's: what whoever has the link may see.
                Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => {
                    let request = client.call::<ReadRequest>(&path).await?.answer;
                    output::show(json, &request, show_public);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        RequestVerb::Cancel { request, .. } => client.call::<CancelRequest>(&path(request)?).await?,
        RequestVerb::Pay { request, amount, .. } => {
            let transaction = pay(session, request, amount.as_deref(), json).await?;
            output::show(json, &transaction, super::show_transaction);
            return Ok(());
        }
    };
    output::show(json, &request, show);
    Ok(())
}

/// The file, open; what is in it stays until something is written.
fn open_to_write(file: &Path) -> anyhow::Result<(&Path, File)> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    Ok((file, open.with_context(|| format!("{} cannot be written; nothing was asked for", file.display()))?))
}

async fn pay(
    session: &Session,
    request: &str,
    amount: Option<&str>,
    is_json: bool,
) -> anyhow::Result<Transaction> {
    let path = path(request)?;
    let asked = session.client("qwallet")?.call::<ReadRequest>(&path).await?.answer;
    check_text(request, &asked)?;
    let amount = match (&asked.amount, amount) {
        (Some(asked), None) => asked.as_str().to_owned(),
        (None, Some(amount)) => amount.to_owned(),
        (Some(asked), Some(amount)) if asked.as_str() == amount => amount.to_owned(),
        (Some(asked), Some(_)) => {
            return Err(usage(format!("the request asks for {}; leave the amount out", asked.as_str())));
        }
        (None, None) => return Err(usage("the request leaves the amount open; say how much".to_owned())),
    };
    let payment = Payment {
        recipient: asked.wallet_ref,
        amount,
        currency: asked.currency,
        purpose: Some(asked.memo).filter(|memo| !memo.is_empty()),
        client_ref: Some(asked.request_id.to_string()),
        quote_id: None,
    };
    let transaction = super::pay(session, &payment, &session.fresh_key()).await?;
    if !is_json {
        output::progress(format!("paid {} {} to {}", payment.amount, payment.currency, payment.recipient));
    }
    Ok(transaction)
}

/// Refuses a link or payto URI that says something else than the request it names: another host, payee or amount.
fn check_text(text: &str, asked: &PublicRequest) -> anyhow::Result<()> {
    let id = asked.request_id.to_string();
    // The URI tells under which name this instance is known, and so does its link.
    let host = asked.payto_uri.strip_prefix("payto://x-q/").and_then(|rest| Some(rest.split_once('/')?.0));
    let links =
        ["http", "https"].map(|scheme| format!("{scheme}://{}/qwallet/r/{id}", host.unwrap_or_default()));
    if text == id || text == asked.payto_uri || links.iter().any(|link| link == text) {
        return Ok(());
    }
    Err(usage(format!(
        "{text:?} is not what the request says, which is {}; nothing was paid. Pay {id} if that is what you mean",
        asked.payto_uri
    )))
}

/// The request that a text names: its id, or a link or payto URI that ends with it.
fn path(text: &str) -> anyhow::Result<RequestPath> {
    let id = text.rsplit(['/', '=']).next().unwrap_or(text);
    let request_id: RequestId = id.parse().map_err(|error| {
        usage(format!("{text:?} names no request for money: {error}; it is an id, a link or a payto URI"))
    })?;
    Ok(RequestPath { request_id })
}

fn show_public(request: &PublicRequest) {
    let amount = request.amount.as_ref().map_or("any amount of", |amount| amount.as_str());
    output::line(format!(
        "{} {}  {amount} {} to {}  {}\n  {}",
        request.request_id,
        request.status,
        request.currency,
        request.wallet_ref,
        request.memo,
        request.payto_uri,
    ));
    show_end(request.expires_at);
}

fn show_end(expires_at: Option<Timestamp>) {
    if let Some(at) = expires_at {
        output::line(format!("  may be paid until {at}"));
    }
}

fn show(request: &MoneyRequest) {
    let amount = request.amount.as_ref().map_or("any amount of", |amount| amount.as_str());
    output::line(format!(
        "{} {}  {amount} {}  {}\n  {}\n  {}",
        request.request_id, request.status, request.currency, request.memo, request.url, request.payto_uri,
    ));
    show_end(request.expires_at);
    if let Some(transaction) = request.transaction_id {
        output::line(format!("  paid {} times, last by {transaction}", request.payments));
    }
}
