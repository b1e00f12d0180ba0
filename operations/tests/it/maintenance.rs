//! Maintenance windows: announced once each, entered and left by themselves, checked, continued after a restart.

use q_core::Span;
use q_db::{ModeKind, params};
use q_jose::{SecretKey, jws};
use q_ops_api::{
    incidents::{ChangeIncident, ChangeIncidentRequest, IncidentStatus},
    maintenance::{
        APPROVAL_REFUSED, CancelMaintenance, CompleteMaintenance, EmergencyMaintenance, EmergencyOrder,
        EmergencyRequest, ExtendMaintenance, ExtendRequest, MAINTENANCE_CONFLICT, MAINTENANCE_INVALID,
        MAINTENANCE_OVERLAPS, MAINTENANCE_TYP, MaintenanceMode, ROLLBACK_PLAN_REQUIRED, ScheduleMaintenance,
        ScheduleRequest, StartMaintenance, Window, WindowRequest, WindowStatus,
    },
    status::{GetStatus, PublicState, StatusRequest},
};
use q_runtime::Module as _;
use q_testkit::{World, identity, on_each_world};
use serde_json::json;

use crate::hall::Hall;

const HOUR: i64 = 3_600;

/// Two hours of work at the shop, in three days.
fn plan(hall: &Hall) -> ScheduleRequest {
    ScheduleRequest {
        title: "New shelves".into(),
        from: hall.now() + Span::seconds(72 * HOUR),
        to: hall.now() + Span::seconds(74 * HOUR),
        modules: vec!["shop".into()],
        mode: MaintenanceMode::Full,
        notify: None,
        rollback_plan: "put the old shelves back".into(),
    }
}

async fn notices(hall: &Hall) -> Vec<String> {
    let read =
        hall.ops.db().read(|reader| reader.query("SELECT subject FROM notices ORDER BY at, id", params![]));
    read.await.unwrap().iter().map(|row| row.get(0)).collect()
}

on_each_world!(a_window_announces_enters_leaves_and_says_so, async |world: World| {
    let hall = Hall::new(world).await;
    let window = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    hall.pass(Span::seconds(23 * HOUR)).await;
    assert_eq!(notices(&hall).await, [""; 0], "nothing before 48 hours ahead");
    for _ in 0..3 {
        hall.pass(Span::seconds(HOUR)).await;
    }
    assert_eq!(notices(&hall).await, ["Maintenance begins in 2 d: New shelves"]);
    hall.pass(Span::seconds(22 * HOUR)).await;
    hall.pass(Span::seconds(10)).await;
    hall.pass(Span::seconds(23 * HOUR - 10)).await;
    let said = notices(&hall).await;
    assert_eq!(
        said[1..],
        ["Maintenance begins in 1 d: New shelves", "Maintenance begins in 1 h: New shelves"]
    );
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Normal);

    hall.pass(Span::seconds(HOUR)).await;
    let mode = hall.mode("shop").await;
    assert_eq!((mode.kind, mode.by.as_str(), mode.until), (ModeKind::Maintenance, "ops", Some(window.to)));
    assert_eq!(hall.mode("till").await.kind, ModeKind::Normal);
    let muted = hall.ops.desk().muted_modules().await.unwrap();
    assert!(muted.is_muted("shop") && !muted.is_muted("till"));
    let status = hall.ask::<GetStatus>(&StatusRequest {}).await;
    assert_eq!(status.modules[0].state, PublicState::Maintenance);

    hall.pass(Span::seconds(2 * HOUR)).await;
    let done = hall.window(window.id).await;
    assert_eq!(done.status, WindowStatus::Completed, "{done:?}");
    let checks: Vec<_> = done.checks.iter().map(|check| (check.check.as_str(), check.is_passed)).collect();
    assert_eq!(checks, [("health", true), ("verify", true), ("mode", true)]);
    assert!(hall.mode("shop").await.is_normal());
    assert!(!hall.ops.desk().muted_modules().await.unwrap().is_muted("shop"));
    assert_eq!(
        notices(&hall).await[3..],
        ["Maintenance has begun: New shelves", "Maintenance is completed: New shelves"]
    );
    // The pause is on record, so that deadlines of that time can be extended by it.
    let paused =
        hall.shop_db.paused_between(window.from - Span::seconds(HOUR), window.to + Span::seconds(HOUR)).await;
    assert_eq!(paused.unwrap(), Span::seconds(2 * HOUR));
    hall.world.close().await;
});

