//! `q wallet statement`: what a wallet held, what changed it, what it holds.

use std::path::PathBuf;

use clap::Args;
use q_core::Timestamp;
use qwallet_api::{GetStatement, Statement, StatementRequest};

use crate::{
    cli::AsArgs,
    output::{self, usage},
    session::Session,
};

/// `q wallet statement`.
#[derive(Debug, Args)]
pub struct StatementArgs {
    /// A keyring name, DID, wallet id or wallet reference.
    pub who: Option<String>,
    /// From this day (UTC) or instant on, such as 2026-10-01; the first of this month when not given.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub from: Option<Timestamp>,
    /// Before this day (UTC) or instant; now when not given.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub to: Option<Timestamp>,
    /// One calendar month, such as 2026-10. A month that is over has a statement number.
    #[arg(long, value_name = "YEAR-MONTH", value_parser = month, conflicts_with_all = ["from", "to"])]
    pub month: Option<Month>,
    /// The currency; the instance's first when not given.
    #[arg(long)]
    pub currency: Option<String>,
    /// json, csv, camt053, ofx, hledger, ledger or beancount; lines for people when not given.
    #[arg(long)]
    pub format: Option<String>,
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &StatementArgs) -> anyhow::Result<()> {
    let who = args.who.as_deref();
    let (from, to) = match &args.month {
        Some(month) => (Some(month.first), Some(month.next)),
        None => (args.from, args.to),
    };
    check_span(session.env.now(), from, to)?;
    let is_for_people = args.format.is_none() && args.out.is_none() && !args.acting.json;
    let format = args.format.clone().unwrap_or_else(|| "json".to_owned());
    let request = StatementRequest {
        wallet_id: session.own_or(who)?,
        currency: args.currency.clone(),
        from,
        to,
        format: Some(format),
    };
    let document = session.client("qwallet")?.call::<GetStatement>(&request).await;
    let document = document.map_err(|error| super::hint_to_ask(session, who, error))?.bytes;
    if is_for_people {
        show(&serde_json::from_slice(&document)?);
        return Ok(());
    }
    super::write_document(args.out.as_deref(), &document)
}

/// Refuses a span that has not begun, or ends before it begins: by default one begins with this month and ends now.
fn check_span(now: Timestamp, from: Option<Timestamp>, to: Option<Timestamp>) -> anyhow::Result<()> {
    let begin = from.map_or_else(|| instant(&format!("{}-01", &now.to_string()[..7])), Ok).map_err(usage)?;
    match to {
        Some(to) if to <= begin && from.is_none() => Err(usage(format!(
            "nothing lies between {begin}, where a statement begins if --from is not told, and {to}; say --from too"
        ))),
        Some(to) if to <= begin => {
            Err(usage(format!("a statement from {begin} to {to} ends before it begins")))
        }
        _ if begin >= now => Err(usage(format!("a statement from {begin} on has not begun: it is {now}"))),
        _ => Ok(()),
    }
}

fn show(statement: &Statement) {
    let number = statement.statement_number.map_or("extract".to_owned(), |number| format!("number {number}"));
    let currency = &statement.currency;
    output::line(format!("{}  {number}  {} to {}", statement.wallet_ref, statement.from, statement.to));
    output::line(format!("{:>62} {currency}  opening", statement.opening.as_str()));
    for entry in &statement.entries {
        output::line(format!(
            "{:<27}  {:>32} {:>32}  {:<12} {}  {}",
            entry.at.to_string(),
            entry.amount.as_str(),
            entry.balance_after.as_str(),
            entry.leg,
            entry.counterparty,
            entry.purpose.as_deref().unwrap_or_default().replace(char::is_control, " "),
        ));
    }
    output::line(format!("{:>62} {currency}  closing", statement.closing.as_str()));
}

/// A calendar month in UTC.
#[derive(Debug, Clone)]
pub struct Month {
    first: Timestamp,
    next: Timestamp,
}

/// An instant, or the first one of a day in UTC.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("{text:?} is not a day such as 2026-10-01 or an RFC 3339 instant"))
}

fn month(text: &str) -> Result<Month, String> {
    let refused = || format!("{text:?} is not a month such as 2026-10");
    let (year, month) = text
        .split_once('-')
        .filter(|(year, month)| year.len() == 4 && month.len() == 2)
        .ok_or_else(refused)?;
    let (year, month): (u32, u32) =
        (year.parse().map_err(|_| refused())?, month.parse().map_err(|_| refused())?);
    let first = |year, month| instant(&format!("{year:04}-{month:02}-01")).map_err(|_| refused());
    let next = if month == 12 { first(year + 1, 1) } else { first(year, month + 1) };
    Ok(Month { first: first(year, month)?, next: next? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_begun_and_ends_after_its_beginning() {
        let at = |text| instant(text).unwrap();
        let now = at("2026-11-22");
        for (from, to) in [(None, None), (Some("2026-11-01"), Some("2026-12-01")), (None, Some("2026-11-02"))]
        {
            assert!(check_span(now, from.map(at), to.map(at)).is_ok(), "{from:?} {to:?}");
        }
        for (from, to, told) in [
            (Some("2027-01-01"), Some("2027-02-01"), "has not begun"),
            (Some("2026-10-02"), Some("2026-10-01"), "ends before it begins"),
            (None, Some("2026-10-01"), "say --from"),
        ] {
            let refused = check_span(now, from.map(at), to.map(at)).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let october = month("2026-10").unwrap();
        assert_eq!(october.first.to_string(), "2026-10-01T00:00:00Z");
        assert_eq!(october.next.to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(month("2026-12").unwrap().next.to_string(), "2027-01-01T00:00:00Z");
        for wrong in ["2026-13", "2026-00", "26-10", "2026-1", "2026", "october"] {
            assert!(month(wrong).is_err(), "{wrong}");
        }
        assert!(instant("2026-10-01").is_ok() && instant("2026-10-01T08:00:00+02:00").is_ok());
    }
}
