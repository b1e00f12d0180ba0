//! The verbs of `q` and their arguments.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use q_core::{Did, Timestamp};

use crate::commands;

/// Q: identity, permissions, keys, audit and payments of your own, in one program.
#[derive(Debug, Parser)]
#[command(
    name = "q",
    version,
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 verify or doctor found something · \
        4 cannot start (port, setting, data folder) · 5 the instance refused · 6 the instance did not answer · \
        7 done in part: what is missing is listed\n\n\
        With --json a refusal is one line of JSON on standard error, and standard output stays empty: the problem \
        (RFC 9457) as the module gave it, with code, title, detail, hint, traceId and members of its code; what never \
        reached a module has the same form and a code that begins with CLI_, such as CLI_USAGE or CLI_UNREACHABLE."
)]
pub struct Cli {
    /// The data folder of the instance; its secrets lie beside it, in DIR.keys.
    #[arg(long, global = true, env = "Q_DATA", default_value = "q-data", value_name = "DIR")]
    pub data: PathBuf,
    /// What to log: a level (error, warn, info, debug) or directives such as q_db=debug,info.
    #[arg(long, global = true, env = "Q_LOG", default_value = "warn", value_name = "FILTER",
        value_parser = q_runtime::log::checked)]
    pub log: String,
    /// Log JSON lines.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What `q` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new instance: its identity, the services' identities, keys, and the first operator.
    Init(InitArgs),
    /// Start every module and the front door; initialise first if the data folder is empty.
    Up(UpArgs),
    /// Start only some modules, for instance `q serve qwallet`.
    Serve(ServeArgs),
    /// Stop the running instance: finish open requests, deliver what is committed, close the stores; once more: at once.
    Stop(commands::stop::StopArgs),
    /// Start the processes anew, one after another; `--rolling` refuses no connection meanwhile.
    Restart(commands::restart::RestartArgs),
    /// Go back to the program and the settings that ran before, and walk the critical path after it.
    Rollback(commands::rollback::RollbackArgs),
    /// List the programs and settings that ran here and are kept.
    Releases(ReadArgs),
    /// Walk the critical path on the running instance: sign in, pay, read back, prove, balance.
    Smoke(commands::smoke::SmokeArgs),
    /// Wait for the processes that go on in the place of this one; started by a rolling restart.
    #[command(hide = true)]
    Attend,
    /// Check ports, settings, data folder, unseal key and, while nothing runs, that each store opens; with a fix for each
    /// line.
    Doctor(ReadArgs),
    /// Print the effective settings and where each comes from; exit code 4 when one of them is wrong.
    Config(ReadArgs),
    /// Check everything a module keeps, or all modules; works on a stopped instance too.
    Verify(VerifyArgs),
    /// Show or set what modules let through: normal, read-only, maintenance, isolated, write-stopped.
    Mode(commands::mode::ModeArgs),
    /// Show how every module is: status, mode, latency, errors; exit code 3 when one is unhealthy or had to stop its writes.
    Status(commands::status::StatusArgs),
    /// Show log lines of a module, or of all: `q logs qwallet --errors --since 10m`.
    Logs(commands::logs::LogsArgs),
    /// Copies of everything: made while it runs, verified, put back.
    #[command(subcommand)]
    Backup(commands::backup::BackupVerb),
    /// Rehearse what must work on a bad day.
    #[command(subcommand)]
    Drill(commands::drill::DrillVerb),
    /// Identities in this keyring.
    #[command(subcommand)]
    Id(IdVerb),
    /// Credentials for other programs, such as curl.
    #[command(subcommand)]
    Auth(AuthVerb),
    /// Balances, payments, journals.
    #[command(subcommand)]
    Wallet(WalletVerb),
    /// Let an identity read a wallet or pay from it, and take it back.
    #[command(subcommand)]
    Grant(GrantVerb),
    /// Proof of a payment, and its check by whoever is shown it.
    #[command(subcommand)]
    Receipt(commands::receipt::ReceiptVerb),
    /// Look into a UCAN delegation or container, from a file or standard input.
    Ucan(UcanArgs),
    /// Call any endpoint: `q call qwallet GET /currencies`.
    Call(CallArgs),
    /// Follow a runbook: `q runbook list`, `q runbook outage`, `q runbook qwallet high-error-rate`.
    Runbook(commands::runbook::RunbookArgs),
    /// Print the OpenAPI document of a module, or write those of all into a folder.
    Openapi(OpenapiArgs),
    /// Alerts: what is wrong, who was told, take it.
    Alerts(commands::alerts::AlertsArgs),
    /// Promises kept and broken, error budgets, alert rules.
    Slo(commands::slo::SloArgs),
    /// Incidents: open, tell, resolve, review.
    Incident(commands::incident::IncidentArgs),
    /// Maintenance windows, and who is told of them.
    Maintenance(commands::maintenance::MaintenanceArgs),
    /// The regular reports: health, errors and latency, dependencies, access.
    Report(commands::report::ReportArgs),
    /// Cut off a module, an identity or a process, and let it in again.
    Isolate(commands::isolate::IsolateArgs),
    /// Secure evidence of an incident, and check it.
    Evidence(commands::evidence::EvidenceArgs),
}

