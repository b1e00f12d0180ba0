//! A long history: what it costs to ask the wallet about the past of millions of transfers, and to verify them.
//!
//! Three steps, each a process of its own, so that none measures what another left in memory: `generate` pays through
//! the module's own executor and merges its histories, `measure` asks for past balances and pages of statements as a
//! request does, beside looking up one row by its primary key through the same connections, and `verify` proves the books.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use q_auth::{KeyDirectory, LogLoader, Revocations, directory::DirectoryError};
use q_core::{Amount, Caller, Did, Env, PageLimit, Timestamp, caller::Principal, hash};
use q_db::{Db, DbConfig, DbError, params};
use q_jose::SecretKey;
use q_pdp::Pdp;
use q_runtime::{Config, Directory, Ground, Instance, Module as _, Peers, Signer};
use q_seal::{DataKey, DataKeyId, Sealer};
use qwallet::Wallets;
use qwallet::domain::account::{Account, AccountId, AccountKind};
use qwallet::domain::currency;
use qwallet::domain::fees::Rates;
use qwallet::domain::payment::HouseAccounts;
use qwallet::domain::profile::{Profile, Status};
use qwallet::domain::transfer::{Leg, Purpose};
use qwallet::domain::wallet_ref::WalletRef;
use qwallet::service::commit::{Action, Batch, Item, Outcome, Work};
use qwallet::store;
use qwallet::store::ledger::TransactionKind;
use qwallet::store::wallets::WalletRow;
use qwallet_api::{BatchId, GetBalanceRequest, ListTransactionsRequest, TransactionId, WalletId};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Wallets that pay one another.
const WALLETS: usize = 10_000;
/// Every so many payments go to the first wallet, whose history is therefore long.
const TO_MERCHANT_EVERY: u64 = 10;
/// Payments in a commit.
const COMMIT_PAYMENTS: u64 = 256;
/// Transfers of a payment.
const LEGS: u64 = 3;
/// Entries of a page.
const PAGE: u32 = 50;

/// The module on the store at `folder`, which is made if it is not there.
async fn open(folder: &Path) -> Result<Arc<Wallets>> {
    fs::create_dir_all(folder)?;
    let env = Env::system();
    let config = DbConfig::sqlite(folder.join("qwallet.sqlite"));
    let db = Db::open(&config, &qwallet::MIGRATIONS, &env).await?;
    let (did, key) = identity("qwallet");
    let instance =
        Instance { did: identity("instance").0, origin: "http://qnode.localhost".into(), is_demo: true };
    let nowhere = Path::new("/nonexistent/q.toml");
    let settings = Config::load(&[("qwallet", qwallet::SETTINGS)], nowhere, |_| None)?.section("qwallet");
    let ground = Ground {
        env: env.clone(),
        db,
        instance,
        peers: Peers::new("qwallet", did.clone(), env.now(), Directory::default(), None),
        signer: Signer::new(did.clone(), key),
        settings,
    };
    let keys = KeyDirectory::new(env.clone(), Arc::new(NoLogs), Arc::new(Revocations::new()));
    let sealer = Sealer::new(DataKey::new(DataKeyId([1; 16]), &[2; 32]), Vec::new());
    Ok(qwallet::open(ground, Pdp::new(did, env.now()), Arc::new(keys), sealer).await?)
}

struct NoLogs;

impl LogLoader for NoLogs {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async { Ok(None) })
    }
}

fn identity(name: &str) -> (Did, SecretKey) {
    let key = SecretKey::from_seed(&hash::sha256(name.as_bytes()));
    (key.public().to_did_key().parse().expect("a did:key is a DID"), key)
}

fn owner(number: usize) -> Did {
    format!("did:key:z6MkBench{number:08}").parse().expect("a DID")
}

