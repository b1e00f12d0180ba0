//! Many rows at once.

use q_db::{Column, DbError, Value, on_each_engine};

use crate::open;

const COLUMNS: [Column; 4] =
    [Column::bytes("id"), Column::text("owner"), Column::integer("balance"), Column::text("note")];

fn account(number: i64) -> [Value; 4] {
    [
        Value::from(number.to_be_bytes()),
        Value::from(format!("owner {number}")),
        Value::from(number),
        if number % 2 == 0 { Value::Null } else { Value::from("odd") },
    ]
}

on_each_engine!(bulk_rows_equal_single_rows, async |stores| {
    let db = open(stores).await;
    db.write(|tx| {
        let rows: Vec<_> = (0..20_000).map(account).collect();
        assert_eq!(tx.insert_many("accounts", &COLUMNS, &rows)?, 20_000);
        let changes: Vec<_> = (0..20_001_i64)
            .map(|number| [Value::from(number.to_be_bytes()), Value::from(number * 2)])
            .collect();
        let (keys, sets) = ([Column::bytes("id")], [Column::integer("balance")]);
        assert_eq!(tx.update_many("accounts", &keys, &sets, &changes)?, 20_000, "one row is not there");
        Ok::<(), DbError>(())
    })
    .await
    .unwrap();
    let rows = db
        .read(|reader| reader.query("SELECT id, owner, balance, note FROM accounts ORDER BY id", &[]))
        .await
        .unwrap();
    assert_eq!(rows.len(), 20_000);
    for (row, number) in rows.iter().zip(0..) {
        let mut expected = account(number);
        expected[2] = Value::from(number * 2);
        assert_eq!(row.values(), expected);
    }
});

on_each_engine!(a_row_that_does_not_fit_is_refused, async |stores| {
    let db = open(stores).await;
    for row in [vec![Value::Null], vec![Value::from("text"), Value::from("o"), Value::from(1), Value::Null]] {
        let refused =
            db.write(move |tx| tx.insert_many("accounts", &COLUMNS, std::slice::from_ref(&row))).await;
        assert!(matches!(refused, Err(DbError::Statement(_))), "{refused:?}");
    }
});
