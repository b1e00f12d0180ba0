//! `q wallet rail`: money from outside and back, and the operator's side of it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use q_jose::jws;
use qwallet_api::{
    CancelWithdrawal, CreateWithdrawal, Deposit, DepositAddressRequest, DepositList, GetDepositAddress,
    GetPayoutFile, GetWallet, GetWithdrawal, GetWithdrawalQuote, ListDeposits, ListRails, ListRailsRequest,
    ListSuspense, MakePayouts, PayoutFile, PayoutFilePath, PayoutReportTaken, RAIL_KEY_TYP, RailKeyOrder,
    RailPath, RailState, ReconcileRail, RejectPayout, RejectPayoutRequest, SetRailKey, SetRailKeyRequest,
    StatementReport, TakePayoutReport, TakePayoutReportRequest, TakeStatement, TakeStatementRequest,
    TransactionId, WalletPath, Withdrawal, WithdrawalPath, WithdrawalQuoteRequest, WithdrawalRequest,
    signing::{PaymentOrder, signing_input},
};

use super::{
    ORDER_LIFETIME, hint_to_ask, hint_to_open,
    rail_corrections::{self, AssignArgs, BookArgs, WriteOffArgs},
    sign,
};
use crate::{
    advice::in_verbs,
    cli::{AsArgs, positive},
    output,
    output::usage,
    session::Session,
};

/// The rail whose files people carry.
const BANK: &str = "sepa-file";

/// `q wallet rail`.
#[derive(Debug, Args)]
pub struct RailArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: RailVerb,
}