/// Fills the store with so many transfers, of payments that carry fees, each commit of the executor's own making.
///
/// # Errors
/// When a payment is refused, or the disk is full.
pub async fn generate(folder: &Path, transfers: u64) -> Result<Value> {
    let module = open(folder).await?;
    let service = module.service().clone();
    let accounts = open_wallets(&service.db, &service.env).await?;
    let house = *service.directory.house().first().context("no house accounts")?;
    let env = service.env.clone();
    fund(&module, &accounts, &house).await?;
    let amount = Amount::from_units(currency::ALL[0].scale.units_per_whole() / 1_000);
    let fees = Rates::REFERENCE.fees(amount).context("the fees of a small amount are small")?;
    let began = Instant::now();
    let mut made = 0;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    while made * LEGS < transfers {
        let mut payment = |number: u64| {
            let debit = accounts[1 + usize::try_from(next(&mut random)).unwrap_or_default() % (WALLETS - 1)];
            let mut credit = accounts[usize::try_from(next(&mut random)).unwrap_or_default() % WALLETS];
            if number.is_multiple_of(TO_MERCHANT_EVERY) || credit == debit {
                credit = accounts[0];
            }
            let leg = |credit, amount, purpose| Leg { debit, credit, amount, purpose };
            vec![
                leg(credit, amount, Purpose::Principal),
                leg(house.platform_fees, fees.platform, Purpose::PlatformFee),
                leg(house.network_fees, fees.network, Purpose::NetworkFee),
            ]
        };
        let batch: Vec<Vec<Leg>> = (made..made + COMMIT_PAYMENTS).map(&mut payment).collect();
        submit(&module, &env, TransactionKind::Payment, batch).await?;
        made += COMMIT_PAYMENTS;
        if made % (COMMIT_PAYMENTS * 400) == 0 {
            service.catch_up().await?;
        }
    }
    let paid = began.elapsed();
    service.catch_up().await?;
    service.anchor_heads().await?;
    service.db.close().await;
    let bytes = fs::metadata(folder.join("qwallet.sqlite"))?.len();
    Ok(json!({
        "transfers": made * LEGS,
        "seconds": round(paid.as_secs_f64()),
        "transfers_per_second": u128::from(made * LEGS) * 1_000 / paid.as_millis().max(1),
        "store_mib": bytes >> 20,
    }))
}

/// A generator that is good enough to spread payments, and the same in every run (Marsaglia's xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

async fn open_wallets(db: &Db, env: &Env) -> Result<Vec<AccountId>> {
    let rows: Vec<WalletRow> = (0..WALLETS)
        .map(|number| {
            let id = WalletId::new(env);
            let reference = WalletRef::of(id).to_string();
            WalletRow {
                id,
                reference,
                owner: owner(number),
                label: None,
                status: Status::Active,
                profile: Profile::Root,
                parent: None,
                allowed: None,
                allowed_addresses: Vec::new(),
                created_at: env.now(),
            }
        })
        .collect();
    let write = db.write(move |tx| {
        let first = store::ledger::last_account(tx)? + 1;
        let mut ids = Vec::with_capacity(rows.len());
        for (number, row) in (first..).zip(&rows) {
            let account = Account::new(AccountId(number), currency::ALL[0].id, AccountKind::Wallet);
            store::wallets::insert(tx, row, &account.terms())?;
            store::ledger::insert_account(tx, &account, Some(row.id))?;
            ids.push(account.id);
        }
        Ok::<_, DbError>(ids)
    });
    Ok(write.await?)
}

async fn fund(module: &Arc<Wallets>, accounts: &[AccountId], house: &HouseAccounts) -> Result<()> {
    let env = module.service().env.clone();
    let amount = Amount::from_units(1_000_000 * currency::ALL[0].scale.units_per_whole());
    for some in accounts.chunks(1_000) {
        let mint = |account: &AccountId| {
            vec![Leg { debit: house.issuance, credit: *account, amount, purpose: Purpose::Mint }]
        };
        submit(module, &env, TransactionKind::Faucet, some.iter().map(mint).collect()).await?;
    }
    Ok(())
}

async fn submit(
    module: &Arc<Wallets>,
    env: &Env,
    kind: TransactionKind,
    payments: Vec<Vec<Leg>>,
) -> Result<()> {
    let items = payments.into_iter().map(|legs| {
        let id = TransactionId::new(env);
        Ok(Item { id, kind, legs, intent: None, client_ref: None, purpose: None })
    });
    let batch = Batch { id: BatchId::new(env), items: items.collect(), is_atomic: false, import: None };
    let work =
        Work { request: None, nonce: None, expires_at: None, order: None, action: Action::Batch(batch) };
    match module.service().executor.submit(work).await? {
        Outcome::Done(done) if done.refusals.is_empty() => Ok(()),
        other => anyhow::bail!("a payment was refused: {other:?}"),
    }
}

