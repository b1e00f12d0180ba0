//! `q smoke`: the critical path on the running instance, walked once from the sign-in to the proof in the audit log.
//!
//! Two identities that exist for nothing else pay each other a millionth of the instance's own currency, whoever has
//! more to whoever has less, so that what they were given once lasts for years. On a demonstration the faucet gives it;
//! elsewhere somebody pays it once, since nobody but approvers may issue money.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use q_core::{Amount, Scale};
use q_tlog::{Checkpoint, VerifierKey, verify_inclusion};
use qerberos_api::{
    GetPolicy, GetProof, GetProofRequest, LogPolicyRequest, Proof, SearchEvents, SearchEventsRequest,
};
use qwallet_api::{
    Currency, GetTransaction, GetTrialBalance, ListCurrencies, ListCurrenciesRequest, Transaction,
    TransactionPath, TrialBalanceRequest,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::Cli,
    commands::{id, wallet},
    layout::{InstanceFile, Layout},
    output::{self, exit},
    session::{Session, require_running},
};

/// The two identities of the test.
const NAMES: [&str; 2] = ["smoke-one", "smoke-two"];
/// What is paid: far below anything that matters, far above the smallest unit, of which the fees are a share.
const AMOUNT: &str = "0.000001";
/// What the faucet of a demonstration gives: enough for hundreds of walks.
const DEMO_MONEY: &str = "0.001";
/// How long the audit log may take to cover a payment with a signed checkpoint.
const AUDIT_MAX: std::time::Duration = std::time::Duration::from_secs(15);
/// The pause before looking into the log again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// `q smoke`.
#[derive(Debug, clap::Args)]
pub struct SmokeArgs {
    /// The operator who looks into the audit log and the books.
    #[arg(long = "as", env = "Q_AS", default_value = "operator", value_name = "NAME")]
    pub name: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What came of the walk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every step was taken.
    pub passed: bool,
    /// The steps, up to the one that failed.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Whether it went well.
    pub passed: bool,
    /// How long it took.
    pub ms: f64,
    /// What was seen, or what went wrong.
    pub finding: String,
}

pub async fn run(cli: &Cli, arguments: &SmokeArgs) -> anyhow::Result<ExitCode> {
    let report = walk(&Layout::of(&cli.data), &arguments.name).await?;
    output::show(arguments.json, &report, show);
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// Prints the steps.
pub fn show(report: &Report) {
    for step in &report.steps {
        let word = if step.passed { "ok " } else { "BAD" };
        output::line(format!("{word} {:<12} {:>8.1} ms   {}", step.name, step.ms, step.finding));
    }
    output::line(if report.passed { "the critical path works" } else { "the critical path is broken there" });
    let [one, two] = NAMES;
    output::line(format!("what stays: {one}, {two} and their test money, for the next walk"));
}

/// Walks the path as `operator` and the two identities of the test.
pub async fn walk(layout: &Layout, operator: &str) -> anyhow::Result<Report> {
    require_running(layout)?;
    let mut walk = Walk { layout, instance: layout.read_instance()?, steps: Vec::new() };
    let passed = walk.all(operator).await.is_some();
    Ok(Report { passed, steps: walk.steps })
}

struct Walk<'a> {
    layout: &'a Layout,
    instance: InstanceFile,
    steps: Vec<Step>,
}

/// Who pays whom what.
struct Two {
    payer: Session,
    payee: Session,
    currency: Currency,
    scale: Scale,
    /// What the two have before, the payer first.
    before: [Amount; 2],
}

impl Walk<'_> {
    async fn all(&mut self, operator: &str) -> Option<()> {
        let layout = self.layout;
        self.step("health", health(layout)).await?;
        let (one, two) = self.step("sign in", sign_in(layout)).await?;
        let is_demo = self.instance.is_demo;
        let two = self.step("wallets", wallets(one, two, is_demo)).await?;
        let paid = self.step("pay", pay(&two)).await?;
        self.step("read back", read_back(&two, &paid)).await?;
        self.step("audit", audit(layout, operator, &paid)).await?;
        self.step("books", books(layout, operator)).await
    }

    /// Takes one step; what it says becomes part of the report, what it gives goes on.
    async fn step<T>(
        &mut self,
        name: &'static str,
        taking: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let taken = taking.await;
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let (given, finding) = match taken {
            Ok((given, finding)) => (Some(given), finding),
            Err(error) => (None, format!("{error:#}")),
        };
        self.steps.push(Step { name, passed: given.is_some(), ms, finding });
        given
    }
}

