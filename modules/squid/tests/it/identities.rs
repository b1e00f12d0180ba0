//! Registering, reading, changing, suspending.

use std::fmt::Write as _;

use q_core::{Did, Span};
use q_did::Keyring;
use q_runtime::Module as _;
use q_testkit::{World, on_each_world};
use squid::SquidModule;
use squid_api::{
    CreateIdentity, GetIdentity, IdentityRequest, IdentityType, PrivacyLevel, ReactivateIdentity, Status,
    StatusRequest, SuspendIdentity, UpdateIdentity, UpdateIdentityRequest,
};

use crate::support::{HOST, creation, house, problem, profile};

fn read(did: &Did) -> IdentityRequest {
    IdentityRequest { did: did.clone() }
}

on_each_world!(an_identity_is_registered_and_seen_as_its_privacy_allows, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    assert_eq!(alice.identity.did, alice.keyring.did);
    assert_eq!(alice.identity.webvh, alice.log.head().id);
    assert_eq!(alice.identity.kind, IdentityType::Root);
    assert_eq!(alice.identity.status, Status::Active);
    assert_eq!(alice.identity.profile, Some(profile("Alice")));
    assert_eq!(alice.identity.version_id, alice.log.head().version_id);

    let hermit = house.owner_with("Hermit", PrivacyLevel::Private).await;
    let ghost = house.owner_with("Ghost", PrivacyLevel::Anonymous).await;
    let stranger = house.client(&alice.keyring.did);
    let seen = stranger.call::<GetIdentity>(&read(&hermit.keyring.did)).await.unwrap();
    assert_eq!((seen.profile, seen.status), (None, Status::Active));
    let hidden = problem(stranger.call::<GetIdentity>(&read(&ghost.keyring.did)).await);
    let (nobody, _) = q_testkit::identity("nobody");
    let absent = problem(stranger.call::<GetIdentity>(&read(&nobody)).await);
    let without_trace = |mut problem: q_contract::Problem| {
        problem.trace_id = None;
        problem
    };
    assert_eq!(without_trace(hidden), without_trace(absent), "hidden and absent look alike");
    let itself =
        house.client(&ghost.keyring.did).call::<GetIdentity>(&read(&ghost.keyring.did)).await.unwrap();
    assert_eq!(itself.profile, Some(profile("Ghost")));
    // The did:webvh name leads to the same identity.
    let webvh: Did = alice.identity.webvh.parse().unwrap();
    assert_eq!(stranger.call::<GetIdentity>(&read(&webvh)).await.unwrap().did, alice.keyring.did);

    let topics: Vec<_> = house.events().await.into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["q.squid.identity.created.v1"; 3]);
    assert_eq!(house.audited().await, ["IDENTITY_CREATED"; 3]);
    house.world.close().await;
});

on_each_world!(a_registration_is_refused_by_rule_and_leaves_nothing, async |world: World| {
    let house = house(world).await;
    let env = house.world.env.clone();
    let client = house.anonymous();
    let (_, log, _) = Keyring::create(HOST, &env).unwrap();
    let good = creation(&log, "Ada", PrivacyLevel::Public);

    let mut bent = good.clone();
    bent.log_entry["state"]["alsoKnownAs"] = serde_json::json!(["did:squid:other"]);
    let refused = problem(client.call::<CreateIdentity>(&bent).await);
    assert_eq!((refused.code.as_str(), refused.status), ("SQUID_LOG_INVALID", 400));
    assert_eq!(refused.extra["rule"], "scid-mismatch");

    let (_, elsewhere, _) = Keyring::create("node.example", &env).unwrap();
    let refused =
        problem(client.call::<CreateIdentity>(&creation(&elsewhere, "Ada", PrivacyLevel::Public)).await);
    assert_eq!(refused.extra["rule"], "state-id-place");

    let mut nameless = good.clone();
    nameless.profile.name = String::new();
    assert_eq!(problem(client.call::<CreateIdentity>(&nameless).await).code, "SQUID_PROFILE_INVALID");

    let did = Did::squid(&log.head().scid).unwrap();
    let (alice, _) = q_testkit::identity("alice");
    let absent = problem(house.client(&alice).call::<GetIdentity>(&read(&did)).await);
    assert_eq!(absent.code, "SQUID_IDENTITY_NOT_FOUND");
    assert!(house.events().await.is_empty() && house.audited().await.is_empty(), "nothing was stored");

    assert!(client.call::<CreateIdentity>(&good).await.is_ok());
    assert_eq!(problem(client.call::<CreateIdentity>(&good).await).code, "SQUID_IDENTITY_EXISTS");
    house.world.close().await;
});

