//! The wallet's executor in process: everything a batch costs after its signature is checked and its names are known.
//!
//! It decides on balances, hashes every transfer, writes the journal, the evidence, the audit entry and the chain, and
//! answers when the commit is on disk. Two batches are in flight, so that one is being prepared while the other is being
//! made durable; each still has a commit of its own. The history index is merged behind as often as the anchor merges it.

use crate::report::Work as Done;
use crate::report::{Figures, Tally};
use crate::rounds::{Subject, note};
use anyhow::{Context as _, Result, ensure};
use q_core::{Amount, Env, Span, hash};
use q_db::{Db, DbConfig, DbError};
use qwallet::domain::account::{Account, AccountId, AccountKind};
use qwallet::domain::currency;
use qwallet::domain::fees::Rates;
use qwallet::domain::payment::HouseAccounts;
use qwallet::domain::transfer::{Leg, Purpose};
use qwallet::service::commit::{Action, Batch, Item, Outcome, Work};
use qwallet::service::directory::Directory;
use qwallet::service::executor::{Executor, Options};
use qwallet::store;
use qwallet::store::ledger::{OrderRow, TransactionKind};
use qwallet::store::requests::{Nonce, Request};
use qwallet_api::{BatchId, TransactionId};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// As many as a load run has payers.
const WALLETS: usize = 128;
/// Batches in flight.
const IN_FLIGHT: usize = 2;
/// Batches prepared for the first round, in payments a second.
const FIRST_GUESS_PER_SECOND: f64 = 80_000.0;
const MARGIN: f64 = 1.5;
const ORDER_TTL: Span = Span::seconds(20 * 3_600);

/// The executor on a store of its own.
pub struct InProcess {
    runtime: Runtime,
    db: Db,
    executor: Executor,
    env: Env,
    wallets: Vec<AccountId>,
    house: HouseAccounts,
    items: usize,
    span: Duration,
    made: u64,
    ready: VecDeque<Work>,
    payments_per_second: f64,
    // Dropped last: the file goes with the folder.
    _folder: TempDir,
}

impl InProcess {
    /// An empty book with funded wallets in a throw-away folder, for batches of this many payments.
    pub fn open(items: usize, span: Duration) -> Result<Self> {
        ensure!(items > 0, "a batch has at least one payment");
        let folder = tempfile::Builder::new().prefix("q-executor-").tempdir()?;
        // One worker as in the product's smallest setting: the writer has a thread of its own.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let env = Env::system();
        let config = DbConfig::sqlite(folder.path().join("qwallet.sqlite"));
        let db = runtime.block_on(Db::open(&config, &qwallet::MIGRATIONS, &env))?;
        let directory = runtime.block_on(Directory::open(&db))?;
        let house = *directory.house().first().context("no house accounts")?;
        let wallets = runtime.block_on(open_wallets(&db))?;
        let executor = runtime.block_on(Executor::open(&db, &Options::default()))?;
        let mut subject = Self {
            runtime,
            db,
            executor,
            env,
            wallets,
            house,
            items,
            span,
            made: 0,
            ready: VecDeque::new(),
            payments_per_second: FIRST_GUESS_PER_SECOND,
            _folder: folder,
        };
        subject.fund()?;
        Ok(subject)
    }

    /// Gives every wallet money out of issuance.
    fn fund(&mut self) -> Result<()> {
        let amount = Amount::from_units(1_000_000 * currency::ALL[0].scale.units_per_whole());
        let legs = |wallet: &AccountId| {
            vec![Leg { debit: self.house.issuance, credit: *wallet, amount, purpose: Purpose::Mint }]
        };
        let legs: Vec<Vec<Leg>> = self.wallets.iter().map(legs).collect();
        let work = self.batch(TransactionKind::Faucet, legs);
        let outcome = self.runtime.block_on(self.executor.submit(work))?;
        ensure!(matches!(outcome, Outcome::Done(_)), "the wallets were not funded: {outcome:?}");
        Ok(())
    }

    /// The next batch of one payer to many payees.
    fn next_batch(&mut self) -> Work {
        let payer = usize::try_from(self.made).unwrap_or(0) % WALLETS;
        let amount = Amount::from_units(currency::ALL[0].scale.units_per_whole() / 100);
        let fees = Rates::REFERENCE.fees(amount).expect("the fees of a small amount are small");
        let debit = self.wallets[payer];
        let legs = |item: usize| {
            let payee = self.wallets[(payer + 1 + item % (WALLETS - 1)) % WALLETS];
            vec![
                Leg { debit, credit: payee, amount, purpose: Purpose::Principal },
                Leg {
                    debit,
                    credit: self.house.platform_fees,
                    amount: fees.platform,
                    purpose: Purpose::PlatformFee,
                },
                Leg {
                    debit,
                    credit: self.house.network_fees,
                    amount: fees.network,
                    purpose: Purpose::NetworkFee,
                },
            ]
        };
        let legs = (0..self.items).map(legs).collect();
        self.batch(TransactionKind::Payment, legs)
    }

