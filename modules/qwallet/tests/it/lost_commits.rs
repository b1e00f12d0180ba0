//! The connection to the server breaks while a commit is under way: whether it happened is looked up, never guessed and
//! never simply tried again.

use std::{sync::Arc, time::Duration};

use q_auth::KeyDirectory;
use q_core::{Caller, RequestKey};
use q_db::{Db, DbConfig, DbError};
use q_pdp::Pdp;
use q_runtime::Module;
use q_testkit::{Proxy, World, identity, on_each_world};
use qwallet::{MIGRATIONS, Wallets};
use qwallet_api::{ListTransactionsRequest, PaymentRequest, Transaction};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::{Bank, Logs, Person, caller, sealer, without_limits};

/// Two sessions of the server meet at this lock: the commit waits for it, the test lets it go.
const MEETING: i64 = 4_711;

/// A process that reaches the server over a wire, whose commits wait for [`MEETING`] after `COMMIT` has arrived.
struct Distant {
    module: Arc<Wallets>,
    wire: Proxy,
    release: oneshot::Sender<()>,
    holder: JoinHandle<()>,
}

impl Distant {
    /// Nothing on a file, which is not reached over a wire.
    async fn of(bank: &Bank) -> Option<Self> {
        let DbConfig::Postgres { url } = bank.module.db().config().clone() else { return None };
        let (_, rest) = url.split_once("://").unwrap();
        let authority = rest.split(['/', '?']).next().unwrap();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let wire = Proxy::to(place.to_owned()).await;
        let url = url.replacen(place, &wire.address().to_string(), 1);
        let mut ground = bank.world.ground("qwallet", &MIGRATIONS, without_limits()).await;
        ground.db = Db::open(&DbConfig::Postgres { url }, &MIGRATIONS, &ground.env).await.unwrap();
        let (authority, _) = identity("qonsent");
        let keys =
            KeyDirectory::new(bank.world.env.clone(), Arc::new(Logs::default()), bank.revocations.clone());
        let pdp = Pdp::new(authority, bank.now());
        let module = qwallet::open(ground, pdp, Arc::new(keys), sealer()).await.unwrap();
        let (release, holder) = hold(bank).await;
        // A deferred trigger fires when the commit has begun.
        for sql in [
            "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END'",
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             EXECUTE FUNCTION meet()",
        ] {
            bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
        }
        Some(Self { module, wire, release, holder })
    }

    /// Sends an order, and returns when its commit has begun.
    async fn begin(&self, bank: &Bank, order: &PaymentRequest) -> JoinHandle<Result<Transaction, String>> {
        let (module, order) = (self.module.clone(), order.clone());
        let paying = tokio::spawn(async move { pay(&module, order).await });
        while waiting(bank, "COUNT(*)").await == 0 {
            tokio::task::yield_now().await;
        }
        paying
    }

    /// Lets the commits go, and answers what is needed to go on.
    async fn let_go(self) -> (Arc<Wallets>, Proxy) {
        self.release.send(()).unwrap();
        self.holder.await.unwrap();
        (self.module, self.wire)
    }
}

async fn close(bank: Bank, module: &Wallets, wire: Proxy) {
    assert_eq!(q_runtime::verify(bank.module.as_ref()).await.unwrap(), []);
    module.settle().await.unwrap();
    module.db().close().await;
    drop(wire);
    bank.close().await;
}

async fn pay(module: &Wallets, order: PaymentRequest) -> Result<Transaction, String> {
    let body = serde_json::to_vec(&order).unwrap();
    let nobody = Caller::Anonymous;
    let key = RequestKey::new(&nobody, "POST /payments", "lost", &body);
    let paid = module.service().pay_once(&nobody, Some(&key), order).await;
    paid.map_err(|error| q_contract::Problem::from(error).code)
}

/// Holds [`MEETING`] in a session of its own until the sender is used or dropped.
async fn hold(bank: &Bank) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (release, released) = oneshot::channel::<()>();
    let (holding, held) = oneshot::channel();
    let db = Db::open(bank.module.db().config(), &MIGRATIONS, &bank.world.env).await.unwrap();
    let signals = std::sync::Mutex::new(Some((holding, released)));
    let holder = tokio::spawn(async move {
        let write = db.write_locked(move |tx| {
            tx.query("SELECT pg_advisory_xact_lock($1)", q_db::params![MEETING])?;
            let (holding, released) = signals.lock().unwrap().take().unwrap();
            holding.send(()).unwrap();
            let _ = released.blocking_recv();
            Ok::<_, DbError>(())
        });
        write.await.unwrap();
        db.close().await;
    });
    held.await.unwrap();
    (release, holder)
}

/// A figure over the sessions that wait for [`MEETING`].
async fn waiting(bank: &Bank, figure: &'static str) -> i64 {
    let read = bank.module.db().read(move |reader| {
        let sql = format!(
            "SELECT {figure} FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted AND database = \
             (SELECT oid FROM pg_database WHERE datname = current_database())"
        );
        reader.query_one(&sql, &[])?.try_get::<i64>(0)
    });
    read.await.unwrap()
}

async fn entries(bank: &Bank, person: &Person) -> usize {
    let caller = caller(&person.did, bank.now());
    let request = ListTransactionsRequest {
        squid_id: person.wallet.wallet_ref.clone(),
        ..ListTransactionsRequest::default()
    };
    bank.module.service().transactions(&caller, request).await.unwrap().items.len()
}

on_each_world!(a_commit_whose_answer_is_lost_is_found_and_answered, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let Some(distant) = Distant::of(&bank).await else { return bank.close().await };
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let paying = distant.begin(&bank, &order).await;
    // The server commits what nobody hears of.
    distant.wire.cut();
    distant.wire.heal();
    let (module, wire) = distant.let_go().await;
    let paid = tokio::time::timeout(Duration::from_secs(30), paying).await.unwrap().unwrap().unwrap();
    assert_eq!(paid.status, "SETTLED");
    assert_eq!(pay(&module, order.clone()).await.unwrap(), paid, "a repetition is answered alike");
    assert_eq!((bank.balance(&bob).await.1.as_str(), entries(&bank, &bob).await), ("1", 1));
    close(bank, &module, wire).await;
});

on_each_world!(a_commit_that_broke_is_not_made_again_by_itself, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let Some(distant) = Distant::of(&bank).await else { return bank.close().await };
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let paying = distant.begin(&bank, &order).await;
    // The server drops what it had not finished.
    assert_eq!(waiting(&bank, "COUNT(pg_terminate_backend(pid))").await, 1);
    let refused = tokio::time::timeout(Duration::from_secs(30), paying).await.unwrap().unwrap();
    assert_eq!(refused.unwrap_err(), "STORAGE_UNAVAILABLE");
    assert_eq!((bank.balance(&bob).await.1.as_str(), entries(&bank, &bob).await), ("0", 0));
    let (module, wire) = distant.let_go().await;
    let paid = pay(&module, order.clone()).await.unwrap();
    assert_eq!(pay(&module, order).await.unwrap(), paid);
    assert_eq!((bank.balance(&bob).await.1.as_str(), entries(&bank, &bob).await), ("1", 1));
    close(bank, &module, wire).await;
});
