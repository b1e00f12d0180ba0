//! The same request again.

use q_core::Caller;
use q_db::{DbError, RequestKey, on_each_engine, params};

use crate::{counter, open};

fn key(content: &str) -> RequestKey {
    RequestKey::new(&Caller::Anonymous, "POST /payments", "order-7", content.as_bytes())
}

on_each_engine!(two_hundred_times_the_same_key_is_one_effect, async |stores| {
    let db = open(stores).await;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write_once(Some(&key("body")), |tx| {
                    tx.execute(
                        "INSERT INTO counters VALUES ('a', 1) \
                         ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
                        &[],
                    )?;
                    let value: i64 = tx.query_one("SELECT value FROM counters WHERE name = 'a'", &[])?.get(0);
                    Ok::<_, DbError>(format!("payment {value}"))
                })
                .await
                .unwrap()
            })
        })
        .collect();
    let mut firsts = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!(answer.value, "payment 1");
        firsts += usize::from(!answer.replayed);
    }
    assert_eq!(firsts, 1);
    assert_eq!(counter(&db, "a").await, 1);
});

on_each_engine!(another_body_is_refused_and_a_refusal_may_be_tried_again, async |stores| {
    let db = open(stores).await;
    let refused = db.write_once(Some(&key("a")), |_| Err::<i64, _>(DbError::NotOneRow(0))).await;
    assert!(refused.is_err());
    let first = db.write_once(Some(&key("a")), |_| Ok::<_, DbError>(1_i64)).await.unwrap();
    assert!(!first.replayed, "the refusal was not remembered");
    let again = db.write_once(Some(&key("a")), |_| Ok::<_, DbError>(2_i64)).await.unwrap();
    assert_eq!((again.value, again.replayed), (1, true));
    let other = db.write_once(Some(&key("b")), |_| Ok::<_, DbError>(3_i64)).await;
    assert!(matches!(other, Err(DbError::IdempotencyKeyReused)), "{other:?}");
    let keyless = db.write_once(None, |_| Ok::<_, DbError>(4_i64)).await.unwrap();
    assert_eq!((keyless.value, keyless.replayed), (4, false));
});

on_each_engine!(a_secret_answer_is_claimed_and_not_kept, async |stores| {
    let db = open(stores).await;
    assert!(!db.write(|tx| tx.claim(&key("a"))).await.unwrap());
    assert!(db.write(|tx| tx.claim(&key("a"))).await.unwrap());
    assert!(matches!(db.write(|tx| tx.claim(&key("b"))).await, Err(DbError::IdempotencyKeyReused)));
    let kept = db
        .read(|reader| {
            reader.query_one(
                "SELECT COUNT(*) FROM q_idempotency WHERE answer IS NULL AND key = $1",
                params!["order-7"],
            )
        })
        .await
        .unwrap();
    assert_eq!(kept.get::<i64>(0), 1);
});

on_each_engine!(what_is_old_is_forgotten_and_nothing_else, async |stores| {
    let db = open(stores).await;
    let named = |number: i64| {
        RequestKey::new(&Caller::Anonymous, "POST /payments", &format!("order-{number}"), b"body")
    };
    for number in 0..2_500 {
        db.write_once(Some(&named(number)), move |_| Ok::<_, DbError>(number)).await.unwrap();
    }
    let long_ago = "UPDATE q_idempotency SET at = 5 WHERE key < 'order-2'";
    let aged = db.write(|tx| tx.execute(long_ago, &[])).await.unwrap();
    assert_eq!(db.forget_answers(q_core::Timestamp::from_micros(6)).await.unwrap(), aged);
    assert_eq!(db.forget_answers(q_core::Timestamp::from_micros(6)).await.unwrap(), 0);
    let again = db.write_once(Some(&named(2_000)), |_| Ok::<_, DbError>(7)).await.unwrap();
    assert_eq!((again.value, again.replayed), (2_000, true));
    let new = db.write_once(Some(&named(1)), |_| Ok::<_, DbError>(7)).await.unwrap();
    assert_eq!((new.value, new.replayed), (7, false));
});
