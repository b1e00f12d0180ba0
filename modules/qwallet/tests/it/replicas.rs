//! Several processes on one server: each a writer of its own, none of them losing, doubling or overspending anything.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use q_auth::KeyDirectory;
use q_core::{Caller, Clock, Env, PageLimit, RequestKey, Span, Timestamp};
use q_db::{Db, params};
use q_pdp::Pdp;
use q_runtime::{Module, Setting};
use q_testkit::{Engine, World, identity, on_each_world};
use qwallet::{MIGRATIONS, Wallets, error::Error, service::Service};
use qwallet_api::{
    CreatePayment, EntryPage, ExportLedger, ExportRequest, GetBalance, GetBalanceRequest, GetTrialBalance,
    ListHeads, ListHeadsRequest, ListTransactionsRequest, NewLimit, PaymentRequest, SetLimits,
    SetLimitsRequest, SetStripes, SetStripesRequest, Transaction, TransactionId, TrialBalanceRequest,
};

use crate::support::{Bank, Logs, Person, caller, fresh, problem, sealer, without_limits};

/// Another process on the same store, with its own clock if it has one.
pub async fn replica(bank: &Bank, clock: Option<Arc<dyn Clock>>) -> Arc<Wallets> {
    replica_with(bank, clock, without_limits()).await
}

/// Another process with these settings.
pub async fn replica_with(
    bank: &Bank,
    clock: Option<Arc<dyn Clock>>,
    settings: &'static [Setting],
) -> Arc<Wallets> {
    let mut ground = bank.world.ground("qwallet", &MIGRATIONS, settings).await;
    let env = clock.map_or_else(|| ground.env.clone(), |clock| Env { clock, ..ground.env.clone() });
    ground.db = Db::open(bank.module.db().config(), &MIGRATIONS, &env).await.unwrap();
    ground.env = env;
    let (authority, _) = identity("qonsent");
    let pdp = Pdp::new(authority, bank.now());
    let keys = KeyDirectory::new(bank.world.env.clone(), Arc::new(Logs::default()), bank.revocations.clone());
    qwallet::open(ground, pdp, Arc::new(keys), sealer()).await.unwrap()
}

/// The bank's own process and two more; nothing on a file, which has one.
async fn three(bank: &Bank) -> Option<Vec<Arc<Wallets>>> {
    if bank.world.engine == Engine::Sqlite {
        return None;
    }
    Some(vec![bank.module.clone(), replica(bank, None).await, replica(bank, None).await])
}

async fn close(bank: Bank, replicas: Vec<Arc<Wallets>>) {
    let deadlocks = bank.module.db().read(|reader| {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        reader.query_one(sql, &[])?.try_get::<i64>(0)
    });
    assert_eq!(deadlocks.await.unwrap(), 0, "nobody waited in a circle");
    for replica in &replicas[1..] {
        replica.settle().await.unwrap();
        replica.db().close().await;
    }
    drop(replicas);
    bank.close().await;
}

fn key(name: &str, order: &PaymentRequest) -> RequestKey {
    RequestKey::new(&Caller::Anonymous, "POST /payments", name, &serde_json::to_vec(order).unwrap())
}

async fn pay(service: &Service, order: PaymentRequest, name: &str) -> Result<TransactionId, Error> {
    let key = key(name, &order);
    service.pay_once(&Caller::Anonymous, Some(&key), order).await.map(|paid| paid.transaction_id)
}

fn is_refused(outcome: &Result<TransactionId, Error>, code: &str) -> bool {
    matches!(
        outcome,
        Err(Error::Refused(refusal) | Error::OverLimit { refusal, .. })
            if q_contract::Problem::from(*refusal).code == code
    )
}

on_each_world!(one_key_a_thousand_times_on_three_replicas_is_one_payment, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let same = key("same", &order);
    let all = (0..1_000).map(|number| {
        let service = replicas[number % 3].service();
        service.pay_once(&Caller::Anonymous, Some(&same), order.clone())
    });
    let mut answers: Vec<Transaction> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.len(), 1_000);
    answers.dedup();
    assert_eq!(answers.len(), 1, "one order, one transaction, one answer");
    assert_eq!(bank.balance(&bob).await.1, "1");
    close(bank, replicas).await;
});

