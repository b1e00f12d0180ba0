//! POST /delegations, GET /delegations/{cid}, GET /delegations/{cid}/token.

use q_testkit::{World, identity, on_each_world};
use q_ucan::{Delegation, container};
use qonsent_api::{
    DelegationPath, GetDelegation, GetDelegationToken, IssueGrant, RegisterDelegations, RegisterRequest,
    RevokeGrant, RevokeRequest,
};

use crate::support::{code, raise};

const FILE: &str = "qdrive:file:a";

on_each_world!(a_delegation_that_pins_a_resource_is_a_grant, async |world: World| {
    let setting = raise(world).await;
    let container = setting.sign("alice", "alice", "bob", FILE, &["write"]);
    let request = RegisterRequest { container: container.clone() };
    // The holder may hand it in as well as the owner.
    let registered = setting.as_("bob").call::<RegisterDelegations>(&request).await.unwrap();
    assert_eq!(registered.cids.len(), 2);
    assert_eq!(registered.grants.len(), 1);
    assert_eq!(registered.grants[0].permissions, ["read", "write"]);
    assert_eq!(registered.grants[0].granted_by, identity("alice").0);
    assert!(setting.may("bob", "write", FILE, "alice"));

    // Again: nothing new.
    let again = setting.as_("alice").call::<RegisterDelegations>(&request).await.unwrap();
    assert_eq!((again.cids, again.grants.len()), (registered.cids.clone(), 0));
    assert_eq!(setting.pdp.epoch(), registered.registered_epoch);

    let path = DelegationPath { cid: registered.cids[0] };
    let record = setting.as_("carol").call::<GetDelegation>(&path).await.unwrap();
    assert_eq!((record.issuer, record.subject), (identity("alice").0.to_string(), Some(identity("alice").0)));
    assert_eq!(record.policy, serde_json::json!([["==", ".resource", FILE]]));
    let token = setting.as_("carol").call::<GetDelegationToken>(&path).await.unwrap().0;
    assert_eq!(Delegation::decode(&token).unwrap().cid(), registered.cids[0]);
    assert!(container::decode(container.as_bytes()).unwrap().contains(&token));
    setting.world.close().await;
});

on_each_world!(a_chain_may_be_put_on_record_from_the_bottom_up, async |world: World| {
    let setting = raise(world).await;
    let lower = RegisterRequest { container: setting.sign("bob", "alice", "carol", FILE, &["read"]) };
    let registered = setting.as_("bob").call::<RegisterDelegations>(&lower).await.unwrap();
    assert_eq!(registered.grants.len(), 0);
    assert_eq!((registered.registered_epoch, setting.pdp.epoch()), (1, 1));
    assert!(!setting.may("carol", "read", FILE, "alice"));
    setting.share("alice", "bob", FILE, &["read"]).await;
    let request = setting.request("carol", FILE, &["read"], Some(lower.container));
    setting.as_("bob").call::<IssueGrant>(&request).await.unwrap();
    assert!(setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(each_refusal_has_its_code, async |world: World| {
    let setting = raise(world).await;
    let good = setting.sign("alice", "alice", "bob", FILE, &["read"]);
    let register = async |who: &str, container: String| {
        code(setting.as_(who).call::<RegisterDelegations>(&RegisterRequest { container }).await)
    };
    assert_eq!(register("mallory", good.clone()).await, "FORBIDDEN");
    assert_eq!(register("alice", String::new()).await, "UCAN_INVALID");
    assert_eq!(register("alice", container::encode_text([])).await, "UCAN_INVALID");
    assert_eq!(register("alice", "P".into()).await, "UCAN_INVALID");
    let forged = setting.sign("mallory", "alice", "bob", FILE, &["read"]);
    let tokens = container::decode(forged.as_bytes()).unwrap();
    let mut broken = tokens[0].clone();
    broken[10] ^= 1;
    assert_eq!(register("mallory", container::encode_text([broken.as_slice()])).await, "UCAN_BAD_SIGNATURE");
    // Nothing that was refused was kept.
    assert_eq!(setting.pdp.epoch(), 0);

    let registered = setting
        .as_("alice")
        .call::<RegisterDelegations>(&RegisterRequest { container: good.clone() })
        .await
        .unwrap();
    let revoke = RevokeRequest { cid: Some(registered.cids[0]), ..RevokeRequest::default() };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    assert_eq!(register("alice", good).await, "UCAN_REVOKED");
    let unknown = DelegationPath { cid: q_ucan::TokenCid::of(b"x") };
    assert_eq!(code(setting.as_("alice").call::<GetDelegation>(&unknown).await), "DELEGATION_NOT_FOUND");
    setting.world.close().await;
});
