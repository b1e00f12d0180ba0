//! What the desk sees, and what it keeps to itself.

use std::sync::atomic::Ordering;

use q_contract::codes;
use q_ops_api::watch::{
    AcknowledgeAlert, AlertId, AlertNoteRequest, AlertRequest, AlertState, GetAlert, ListAlerts,
    ListAlertsRequest, ResolveAlert,
};
use q_testkit::{Engine, identity};
use serde_json::{Value, json};

use crate::{
    shop::{Buy, Nothing},
    town::{Town, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_module_that_is_down_tells_nobody() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    town.till.is_down.store(true, Ordering::SeqCst);
    town.breaks().await;
    town.pass(60).await;
    town.pass(70).await;
    let shop = town.fires("health_failing", "shop").await;
    let till = town.fires("health_failing", "till").await;
    assert_eq!(shop.quiet, None);
    assert!(shop.page.is_some());
    assert_eq!((till.quiet.as_deref(), till.page), (Some("it needs shop, which is down"), None));
    // The shop is mended and the till is still down: now it is told by itself.
    town.mends().await;
    until(async || town.fires("health_failing", "till").await.page.is_some()).await;
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_fire_after_five_minutes_and_use_up_the_budget() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    let buyer = town.world.client("shop", &identity("bob").0);
    let buy = async || {
        for _ in 0..3 {
            let _ = buyer.call::<Buy>(&Nothing {}).await;
        }
    };
    buy().await;
    town.look().await;
    town.shop.is_broken.store(true, Ordering::SeqCst);
    for _ in 0..29 {
        buy().await;
        town.pass(10).await;
    }
    assert!(!town.open_alerts().await.iter().any(|alert| alert.rule == "error_rate"), "not five minutes yet");
    for _ in 0..4 {
        buy().await;
        town.pass(10).await;
    }
    let alert = town.fires("error_rate", "shop").await;
    assert!(
        (alert.value - 1.0).abs() < 1e-9 && alert.summary.contains("100.00 % where 1.00 % is the limit"),
        "{alert:?}"
    );
    let burning = town.fires("budget_burn_fast", "shop").await;
    assert_eq!(burning.class, "read errors");
    // One page for both.
    assert_eq!(burning.page, alert.page);
    let report = town.slo().await;
    let shop = report.modules.iter().find(|module| module.module == "shop").unwrap();
    let reads =
        shop.promises.iter().find(|promise| promise.class == "read" && promise.sli == "errors").unwrap();
    assert_eq!(reads.total - reads.good, 33 * 3);
    assert!(reads.budget_left.unwrap() < -100.0, "{reads:?}");
    let hour = reads.burn.iter().find(|burn| burn.window == "1h").unwrap();
    assert!(hour.rate > 900.0 && hour.rate <= 1_000.0 + 1e-6, "{hour:?}");
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_failures_and_announced_refusals_burn_no_budget() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    let buyer = town.world.client("shop", &identity("bob").0);
    let buy = async |times: u32| {
        for _ in 0..times {
            let _ = buyer.call::<Buy>(&Nothing {}).await;
        }
        town.look().await;
    };
    let reads = async || {
        let shop = town.slo().await.modules.into_iter().find(|module| module.module == "shop").unwrap();
        let mut promises = shop.promises.into_iter();
        promises.find(|promise| promise.class == "read" && promise.sli == "errors").unwrap()
    };
    let burns = async || town.open_alerts().await.iter().any(|alert| alert.rule.starts_with("budget_burn"));
    // What is bought before the desk looked for the first time would count or not, as its own first look falls.
    town.look().await;
    town.shop.is_broken.store(true, Ordering::SeqCst);
    buy(1).await;
    town.shop.is_broken.store(false, Ordering::SeqCst);
    buy(2).await;
    // One of three: a thousand times the allowed share, and nothing that anybody could conclude from.
    let few = reads().await;
    assert_eq!((few.total, few.good, few.budget_left), (3, 2, None));
    assert!(few.burn.is_empty() && !burns().await, "{few:?}");
    // A maintenance that was announced is refused to many, and promised to nobody.
    let olga = town.world.client("shop", &identity("olga").0);
    let order = async |mode: Value| {
        let answer = olga.send("POST", "/mode", mode.to_string().into(), "application/json").await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    order(json!({"mode": "maintenance", "reason": "new shelves"})).await;
    buy(40).await;
    order(json!({"mode": "normal"})).await;
    buy(17).await;
    let kept = reads().await;
    assert_eq!((kept.total, kept.good), (20, 19), "the forty refusals count neither way");
    assert!(!burns().await);
    town.shop.is_broken.store(true, Ordering::SeqCst);
    buy(4).await;
    town.fires("budget_burn_fast", "shop").await;
    assert!(reads().await.budget_left.unwrap() < -100.0);
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_verification_finds_is_told_at_once() {
    let settings = [("verify_every", "24h".to_owned())];
    let Some(town) = Town::new(Engine::Sqlite, &settings).await else { return };
    town.shop.is_damaged.store(true, Ordering::SeqCst);
    town.pass(61).await;
    let alert = town.fires("verification_failed", "shop").await;
    assert_eq!(alert.cause.as_deref(), Some("bread_missing at shelf 3: three loaves, two are there"));
    assert_eq!(alert.runbook, "data-corruption");
    town.shop.is_damaged.store(false, Ordering::SeqCst);
    town.pass(86_400).await;
    until(async || !town.open_alerts().await.iter().any(|open| open.id == alert.id)).await;
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_taken_and_ended_by_operators_only() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    town.breaks().await;
    town.pass(121).await;
    let alert = town.fires("health_failing", "shop").await;
    let code = |answer: Result<_, q_contract::CallError>| {
        answer.map(|_: q_ops_api::watch::AlertWithPage| ()).unwrap_err().problem().unwrap().code.clone()
    };
    let stranger = town.world.client("ops", &identity("mallory").0);
    let note = |note: &str| AlertNoteRequest { id: alert.id, note: Some(note.to_owned()) };
    assert_eq!(code(stranger.call::<AcknowledgeAlert>(&note("mine")).await), codes::FORBIDDEN.code);
    assert_eq!(code(stranger.call::<ResolveAlert>(&note("gone")).await), codes::FORBIDDEN.code);
    let desk = town.desk();
    assert_eq!(code(desk.call::<AcknowledgeAlert>(&note(&"x".repeat(2_001))).await), "ALERT_NOTE_INVALID");
    let unknown = AlertRequest { id: AlertId::from_bytes([7; 16]) };
    assert_eq!(code(desk.call::<GetAlert>(&unknown).await), "ALERT_NOT_FOUND");
    // Ended by hand while it is still wrong: it fires anew, as another alert.
    let ended = desk.call::<ResolveAlert>(&note("the shelf is known")).await.unwrap();
    assert_eq!(
        (ended.alert.state, ended.alert.resolved_by.unwrap()),
        (AlertState::Resolved, identity("olga").0.to_string())
    );
    assert_eq!(code(desk.call::<AcknowledgeAlert>(&note("late")).await), "ALERT_RESOLVED");
    town.pass(2).await;
    town.pass(121).await;
    assert_ne!(town.fires("health_failing", "shop").await.id, alert.id);
    let all = town.ask::<ListAlerts>(&ListAlertsRequest { all: true, cursor: None }).await.items;
    assert!(all.iter().filter(|alert| alert.rule == "health_failing").count() >= 2);
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_says_what_recovery_did_and_to_whom_it_listens() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    let operator = town.world.client("shop", &identity("olga").0);
    let detailed = async || -> Value {
        let answer = operator.send("GET", "/health/detailed", bytes::Bytes::new(), "").await.unwrap();
        serde_json::from_slice(answer.body()).unwrap()
    };
    // The sweeper falls, gets up by itself, and that is counted.
    town.shop.falls.store(true, Ordering::SeqCst);
    until(async || !town.shop.falls.load(Ordering::SeqCst)).await;
    let swept = town.shop.swept.load(Ordering::SeqCst);
    until(async || town.shop.swept.load(Ordering::SeqCst) > swept).await;
    let tasks = detailed().await["tasks"].clone();
    let sweep = tasks.as_array().unwrap().iter().find(|task| task["name"] == "sweep").unwrap();
    assert_eq!((&sweep["restarts"], &sweep["state"]), (&json!(1), &json!("running")));
    assert_eq!(sweep["lastFailure"], "the broom broke");
    let order = json!({"actions": ["restartTasks", "reconnect", "shedLoad"], "reason": "a test"}).to_string();
    let recover = async |who: &str| {
        let client = town.world.client("shop", &identity(who).0);
        client.send("POST", "/recover", order.clone().into(), "application/json").await.unwrap()
    };
    assert_eq!(recover("mallory").await.status(), 403);
    let answer = recover("olga").await;
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();
    let said: Vec<_> =
        answer["recovered"].as_array().unwrap().iter().map(|one| one["isDone"].as_bool().unwrap()).collect();
    // Nothing had fallen, a file has no connection, nobody was waiting on the bus; load is shed.
    assert_eq!(said, [false, false, false, true], "{answer}");
    let nonsense = operator
        .send("POST", "/recover", "{\"actions\":[\"dance\"]}".into(), "application/json")
        .await
        .unwrap();
    assert_eq!(nonsense.status(), 400);
    town.world.close().await;
}

/// Settings that make no sense are refused with the reason, before anything starts.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_at_the_start() {
    for (key, value, why) in [
        ("level_2", "pager 5", "begins with webhook, email or command"),
        ("level_2", "email oncall@example.org", "no mail server"),
        ("level_2", "recover", "only level 1 recovers"),
        ("level_3", "command /nonexistent/page", "no such program"),
        ("level_2_after", "soon", "not a span"),
        ("level_3_after", "1m", "told later than"),
        ("level_4_repeat", "1s", "once a minute"),
        ("rules", "error_rate high", "not a share"),
        ("route_classes", "read", "CLASS=METHOD PATH"),
        ("watch_every", "5m", "at most 30s"),
    ] {
        let error = Town::refusal(&[(key, value.to_owned())]).await;
        assert!(error.contains(why) && error.contains(&format!("ops.{key}")), "{key}={value}: {error}");
    }
}