on_each_world!(a_nonce_is_good_once_whatever_expiry_it_is_signed_with, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for round in 0..12 {
        // The same nonce in orders that expire in different hours, one on each replica.
        let all = (0..3).map(|number| {
            let order = PaymentRequest {
                nonce: format!("nonce-of-round-{round:0>4}"),
                expires_at: (bank.now() + Span::seconds(600 + i64::from(number) * 7_200)).to_string(),
                ..bank.order(&ann, bob.did.as_str(), "1")
            };
            let order = bank.signed(order, &ann);
            let service = replicas[usize::try_from(number).unwrap()].service();
            async move { pay(service, order, &fresh()).await }
        });
        let outcomes = join_all(all).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    }
    assert_eq!(bank.balance(&bob).await.1, "12");
    close(bank, replicas).await;
});

on_each_world!(the_last_unit_is_spent_once_whoever_asks, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let (ann, bob) = (bank.person("ann", "1.006").await, bank.person("bob", "0").await);
    let orders: Vec<_> =
        (0..64).map(|_| bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann)).collect();
    let all = orders.into_iter().zip(0usize..).map(|(order, number)| {
        let service = replicas[number % 3].service();
        async move { pay(service, order, &fresh()).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 63));
    assert!(lost.iter().all(|outcome| is_refused(outcome, "INSUFFICIENT_FUNDS")));
    assert_eq!(bank.balance(&ann).await.1, "0");
    close(bank, replicas).await;
});

on_each_world!(a_limit_is_one_limit_on_three_replicas, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let limit = NewLimit { kind: "daily".into(), currency: "QToken".into(), amount: "10".into() };
    let request = SetLimitsRequest { squid_id: ann.did.to_string(), limits: vec![limit], timezone: None };
    ann.client.clone().with_key(fresh()).call::<SetLimits>(&request).await.unwrap();
    let orders: Vec<_> =
        (0..48).map(|_| bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann)).collect();
    let all = orders.into_iter().zip(0usize..).map(|(order, number)| {
        let service = replicas[number % 3].service();
        async move { pay(service, order, &fresh()).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (10, 38));
    assert!(lost.iter().all(|outcome| is_refused(outcome, "DAILY_LIMIT_EXCEEDED")));
    close(bank, replicas).await;
});

/// Everybody pays everybody on every replica; answers how many payments there were.
async fn bustle(bank: &Bank, people: &[Person], replicas: &[Arc<Wallets>], rounds: usize) -> usize {
    let mut orders = Vec::new();
    for round in 0..rounds {
        for (number, payer) in people.iter().enumerate() {
            let payee = &people[(number + 1 + round % (people.len() - 1)) % people.len()];
            let amount = format!("0.{:0>3}", 1 + (round * 7 + number) % 999);
            let order = bank.signed(bank.order(payer, payee.did.as_str(), &amount), payer);
            orders.push((order, (number + round) % replicas.len()));
        }
    }
    let count = orders.len();
    let all = orders.into_iter().map(|(order, at)| {
        let service = replicas[at].service();
        async move { pay(service, order, &fresh()).await }
    });
    for paid in join_all(all).await {
        paid.unwrap();
    }
    count
}

/// Every entry of somebody's history, in pages of seven.
async fn history(service: &Service, person: &Person, bank: &Bank) -> Vec<qwallet_api::Entry> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    loop {
        let request = ListTransactionsRequest {
            squid_id: person.did.to_string(),
            cursor,
            limit: PageLimit::try_from(7).unwrap(),
            ..ListTransactionsRequest::default()
        };
        let caller = caller(&person.did, bank.now());
        let page: EntryPage = service.transactions(&caller, request).await.unwrap();
        entries.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return entries;
        }
    }
}

