//! Payments that come back, by a program that is killed while it makes up for them: each is made once.

use std::time::{Duration, Instant};

use q_core::{Env, Span};
use q_tests::Instance;
use serde_json::Value;

const HOURS: i64 = 120;
const KILLS: usize = 3;

#[test]
fn what_is_owed_is_paid_once_each_however_often_the_payer_dies() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let begun = Env::system().now() - Span::seconds((HOURS - 1) * 3_600 + 1_800);
    let start = q_core::Timestamp::from_seconds(begun.seconds()).to_string();
    let count = HOURS.to_string();
    let signed = house.q(&[
        "wallet",
        "schedule",
        "new",
        "bob",
        "0.01",
        "--rrule",
        "FREQ=HOURLY",
        "--count",
        &count,
        "--start",
        &start,
        "--catch-up",
        "all",
        "--timezone",
        "Europe/Berlin",
        "--purpose",
        "parking",
        "--as",
        "alice",
        "--json",
    ]);
    let schedule = signed.json();
    let id = schedule["scheduleId"].as_str().unwrap().to_owned();
    let until = Instant::now() + Duration::from_mins(2);
    let mut seen = 0;
    for kill in 0..=KILLS {
        let goal = i64::try_from(kill + 1).unwrap() * HOURS / i64::try_from(KILLS + 1).unwrap();
        while seen < goal {
            assert!(Instant::now() < until, "{seen} of {HOURS} paid in two minutes");
            let shown = house.q(&["wallet", "schedule", "show", &id, "--as", "alice", "--json"]);
            seen = shown.json()["runs"].as_i64().unwrap();
        }
        if kill < KILLS {
            house.kill();
            house.start(&["up", "--demo"]);
        }
    }
    let over = house.q(&["wallet", "schedule", "show", &id, "--as", "alice", "--json"]).json();
    assert_eq!(
        (&over["status"], &over["runs"], &over["skipped"]),
        (&"ENDED".into(), &HOURS.into(), &0.into())
    );
    let bob = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(bob["balances"]["QToken"]["posted"], "13.7", "12.5 of the demonstration and 120 times 0.01");
    let said = house.q(&["wallet", "schedule", "show", &id, "--as", "alice"]).said;
    assert!(said.contains("ENDED") && said.contains("for parking") && said.contains("CE"), "{said}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn a_person_schedules_a_rent_and_subscribes_to_a_plan() {
    let Some(house) = Instance::demo(&[]) else { return };
    let ask = |arguments: &[&str]| -> Value { house.q(arguments).json() };
    let rent = ask(&[
        "wallet",
        "schedule",
        "new",
        "bob",
        "500",
        "--every",
        "month",
        "--on",
        "1",
        "--timezone",
        "Europe/Berlin",
        "--max-amount",
        "600",
        "--as",
        "alice",
        "--json",
    ]);
    assert_eq!(
        (&rent["rrule"], &rent["nextRuns"][4].is_string()),
        (&"FREQ=MONTHLY;BYMONTHDAY=1".into(), &true)
    );
    let id = rent["scheduleId"].as_str().unwrap();
    assert_eq!(ask(&["wallet", "schedule", "pause", id, "--as", "alice", "--json"])["status"], "PAUSED");
    assert_eq!(ask(&["wallet", "schedule", "resume", id, "--as", "alice", "--json"])["status"], "ACTIVE");
    assert_eq!(ask(&["wallet", "schedule", "amount", id, "550", "--as", "alice", "--json"])["amount"], "550");
    assert_eq!(house.q(&["wallet", "schedule", "amount", id, "601", "--as", "alice"]).code, Some(5));
    let wrong = house.q(&[
        "wallet",
        "schedule",
        "new",
        "bob",
        "1",
        "--rrule",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "--as",
        "alice",
    ]);
    assert!(wrong.code == Some(5) && wrong.complained.contains("BYMONTHDAY"), "{}", wrong.complained);
    assert_eq!(ask(&["wallet", "schedule", "end", id, "--as", "alice", "--json"])["status"], "ENDED");

    let plan = ask(&[
        "wallet",
        "plan",
        "offer",
        "Tea club",
        "2",
        "--grant",
        "x-tea.cups=30",
        "--as",
        "bob",
        "--json",
    ]);
    let plan = plan["planId"].as_str().unwrap();
    let listed = house.q(&["wallet", "plan", "list", "bob", "--as", "alice"]).said;
    assert!(listed.contains("Tea club") && listed.contains("x-tea.cups 30"), "{listed}");
    let subscribed = ask(&["wallet", "subscribe", plan, "--as", "alice", "--json"]);
    assert_eq!((&subscribed["status"], &subscribed["schedule"]["runs"]), (&"ACTIVE".into(), &1.into()));
    let id = subscribed["subscriptionId"].as_str().unwrap();
    let bob = ask(&["wallet", "balance", "--as", "bob", "--json"]);
    assert_eq!(bob["balances"]["QToken"]["posted"], "14.5");
    assert_eq!(ask(&["wallet", "subscriptions", id, "--end", "--as", "alice", "--json"])["status"], "ENDING");
    let said = house.q(&["wallet", "subscriptions", "--as", "alice"]).said;
    assert!(said.contains("ENDING") && said.contains("then over"), "{said}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
