//! The past of accounts that were used in every kind of rhythm, against looking through the journal.

use q_core::{Amount, Env, SignedAmount, Timestamp};
use q_db::{Column, Db, DbError, Value, params, testing::TestStores};
use qwallet::domain::account::AccountId;
use qwallet::store::{self, history::Past};

/// The other side of every transfer.
const HOUSE: i64 = 1_000;
const TRANSFERS: i64 = 6_000;

/// Which account a transfer concerns: even, in bursts, once, at the ends, and one that is used more and more.
fn account_of(seq: i64) -> i64 {
    match seq {
        1 | TRANSFERS => 4,
        3_333 => 3,
        700..=900 | 4_000..=4_020 | 5_500..=5_900 => 2,
        seq if seq % 3 == 0 => 1,
        seq if seq * seq / TRANSFERS % 7 == 0 => 5,
        _ => 6,
    }
}

#[tokio::test]
async fn the_version_at_an_instant_is_found_however_an_account_was_used() {
    the_past_is_told(&TestStores::sqlite(), include_str!("../../migrations/sqlite/0019_history_by_time.sql"))
        .await;
    if let Some(stores) = TestStores::postgres() {
        let migration = include_str!("../../migrations/postgres/0019_history_by_time.sql");
        the_past_is_told(&stores, migration).await;
    }
}

async fn the_past_is_told(stores: &TestStores, migration: &'static str) {
    let db = stores.open(&qwallet::MIGRATIONS, &Env::system()).await.unwrap();
    write(&db).await;
    // With nothing merged, some, and everything.
    for merges in 0..3 {
        look(&db, if merges == 2 { 7 } else { 211 }).await;
        if merges == 0 {
            // As if the rest had come after the merge.
            db.write(|tx| tx.execute("UPDATE transfers SET seq = seq + 10000000 WHERE seq > 3500", &[]))
                .await
                .unwrap();
        }
        db.write_locked(store::history::merge).await.unwrap();
        if merges == 0 {
            db.write(|tx| tx.execute("DELETE FROM history WHERE seq > 10000000", &[])).await.unwrap();
            db.write(|tx| tx.execute("UPDATE transfers SET seq = seq - 10000000 WHERE seq > 3500", &[]))
                .await
                .unwrap();
            db.write(|tx| tx.set_cursor("history", 3_500)).await.unwrap();
        }
    }
    // A store from before the histories were kept by time, not wholly merged.
    let before = db.write(|tx| {
        for sql in [
            "CREATE TABLE older (account BIGINT NOT NULL, version BIGINT NOT NULL, seq BIGINT NOT NULL, \
             PRIMARY KEY (account, version))",
            "INSERT INTO older SELECT account, version, seq FROM history WHERE seq <= 5000",
            "DROP TABLE history",
            "ALTER TABLE older RENAME TO history",
        ] {
            tx.execute(sql, &[])?;
        }
        tx.set_cursor("history", 5_000)
    });
    before.await.unwrap();
    let migrated = db.write(move |tx| {
        migration.split_inclusive(";\n").try_for_each(|statement| tx.execute(statement, &[]).map(drop))
    });
    migrated.await.unwrap();
    look(&db, 101).await;
    assert_eq!(db.read(store::history::entry_count).await.unwrap(), 10_000);
    assert_eq!(
        db.read(|reader| store::history::mismatches(reader, 1, 0)).await.unwrap(),
        (5_000, Vec::new())
    );
    db.close().await;
}

/// Every so many transfers, what each account was.
async fn look(db: &Db, step: usize) {
    let look = db.read(move |reader| {
        for seq in (0..=TRANSFERS + 1).step_by(step).chain([1, TRANSFERS]) {
            let past = Past::at(reader, Timestamp::from_micros(seq * 10 + 3))?;
            for account in 1..=7 {
                let expected = (1..=seq.min(TRANSFERS)).filter(|seq| account_of(*seq) == account).count();
                let (version, balance) = past.version(reader, AccountId(account))?;
                let found = (usize::try_from(version).unwrap(), balance.magnitude().units());
                assert_eq!(found, (expected, expected as u128), "account {account} at place {seq}");
            }
        }
        Ok::<_, DbError>(())
    });
    look.await.unwrap();
}

async fn write(db: &Db) {
    let write = db.write(|tx| {
        const COLUMNS: [Column; 13] = [
            Column::integer("seq"),
            Column::bytes("transaction_id"),
            Column::integer("debit"),
            Column::integer("credit"),
            Column::bytes("amount"),
            Column::integer("purpose"),
            Column::integer("phase"),
            Column::integer("debit_version"),
            Column::bytes("debit_balance"),
            Column::integer("credit_version"),
            Column::bytes("credit_balance"),
            Column::integer("commit_id"),
            Column::bytes("leaf"),
        ];
        let mut versions = [0_i64; 7];
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for seq in 1..=TRANSFERS {
            let account = account_of(seq);
            let version = &mut versions[usize::try_from(account).unwrap()];
            *version += 1;
            // A balance that tells the version.
            let balance = SignedAmount::plus(Amount::from_units(u128::try_from(*version).unwrap()));
            let nothing = SignedAmount::ZERO.to_bytes();
            rows.push(vec![
                seq.into(),
                [0; 16].into(),
                HOUSE.into(),
                account.into(),
                [0; 16].into(),
                0.into(),
                0.into(),
                seq.into(),
                nothing.into(),
                (*version).into(),
                balance.to_bytes().into(),
                seq.into(),
                [0; 32].into(),
            ]);
            let hash = [0_u8; 32];
            let sql = "INSERT INTO commits (id, writer, number, first_seq, transfer_count, transaction_count, last_order, \
                       at, root, head) VALUES ($1, 1, $1, $1, 1, 0, 0, $2, $3, $3)";
            tx.execute(sql, params![seq, seq * 10, hash])?;
        }
        tx.insert_many("transfers", &COLUMNS, &rows)?;
        Ok::<_, DbError>(())
    });
    write.await.unwrap();
}
