//! The ladder from end to end: a module fails, the house tries, one person after the other is told, somebody takes it,
//! and whoever was told hears that it is over. Mail and webhooks go to receivers by other people.

#[path = "../../../platform/q-notify/tests/it/receivers.rs"]
mod receivers;

use std::{collections::BTreeSet, sync::atomic::Ordering};

use q_db::params;
use q_ops_api::watch::{
    AcknowledgeAlert, AlertNoteRequest, AlertRequest, AlertState, AlertWithPage, GetAlert, ListAlerts,
    ListAlertsRequest,
};
use q_runtime::Module as _;
use q_testkit::Engine;
use receivers::Receivers;
use serde_json::Value;

use crate::town::{Town, until};

const NOTIFY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../platform/q-notify");

/// A free port is known before the receivers are: their secret is made by the desk.
fn settings(receivers: &Receivers) -> Vec<(&'static str, String)> {
    let hook = |path: &str| format!("webhook http://127.0.0.1:{}/{path}", receivers.http);
    vec![
        ("smtp", format!("smtp://127.0.0.1:{}", receivers.smtp)),
        ("smtp_from", "Q <q@qnode.localhost>".into()),
        ("level_2", format!("email oncall@example.org; {}", hook("oncall"))),
        ("level_3", "email lead@example.org".into()),
        ("level_4", hook("management")),
    ]
}

