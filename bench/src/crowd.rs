//! A crowd: as many wallets as a replica may have to remember, and payments among all of them.
//!
//! The wallets are written into the store of an instance that is stopped, as if they had been opened long ago; their
//! owners are named by their keys (did:key), so that each can sign without having registered anywhere. What is measured
//! afterwards goes through the front door of the instance like any payment.

use crate::orders::Payer;
use anyhow::{Context as _, Result, ensure};
use q_core::{Amount, Did, Env, hash};
use q_db::{Db, DbConfig, DbError};
use q_jose::SecretKey;
use qwallet::domain::account::{Account, AccountId, AccountKind};
use qwallet::domain::currency;
use qwallet::domain::profile::{Profile, Status};
use qwallet::domain::transfer::{Leg, Purpose};
use qwallet::domain::wallet_ref::WalletRef;
use qwallet::service::commit::{Action, Batch, Item, Outcome, Work};
use qwallet::service::executor::{Executor, Options};
use qwallet::store;
use qwallet::store::ledger::TransactionKind;
use qwallet::store::wallets::WalletRow;
use qwallet_api::{BatchId, TransactionId, WalletId};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Wallets that are written in one commit. Their names are random, so a commit touches as many pages of the indexes as it
/// has wallets, until it has more wallets than there are pages.
const WALLETS_AT_ONCE: usize = 65_536;
/// Wallets that get their money in one commit.
const FUNDED_AT_ONCE: usize = 4_096;
/// What each gets, in whole units: enough for thousands of the smallest payments.
const FUNDS: u128 = 100;

fn key(number: usize) -> SecretKey {
    SecretKey::from_seed(&hash::sha256(format!("q-bench crowd {number}").as_bytes()))
}

fn wallet(number: usize) -> Result<WalletId> {
    let hash = hash::sha256(format!("q-bench wallet {number}").as_bytes());
    Ok(WalletId::from_bytes(*hash.first_chunk().context("a digest has 32 bytes")?))
}

/// The owners of the first `count` wallets, in an order that has nothing to do with that of their accounts.
pub fn payers(count: usize) -> Result<Vec<Payer>> {
    ensure!(count > 1, "it takes two to pay");
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_unstable_by_key(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number >> 7));
    let payer = |number: usize| {
        let key = key(number);
        let did: Did = key.public().to_did_key().parse()?;
        let key_id = q_did::key_id(&did, &key.public());
        Ok(Payer { did, key_id, key, wallet: WalletRef::of(wallet(number)?).to_string() })
    };
    order.into_iter().map(payer).collect()
}

/// Writes `count` wallets with money into the store of an instance that is not running.
///
/// # Errors
/// When the store is in use, was never opened by an instance, or has no room.
pub async fn fill(file: &Path, count: usize) -> Result<Value> {
    let env = Env::system();
    let db = Db::open_existing(&DbConfig::sqlite(file), &qwallet::MIGRATIONS, &env).await?;
    let issuance = db.read(store::ledger::house_accounts).await?;
    let issuance = issuance
        .iter()
        .find(|account| account.kind == AccountKind::Issuance && account.currency == currency::ALL[0].id)
        .context("the house has no account to issue money from")?
        .id;
    let executor = Executor::open(&db, &Options { lanes: 1, ..Options::default() }).await?;
    let amount = Amount::from_units(FUNDS * currency::ALL[0].scale.units_per_whole());
    let began = Instant::now();
    let mut made = Vec::with_capacity(count);
    for first in (0..count).step_by(WALLETS_AT_ONCE) {
        let rows = (first..count.min(first + WALLETS_AT_ONCE)).map(|number| row(number, &env));
        let rows: Vec<WalletRow> = rows.collect::<Result<_>>()?;
        let write = db.write(move |tx| {
            let next = store::ledger::last_account(tx)? + 1;
            let mut ids = Vec::with_capacity(rows.len());
            for (number, row) in (next..).zip(&rows) {
                let account = Account::new(AccountId(number), currency::ALL[0].id, AccountKind::Wallet);
                store::wallets::insert(tx, row, &account.terms())?;
                store::ledger::insert_account(tx, &account, Some(row.id))?;
                ids.push(account.id);
            }
            Ok::<_, DbError>(ids)
        });
        made.extend(write.await?);
    }
    for some in made.chunks(FUNDED_AT_ONCE) {
        let items = some.iter().map(|&credit| {
            let legs = vec![Leg { debit: issuance, credit, amount, purpose: Purpose::Mint }];
            let id = TransactionId::new(&env);
            let kind = TransactionKind::Transfer;
            Ok(Item { id, kind, legs, intent: None, client_ref: None, purpose: None })
        });
        let batch = Batch { id: BatchId::new(&env), items: items.collect(), is_atomic: true, import: None };
        let work =
            Work { request: None, nonce: None, expires_at: None, order: None, action: Action::Batch(batch) };
        match executor.submit(work).await? {
            Outcome::Done(done) if done.refusals.is_empty() => {}
            other => anyhow::bail!("money was refused: {other:?}"),
        }
    }
    db.close().await;
    let seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(json!({ "accounts": count, "seconds": seconds }))
}

fn row(number: usize, env: &Env) -> Result<WalletRow> {
    let id = wallet(number)?;
    Ok(WalletRow {
        id,
        reference: WalletRef::of(id).to_string(),
        owner: key(number).public().to_did_key().parse()?,
        label: None,
        status: Status::Active,
        profile: Profile::Root,
        parent: None,
        allowed: None,
        allowed_addresses: Vec::new(),
        created_at: env.now(),
    })
}
