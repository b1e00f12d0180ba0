//! Logs: appended by their owners, compared and set, read by anybody.

use q_contract::CallError;
use q_core::Did;
use q_did::{Author, Genesis, Log, Policy, Rotation, log::LOG_BYTES_MAX};
use q_jose::SecretKey;
use q_testkit::{World, on_each_world};
use serde_json::json;
use squid_api::{
    AppendLog, AppendLogRequest, CreateIdentity, DocumentRequest, GetDocument, GetIdentity, GetLog,
    IdentityRequest, LogRequest, PrivacyLevel, Status,
};

use crate::support::{HOST, Owner, creation, entry, house, problem};

fn append(owner: &Owner, value: &q_did::entry::Entry) -> AppendLogRequest {
    AppendLogRequest { did: owner.keyring.did.clone(), entry: entry(value), compromised: false }
}

on_each_world!(an_owner_rotates_recovers_and_ends_without_any_login, async |world: World| {
    let house = house(world).await;
    let env = house.world.env.clone();
    let mut alice = house.owner("Alice").await;
    let client = house.anonymous();
    let (rotated, made) = alice.keyring.rotate(&alice.log, None, &env).unwrap();
    let head = client.call::<AppendLog>(&append(&alice, &made)).await.unwrap();
    assert_eq!(head.version_id, made.version_id);
    assert_eq!(
        client.call::<AppendLog>(&append(&alice, &made)).await.unwrap(),
        head,
        "again is like the first time"
    );
    alice.log.append(made, env.now() + q_core::Span::seconds(60), Policy::House).unwrap();

    let token = house.token(&rotated).await.unwrap();
    let refused = problem(house.token(&alice.keyring).await);
    assert_eq!(refused.code, "invalid_grant", "the old key is out");
    assert!(house.module().await.check_token(&token).is_ok());

    let (recovered, made, _) = q_did::Keyring::recover(&alice.log, &alice.phrase, &env).unwrap();
    client.call::<AppendLog>(&append(&alice, &made)).await.unwrap();
    alice.log.append(made, env.now() + q_core::Span::seconds(60), Policy::House).unwrap();
    assert!(house.token(&rotated).await.is_err(), "whoever held the device is out");
    assert!(house.module().await.check_token(&token).is_err(), "and so are his sessions");
    assert!(house.token(&recovered).await.is_ok());

    let scid = alice.log.head().scid.clone();
    let text = client.call::<GetLog>(&LogRequest { scid: scid.clone() }).await.unwrap().0;
    assert_eq!(text, alice.log.to_text());
    let request = |version_id: Option<&str>| DocumentRequest {
        scid: scid.clone(),
        version_id: version_id.map(str::to_owned),
        version_time: None,
    };
    let document = client.call::<GetDocument>(&request(None)).await.unwrap().0;
    assert_eq!(document["id"], format!("did:web:qnode.localhost%3A8080:id:{scid}"));

    let last = recovered.deactivate(&alice.log, &env).unwrap();
    client.call::<AppendLog>(&append(&alice, &last)).await.unwrap();
    assert!(house.token(&recovered).await.is_err());
    assert_eq!(problem(client.call::<GetDocument>(&request(None)).await).code, "SQUID_IDENTITY_GONE");
    let first = alice.log.entries()[0].version_id.clone();
    assert!(client.call::<GetDocument>(&request(Some(&first))).await.is_ok(), "older versions stay");
    let read = IdentityRequest { did: alice.keyring.did.clone() };
    let ended = house.client(&alice.keyring.did).call::<GetIdentity>(&read).await.unwrap();
    assert_eq!((ended.status, ended.profile), (Status::Deleted, None));
    let after = problem(client.call::<AppendLog>(&append(&alice, &alice.log.entries()[1])).await);
    assert_eq!(after.extra["rule"], "deactivated");

    let topics: Vec<_> = house.events().await.into_iter().map(|event| event.topic).collect();
    let update = ["q.squid.identity.updated.v1", "q.squid.session.revoked.v1"];
    let expected =
        [&["q.squid.identity.created.v1"][..], &update, &update, &update, &["q.squid.identity.deleted.v1"]];
    assert_eq!(topics, expected.concat());
    house.world.close().await;
});

