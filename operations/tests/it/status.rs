//! The status page, the feed and the calendar: understood by programs of others, safe to show, cheap to repeat.

use std::{path::Path, process::Command};

use q_core::{Caller, Span};
use q_ops_api::{
    incidents::{
        ChangeIncident, ChangeIncidentRequest, IncidentStatus, OpenIncident, OpenIncidentRequest, Severity,
    },
    maintenance::{MaintenanceMode, ScheduleMaintenance, ScheduleRequest},
    status::{
        GetStatus, GetStatusCalendar, GetStatusFeed, GetStatusPage, ListSubscribers, ListSubscribersRequest,
        PublicState, SUBSCRIBER_EXISTS, SUBSCRIBER_INVALID, StatusRequest, Subscribe, SubscribeRequest,
        SubscriberKind, SubscriberRequest, Topic, Unsubscribe,
    },
};
use q_testkit::{World, on_each_world, oracle};
use serde_json::{Value, json};

use crate::hall::Hall;

const HOSTILE: &str = "<script>alert('x')</script> & \"friends\"";

/// A hall with a past: an incident that is over, one that is not, a window ahead, days of looks.
async fn lived_in(world: World) -> Hall {
    let hall = Hall::new(world).await;
    for day in 0..20 {
        for hour in 0..4 {
            let is_down = day == 6 && hour == 1;
            if is_down {
                hall.set_mode("shop", &json!({"mode": "isolated", "reason": "a thief"})).await;
            }
            hall.round("look-at-modules").await;
            if is_down {
                hall.set_mode("shop", &json!({"mode": "normal"})).await;
            }
            hall.world.clock.advance(Span::seconds(6 * 3_600));
        }
    }
    let over = hall
        .ask::<OpenIncident>(&OpenIncidentRequest {
            title: "The oven was cold".into(),
            severity: Severity::Sev3,
            modules: vec!["shop".into()],
            text: Some("Bread takes longer today.".into()),
            began_at: None,
        })
        .await;
    hall.world.clock.advance(Span::seconds(2_700));
    let resolved = ChangeIncidentRequest {
        id: over.id,
        status: Some(IncidentStatus::Resolved),
        severity: None,
        text: Some("The oven is warm again.".into()),
    };
    hall.ask::<ChangeIncident>(&resolved).await;
    hall.world.clock.advance(Span::seconds(86_400));
    hall.ask::<OpenIncident>(&OpenIncidentRequest {
        title: HOSTILE.into(),
        severity: Severity::Sev2,
        modules: vec!["till".into()],
        text: Some("Cards are refused at the moment.\nCash works.".into()),
        began_at: None,
    })
    .await;
    hall.ask::<ScheduleMaintenance>(&ScheduleRequest {
        title: "New shelves; and a door, too".into(),
        from: hall.now() + Span::seconds(3 * 86_400),
        to: hall.now() + Span::seconds(3 * 86_400 + 7_200),
        modules: vec!["shop".into()],
        mode: MaintenanceMode::ReadOnly,
        notify: None,
        rollback_plan: "put the old shelves back".into(),
    })
    .await;
    hall.round("look-at-modules").await;
    hall
}

on_each_world!(everybody_sees_the_state_and_nothing_inside, async |world: World| {
    let hall = lived_in(world).await;
    let anybody = hall.world.client_as("ops", Caller::Anonymous);
    let status = anybody.call::<GetStatus>(&StatusRequest {}).await.unwrap();
    assert_eq!(status.state, PublicState::Degraded, "people said that the till fails");
    assert_eq!(status.modules[0].state, PublicState::Operational);
    let shop = &status.modules[0];
    assert_eq!((shop.name.as_str(), shop.about.as_str()), ("shop", "sells bread"));
    assert_eq!(shop.days.len(), 90);
    let counted: Vec<_> = shop.days.iter().filter_map(|day| day.uptime_basis_points).collect();
    assert!(counted.len() >= 20 && counted.contains(&7_500), "{counted:?}");
    assert_eq!(shop.days[0].uptime_basis_points, None, "nobody looked ninety days ago");
    assert_eq!((status.incidents.len(), status.past_incidents.len(), status.maintenance.len()), (1, 1, 1));

    let page = anybody.call::<GetStatusPage>(&StatusRequest {}).await.unwrap().0;
    assert!(
        !page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
        "{page}"
    );
    for inside in ["old shelves", "did:key:", "automatic"] {
        assert!(!page.contains(inside), "{inside}");
    }
    for outside in
        ["http-equiv=\"Content-Security-Policy\"", "Cards are refused at the moment.<br>Cash works."]
    {
        assert!(page.contains(outside), "{outside}\n{page}");
    }
    hall.world.close().await;
});