/// Options every read has.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Print JSON; a refusal too, on standard error.
    #[arg(long)]
    pub json: bool,
}

/// Which identity acts.
#[derive(Debug, Clone, Args)]
pub struct AsArgs {
    /// The keyring name of the identity that acts.
    #[arg(long = "as", env = "Q_AS", default_value = "operator", value_name = "NAME")]
    pub name: String,
    /// Print JSON; a refusal too, on standard error.
    #[arg(long)]
    pub json: bool,
}

/// `q init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Make an instance for a first look, with a faucet of test money.
    #[arg(long)]
    pub demo: bool,
    /// Print JSON; the recovery phrases are part of it.
    #[arg(long)]
    pub json: bool,
}

/// `q up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Create two demo identities, hand out test money and make a first payment.
    #[arg(long)]
    pub demo: bool,
}

/// `q serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The modules to start in this process.
    #[arg(required = true, value_name = "MODULE")]
    pub modules: Vec<String>,
    /// With qwallet: create two demo identities, hand out test money and make a first payment.
    #[arg(long)]
    pub demo: bool,
}

/// `q verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The module; all when not given.
    pub module: Option<String>,
    /// Only what was committed after this commit, such as the one of the last verification; for modules that number
    /// their commits.
    #[arg(long, value_name = "COMMIT", requires = "module")]
    pub since: Option<i64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `q id`.
