//! `q verify qerberos`: a damaged byte is found and its row is named.

use std::sync::Arc;

use q_db::{DbError, params};
use q_runtime::Module as _;
use q_testkit::{World, on_each_world};
use qerberos::Qerberos;

use crate::{Diary, event, raise};

/// Changes one row, looks, and puts the row back.
async fn look(
    qerberos: &Arc<Qerberos>,
    damage: &'static str,
    repair: Option<&'static str>,
) -> Vec<(String, String)> {
    let run = async |sql: &'static str| {
        let touched = qerberos.db().write(move |tx| tx.execute(sql, params![])).await;
        let touched: Result<u64, DbError> = touched;
        assert_eq!(touched.unwrap(), 1, "{sql}");
    };
    run(damage).await;
    let findings = qerberos.verify().await.unwrap();
    if let Some(repair) = repair {
        run(repair).await;
        assert_eq!(qerberos.verify().await.unwrap(), [], "after {repair}");
    }
    findings.into_iter().map(|finding| (finding.code, finding.place)).collect()
}

on_each_world!(every_damaged_row_is_named, async |mut world: World| {
    let qerberos = raise(&mut world).await;
    let diary = Diary::raise(&mut world).await;
    world.start();
    for page in 0..3 {
        diary.write(&page.to_string(), &q_testkit::identity("ada").0, false).await.unwrap();
    }
    world.settle().await;
    let events = (0..600).map(|_| event(&world)).collect();
    qerberos.trail().record(events).await.unwrap();
    qerberos.trail().publish().await.unwrap();
    qerberos.trail().record(vec![event(&world)]).await.unwrap();
    assert_eq!(qerberos.verify().await.unwrap(), []);

    let is_found = |found: &[(String, String)], code: &str, place: &str| {
        assert!(found.contains(&(code.into(), place.into())), "{code} at {place}, found {found:?}");
    };
    for (column, row, code) in [
        ("happened_at = happened_at + 1000", 17, "leaf_mismatch"),
        ("happened_at = happened_at + 1000", 602, "leaf_mismatch"),
        ("severity = 2", 301, "column_mismatch"),
        ("verdict = 1", 301, "column_mismatch"),
        ("action = 'relay.remove'", 4, "column_mismatch"),
        ("reference_token = reference_token + 1", 4, "column_mismatch"),
        ("actor_token = 1", 4, "column_mismatch"),
        ("actor_token = NULL", 1, "column_mismatch"),
        ("verdict = 9", 5, "event_unreadable"),
    ] {
        let damage: &'static str =
            Box::leak(format!("UPDATE events SET {column} WHERE log_index = {row}").into_boxed_str());
        let kept = keep(&qerberos, row).await;
        let found = look(&qerberos, damage, None).await;
        is_found(&found, code, &format!("events {row}"));
        put_back(&qerberos, row, kept).await;
        assert_eq!(qerberos.verify().await.unwrap(), [], "{damage}");
    }
    let flips = [
        ("events", "commitment", "log_index = 20", "leaf_mismatch", "events 20"),
        ("events", "record", "log_index = 21", "record_damaged", "events 21"),
        ("tiles", "hashes", "level = 0 AND tile_index = 1", "tile_mismatch", "tiles 0 1"),
        ("tiles", "hashes", "level = 0 AND tile_index = 2", "tile_mismatch", "tiles 0 2"),
        ("tiles", "hashes", "level = 1 AND tile_index = 0", "tile_mismatch", "tiles 1 0"),
        ("checkpoints", "root", "size = 603", "checkpoint_mismatch", "checkpoints 603"),
        ("head", "root", "id = 1", "head_mismatch", "head"),
    ];
    for (table, column, row, code, place) in flips {
        flip(&qerberos, table, column, row).await;
        let found: Vec<_> =
            qerberos.verify().await.unwrap().into_iter().map(|one| (one.code, one.place)).collect();
        is_found(&found, code, place);
        if table == "head" {
            assert!(
                qerberos.trail().record(vec![event(&world)]).await.is_err(),
                "a damaged log is not continued"
            );
        }
        flip(&qerberos, table, column, row).await;
        assert_eq!(qerberos.verify().await.unwrap(), [], "{table}.{column} put back");
    }
    let note = look(
        &qerberos,
        "UPDATE checkpoints SET note = REPLACE(note, '603', '604') WHERE size = 603",
        Some("UPDATE checkpoints SET note = REPLACE(note, '604', '603') WHERE size = 603"),
    )
    .await;
    is_found(&note, "checkpoint_signature", "checkpoints 603");
    let producer = look(
        &qerberos,
        "UPDATE producers SET next_seq = next_seq + 1 WHERE name = 'diary'",
        Some("UPDATE producers SET next_seq = next_seq - 1 WHERE name = 'diary'"),
    )
    .await;
    is_found(&producer, "producer_mismatch", "producers diary");
    let renamed = look(
        &qerberos,
        "UPDATE producers SET name = 'diarx' WHERE name = 'diary'",
        Some("UPDATE producers SET name = 'diary' WHERE name = 'diarx'"),
    )
    .await;
    is_found(&renamed, "leaf_mismatch", "events 0");
    let gone = look(&qerberos, "DELETE FROM events WHERE log_index = 100", None).await;
    is_found(&gone, "event_missing", "events 100");
    is_found(&gone, "sequence_gap", "producers qerberos.post");
    assert_eq!(gone.len(), 3, "the row, its number and the producer's count: {gone:?}");
    world.abandon().await;
});

type Kept = (i64, i64, i64, String, Option<i64>, Option<i64>);

async fn keep(qerberos: &Arc<Qerberos>, row: i64) -> Kept {
    let sql = "SELECT happened_at, severity, verdict, action, reference_token, actor_token FROM events WHERE log_index = $1";
    let read = move |reader: &mut q_db::Reader<'_>| {
        let row = reader.query_one(sql, params![row])?;
        Ok::<_, DbError>((row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)))
    };
    qerberos.db().read(read).await.unwrap()
}

async fn put_back(qerberos: &Arc<Qerberos>, row: i64, kept: Kept) {
    let sql = "UPDATE events SET happened_at = $1, severity = $2, verdict = $3, action = $4, reference_token = $5, \
               actor_token = $6 WHERE log_index = $7";
    let write = move |tx: &mut q_db::Tx<'_>| {
        let (happened_at, severity, verdict, action, reference, actor) = kept.clone();
        tx.execute(sql, params![happened_at, severity, verdict, action, reference, actor, row])
    };
    let touched: Result<u64, DbError> = qerberos.db().write(write).await;
    assert_eq!(touched.unwrap(), 1);
}

/// Turns one bit of a stored value.
async fn flip(qerberos: &Arc<Qerberos>, table: &'static str, column: &'static str, row: &'static str) {
    let write = move |tx: &mut q_db::Tx<'_>| {
        let found = tx.query_one(&format!("SELECT {column} FROM {table} WHERE {row}"), &[])?;
        let mut bytes: Vec<u8> = found.get(0);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        tx.execute(&format!("UPDATE {table} SET {column} = $1 WHERE {row}"), params![bytes])
    };
    let touched: Result<u64, DbError> = qerberos.db().write(write).await;
    assert_eq!(touched.unwrap(), 1);
}
