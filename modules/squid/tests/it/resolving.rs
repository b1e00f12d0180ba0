//! Names and the documents behind them.

use q_testkit::{World, on_each_world};
use squid_api::{GetLog, LogRequest, ResolveDid, ResolveRequest};

use crate::support::{house, problem};

fn ask(did: &str) -> ResolveRequest {
    ResolveRequest { did: did.into(), version_id: None, version_time: None }
}

on_each_world!(one_identity_answers_to_all_its_names, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let client = house.anonymous();
    let head = alice.log.head();
    let web = format!("did:web:qnode.localhost%3A8080:id:{}", head.scid);
    for name in [alice.keyring.did.as_str(), head.id.as_str(), web.as_str()] {
        let resolved = client.call::<ResolveDid>(&ask(name)).await.unwrap();
        assert_eq!(resolved.did_document["id"], name);
        assert_eq!(resolved.did_document_metadata["versionId"], head.version_id.as_str());
        assert_eq!(resolved.did_document_metadata["canonicalId"], alice.keyring.did.as_str());
        let method = &resolved.did_document["verificationMethod"][0];
        assert_eq!(method["publicKeyMultibase"], alice.keyring.current.public().to_multikey());
        assert_eq!(method["id"], format!("{name}#{}", alice.keyring.current.public().to_multikey()));
    }
    let key = alice.keyring.current.public().to_did_key();
    assert_eq!(client.call::<ResolveDid>(&ask(&key)).await.unwrap().did_document["id"], key);
    house.world.close().await;
});

on_each_world!(names_that_lead_elsewhere_are_refused_without_a_look, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let client = house.anonymous();
    let scid = &alice.log.head().scid;
    for name in [
        "squid",
        "did:squid:short",
        &format!("did:squid:{scid}%2e%2e"),
        &format!("did:webvh:{scid}:node.example%2Fx"),
        &format!("did:webvh:{scid}:127.0.0.1"),
        &format!("did:webvh:{scid}:node.example%3a80"),
        &format!("did:webvh:{scid}:node.example#k"),
        "did:key:z6Mk",
    ] {
        let refused = problem(client.call::<ResolveDid>(&ask(name)).await);
        assert_eq!((refused.code.as_str(), refused.status), ("invalidDid", 400), "{name}");
    }
    for name in [
        &format!("did:webvh:{scid}:other.example:id:{scid}"),
        &format!("did:web:other.example:id:{scid}"),
        "did:web:example.org",
        "did:plc:abc",
        "did:squid:QmbnQXj7DhWFrmgjDPKZCybn8fkKW7Wze57SQHpwsSQ7NZ",
    ] {
        let refused = problem(client.call::<ResolveDid>(&ask(name)).await);
        assert_eq!((refused.code.as_str(), refused.status), ("notFound", 404), "{name}");
    }
    for scid in ["x", "..", "QmbnQXj7DhWFrmgjDPKZCybn8fkKW7Wze57SQHpwsSQ7NZ"] {
        let refused = problem(client.call::<GetLog>(&LogRequest { scid: scid.into() }).await);
        assert_eq!(refused.status, 404, "{scid}");
    }
    house.world.close().await;
});