#[derive(Debug, Subcommand)]
pub enum IdVerb {
    /// Make an identity, register it with the instance, and print its recovery phrase once.
    New {
        /// Its name in the keyring, and its profile name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the identities in the keyring.
    List(ReadArgs),
    /// Show an identity as the instance knows it.
    Show {
        /// A keyring name or a DID.
        who: String,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Sub-identities: those of programs, of people in one's care, of undertakings.
    #[command(subcommand)]
    Sub(commands::sub::SubVerb),
    /// Have the instance name a further operator.
    Appoint {
        /// A keyring name or a DID.
        who: String,
    },
    /// Replace the current key by the committed next one.
    Rotate {
        /// The keyring name.
        name: String,
    },
    /// Take an identity back with its recovery phrase, read from standard input; prints the new phrase once.
    Recover {
        /// The keyring name it gets.
        name: String,
        /// The identity; not needed while the keyring still knows the name.
        #[arg(long)]
        did: Option<Did>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `q auth`.
#[derive(Debug, Subcommand)]
pub enum AuthVerb {
    /// Print a ten-minute access token that any holder can use: for quick looks; sensitive commands refuse it.
    Token {
        /// Who.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Print curl options with a token bound to this identity's key: curl $(q auth headers GET URL) URL
    Headers {
        /// The method of the request.
        method: String,
        /// The URL of the request.
        url: String,
        /// Act as this sub-identity: a keyring name or a DID.
        #[arg(long, value_name = "WHO")]
        switch_to: Option<String>,
        /// Who.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Second keys, kept apart from the identity's own: for what needs more than one.
    #[command(subcommand)]
    SecondKey(commands::second_key::SecondKeyVerb),
    /// Log in with the second key as well, its words on standard input; it counts for five minutes.
    StepUp {
        /// Where the words are instead.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Who.
        #[command(flatten)]
        acting: AsArgs,
    },
}

/// `q wallet`.
#[derive(Debug, Subcommand)]
pub enum WalletVerb {
    /// Open a wallet for the identity.
    Open {
        /// Who.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show balances, the identity's own or those of a wallet it may read.
    Balance {
        /// A keyring name, DID, wallet id or wallet reference.
        who: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Pay: sign and settle in one step.
    Pay {
        /// A keyring name, DID or wallet reference.
        recipient: String,
        /// The amount, such as 12.50.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// What it is for.
        #[arg(long)]
        purpose: Option<String>,
        /// A quote that still holds (`q wallet quote`): the fees are what it says.
        #[arg(long, value_name = "QUOTE")]
        quote: Option<String>,
        /// Repeat an earlier attempt under its key; nothing is paid twice.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Who pays.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Pay by a UCAN invocation: one signature and no token, also from a wallet whose owner delegates it.
    Invoke(commands::wallet::invoke::InvokeArgs),
    /// What a payment would cost, held for five minutes.
    Quote(commands::wallet::quote::QuoteArgs),
    /// List transactions, newest first.
    History(commands::wallet::history::HistoryArgs),
    /// Write a statement: opening balance, changes, closing balance, in the format of another program.
    Statement(commands::wallet::statement::StatementArgs),
    /// Sum what was received, given and paid in fees in the last 7, 30 or 90 days.
    Stats(commands::wallet::stats::StatsArgs),
    /// Money from outside and back: addresses, deposits, withdrawals, and the operator's side of rails.
    Rail(commands::wallet::rail::RailArgs),
    /// Have what happens to a wallet sent to an address.
    Webhook(commands::wallet::webhook::WebhookArgs),
    /// Stop a wallet: it neither pays nor is paid until two operators let it go on.
    Freeze(commands::wallet::change::StopArgs),
    /// Let a wallet that was frozen, suspended or closed pay and be paid again, under the signatures of two operators.
    Unfreeze(commands::wallet::change::UnfreezeArgs),
    /// End an empty wallet.
    Close(commands::wallet::change::StopArgs),
    /// Give the wallet a name for people.
    Label(commands::wallet::change::LabelArgs),
    /// Let a wallet go below zero, under the signatures of two operators.
    Credit(commands::wallet::change::CreditArgs),
    /// Keep a list of whom the wallet of an ENTERPRISE may pay.
    Allow(commands::wallet::change::AllowArgs),
    /// Show how much may be spent, in one transaction, an hour, a day and a month, or change it.
    ///
    /// A lower limit holds at once. A higher one holds a day later, or as soon as an operator sets the same; of a wallet
    /// below another, when its parent or guardian sets it. Under the signatures of two operators each holds at once.
    Limits {
        /// A keyring name, DID, wallet id or wallet reference.
        who: Option<String>,
        /// A new limit, such as `daily=250`; the kinds are perTransaction, countPerHour, daily, monthly and dao.
        #[arg(long = "set", value_name = "KIND=AMOUNT")]
        set: Vec<String>,
        /// The currency of the new limits.
        #[arg(long, default_value = "QToken")]
        currency: String,
        /// The time zone in whose days and months is counted, such as Europe/Berlin. The present day and month go on to
        /// their end.
        #[arg(long, value_name = "ZONE", conflicts_with = "approvers")]
        timezone: Option<String>,
        /// Two operators of this keyring who approve, so that the new limits hold at once.
        #[arg(long = "approver", num_args = 1.., value_name = "NAME", requires = "who", requires = "set")]
        approvers: Vec<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Spread what a much-paid wallet receives over stripes, so that replicas do not wait for one another.
    Stripes {
        /// A keyring name, DID, wallet id or wallet reference.
        who: String,
        /// How many, up to 8; as many as all replicas together have lanes are enough.
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=8))]
        count: u8,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// Who asks: an operator.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show the chains of the books, one a writer, with their heads.
    Heads {
        /// Who asks: an operator.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Ask for money with a link and a code to scan, and pay what is asked for.
    Request(commands::wallet::request::RequestArgs),
    /// Give back all or part of a payment.
    Refund(commands::wallet::refund::RefundArgs),
    /// Set money aside for a payee, who takes it in parts, or gives up the rest.
    Hold(commands::wallet::hold::HoldArgs),
    /// Pay into escrow, release, give back, dispute, decide.
    Escrow(commands::wallet::escrow::EscrowArgs),
    /// What payments cost, and setting it with two approvers.
    Fees(commands::wallet::fees::FeesArgs),
    /// Pay in steps: decide, have it approved, sign, settle.
    Intents(commands::wallet::intents::IntentsArgs),
    /// Which payments others have to approve, and what waits for the identity.
    Approvals(commands::wallet::approvals::ApprovalsArgs),
    /// Approve a payment of somebody else.
    Approve(commands::wallet::intents::OneArgs),
    /// Reject a payment of somebody else.
    Reject(commands::wallet::intents::OneArgs),
    /// Pay again and again, by a mandate that is signed once.
    Schedule(commands::wallet::schedule::ScheduleArgs),
    /// Offer something for a price per period, and see what is offered.
    Plan(commands::wallet::plan::PlanArgs),
    /// Subscribe to a plan: the first period is paid at once.
    Subscribe(commands::wallet::plan::SubscribeArgs),
    /// List subscriptions, or end one.
    Subscriptions(commands::wallet::plan::SubscriptionsArgs),
    /// Write a note beside a transaction, for both its parties to read.
    Note(commands::wallet::note::NoteArgs),
    /// Show one transaction with its legs, what was given back of it, and the escrow it paid into.
    Show(commands::wallet::show::ShowArgs),
    /// Take test money from the faucet of a demo instance.
    Faucet {
        /// The amount.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// Who takes.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Put money into circulation, under the signatures of two operators.
    ///
    /// The same order again — the same reference, amount, wallet and currency — is the same issuance: nothing is issued
    /// twice, and the first outcome is shown. All approvers are of this keyring.
    Issue {
        /// The amount.
        #[arg(allow_negative_numbers = true, value_parser = positive)]
        amount: String,
        /// The wallet that receives: a keyring name, DID or wallet reference.
        wallet: String,
        /// The currency.
        #[arg(default_value = "QToken")]
        currency: String,
        /// The keyring names of two operators who approve; `q id appoint` makes one.
        #[arg(long = "approver", num_args = 1.., required = true, value_name = "NAME")]
        approvers: Vec<String>,
        /// The resolution or ticket that decided it.
        #[arg(long)]
        reference: String,
        /// Take money out of circulation instead.
        #[arg(long)]
        burn: bool,
        /// Know the order by this key instead; a new key issues the same amount under the same reference once more.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read a payout file (pain.001 or CSV) and show what it would do; `--execute` signs it once and pays.
    Import(commands::wallet::import::ImportArgs),
    /// Write the whole ledger as a journal another program can check: hledger, ledger, beancount, or ndjson.
    Export(commands::wallet::export::ExportArgs),
    /// Show the trial balance: debits and credits of every currency.
    TrialBalance {
        /// As it was at this day (UTC) or instant.
        #[arg(long, value_name = "WHEN", value_parser = commands::wallet::statement::instant)]
        at: Option<Timestamp>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
}

/// `q grant`.
#[derive(Debug, Subcommand)]
pub enum GrantVerb {
    /// Let IDENTITY read the wallet of the acting identity.
    Wallet {
        /// A keyring name or DID.
        identity: String,
        /// When and how often.
        #[command(flatten)]
        terms: commands::grant::TermsArgs,
        /// Who grants.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Let IDENTITY pay from the wallet of the acting identity, within bounds.
    Pay(commands::grant::pay::PayArgs),
    /// Take back what IDENTITY may do with the wallet of the acting identity (read it, pay from it), or one delegation.
    Revoke {
        /// A keyring name or DID.
        #[arg(required_unless_present = "delegation", conflicts_with = "delegation")]
        identity: Option<String>,
        /// The CID of the delegation, whoever holds it.
        #[arg(long, value_name = "CID")]
        delegation: Option<String>,
        /// Who revokes.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List grants, and who may pay within which bounds.
    List {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
}

/// `q ucan`.
#[derive(Debug, Args)]
pub struct UcanArgs {
    /// The file with a token or container; standard input when not given.
    pub file: Option<PathBuf>,
}

/// `q call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// The module.
    pub module: String,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The JSON body.
    #[arg(long, short = 'd')]
    pub body: Option<String>,
    /// The idempotency key of a write; random when not given.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Ask without a token.
    #[arg(long)]
    pub anonymous: bool,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q openapi`.
#[derive(Debug, Args)]
pub struct OpenapiArgs {
    /// The module; without it every document is written to `--out`.
    pub module: Option<String>,
    /// The folder to write `<module>.json` and `errors.json` into.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// One of these names, in capitals or not.
pub fn one_of<const COUNT: usize>(
    names: [&'static str; COUNT],
) -> impl TypedValueParser<Value = String> + use<COUNT> {
    PossibleValuesParser::new(names).map(|name| name.to_uppercase())
}

/// Seconds, or a span such as 30m, 12h or 7d.
pub fn seconds(text: &str) -> Result<u32, String> {
    let (count, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(count) => (count, &text[count.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 1,
    };
    let read = count.parse().ok().and_then(|count: u32| count.checked_mul(seconds));
    read.ok_or_else(|| "it is a number of seconds, or a span such as 30m, 12h or 7d".to_owned())
}

/// A span as [`seconds`] reads it, of so many seconds; the range is told in `words`.
pub fn seconds_within(
    range: std::ops::RangeInclusive<u32>,
    words: &'static str,
) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match seconds(text)? {
        count if range.contains(&count) => Ok(count),
        _ => Err(format!("it is {words}, such as 30m or 12h; a number alone counts seconds")),
    }
}

/// The text of an amount, unless it is below zero: what else is wrong with it the instance says, which knows the currency.
pub fn positive(amount: &str) -> Result<String, String> {
    if amount.starts_with('-') {
        return Err("amounts are positive: leave the minus out".to_owned());
    }
    Ok(amount.to_owned())
}
