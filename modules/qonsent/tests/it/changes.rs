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
    let principal = Principal::new(identity("service-qdrive").0, setting.world.env.now());
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

on_each_world!(the_heartbeat_proves_and_tells_only_news, async |world: World| {
    let setting = raise(world).await;
    let jobs = q_runtime::Module::jobs(&*setting.module);
    let beat = jobs.iter().find(|job| job.name == "heartbeat").unwrap().run.clone();
    setting.share("alice", "bob", FILE, &["write"]).await;
    setting.world.clock.advance(Span::seconds(400));
    let health = async || {
        let checks = q_runtime::Module::checks(&*setting.module);
        let projection = checks.iter().find(|check| check.name == "projection").unwrap();
        (projection.run)().await
    };
    assert!(health().await.is_err());
    let owner_may_write = || setting.may("alice", "write", FILE, "alice");
    assert!(!owner_may_write() && !setting.may("bob", "read", FILE, "alice"));
    for _ in 0..3 {
        beat().await.unwrap();
    }
    assert!(owner_may_write() && setting.may("bob", "write", FILE, "alice"));
    assert_eq!(health().await, Ok(()));
    let events = events(&setting).await;
    let heads: Vec<q_pdp::RevocationHead> = events.iter().filter_map(Event::payload).collect();
    assert_eq!(heads.len(), 1);
    assert_eq!((heads[0].epoch, heads[0].digest), (1, setting.pdp.digest()));
    // A module elsewhere that hears the head only knows that it missed something.
    let projector = elsewhere(&setting);
    projector.react(events.last().unwrap()).await.unwrap();
    assert!(projector.pdp().has_gap());
    projector.react(&events[0]).await.unwrap();
    assert!(!projector.pdp().has_gap());
    setting.world.close().await;
});

on_each_world!(changes_made_at_the_same_time_have_one_order, async |world: World| {
    let setting = Arc::new(raise(world).await);
    let everybody: Vec<_> = (0..8)
        .map(|at| {
            let setting = setting.clone();
            tokio::spawn(async move {
                let who = format!("friend-{at}");
                for _ in 0..4 {
                    setting.share("alice", &who, FILE, &["read"]).await;
                    assert!(setting.may(&who, "read", FILE, "alice"));
                    let revoke = RevokeRequest {
                        resource: Some(FILE.into()),
                        identity: Some(identity(&who).0.to_string()),
                        ..RevokeRequest::default()
                    };
                    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
                    assert!(!setting.may(&who, "read", FILE, "alice"));
                }
            })
        })
        .collect();
    for one in everybody {
        one.await.unwrap();
    }
    assert_eq!(setting.pdp.epoch(), 64);
    assert!(!setting.pdp.has_gap());
    let projector = elsewhere(&setting);
    catch_up(&as_module(&setting), &projector).await.unwrap();
    assert_eq!(projector.pdp().digest(), setting.pdp.digest());
    Arc::into_inner(setting).unwrap().world.close().await;
});

on_each_world!(what_is_handed_on_while_its_root_dies_is_dead_too, async |world: World| {
    let setting = raise(world).await;
    for round in 0..6 {
        let on = format!("qdrive:file:{round}");
        let root = setting.share("alice", "bob", &on, &["read"]).await;
        let onward = setting.sign("bob", "alice", "carol", &on, &["read"]);
        let request = setting.request("carol", &on, &["read"], Some(onward));
        let revoke = RevokeRequest { cid: Some(root.cids[0]), ..RevokeRequest::default() };
        let (alice, bob) = (setting.as_("alice"), setting.as_("bob"));
        let (revoked, granted) =
            tokio::join!(alice.call::<RevokeGrant>(&revoke), bob.call::<qonsent_api::IssueGrant>(&request));
        revoked.unwrap();
        // Either the grant came first and died, or it came second and was refused.
        if let Err(error) = granted {
            assert_eq!(error.problem().unwrap().code, "UCAN_REVOKED");
        }
        assert!(!setting.may("carol", "read", &on, "alice"), "round {round}");
    }
    setting.world.close().await;
});
