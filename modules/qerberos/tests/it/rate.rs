//! How fast events are taken in. Measured, not asserted: `cargo test --release -p qerberos -- --ignored rate --nocapture`.

use std::{sync::Arc, time::Instant};

use q_bus::AuditBatch;
use q_core::{AuditEntry, Env, Timestamp, audit::AuditId};
use q_db::{
    AuditRow, Column, Db, DbError, Value,
    testing::{TestStores, run},
};
use q_testkit::identity;
use qerberos::{MIGRATIONS, Trail, TrailOptions};
use serde_json::json;

use crate::sealer;

const BATCH: i64 = 500;
const BATCHES: i64 = 120;

async fn open(stores: &TestStores) -> Arc<Trail> {
    let env = Env::system();
    let db = stores.open(&MIGRATIONS, &env).await.unwrap();
    let options =
        TrailOptions { host: "q.example".into(), sealer: sealer(), checkpoint_file: None, restored: None };
    Trail::open(db, env, options).await.unwrap()
}

/// Audit rows of about 400 bytes.
fn batch(first: i64) -> AuditBatch {
    let (env, actor) = (Env::system(), identity("ada").0);
    let row = |position: i64| {
        let target = format!("wallet:wallet:wallet_0193a0c0de0070008000{position:012}");
        let details = json!({"currency": "CRUMBS", "amount": "12.50", "reference": "x".repeat(120)});
        AuditRow {
            position,
            id: AuditId::new(&env),
            at: Timestamp::from_seconds(1_795_251_600),
            entry: AuditEntry::change("payment.execute", Some(&actor), target).details(details),
            trace: None,
        }
    };
    let rows = (first..first + BATCH).map(row).collect();
    AuditBatch { producer: "qwallet".into(), cursor: "audit of qwallet".into(), rows, head: 0 }
}

#[test]
#[ignore = "measures"]
fn rate_of_batches() {
    run(async {
        let stores = TestStores::sqlite();
        let trail = open(&stores).await;
        let batches: Vec<_> = (0..BATCHES).map(|number| batch(1 + number * BATCH)).collect();
        let begun = Instant::now();
        for batch in batches {
            trail.ingest(batch).await.unwrap();
        }
        let ours = begun.elapsed();
        let begun = Instant::now();
        assert_eq!(trail.publish().await.unwrap(), (BATCH * BATCHES) as u64);
        let signing = begun.elapsed();
        let begun = Instant::now();
        assert_eq!(trail.verify().await.unwrap(), []);
        let verifying = begun.elapsed();
        let bare = bare(&stores, trail.db()).await;
        let events = (BATCH * BATCHES) as f64;
        println!(
            "ingest {:.0} events/s, bare insert of the same rows {:.0}/s, ratio {:.2}; sign {signing:?}; verify {:.0} events/s",
            events / ours.as_secs_f64(),
            events / bare,
            bare / ours.as_secs_f64(),
            events / verifying.as_secs_f64(),
        );
        trail.db().close().await;
    });
}

/// The same rows with the same indexes, and nothing else.
async fn bare(stores: &TestStores, from: &Db) -> f64 {
    const COLUMNS: [Column; 16] = [
        Column::integer("log_index"),
        Column::bytes("id"),
        Column::integer("producer"),
        Column::integer("seq"),
        Column::integer("happened_at"),
        Column::integer("received_at"),
        Column::bytes("commitment"),
        Column::bytes("fingerprint"),
        Column::text("family"),
        Column::text("action"),
        Column::text("layer"),
        Column::integer("severity"),
        Column::integer("verdict"),
        Column::integer("actor_token"),
        Column::integer("reference_token"),
        Column::bytes("record"),
    ];
    let sql = "SELECT log_index, id, producer, seq, happened_at, received_at, commitment, fingerprint, family, action, \
               layer, severity, verdict, actor_token, reference_token, record FROM events ORDER BY log_index";
    let rows: Result<Vec<q_db::Row>, DbError> = from.read(move |reader| reader.query(sql, &[])).await;
    let rows: Vec<Vec<Value>> = rows.unwrap().into_iter().map(q_db::Row::into_values).collect();
    let q_db::DbConfig::Sqlite { path } = stores.config("bare") else { unreachable!() };
    let to = Db::open(&q_db::DbConfig::sqlite(path), &MIGRATIONS, &Env::system()).await.unwrap();
    let added: Result<u64, DbError> =
        to.write(|tx| tx.execute("INSERT INTO producers VALUES (1, 'qwallet', 1, 0, 0, 0)", &[])).await;
    added.unwrap();
    let chunks: Vec<Vec<Vec<Value>>> = rows.chunks(BATCH as usize).map(<[Vec<Value>]>::to_vec).collect();
    let begun = Instant::now();
    for chunk in chunks {
        let added: Result<u64, DbError> =
            to.write(move |tx| tx.insert_many("events", &COLUMNS, &chunk)).await;
        added.unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    to.close().await;
    took
}

#[test]
#[ignore = "measures"]
fn rate_of_single_events() {
    run(async {
        let stores = TestStores::sqlite();
        let trail = open(&stores).await;
        let (callers, each) = (64, 200);
        let begun = Instant::now();
        let working: Vec<_> = (0..callers)
            .map(|_| {
                let trail = trail.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        let event = serde_json::from_value(json!({
                            "id": AuditId::new(&Env::system()), "type": "data_access", "subtype": "file.read",
                            "layer": "qdrive", "verdict": "ALLOW", "ref": "file:x", "details": {"bytes": 10}
                        }));
                        trail.record(vec![event.unwrap()]).await.unwrap().pop().unwrap().unwrap();
                    }
                })
            })
            .collect();
        for worker in working {
            worker.await.unwrap();
        }
        let rate = f64::from(callers * each) / begun.elapsed().as_secs_f64();
        println!("{rate:.0} single events/s from {callers} callers, each waiting for its own");
        trail.db().close().await;
    });
}
