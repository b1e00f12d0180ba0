//! `cargo xtask demo-payout`: a payout file by one independent program, paid by Q, and the books confirmed by two others.
//!
//! Nothing compared here is computed by Q twice: the expected sums come from the script that wrote the file, the actual
//! ones from the balances that `hledger` and `ledger` work out of the exported books.

use crate::books::Books;
use crate::house::House;
use crate::{machine, oracles};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What to pay.
#[derive(clap::Args)]
pub struct Args {
    /// Payments in the file
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_800))]
    payments: u64,
    /// Wallets they go to
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    recipients: u64,
    /// Use a debug build of q, as tests do
    #[arg(long)]
    debug: bool,
}

/// The version of pain.001 the file is written in.
const SCHEMA: &str = "pain.001.001.09";
/// All recipients register from one address.
const SETTINGS: &[(&str, &str)] = &[
    ("SQUID_REGISTRATIONS_PER_HOUR", "0"),
    // Who pays a thousand people in a day has limits of their own.
    ("QWALLET_LIMIT_TRANSACTION", "none"),
    ("QWALLET_LIMIT_DAILY", "none"),
    ("QWALLET_STEP_UP", "none"),
    ("QWALLET_LIMIT_MONTHLY", "none"),
];
const PAYER: &str = "payer";
/// The most the faucet gives at once; the largest file stays below it.
const FUNDS: &str = "10000";

/// Pays and has the books confirmed.
pub fn run(args: &Args) -> Result<()> {
    let oracles = oracles::prepare()?;
    let q = machine::build_q(!args.debug)?;
    let folder = tempfile::tempdir()?;
    let house = House::start(&q, SETTINGS)?;
    println!("q runs at {}", house.url()?);

    let currency = currency(&house)?;
    let code = text(&currency, "isoAlias").context("the first currency has no code for payout files")?;
    let payer = json!({ "name": "Payer", "account": open_wallet(&house, PAYER)? });
    ask(&house, &["wallet", "faucet", FUNDS, text(&currency, "code")?, "--as", PAYER, "--json"])?;
    let mut recipients = Vec::new();
    for number in 1..=args.recipients {
        let name = format!("recipient-{number}");
        recipients.push(json!({ "name": name, "account": open_wallet(&house, &name)? }));
    }

    let file = folder.path().join("payout.xml");
    let order = json!({
        "payer": payer, "recipients": recipients, "count": args.payments,
        "currency": code, "date": "2030-01-02", "schema": SCHEMA,
    });
    let ordered = write_payout(&oracles.folder, &order, &file)?;
    println!("sepaxml wrote {SCHEMA}: {} payments to {} wallets", args.payments, ordered.len());

    let report = ask(&house, &["wallet", "import", path(&file)?, "--as", PAYER, "--json"])?;
    ensure!(report["count"] == args.payments && report["refused"] == 0, "the dry run reports {report}");
    println!("dry run: {} payments, none refused", report["count"]);
    let executed = ask(&house, &["wallet", "import", path(&file)?, "--execute", "--as", PAYER, "--json"])?;
    ensure!(executed["committed"] == args.payments, "executed: {executed}");
    println!("signed once, executed: {} payments settled", executed["committed"]);

    let books = [
        Books::by_hledger(&export(&house, "hledger", folder.path())?)?,
        Books::by_ledger(&export(&house, "ledger", folder.path())?)?,
    ];
    confirm(&house, text(&currency, "code")?, &recipients, &ordered, &books)?;
    println!("the books are confirmed to the last digit by {} and {}", books[0].program, books[1].program);
    Ok(())
}

/// Compares what was ordered with what two strangers and the wallet itself say was received.
fn confirm(
    house: &House,
    currency: &str,
    recipients: &[Value],
    ordered: &BTreeMap<String, String>,
    books: &[Books; 2],
) -> Result<()> {
    println!(
        "{:<28} {:>12} {:>12} {:>12} {:>12}",
        "wallet", "ordered", books[0].program, books[1].program, "q"
    );
    let mut differences = 0;
    for recipient in recipients {
        let (name, account) = (text(recipient, "name")?, text(recipient, "account")?);
        let expected = ordered.get(account).map_or("0", String::as_str);
        let report = ask(house, &["wallet", "balance", "--as", name, "--json"])?;
        let own = text(&report["balances"][currency], "posted")?.to_owned();
        let found =
            [books[0].balance(account)?, books[1].balance(account)?, own].map(|amount| shortest(&amount));
        println!(
            "{account:<28} {:>12} {:>12} {:>12} {:>12}",
            shortest(expected),
            found[0],
            found[1],
            found[2]
        );
        differences += found.iter().filter(|amount| **amount != shortest(expected)).count();
    }
    let trial = ask(house, &["wallet", "trial-balance", "--json"])?;
    let rows = trial["items"].as_array().context("the trial balance has no rows")?;
    differences += rows.iter().filter(|row| row["difference"] != "0").count();
    if differences > 0 {
        bail!("{differences} balances are not what was ordered; the trial balance is {trial}");
    }
    Ok(())
}

fn currency(house: &House) -> Result<Value> {
    let list = ask(house, &["call", "qwallet", "GET", "/currencies", "--json"])?;
    let first =
        list["items"].as_array().and_then(|items| items.iter().find(|item| item["isoAlias"].is_string()));
    first.cloned().context("no currency has a code for payout files")
}

/// Makes an identity with a wallet and returns the wallet's reference.
fn open_wallet(house: &House, name: &str) -> Result<String> {
    ask(house, &["id", "new", name, "--json"])?;
    let wallet = ask(house, &["wallet", "open", "--as", name, "--json"])?;
    Ok(text(&wallet, "walletRef")?.to_owned())
}

fn export(house: &House, format: &str, folder: &Path) -> Result<std::path::PathBuf> {
    let journal = machine::output(&mut house.verb(&["wallet", "export", format]))?;
    let file = folder.join(format!("books.{format}"));
    fs::write(&file, journal)?;
    Ok(file)
}

fn write_payout(oracles: &Path, order: &Value, file: &Path) -> Result<BTreeMap<String, String>> {
    let mut script = Command::new(oracles.join("venv/bin/python"));
    script.arg(machine::root().join("xtask/oracles/write_payout.py")).arg(file);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting Python")?;
    child.stdin.take().context("no pipe to Python")?.write_all(order.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "sepaxml wrote no file: {}", output.status);
    serde_json::from_slice(&output.stdout).context("what write_payout.py says")
}

fn ask(house: &House, arguments: &[&str]) -> Result<Value> {
    let said = machine::output(&mut house.verb(arguments))?;
    serde_json::from_str(&said).with_context(|| format!("q {} said {said}", arguments.join(" ")))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("no {name} in {value}"))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the temporary folder's name is not UTF-8")
}

/// A decimal text without the trailing zeros of its decimals, which are a matter of taste.
fn shortest(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, decimals)) => {
            let decimals = decimals.trim_end_matches('0');
            if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") }
        }
        None => text.to_owned(),
    }
}
