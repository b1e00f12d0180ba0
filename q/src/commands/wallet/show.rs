//! `q wallet show`: one transaction, what was given back of it, and the escrow it paid into.

use clap::Args;
use q_contract::Client;
use q_core::PageLimit;
use qwallet_api::{
    Delegated, Escrow, GetTransaction, ListEscrows, ListEscrowsRequest, ListRefunds, Refund, Transaction,
    TransactionId, TransactionPath,
};
use serde::Serialize;

use super::{escrow, show_transaction};
use crate::{
    cli::AsArgs,
    output::{self, usage},
    session::Session,
};

/// `q wallet show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The transaction id.
    pub transaction: String,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// A transaction and what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    transaction: Transaction,
    /// What was given back of it.
    refunds: Vec<Refund>,
    /// The escrow it paid into.
    #[serde(skip_serializing_if = "Option::is_none")]
    escrow: Option<Escrow>,
}

pub async fn run(session: &Session, args: &ShowArgs) -> anyhow::Result<()> {
    let text = &args.transaction;
    let transaction_id: TransactionId = text.parse().map_err(|error| {
        usage(format!("{text:?} is not a transaction id: {error}; `q wallet history` lists them"))
    })?;
    let (client, path) = (session.client("qwallet")?, TransactionPath { transaction_id });
    let transaction = client.call::<GetTransaction>(&path).await?;
    let refunds = client.call::<ListRefunds>(&path).await?.items;
    let escrow = match transaction.r#type.as_str() {
        "escrow" => escrow_of(&client, transaction_id).await?,
        _ => None,
    };
    let shown = Shown { transaction, refunds, escrow };
    output::show(args.acting.json, &shown, |shown| show(session, shown));
    Ok(())
}

/// The escrow that a transaction paid into, where whoever asks is one of its parties.
async fn escrow_of(client: &Client, transaction: TransactionId) -> anyhow::Result<Option<Escrow>> {
    let mut request = ListEscrowsRequest { status: None, cursor: None, limit: PageLimit::default() };
    loop {
        let page = client.call::<ListEscrows>(&request).await?;
        let found = page.items.into_iter().find(|escrow| escrow.transaction_id == transaction);
        if found.is_some() || page.next_cursor.is_none() {
            return Ok(found);
        }
        request.cursor = page.next_cursor;
    }
}

fn show(session: &Session, shown: &Shown) {
    show_transaction(&shown.transaction);
    if let Some(Delegated { by, delegations }) = &shown.transaction.delegated {
        let by = session.named(by.as_str());
        output::line(format!("  ordered by {by} in the payer's place, under {}", delegations.join(" and ")));
    }
    if let Some(payment) = &shown.transaction.refund_of {
        output::line(format!("  gives back of {payment}"));
    }
    for refund in &shown.refunds {
        let reason = if refund.reason.is_empty() { "" } else { ": " };
        output::line(format!(
            "  gave back {} by {} at {}{reason}{}",
            refund.amount.as_str(),
            refund.refund_id,
            refund.created_at,
            refund.reason
        ));
    }
    if let Some(least) = shown.refunds.last() {
        output::line(format!("  still to give back {}", least.remaining.as_str()));
    }
    if let Some(escrow) = &shown.escrow {
        escrow::show(session, escrow);
    }
}