on_each_world!(of_entries_that_race_one_is_kept, async |world: World| {
    let house = house(world).await;
    let env = house.world.env.clone();
    let alice = house.owner("Alice").await;
    let rivals: Vec<_> = (0..8).map(|_| alice.keyring.rotate(&alice.log, None, &env).unwrap().1).collect();
    let attempts = rivals.iter().map(|made| {
        let (client, request) = (house.anonymous(), append(&alice, made));
        tokio::spawn(async move { client.call::<AppendLog>(&request).await })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut kept = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(head) => kept.push(head.version_id),
            Err(error) => {
                let refused = error.problem().unwrap().clone();
                assert_eq!((refused.code.as_str(), refused.status), ("SQUID_LOG_CONFLICT", 409));
            }
        }
    }
    assert_eq!(kept.len(), 1);
    let text =
        house.anonymous().call::<GetLog>(&LogRequest { scid: alice.log.head().scid.clone() }).await.unwrap();
    let log = Log::verify(&text.0, env.now() + q_core::Span::seconds(60), Policy::House).unwrap();
    assert_eq!(log.head().version_id, kept[0]);
    house.world.close().await;
});

on_each_world!(entries_by_others_or_out_of_place_are_refused, async |world: World| {
    let house = house(world).await;
    let env = house.world.env.clone();
    let (alice, mallory) = (house.owner("Alice").await, house.owner("Mallory").await);
    let client = house.anonymous();
    let (_, foreign) = mallory.keyring.rotate(&mallory.log, None, &env).unwrap();
    let refused = problem(client.call::<AppendLog>(&append(&alice, &foreign)).await);
    assert_eq!(refused.extra["rule"], "state-id-scid");
    let thief = q_did::Keyring { next: q_jose::SecretKey::from_seed(&[66; 32]), ..alice.keyring.clone() };
    assert!(thief.rotate(&alice.log, None, &env).is_err(), "nobody committed to this key");
    let (_, mut bent) = alice.keyring.rotate(&alice.log, None, &env).unwrap();
    bent.state["service"] = serde_json::json!([]);
    let refused = problem(client.call::<AppendLog>(&append(&alice, &bent)).await);
    assert_eq!(refused.extra["rule"], "entry-hash");
    let (_, moved) = alice.keyring.rotate(&alice.log, Some("elsewhere.example"), &env).unwrap();
    let refused = problem(client.call::<AppendLog>(&append(&alice, &moved)).await);
    assert_eq!(refused.extra["rule"], "state-id-place");
    let (nobody, _) = q_testkit::identity("nobody");
    let unknown = AppendLogRequest { did: nobody, entry: entry(&foreign), compromised: false };
    assert_eq!(problem(client.call::<AppendLog>(&unknown).await).code, "SQUID_IDENTITY_NOT_FOUND");
    assert_eq!(house.events().await.len(), 2, "two registrations and nothing else");
    house.world.close().await;
});

// A log is as long as those who verify it read, and its end always has room.
on_each_world!(a_log_does_not_grow_beyond_what_is_read, async |world: World| {
    let house = house(world).await;
    let env = house.world.env.clone();
    let (current, next) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let (recovery, filler) = (SecretKey::from_seed(&[3; 32]).public(), "x".repeat(28 << 10));
    let service =
        json!({"id": "#filler", "type": "Filler", "serviceEndpoint": format!("https://q.test/{filler}")});
    let genesis = Genesis {
        host: HOST,
        current: &current,
        holder: None,
        next: next.public(),
        recovery,
        services: vec![service],
    };
    let mut log = Author::create(&genesis, env.now()).unwrap();
    let did = Did::squid(&log.head().scid).unwrap();
    let client = house.anonymous();
    client.call::<CreateIdentity>(&creation(&log, "Filler", PrivacyLevel::Public)).await.unwrap();
    let appended = async |made: &q_did::entry::Entry| {
        let request = AppendLogRequest { did: did.clone(), entry: entry(made), compromised: false };
        client.call::<AppendLog>(&request).await
    };
    let (mut revealed, mut length) = (next, log.to_text().len());
    let refused = loop {
        house.world.clock.advance(q_core::Span::seconds(1));
        let (now, next) = (house.world.env.now(), SecretKey::generate(&env));
        let rotation = Rotation { revealed: &revealed, next: next.public(), recovery, host: None };
        let made = Author::rotate(&log, &rotation, now).unwrap();
        match appended(&made).await {
            Err(CallError::Problem(problem)) => break problem,
            outcome => outcome.unwrap(),
        };
        length += made.to_line().len() + 1;
        log.append(made, now, Policy::House).unwrap();
        revealed = next;
        assert!(length <= LOG_BYTES_MAX, "it grew beyond what is read");
    };
    assert_eq!((refused.code.as_str(), &refused.extra["rule"]), ("SQUID_LOG_INVALID", &json!("size")));
    let request = DocumentRequest { scid: log.head().scid.clone(), version_id: None, version_time: None };
    client.call::<GetDocument>(&request).await.unwrap();
    let last = Author::deactivate(&log, &revealed, house.world.env.now()).unwrap();
    appended(&last).await.unwrap();
    assert_eq!(problem(client.call::<GetDocument>(&request).await).code, "SQUID_IDENTITY_GONE");
    house.world.close().await;
});
