//! What may be done a number of times.

use q_db::{
    Db, DbError, on_each_engine, params,
    uses::{Allotment, take},
};

use crate::open;

fn allotment(name: u8, most: u64) -> Allotment {
    Allotment { name: [name; 32], most }
}

async fn used(db: &Db, name: u8) -> i64 {
    let read = move |reader: &mut q_db::Reader<'_>| -> Result<_, DbError> {
        let row = reader.query_opt("SELECT used FROM q_uses WHERE name = $1", params![[name; 32]])?;
        row.map_or(Ok(0), |row| row.try_get(0))
    };
    db.read(read).await.unwrap()
}

on_each_engine!(ten_of_a_hundred_at_once_get_ten, async |stores| {
    let db = open(stores).await;
    for (name, is_locked) in [(1, false), (2, true)] {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    let one = [allotment(name, 10)];
                    if is_locked {
                        db.write_locked(move |tx| take(tx, &one)).await.unwrap()
                    } else {
                        db.write(move |tx| take(tx, &one)).await.unwrap()
                    }
                })
            })
            .collect();
        let mut taken = 0;
        for task in tasks {
            taken += usize::from(task.await.unwrap());
        }
        assert_eq!((taken, used(&db, name).await), (10, 10));
    }
});

on_each_engine!(several_are_taken_all_or_none_and_with_the_effect, async |stores| {
    let db = open(stores).await;
    let both = [allotment(1, 2), allotment(2, 1), allotment(1, 2)];
    assert!(db.write(move |tx| take(tx, &both)).await.unwrap());
    assert_eq!((used(&db, 1).await, used(&db, 2).await), (1, 1), "named twice is taken once");
    assert!(!db.write(move |tx| take(tx, &both)).await.unwrap(), "the second is used up");
    assert_eq!((used(&db, 1).await, used(&db, 2).await), (1, 1), "so the first is not taken");
    let failed = db.write(|tx| {
        assert!(take(tx, &[allotment(1, 2)])?);
        Err::<(), _>(DbError::NotOneRow(0))
    });
    assert!(failed.await.is_err());
    assert_eq!(used(&db, 1).await, 1, "without the effect nothing was used");
    assert!(db.write(|tx| take(tx, &[allotment(1, 2)])).await.unwrap());
    assert!(!db.write(|tx| take(tx, &[allotment(1, 1_000)])).await.unwrap(), "the first word counts");
    assert!(!db.write(|tx| take(tx, &[allotment(3, 0)])).await.unwrap());
    assert!(db.write(|tx| take(tx, &[])).await.unwrap(), "nothing is asked");
});