on_each_world!(a_restart_in_the_middle_continues_the_window, async |world: World| {
    let hall = Hall::new(world).await;
    let window = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    hall.pass(Span::seconds(72 * HOUR)).await;
    let hall = hall.restart().await;
    hall.pass(Span::seconds(HOUR)).await;
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Maintenance);
    assert_eq!(hall.window(window.id).await.status, WindowStatus::Active);
    let hall = hall.restart().await;
    hall.pass(Span::seconds(HOUR)).await;
    assert_eq!(hall.window(window.id).await.status, WindowStatus::Completed);
    assert!(hall.mode("shop").await.is_normal());
    let begun = notices(&hall).await.iter().filter(|said| said.starts_with("Maintenance has begun")).count();
    assert_eq!(begun, 1);
    hall.world.close().await;
});

on_each_world!(a_desk_that_was_away_begins_late_or_says_that_it_missed_the_window, async |world: World| {
    let hall = Hall::new(world).await;
    let late = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    let missed =
        ScheduleRequest { modules: vec!["till".into()], to: late.from + Span::seconds(HOUR), ..plan(&hall) };
    let missed = hall.ask::<ScheduleMaintenance>(&missed).await;
    let hall = hall.restart().await;
    hall.pass(Span::seconds(73 * HOUR)).await;
    assert_eq!(hall.window(late.id).await.status, WindowStatus::Active);
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Maintenance);
    assert_eq!(hall.window(missed.id).await.status, WindowStatus::Missed);
    assert!(hall.mode("till").await.is_normal());
    assert!(!notices(&hall).await.iter().any(|said| said.starts_with("Maintenance begins")));
    hall.world.close().await;
});

on_each_world!(a_failed_check_keeps_the_module_read_only_until_it_is_sound, async |world: World| {
    let hall = Hall::new(world).await;
    let window = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    hall.ask::<StartMaintenance>(&WindowRequest { id: window.id }).await;
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Maintenance, "at once");
    hall.damage(true);
    hall.ask::<CompleteMaintenance>(&WindowRequest { id: window.id }).await;
    hall.pass(Span::seconds(1)).await;
    let failed = hall.window(window.id).await;
    assert_eq!(failed.status, WindowStatus::Failed);
    assert!(failed.checks.iter().any(|check| check.detail.contains("bread_missing")), "{failed:?}");
    assert_eq!(hall.mode("shop").await.state(), hall.mode("shop").await.state());
    assert_ne!(hall.mode("shop").await.kind, ModeKind::Normal);
    let incidents = hall.incidents().await;
    let about = incidents.iter().find(|incident| Some(incident.id) == failed.incident).unwrap();
    assert!(about.title.contains("New shelves"), "{about:?}");
    hall.pass(Span::seconds(HOUR)).await;
    assert_eq!(hall.mode("shop").await.kind, ModeKind::ReadOnly, "and stays so");

    hall.damage(false);
    hall.ask::<CompleteMaintenance>(&WindowRequest { id: window.id }).await;
    hall.pass(Span::seconds(1)).await;
    let done = hall.window(window.id).await;
    assert_eq!(done.status, WindowStatus::Completed, "{done:?}");
    assert!(hall.mode("shop").await.is_normal());
    for incident in hall.incidents().await {
        let over = ChangeIncidentRequest {
            id: incident.id,
            status: Some(IncidentStatus::Resolved),
            severity: None,
            text: None,
        };
        hall.ask::<ChangeIncident>(&over).await;
    }
    hall.world.close().await;
});

on_each_world!(what_an_operator_ordered_outlasts_a_window, async |world: World| {
    let hall = Hall::new(world).await;
    let window = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    hall.ask::<StartMaintenance>(&WindowRequest { id: window.id }).await;
    hall.set_mode("shop", &json!({"mode": "isolated", "reason": "a thief"})).await;
    hall.pass(Span::seconds(10)).await;
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Isolated);
    hall.ask::<CompleteMaintenance>(&WindowRequest { id: window.id }).await;
    hall.pass(Span::seconds(1)).await;
    assert_eq!(hall.mode("shop").await.kind, ModeKind::Isolated);
    let failed = hall.window(window.id).await;
    assert_eq!(failed.status, WindowStatus::Failed, "it does not serve again, so it is not completed");
    hall.world.close().await;
});