on_each_world!(one_address_registers_five_identities_an_hour, async |world: World| {
    let house = house(world).await;
    if house.world.url("squid").is_none() {
        return house.world.close().await; // callers within the process have no address
    }
    for number in 0..5 {
        house.owner(&format!("No {number}")).await;
    }
    let (_, log, _) = Keyring::create(HOST, &house.world.env).unwrap();
    let request = creation(&log, "No 6", PrivacyLevel::Public);
    let refused = problem(house.anonymous().call::<CreateIdentity>(&request).await);
    assert_eq!((refused.status, &refused.extra["retryAfter"]), (429, &3_600.into()));
    house.world.clock.advance(Span::seconds(3_600));
    assert!(house.anonymous().call::<CreateIdentity>(&request).await.is_ok());
    house.world.close().await;
});

on_each_world!(a_profile_is_changed_by_its_owner_only_and_never_lost, async |world: World| {
    let house = house(world).await;
    let (alice, mallory) = (house.owner("Alice").await, house.owner("Mallory").await);
    let change = |name: &str, revision| UpdateIdentityRequest {
        did: alice.keyring.did.clone(),
        profile: profile(name),
        privacy_level: Some(PrivacyLevel::Private),
        revision,
    };
    let refused = house.client(&mallory.keyring.did).call::<UpdateIdentity>(&change("Hacked", None)).await;
    assert_eq!(problem(refused).code, "SQUID_INSUFFICIENT_PERMISSIONS");
    let owner = house.client(&alice.keyring.did);
    let changed = owner.call::<UpdateIdentity>(&change("Alice Smith", Some(1))).await.unwrap();
    assert_eq!((changed.revision, changed.profile), (2, Some(profile("Alice Smith"))));
    let late = problem(owner.call::<UpdateIdentity>(&change("Alice Jones", Some(1))).await);
    assert_eq!(
        (late.status, late.code.as_str(), &late.extra["revision"]),
        (412, "PRECONDITION_FAILED", &2.into())
    );
    let read = owner.call::<GetIdentity>(&read(&alice.keyring.did)).await.unwrap();
    assert_eq!((read.profile, read.privacy_level), (Some(profile("Alice Smith")), PrivacyLevel::Private));
    house.world.close().await;
});

on_each_world!(operators_suspend_and_reactivate, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let (operator, _) = q_testkit::identity("operator");
    let ask = |reason: &str| StatusRequest { did: alice.keyring.did.clone(), reason: reason.into() };
    let refused = problem(house.client(&operator).call::<SuspendIdentity>(&ask("spam")).await);
    assert_eq!(refused.status, 403);
    house.world.make_operator(&operator);
    let client = house.client(&operator);
    assert_eq!(problem(client.call::<SuspendIdentity>(&ask(" ")).await).status, 400);
    let suspended = client.call::<SuspendIdentity>(&ask("spam")).await.unwrap();
    assert_eq!(suspended.status, Status::Suspended);
    assert!(house.token(&alice.keyring).await.is_err(), "no login");
    assert_eq!(client.call::<SuspendIdentity>(&ask("again")).await.unwrap().status, Status::Suspended);
    assert_eq!(client.call::<ReactivateIdentity>(&ask("sorry")).await.unwrap().status, Status::Active);
    assert!(house.token(&alice.keyring).await.is_ok());
    let topics: Vec<_> = house.events().await.into_iter().map(|event| event.topic).collect();
    assert_eq!(
        topics,
        [
            "q.squid.identity.created.v1",
            "q.squid.session.revoked.v1",
            "q.squid.identity.suspended.v1",
            "q.squid.identity.reactivated.v1",
        ],
        "asking twice changes nothing"
    );
    house.world.close().await;
});