/// The verbs of rails.
#[derive(Debug, Subcommand)]
pub enum RailVerb {
    /// List the rails: whether each is up, how far it has read its chain, whether books and chain agree.
    List {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show where a wallet gets money from outside.
    Address {
        /// The rail, such as evm.
        rail: String,
        /// A keyring name, DID, wallet id or wallet reference.
        who: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List what came to a wallet from outside.
    Deposits {
        /// A keyring name, DID, wallet id or wallet reference.
        who: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Send money out: it is held at once, and given when the chain cannot be rewritten any more.
    Withdraw {
        /// The rail, such as evm.
        rail: String,
        /// The address of the recipient.
        recipient: String,
        /// The amount, such as 12.50.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// Repeat an earlier attempt under its key; nothing is sent twice.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show where a withdrawal is.
    Show {
        /// The withdrawal.
        withdrawal: TransactionId,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Take back a withdrawal that waits for the approval of others.
    Cancel {
        /// The withdrawal.
        withdrawal: TransactionId,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Give a rail its next key, signed by two approvers of this keyring.
    Key {
        /// The rail, such as evm.
        rail: String,
        /// Who signs; at least two.
        #[arg(long = "approver", value_name = "NAME", required = true)]
        approvers: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the file of all withdrawals that wait for the bank (pain.001).
    Payouts {
        /// Where the file goes; it must not exist.
        file: PathBuf,
        /// A file that was written before, once more.
        #[arg(long, value_name = "NAME")]
        again: Option<String>,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Book what a statement of the bank says (camt.053).
    Statement {
        /// The file.
        file: PathBuf,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Take in what the bank says of a file of payments (pain.002): what it does not make is free again.
    Report {
        /// The file.
        file: PathBuf,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Note that the bank did not make a payment: the money is free again.
    Reject {
        /// The withdrawal.
        withdrawal: TransactionId,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List what came in over a rail and is nobody's.
    Suspense {
        /// The rail, such as evm.
        rail: String,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Book a withdrawal that left and that the books have forgotten, since they were put back from a backup.
    Book(BookArgs),
    /// Give what came in for nobody to a wallet.
    Assign(AssignArgs),
    /// Write off what came in for nobody, or what the rail was found to hold less than the books.
    WriteOff(WriteOffArgs),
    /// List what operators set right on a rail: who, when and why.
    Corrections {
        /// The rail, such as evm.
        rail: String,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Compare books and chain at once; a paused rail goes on when they agree.
    Reconcile {
        /// The rail, such as evm.
        rail: String,
        /// Which operator asks.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(data: &Path, args: &RailArgs) -> anyhow::Result<ExitCode> {
    let open = |acting: &AsArgs| Session::open(data, &acting.name);
    match &args.verb {
        RailVerb::List { acting } => {
            let rails = open(acting)?.client("qwallet")?.call::<ListRails>(&ListRailsRequest {}).await?;
            output::show(acting.json, &rails, |rails| {
                rails.items.iter().for_each(show_rail);
                if rails.items.is_empty() {
                    output::line("no rails; `q config` lists the settings that begin with qwallet.rail_");
                }
            });
        }
        RailVerb::Address { rail, who, acting } => {
            let session = open(acting)?;
            let request =
                DepositAddressRequest { squid_id: session.own_or(who.as_deref())?, rail: rail.clone() };
            let address = session.client("qwallet")?.call::<GetDepositAddress>(&request).await;
            let address = address.map_err(|error| hint_to_ask(&session, who.as_deref(), error))?;
            output::show(acting.json, &address, |address| {
                output::line(format!("{}\n  {} only, credited after", address.address, address.currency));
                output::line(format!("  {} blocks", address.confirmations));
            });
        }
        RailVerb::Deposits { who, acting } => {
            let session = open(acting)?;
            let path = WalletPath { squid_id: session.own_or(who.as_deref())? };
            let deposits = session.client("qwallet")?.call::<ListDeposits>(&path).await;
            let deposits = deposits.map_err(|error| hint_to_ask(&session, who.as_deref(), error))?;
            output::show(acting.json, &deposits, |deposits| show_deposits(deposits, "nothing came in yet"));
        }
        RailVerb::Withdraw { rail, recipient, amount, currency, idempotency_key, acting } => {
            let session = open(acting)?;
            let key = idempotency_key.clone().unwrap_or_else(|| session.fresh_key());
            let wanted = Wanted { rail, recipient, amount, currency };
            let withdrawal = withdraw(&session, &wanted, &key).await?;
            output::show(acting.json, &withdrawal, show_withdrawal);
        }
        RailVerb::Show { withdrawal, acting } => {
            let path = WithdrawalPath { withdrawal_id: *withdrawal };
            let withdrawal = open(acting)?.client("qwallet")?.call::<GetWithdrawal>(&path).await?;
            output::show(acting.json, &withdrawal, show_withdrawal);
        }
        RailVerb::Cancel { withdrawal, acting } => {
            let session = open(acting)?;
            let client = session.client("qwallet")?.with_key(session.fresh_key());
            let path = WithdrawalPath { withdrawal_id: *withdrawal };
            let cancelled = client.call::<CancelWithdrawal>(&path).await?;
            output::show(acting.json, &cancelled, show_withdrawal);
        }
        RailVerb::Key { rail, approvers, json } => {
            let state = set_key(data, rail, approvers).await?;
            output::show(*json, &state, show_rail);
        }
        RailVerb::Payouts { file, again, acting } => {
            let made = payouts(&open(acting)?, file, again.as_deref()).await?;
            output::show(acting.json, &made, |made| {
                output::line(format!("{} is in {}", made.message_id, file.display()));
            });
        }
        RailVerb::Statement { file, acting } => {
            let taken = take_statement(&open(acting)?, file).await?;
            output::show(acting.json, &taken, show_statement);
        }
        RailVerb::Report { file, acting } => {
            let taken = take_report(&open(acting)?, file).await?;
            output::show(acting.json, &taken, show_report);
        }
        RailVerb::Suspense { rail, acting } => {
            let path = RailPath { rail: rail.clone() };
            let deposits = open(acting)?.client("qwallet")?.call::<ListSuspense>(&path).await?;
            output::show(acting.json, &deposits, show_suspense);
        }
        RailVerb::Book(args) => rail_corrections::book(data, args).await?,
        RailVerb::Assign(args) => rail_corrections::assign(data, args).await?,
        RailVerb::WriteOff(args) => rail_corrections::write_off(data, args).await?,
        RailVerb::Corrections { rail, acting } => {
            rail_corrections::list(&open(acting)?, rail, acting.json).await?;
        }
        RailVerb::Reject { withdrawal, acting } => {
            let session = open(acting)?;
            let request = RejectPayoutRequest { withdrawal_id: *withdrawal };
            let client = session.client("qwallet")?.with_key(session.fresh_key());
            let rejected = client.call::<RejectPayout>(&request).await?;
            output::show(acting.json, &rejected, show_withdrawal);
        }
        RailVerb::Reconcile { rail, acting } => {
            let session = open(acting)?;
            let client = session.client("qwallet")?.with_key(session.fresh_key());
            let state = client.call::<ReconcileRail>(&RailPath { rail: rail.clone() }).await?;
            output::show(acting.json, &state, show_rail);
            if state.status == "PAUSED" {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the file for the bank written, or gives one once more.
async fn payouts(session: &Session, file: &Path, again: Option<&str>) -> anyhow::Result<PayoutFile> {
    let client = session.client("qwallet")?;
    let made = match again {
        None => {
            let path = RailPath { rail: BANK.to_owned() };
            client.with_key(session.fresh_key()).call::<MakePayouts>(&path).await?
        }
        Some(name) => {
            let path = PayoutFilePath { rail: BANK.to_owned(), message_id: name.to_owned() };
            client.call::<GetPayoutFile>(&path).await?
        }
    };
    let written = File::create_new(file).and_then(|mut out| out.write_all(made.document.as_bytes()));
    written.with_context(|| {
        format!("{} was not written; --again {} gives it once more", file.display(), made.message_id)
    })?;
    Ok(made)
}

async fn take_statement(session: &Session, file: &Path) -> anyhow::Result<StatementReport> {
    let document = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let request = TakeStatementRequest { rail: BANK.to_owned(), document };
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    Ok(client.call::<TakeStatement>(&request).await?)
}

async fn take_report(session: &Session, file: &Path) -> anyhow::Result<PayoutReportTaken> {
    let document = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let request = TakePayoutReportRequest { rail: BANK.to_owned(), document };
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    Ok(client.call::<TakePayoutReport>(&request).await?)
}

fn show_report(taken: &PayoutReportTaken) {
    output::line(format!(
        "{}: {} rejected, {} on their way, {} not of this file or over",
        taken.message_id, taken.rejected, taken.on_their_way, taken.unknown
    ));
}

fn show_deposits(deposits: &DepositList, none: &str) {
    deposits.items.iter().for_each(show_deposit);
    if deposits.items.is_empty() {
        output::line(none);
    }
}

fn show_suspense(deposits: &DepositList) {
    for deposit in &deposits.items {
        output::line(deposit.deposit_id);
        show_deposit(deposit);
    }
    if deposits.items.is_empty() {
        output::line("nothing is in suspense");
    }
}

fn show_statement(taken: &StatementReport) {
    output::line(format!(
        "{}: {} paid, {} credited, {} for nobody yet, {} costs; difference {} {}",
        taken.statement_id,
        taken.settled,
        taken.credited,
        taken.unassigned,
        taken.costs,
        taken.difference,
        taken.currency
    ));
}

struct Wanted<'a> {
    rail: &'a str,
    recipient: &'a str,
    amount: &'a str,
    currency: &'a str,
}

/// Signs the order and hands it in; under the same `key` it happens once. It is kept before it is sent.
async fn withdraw(session: &Session, wanted: &Wanted<'_>, key: &str) -> anyhow::Result<Withdrawal> {
    let order: WithdrawalRequest = if let Some(order) = session.layout.kept_order(key)? {
        order
    } else {
        let order = signed_order(session, wanted).await?;
        session.layout.keep_order(key, &order)?;
        order
    };
    let is_same = order.payer == *session.did()
        && order.rail == wanted.rail
        && order.recipient == wanted.recipient
        && order.amount.as_str() == wanted.amount
        && order.currency == wanted.currency;
    ensure!(is_same, "the key {key} was used for another withdrawal; use a new key for a new withdrawal");
    Ok(session.client("qwallet")?.with_key(key).call::<CreateWithdrawal>(&order).await?)
}

async fn signed_order(session: &Session, wanted: &Wanted<'_>) -> anyhow::Result<WithdrawalRequest> {
    let client = session.client("qwallet")?;
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = client.call::<GetWallet>(&own).await.map_err(|error| hint_to_open(session, error))?;
    let quote = WithdrawalQuoteRequest {
        rail: wanted.rail.to_owned(),
        amount: wanted.amount.into(),
        recipient: wanted.recipient.to_owned(),
    };
    let max_fees = client.call::<GetWithdrawalQuote>(&quote).await?.fees.total;
    let nonce = session.fresh_key();
    let expires_at = (session.env.now() + ORDER_LIFETIME).to_string();
    let aud = session.layout.read_instance()?.did.to_string();
    let input = signing_input(&PaymentOrder {
        amount: wanted.amount,
        aud: &aud,
        client_ref: Some(&nonce),
        currency: wanted.currency,
        expires_at: &expires_at,
        intent_id: None,
        max_fees: max_fees.as_str(),
        nonce: &nonce,
        payer: session.did().as_str(),
        rail: wanted.rail,
        recipient: wanted.recipient,
        v: 1,
        wallet: &wallet.wallet_ref,
    });
    Ok(WithdrawalRequest {
        signature: sign(session, &input),
        amount: wanted.amount.into(),
        client_ref: nonce.clone(),
        currency: wanted.currency.to_owned(),
        expires_at: expires_at.clone(),
        max_fees: max_fees.clone(),
        nonce: nonce.clone(),
        payer: session.did().clone(),
        rail: wanted.rail.to_owned(),
        recipient: wanted.recipient.to_owned(),
        wallet: wallet.wallet_ref.clone(),
    })
}

async fn set_key(data: &Path, rail: &str, approvers: &[String]) -> anyhow::Result<RailState> {
    if approvers.len() < 2 {
        return Err(usage("a key needs two approvers: --approver operator --approver NAME"));
    }
    let sessions: Vec<Session> =
        approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let client = first.client("qwallet")?;
    let rails = client.call::<ListRails>(&ListRailsRequest {}).await?;
    let state = rails.items.iter().find(|state| state.rail == rail);
    let Some(state) = state else {
        return Err(usage(format!("there is no rail {rail}; `q wallet rail list` shows those there are")));
    };
    let generation = state.key_generation + 1;
    let aud = first.layout.read_instance()?.did.to_string();
    let expires_at = (first.env.now() + ORDER_LIFETIME).to_string();
    let input = signing_input(&RailKeyOrder { aud: &aud, expires_at: &expires_at, generation, rail, v: 1 });
    let approve = |session: &Session| {
        let header = jws::Header::typ(RAIL_KEY_TYP).kid(session.keyring.key_id());
        jws::sign(&header, &input, &session.keyring.current)
    };
    let approvals = sessions.iter().map(approve).collect();
    let request =
        SetRailKeyRequest { rail: rail.to_owned(), generation, expires_at: expires_at.clone(), approvals };
    Ok(client.with_key(first.fresh_key()).call::<SetRailKey>(&request).await?)
}

fn show_rail(state: &RailState) {
    let label = if state.experimental { ", experimental" } else { "" };
    output::line(format!("{}  {} ({}{label})", state.rail, state.status, state.currency));
    if let Some(reason) = &state.reason {
        output::line(format!("  {}", in_verbs(reason)));
    }
    if let Some(address) = &state.house_address {
        output::line(format!("  pays out from {address}, key {}", state.key_generation));
    }
    if let (Some(latest), Some(scanned)) = (state.latest_block, state.scanned_block) {
        let confirmations = state.confirmations;
        output::line(format!("  block {latest}, final here up to {scanned} ({confirmations} confirmations)"));
    }
    if let Some(compared) = &state.reconciled {
        output::line(format!(
            "  chain {}, books {}, difference {} at block {}",
            compared.chain.as_str(),
            compared.books.as_str(),
            compared.difference,
            compared.block
        ));
    }
}

fn show_deposit(deposit: &Deposit) {
    let amount = deposit.amount.as_ref().map_or("?", |amount| amount.as_str());
    output::line(format!(
        "{:<9} {amount:>24} {}  {}  block {}",
        deposit.status, deposit.currency, deposit.chain_hash, deposit.block
    ));
}

pub fn show_withdrawal(withdrawal: &Withdrawal) {
    output::line(format!(
        "{} {}\n  {} {} to {} over {}\n  fees {}",
        withdrawal.withdrawal_id,
        withdrawal.status,
        withdrawal.amount.as_str(),
        withdrawal.currency,
        withdrawal.recipient,
        withdrawal.rail,
        withdrawal.fees.total.as_str()
    ));
    if let Some(approvals) = &withdrawal.approvals {
        let (given, required) = (approvals.given, approvals.required);
        let what_next = if withdrawal.status == "AWAITING_APPROVAL" && given < required {
            format!("; approvers run `q wallet approve {}`", withdrawal.withdrawal_id)
        } else {
            String::new()
        };
        output::line(format!("  {given} of the {required} approvals it needs{what_next}"));
    }
    if let Some(hash) = &withdrawal.chain_hash {
        output::line(format!("  {hash}"));
    }
    if let Some(reason) = &withdrawal.reason {
        output::line(format!("  {reason}"));
    }
}