/// A kind of question, and the name of its figures.
#[derive(Clone, Copy)]
enum Asked {
    /// One row by its primary key.
    Lookup,
    /// As many rows as a page has, by their primary keys in one statement.
    PageOfLookups,
    /// One row, and what a wallet held that nobody asked for since the process began: who it is and who owns it is read as
    /// well.
    FirstLookup,
    First,
    /// What a wallet held that was asked for before.
    Balance,
    /// The same of the wallet with the long history.
    MerchantBalance,
    Page,
    MerchantPage,
    /// The look-up by primary key that the module itself offers: a transaction by its id.
    Transaction,
    /// A row and a past balance with nothing of the store in memory.
    ColdLookup,
    ColdBalance,
}

const NAMES: [&str; 11] = [
    "lookup",
    "lookups_of_a_page",
    "lookup_at_first",
    "first_balance",
    "balance",
    "balance_of_the_merchant",
    "page",
    "page_of_the_merchant",
    "transaction",
    "cold_lookup",
    "cold_balance",
];

/// What is held against what.
const RATIOS: [(&str, Asked, Asked); 8] = [
    ("balance_ratio", Asked::Balance, Asked::Lookup),
    ("first_balance_ratio", Asked::First, Asked::FirstLookup),
    ("balance_of_the_merchant_ratio", Asked::MerchantBalance, Asked::Lookup),
    ("page_ratio", Asked::Page, Asked::PageOfLookups),
    ("page_of_the_merchant_ratio", Asked::MerchantPage, Asked::PageOfLookups),
    ("cold_balance_ratio", Asked::ColdBalance, Asked::ColdLookup),
    ("balance_to_transaction_ratio", Asked::Balance, Asked::Transaction),
    ("page_to_transaction_ratio", Asked::Page, Asked::Transaction),
];

/// Rounds that are not counted.
const WARM_UP: usize = 200;
/// How often a row and a balance are asked for with nothing in memory.
const COLD_QUESTIONS: u64 = 200;

/// How long each question took.
struct Took(Vec<Histogram<u64>>);

impl Took {
    fn note(&mut self, what: Asked, began: Instant) -> Result<()> {
        Ok(self.0[what as usize].record(u64::try_from(began.elapsed().as_nanos())?)?)
    }

    fn median(&self, what: Asked) -> f64 {
        micros(self.0[what as usize].value_at_quantile(0.5))
    }
}

/// What is asked, in an order that is the same in every run.
struct Questions {
    module: Arc<Wallets>,
    random: u64,
    /// The first and the last instant, and the last place in the journal.
    at: (i64, i64),
    last_seq: i64,
    took: Took,
}

/// Asks about the past, `count` times each, and looks rows up by their primary keys between.
///
/// # Errors
/// When the store cannot be read, or an answer is not what the journal says.
pub async fn measure(folder: &Path, count: u64) -> Result<Value> {
    let module = open(folder).await?;
    let span = module.service().db.read(|reader| {
        let row = reader.query_one("SELECT MIN(at), MAX(at), COUNT(*) FROM commits", &[])?;
        let last: i64 = reader.query_one("SELECT MAX(seq) FROM transfers", &[])?.try_get(0)?;
        Ok::<_, DbError>((row.try_get::<i64>(0)?, row.try_get::<i64>(1)?, row.try_get::<i64>(2)?, last))
    });
    let (first_at, last_at, commits, last_seq) = span.await?;
    let mut figures = json!({ "transfers": last_seq, "commits": commits, "page_entries": PAGE });
    let took: Result<Vec<Histogram<u64>>, _> = NAMES.iter().map(|_| Histogram::new(3)).collect();
    let mut questions = Questions { module, random: 7, at: (first_at, last_at), last_seq, took: Took(took?) };
    // The first rounds open connections and prepare statements.
    for number in 0..WARM_UP {
        questions.lookup(Asked::Lookup).await?;
        questions.balance(Asked::Balance, 0, false).await?;
        questions.first(WALLETS - 1 - number).await?;
    }
    for histogram in &mut questions.took.0 {
        histogram.reset();
    }
    for number in 0..usize::try_from(count)?.min(WALLETS - 1 - WARM_UP) {
        questions.first(1 + number).await?;
    }
    for number in 0..count {
        questions.balances(number % 100 == 0).await?;
    }
    for _ in 0..count {
        questions.pages().await?;
    }
    let store = fs::File::open(folder.join("qwallet.sqlite"))?;
    for _ in 0..COLD_QUESTIONS.min(count) {
        questions.cold(&store).await?;
    }
    let Questions { module, took, .. } = questions;
    for (name, histogram) in NAMES.iter().zip(&took.0) {
        figures[format!("{name}_us")] = json!(micros(histogram.value_at_quantile(0.5)));
        figures[format!("{name}_p99_us")] = json!(micros(histogram.value_at_quantile(0.99)));
        figures[format!("{name}_count")] = json!(histogram.len());
    }
    for (name, of, to) in RATIOS {
        figures[name] = json!(round(took.median(of) / took.median(to)));
    }
    module.service().db.close().await;
    Ok(figures)
}