/// Adds up a decimal text with at most 18 decimals.
fn units(text: &str) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    sign * format!("{whole}{decimals:0<18}").parse::<i128>().unwrap()
}

on_each_world!(money_is_conserved_and_history_is_whole_with_many_writers, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(bank.person(&format!("person{number}"), "100").await);
    }
    let mut count = 0;
    for _ in 0..3 {
        count += bustle(&bank, &people, &replicas, 12).await;
        // Histories are merged while others write on.
        replicas[1].service().catch_up().await.unwrap();
    }
    bank.world.make_operator(&people[0].did);
    let operator = &people[0].client;
    let heads = operator.call::<ListHeads>(&ListHeadsRequest {}).await.unwrap().items;
    assert!(heads.len() >= 3, "every replica has a chain of its own: {heads:?}");
    let books = operator.call::<GetTrialBalance>(&TrialBalanceRequest::default()).await.unwrap();
    assert!(books.items.iter().all(|row| row.difference.as_str() == "0"));
    assert_eq!(books.items[0].in_circulation.as_str(), "600");
    let mut principals = 0;
    for (number, person) in people.iter().enumerate() {
        let entries = history(replicas[number % 3].service(), person, &bank).await;
        principals += entries.iter().filter(|entry| entry.leg == "principal").count();
        let versions: Vec<i64> = entries.iter().map(|entry| entry.account_version).collect();
        let whole: Vec<i64> = (1..=i64::try_from(entries.len()).unwrap()).rev().collect();
        assert_eq!(versions, whole, "gap-free, newest first");
        assert!(entries.windows(2).all(|pair| pair[0].at >= pair[1].at), "time does not go back");
        let mut balance = 0;
        for entry in entries.iter().rev() {
            balance += units(entry.amount.as_str());
            assert_eq!(units(entry.balance_after.as_str()), balance);
        }
        assert_eq!(units(&bank.balance(person).await.1), balance);
    }
    assert_eq!(principals, count * 2);
    let lines = operator.call::<ExportLedger>(&ExportRequest { format: "ndjson".into() }).await.unwrap();
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for line in lines.0.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for side in ["debit", "credit"].into_iter().filter(|_| line["record"] == "transfer") {
            let (account, version) = (&line[format!("{side}Account")], &line[format!("{side}Version")]);
            let before = last.insert(account.as_i64().unwrap(), version.as_i64().unwrap());
            assert_eq!(before.unwrap_or(0) + 1, version.as_i64().unwrap(), "the lines replay");
        }
    }
    close(bank, replicas).await;
});

/// A clock that is wrong by so much.
struct Skewed(Arc<dyn Clock>, Span);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

on_each_world!(clocks_that_disagree_do_not_disturb_the_order, async |world: World| {
    let bank = Bank::open(world).await;
    if bank.world.engine == Engine::Sqlite {
        return bank.close().await;
    }
    let ahead = Skewed(bank.world.env.clock.clone(), Span::seconds(50));
    let replicas = vec![bank.module.clone(), replica(&bank, Some(Arc::new(ahead))).await];
    let people = [bank.person("ann", "100").await, bank.person("bob", "100").await];
    let start = bank.now();
    for round in 0..6 {
        bank.world.clock.advance(Span::seconds(1));
        bustle(&bank, &people, &replicas[round % 2..=round % 2], 2).await;
    }
    for person in &people {
        let entries = history(replicas[0].service(), person, &bank).await;
        assert!(entries.windows(2).all(|pair| pair[0].at >= pair[1].at));
        // What was true at an instant is what the entries up to it say.
        for at in [start, entries[entries.len() / 2].at, entries[0].at] {
            let told = entries.iter().find(|entry| entry.at <= at).unwrap().balance_after.clone();
            let request = qwallet_api::GetBalanceRequest {
                squid_id: person.did.to_string(),
                currency: None,
                at: Some(at),
            };
            let caller = caller(&person.did, bank.now());
            let report = replicas[1].service().balance(&caller, request).await.unwrap();
            assert_eq!(report.balances["QToken"].posted, told, "at {at}");
        }
    }
    close(bank, replicas).await;
});

