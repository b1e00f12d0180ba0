//! `q wallet history`: what changed a wallet's balance, newest first.

use clap::Args;
use q_core::{PageLimit, Timestamp};
use qwallet_api::{EntryPage, ListTransactions, ListTransactionsRequest};

use super::statement::instant;
use crate::{
    cli::{AsArgs, one_of, positive},
    output,
    session::Session,
};

/// The other sides that are no wallets.
const HOUSE_ACCOUNTS: [&str; 8] =
    ["account", "escrow", "fees:network", "fees:platform", "issuance", "rail", "rail:costs", "suspense"];

/// `q wallet history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// A keyring name, DID, wallet id or wallet reference.
    pub who: Option<String>,
    /// Only from this day (UTC) or instant on.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub from: Option<Timestamp>,
    /// Only before this day (UTC) or instant.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub to: Option<Timestamp>,
    /// The currency; the instance's first when not given.
    #[arg(long)]
    pub currency: Option<String>,
    /// Only transactions in this state.
    #[arg(long, ignore_case = true, value_parser = one_of(["SIGNED", "SETTLED", "CANCELLED", "EXPIRED"]))]
    pub status: Option<String>,
    /// Only transactions of this kind, such as payment.
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<String>,
    /// Only with this other side: a keyring name, DID, wallet id, wallet reference or house account.
    #[arg(long, value_name = "WHO")]
    pub counterparty: Option<String>,
    /// Only amounts of this or more.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true, value_parser = positive)]
    pub min: Option<String>,
    /// Only where purpose, reference, id or other side hold this text.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// How many, up to 200.
    #[arg(long, value_parser = limit)]
    pub limit: Option<PageLimit>,
    /// Where an earlier page ended.
    #[arg(long)]
    pub cursor: Option<String>,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &HistoryArgs) -> anyhow::Result<()> {
    let who = args.who.as_deref();
    let counterparty = match args.counterparty.as_deref() {
        Some(house) if HOUSE_ACCOUNTS.contains(&house) => Some(house.to_owned()),
        who => who.map(|who| session.wallet_of(who)).transpose()?,
    };
    let request = ListTransactionsRequest {
        squid_id: session.own_or(who)?,
        currency: args.currency.clone(),
        from: args.from,
        to: args.to,
        status: args.status.clone(),
        r#type: args.kind.clone(),
        counterparty,
        min_amount: args.min.as_deref().map(Into::into),
        q: args.search.clone(),
        cursor: args.cursor.clone(),
        limit: args.limit.unwrap_or_default(),
    };
    let page = session.client("qwallet")?.call::<ListTransactions>(&request).await;
    let page = page.map_err(|error| super::hint_to_ask(session, who, error))?;
    output::show(args.acting.json, &page, show);
    Ok(())
}

fn show(page: &EntryPage) {
    for entry in &page.items {
        let amount = entry.amount.as_str();
        let side = if amount.starts_with('-') { "to" } else { "from" };
        output::line(format!(
            "{}  {:>24} {}  {:<14}  balance {:>24}  {:<9}  {:<12} {side} {}  {}",
            entry.at,
            // What was only set aside, or let go again, took nothing from the balance.
            if super::has_moved(&entry.phase) { amount } else { amount.trim_start_matches('-') },
            entry.currency,
            super::phase_in_words(&entry.phase),
            entry.balance_after.as_str(),
            entry.status,
            entry.leg,
            entry.counterparty,
            entry.transaction_id,
        ));
    }
    if page.items.is_empty() && page.next_cursor.is_none() {
        output::line("nothing that fits");
    }
    if let Some(cursor) = &page.next_cursor {
        output::progress(format!("older entries: the same with --cursor {cursor}"));
    }
}

fn limit(text: &str) -> Result<PageLimit, String> {
    let rows = text.parse::<u32>().ok().and_then(|rows| PageLimit::try_from(rows).ok());
    rows.ok_or_else(|| format!("{text:?} is not a number from 1 to 200"))
}
