//! A store against a map: the same steps leave the same rows, however they are refused or interrupted.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use q_db::{Db, DbError, Tx, on_each_engine, params};

use crate::open;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, i64),
    Add(u8, i64),
    Delete(u8),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Commit,
    Refuse,
    Panic,
}

type Write = (Vec<Step>, End);

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let step = prop_oneof![
        (0..6_u8, -9..9_i64).prop_map(|(key, value)| Step::Put(key, value)),
        (0..6_u8, -9..9_i64).prop_map(|(key, value)| Step::Add(key, value)),
        (0..6_u8).prop_map(Step::Delete),
    ];
    let end = prop_oneof![6 => Just(End::Commit), 1 => Just(End::Refuse), 1 => Just(End::Panic)];
    proptest::collection::vec((proptest::collection::vec(step, 1..6), end), 1..20)
}

/// What the write does to the map; `None` when it fails on the way (a key that is there already).
fn expected(mut map: BTreeMap<String, i64>, (steps, end): &Write) -> Option<BTreeMap<String, i64>> {
    for step in steps {
        match step {
            Step::Put(key, value) => {
                if map.insert(key.to_string(), *value).is_some() {
                    return None;
                }
            }
            Step::Add(key, value) => {
                map.entry(key.to_string()).and_modify(|old| *old += value);
            }
            Step::Delete(key) => {
                map.remove(&key.to_string());
            }
        }
    }
    (*end == End::Commit).then_some(map)
}

fn carry_out(tx: &mut Tx<'_>, (steps, end): &Write) -> Result<(), DbError> {
    for step in steps {
        match step {
            Step::Put(key, value) => {
                tx.execute("INSERT INTO counters VALUES ($1, $2)", params![key.to_string(), *value])?;
            }
            Step::Add(key, value) => {
                let sql = "UPDATE counters SET value = value + $2 WHERE name = $1";
                tx.execute(sql, params![key.to_string(), *value])?;
            }
            Step::Delete(key) => {
                tx.execute("DELETE FROM counters WHERE name = $1", params![key.to_string()])?;
            }
        }
    }
    match end {
        End::Commit => Ok(()),
        End::Refuse => Err(DbError::NotOneRow(0)),
        // Without the hook's noise.
        End::Panic => std::panic::resume_unwind(Box::new("interrupted")),
    }
}

async fn rows(db: &Db) -> BTreeMap<String, i64> {
    let rows = db.read(|reader| reader.query("SELECT name, value FROM counters", &[])).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

on_each_engine!(a_store_is_a_map_with_all_or_nothing, async |stores| {
    let db = open(stores).await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..25 {
        let case = writes().new_tree(&mut runner).unwrap().current();
        let mut model = BTreeMap::new();
        for write in &case {
            let (carried, after) = (write.clone(), expected(model.clone(), write));
            let outcome = db.write(move |tx| carry_out(tx, &carried)).await;
            assert_eq!(outcome.is_ok(), after.is_some(), "{write:?} of {case:?}: {outcome:?}");
            model = after.unwrap_or(model);
            assert_eq!(rows(&db).await, model, "after {write:?} of {case:?}");
        }
        db.write(|tx| tx.execute("DELETE FROM counters", &[])).await.unwrap();
    }
});