impl Questions {
    fn within(&mut self, bound: i64) -> i64 {
        i64::try_from(next(&mut self.random)).unwrap_or_default() % bound.max(1)
    }

    fn instant(&mut self) -> Timestamp {
        let (first, last) = self.at;
        Timestamp::from_micros(first + self.within(last - first))
    }

    fn wallet(&mut self) -> usize {
        1 + usize::try_from(next(&mut self.random)).unwrap_or_default() % (WALLETS - 1)
    }

    /// A row and a balance in turn: what is asked right behind a long answer finds threads asleep, whatever it is.
    async fn balances(&mut self, is_checked: bool) -> Result<()> {
        let wallet = self.wallet();
        // Remembered from now on, if it was not.
        self.module.service().directory.find(&owner(wallet).to_string()).await?;
        self.lookup(Asked::Lookup).await?;
        self.balance(Asked::Balance, wallet, is_checked).await?;
        self.lookup(Asked::Lookup).await?;
        self.balance(Asked::MerchantBalance, 0, is_checked).await
    }

    /// As many rows as a page has, and a page.
    async fn pages(&mut self) -> Result<()> {
        let seqs: Vec<i64> = (0..PAGE).map(|_| 1 + self.within(self.last_seq)).collect();
        let began = Instant::now();
        let db = &self.module.service().db;
        let found = db.read(move |reader| store::ledger::transfers_at(reader, &seqs)).await?;
        self.took.note(Asked::PageOfLookups, began)?;
        ensure!(!found.is_empty(), "no transfers");
        let wallet = self.wallet();
        self.page(Asked::Page, wallet).await?;
        self.page(Asked::MerchantPage, 0).await
    }

    /// A row, and a wallet that nobody asked for.
    async fn first(&mut self, wallet: usize) -> Result<()> {
        self.lookup(Asked::FirstLookup).await?;
        let is_known = self.module.service().directory.remembered(&owner(wallet).to_string()).is_some();
        ensure!(!is_known, "somebody asked for wallet {wallet}");
        self.balance(Asked::First, wallet, false).await
    }

    async fn lookup(&mut self, what: Asked) -> Result<()> {
        let seq = 1 + self.within(self.last_seq);
        let began = Instant::now();
        let sql = "SELECT transaction_id, debit, credit, amount, debit_balance, credit_balance FROM transfers WHERE seq = $1";
        let db = &self.module.service().db;
        db.read(move |reader| reader.query_one(sql, params![seq]).map(|_| ())).await?;
        self.took.note(what, began)
    }

    async fn balance(&mut self, what: Asked, number: usize, is_checked: bool) -> Result<()> {
        let at = self.instant();
        let squid_id = owner(number).to_string();
        let request = GetBalanceRequest { squid_id, currency: Some("QToken".into()), at: Some(at) };
        let service = self.module.service();
        let caller = caller(number, &service.env);
        let began = Instant::now();
        let report = service.balance(&caller, request).await?;
        self.took.note(what, began)?;
        let held = report.balances.get("QToken").context("no balance")?.posted.as_str().to_owned();
        if is_checked { check(&self.module, number, at, &held).await } else { Ok(()) }
    }

