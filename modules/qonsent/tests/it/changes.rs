//! GET /revocations, the events, and decision points elsewhere.

use std::sync::Arc;

use q_contract::Client;
use q_core::{Caller, Event, Span, caller::Principal};
use q_pdp::{Freshness, Pdp, Projector};
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{ListChanges, ListChangesRequest, RevokeGrant, RevokeRequest, catch_up};

use crate::support::{NoDirectory, Setting, authority, code, raise};

const FILE: &str = "qdrive:file:a";

fn as_module(setting: &Setting) -> Client {
    let principal = Principal {
        did: identity("service-qdrive").0,
        scopes: vec![],
        client: None,
        actor: None,
        is_sender_bound: true,
        authenticated_at: setting.world.env.now(),
    };
    setting.world.client_as("qonsent", Caller::Service(principal, "qdrive".into()))
}

/// A decision point in another process.
fn elsewhere(setting: &Setting) -> Projector {
    Projector::new(Pdp::new(authority().0, setting.world.env.now()), Arc::new(NoDirectory))
}

async fn change_a_few_things(setting: &Setting) {
    setting.share("alice", "bob", FILE, &["read"]).await;
    setting.share("alice", "carol", FILE, &["write"]).await;
    let revoke = RevokeRequest {
        resource: Some(FILE.into()),
        identity: Some(identity("bob").0.to_string()),
        ..RevokeRequest::default()
    };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
}

/// The events in the outbox, in order.
async fn events(setting: &Setting) -> Vec<Event> {
    let db = q_runtime::Module::db(&*setting.module).clone();
    let rows = db.outbox_after(0, 100).await.unwrap();
    rows.into_iter().map(|row| row.event).collect()
}

on_each_world!(a_module_elsewhere_catches_up_by_asking, async |world: World| {
    let setting = raise(world).await;
    change_a_few_things(&setting).await;
    let projector = elsewhere(&setting);
    catch_up(&as_module(&setting), &projector).await.unwrap();
    assert_eq!((projector.pdp().epoch(), projector.pdp().digest()), (3, setting.pdp.digest()));
    // Time passes; asking again is the proof that nothing was missed.
    setting.world.clock.advance(Span::seconds(400));
    let now = setting.world.env.now();
    assert_eq!(projector.pdp().freshness(now), Freshness::Stale);
    catch_up(&as_module(&setting), &projector).await.unwrap();
    assert_eq!(projector.pdp().freshness(now), Freshness::Current);
    assert_eq!(
        code(setting.as_("bob").call::<ListChanges>(&ListChangesRequest::default()).await),
        "FORBIDDEN"
    );
    setting.world.close().await;
});

on_each_world!(events_lead_to_the_same_state_in_any_order, async |world: World| {
    let setting = raise(world).await;
    change_a_few_things(&setting).await;
    let mut events = events(&setting).await;
    assert_eq!(events.len(), 3);
    let projector = elsewhere(&setting);
    events.reverse();
    for event in events.iter().chain(&events) {
        projector.react(event).await.unwrap();
    }
    assert_eq!((projector.pdp().epoch(), projector.pdp().digest()), (3, setting.pdp.digest()));
    let ask = |pdp: &Pdp, who: &str| {
        let request = q_pdp::Request {
            principal: &identity(who).0,
            action: "read",
            resource: FILE,
            owner: Some(&identity("alice").0),
            now: setting.world.env.now(),
        };
        pdp.decide(&request).allowed
    };
    assert_eq!((ask(projector.pdp(), "bob"), ask(projector.pdp(), "carol")), (false, true));
    setting.world.close().await;
});

on_each_world!(a_lost_event_is_noticed_and_asked_for, async |world: World| {
    let setting = raise(world).await;
    change_a_few_things(&setting).await;
    let events = events(&setting).await;
    let projector = elsewhere(&setting);
    projector.react(&events[0]).await.unwrap();
    projector.react(&events[2]).await.unwrap();
    assert!(projector.pdp().has_gap());
    catch_up(&as_module(&setting), &projector).await.unwrap();
    assert!(!projector.pdp().has_gap());
    assert_eq!(projector.pdp().epoch(), 3);
    setting.world.close().await;
});
