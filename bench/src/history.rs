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

/// Asks about the past, `count` times each, and looks rows up by their primary keys between.
///
/// # Errors
/// When the store cannot be read, or an answer is not what the journal says.
pub async fn measure(folder: &Path, count: u64) -> Result<Value> {
    let module = open(folder).await?;
    let service = module.service().clone();
    let span = service.db.read(|reader| {
        let row = reader.query_one("SELECT MIN(at), MAX(at), COUNT(*) FROM commits", &[])?;
        let last: i64 = reader.query_one("SELECT MAX(seq) FROM transfers", &[])?.try_get(0)?;
        Ok::<_, DbError>((row.try_get::<i64>(0)?, row.try_get::<i64>(1)?, row.try_get::<i64>(2)?, last))
    });
    let (first_at, last_at, commits, last_seq) = span.await?;
    let mut figures = json!({ "transfers": last_seq, "commits": commits, "page_entries": PAGE });
    let mut random = 7;
    let mut within = |bound: i64| i64::try_from(next(&mut random)).unwrap_or_default() % bound.max(1);
    let caller = |number: usize| Caller::Identity(Principal::new(owner(number), service.env.now()));
    let names = [
        "lookup",
        "lookups_of_a_page",
        "balance",
        "balance_of_the_merchant",
        "page",
        "page_of_the_merchant",
        "transaction",
    ];
    let mut took: Vec<Histogram<u64>> = names.iter().map(|_| Histogram::new(3)).collect::<Result<_, _>>()?;
    for round in 0..=count {
        // The first round opens connections and prepares statements.
        let mut note = |place: usize, began: Instant| -> Result<()> {
            if round > 0 {
                took[place].record(u64::try_from(began.elapsed().as_nanos())?)?;
            }
            Ok(())
        };
        let seq = 1 + within(last_seq);
        let began = Instant::now();
        let sql = "SELECT transaction_id, debit, credit, amount, debit_balance, credit_balance FROM transfers WHERE seq = $1";
        service.db.read(move |reader| reader.query_one(sql, params![seq]).map(|_| ())).await?;
        note(0, began)?;

        let seqs: Vec<i64> = (0..PAGE).map(|_| 1 + within(last_seq)).collect();
        let began = Instant::now();
        let found = service.db.read(move |reader| store::ledger::transfers_at(reader, &seqs)).await?;
        note(1, began)?;
        ensure!(!found.is_empty(), "no transfers");

        let wallet = 1 + usize::try_from(within(i64::try_from(WALLETS - 1)?))?;
        for (places, number) in [((2, 4), wallet), ((3, 5), 0)] {
            let at = Timestamp::from_micros(first_at + within(last_at - first_at));
            let request = GetBalanceRequest {
                squid_id: owner(number).to_string(),
                currency: Some("QToken".into()),
                at: Some(at),
            };
            let began = Instant::now();
            let report = service.balance(&caller(number), request).await?;
            note(places.0, began)?;
            let held = report.balances.get("QToken").context("no balance")?.posted.as_str().to_owned();

            let version = last_version(&service.db, number).await?;
            let mut request: ListTransactionsRequest =
                serde_json::from_value(json!({ "squidId": owner(number).to_string() }))?;
            request.limit = PageLimit::try_from(PAGE).map_err(anyhow::Error::msg)?;
            request.cursor = Some((2 + within(version)).to_string());
            let began = Instant::now();
            let page = service.transactions(&caller(number), request).await?;
            note(places.1, began)?;
            let entry = page.items.first().context("an empty page")?;
            // The look-up by primary key that the module itself offers: a transaction by its id.
            let began = Instant::now();
            service.transaction_for(&caller(number), entry.transaction_id).await?;
            note(6, began)?;
            if round % 100 == 1 {
                check(&module, number, at, &held).await?;
            }
        }
    }
    for (name, took) in names.iter().zip(&took) {
        figures[format!("{name}_us")] = json!(micros(took.value_at_quantile(0.5)));
        figures[format!("{name}_p99_us")] = json!(micros(took.value_at_quantile(0.99)));
    }
    let ratio = |of: usize, to: usize| {
        let median = |place: usize| micros(took[place].value_at_quantile(0.5));
        round(median(of) / median(to))
    };
    figures["balance_ratio"] = json!(ratio(2, 0));
    figures["balance_of_the_merchant_ratio"] = json!(ratio(3, 0));
    figures["page_ratio"] = json!(ratio(4, 1));
    figures["page_of_the_merchant_ratio"] = json!(ratio(5, 1));
    figures["page_to_one_lookup_ratio"] = json!(ratio(4, 0));
    figures["balance_to_transaction_ratio"] = json!(ratio(2, 6));
    figures["merchant_balance_to_transaction_ratio"] = json!(ratio(3, 6));
    figures["page_to_transaction_ratio"] = json!(ratio(4, 6));
    service.db.close().await;
    Ok(figures)
}

async fn account_of(db: &Db, number: usize) -> Result<Account> {
    let name = owner(number);
    let read = db.read(move |reader| {
        let Some(wallet) = store::wallets::find_by_owner(reader, &name)? else { return Ok(None) };
        Ok::<_, DbError>(store::ledger::accounts_of(reader, wallet.id)?.into_iter().next())
    });
    read.await?.context("no account")
}

async fn last_version(db: &Db, number: usize) -> Result<i64> {
    Ok(account_of(db, number).await?.version)
}

/// Compares a past balance with the last row of the journal by then, found without any index of ours.
async fn check(module: &Arc<Wallets>, number: usize, at: Timestamp, held: &str) -> Result<()> {
    let db = &module.service().db;
    let account = account_of(db, number).await?.id.0;
    let scale = currency::ALL[0].scale;
    let sql = "SELECT CASE WHEN debit = $1 THEN debit_balance ELSE credit_balance END FROM history \
               JOIN transfers ON transfers.seq = history.seq JOIN commits ON commits.id = transfers.commit_id \
               WHERE history.account = $1 AND commits.at <= $2 ORDER BY history.version DESC LIMIT 1";
    let found = db.read(move |reader| {
        let Some(row) = reader.query_opt(sql, params![account, at])? else { return Ok(None) };
        row.try_get::<Vec<u8>>(0).map(Some)
    });
    let expected = found.await?.and_then(|bytes| q_core::SignedAmount::from_bytes(&bytes));
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
