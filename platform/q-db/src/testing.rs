//! Throw-away stores on each engine, and switches that make a store fail.
//!
//! **Invariant:** nothing here is compiled into the product.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use postgres::NoTls;
use q_core::Env;

use crate::{Db, DbConfig, Migrations, OpenError};

/// Names a superuser's URL of a throw-away PostgreSQL cluster. The helpers make and drop databases.
pub const POSTGRES_URL: &str = "Q_TEST_POSTGRES";

static NAMES: AtomicU64 = AtomicU64::new(0);

/// Switches that make one open store fail.
#[derive(Debug, Default)]
pub struct Faults {
    pub(crate) commit_fails: AtomicBool,
    pub(crate) is_full: AtomicBool,
}

impl Faults {
    /// Lets the next commit fail as a failed sync does (SQLite).
    pub fn fail_next_commit(&self) {
        self.commit_fails.store(true, Ordering::SeqCst);
    }

    /// Lets the store find no more room on the disk, or room again (SQLite).
    pub fn set_disk_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }
}

impl Db {
    /// The switches of this store.
    pub fn faults(&self) -> &Faults {
        &self.shared().faults
    }
}

/// Fresh stores of one test, on one engine; gone when it is dropped.
#[derive(Debug)]
pub struct TestStores {
    engine: TestEngine,
}

#[derive(Debug)]
enum TestEngine {
    Sqlite(tempfile::TempDir),
    Postgres { server: String, prefix: String, names: parking_lot::Mutex<Vec<String>> },
}

impl TestStores {
    /// Stores in a new folder.
    pub fn sqlite() -> Self {
        let folder = tempfile::Builder::new().prefix("q-test-").tempdir();
        Self { engine: TestEngine::Sqlite(folder.expect("a folder for test stores can be made")) }
    }

    /// Databases on the test cluster; `None`, with a line that says so, where there is none.
    pub fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var(POSTGRES_URL) else {
            q_oracle::skip("PostgreSQL");
            return None;
        };
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let prefix =
            format!("q_test_{}_{number}_{}", std::process::id(), u32::from_be_bytes(Env::system().random()));
        Some(Self { engine: TestEngine::Postgres { server, prefix, names: parking_lot::Mutex::default() } })
    }

    /// Where the store called `name` is: the same place for the same name.
    pub fn config(&self, name: &str) -> DbConfig {
        match &self.engine {
            TestEngine::Sqlite(folder) => DbConfig::sqlite(folder.path().join(format!("{name}.sqlite"))),
            TestEngine::Postgres { server, prefix, names } => {
                let database = format!("{prefix}_{name}");
                let mut names = names.lock();
                if !names.contains(&database) {
                    names.push(database.clone());
                }
                DbConfig::Postgres { url: with_database(server, &database) }
            }
        }
    }

    /// Opens the store of the module that `migrations` belong to.
    pub async fn open(&self, migrations: &Migrations, env: &Env) -> Result<Db, OpenError> {
        Db::open(&self.config(migrations.module()), migrations, env).await
    }
}

impl Drop for TestStores {
    fn drop(&mut self) {
        let TestEngine::Postgres { server, names, .. } = &self.engine else { return };
        let (server, names) = (server.clone(), std::mem::take(&mut *names.lock()));
        // On a thread of its own, because the synchronous client may not run inside the async runtime.
        let dropped = thread::spawn(move || {
            let mut client = postgres::Client::connect(&server, NoTls)?;
            names.iter().try_for_each(|name| {
                client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            tracing::warn!(error = %error, "a test database stays behind");
        }
    }
}

/// `server` with another database: `postgres://user@host/postgres?host=/tmp` → `…/name?host=/tmp`.
fn with_database(server: &str, database: &str) -> String {
    let (head, options) = server.split_once('?').map_or((server, None), |(head, rest)| (head, Some(rest)));
    let (scheme, rest) = head.split_once("://").unwrap_or(("postgres", head));
    let authority = rest.split('/').next().unwrap_or_default();
    let options = options.map_or_else(String::new, |options| format!("?{options}"));
    format!("{scheme}://{authority}/{database}{options}")
}

/// Runs a test on its own runtime.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be started").block_on(test);
}

/// Makes one test per engine: `on_each_engine!(name, async |stores| { … })`, where `stores` is a
/// `&`[`TestStores`]. The tests are `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_each_engine {
    ($(#[$meta:meta])* $name:ident, async |$stores:ident| $body:block) => {
        #[allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]
        mod $name {
            #[allow(unused_imports, reason = "a body may use nothing from around it")]
            use super::*;

            async fn body($stores: &$crate::testing::TestStores) $body

            $(#[$meta])*
            #[test]
            fn sqlite() {
                let stores = $crate::testing::TestStores::sqlite();
                $crate::testing::run(body(&stores));
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                if let Some(stores) = $crate::testing::TestStores::postgres() {
                    $crate::testing::run(body(&stores));
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn keeps_the_rest_of_the_url() {
        for (server, expected) in [
            ("postgres://q@localhost:5432/postgres", "postgres://q@localhost:5432/x"),
            ("postgres:///postgres?host=/tmp/s&user=q", "postgres:///x?host=/tmp/s&user=q"),
            ("postgres://q@h", "postgres://q@h/x"),
        ] {
            assert_eq!(with_database(server, "x"), expected);
        }
    }
}