/// Every module of the path says that it serves.
async fn health(layout: &Layout) -> anyhow::Result<((), String)> {
    let session = Session::with(
        layout.clone(),
        require_running(layout)?,
        layout.read_keyring(crate::layout::INSTANCE)?,
    )?;
    let mut found = Vec::new();
    for module in ["squid", "qonsent", "qlock", "qerberos", "qwallet"] {
        let answer = session.anonymous(module)?.send("GET", "/health", Bytes::new(), "").await?;
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let status = body["status"].as_str().unwrap_or("unreadable").to_owned();
        ensure!(answer.status().is_success(), "{module} is {status}: {}", body["dependencies"]);
        found.push(format!("{module} {status}"));
    }
    Ok(((), found.join(", ")))
}

/// The two identities prove who they are; made the first time.
async fn sign_in(layout: &Layout) -> anyhow::Result<((Session, Session), String)> {
    let running = require_running(layout)?;
    let mut made = 0;
    let mut sessions = Vec::new();
    for name in NAMES {
        if !layout.keyring(name).exists() {
            // Nobody needs the phrase: an identity of the test that is lost is replaced by a new one.
            id::create(layout, &running, name).await?;
            made += 1;
        }
        let session = Session::with(layout.clone(), running.clone(), layout.read_keyring(name)?)?;
        session.token(true).await?;
        sessions.push(session);
    }
    let (Some(two), Some(one)) = (sessions.pop(), sessions.pop()) else {
        bail!("two identities were asked for")
    };
    let finding = match made {
        0 => "two tokens, each bound to its key".to_owned(),
        _ => format!("two tokens, each bound to its key; {made} identities made"),
    };
    Ok(((one, two), finding))
}

/// Both have a wallet, and one of them enough to pay.
async fn wallets(one: Session, two: Session, is_demo: bool) -> anyhow::Result<(Two, String)> {
    let currencies = one.client("qwallet")?.call::<ListCurrencies>(&ListCurrenciesRequest {}).await?;
    let currency = currencies.items.into_iter().next().context("the instance has no currency")?;
    let scale = Scale::new(currency.scale).context("a currency has at most 18 decimals")?;
    for session in [&one, &two] {
        if wallet::balance(session, None).await.is_err() {
            wallet::open_wallet(session).await?;
        }
    }
    let mut has =
        [available(&one, &currency.code, scale).await?, available(&two, &currency.code, scale).await?];
    let needed = q_core::AmountText::from(AMOUNT).parse(scale)?;
    // The fees are at most as much again.
    let enough = needed.checked_add(needed).context("an amount")?;
    if has.iter().all(|has| *has < enough) {
        ensure!(
            is_demo,
            "the test's wallets are empty; once somebody pays them, that lasts for years: \
             q wallet pay {} 0.1 {} --as NAME",
            one.did(),
            currency.code
        );
        wallet::faucet(&one, DEMO_MONEY, &currency.code).await?;
        has[0] = available(&one, &currency.code, scale).await?;
    }
    let text = |amount| q_core::AmountText::of(amount, scale).as_str().to_owned();
    let finding = format!("{} and {} {}", text(has[0]), text(has[1]), currency.code);
    let (payer, payee, before) =
        if has[0] >= has[1] { (one, two, has) } else { (two, one, [has[1], has[0]]) };
    Ok((Two { payer, payee, currency, scale, before }, finding))
}

async fn available(session: &Session, currency: &str, scale: Scale) -> anyhow::Result<Amount> {
    let report = wallet::balance(session, None).await?;
    let Some(balance) = report.balances.get(currency) else { return Ok(Amount::from_units(0)) };
    Ok(balance.available.parse(scale)?)
}

async fn pay(two: &Two) -> anyhow::Result<(Transaction, String)> {
    let payment = wallet::Payment {
        recipient: two.payee.did().to_string(),
        amount: AMOUNT.to_owned(),
        currency: two.currency.code.clone(),
        purpose: Some("smoke test".to_owned()),
        client_ref: None,
        quote_id: None,
    };
    let paid = wallet::pay(&two.payer, &payment, &two.payer.fresh_key()).await?;
    ensure!(paid.status == "SETTLED", "the payment is {}", paid.status);
    let finding =
        format!("{} {AMOUNT} {}, fees {}", paid.transaction_id, paid.currency, paid.fees.total.as_str());
    Ok((paid, finding))
}

