//! The sum of all balances is constant: eight threads do whatever a wallet can, at random, and ask again for what was
//! not answered, while the program is killed every few seconds, for three minutes, on either engine.
//!
//! While it goes on, the books are asked again and again whether their sides are equal and all money is there. In the
//! end every operation has its answer; then what is in the exported books must be exactly what was answered, once each,
//! `q verify` must find nothing, and hledger must see the balances the wallet sees, to the last unit.
//!
//! `Q_SUM_SECONDS` lets it go on for longer, `Q_SUM_SEED` repeats the choices of a run (not the moments at which threads
//! meet, which nobody chooses).

mod acts;
mod agreements;
mod audit;
mod people;

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use q_core::Env;
use q_testkit::oracle;
use q_tests::{Instance, UNLIMITED, databases_of_its_own, sound};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::{sync::watch, task::JoinSet};

use acts::Client;
use audit::{Answers, Books};
use people::{Life, People};

const THREADS: u64 = 8;
/// How long, unless `Q_SUM_SECONDS` says something else.
const SPAN: Duration = Duration::from_mins(3);
/// How long what was begun may take to be answered after the last kill.
const LAST_ANSWERS_MAX: Duration = Duration::from_mins(2);
/// How long after a start the next kill comes, in milliseconds.
const KILL_AFTER_MS: std::ops::Range<u64> = 2_000..6_000;
/// Another kill comes so soon after every third one that the program is still starting.
const KILL_STARTING_AFTER_MS: std::ops::Range<u64> = 20..1_500;
/// How often the two sides of the books are compared meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_sum_of_all_balances_is_constant_on_a_file() {
    run("SQLite", Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_sum_of_all_balances_is_constant_on_a_server() {
    let Some(databases) = databases_of_its_own() else { return oracle::skip("PostgreSQL") };
    run("PostgreSQL", databases).await;
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[expect(clippy::print_stdout, reason = "a run that fails must be told how to be repeated")]
async fn run(engine: &str, databases: Vec<(String, String)>) {
    let seed = number("Q_SUM_SEED").unwrap_or_else(|| u64::from_be_bytes(Env::system().random()));
    let span = number("Q_SUM_SECONDS").map_or(SPAN, Duration::from_secs);
    println!("constant sum on {engine}: {} s, Q_SUM_SEED={seed}", span.as_secs());
    let mut settings = UNLIMITED.to_vec();
    // More people than one address may register in an hour.
    settings.push(("SQUID_REGISTRATIONS_PER_HOUR", "0"));
    settings.extend(databases.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let Some(mut house) = Instance::demo(&settings) else { return };
    let people = Arc::new(People::settle_in(&house));
    let (lives, life) = watch::channel(Life::of(&house, None));
    let answers = Arc::new(Answers::default());
    let before = Books::read(&house);
    let issued = before.issued();
    let ends_at = Instant::now() + span;
    let mut clients = JoinSet::new();
    for number in 0..THREADS {
        let client = Client::new(number, seed, people.clone(), life.clone(), answers.clone());
        clients.spawn(client.act_until(ends_at));
    }
    let mut dice = ChaCha12Rng::seed_from_u64(seed);
    let (mut kills, mut looks) = (0_u32, 0_u32);
    while Instant::now() < ends_at {
        let kill_at = Instant::now() + Duration::from_millis(dice.random_range(KILL_AFTER_MS));
        let kill_at = kill_at.min(ends_at);
        while Instant::now() < kill_at {
            let patience = LOOK_EVERY.min(kill_at.saturating_duration_since(Instant::now()));
            // A client that fails ends the run at once.
            if let Ok(Some(ended)) = tokio::time::timeout(patience, clients.join_next()).await {
                ended.expect("a client has a reason to complain");
            }
            let current = lives.borrow().clone();
            looks += u32::from(audit::look(&current, &issued).await);
        }
        looks += u32::from(audit::add_up(&lives.borrow().clone(), &issued).await);
        house.kill();
        kills += 1;
        if kills % 3 == 0 {
            let span = Duration::from_millis(dice.random_range(KILL_STARTING_AFTER_MS));
            kill_while_starting(&house, span).await;
            kills += 1;
        }
        tokio::task::block_in_place(|| house.start(&["up", "--demo"]));
        let next = tokio::task::block_in_place(|| Life::of(&house, Some(&lives.borrow())));
        lives.send_replace(next);
    }
    let last_answers = async {
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client has a reason to complain");
        }
    };
    let is_answered = tokio::time::timeout(LAST_ANSWERS_MAX, last_answers).await.is_ok();
    assert!(is_answered, "some are never answered: {:#?}", answers.missing());
    assert!(audit::look(&lives.borrow().clone(), &issued).await, "nobody kills it any more");
    agreements::end_all(&lives.borrow().clone(), &answers).await;
    tokio::task::block_in_place(|| {
        let books = Books::read(&house);
        assert_eq!(books.issued(), issued, "nobody made money");
        let told = answers.compare(&before, &books);
        audit::hledger_agrees(&house, &books);
        let held = format!("{kills} kills, {looks} looks while it went on, {told}");
        sound(&house, &format!("constant sum on {engine}"), &held);
        house.stop();
        let verified = house.q(&["verify"]);
        assert_eq!(verified.code, Some(0), "at rest: {}{}", verified.said, verified.complained);
    });
}

/// Starts the program and kills it `span` later, wherever it is by then.
async fn kill_while_starting(house: &Instance, span: Duration) {
    let mut command = house.command(&["up", "--demo"]);
    let mut starting =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let ended = tokio::task::spawn_blocking({
        let pid = starting.id();
        move || {
            // Ends by itself only where it cannot start, which the next start will tell.
            let ends_at = Instant::now() + span;
            while Instant::now() < ends_at && Path::new(&format!("/proc/{pid}")).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    ended.await.expect("nothing can go wrong there");
    starting.kill().expect("it can be killed");
    starting.wait().expect("it ends");
}
