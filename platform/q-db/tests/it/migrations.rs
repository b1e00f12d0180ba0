//! Stores that grow, and stores that are not ours to open.

use q_core::Env;
use q_db::{Db, DbConfig, Migration, Migrations, OpenError, on_each_engine};

const ONE: Migration = (1, "one", "CREATE TABLE one (id BIGINT NOT NULL PRIMARY KEY)");
const TWO: Migration =
    (2, "two", "CREATE TABLE two (id BIGINT NOT NULL PRIMARY KEY); INSERT INTO two VALUES (7)");
const EDITED: Migration = (1, "one", "CREATE TABLE one (id TEXT NOT NULL PRIMARY KEY)");
const BROKEN: Migration = (2, "broken", "CREATE TABLE three (id BIGINT); SELEC");

const OLD: Migrations = Migrations::new("shop", &[ONE], &[ONE]);
const NEW: Migrations = Migrations::new("shop", &[ONE, TWO], &[ONE, TWO]);

on_each_engine!(a_newer_program_brings_the_store_up_to_date, async |stores| {
    let env = Env::system();
    stores.open(&OLD, &env).await.unwrap().close().await;
    let db = stores.open(&NEW, &env).await.unwrap();
    let row = db.read(|reader| reader.query_one("SELECT id FROM two", &[])).await.unwrap();
    assert_eq!(row.get::<i64>(0), 7);
    assert_eq!(db.stats().await.unwrap().migrations, 2);
});

on_each_engine!(an_older_program_refuses_a_newer_store, async |stores| {
    let env = Env::system();
    stores.open(&NEW, &env).await.unwrap().close().await;
    let refused = stores.open(&OLD, &env).await.unwrap_err();
    let message = refused.to_string();
    assert!(matches!(refused, OpenError::Newer { store: 2, known: 1, .. }), "{message}");
    assert!(message.contains("schema 2 (written by version") && message.contains("up to 1"), "{message}");
});

on_each_engine!(a_changed_past_is_refused, async |stores| {
    let env = Env::system();
    stores.open(&OLD, &env).await.unwrap().close().await;
    let edited = Migrations::new("shop", &[EDITED], &[EDITED]);
    let refused = stores.open(&edited, &env).await.unwrap_err();
    assert!(matches!(refused, OpenError::Changed { version: 1, .. }), "{refused}");
});

on_each_engine!(another_modules_store_is_refused, async |stores| {
    let env = Env::system();
    stores.open(&OLD, &env).await.unwrap().close().await;
    let other = Migrations::new("bank", &[ONE], &[ONE]);
    let refused = q_db::Db::open(&stores.config("shop"), &other, &env).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store belongs to module shop, not to bank: check the configured path or URL"
    );
});

on_each_engine!(a_failed_migration_leaves_the_store_as_it_was, async |stores| {
    let env = Env::system();
    stores.open(&OLD, &env).await.unwrap().close().await;
    let broken = Migrations::new("shop", &[ONE, BROKEN], &[ONE, BROKEN]);
    let refused = stores.open(&broken, &env).await.unwrap_err();
    assert!(matches!(refused, OpenError::Migration { version: 2, .. }), "{refused}");
    let db = stores.open(&NEW, &env).await.unwrap();
    assert!(
        db.read(|reader| reader.query("SELECT * FROM three", &[])).await.is_err(),
        "half of it is gone too"
    );
});

/// A table that is made anew has what a process of the older program commits meanwhile.
#[test]
fn nothing_is_lost_that_is_written_during_a_migration() {
    const ANEW: Migration = (
        2,
        "anew",
        "CREATE TABLE anew AS SELECT id FROM one; DROP TABLE one; ALTER TABLE anew RENAME TO one",
    );
    const NEXT: Migrations = Migrations::new("shop", &[ONE, ANEW], &[ONE, ANEW]);
    let Some(stores) = q_db::testing::TestStores::postgres() else { return };
    q_db::testing::run(async {
        let old = stores.open(&OLD, &Env::system()).await.unwrap();
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let writing = tokio::spawn({
            let old = old.clone();
            async move {
                let write = old.write_locked(move |tx| {
                    tx.execute("INSERT INTO one VALUES (7)", &[])?;
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                    Ok::<_, q_db::DbError>(())
                });
                write.await
            }
        });
        is_begun.recv().unwrap();
        let config = stores.config("shop");
        let migrating = tokio::spawn(async move { Db::open(&config, &NEXT, &Env::system()).await });
        // Until it waits for the writer.
        let waiting = async || {
            let sql = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted";
            old.read(move |reader| reader.query_one(sql, &[])).await.unwrap().get::<i64>(0) > 0
        };
        while !migrating.is_finished() && !waiting().await {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        writing.await.unwrap().unwrap();
        let new = migrating.await.unwrap().unwrap();
        let rows = new.read(|reader| reader.query("SELECT id FROM one", &[])).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<i64>(0)).collect::<Vec<_>>(), [7]);
        old.close().await;
        new.close().await;
    });
}

on_each_engine!(gaps_in_the_numbering_are_refused, async |stores| {
    let gap = Migrations::new("shop", &[TWO], &[TWO]);
    assert!(matches!(stores.open(&gap, &Env::system()).await, Err(OpenError::BadMigrations("shop"))));
});

#[tokio::test]
async fn two_writers_of_one_file_are_refused() {
    let stores = q_db::testing::TestStores::sqlite();
    let env = Env::system();
    let _first = stores.open(&OLD, &env).await.unwrap();
    let refused = stores.open(&OLD, &env).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
}

on_each_engine!(a_store_that_was_there_before_is_not_made_anew, async |stores| {
    let (env, config) = (Env::system(), stores.config("shop"));
    let refused = Db::open_existing(&config, &OLD, &env).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Missing { module, .. } if module == "shop"), "{refused}");
    assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
    // Nothing was made by asking: it is still not there.
    assert!(matches!(Db::open_existing(&config, &OLD, &env).await, Err(OpenError::Missing { .. })));
    if let DbConfig::Sqlite { path } = &config {
        let folder = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "no file, no lock");
        std::fs::write(path, b"").unwrap();
        assert!(matches!(Db::open_existing(&config, &OLD, &env).await, Err(OpenError::Missing { .. })));
    }
    stores.open(&OLD, &env).await.unwrap().close().await;
    // What is there is opened, and brought up to date.
    let db = Db::open_existing(&config, &NEW, &env).await.unwrap();
    assert_eq!(db.stats().await.unwrap().migrations, 2);
    db.close().await;
    drop_everything(&config).await;
    let refused = Db::open_existing(&config, &NEW, &env).await.unwrap_err();
    assert!(refused.to_string().contains("none of its tables"), "{refused}");
});

/// Leaves a database without tables, as after a restore that went wrong.
#[allow(clippy::disallowed_types, reason = "makes what the crate itself never leaves behind")]
async fn drop_everything(config: &DbConfig) {
    match config.clone() {
        DbConfig::Sqlite { path } => {
            std::fs::remove_file(&path).unwrap();
            rusqlite::Connection::open(&path)
                .unwrap()
                .execute_batch("CREATE TABLE other (id INTEGER)")
                .unwrap();
        }
        DbConfig::Postgres { url } => {
            let dropped = tokio::task::spawn_blocking(move || {
                let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
                client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
            });
            dropped.await.unwrap();
        }
    }
}