/// The payee sees the payment, and both balances moved by exactly what it says.
async fn read_back(two: &Two, paid: &Transaction) -> anyhow::Result<((), String)> {
    let path = TransactionPath { transaction_id: paid.transaction_id };
    let seen = two.payee.client("qwallet")?.call::<GetTransaction>(&path).await?;
    ensure!(
        seen.status == paid.status && seen.amount == paid.amount && seen.commit == paid.commit,
        "the payee sees another payment than the payer was answered"
    );
    let code = &two.currency.code;
    let after =
        [available(&two.payer, code, two.scale).await?, available(&two.payee, code, two.scale).await?];
    let (amount, fees) = (paid.amount.parse(two.scale)?, paid.fees.total.parse(two.scale)?);
    let gone = amount.checked_add(fees).context("an amount")?;
    let is_exact = after[0].checked_add(gone) == Some(two.before[0])
        && two.before[1].checked_add(amount) == Some(after[1]);
    ensure!(is_exact, "the balances did not move by what was paid: is another smoke test running?");
    Ok(((), "the payee sees it, and both balances moved by it to the last digit".to_owned()))
}

/// The commit of the payment is in the audit log, under a checkpoint signed by the log's key.
async fn audit(layout: &Layout, operator: &str, paid: &Transaction) -> anyhow::Result<((), String)> {
    let session = Session::with(layout.clone(), require_running(layout)?, layout.read_keyring(operator)?)?;
    let log = session.client("qerberos")?;
    let search: SearchEventsRequest =
        serde_json::from_value(json!({"layer": "qwallet", "ref": format!("commit {}", paid.commit)}))?;
    let begun = Instant::now();
    let proof = loop {
        let page = log.call::<SearchEvents>(&search).await?;
        if let Some(event) = page.events.first() {
            match log.call::<GetProof>(&GetProofRequest { id: event.id, size: None }).await {
                Ok(proof) => break proof,
                Err(error) if begun.elapsed() > AUDIT_MAX => return Err(error.into()),
                Err(_) => {}
            }
        }
        ensure!(
            begun.elapsed() < AUDIT_MAX,
            "commit {} is not in the audit log after {AUDIT_MAX:?}",
            paid.commit
        );
        tokio::time::sleep(PAUSE).await;
    };
    let policy = log.call::<GetPolicy>(&LogPolicyRequest {}).await?.0;
    check_proof(&proof, &policy)?;
    let finding = format!(
        "commit {} is leaf {} of {} under a signed checkpoint",
        paid.commit, proof.log_index, proof.tree_size
    );
    Ok(((), finding))
}

/// Checks the proof as a stranger would: leaf, audit path, root, signature.
fn check_proof(proof: &Proof, policy: &str) -> anyhow::Result<()> {
    let key = policy.lines().find_map(|line| line.strip_prefix("log ")?.split(' ').next());
    let key: VerifierKey = key.context("the log names no key")?.parse()?;
    let checkpoint = Checkpoint::open(&proof.checkpoint, &key)?;
    let leaf = q_tlog::leaf_hash(proof.leaf.as_bytes());
    ensure!(q_core::hash::hex(&leaf) == proof.leaf_hash, "the leaf has another hash than it claims");
    let hashes: Vec<_> = proof.hashes.iter().map(|hash| unhex(hash)).collect::<anyhow::Result<_>>()?;
    verify_inclusion(&leaf, proof.log_index, checkpoint.size, &hashes, &checkpoint.root)?;
    Ok(())
}

fn unhex(text: &str) -> anyhow::Result<q_tlog::Hash> {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes())?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("a hash has 32 bytes"))
}

/// Debits and credits of every currency are equal.
async fn books(layout: &Layout, operator: &str) -> anyhow::Result<((), String)> {
    let session = Session::with(layout.clone(), require_running(layout)?, layout.read_keyring(operator)?)?;
    let balance = session.client("qwallet")?.call::<GetTrialBalance>(&TrialBalanceRequest::default()).await?;
    for row in &balance.items {
        ensure!(
            row.difference.as_str() == "0",
            "the books differ by {} {}",
            row.difference.as_str(),
            row.currency
        );
    }
    let circulating: Vec<_> =
        balance.items.iter().map(|row| format!("{} {}", row.in_circulation.as_str(), row.currency)).collect();
    Ok(((), format!("debits equal credits; in circulation {}", circulating.join(", "))))
}