on_each_world!(plans_are_refused_that_nobody_could_follow, async |world: World| {
    let hall = Hall::new(world).await;
    let no_plan = ScheduleRequest { rollback_plan: " ".into(), ..plan(&hall) };
    assert!(hall.refused::<ScheduleMaintenance>(&no_plan).await.is(&ROLLBACK_PLAN_REQUIRED));
    let past = ScheduleRequest { from: hall.now() - Span::seconds(1), ..plan(&hall) };
    assert!(hall.refused::<ScheduleMaintenance>(&past).await.is(&MAINTENANCE_INVALID));
    let notify = ScheduleRequest { notify: Some(vec!["soon".into()]), ..plan(&hall) };
    assert!(hall.refused::<ScheduleMaintenance>(&notify).await.is(&MAINTENANCE_INVALID));
    let first = hall.ask::<ScheduleMaintenance>(&plan(&hall)).await;
    let everything = ScheduleRequest { modules: Vec::new(), ..plan(&hall) };
    assert!(hall.refused::<ScheduleMaintenance>(&everything).await.is(&MAINTENANCE_OVERLAPS));
    let other = ScheduleRequest { modules: vec!["till".into()], ..plan(&hall) };
    hall.ask::<ScheduleMaintenance>(&other).await;
    let longer = ExtendRequest { id: first.id, to: first.to + Span::seconds(HOUR) };
    assert_eq!(hall.ask::<ExtendMaintenance>(&longer).await.to, longer.to);
    hall.ask::<CancelMaintenance>(&WindowRequest { id: first.id }).await;
    let again = hall.refused::<StartMaintenance>(&WindowRequest { id: first.id }).await;
    assert!(again.is(&MAINTENANCE_CONFLICT), "{again}");
    hall.world.close().await;
});

/// An emergency of half an hour, signed by `key` in the name of `name`.
fn emergency(hall: &Hall, name: &str, key: &SecretKey) -> EmergencyRequest {
    let mut request = EmergencyRequest {
        title: "A hole in the wall".into(),
        to: hall.now() + Span::seconds(1_800),
        modules: vec!["shop".into()],
        mode: MaintenanceMode::ReadOnly,
        rollback_plan: "take the boards down again".into(),
        expires_at: hall.now() + Span::seconds(600),
        nonce: q_core::hash::hex(&hall.world.env.random::<16>()),
        approval: String::new(),
    };
    let did = identity(name).0;
    let input = EmergencyOrder::of(&request, &hall.world.instance.did).signing_input();
    // Canonical JSON, by a canonicaliser of its own.
    let value: serde_json::Value = serde_json::from_slice(&input).unwrap();
    assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), input);
    let header = jws::Header::typ(MAINTENANCE_TYP)
        .kid(format!("{did}#{}", key.public().to_did_key().trim_start_matches("did:key:")));
    request.approval = jws::sign(&header, &input, key);
    request
}

on_each_world!(
    an_emergency_begins_at_once_under_an_operators_signature_and_no_other,
    async |world: World| {
        let hall = Hall::new(world).await;
        let (olga, stranger) = (identity("olga").1, identity("stranger").1);
        let refused = async |request: &EmergencyRequest, why: &str| {
            let refused = hall.refused::<EmergencyMaintenance>(request).await;
            assert!(refused.is(&APPROVAL_REFUSED), "{refused}");
            assert!(refused.to_string().contains(why), "{refused}");
        };
        let good = emergency(&hall, "olga", &olga);
        refused(&EmergencyRequest { approval: String::new(), ..good.clone() }, "no approval").await;
        refused(&EmergencyRequest { approval: "e30.e30.AA".into(), ..good.clone() }, "compact EdDSA JWS")
            .await;
        refused(&EmergencyRequest { modules: Vec::new(), ..good.clone() }, "another order").await;
        refused(&emergency(&hall, "stranger", &stranger), "no operator").await;
        refused(&emergency(&hall, "olga", &stranger), "current key").await;
        let mut bent = good.clone();
        let at = bent.approval.len() - 5;
        let letter = if bent.approval.as_bytes()[at] == b'A' { "B" } else { "A" };
        bent.approval.replace_range(at..=at, letter);
        refused(&bent, "current key").await;
        assert!(hall.mode("shop").await.is_normal());

        let window: Window = hall.ask::<EmergencyMaintenance>(&good).await;
        assert_eq!((window.status, window.approved_by), (WindowStatus::Active, Some(identity("olga").0)));
        assert_eq!(hall.mode("shop").await.kind, ModeKind::ReadOnly, "at once");
        refused(&good, "used before").await;
        let days = ExtendRequest { id: window.id, to: window.from + Span::seconds(25 * HOUR) };
        assert!(
            hall.refused::<ExtendMaintenance>(&days).await.is(&MAINTENANCE_INVALID),
            "nobody signed for it"
        );
        let late = emergency(&hall, "olga", &olga);
        hall.pass(Span::seconds(1_800)).await;
        assert_eq!(hall.window(window.id).await.status, WindowStatus::Completed);
        let late = EmergencyRequest { to: hall.now() + Span::seconds(1_800), ..late };
        refused(&late, "another order").await;
        hall.world.close().await;
    }
);
