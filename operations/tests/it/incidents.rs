//! Incidents: told, written down, never changed, reviewed.

use q_core::{Caller, Span};
use q_db::{DbError, params};
use q_ops_api::{
    incidents::{
        AddEntry, AddEntryRequest, ChangeIncident, ChangeIncidentRequest, EntryKind, GetIncident,
        INCIDENT_INVALID, INCIDENT_RESOLVED, IncidentRequest, IncidentStatus, OpenIncident,
        OpenIncidentRequest, ReviewIncident, Severity,
    },
    status::{GetStatus, StatusRequest},
};
use q_runtime::Module as _;
use q_testkit::{World, identity, on_each_world, walk::walk};
use serde_json::{Value, json};

use crate::{
    hall::Hall,
    town::{Town, until},
};

fn payments_fail() -> OpenIncidentRequest {
    OpenIncidentRequest {
        title: "Payments fail".into(),
        severity: Severity::Sev2,
        modules: vec!["till".into()],
        text: Some("We are looking into it.".into()),
        began_at: None,
    }
}

fn change(id: q_ops_api::incidents::IncidentId, status: IncidentStatus, text: &str) -> ChangeIncidentRequest {
    ChangeIncidentRequest { id, status: Some(status), severity: None, text: Some(text.into()) }
}

on_each_world!(an_incident_is_told_worked_on_and_reviewed, async |world: World| {
    let hall = Hall::new(world).await;
    hall.world.make_operator(&identity("olga").0);
    let began_at = Some(hall.now() - Span::seconds(600));
    let opened = hall.ask::<OpenIncident>(&OpenIncidentRequest { began_at, ..payments_fail() }).await;
    assert_eq!(opened.impact.0["till"].status, "healthy");
    let note = AddEntryRequest {
        id: opened.id,
        kind: EntryKind::Note,
        text: "the certificate of the bank ended".into(),
        details: Value::Null,
    };
    hall.world.clock.advance(Span::seconds(300));
    hall.ask::<AddEntry>(&note).await;
    hall.world.clock.advance(Span::seconds(900));
    hall.ask::<ChangeIncident>(&change(opened.id, IncidentStatus::Monitoring, "Mended; we are watching."))
        .await;
    hall.world.clock.advance(Span::seconds(1_800));
    let over = hall.ask::<ChangeIncident>(&change(opened.id, IncidentStatus::Resolved, "It is over.")).await;
    assert_eq!(over.resolved_at, Some(hall.now()));
    let refused =
        hall.refused::<ChangeIncident>(&change(opened.id, IncidentStatus::Investigating, "again")).await;
    assert!(refused.is(&INCIDENT_RESOLVED), "{refused}");

    let review = hall.ask::<ReviewIncident>(&IncidentRequest { id: opened.id }).await.0;
    for line in [
        "| Time to detect | 10 min |",
        "| Time to mitigate | 30 min |",
        "| Time to resolve | 1 h |",
        "certificate of the bank",
    ] {
        assert!(review.contains(line), "{line}\n{review}");
    }
    // The bank stays inside; everybody sees what was said to them.
    let public = json!(hall.ask::<GetStatus>(&StatusRequest {}).await).to_string();
    assert!(public.contains("Mended; we are watching.") && !public.contains("bank"), "{public}");
    assert!(!public.contains(identity("olga").0.as_str()), "{public}");
    hall.world.close().await;
});

on_each_world!(a_repeated_request_opens_one_incident_and_nonsense_opens_none, async |world: World| {
    let hall = Hall::new(world).await;
    let desk = hall.world.client("ops", &identity("olga").0).with_key("once");
    let first = desk.call::<OpenIncident>(&payments_fail()).await.unwrap();
    let second = desk.call::<OpenIncident>(&payments_fail()).await.unwrap();
    assert_eq!(first.id, second.id);
    assert_eq!(hall.incidents().await.len(), 1);
    for wrong in [
        OpenIncidentRequest { title: " ".into(), ..payments_fail() },
        OpenIncidentRequest { title: "two\nlines".into(), ..payments_fail() },
        OpenIncidentRequest { modules: vec!["bakery".into()], ..payments_fail() },
        OpenIncidentRequest { began_at: Some(hall.now() + Span::seconds(60)), ..payments_fail() },
    ] {
        let refused = hall.refused::<OpenIncident>(&wrong).await;
        assert!(refused.is(&INCIDENT_INVALID), "{refused}");
    }
    let invented = AddEntryRequest {
        id: first.id,
        kind: EntryKind::Alert,
        text: "an alert nobody raised".into(),
        details: Value::Null,
    };
    assert!(hall.refused::<AddEntry>(&invented).await.is(&INCIDENT_INVALID));
    hall.world.close().await;
});

