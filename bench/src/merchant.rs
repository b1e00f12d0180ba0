//! Many buyers, one merchant: the wallet's executors on one store, as several replicas would run them.
//!
//! Every buyer waits for the answer before paying again, as clients do. On PostgreSQL each replica has connections and
//! writer numbers of its own; the merchant's account has stripes, so that replicas do not wait for one another in it.
//! After each measurement the merchant must have received exactly what was answered as settled, and the server must not
//! have had to break a deadlock: otherwise there is no figure.

use crate::executor::order;
use crate::report::Work as Done;
use crate::report::{Figures, Tally};
use crate::rounds::Subject;
use anyhow::{Context as _, Result, ensure};
use q_core::{Amount, Env, Timestamp};
use q_db::{Db, DbConfig, DbError};
use qwallet::domain::account::{Account, AccountId, AccountKind};
use qwallet::domain::currency;
use qwallet::domain::fees::Rates;
use qwallet::domain::payment::HouseAccounts;
use qwallet::domain::profile::{Profile, Status};
use qwallet::domain::transfer::{Leg, Purpose};
use qwallet::service::commit::{Action, Item, Outcome, Work};
use qwallet::service::directory::Directory;
use qwallet::service::executor::{Executor, Options};
use qwallet::store;
use qwallet::store::ledger::TransactionKind;
use qwallet::store::wallets::WalletRow;
use qwallet_api::{TransactionId, WalletId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Left out of the figures: connections open.
const WARM_UP: Duration = Duration::from_millis(500);
/// Buyers with a wallet each.
const BUYERS: usize = 512;
/// Transfers of a payment.
const LEGS: u64 = 3;

/// What to measure.
#[derive(Debug, Clone)]
pub struct MerchantPlan {
    /// A PostgreSQL server's URL, whose database is the run's own; a file in a throw-away folder where there is none.
    pub database: Option<String>,
    /// Processes, each with its own connections; one on a file.
    pub replicas: usize,
    /// Lanes of each.
    pub lanes: usize,
    /// Stripes of the merchant's account.
    pub stripes: u8,
    /// Payments in flight, over all replicas.
    pub clients: usize,
    /// Whether everybody pays one merchant, or one another.
    pub is_hot: bool,
    /// Length of the measured window.
    pub span: Duration,
}

/// The executors and who pays.
pub struct Merchant {
    plan: MerchantPlan,
    runtime: Runtime,
    replicas: Vec<(Db, Executor)>,
    env: Env,
    buyers: Vec<AccountId>,
    payee: AccountId,
    wallet: WalletId,
    house: HouseAccounts,
    amount: Amount,
    _folder: Option<TempDir>,
}

impl Merchant {
    /// Opens the store as often as there are replicas, with funded buyers.
    pub fn open(plan: MerchantPlan) -> Result<Self> {
        ensure!(plan.replicas > 0 && plan.clients > 0, "somebody pays somewhere");
        ensure!(plan.database.is_some() || plan.replicas == 1, "a file has one process");
        let folder = tempfile::Builder::new().prefix("q-merchant-").tempdir()?;
        let config = match &plan.database {
            Some(url) => DbConfig::Postgres { url: url.clone() },
            None => DbConfig::sqlite(folder.path().join("qwallet.sqlite")),
        };
        let runtime = Runtime::new()?;
        let env = Env::system();
        let options = Options { lanes: plan.lanes, limits: Vec::new() };
        let mut replicas = Vec::new();
        let (mut house, mut opened) = (None, None);
        for _ in 0..plan.replicas {
            let db = runtime.block_on(Db::open(&config, &qwallet::MIGRATIONS, &env))?;
            let directory = runtime.block_on(Directory::open(&db))?;
            house = directory.house().first().copied();
            if opened.is_none() {
                opened = Some(runtime.block_on(open_wallets(&db, &env, plan.stripes))?);
            }
            let executor = runtime.block_on(Executor::open(&db, &options))?;
            runtime.block_on(executor.learn_stripes(&db))?;
            replicas.push((db, executor));
        }
        let house = house.context("no house accounts")?;
        let (wallet, payee, buyers) = opened.context("no wallets")?;
        let amount = Amount::from_units(currency::ALL[0].scale.units_per_whole() / 100);
        let mut subject = Self {
            plan,
            runtime,
            replicas,
            env,
            buyers,
            payee,
            wallet,
            house,
            amount,
            _folder: Some(folder),
        };
        subject.fund()?;
        Ok(subject)
    }

    fn fund(&mut self) -> Result<()> {
        let amount = Amount::from_units(1_000_000 * currency::ALL[0].scale.units_per_whole());
        for buyer in &self.buyers {
            let leg = Leg { debit: self.house.issuance, credit: *buyer, amount, purpose: Purpose::Mint };
            let work = self.work(TransactionKind::Faucet, vec![leg]);
            let outcome = self.runtime.block_on(self.replicas[0].1.submit(work))?;
            ensure!(matches!(outcome, Outcome::Done(_)), "a buyer was not funded: {outcome:?}");
        }
        Ok(())
    }

    fn work(&self, kind: TransactionKind, legs: Vec<Leg>) -> Work {
        let item = Item {
            id: TransactionId::new(&self.env),
            kind,
            legs,
            intent: None,
            client_ref: None,
            purpose: None,
        };
        order(&self.env, self.env.random(), Action::Pay(item))
    }

    fn payment(&self, number: usize) -> Work {
        let debit = self.buyers[number % BUYERS];
        let neighbour = self.buyers[(number + 1 + number / BUYERS % (BUYERS - 1)) % BUYERS];
        let credit = if self.plan.is_hot { self.payee } else { neighbour };
        let fees = Rates::REFERENCE.fees(self.amount).expect("the fees of a small amount are small");
        let leg = |credit, amount, purpose| Leg { debit, credit, amount, purpose };
        self.work(
            TransactionKind::Payment,
            vec![
                leg(credit, self.amount, Purpose::Principal),
                leg(self.house.platform_fees, fees.platform, Purpose::PlatformFee),
                leg(self.house.network_fees, fees.network, Purpose::NetworkFee),
            ],
        )
    }

    /// What the merchant ever received, in the account and its stripes, and how many deadlocks the server broke.
    fn received(&self) -> Result<(u128, i64)> {
        let (wallet, is_server) = (self.wallet, self.plan.database.is_some());
        let read = self.replicas[0].0.read(move |reader| {
            let accounts = store::ledger::accounts_of(reader, wallet)?;
            let held = accounts.iter().map(|account| account.posted().magnitude().units()).sum();
            let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
            let deadlocks = if is_server { reader.query_one(sql, &[])?.try_get(0)? } else { 0 };
            Ok::<_, DbError>((held, deadlocks))
        });
        Ok(self.runtime.block_on(read)?)
    }
}

impl Subject for Merchant {
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn measure(&mut self) -> Result<Figures> {
        let (before, _) = self.received()?;
        let settled = Arc::new(AtomicUsize::new(0));
        let this = &*self;
        let (tally, took) = this.runtime.block_on(async {
            let started = Instant::now();
            let number = AtomicUsize::new(0);
            let client = |client: usize| {
                let (settled, number) = (settled.clone(), &number);
                async move {
                    let executor = &this.replicas[client % this.replicas.len()].1;
                    let mut tally = Tally::new();
                    while started.elapsed() < WARM_UP + this.plan.span {
                        let work = this.payment(number.fetch_add(1, Ordering::Relaxed));
                        let began = Instant::now();
                        match executor.submit(work).await {
                            Ok(Outcome::Done(_)) => {
                                settled.fetch_add(1, Ordering::Relaxed);
                                if started.elapsed() > WARM_UP {
                                    tally.success(Done { payments: 1, transfers: LEGS }, began.elapsed());
                                }
                            }
                            other => tally.error(&format!("{other:?}").chars().take(60).collect::<String>()),
                        }
                    }
                    tally
                }
            };
            let all = futures_util::future::join_all((0..this.plan.clients).map(client)).await;
            let mut tally = Tally::new();
            for one in &all {
                tally.add(one);
            }
            (tally, started.elapsed().saturating_sub(WARM_UP))
        });
        let (after, deadlocks) = self.received()?;
        if self.plan.is_hot {
            let expected = settled.load(Ordering::Relaxed) as u128 * self.amount.units();
            ensure!(after - before == expected, "the merchant got {} for {expected}", after - before);
        }
        ensure!(deadlocks == 0, "the server had to break {deadlocks} deadlocks");
        Ok(tally.figures(self.plan.clients, took))
    }
}

/// The merchant's wallet with its account and stripes, and the buyers' accounts.
async fn open_wallets(
    db: &Db,
    env: &Env,
    stripes: u8,
) -> Result<(WalletId, AccountId, Vec<AccountId>), DbError> {
    let row = WalletRow {
        id: WalletId::new(env),
        reference: format!("merchant-{}", q_core::hash::hex(&env.random::<8>())),
        owner: format!("did:key:z{}", q_core::hash::hex(&env.random::<16>())).parse().expect("a DID"),
        label: None,
        status: Status::Active,
        profile: Profile::Root,
        parent: None,
        allowed: None,
        allowed_addresses: Vec::new(),
        created_at: Timestamp::default(),
    };
    let currency = currency::ALL[0].id;
    db.write(move |tx| {
        store::wallets::insert(tx, &row, &[])?;
        let first = store::ledger::last_account(tx)? + 1;
        for (id, stripe) in (first..).zip(0..=i64::from(stripes)) {
            let account = Account::new(AccountId(id), currency, AccountKind::Wallet).of_stripe(stripe);
            store::ledger::insert_account(tx, &account, Some(row.id))?;
        }
        let buyers: Vec<AccountId> = (first + 1 + i64::from(stripes)..).take(BUYERS).map(AccountId).collect();
        for id in &buyers {
            store::ledger::insert_account(tx, &Account::new(*id, currency, AccountKind::Wallet), None)?;
        }
        Ok((row.id, AccountId(first), buyers))
    })
    .await
}
