//! Three replicas behind haproxy get another program while clients go on asking: nobody is refused, nothing is paid
//! twice, nothing acknowledged is missing.
//!
//! Both ways in which operators do it, and the way back: each replica hands its sockets over (`q restart --rolling`,
//! `q rollback`), as on hosts; each is stopped and another one started in its place, as service managers and container
//! engines do. haproxy runs with the configuration that is shipped; no client tries anything again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use q_bench::{
    steady::{Record, Steady, SteadyPlan},
    world::House,
};
use q_core::Timestamp;
use q_tests::{Instance, Outcome, Replicas, sound};
use serde_json::Value;

const SETTINGS: [(&str, &str); 4] = [
    ("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"),
    ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0"),
    ("SQUID_REGISTRATIONS_PER_HOUR", "0"),
    // As `deploy/` sets it.
    ("Q_STOP_NOTICE_SECONDS", "3"),
];
/// Requests a second, half of them payments: what a debug build carries beside other tests; `cargo xtask drill rolling`
/// asks a release for more.
const RATE: &str = "Q_ROLLING_RATE";
const RATE_HERE: f64 = 150.0;
/// The load lasts until the updates are done, and no longer than this.
const LOAD_MAX: Duration = Duration::from_mins(5);
/// What is due within this time of a hand-over waits for it.
const HANDOVER: Duration = Duration::from_secs(1);
/// The promise outside of these seconds; of a release, because a debug build promises nothing.
const P99_MAX_MS: f64 = 200.0;
/// Between two looks at what others do, which cost the machine that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long what is waited for may take.
const PATIENCE: Duration = Duration::from_mins(1);

async fn soon(what: &str, is_so: impl AsyncFn() -> bool) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let waiting = async {
        while !is_so().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} does not come to pass"));
}

/// The program as it would be built from another commit: other bytes, the same behaviour.
fn another_build(house: &Instance) -> PathBuf {
    let other = house.scratch().join("q of another commit");
    fs::copy(house.program(), &other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fs::OpenOptions::new().append(true).open(&other).unwrap().write_all(b"another commit").unwrap();
    other
}

/// The load, through the balancer.
async fn load_on(replicas: &Replicas) -> Steady {
    let (squid, origin) = (replicas.house.url("squid"), replicas.house.origin());
    let house = House::apart(&squid, &replicas.balancer.url, &origin).unwrap();
    let rate = std::env::var(RATE).map_or(RATE_HERE, |rate| rate.parse().expect("a number"));
    let plan = SteadyPlan { rate, clients: 64, payers: 32, span: LOAD_MAX };
    Steady::on(house, plan).await.unwrap()
}

/// The transfers of the whole ledger.
fn ledger(house: &Instance) -> Vec<Value> {
    let exported = house.q(&["wallet", "export", "ndjson"]);
    assert_eq!(exported.code, Some(0), "{}", exported.complained);
    let lines = exported.said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["transactionId"].is_string()).collect()
}

fn transactions(lines: &[Value]) -> BTreeSet<&str> {
    lines.iter().map(|line| line["transactionId"].as_str().unwrap()).collect()
}

/// What a replica tells the operator about its program.
fn build(house: &Instance, url: &str) -> Value {
    let url = format!("{url}/health/detailed");
    let proof = house.q(&["auth", "headers", "GET", &url, "--as", "operator", "--json"]).json();
    let mut curl = Command::new("curl");
    for name in ["Authorization", "DPoP"] {
        curl.arg("-H").arg(format!("{name}: {}", proof[name].as_str().unwrap()));
    }
    let told = curl.args(["-fsS", &url]).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice::<Value>(&told.stdout).unwrap()["build"].clone()
}

/// Waits until every replica says that it runs release `number`, which it notes when it serves already; its program.
async fn all_run(replicas: &Replicas, number: u32) -> String {
    let mut programs = BTreeSet::new();
    for replica in &replicas.replicas {
        let told = parking_lot::Mutex::new(Value::Null);
        soon("another release at every replica", async || {
            let build = tokio::task::block_in_place(|| build(&replicas.house, &replica.url));
            let is_so = build["release"]["number"] == number;
            *told.lock() = build;
            is_so
        })
        .await;
        programs.insert(told.into_inner()["release"]["program"].as_str().unwrap().to_owned());
    }
    assert_eq!(programs.len(), 1, "{programs:?}");
    programs.pop_first().unwrap()
}

/// The moments, since the begin of the load, in which hand-overs fell.
fn windows(record: &Record, told: &Value) -> Vec<(u64, u64)> {
    let lines = told.as_array().unwrap().iter();
    let paused_at = lines.map(|line| line["pausedAt"].as_str().unwrap().parse::<Timestamp>().unwrap());
    let since = paused_at.map(|at| u64::try_from(at.micros() / 1_000).unwrap() - record.began_at_ms);
    since.map(|from| (from, from + u64::try_from(HANDOVER.as_millis()).unwrap())).collect()
}