on_each_world!(who_slept_through_its_lease_writes_nothing_under_it, async |world: World| {
    let bank = Bank::open(world).await;
    if bank.world.engine == Engine::Sqlite {
        return bank.close().await;
    }
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let pay_one = async || {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap()
    };
    pay_one().await;
    let before = bank.module.service().executor.writers();
    // Nothing is heard of the first process for two minutes, so the next one continues its chains.
    bank.world.clock.advance(Span::seconds(120));
    let other = replica(&bank, None).await;
    assert_eq!(other.service().executor.writers(), before);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    pay(other.service(), order, &fresh()).await.unwrap();
    // It wakes: its payments are made, under numbers of its own.
    pay_one().await;
    pay_one().await;
    let after = bank.module.service().executor.writers();
    assert!(after.iter().any(|writer| !before.contains(writer)), "{before:?} then {after:?}");
    assert_eq!(bank.balance(&bob).await.1, "4");
    let first = bank.module.clone();
    close(bank, vec![first, other]).await;
});

on_each_world!(a_replica_that_dies_in_the_middle_loses_nothing_it_answered, async |world: World| {
    let bank = Bank::open(world).await;
    if bank.world.engine == Engine::Sqlite {
        return bank.close().await;
    }
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let other = replica(&bank, None).await;
    let orders: Vec<_> =
        (0..200).map(|_| bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann)).collect();
    let all = orders.iter().enumerate().map(|(number, order)| {
        let (order, other) = (order.clone(), other.clone());
        async move { pay(other.service(), order, &format!("dying-{number}")).await }
    });
    let all = tokio::spawn(join_all(all.collect::<Vec<_>>()));
    // The server hangs up on the dying process again and again while it writes, also in the middle of commits.
    while !all.is_finished() {
        let killed = bank.module.db().read(|reader| {
            let sql = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = \
                       current_database() AND pid <> pg_backend_pid() AND query LIKE '%transfers%'";
            reader.query_one(sql, &[])?.try_get::<i64>(0)
        });
        killed.await.unwrap();
    }
    let answered = all.await.unwrap();
    other.db().close().await;
    // The client repeats everything at another replica: what was answered keeps its answer, the rest happens now.
    for (number, (order, first)) in orders.into_iter().zip(answered).enumerate() {
        let again = pay(bank.module.service(), order, &format!("dying-{number}")).await.unwrap();
        if let Ok(first) = first {
            assert_eq!(again, first);
        }
    }
    assert_eq!(bank.balance(&bob).await.1, "200");
    bank.close().await;
});

