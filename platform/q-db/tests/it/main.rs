//! What a module author relies on, on each engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::needless_pass_by_value,
    reason = "tests count small numbers and take closures"
)]

mod backup;
mod bulk;
mod durability;
mod idempotency;
mod migrations;
mod model;
mod modes;
mod platform;
mod server;
mod speed;
mod uses;
mod writes;

use q_core::Env;
use q_db::{Db, Migrations, testing::TestStores};

/// A small schema for these tests.
pub(crate) const LEDGER: Migrations = Migrations::new(
    "ledger",
    &[(
        1,
        "accounts",
        "CREATE TABLE accounts (id BLOB NOT NULL PRIMARY KEY, owner TEXT NOT NULL, balance BIGINT NOT NULL \
         CONSTRAINT balance_not_negative CHECK (balance >= 0), note TEXT, UNIQUE (owner, note)); \
         CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);",
    )],
    &[(
        1,
        "accounts",
        "CREATE TABLE accounts (id BYTEA NOT NULL PRIMARY KEY, owner TEXT NOT NULL, balance BIGINT NOT NULL \
         CONSTRAINT balance_not_negative CHECK (balance >= 0), note TEXT, UNIQUE (owner, note)); \
         CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);",
    )],
);

pub(crate) async fn open(stores: &TestStores) -> Db {
    stores.open(&LEDGER, &Env::system()).await.expect("the store opens")
}

/// The counter called `name`, 0 when it is not there.
pub(crate) async fn counter(db: &Db, name: &str) -> i64 {
    let name = name.to_owned();
    db.read(move |reader| {
        let row = reader.query_opt("SELECT value FROM counters WHERE name = $1", q_db::params![name])?;
        Ok::<i64, q_db::DbError>(row.map_or(0, |row| row.get(0)))
    })
    .await
    .expect("the counter can be read")
}
