//! The anchor of the ledger: a bare SQLite loop, one thread, that writes the rows the wallet's executor writes.
//!
//! It has the tables of the wallet's own migration, so that a change of the schema shows here as an error and not as an
//! unfair race. It checks nothing, hashes nothing and signs nothing: it is the floor under any ledger on this engine that
//! keeps these rows. Each commit carries one batch: its payments with their three transfers, its order, its request, its
//! nonce, and each touched account once.

use crate::report::Work;
use crate::report::{Figures, Tally};
use crate::rounds::Subject;
use anyhow::{Context as _, Result, ensure};
#[expect(clippy::disallowed_types, reason = "the anchor is the engine without q-db around it")]
use rusqlite::Connection;
use rusqlite::params;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TABLES: &str = include_str!("../../modules/qwallet/migrations/sqlite/0001_ledger.sql");
/// The same wallets as a load run has payers.
const WALLETS: i64 = 128;
/// Principal, platform fee, network fee.
const LEGS: i64 = 3;
/// The wallet merges its history index behind the journal in batches of about this many transfers.
const MERGE_TRANSFERS: i64 = 8_192;

/// The loop.
pub struct Journal {
    #[expect(clippy::disallowed_types, reason = "as above")]
    connection: Connection,
    items: i64,
    span: Duration,
    next: Numbers,
    merged_seq: i64,
    // Dropped last: the file goes with the folder.
    _folder: TempDir,
}

/// The next number of each kind.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    seq: i64,
    transaction: i64,
    commit: i64,
}

impl Journal {
    /// An empty book in a throw-away folder, for commits of this many payments.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub fn open(items: usize, span: Duration) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("q-journal-").tempdir()?;
        let connection = Connection::open(folder.path().join("journal.sqlite"))?;
        set_durable(&connection)?;
        connection.execute_batch(TABLES).context("the wallet's tables")?;
        let zero = [0_u8; 16];
        for account in 1..=WALLETS + 3 {
            connection.execute(
                "INSERT INTO accounts VALUES (?1, 1, 0, NULL, 0, ?2, ?2, ?2, ?2, ?2, 0)",
                params![account, zero],
            )?;
        }
        let next = Numbers { seq: 1, transaction: 1, commit: 1 };
        let items = i64::try_from(items)?;
        Ok(Self { connection, items, span, next, merged_seq: 1, _folder: folder })
    }

    fn commit(&mut self) -> Result<()> {
        let first = self.next;
        let transaction = self.connection.transaction()?;
        {
            let mut transfers = transaction.prepare_cached(
                "INSERT INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, NULL, ?6, ?7, ?8, ?7, ?9, ?10)",
            )?;
            let mut transactions = transaction.prepare_cached(
                "INSERT INTO transactions VALUES (?1, 0, ?2, 3, ?3, NULL, NULL, NULL, ?3, ?4)",
            )?;
            let (amount, balance) = ([1_u8; 16], [2_u8; 17]);
            for _ in 0..self.items {
                let id = id(self.next.transaction);
                let leaf = leaf(self.next.seq);
                let payer = 1 + first.commit % WALLETS;
                transactions.execute(params![id, self.next.seq, first.commit, leaf])?;
                for leg in 0..LEGS {
                    let payee = if leg == 0 { 1 + self.next.transaction % WALLETS } else { WALLETS + leg };
                    let seq = self.next.seq;
                    transfers.execute(params![
                        seq,
                        id,
                        payer,
                        payee,
                        amount,
                        seq,
                        balance,
                        seq,
                        first.commit,
                        leaf
                    ])?;
                    self.next.seq += 1;
                }
                self.next.transaction += 1;
            }
            let mut account = transaction.prepare_cached(
                "UPDATE accounts SET credits_posted = ?2, debits_posted = ?2, version = ?3 WHERE id = ?1",
            )?;
            let touched = self.items.min(WALLETS);
            for number in 0..touched {
                account.execute(params![
                    1 + (first.transaction + number) % WALLETS,
                    amount,
                    self.next.seq
                ])?;
            }
            for house in 1..LEGS {
                account.execute(params![WALLETS + house, amount, self.next.seq])?;
            }
            self.next.commit += 1;
            write_order(&transaction, first, self.next, self.items)?;
        }
        transaction.commit()?;
        if self.next.seq - self.merged_seq >= MERGE_TRANSFERS {
            self.merge_history()?;
        }
        Ok(())
    }

    /// The index of each account's history, in the order of the index.
    fn merge_history(&mut self) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO history (account, version, seq) SELECT * FROM (
                SELECT debit, seq * 2, seq FROM transfers WHERE seq >= ?1
                UNION ALL SELECT credit, seq * 2 + 1, seq FROM transfers WHERE seq >= ?1
            ) ORDER BY 1, 2",
            params![self.merged_seq],
        )?;
        transaction.commit()?;
        self.merged_seq = self.next.seq;
        Ok(())
    }
}

