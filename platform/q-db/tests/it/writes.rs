//! Reads and writes: what stays, what is undone, what comes back.

use std::error::Error as _;

use q_db::{ConstraintKind, Db, DbError, Tx, Value, on_each_engine, params};

use crate::{counter, open};

/// A module's error: its own refusals beside the store's failures.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is already a counter of that name")]
    Taken,
    #[error("storage")]
    Db(#[from] DbError),
}

fn add(tx: &mut Tx<'_>, name: &str, value: i64) -> Result<(), DbError> {
    tx.execute("INSERT INTO counters VALUES ($1, $2)", params![name, value]).map(drop)
}

async fn failure(db: &Db, sql: &'static str) -> DbError {
    db.write(move |tx| tx.execute(sql, &[]).map(drop)).await.unwrap_err()
}

on_each_engine!(values_come_back_as_they_went_in, async |stores| {
    let db = open(stores).await;
    let row = db
        .write(|tx| {
            // The parameters do not appear in their numerical order, and a text contains one.
            tx.execute(
                "INSERT INTO accounts (note, balance, owner, id) VALUES ($4, $3, '$1' || $2, $1)",
                params![[0_u8, 255, 7], "ö'\"", i64::MAX, None::<String>],
            )?;
            tx.query_one("SELECT id, owner, balance, note FROM accounts", &[])
        })
        .await
        .unwrap();
    let expected =
        [Value::Bytes(vec![0, 255, 7]), Value::Text("$1ö'\"".into()), Value::Integer(i64::MAX), Value::Null];
    assert_eq!(row.values(), expected);
    assert_eq!(row.get::<Option<String>>(3), None);
    assert_eq!(row.get::<[u8; 3]>(0), [0, 255, 7]);
    assert!(matches!(row.try_get::<String>(2), Err(DbError::BadRow { column: 2, .. })));
});

on_each_engine!(sums_are_integers, async |stores| {
    let db = open(stores).await;
    let sum: i64 = db
        .write(|tx| {
            add(tx, "a", 4_000_000_000_000)?;
            add(tx, "b", -1)?;
            let row = tx.query_one(
                "SELECT SUM(value), COUNT(*), SUM(value) FROM counters WHERE value > $1",
                params![-5],
            )?;
            assert_eq!(row.get::<i64>(1), 2);
            Ok::<_, DbError>(row.get(0))
        })
        .await
        .unwrap();
    assert_eq!(sum, 3_999_999_999_999);
});

on_each_engine!(an_error_undoes_everything, async |stores| {
    let db = open(stores).await;
    let refused = db
        .write(|tx| {
            add(tx, "a", 1)?;
            Err::<(), Refusal>(Refusal::Taken)
        })
        .await;
    assert!(matches!(refused, Err(Refusal::Taken)));
    assert_eq!(counter(&db, "a").await, 0);
});

on_each_engine!(a_panic_is_an_answer_and_the_store_lives_on, async |stores| {
    let db = open(stores).await;
    let answer = db
        .write(|tx| -> Result<(), DbError> {
            add(tx, "a", 1)?;
            panic!("a defect at {}", tx.now())
        })
        .await;
    assert!(
        matches!(&answer, Err(DbError::Panicked(message)) if message.starts_with("a defect")),
        "{answer:?}"
    );
    let misread = db.read(|reader| Ok::<i64, DbError>(reader.query_one("SELECT 'x'", &[])?.get(0))).await;
    assert!(matches!(misread, Err(DbError::BadRow { column: 0, .. })), "{misread:?}");
    assert_eq!(counter(&db, "a").await, 0, "the panic undid its write");
    db.write(|tx| add(tx, "a", 2)).await.unwrap();
    assert_eq!(counter(&db, "a").await, 2);
});

on_each_engine!(a_failed_statement_ends_the_write, async |stores| {
    let db = open(stores).await;
    db.write(|tx| add(tx, "a", 1)).await.unwrap();
    let swallowed = db
        .write(|tx| {
            add(tx, "b", 1)?;
            let taken = add(tx, "a", 2).unwrap_err();
            assert!(taken.is_unique("counters_pkey"), "{taken:?}");
            assert!(matches!(add(tx, "c", 1), Err(DbError::Aborted)));
            Ok::<(), DbError>(())
        })
        .await;
    assert!(matches!(swallowed, Err(DbError::Aborted)), "{swallowed:?}");
    assert_eq!(counter(&db, "b").await, 0, "nothing of it stays");
});