on_each_world!(a_much_paid_wallet_has_stripes_and_never_misses_its_money, async |world: World| {
    let bank = Bank::open(world).await;
    let shop = bank.person("shop", "0").await;
    let mut people = Vec::new();
    for number in 0..4 {
        people.push(bank.person(&format!("buyer{number}"), "100").await);
    }
    bank.world.make_operator(&people[0].did);
    let operator = &people[0].client;
    let ask = |count| SetStripesRequest {
        squid_id: shop.wallet.wallet_ref.clone(),
        currency: "QToken".into(),
        count,
    };
    assert_eq!(operator.clone().with_key(fresh()).call::<SetStripes>(&ask(4)).await.unwrap().count, 4);
    assert_eq!(
        problem(operator.clone().with_key(fresh()).call::<SetStripes>(&ask(3)).await).code,
        "INVALID_REQUEST"
    );
    let replicas = match three(&bank).await {
        Some(replicas) => replicas,
        None => vec![bank.module.clone()],
    };
    let buy = async |count: usize| {
        let all = (0..count).map(|number| {
            let payer = &people[number % people.len()];
            let order = bank.signed(bank.order(payer, shop.did.as_str(), "1"), payer);
            let service = replicas[number % replicas.len()].service();
            async move { pay(service, order, &fresh()).await }
        });
        for paid in join_all(all).await {
            paid.unwrap();
        }
    };
    buy(30).await;
    assert_eq!(bank.balance(&shop).await.1, "30");
    // Nothing was swept yet, and still the shop spends all of it but the fees.
    let order = bank.signed(bank.order(&shop, people[1].did.as_str(), "29"), &shop);
    pay(replicas[0].service(), order, &fresh()).await.unwrap();
    let order = bank.signed(bank.order(&shop, people[1].did.as_str(), "1"), &shop);
    assert!(is_refused(&pay(replicas[0].service(), order, &fresh()).await, "INSUFFICIENT_FUNDS"));
    buy(10).await;
    replicas[0].service().sweep_stripes().await.unwrap();
    buy(9).await;
    assert_eq!(bank.balance(&shop).await.0, "19.826");
    // One history: every purchase once, sweeps not at all, the wallet's balance after each.
    let entries = history(replicas[0].service(), &shop, &bank).await;
    assert_eq!(entries.len(), 30 + 10 + 9 + 3);
    assert!(entries.iter().all(|entry| entry.leg != "sweep"));
    let mut balance = 0;
    for entry in entries.iter().rev() {
        balance += units(entry.amount.as_str());
        assert_eq!(units(entry.balance_after.as_str()), balance);
    }
    let lines = operator.call::<ExportLedger>(&ExportRequest { format: "hledger".into() }).await.unwrap();
    if let Some(mut hledger) = q_testkit::oracle::program("hledger") {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, lines.0.as_bytes()).unwrap();
        let checked =
            hledger.env("LANG", "C.UTF-8").arg("-f").arg(file.path()).args(["check", "-s"]).output();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    if replicas.len() > 1 {
        close(bank, replicas).await;
    } else {
        bank.close().await;
    }
});

on_each_world!(
    a_past_balance_is_right_while_one_writer_is_merged_and_the_next_is_not,
    async |world: World| {
        let bank = Bank::open(world).await;
        let Some(replicas) = three(&bank).await else { return bank.close().await };
        let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
        bank.world.clock.advance(Span::seconds(1));
        bank.module.service().catch_up().await.unwrap();
        // The first replica writes most, the second in between: merging takes the first one's and leaves gaps.
        let mut then = Vec::new();
        for (number, replica) in [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0].into_iter().enumerate() {
            let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
            pay(replicas[replica].service(), order, &fresh()).await.unwrap();
            then.push((bank.now(), (number + 1).to_string()));
            bank.world.clock.advance(Span::seconds(1));
        }
        bank.module.db().write_locked(qwallet::store::history::merge).await.unwrap();
        let waiting = bank.module.db().read(qwallet::store::history::backlogs).await.unwrap();
        assert!(waiting.iter().any(|backlog| *backlog > 0), "one writer at a time");
        for (at, expected) in then {
            let asked = GetBalanceRequest { squid_id: bob.did.to_string(), currency: None, at: Some(at) };
            let found = bob.client.call::<GetBalance>(&asked).await.unwrap();
            assert_eq!(found.balances["QToken"].posted.as_str(), expected);
        }
        close(bank, replicas).await;
    }
);

on_each_world!(a_chain_is_proved_by_itself_and_all_of_them_together, async |world: World| {
    let bank = Bank::open(world).await;
    let Some(replicas) = three(&bank).await else { return bank.close().await };
    let people = [bank.person("ann", "100").await, bank.person("bob", "100").await];
    bustle(&bank, &people, &replicas, 6).await;
    let writer = replicas[2].service().executor.writers()[0];
    let last = (writer - 1) << 44;
    let sql = "UPDATE commits SET at = at + 1 WHERE id = (SELECT MIN(id) FROM commits WHERE id > $1)";
    bank.module.db().write(move |tx| tx.execute(sql, params![last])).await.unwrap();
    let found = bank.module.verify().await.unwrap();
    assert!(found.iter().any(|finding| finding.code == "head_mismatch"), "{found:?}");
    for replica in &replicas[1..] {
        replica.db().close().await;
    }
    bank.world.abandon().await;
});