impl Subject for Journal {
    fn prepare(&mut self) -> Result<()> {
        // What earlier rounds left in the log is not this round's cost.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn measure(&mut self) -> Result<Figures> {
        let mut tally = Tally::new();
        let started = Instant::now();
        let items = u64::try_from(self.items)?;
        let work = Work { payments: items, transfers: items * LEGS.unsigned_abs() };
        while started.elapsed() < self.span {
            let began = Instant::now();
            self.commit()?;
            tally.success(work, began.elapsed());
        }
        Ok(tally.figures(1, started.elapsed()))
    }
}

/// What a batch leaves besides its payments.
fn write_order(
    transaction: &rusqlite::Transaction<'_>,
    first: Numbers,
    next: Numbers,
    items: i64,
) -> Result<()> {
    let (commit, hash) = (first.commit, leaf(first.commit));
    // About as long as a real order and its detached signature.
    let (input, signature) = ("i".repeat(480), "s".repeat(220));
    transaction.prepare_cached("INSERT INTO orders VALUES (?1, 1, ?2, ?3, ?4, ?5)")?.execute(params![
        commit,
        "did:squid:QmNRcXHUXyAePYd5UWXLdsZHzSRTUr2TWPVTpQHBJmvr1Z",
        input,
        signature,
        hash
    ])?;
    transaction
        .prepare_cached("INSERT INTO commits VALUES (?1, 0, ?1, ?2, ?3, ?4, ?1, ?1, ?5, ?5)")?
        .execute(params![commit, first.seq, next.seq - first.seq, items, hash])?;
    transaction.prepare_cached("INSERT INTO requests VALUES (?1, ?2, ?3)")?.execute(params![
        scattered(commit),
        hash,
        id(commit)
    ])?;
    transaction.prepare_cached("INSERT INTO nonces VALUES (1, ?1)")?.execute(params![scattered(commit)])?;
    transaction.prepare_cached("INSERT INTO batches VALUES (?1, ?2, '', ?3)")?.execute(params![
        id(commit),
        items,
        commit
    ])?;
    Ok(())
}

#[expect(clippy::disallowed_types, reason = "as above")]
fn set_durable(connection: &Connection) -> Result<()> {
    // The settings of q-db: the difference between the two sides is what is done, not how the engine is tuned.
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384;",
    )?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    ensure!(mode == "wal" && synchronous == 2, "the engine did not take WAL and FULL");
    Ok(())
}

/// An id that sorts in the order of making, as UUIDv7 does.
fn id(number: i64) -> [u8; 16] {
    let mut id = [7_u8; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

/// A key that falls anywhere in an index, as hashes do.
fn scattered(number: i64) -> [u8; 16] {
    let mut key = [0_u8; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x5851_F42D_4C95_7F2D).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Thirty-two bytes that hardly compress.
fn leaf(number: i64) -> [u8; 32] {
    let mut leaf = [0_u8; 32];
    leaf[..16].copy_from_slice(&scattered(number));
    leaf[16..].copy_from_slice(&scattered(!number));
    leaf
}