on_each_world!(the_last_operator_cannot_lock_itself_out, async |world: World| {
    let house = house(world).await;
    let (ada, ben) = (house.owner("Ada").await, house.owner("Ben").await);
    let did = ada.keyring.did.clone();
    house.world.make_operator(&did);
    house.world.make_operator(&ben.keyring.did);
    // Under either of its names.
    for name in [did.clone(), ada.identity.webvh.parse().unwrap()] {
        let ask = StatusRequest { did: name, reason: "tired".into() };
        let refused = problem(house.client(&did).call::<SuspendIdentity>(&ask).await);
        assert_eq!((refused.status, refused.code.as_str()), (409, "SQUID_SELF_SUSPENSION"));
        let hint = refused.hint.unwrap();
        assert!(hint.contains("another operator") && hint.contains("q id appoint"), "{hint}");
    }
    assert!(house.token(&ada.keyring).await.is_ok(), "nothing was cut off");
    // Another operator may; who is suspended, with a token still in hand, answers in kind no more.
    let ask = |did: &Did| StatusRequest { did: did.clone(), reason: "stolen phone".into() };
    house.client(&ben.keyring.did).call::<SuspendIdentity>(&ask(&did)).await.unwrap();
    let refused = problem(house.client(&did).call::<SuspendIdentity>(&ask(&ben.keyring.did)).await);
    assert_eq!((refused.status, refused.code.as_str()), (403, "FORBIDDEN"));
    assert!(house.token(&ben.keyring).await.is_ok());
    house.world.close().await;
});

on_each_world!(a_service_is_registered_in_process_only_and_logs_in_as_one, async |world: World| {
    let house = house(world).await;
    let (keyring, log, _) = Keyring::create(HOST, &house.world.env).unwrap();
    let entry = serde_json::to_value(&log.entries()[0]).unwrap();
    let service = house.squid.register_service("qwallet", entry.clone()).await.unwrap();
    assert_eq!(service.kind, IdentityType::Service);
    assert_eq!(house.squid.register_service("qwallet", entry.clone()).await.unwrap().did, service.did);
    assert!(house.squid.register_service("qlock", entry).await.is_err(), "one identity, one service");
    let token = house.token(&keyring).await.unwrap();
    let claims = house.module().await.check_token(&token).unwrap();
    assert_eq!(claims.q.svc.as_deref(), Some("qwallet"));
    house.world.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_and_no_key_is_readable_in_a_stolen_store() {
    let Some(world) = World::new(q_testkit::Engine::Sqlite, q_testkit::Way::InProcess).await else { return };
    let house = house(world).await;
    let alice = house.owner("Alice Wonderland").await;
    let change = UpdateIdentityRequest {
        did: alice.keyring.did.clone(),
        profile: profile("Alice Looking-Glass"),
        privacy_level: None,
        revision: None,
    };
    house.client(&alice.keyring.did).call::<UpdateIdentity>(&change).await.unwrap();
    let db = SquidModule(house.squid.clone()).db().clone();
    let dump = db
        .read(|reader| -> Result<String, q_db::DbError> {
            let mut dump = String::new();
            let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
            for table in reader.query(tables, &[])? {
                let table: String = table.try_get(0)?;
                for row in reader.query(&format!("SELECT * FROM {table}"), &[])? {
                    for value in row.values() {
                        match value {
                            q_db::Value::Bytes(bytes) => dump.push_str(&String::from_utf8_lossy(bytes)),
                            other => write!(dump, "{other:?}").unwrap(),
                        }
                    }
                }
            }
            Ok(dump)
        })
        .await
        .unwrap();
    assert!(dump.contains(alice.keyring.did.as_str()), "the dump is a dump");
    for secret in ["Wonderland", "Looking-Glass", "engines"] {
        assert!(!dump.contains(secret), "{secret} is readable");
    }
    house.world.close().await;
}