/// What came, as `who: subject`, of the next `count` things.
fn came(receivers: &mut Receivers, count: usize) -> (BTreeSet<String>, Vec<Value>) {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(tokio::task::block_in_place(|| receivers.next()));
    }
    let one = |value: &Value| match value.get("hook") {
        Some(hook) => {
            assert_eq!(value["verified"], true, "{value}");
            format!("{}: {}", hook.as_str().unwrap(), value["body"]["data"]["subject"].as_str().unwrap())
        }
        None => format!("{}: {}", value["mail"][0].as_str().unwrap(), value["subject"].as_str().unwrap()),
    };
    (all.iter().map(one).collect(), all)
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[expect(clippy::too_many_lines, reason = "one story from the failure to its end")]
async fn ladder(engine: Engine) {
    let Some(mut receivers) = Receivers::start(NOTIFY, "whsec_bm90IHlldCBrbm93biB0byB0aGUgZGVzayE=", &[])
    else {
        return;
    };
    let Some(mut town) = Town::new(engine, &settings(&receivers)).await else { return };
    receivers.learn(&town.secret());
    town.look().await;

    // The shelf breaks. For two minutes nobody calls that an alert.
    town.breaks().await;
    town.pass(110).await;
    assert_eq!(town.open_alerts().await, []);
    town.pass(12).await;
    let alert = town.fires("health_failing", "shop").await;
    assert_eq!((alert.state, alert.cause.as_deref()), (AlertState::Firing, Some("shelf")));
    assert_eq!(alert.summary, "shop cannot serve: shelf");
    let shown = async |town: &Town| -> AlertWithPage { town.alert(alert.id).await };

    // Level 1 tries at once, and says what it did.
    let recovery = |shown: &AlertWithPage| {
        let entries = &shown.ladder.as_ref().unwrap().entries;
        entries.iter().find(|entry| entry.kind == "recovery").map(|entry| entry.text.clone())
    };
    until(async || recovery(&shown(&town).await).is_some()).await;
    let said = recovery(&shown(&town).await).unwrap();
    let store = if engine == Engine::Sqlite {
        "the store is a file"
    } else {
        "connections to the store are made anew"
    };
    assert!(
        said.starts_with("shop: ") && said.contains("tasks were running") && said.contains(store),
        "{said}"
    );

    // It did not help: after two minutes on-call is told, by mail and by webhook.
    town.pass(121).await;
    let (who, all) = came(&mut receivers, 2);
    let subject = "[Q] shop cannot serve: shelf";
    assert_eq!(who, set(&[&format!("oncall@example.org: {subject}"), &format!("/oncall: {subject}")]));
    let mail = all.iter().find(|value| value.get("mail").is_some()).unwrap();
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("Level 2, on-call engineer") && text.contains(store), "{text}");
    assert!(text.contains(&format!("q alerts acknowledge {}", alert.id)), "{text}");
    until(async || {
        shown(&town).await.ladder.unwrap().tellings.iter().all(|telling| telling.done_at.is_some())
    })
    .await;
    let told = shown(&town).await.ladder.unwrap().tellings;

    // The process starts anew in the middle: what was told is not told again, and the ladder goes on.
    town = town.restart().await;
    town.pass(30).await;
    assert_eq!(shown(&town).await.ladder.unwrap().tellings, told);
    town.pass(13 * 60).await;
    let (who, all) = came(&mut receivers, 1);
    assert_eq!(who, set(&[&format!("lead@example.org: {subject}")]));
    // One thread of mails for one page.
    assert_eq!(all[0]["inReplyTo"], mail["inReplyTo"]);
    town.pass(15 * 60).await;
    assert_eq!(came(&mut receivers, 1).0, set(&[&format!("/management: {subject}")]));

    // Somebody takes it, and nobody hears more.
    let request = AlertNoteRequest { id: alert.id, note: Some("changing the shelf".into()) };
    let taken = town.ask::<AcknowledgeAlert>(&request).await;
    assert_eq!(taken.alert.state, AlertState::Acknowledged);
    until(async || {
        shown(&town).await.ladder.unwrap().tellings.iter().all(|telling| telling.done_at.is_some())
    })
    .await;
    let told = shown(&town).await.ladder.unwrap().tellings;
    for _ in 0..4 {
        town.pass(3_600).await;
    }
    assert_eq!(shown(&town).await.ladder.unwrap().tellings, told);

    // The shelf is new: after a calm minute it is over, for everybody who was told.
    town.shop.is_down.store(false, Ordering::SeqCst);
    town.pass(2).await;
    let open = town.open_alerts().await;
    assert!(open.iter().any(|open| open.id == alert.id), "one look is not enough");
    // Four hours of it have used up budgets, which everybody who heard of the outage knows.
    assert!(
        open.iter().all(|open| open.id == alert.id || open.quiet.as_deref() == Some("shop is down")),
        "{open:?}"
    );
    town.mends().await;
    let over = "[Q] over: shop cannot serve: shelf";
    assert_eq!(
        came(&mut receivers, 4).0,
        set(&[
            &format!("oncall@example.org: {over}"),
            &format!("/oncall: {over}"),
            &format!("lead@example.org: {over}"),
            &format!("/management: {over}"),
        ])
    );
    let shown = town.ask::<GetAlert>(&AlertRequest { id: alert.id }).await;
    assert_eq!(shown.alert.state, AlertState::Resolved);
    let ladder = shown.ladder.unwrap();
    let kinds: Vec<&str> = ladder.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds[..2], ["opened", "recovery"]);
    assert_eq!(ladder.entries.iter().filter(|entry| entry.kind == "acknowledged").count(), 1);
    assert!(ladder.resolved_at.is_some() && ladder.acknowledged_by.is_some());

    // Whoever follows the desk has heard each turn once, and the trail has who took it.
    let topics = town.ops.db().read(|reader| -> Result<_, q_db::DbError> {
        let rows =
            reader.query("SELECT topic FROM q_outbox WHERE topic LIKE 'q.ops.alert.%' AND data LIKE '%health_failing%' ORDER BY id", &[])?;
        let topics: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let trail =
            reader.query("SELECT actor FROM q_audit WHERE action = $1", params!["alert.acknowledge"])?;
        Ok((topics?, trail.len()))
    });
    let (topics, trail) = topics.await.unwrap();
    assert_eq!(topics, ["fired", "acknowledged", "resolved"].map(|turn| format!("q.ops.alert.{turn}.v1")));
    assert_eq!(trail, 1);
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_is_climbed_across_a_restart_on_sqlite() {
    ladder(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_is_climbed_across_a_restart_on_postgres() {
    ladder(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_is_tried_again_and_hears_it_once() {
    let Some(mut receivers) = Receivers::start(NOTIFY, "whsec_bm90IHlldCBrbm93biB0byB0aGUgZGVzayE=", &[])
    else {
        return;
    };
    // The receiver answers its first request with 503.
    let settings = [("level_2", format!("webhook http://127.0.0.1:{}/flaky", receivers.http))];
    let Some(town) = Town::new(Engine::Sqlite, &settings).await else { return };
    receivers.learn(&town.secret());
    town.breaks().await;
    town.pass(121).await;
    let alert = town.fires("health_failing", "shop").await;
    town.pass(121).await;
    let telling = async || {
        town.alert(alert.id).await.ladder.unwrap().tellings.into_iter().find(|it| it.step == "tell-2-0")
    };
    until(async || telling().await.is_some_and(|it| it.outcome.is_some())).await;
    let failed = telling().await.unwrap();
    assert_eq!((failed.attempts, failed.done_at), (1, None), "{failed:?}");
    assert!(failed.outcome.unwrap().contains("503"));
    assert!(failed.next_at.unwrap() > town.now());
    town.pass(6).await;
    let (who, all) = came(&mut receivers, 1);
    assert_eq!(who, set(&["/flaky: [Q] shop cannot serve: shelf"]));
    assert_eq!(all[0]["id"], failed.id.as_str());
    until(async || telling().await.is_some_and(|it| it.done_at.is_some())).await;
    assert_eq!(telling().await.unwrap().attempts, 2);
    town.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_listed_when_asked_for() {
    let Some(town) = Town::new(Engine::Sqlite, &[]).await else { return };
    town.breaks().await;
    town.pass(121).await;
    town.fires("health_failing", "shop").await;
    town.mends().await;
    let all = town.ask::<ListAlerts>(&ListAlertsRequest { all: true, cursor: None }).await;
    assert!(
        all.items.iter().any(|alert| alert.rule == "health_failing" && alert.state == AlertState::Resolved)
    );
    town.world.close().await;
}