on_each_world!(a_page_that_has_not_changed_is_not_sent_again, async |world: World| {
    let hall = Hall::new(world).await;
    let Some(url) = hall.world.url("ops") else { return hall.world.close().await };
    let get = |tag: Option<String>| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-D", "-", "-o", "/dev/null", &format!("{url}/status.json")]);
        if let Some(tag) = tag {
            curl.args(["-H", &format!("If-None-Match: {tag}")]);
        }
        String::from_utf8(curl.output().unwrap().stdout).unwrap().to_lowercase()
    };
    let first = tokio::task::block_in_place(|| get(None));
    assert!(first.contains("cache-control: public, max-age=15"), "{first}");
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let second = tokio::task::block_in_place(|| get(Some(tag)));
    assert!(second.starts_with("http/1.1 304"), "{second}");
    hall.world.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn feed_reader_and_calendar_program_understand_it() {
    let world = World::new(q_testkit::Engine::Sqlite, q_testkit::Way::InProcess).await.unwrap();
    let hall = lived_in(world).await;
    let (Some(mut reader), Some(mut diary)) = (
        oracle::script("feedparser", env!("CARGO_MANIFEST_DIR"), "read_feed.py"),
        oracle::script("icalendar", env!("CARGO_MANIFEST_DIR"), "read_calendar.py"),
    ) else {
        return hall.world.close().await;
    };
    let feed = hall.ask::<GetStatusFeed>(&StatusRequest {}).await.0;
    let read: Value = serde_json::from_slice(&oracle::ask(&mut reader, &feed).unwrap()).unwrap();
    assert_eq!((&read["bozo"], &read["version"]), (&false.into(), &"atom10".into()), "{read}");
    let entries = read["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{read}");
    assert!(
        entries.iter().any(|entry| entry["title"].as_str().unwrap().contains("&lt;script&gt;")
            || entry["title"].as_str().unwrap().contains(HOSTILE)),
        "{read}"
    );
    assert!(!entries.iter().any(|entry| entry["content"].as_str().unwrap().contains("<script")), "{read}");

    let calendar = hall.ask::<GetStatusCalendar>(&StatusRequest {}).await.0;
    let read: Value = serde_json::from_slice(&oracle::ask(&mut diary, &calendar).unwrap()).unwrap();
    let event = &read["events"][0];
    assert_eq!(event["summary"], "Maintenance: New shelves; and a door, too", "{read}");
    assert_eq!((&event["status"], &event["errors"]), (&"CONFIRMED".into(), &serde_json::json!([])), "{read}");
    let begins = hall.now() + Span::seconds(3 * 86_400);
    assert_eq!(event["start"].as_str().unwrap().replace("+00:00", "Z"), begins.to_string(), "{read}");
    hall.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_scripts_shows_the_page() {
    let world = World::new(q_testkit::Engine::Sqlite, q_testkit::Way::InProcess).await.unwrap();
    let hall = lived_in(world).await;
    let page = hall.ask::<GetStatusPage>(&StatusRequest {}).await.0;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("status.html");
    std::fs::write(&file, &page).unwrap();
    let url = format!("file://{}", file.display());
    let Some(mut reading) = oracle::chromium(&folder.path().join("a")) else {
        return hall.world.close().await;
    };
    let shown = tokio::task::block_in_place(|| reading.args(["--dump-dom", &url]).output().unwrap());
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for text in
        ["Some things work only in part", "Happening now", "Maintenance", "sells bread", "The last 90 days"]
    {
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    assert_eq!(shown.matches("<i class=").count(), 3 * 90, "a bar for each day of each module");
    for scheme in ["light", "dark"] {
        let picture = folder.path().join(format!("{scheme}.png"));
        let mut painting = oracle::chromium(&folder.path().join(scheme)).unwrap();
        painting.args([&format!("--screenshot={}", picture.display()), "--window-size=900,1500"]);
        let preferred = i32::from(scheme == "light");
        painting.arg(format!("--blink-settings=preferredColorScheme={preferred}"));
        let output = tokio::task::block_in_place(|| painting.arg(&url).output().unwrap());
        let bytes = std::fs::read(&picture)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        // An empty page of this size is a few thousand bytes.
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 40_000, "{scheme}: {} bytes", bytes.len());
        if let Some(kept) = std::env::var_os("Q_KEEP_PICTURES") {
            std::fs::copy(&picture, Path::new(&kept).join(format!("status-{scheme}.png"))).unwrap();
        }
    }
    hall.world.close().await;
}

on_each_world!(subscribers_are_told_once_and_never_shown, async |world: World| {
    let hall = Hall::new(world).await;
    let (receiver, address) = crate::hall::Receiver::listen().await;
    let subscribe = SubscribeRequest {
        kind: SubscriberKind::Webhook,
        address: format!("http://{address}/secret-path"),
        topic: Topic::Status,
    };
    let added = hall.ask::<Subscribe>(&subscribe).await;
    assert_eq!(added.address_hint, "127.0.0.1");
    assert!(hall.refused::<Subscribe>(&subscribe).await.is(&SUBSCRIBER_EXISTS));
    let nobody =
        SubscribeRequest { address: "nobody".into(), kind: SubscriberKind::Email, topic: Topic::Status };
    assert!(hall.refused::<Subscribe>(&nobody).await.is(&SUBSCRIBER_INVALID));
    let kept =
        hall.ops.desk().db.read(|reader| reader.query("SELECT address FROM subscribers", q_db::params![]));
    let kept: Vec<u8> = kept.await.unwrap()[0].get(0);
    assert!(!String::from_utf8_lossy(&kept).contains("secret-path"), "the address is sealed");

    hall.ask::<OpenIncident>(&OpenIncidentRequest {
        title: "The till is stuck".into(),
        severity: Severity::Sev2,
        modules: Vec::new(),
        text: None,
        began_at: None,
    })
    .await;
    // Somebody who is away is told later.
    receiver.refuse(1);
    hall.round("tell-subscribers").await;
    assert_eq!(hall.ask::<ListSubscribers>(&ListSubscribersRequest {}).await.items[0].waiting, 1);
    for _ in 0..3 {
        hall.world.clock.advance(Span::seconds(600));
        hall.round("tell-subscribers").await;
    }
    let heard = receiver.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["data"]["subject"], "New incident: The till is stuck", "{heard:?}");
    assert_eq!(hall.ask::<ListSubscribers>(&ListSubscribersRequest {}).await.items[0].waiting, 0);
    hall.ask::<Unsubscribe>(&SubscriberRequest { id: added.id }).await;
    assert_eq!(hall.ask::<ListSubscribers>(&ListSubscribersRequest {}).await.items, []);
    hall.world.close().await;
});