    /// A page from somewhere in the history, as if it had been turned to: the store's first commits gave everybody money,
    /// so there is one.
    async fn page(&mut self, what: Asked, number: usize) -> Result<()> {
        let (first, last) = self.at;
        let from = last - self.within((last - first) / 10 * 9);
        let mut request: ListTransactionsRequest =
            serde_json::from_value(json!({ "squidId": owner(number).to_string() }))?;
        request.limit = PageLimit::try_from(PAGE).map_err(anyhow::Error::msg)?;
        request.cursor = Some(format!("{from}-0"));
        let service = self.module.service().clone();
        let caller = caller(number, &service.env);
        let began = Instant::now();
        let page = service.transactions(&caller, request).await?;
        self.took.note(what, began)?;
        let entry = page.items.first().context("an empty page")?;
        let began = Instant::now();
        service.transaction_for(&caller, entry.transaction_id).await?;
        self.took.note(Asked::Transaction, began)
    }

    /// A row and a past balance, each with nothing of the store in the system's memory; what connections of ours remember
    /// (4 MiB each) they keep, as they do whenever a store is larger than memory.
    async fn cold(&mut self, store: &fs::File) -> Result<()> {
        forget(store)?;
        self.lookup(Asked::ColdLookup).await?;
        forget(store)?;
        let wallet = self.wallet();
        self.balance(Asked::ColdBalance, wallet, false).await
    }
}

fn forget(store: &fs::File) -> Result<()> {
    Ok(rustix::fs::fadvise(store, 0, None, rustix::fs::Advice::DontNeed)?)
}

fn caller(number: usize, env: &Env) -> Caller {
    Caller::Identity(Principal::new(owner(number), env.now()))
}

/// Compares a past balance with the last row of the journal by then, found without any history.
async fn check(module: &Arc<Wallets>, number: usize, at: Timestamp, held: &str) -> Result<()> {
    let db = &module.service().db;
    let name = owner(number);
    let sql = "SELECT CASE WHEN debit = $1 THEN debit_balance ELSE credit_balance END FROM transfers \
               WHERE (debit = $1 OR credit = $1) AND seq <= (SELECT first_seq + transfer_count - 1 FROM commits \
               WHERE at <= $2 ORDER BY at DESC, id DESC LIMIT 1) ORDER BY seq DESC LIMIT 1";
    let found = db.read(move |reader| {
        let Some(wallet) = store::wallets::find_by_owner(reader, &name)? else { return Ok(None) };
        let accounts = store::ledger::accounts_of(reader, wallet.id)?;
        let Some(account) = accounts.first() else { return Ok(None) };
        let row = reader.query_opt(sql, params![account.id.0, at])?;
        row.map(|row| row.try_get::<Vec<u8>>(0)).transpose()
    });
    let expected = found.await?.and_then(|bytes| q_core::SignedAmount::from_bytes(&bytes));
    let scale = currency::ALL[0].scale;
    let expected = expected.map_or_else(|| "0".to_owned(), |balance| balance.display(scale));
    ensure!(held == expected, "wallet {number} held {expected} at {at}, and {held} was told");
    Ok(())
}

/// Proves the books and says how fast and in how much memory.
///
/// # Errors
/// When the store cannot be read, or is not sound.
pub async fn verify(folder: &Path, since: Option<i64>) -> Result<Value> {
    let module = open(folder).await?;
    let began = Instant::now();
    let findings = match since {
        Some(commit) => module.verify_since(commit).await?.context("not by commits")?,
        None => module.verify().await?,
    };
    let took = began.elapsed();
    ensure!(findings.is_empty(), "the books are unsound: {findings:?}");
    let transfers: i64 = module
        .service()
        .db
        .read(|reader| reader.query_one("SELECT COUNT(*) FROM transfers", &[])?.try_get(0))
        .await?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or_default();
    Ok(json!({
        "transfers": transfers,
        "since": since,
        "seconds": round(took.as_secs_f64()),
        "transfers_per_second": u128::try_from(transfers)? * 1_000 / took.as_millis().max(1),
        "peak_rss_mib": kib >> 10,
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a question takes far less than 2^52 nanoseconds")]
fn micros(nanos: u64) -> f64 {
    round(nanos as f64 / 1_000.0)
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
