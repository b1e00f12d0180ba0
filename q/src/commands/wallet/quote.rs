//! `q wallet quote`: what a payment would cost.

use clap::Args;
use qwallet_api::{GetQuote, Quote, QuoteRequest};

use super::hint_to_payee;
use crate::{
    cli::{AsArgs, positive},
    output,
    session::Session,
};

/// `q wallet quote`.
#[derive(Debug, Args)]
pub struct QuoteArgs {
    /// The amount, such as 12.50.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The currency.
    #[arg(default_value = "QToken")]
    pub currency: String,
    /// Whom: a keyring name, DID, wallet id or wallet reference; with --network the address. Merchants and own wallets
    /// may cost something else.
    #[arg(long, value_name = "WHO")]
    pub to: Option<String>,
    /// What it is where nobody is named: p2p, merchant or module.
    #[arg(long)]
    pub class: Option<String>,
    /// The rail over which it would leave.
    #[arg(long, value_name = "RAIL")]
    pub network: Option<String>,
    /// The currency that would arrive.
    #[arg(long, value_name = "CURRENCY")]
    pub to_currency: Option<String>,
    /// Who would pay.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &QuoteArgs) -> anyhow::Result<()> {
    let recipient = match (&args.to, args.network.as_deref()) {
        (Some(to), None | Some("internal")) => Some(session.wallet_of(to)?),
        (to, _) => to.clone(),
    };
    let request = QuoteRequest {
        to_currency: args.to_currency.clone(),
        network: args.network.clone(),
        recipient,
        class: args.class.clone(),
        ..QuoteRequest::of(args.amount.as_str(), &args.currency)
    };
    let quote = session.client("qwallet")?.call::<GetQuote>(&request).await;
    let quote =
        quote.map_err(|error| hint_to_payee(session, args.to.as_deref().unwrap_or(""), error.into()))?;
    output::show(args.acting.json, &quote, |quote| show(quote, args));
    Ok(())
}

fn show(quote: &Quote, args: &QuoteArgs) {
    output::line(format!(
        "{} {} ({}, {})\n  fees {}: {} platform, {} network",
        quote.amount.as_str(),
        quote.currency,
        quote.class,
        quote.network,
        quote.fees.total.as_str(),
        quote.fees.platform.as_str(),
        quote.fees.network.as_str(),
    ));
    if let Some(rate) = &quote.exchange_rate {
        output::line(format!("  rate {}", rate.as_str()));
    }
    match (&quote.quote_id, quote.valid_until) {
        (Some(id), Some(until)) => {
            let to = args.to.as_deref().unwrap_or("WHO");
            output::line(format!("  holds until {until}, by version {} of the fees", quote.schedule_version));
            output::line(format!(
                "  next: q wallet pay {to} {} {} --as {} --quote {id}",
                quote.amount.as_str(),
                quote.currency,
                args.acting.name
            ));
        }
        _ => output::line("  what the rail asks at this moment; nothing holds it"),
    }
}
