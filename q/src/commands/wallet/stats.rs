//! `q wallet stats`: what a wallet received, gave and paid in fees.

use clap::Args;
use qwallet_api::{GetStats, Stats, StatsRequest};

use crate::{cli::AsArgs, output, session::Session};

/// `q wallet stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// A keyring name, DID, wallet id or wallet reference.
    pub who: Option<String>,
    /// 7d, 30d or 90d.
    #[arg(long, default_value = "30d")]
    pub period: String,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &StatsArgs) -> anyhow::Result<()> {
    let who = args.who.as_deref();
    let squid_id = session.own_or(who)?;
    let request = StatsRequest { squid_id, period: Some(args.period.clone()) };
    let stats = session.client("qwallet")?.call::<GetStats>(&request).await;
    let stats = stats.map_err(|error| super::hint_to_ask(session, who, error))?;
    output::show(args.acting.json, &stats, show);
    Ok(())
}

fn show(stats: &Stats) {
    output::line(format!("{}  {} to {}", stats.wallet_ref, stats.from, stats.to));
    for row in &stats.items {
        output::line(format!(
            "{:<12} {:>7}  received {:>24}  given {:>24}  fees {:>24} {}",
            row.r#type,
            row.count,
            row.received.as_str(),
            row.given.as_str(),
            row.fees.as_str(),
            row.currency
        ));
    }
    if stats.items.is_empty() {
        output::line("nothing happened");
    }
}
