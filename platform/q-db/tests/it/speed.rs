//! Figures, not judgements: `cargo test --release -p q-db --test it -- --ignored --nocapture speed`.

use std::time::Instant;

use q_db::{Column, Db, DbError, Value, on_each_engine, params};

use crate::open;

const JOURNAL: [Column; 4] =
    [Column::bytes("id"), Column::text("owner"), Column::integer("balance"), Column::text("note")];

async fn single_writes(db: &Db, clients: usize, each: usize) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let db = db.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    let name = format!("{client} {number} of {clients}");
                    db.write(move |tx| tx.execute("INSERT INTO counters VALUES ($1, 1)", params![&name]))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (clients * each) as f64 / began.elapsed().as_secs_f64()
}

on_each_engine!(
    #[ignore = "a measurement, for a quiet machine"]
    speed,
    async |stores| {
        let db = open(stores).await;
        for size in [100_000_i64, 200_000] {
            let rate = db
                .write(move |tx| {
                    let rows: Vec<[Value; 4]> = (0..size)
                        .map(|number| {
                            [
                                Value::from((size + number).to_be_bytes()),
                                Value::from("did:squid:QmSomebody"),
                                Value::from(number),
                                Value::Null,
                            ]
                        })
                        .collect();
                    let began = Instant::now();
                    tx.insert_many("accounts", &JOURNAL, &rows)?;
                    Ok::<_, DbError>(size as f64 / began.elapsed().as_secs_f64())
                })
                .await
                .unwrap();
            println!("insert_many, {size} rows with two unique keys: {rate:.0} rows/s");
        }
        let rate = db
            .write(|tx| {
                tx.execute("CREATE TABLE log (at BIGINT, amount BIGINT, note TEXT)", &[])?;
                let row = [Value::from(1), Value::from(2), Value::from("abcdefgh")];
                let rows = vec![row; 500_000];
                let columns = [Column::integer("at"), Column::integer("amount"), Column::text("note")];
                let began = Instant::now();
                tx.insert_many("log", &columns, &rows)?;
                Ok::<_, DbError>(500_000.0 / began.elapsed().as_secs_f64())
            })
            .await
            .unwrap();
        println!("insert_many, 500000 rows of a log: {rate:.0} rows/s");
        for (clients, each) in [(1, 300), (16, 200), (64, 100), (256, 50)] {
            let rate = single_writes(&db, clients, each).await;
            println!("single writes, {clients} clients: {rate:.0}/s");
        }
        let began = Instant::now();
        for _ in 0..5_000 {
            db.read(|reader| reader.query_opt("SELECT value FROM counters WHERE name = $1", params!["1 1"]))
                .await
                .unwrap();
        }
        println!("reads, one client: {:.0}/s", 5_000.0 / began.elapsed().as_secs_f64());
    }
);