fn well(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.said, outcome.complained);
    outcome.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_three_replicas_fails_no_request() {
    let Some(mut replicas) = Replicas::start(&SETTINGS).await else { return };
    let other = another_build(&replicas.house);
    let first = all_run(&replicas, 1).await;
    let load = Arc::new(load_on(&replicas).await);
    all_in(&replicas).await;
    let before = ledger(&replicas.house);
    let before = transactions(&before);
    let loading = tokio::spawn({
        let load = load.clone();
        async move { load.run().await }
    });

    // Sockets handed over, one replica after the other, and back again with everything else.
    let update = ["restart", "--rolling", "qwallet", "--json", "--binary", other.to_str().unwrap()];
    let updated = well(&tokio::task::block_in_place(|| replicas.house.q(&update)));
    assert_eq!(updated.as_array().unwrap().len(), 3, "{updated}");
    let second = all_run(&replicas, 2).await;
    assert_ne!(second, first);
    all_in(&replicas).await;
    let back = ["rollback", "--no-smoke", "--json"];
    let back = well(&tokio::task::block_in_place(|| replicas.house.q(&back)));
    assert_eq!(all_run(&replicas, 1).await, first);
    all_in(&replicas).await;

    // Stopped and started.
    for _ in 0..3 {
        let replica = replicas.replicas.remove(0);
        let replica = tokio::task::block_in_place(|| replicas.again(&other, replica.stop()));
        replicas.replicas.push(replica);
        all_in(&replicas).await;
    }
    assert_eq!(all_run(&replicas, 2).await, second);

    assert!(!loading.is_finished(), "the updates took longer than the load");
    load.end();
    let record = loading.await.unwrap();
    assert_eq!(record.failed(), 0, "{:?}", record.failures);
    let held = exactly_what_was_answered(&replicas, &record, &before);
    let windows = [windows(&record, &updated), windows(&record, &back["restarted"])].concat();
    let p99 = record.p99_ms(&windows);
    let is_release = build(&replicas.house, &replicas.replicas[0].url)["profile"] == "release";
    assert!(
        !is_release || p99 < P99_MAX_MS,
        "p99 is {p99:.1} ms outside of the hand-over seconds {windows:?}; by second: {:?}",
        slowest_by_second(&record)
    );
    let pauses: Vec<u64> = pauses(&updated).chain(pauses(&back["restarted"])).collect();
    let slowest = record.samples.iter().map(|sample| sample.micros).max().unwrap_or_default() / 1_000;
    let held = format!(
        "{} requests at {:.0} a second answered, 0 failed, none repeated; {held}; p99 {p99:.1} ms outside the hand-over \
         seconds, {:.1} ms over all, slowest {slowest} ms; pauses {pauses:?} ms",
        record.samples.len(),
        load.plan().rate,
        record.p99_ms(&[]),
    );
    sound(&replicas.house, "rolling update of three replicas", &held);
    replicas.end_well();
}

/// The slowest answer of each second, in milliseconds, for whoever asks which moment was slow.
fn slowest_by_second(record: &Record) -> BTreeMap<u64, u64> {
    let mut slowest = BTreeMap::new();
    for sample in &record.samples {
        let second: &mut u64 = slowest.entry(sample.due_ms / 1_000).or_default();
        *second = (*second).max(sample.micros / 1_000);
    }
    slowest
}

fn pauses(told: &Value) -> impl Iterator<Item = u64> {
    told.as_array().unwrap().iter().map(|line| line["pauseMs"].as_u64().unwrap())
}

/// Waits until haproxy sends requests to all three.
async fn all_in(replicas: &Replicas) {
    soon("three replicas in", async || replicas.balancer.serving().await == 3).await;
}

/// Holds the books against the answers.
fn exactly_what_was_answered(replicas: &Replicas, record: &Record, before: &BTreeSet<&str>) -> String {
    let lines = ledger(&replicas.house);
    let answered: BTreeSet<&str> = record.paid.iter().map(String::as_str).collect();
    assert_eq!(answered.len(), record.paid.len(), "one payment was answered for two orders");
    let kept: BTreeSet<&str> = transactions(&lines).difference(before).copied().collect();
    let (lost, unasked): (Vec<_>, Vec<_>) =
        (answered.difference(&kept).collect(), kept.difference(&answered).collect());
    assert!(lost.is_empty() && unasked.is_empty(), "lost {lost:?}, unasked {unasked:?}");
    let principals = lines.iter().filter(|line| {
        line["leg"] == "principal" && answered.contains(line["transactionId"].as_str().unwrap())
    });
    let amounts: Vec<&str> = principals.map(|line| line["amount"].as_str().unwrap()).collect();
    assert!(amounts.iter().all(|amount| *amount == "0.01"), "an amount that was not ordered");
    assert_eq!(amounts.len(), answered.len(), "each payment moves its amount once");
    format!("{} payments acknowledged, each in the books once", answered.len())
}