    fn batch(&mut self, kind: TransactionKind, payments: Vec<Vec<Leg>>) -> Work {
        self.made += 1;
        let item = |legs| Item {
            id: TransactionId::new(&self.env),
            kind,
            legs,
            intent: None,
            client_ref: None,
            purpose: None,
        };
        let items = payments.into_iter().map(|legs| Ok(item(legs))).collect();
        let batch = Batch { id: BatchId::new(&self.env), items, is_atomic: false, import: None };
        order(&self.env, u128::from(self.made).to_be_bytes(), Action::Batch(batch))
    }
}

/// What an order that was signed asks of the executor, with everything that is kept of it.
pub(crate) fn order(env: &Env, unique: [u8; 16], action: Action) -> Work {
    let number = hash::sha256(&unique);
    let expires_at = env.now() + ORDER_TTL;
    let key = *number.first_chunk().expect("a digest has 32 bytes");
    Work {
        request: Some(Request { key, fingerprint: number }),
        nonce: Some(Nonce::of("bench", &hash::hex(&unique), expires_at)),
        expires_at: Some(expires_at),
        // About as long as a real order and its detached signature.
        order: Some(OrderRow {
            id: 0,
            kind: 1,
            signer: "did:squid:QmNRcXHUXyAePYd5UWXLdsZHzSRTUr2TWPVTpQHBJmvr1Z".to_owned(),
            input: "i".repeat(480),
            signatures: "s".repeat(220),
        }),
        action,
    }
}

impl Subject for InProcess {
    fn prepare(&mut self) -> Result<()> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let wanted =
            (self.payments_per_second * MARGIN * self.span.as_secs_f64() / self.items as f64).ceil() as usize;
        while self.ready.len() < wanted {
            let batch = self.next_batch();
            self.ready.push_back(batch);
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<Figures> {
        let batches = std::mem::take(&mut self.ready);
        let run = drive(self.db.clone(), self.executor.clone(), batches, self.items as u64, self.span);
        let (tally, took, left) = self.runtime.block_on(run)?;
        if left.is_empty() {
            note("the prepared batches ran out before the time did");
        }
        self.ready = left;
        let figures = tally.figures(IN_FLIGHT, took);
        self.payments_per_second = figures.payments_per_second.max(1.0);
        Ok(figures)
    }
}

/// Keeps two batches in flight until the time is over, merging histories as the anchor does.
async fn drive(
    db: Db,
    executor: Executor,
    mut batches: VecDeque<Work>,
    items: u64,
    span: Duration,
) -> Result<(Tally, Duration, VecDeque<Work>)> {
    const LEGS: u64 = 3;
    let merge_after = store::history::MERGE_TRANSFERS_MAX.unsigned_abs();
    let mut tally = Tally::new();
    let mut flights = JoinSet::new();
    let mut unmerged = 0;
    let started = Instant::now();
    loop {
        while flights.len() < IN_FLIGHT
            && started.elapsed() < span
            && let Some(batch) = batches.pop_front()
        {
            let executor = executor.clone();
            flights.spawn(async move {
                let began = Instant::now();
                (executor.submit(batch).await, began.elapsed())
            });
        }
        let Some(landed) = flights.join_next().await else { break };
        let (outcome, latency) = landed?;
        match outcome? {
            Outcome::Done(done) if done.refusals.is_empty() => {
                tally.success(Done { payments: items, transfers: items * LEGS }, latency);
            }
            other => tally.error(&format!("{other:?}").chars().take(60).collect::<String>()),
        }
        unmerged += items * LEGS;
        if unmerged >= merge_after {
            while db.write(store::history::merge).await? {}
            unmerged = 0;
        }
    }
    Ok((tally, started.elapsed(), batches))
}

async fn open_wallets(db: &Db) -> Result<Vec<AccountId>, DbError> {
    db.write(|tx| {
        let first = store::ledger::last_account(tx)? + 1;
        let numbers = (first..).take(WALLETS).map(AccountId).collect::<Vec<_>>();
        for id in &numbers {
            store::ledger::insert_account(
                tx,
                &Account::new(*id, currency::ALL[0].id, AccountKind::Wallet),
                None,
            )?;
        }
        Ok(numbers)
    })
    .await
}