on_each_engine!(constraints_have_the_same_names, async |stores| {
    let db = open(stores).await;
    db.write(|tx| tx.execute("INSERT INTO accounts VALUES ($1, 'a', 1, 'n')", params![[1]]).map(drop))
        .await
        .unwrap();
    for (sql, kind, name) in [
        (
            "INSERT INTO accounts SELECT id, 'b', 1, 'n' FROM accounts",
            ConstraintKind::Unique,
            "accounts_pkey",
        ),
        ("UPDATE accounts SET balance = -1", ConstraintKind::Check, "balance_not_negative"),
        ("UPDATE accounts SET owner = NULL", ConstraintKind::NotNull, "accounts_owner_not_null"),
    ] {
        let error = failure(&db, sql).await;
        let DbError::Constraint { kind: found_kind, name: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found_kind, found.as_str()), (kind, name), "{sql}");
        assert!(error.source().is_some(), "the engine's own words are kept");
    }
    let twice = db
        .write(|tx| tx.execute("INSERT INTO accounts VALUES ($1, 'a', 1, 'n')", params![[2]]).map(drop))
        .await
        .unwrap_err();
    assert!(twice.is_unique("accounts_owner_note_key"), "{twice:?}");
    assert!(matches!(failure(&db, "SELEC 1").await, DbError::Statement(_)));
});

on_each_engine!(hostile_texts_are_refused_alike, async |stores| {
    let db = open(stores).await;
    let refused = db.write(|tx| add(tx, "a\0b", 1)).await.unwrap_err();
    assert!(matches!(refused, DbError::Statement(_)), "{refused:?}");
    let name = "'); DROP TABLE counters; --";
    db.write(move |tx| add(tx, name, 5)).await.unwrap();
    assert_eq!(counter(&db, name).await, 5);
});

on_each_engine!(concurrent_counters_lose_nothing, async |stores| {
    let db = open(stores).await;
    db.write(|tx| add(tx, "a", 0)).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    db.write_locked(|tx| {
                        let rows = tx.query_for_update("SELECT value FROM counters WHERE name = 'a'", &[])?;
                        let value: i64 = rows[0].get(0);
                        tx.execute("UPDATE counters SET value = $1 WHERE name = 'a'", params![value + 1])
                    })
                    .await
                    .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter(&db, "a").await, 320);
});

on_each_engine!(serializable_writes_never_lose_an_update, async |stores| {
    let db = open(stores).await;
    db.write(|tx| add(tx, "a", 0)).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(|tx| {
                    let value: i64 = tx.query_one("SELECT value FROM counters WHERE name = 'a'", &[])?.get(0);
                    tx.execute("UPDATE counters SET value = $1 WHERE name = 'a'", params![value + 1])
                })
                .await
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            // Under such contention a write may give up, but then it says so.
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    assert_eq!(counter(&db, "a").await, done);
    assert!(done > 32, "most writes get through: {done}");
});

on_each_engine!(serializable_writes_take_the_next_number_one_after_the_other, async |stores| {
    let db = open(stores).await;
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(|tx| {
                    let last = tx.query_one("SELECT COALESCE(MAX(value), 0) FROM counters", &[])?;
                    let next = last.get::<i64>(0) + 1;
                    add(tx, &format!("number {next}"), next)
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(counter(&db, "number 32").await, 32);
});

on_each_engine!(a_lock_by_name_lets_one_after_the_other_in, async |stores| {
    let db = open(stores).await;
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write_locked(|tx| {
                    tx.lock("numbers")?;
                    let last = tx.query_one("SELECT COALESCE(MAX(value), 0) FROM counters", &[])?;
                    let next = last.get::<i64>(0) + 1;
                    add(tx, &format!("number {next}"), next)
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(counter(&db, "number 32").await, 32);
});

on_each_engine!(whole_tables_can_be_walked, async |stores| {
    let db = open(stores).await;
    db.write(|tx| (0..10).try_for_each(|number| add(tx, &number.to_string(), number))).await.unwrap();
    let seen = db
        .read(|reader| {
            let mut seen = Vec::new();
            reader.for_each::<DbError>("SELECT value FROM counters ORDER BY value", &[], |row| {
                seen.push(row.get::<i64>(0));
                Ok(())
            })?;
            Ok::<_, DbError>(seen)
        })
        .await
        .unwrap();
    assert_eq!(seen, (0..10).collect::<Vec<i64>>());
});

on_each_engine!(readers_cannot_write, async |stores| {
    let db = open(stores).await;
    let refused =
        db.read(|reader| reader.query("INSERT INTO counters VALUES ('a', 1) RETURNING value", &[])).await;
    assert!(matches!(refused, Err(DbError::ReadOnly(_))), "{refused:?}");
    assert_eq!(counter(&db, "a").await, 0);
});