on_each_world!(a_timeline_cannot_be_changed_and_who_tries_harder_is_noticed, async |world: World| {
    let hall = Hall::new(world).await;
    hall.ask::<OpenIncident>(&payments_fail()).await;
    let db = hall.ops.db().clone();
    for sql in ["UPDATE timeline SET text = 'nothing happened'", "DELETE FROM timeline"] {
        let tried: Result<u64, DbError> = db.write(move |tx| tx.execute(sql, params![])).await;
        assert!(tried.is_err(), "{sql}");
    }
    assert_eq!(hall.ops.verify().await.unwrap(), []);
    let is_postgres = hall.world.engine == q_testkit::Engine::Postgres;
    let drop = if is_postgres {
        "DROP TRIGGER timeline_is_not_changed ON timeline"
    } else {
        "DROP TRIGGER timeline_is_not_changed"
    };
    let forged: Result<u64, DbError> = db
        .write(move |tx| {
            tx.execute(drop, params![])?;
            tx.execute("UPDATE timeline SET text = 'nothing happened' WHERE seq = 1", params![])
        })
        .await;
    forged.unwrap();
    let findings = hall.ops.verify().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, "timeline_changed");
    hall.world.abandon().await;
});

on_each_world!(a_module_that_stops_its_writes_opens_an_incident_once, async |world: World| {
    let hall = Hall::new(world).await;
    hall.round("look-at-modules").await;
    assert_eq!(hall.incidents().await, []);
    hall.shop_db.stop_writes(q_db::StopCause::Damage, "row 7 of shelves is damaged");
    for _ in 0..3 {
        hall.round("look-at-modules").await;
    }
    let incidents = hall.incidents().await;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let opened = &incidents[0];
    assert_eq!((opened.severity, opened.opened_by.as_str()), (Severity::Sev1, "automatic"));
    assert_eq!(
        (opened.title.as_str(), &opened.modules[..]),
        ("shop takes no changes", &["shop".to_owned()][..])
    );
    let found = hall.ask::<GetIncident>(&IncidentRequest { id: opened.id }).await;
    assert!(found.timeline.iter().any(|entry| entry.text.contains("row 7 of shelves")), "{found:?}");
    // What was damaged is nobody's business outside.
    let public = json!(hall.ask::<GetStatus>(&StatusRequest {}).await).to_string();
    assert!(public.contains("shop takes no changes") && !public.contains("row 7"), "{public}");
    hall.ask::<ChangeIncident>(&change(opened.id, IncidentStatus::Resolved, "Restored.")).await;
    hall.round("look-at-modules").await;
    assert_eq!(hall.incidents().await.len(), 1, "the same stop is not news");
    hall.world.close().await;
});

on_each_world!(what_changes_while_an_incident_is_open_stands_on_it, async |world: World| {
    let hall = Hall::new(world).await;
    hall.round("look-at-modules").await;
    let opened = hall.ask::<OpenIncident>(&payments_fail()).await;
    hall.set_mode("till", &json!({"mode": "isolated", "reason": "a thief"})).await;
    hall.round("look-at-modules").await;
    let found = hall.ask::<GetIncident>(&IncidentRequest { id: opened.id }).await;
    let last = found.timeline.last().unwrap();
    assert_eq!((last.kind, last.text.as_str()), (EntryKind::Mode, "till is in mode isolated after normal"));
    assert_eq!(last.by, "automatic");
    hall.world.close().await;
});

on_each_world!(strangers_and_broken_requests_are_refused, async |world: World| {
    let hall = Hall::new(world).await;
    let complaints = walk(&hall.world, "ops", &identity("stranger").0).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    let anonymous = hall.world.client_as("ops", Caller::Anonymous);
    assert!(anonymous.call::<GetStatus>(&StatusRequest {}).await.is_ok());
    hall.world.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_what_the_house_did_by_itself_stand_on_the_timeline() {
    let Some(town) = Town::new(q_testkit::Engine::Sqlite, &[]).await else { return };
    town.set(&town.shop.is_down, true);
    // A module repeats its health for a second, so the clock goes on until the failure was seen for long enough.
    until(async || {
        town.world.clock.advance(Span::seconds(5));
        town.open_alerts().await.iter().any(|alert| alert.rule == "health_failing" && alert.module == "shop")
    })
    .await;
    let alert = town.fires("health_failing", "shop").await;
    let desk = town.desk().with_key("the shelf broke");
    town.world.clock.advance(Span::seconds(60));
    let request = OpenIncidentRequest { modules: vec!["shop".into()], ..payments_fail() };
    let opened = desk.call::<OpenIncident>(&request).await.unwrap();
    let timeline = async || town.ask::<GetIncident>(&IncidentRequest { id: opened.id }).await.timeline;
    let stood = timeline().await;
    let stood = stood.iter().find(|entry| entry.kind == EntryKind::Alert).unwrap();
    assert_eq!(stood.details["firedAt"], alert.fired_at.to_string(), "{stood:?}");
    town.set(&town.shop.is_down, false);
    until(async || {
        town.world.clock.advance(Span::seconds(1));
        timeline().await.iter().any(|entry| entry.text.starts_with("is right again"))
    })
    .await;
    let review = town.ask::<ReviewIncident>(&IncidentRequest { id: opened.id }).await.0;
    assert!(review.contains("| Time to detect | 0 s |"), "the alert was there when it began: {review}");
    town.world.abandon().await;
}
